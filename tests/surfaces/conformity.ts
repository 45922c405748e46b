/** Asks whether an answer is what the OpenAPI document says it may be. */
import { z } from "zod";
import type { Document } from "../../routers/openapi.ts";

type Json = Record<string, unknown>;
const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null;
const under = (value: unknown, key: string): unknown => isJson(value) ? value[key] : undefined;

/**
 * What is wrong with an answer: empty when its status is documented for the operation and its body
 * fits the schema. `path` is the real one, without the query.
 */
export function conformityOf(
  document: Document,
): (method: string, path: string, status: number, body: unknown) => string[] {
  const items = Object.entries(document.paths)
    .sort(([a], [b]) => a.replaceAll("{", "\uffff") < b.replaceAll("{", "\uffff") ? -1 : 1)
    .map(([template, item]) => ({ item, pattern: patternOf(template) }));
  const compiled = new Map<unknown, z.ZodType>();
  return (method, path, status, body) => {
    const item = items.find(({ pattern }) => pattern.test(path))?.item;
    const responses = under(under(item, method.toLowerCase()), "responses");
    const response = resolve(document, under(responses, String(status)));
    if (!response) return [`${method} ${path} does not say that it may answer ${status}`];
    const content = under(response, "content");
    if (!isJson(content)) return body === "" ? [] : [`${status} has no body`];
    const schema = under(Object.values(content)[0], "schema");
    const check = compiled.get(schema) ?? toZod(document, schema);
    compiled.set(schema, check);
    const result = check.safeParse(body);
    return (result.error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
  };
}

const patternOf = (template: string) =>
  new RegExp(`^${template.replaceAll(".", "\\.").replaceAll(/\{[^}]*\}/g, "[^/]+")}$`);

function resolve(document: Document, value: unknown): unknown {
  const reference = under(value, "$ref");
  if (typeof reference !== "string") return value;
  return reference.split("/").slice(1).reduce<unknown>(under, document);
}

/** zod reads references to `$defs` only. */
function toZod(document: Document, schema: unknown): z.ZodType {
  const moved = JSON.stringify({ allOf: [schema], $defs: document.components.schemas })
    .replaceAll("#/components/schemas/", "#/$defs/");
  return z.fromJSONSchema(JSON.parse(moved));
}
