/** One procedure as one operation of the OpenAPI document. */
import { z } from "zod";
import { faults } from "../src/errors.ts";
import { snake } from "../src/wire_names.ts";
import { type RestEntry, subjectKey, taggedSchema } from "./procedures.ts";
import { type Book, type Json, openBook } from "./schemas.ts";

/** Which component answers a status; several codes share one. */
export const refusals: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  412: "PreconditionFailed",
  413: "PayloadTooLarge",
  415: "UnsupportedMediaType",
  422: "IdempotencyKeyReused",
  429: "TooManyRequests",
  500: "InternalError",
  502: "ProviderFailed",
  503: "Unavailable",
  504: "ProviderTimeout",
};

/** `platforms.services.register` is `PlatformsServicesRegister`. */
const typeName = (path: string) =>
  path.replaceAll(/(?:^|[._])(.)/g, (_, first) => first.toUpperCase());

/** What an operation's own entry does not say. */
export type Beside = {
  /** All operations, this one among them. */
  entries: RestEntry[];
  /** Statuses beyond those any operation may answer. */
  more: readonly number[];
};

/** Whose Idempotency-Key is heeded: who asks must be known, and the work be worth repeating. */
const isKeyed = ({ type, meta }: RestEntry) =>
  type === "mutation" && meta.permission !== undefined && meta.anew === undefined;

/** Where the last thing that a path names lies: `/teams/{team_id}/keys` for `/teams/{team_id}/keys/{id}`. */
const collectionOf = (path: string) => path.replace(/\/\{[^}]*\}[^{]*$/, "");

/**
 * Whether a mutation heeds If-Match: its path names one resource, and it changes or deletes that
 * one. It does so when it answers what making or reading an entry of the collection answers:
 * `POST /connections/{id}/complete` answers a binding, which its path does not name.
 */
function heedsMatch({ type, rest, output }: RestEntry, entries: RestEntry[]): boolean {
  if (type !== "mutation" || !rest.path.includes("{")) return false;
  const collection = collectionOf(rest.path);
  const resources = entries.filter(({ rest: { method, path } }) =>
    path === collection
      ? method === "POST"
      : method === "GET" && path.endsWith("}") && collectionOf(path) === collection
  ).map((entry) => taggedSchema(entry.output)).filter((schema) => schema !== null);
  if (rest.method === "DELETE") return resources.length > 0;
  // What is there from the start is neither made nor read alone: its path names it all the same.
  if (rest.method === "PUT" && rest.path.endsWith("}")) return taggedSchema(output) !== null;
  return resources.some((schema) => schema === taggedSchema(output));
}

export function operationOf(entry: RestEntry, book: Book, { entries, more }: Beside): Json {
  const { path, operationId, rest, meta } = entry;
  const { parameters, body } = requestOf(entry, book);
  const { permission } = meta;
  const isTagged = subjectKey(entry.output) !== null;
  const canMatch = heedsMatch(entry, entries);
  const headers = [
    ...isKeyed(entry) ? ["IdempotencyKey"] : [],
    ...canMatch ? ["IfMatch"] : [],
    ...isTagged && rest.method === "GET" ? ["IfNoneMatch"] : [],
    ...rest.status === 204 ? [] : ["Prefer"],
  ];
  return {
    operationId,
    tags: [path.split(".")[0]],
    summary: meta.summary ?? path,
    description: describe(entry),
    security: permission ? [{ bearer: [] }, { apiKey: [] }] : [{}],
    ...(permission ? { "x-permission": permission } : {}),
    parameters: [
      ...parameters,
      ...headers.map((name) => ({ $ref: `#/components/parameters/${name}` })),
    ],
    ...(body ? { requestBody: body } : {}),
    responses: {
      ...success(entry, book),
      ...failures(entry, { hasBody: body !== null, canMatch, more }),
    },
  };
}

function describe({ input, meta, type, path }: RestEntry): string {
  const guard = meta.permission
    ? `Needs the permission \`${meta.permission}\`.`
    : "Open to everyone.";
  const own = input?.description ?? `${meta.summary ?? path}.`;
  const twin = `In TypeScript: \`client.${path}.${type === "query" ? "query" : "mutate"}\`.`;
  return `${own}\n\n${guard} ${twin}`;
}

type Request = { parameters: Json[]; body: Json | null };
type Shape = { properties: Record<string, Json>; required: string[] };

/** An input's fields: path parameters by their names in the path, the others in query or body. */
function requestOf({ input, rest, path }: RestEntry, book: Book): Request {
  if (!input) return { parameters: [], body: null };
  const json = book.describe(input, "input");
  const inPath = [...rest.path.matchAll(/\{([^}]*)\}/g)].map((found) => found[1] ?? "");
  if (!isShape(json)) return { parameters: [], body: bodyOf(json, true) };
  const missing = inPath.find((name) => !(name in json.properties));
  if (missing) throw new Error(`${path}: {${missing}} of its REST path is not in its input`);
  const parameters = inPath.map((name) => parameter(json, name, "path"));
  const others = Object.keys(json.properties).filter((name) => !inPath.includes(name));
  if (rest.method === "GET" || rest.method === "DELETE") {
    const query = others.map((name) => parameter(json, name, "query"));
    return { parameters: [...parameters, ...query], body: null };
  }
  if (others.length === 0) return { parameters, body: null };
  const { required: _, ...schema } = json;
  const required = others.filter((name) => json.required?.includes(name));
  const properties = Object.fromEntries(others.map((name) => [name, json.properties[name]]));
  const name = `${typeName(path)}Request`;
  const needed = required.length > 0 ? { required } : {};
  book.schemas.set(name, { ...schema, properties, ...needed });
  return {
    parameters,
    body: bodyOf({ $ref: `#/components/schemas/${name}` }, required.length > 0),
  };
}

const isShape = (json: Json): json is Json & Partial<Shape> & Pick<Shape, "properties"> =>
  typeof json.properties === "object";

function parameter(json: Partial<Shape>, name: string, place: "path" | "query"): Json {
  const { description, ...schema } = json.properties?.[name] ?? {};
  return {
    name,
    in: place,
    required: place === "path" || (json.required?.includes(name) ?? false),
    description: description ?? said(name, place),
    schema,
  };
}

/** An input's fields as a query: for a path that is no procedure. */
export function queryParameters(input: z.ZodType): Json[] {
  const json = openBook().describe(input, "input");
  if (!isShape(json)) throw new Error("A query is an object");
  return Object.keys(json.properties).map((name) => parameter(json, name, "query"));
}

const bodyOf = (schema: Json, required: boolean): Json => ({
  required,
  description: "The request as JSON.",
  content: { "application/json": { schema } },
});

const known: Record<string, string> = {
  limit: "How many entries a page holds at most.",
  cursor: "Where the page begins: `next_cursor` of the page before.",
};

const said = (name: string, place: string) =>
  known[name] ??
    (place === "path"
      ? `Which one: its ${snake(name).replaceAll("_", " ")}.`
      : `Only those with this ${snake(name).replaceAll("_", " ")}.`);

function success({ rest, output, path, meta }: RestEntry, book: Book): Json {
  const ref = (name: string) => ({ $ref: `#/components/headers/${name}` });
  const common = { "X-Request-Id": ref("XRequestId"), RateLimit: ref("RateLimit") };
  const description = `${meta.summary ?? path}: done.`;
  if (rest.status === 204) return { 204: { description, headers: common } };
  const subject = subjectKey(output);
  const headers: Json = {
    ...common,
    ...(subject ? { ETag: ref("ETag") } : {}),
    ...(subject && rest.status === 201 ? { Location: ref("Location") } : {}),
    "Preference-Applied": ref("PreferenceApplied"),
  };
  const schema = book.name(output, "output", `${typeName(path)}Answer`);
  const answer: Json = { description, headers, content: { "application/json": { schema } } };
  const unchanged = { $ref: "#/components/responses/NotModified" };
  return {
    [rest.status]: answer,
    ...(subject && rest.method === "GET" ? { 304: unchanged } : {}),
  };
}

/** Whether a field names something the caller may not see, which then does not exist for them. */
const namesAnother = (input: RestEntry["input"]) =>
  input instanceof z.ZodObject &&
  Object.keys(input.shape).some((key) => key.endsWith("Id") || key === "serviceName");

function failures(
  entry: RestEntry,
  { hasBody, canMatch, more }: { hasBody: boolean; canMatch: boolean; more: readonly number[] },
): Json {
  const { rest, type, meta, input } = entry;
  const statuses = [
    400,
    401,
    ...meta.permission ? [403] : [],
    ...rest.path.includes("{") || namesAnother(input) ? [404] : [],
    ...type === "mutation" ? [409] : [],
    ...canMatch ? [412] : [],
    ...hasBody ? [413, 415] : [],
    ...isKeyed(entry) ? [422] : [],
    429,
    500,
    503,
    ...more,
  ];
  return Object.fromEntries(
    statuses.map((status) => [status, { $ref: `#/components/responses/${refusals[status]}` }]),
  );
}

/** The codes a status may carry, for the description of its component. */
export const codesOf = (status: number): string[] =>
  Object.entries(faults).flatMap(([code, fault]) => fault.status === status ? [code] : []);
