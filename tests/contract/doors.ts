/** Every way a procedure can be called from outside: tRPC by POST, by GET and in a batch, and REST. */
import superjson from "superjson";
import { z } from "zod";
import { snake } from "../../src/wire_names.ts";
import { plain } from "../../routers/conventions.ts";
import { type Entry, restEntriesOf } from "../../routers/procedures.ts";
import { appRouter } from "../../routers/mod.ts";
import type { RestPlace } from "../../routers/trpc.ts";
import { compile } from "../../routers/wire.ts";

export type Call = { url: string; init: RequestInit };
export type Json = Record<string, unknown>;

export const restEntries = restEntriesOf(appRouter);
export const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const post = (url: string, body: string, headers: HeadersInit = {}): Call => ({
  url,
  init: { method: "POST", body, headers: { "content-type": "application/json", ...headers } },
});
/** As superjson writes it; what it refuses to write, as somebody else would. */
function sent(input: unknown): string {
  try {
    return superjson.stringify(input);
  } catch {
    return JSON.stringify({ json: input });
  }
}

export const trpcPost = (path: string, input: unknown): Call =>
  post(`/trpc/${path}`, input === undefined ? "" : sent(input));

export const trpcGet = (path: string, input: unknown): Call => ({
  url: `/trpc/${path}?input=${encodeURIComponent(sent(input).toWellFormed())}`,
  init: { method: "GET" },
});

/** What an answer comes to; a stream has begun by then and says it in its first event. */
export async function statusOf(answer: Response): Promise<number> {
  const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream");
  if (!isStream) {
    await answer.body?.cancel();
    return answer.status;
  }
  const said = /event: serialized-error\n.*?"httpStatus":(\d+)/s.exec(await answer.text())?.[1];
  return said === undefined ? answer.status : Number(said);
}

/** A query is asked by GET, a mutation sent by POST, as the client does it. */
export const trpc = ({ path, type }: Entry, input: unknown): Call =>
  type === "query" ? trpcGet(path, input) : trpcPost(path, input);

/** Several calls of one kind at once. */
export function batch(type: Entry["type"], calls: { path: string; input: unknown }[]): Call {
  const url = `/trpc/${calls.map(({ path }) => path).join(",")}?batch=1`;
  const inputs = calls.map(({ input }, place) => [place, superjson.serialize(input)]);
  const all = JSON.stringify(Object.fromEntries(inputs));
  return type === "query"
    ? { url: `${url}&input=${encodeURIComponent(all)}`, init: { method: "GET" } }
    : post(url, all);
}

/** The input in the wire's names, what the schema does not know included. */
export function wireOf({ input: schema }: Entry, input: unknown): Json {
  const written = schema ? compile(schema).write(input, plain) : {};
  return isJson(written) ? carried(input, { ...written }) : {};
}

function carried(input: unknown, written: Json): Json {
  for (const [key, value] of Object.entries(isJson(input) ? input : {})) {
    const name = key in written ? key : snake(key);
    const part = written[name];
    if (!(name in written)) written[name] = value;
    else if (isJson(part)) written[name] = carried(value, { ...part });
  }
  return written;
}

/** What an address can carry of a value. */
const textOf = (value: unknown) =>
  (typeof value === "string" ? value : JSON.stringify(value) ?? "").toWellFormed();

/** Stands in a path where an input names nothing. */
const nobody = "01900000-0000-7000-8000-000000000000";

/** Everywhere REST serves a procedure: at its own path, and at another of the documents'. */
export const placesOf = ({ path }: Entry): RestPlace[] =>
  restEntries.filter((entry) => entry.path === path).map(({ rest }) => rest);
export const placeOf = (entry: Entry): RestPlace | undefined => placesOf(entry)[0];

/** The procedure's REST call; `more` goes to the body, or the query where there is no body. */
export const rest = (entry: Entry, input: unknown, more: Json = {}): Call | null =>
  rests(entry, input, more)[0] ?? null;

/** The same at each of its places. */
export const rests = (entry: Entry, input: unknown, more: Json = {}): Call[] =>
  placesOf(entry).map((place) => restAt(place, entry, input, more));

export function restAt(place: RestPlace, entry: Entry, input: unknown, more: Json = {}): Call {
  const left = wireOf(entry, input);
  const path = place.path.replaceAll(/\{([^}]*)\}/g, (_, name: string) => {
    const value = left[name];
    delete left[name];
    return encodeURIComponent(textOf(value ?? nobody));
  });
  const body = { ...left, ...more };
  if (place.method === "GET" || place.method === "DELETE") {
    const query = new URLSearchParams(
      Object.entries(body).flatMap(([name, value]) =>
        [value].flat().map((item) => [name, textOf(item)])
      ),
    );
    return { url: query.size ? `${path}?${query}` : path, init: { method: place.method } };
  }
  const { url, init } = post(path, JSON.stringify(body));
  return { url, init: { ...init, method: place.method } };
}

export const withHeaders = ({ url, init }: Call, headers: Record<string, string>): Call => ({
  url,
  init: { ...init, headers: { ...Object.fromEntries(new Headers(init.headers)), ...headers } },
});

/** A field of an input that takes one of `kind`, by its path in the schema's names. */
export type Spot = { path: string[]; schema: Json; isRequired: boolean };

/** Every field of a procedure's input, nested ones too, as JSON Schema describes them. */
export function spotsOf({ input }: Entry): Spot[] {
  if (!input) return [];
  const spots: Spot[] = [];
  const walk = (schema: unknown, path: string[], isRequired: boolean) => {
    if (!isJson(schema)) return;
    if (path.length > 0) spots.push({ path, schema, isRequired });
    const required = Array.isArray(schema.required) ? schema.required : [];
    for (const [key, part] of Object.entries(isJson(schema.properties) ? schema.properties : {})) {
      walk(part, [...path, key], required.includes(key));
    }
    for (const part of [schema.anyOf, schema.oneOf, schema.allOf].flat()) {
      if (isJson(part) && (part.properties || part.format)) walk(part, path, isRequired);
    }
  };
  walk(z.toJSONSchema(input, { io: "input", unrepresentable: "any" }), [], true);
  return spots;
}

export const uuidSpots = (entry: Entry): Spot[] =>
  spotsOf(entry).filter(({ schema }) => schema.format === "uuid");

/** A copy of `input` with `value` at `path`; objects on the way are made. */
export function withAt(input: unknown, [key, ...rest]: string[], value: unknown): unknown {
  if (key === undefined) return value;
  const before = isJson(input) ? input : {};
  return { ...before, [key]: withAt(before[key], rest, value) };
}

export const wirePath = (path: string[]) => path.map(snake).join(".");
