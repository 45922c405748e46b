import assert from "node:assert/strict";
import { initTRPC } from "@trpc/server";
import superjson from "superjson";
import { z } from "zod";
import { type Document, openApiOf } from "../../routers/openapi.ts";
import { conformityOf } from "./conformity.ts";
import { lint } from "./lint.ts";
import { ids, toy, toyApp } from "./toy.ts";

const about = {
  version: "1.0.0",
  serverUrl: "https://switchboard.test",
  contact: { name: "Operators", url: "https://switchboard.test", email: "ops@switchboard.test" },
  license: { name: "MIT", url: "https://opensource.org/license/mit" },
  domains: { platforms: "What this installation can connect to." },
};
const document = openApiOf(toy, about);

/** Walks into the document; fails with the place that is not there. */
function at(document: Document, ...path: string[]): unknown {
  return path.reduce((value: unknown, key) => {
    assert.ok(typeof value === "object" && value !== null && key in value, `${path} lacks ${key}`);
    return Reflect.get(value, key);
  }, document);
}

Deno.test("openApiOf makes a document that lints clean", async () => {
  assert.deepEqual(await lint(document), []);
});

Deno.test("lint sees an operation without failures and a text without a bound", async () => {
  const planted = structuredClone(document);
  Object.assign(planted.paths["/api/v1/platforms/search"] ?? {}, {
    get: {
      responses: {
        200: {
          description: "Found",
          content: { "application/json": { schema: { type: "string" } } },
        },
      },
    },
  });
  const rules = (await lint(planted)).map((finding) => finding.split(" ")[0]);
  for (const rule of ["operation-operationId", "owasp:api4:2023-string-limit"]) {
    assert.ok(rules.includes(rule), rule);
  }
});

Deno.test("openApiOf spells fields as the wire does and leaves free-form keys alone", () => {
  const body = at(document, "components", "schemas", "PlatformsCreateRequest");
  assert.deepEqual(
    Object.keys(at(document, "components", "schemas", "Platform", "properties") as object),
    [
      "id",
      "name",
      "service_type",
      "is_active",
      "metadata",
      "created_at",
      "updated_at",
    ],
  );
  assert.deepEqual(Reflect.get(Object(body), "required"), ["name", "service_type"]);
  assert.equal(Reflect.get(Object(body), "additionalProperties"), false);
  const config = at(
    document,
    "components",
    "schemas",
    "PlatformsCreateRequest",
    "properties",
    "config",
  );
  assert.deepEqual(Object.keys(Reflect.get(Object(config), "properties")), [
    "client_id",
    "additional_data",
  ]);
});

Deno.test("openApiOf gives each operation its parameters and refusals", () => {
  const put = at(document, "paths", "/api/v1/platforms/{id}", "put");
  const { responses, parameters, operationId } = Object(put);
  assert.equal(operationId, "platforms.update");
  assert.deepEqual(
    Object.keys(responses).map(Number),
    [200, 400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 500, 503],
  );
  const names = parameters.map((p: { name?: string; $ref?: string }) =>
    p.name ?? p.$ref?.split("/").at(-1)
  );
  assert.deepEqual(names, ["id", "IdempotencyKey", "IfMatch", "Prefer"]);
  assert.deepEqual(
    Object.keys(Object(at(document, "paths", "/api/v1/platforms", "get")).responses),
    [
      "200",
      "400",
      "401",
      "403",
      "429",
      "500",
      "503",
    ],
  );
});

Deno.test("openApiOf describes every kind of schema and still lints clean", async () => {
  type Node = { id: string; children: Node[] };
  const Node: z.ZodType<Node> = z.object({
    id: z.uuid(),
    get children() {
      return z.array(Node).max(10);
    },
  }).meta({ id: "Node" });
  const t = initTRPC.meta<object>().create({ transformer: superjson });
  const kinds = t.router({
    kinds: {
      put: t.procedure.meta({
        permission: "kinds.put",
        summary: "Put all kinds",
        rest: { method: "PUT", path: "/api/v1/kinds/{kind_id}", status: 200 },
      }).input(z.strictObject({
        kindId: z.uuid(),
        count: z.bigint(),
        since: z.iso.datetime(),
        shape: z.discriminatedUnion("kind", [
          z.strictObject({ kind: z.literal("a"), isOn: z.boolean() }),
          z.strictObject({ kind: z.literal("b"), size: z.int() }),
        ]),
        labels: z.record(z.string(), z.string().max(10)),
        either: z.union([z.string(), z.number()]).nullable(),
        defaults: z.strictObject({ isOn: z.boolean() }).default({ isOn: true }),
      })).output(Node).mutation(() => ({ id: ids.gmail, children: [] })),
    },
  });
  const document = openApiOf(kinds, about);
  assert.deepEqual(await lint(document), []);
  const body = at(document, "components", "schemas", "KindsPutRequest", "properties");
  assert.deepEqual(Object(body).defaults.default, { is_on: true });
  assert.equal(Object(body).count.type, "string");
});

Deno.test("openApiOf describes what is not a procedure", () => {
  const paths = { "/health": { get: { operationId: "health" } } };
  const more = openApiOf(toy, { ...about, extra: { paths } });
  assert.deepEqual(more.paths["/health"], paths["/health"]);
});

Deno.test("REST's answers conform to the document, refusals too", async () => {
  const { ask } = toyApp();
  const conforms = conformityOf(document);
  const asked: [string, string, RequestInit & { json?: unknown }][] = [
    ["POST", "/api/v1/platforms", { json: { name: "Mail", service_type: "email" } }],
    ["POST", "/api/v1/platforms", { json: { name: 1 } }],
    ["GET", "/api/v1/platforms", {}],
    ["GET", `/api/v1/platforms/${ids.gmail}`, {}],
    ["GET", `/api/v1/platforms/${ids.broken}`, {}],
    ["GET", "/api/v1/platforms/nobody", {}],
    ["DELETE", `/api/v1/platforms/${ids.gmail}`, {}],
    ["PUT", `/api/v1/platforms/${ids.gmail}`, { json: {}, headers: { "if-match": '"x"' } }],
  ];
  for (const [method, path, init] of asked) {
    const { status, body } = await ask(`${method} ${path}`, init);
    assert.deepEqual(conforms(method, path, status, body), [], `${method} ${path}`);
  }
  assert.notDeepEqual(conforms("GET", "/api/v1/platforms", 200, { platforms: [{}] }), []);
  assert.notDeepEqual(conforms("GET", "/api/v1/platforms", 418, {}), []);
});
