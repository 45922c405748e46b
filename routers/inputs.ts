/** Puts one input together out of a request's body, query and path. */
import type { Context } from "hono";
import { invalid } from "../src/errors.ts";
import { checkJson, readJson } from "./json.ts";
import type { RestEntry } from "./procedures.ts";
import { isObject, type Text, type Wire } from "./wire_scalars.ts";

type Input = Record<string, unknown>;

/**
 * The input a REST request gives its procedure, under the schema's names. One name may come twice,
 * in body, query or path, only with the same value. GET, HEAD and DELETE have no body.
 */
export async function readInput(
  c: Context,
  entry: Pick<RestEntry, "in" | "rest">,
  maxBytes: number,
): Promise<Input> {
  const wire = entry.in;
  if (!wire) return {};
  const hasBody = entry.rest.method !== "GET" && entry.rest.method !== "DELETE";
  const body = hasBody ? await readJson(c.req.raw, maxBytes) ?? {} : {};
  if (!isObject(body)) throw invalid("body", "The body must be a JSON object");
  const read = wire.read(body);
  const input: Input = isObject(read) ? read : {};
  const query = queryOf(c.req.url);
  if (query) addTexts(input, wire, query);
  const params: Record<string, string> = c.req.param();
  addTexts(input, wire, params);
  return input;
}

function queryOf(url: string): Record<string, Text> | null {
  const start = url.indexOf("?");
  if (start < 0) return null;
  const query: Record<string, Text> = Object.create(null);
  for (const [name, value] of new URLSearchParams(url.slice(start).replace(/#.*/s, ""))) {
    const before = query[name];
    query[name] = before === undefined ? value : [before, value].flat();
  }
  return query;
}

function addTexts(input: Input, wire: Wire, texts: Record<string, Text>): void {
  checkJson(texts);
  for (const [name, text] of Object.entries(texts)) {
    const field = wire.fields?.get(name);
    if (!field) {
      Object.assign(input, wire.read({ [name]: text }));
      continue;
    }
    const value = field.wire.readText(text);
    if (Object.hasOwn(input, field.key) && !isSame(input[field.key], value)) {
      throw invalid(name, `\`${name}\` is given twice with different values`);
    }
    input[field.key] = value;
  }
}

const isSame = (a: unknown, b: unknown) =>
  a === b || typeof a !== "bigint" && JSON.stringify(a) === JSON.stringify(b);
