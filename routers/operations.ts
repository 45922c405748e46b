/** One procedure as one operation of the OpenAPI document. */
import { z } from "zod";
import { faults } from "../src/errors.ts";
import { snake } from "../src/wire_names.ts";
import { type RestEntry, subjectKey } from "./procedures.ts";
import type { Book, Json } from "./schemas.ts";

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
  503: "Unavailable",
};

/** `platforms.services.register` is `PlatformsServicesRegister`. */
const typeName = (path: string) =>
  path.replaceAll(/(?:^|[._])(.)/g, (_, first) => first.toUpperCase());

export function operationOf(entry: RestEntry, book: Book): Json {
  const { path, rest, meta, type } = entry;
  const { parameters, body } = requestOf(entry, book);
  const { permission } = meta;
  const isTagged = subjectKey(entry.output) !== null;
  const canMatch = type === "mutation" && isTagged && rest.path.includes("{");
  const headers = [
    ...type === "mutation" ? ["IdempotencyKey"] : [],
    ...canMatch ? ["IfMatch"] : [],
    ...isTagged && rest.method === "GET" ? ["IfNoneMatch"] : [],
    ...rest.status === 204 ? [] : ["Prefer"],
  ];
  return {
    operationId: path,
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
    responses: { ...success(entry, book), ...failures(entry, body !== null, canMatch) },
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
  { rest, type, meta, input }: RestEntry,
  hasBody: boolean,
  canMatch: boolean,
): Json {
  const isMutation = type === "mutation";
  const statuses = [
    400,
    401,
    ...meta.permission ? [403] : [],
    ...rest.path.includes("{") || namesAnother(input) ? [404] : [],
    ...isMutation ? [409, 422] : [],
    ...canMatch ? [412] : [],
    ...hasBody ? [413, 415] : [],
    429,
    500,
    503,
  ];
  return Object.fromEntries(
    statuses.map((status) => [status, { $ref: `#/components/responses/${refusals[status]}` }]),
  );
}

/** The codes a status may carry, for the description of its component. */
export const codesOf = (status: number): string[] =>
  Object.entries(faults).flatMap(([code, fault]) => fault.status === status ? [code] : []);
