/** The OpenAPI 3.1 document of everything that is served in REST, out of the procedures' own schemas. */
import type { AnyTRPCRouter } from "@trpc/server";
import { faults } from "../src/errors.ts";
import { codesOf, operationOf, refusals } from "./operations.ts";
import { restEntriesOf } from "./procedures.ts";
import { type Json, openBook } from "./schemas.ts";

export type Document = {
  openapi: string;
  info: Json;
  servers: Json[];
  tags: { name: string; description: string }[];
  paths: Record<string, Json>;
  components: Record<"schemas" | "responses" | "headers" | "parameters" | "securitySchemes", Json>;
};

export type About = {
  version: string;
  /** Where the service is reached, without a slash at the end. */
  serverUrl: string;
  contact: { name: string; url: string; email: string };
  license: { name: string; url: string };
  /** What each domain is about, by the first word of its procedures' paths. */
  domains: Record<string, string>;
  /** Statuses some procedures answer beyond the usual, by the procedure's path. */
  more?: Record<string, readonly number[]>;
  /** Path items of what is not a procedure: health, keys, callbacks; and what they refer to. */
  extra?: {
    paths: Record<string, Json>;
    tags?: { name: string; description: string }[];
    components?: { schemas: Record<string, Json>; responses: Record<string, Json> };
  };
};

/** Makes the document. Do it once: it walks every schema. */
export function openApiOf(router: AnyTRPCRouter, about: About): Document {
  const book = openBook();
  const paths: Record<string, Json> = {};
  const domains = new Set<string>();
  const entries = restEntriesOf(router);
  const gone = Object.keys(about.more ?? {}).find((name) =>
    !entries.some(({ path }) => path === name)
  );
  if (gone) throw new Error(`${gone} is no procedure that REST serves`);
  for (const entry of entries) {
    const { path, method } = entry.rest;
    domains.add(entry.path.split(".")[0] ?? entry.path);
    const beside = { entries, more: about.more?.[entry.path] ?? [] };
    paths[path] = { ...paths[path], [method.toLowerCase()]: operationOf(entry, book, beside) };
  }
  const named = [...domains].map((name) => ({
    name,
    description: about.domains[name] ?? `The procedures of ${name}.`,
  }));
  const all = { ...paths, ...about.extra?.paths };
  const own = about.extra?.components;
  const usedResponses = usedIn({ ...responses(), ...own?.responses }, "responses", all);
  return {
    openapi: "3.1.0",
    info: info(about),
    servers: [{
      url: about.serverUrl,
      description: "The production service you read this from",
      "x-internal": false,
    }],
    tags: [...named, ...about.extra?.tags ?? []].sort((a, b) => a.name < b.name ? -1 : 1),
    paths: all,
    components: {
      schemas: {
        ...Object.fromEntries(book.schemas),
        ...own?.schemas,
        Problem: problem,
        FieldProblem: fieldProblem,
      },
      responses: usedResponses,
      headers: usedIn(headers, "headers", [all, usedResponses]),
      parameters: usedIn(parameters, "parameters", all),
      securitySchemes,
    },
  };
}

/** Those of `components` that something refers to. */
function usedIn(components: Json, kind: string, users: unknown): Json {
  const text = JSON.stringify(users);
  const isUsed = (name: string) => text.includes(`"#/components/${kind}/${name}"`);
  return Object.fromEntries(Object.entries(components).filter(([name]) => isUsed(name)));
}

const info = ({ version, contact, license }: About): Json => ({
  title: "Switchboard",
  version,
  summary: "One multi-tenant platform API: connections, people, chat, telephony, billing.",
  description: [
    "Every operation here is also a tRPC procedure; its `operationId` is the procedure's path.",
    "Dates are RFC 3339 in UTC. `YYYYMMDDHHMMSS` (UTC) and, for booleans, `YES` and `NO` are accepted",
    "everywhere and answered on `Prefer: conventions=platform-api`. Failures are problem documents",
    "(RFC 9457) with a stable `code`. Unknown fields are refused.",
  ].join(" "),
  contact,
  license,
});

const text = (maxLength: number, pattern = "^[^\\u0000]*$"): Json => ({
  type: "string",
  maxLength,
  pattern,
});

const fieldProblem: Json = {
  type: "object",
  description: "One field that is not as it should be.",
  properties: {
    field: { ...text(200), description: "Its path: `config.client_id`." },
    message: { ...text(4000), description: "What would be right." },
  },
  required: ["field", "message"],
  additionalProperties: false,
};

const problem: Json = {
  type: "object",
  description: "What went wrong (RFC 9457).",
  properties: {
    type: text(200, "^/problems/[A-Za-z]+$"),
    title: text(200),
    status: { type: "integer", format: "int32", minimum: 400, maximum: 599 },
    detail: text(20_000),
    code: { type: "string", enum: [...Object.keys(faults), "InternalError"] },
    reason: { ...text(200), description: "A stable machine word, `noun.fact`." },
    errors: { type: "array", maxItems: 1000, items: { $ref: "#/components/schemas/FieldProblem" } },
    request_id: { ...text(200), description: "Quote it when you ask about this answer." },
  },
  required: ["type", "title", "status", "detail", "code", "reason", "request_id"],
  additionalProperties: false,
};

const header = (description: string, schema: Json): Json => ({ description, schema });

const headers: Json = {
  XRequestId: header("The name of this request in our logs and audit trail.", text(200)),
  RateLimit: header(
    "What is left of the limit, `r`, and the seconds until more, `t` (RateLimit header fields).",
    text(200),
  ),
  RetryAfter: header("Seconds to wait before trying again.", {
    type: "integer",
    format: "int32",
    minimum: 0,
    maximum: 86_400,
  }),
  ETag: header("The version of the resource, for If-Match and If-None-Match.", text(200)),
  Location: header("Where the new resource is.", text(2000, "^/")),
  PreferenceApplied: header("`conventions=platform-api` when that was asked for.", text(200)),
  WWWAuthenticate: header("How to sign in: `Bearer`.", text(200)),
  Vary: header("`Prefer`: another preference, another answer.", text(200)),
};

const inHeader = (name: string, description: string, schema: Json): Json => ({
  name,
  in: "header",
  required: false,
  description,
  schema,
});

const parameters: Json = {
  IdempotencyKey: inHeader(
    "Idempotency-Key",
    "Sent again with the same key, the request has one effect and the same answer for 24 hours.",
    text(255),
  ),
  IfMatch: inHeader(
    "If-Match",
    "Only if the resource still has one of these versions.",
    text(4000),
  ),
  IfNoneMatch: inHeader("If-None-Match", "Only if it has none of these versions.", text(4000)),
  Prefer: inHeader(
    "Prefer",
    "`conventions=platform-api`: dates as `YYYYMMDDHHMMSS` (UTC), booleans as `YES` and `NO`.",
    { ...text(1000), examples: ["conventions=platform-api"] },
  ),
};

const securitySchemes: Json = {
  bearer: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description:
      "An access token of minutes (RFC 9068), signed with EdDSA and checked as RFC8725 " +
      "asks; or an API key, `sb_<env>_<id>_<secret>`.",
  },
  apiKey: {
    type: "apiKey",
    in: "header",
    name: "X-API-Key",
    description: "An API key, `sb_<env>_<id>_<secret>`.",
  },
};

/** The refusals, one component a status, and 304. */
function responses(): Json {
  const ref = (name: string) => ({ $ref: `#/components/headers/${name}` });
  const common = { "X-Request-Id": ref("XRequestId"), RateLimit: ref("RateLimit") };
  const refusal = (status: number): Json => {
    const codes = codesOf(status);
    return {
      description: status === 500
        ? "Something broke on our side."
        : `The code is ${codes.map((code) => `\`${code}\``).join(", ")}.`,
      headers: {
        ...common,
        ...(status === 401 ? { "WWW-Authenticate": ref("WWWAuthenticate") } : {}),
        ...(status === 429 || status === 503 ? { "Retry-After": ref("RetryAfter") } : {}),
      },
      content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
    };
  };
  const all = Object.entries(refusals).map(([status, name]) => [name, refusal(Number(status))]);
  return {
    ...Object.fromEntries(all),
    NotModified: {
      description: "You have this version already.",
      headers: { "X-Request-Id": ref("XRequestId"), ETag: ref("ETag"), Vary: ref("Vary") },
    },
  };
}
