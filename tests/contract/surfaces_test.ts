/** Every path the documents promise answers as they say, and every answer is what /openapi.json says. */
import assert from "node:assert/strict";
import { z } from "zod";
import { assertProblem, at, documented, fieldsOf, nobody, type Promised } from "./documented.ts";
import { type Json, placesOf, restAt, rests } from "./doors.ts";
import { example } from "./examples.ts";
import { entries, platform } from "./house.ts";

const { field, side, document, problemsOf, ask, assertPromised } = await documented();
const { w } = field;
const { boss } = side;
const operator = w.operator;

const catalogue = "/api/v1/platforms";
const services = "/api/v1/service-platforms";

/** The documents' operations: S0's catalogue, and S1's registrations at the path SPEC gives them. */
const promised: readonly Promised[] = [
  ["post", catalogue, [201, 400, 409]],
  ["get", `${catalogue}/{id}`, [200, 404]],
  ["put", `${catalogue}/{id}`, [200, 400, 404]],
  ["delete", `${catalogue}/{id}`, [204, 404]],
  ["get", catalogue, [200]],
  ["post", services, [201, 400, 409]],
  ["get", `${services}/{id}`, [200, 404]],
  ["put", `${services}/{id}`, [200, 400, 404]],
  ["post", `${services}/{id}/deactivate`, [200, 404]],
  ["post", `${services}/{id}/activate`, [200, 404, 409]],
  ["get", services, [200]],
];

/** S0's PlatformResponse and what the catalogue adds. */
const platformFields = [
  ...["id", "name", "description", "service_type", "is_active", "metadata", "created_at"],
  ...["updated_at", "auth_kind", "auth_url", "token_url", "revocation_url", "userinfo_url"],
  ...["api_hosts", "default_scopes", "documentation_url", "quirks"],
].sort();
/** S1's PlatformResponse, exactly. */
const serviceFields = [
  ...["id", "tenant_id", "service_name", "config", "is_active", "created_at", "updated_at"],
].sort();
const configFields = ["additional_data", "client_id", "client_secret", "tenant_id"];
const wrapped = ["message", "platform", "success"];

Deno.test("the OpenAPI document describes every path of the documents with their status codes", () => {
  assertPromised(promised);
});

Deno.test("the OpenAPI document names every operation after its procedure, and every route is in it", () => {
  for (const entry of entries) {
    const [own, ...others] = placesOf(entry);
    assert.ok(own, `${entry.path} has no REST place: .meta(rest("GET /…", "…"))`);
    const nameAt = ({ path, method }: typeof own) =>
      at(document.paths, path, method.toLowerCase(), "operationId");
    assert.equal(nameAt(own), entry.path);
    for (const other of others) assert.equal(nameAt(other), `${entry.path}.admin`, other.path);
  }
});

Deno.test("S0: a platform is created (201), and a second of the name refused (409)", async () => {
  const request = {
    name: `Post ${crypto.randomUUID()}`,
    service_type: "email",
    metadata: { a: 1 },
  };
  const made = await ask(operator, "POST", catalogue, request);
  assert.equal(made.status, 201);
  assert.deepEqual(fieldsOf(made.body), wrapped);
  assert.equal(at(made.body, "success"), true);
  assert.deepEqual(fieldsOf(at(made.body, "platform")), platformFields);
  assert.equal(made.headers.get("location"), `${catalogue}/${at(made.body, "platform", "id")}`);
  const again = { ...request, name: request.name.toUpperCase() };
  assertProblem(await ask(operator, "POST", catalogue, request), 409, "PlatformAlreadyExists");
  assertProblem(await ask(operator, "POST", catalogue, again), 409, "PlatformAlreadyExists");
});

Deno.test("S0: a platform that is not right is refused (400) under the documents' names", async () => {
  const post = (body: Json) => ask(operator, "POST", catalogue, body);
  assertProblem(await post({ service_type: "email" }), 400, "ValidationError");
  assertProblem(await post({ name: "Pigeon", service_type: "pigeon" }), 400, "InvalidPlatformType");
  assertProblem(await post({ name: "", service_type: "sms" }), 400, "ValidationError");
  for (const type of ["email", "chat", "sms", "call"]) {
    const made = await post({ name: `${type} ${crypto.randomUUID()}`, service_type: type });
    assert.equal(made.status, 201, type);
  }
});

Deno.test("S0: a platform is got and updated bare (200), deleted with nothing (204), then unknown (404)", async () => {
  const { id } = await platform(field);
  const got = await ask(boss, "GET", `${catalogue}/${id}`);
  assert.equal(got.status, 200);
  assert.deepEqual(fieldsOf(got.body), platformFields);
  const put = await ask(operator, "PUT", `${catalogue}/${id}`, { description: "Letters" });
  assert.equal(put.status, 200);
  assert.deepEqual(fieldsOf(put.body), platformFields);
  assert.equal(at(put.body, "description"), "Letters");
  const wrong = await ask(operator, "PUT", `${catalogue}/${id}`, { service_type: "x" });
  assertProblem(wrong, 400, "InvalidPlatformType");
  const gone = await ask(operator, "DELETE", `${catalogue}/${id}`);
  assert.deepEqual([gone.status, gone.body], [204, ""]);
  for (const target of [id, nobody]) {
    const path = `${catalogue}/${target}`;
    assertProblem(await ask(boss, "GET", path), 404, "PlatformNotFound");
    assertProblem(await ask(operator, "PUT", path, { description: "" }), 404, "PlatformNotFound");
    assertProblem(await ask(operator, "DELETE", path), 404, "PlatformNotFound");
  }
});

Deno.test("S0: a platform in use is not deleted (409)", async () => {
  const { id, name } = await platform(field);
  await registered(name);
  assertProblem(await ask(operator, "DELETE", `${catalogue}/${id}`), 409, "PlatformInUse");
});

Deno.test("S0 and S1: lists answer their nouns and the next cursor (200)", async () => {
  for (const [path, fields] of [[catalogue, platformFields], [services, serviceFields]] as const) {
    await registered((await platform(field)).name);
    await registered((await platform(field)).name);
    const page = await ask(boss, "GET", `${path}?limit=1`);
    assert.equal(page.status, 200);
    assert.deepEqual(fieldsOf(page.body), ["next_cursor", "platforms"]);
    const platforms = at(page.body, "platforms");
    assert.ok(Array.isArray(platforms) && platforms.length === 1);
    assert.deepEqual(fieldsOf(platforms[0]), fields);
    const cursor = at(page.body, "next_cursor");
    assert.equal(cursor, at(platforms[0], "id"));
    const next = await ask(boss, "GET", `${path}?limit=1&cursor=${cursor}`);
    assert.notDeepEqual(at(next.body, "platforms"), platforms);
  }
});

async function registered(serviceName: string) {
  const request = {
    tenant_id: side.tenantId,
    service_name: serviceName,
    config: {
      client_id: "an id",
      client_secret: "a secret of theirs",
      tenant_id: null,
      additional_data: { keepMyCase: { "And-Mine": [1] } },
    },
  };
  return { request, made: await ask(boss, "POST", services, request) };
}

Deno.test("S1: a service is registered (201) with its secret masked, once per tenant (409)", async () => {
  const { name } = await platform(field);
  const { request, made } = await registered(name);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  assert.deepEqual(fieldsOf(made.body), wrapped);
  assert.deepEqual(fieldsOf(at(made.body, "platform")), serviceFields);
  const config = at(made.body, "platform", "config");
  assert.deepEqual(fieldsOf(config), configFields);
  assert.equal(at(config, "client_secret"), "********");
  assert.deepEqual(at(config, "additional_data"), request.config.additional_data);
  assert.equal(at(made.body, "platform", "tenant_id"), side.tenantId);
  assert.equal(made.headers.get("location"), `${services}/${at(made.body, "platform", "id")}`);
  assertProblem(await ask(boss, "POST", services, request), 409, "PlatformAlreadyExists");
});

Deno.test("S1: a service without its credentials is refused (400), as is one nobody knows", async () => {
  const { name } = await platform(field);
  const post = (body: Json) => ask(boss, "POST", services, { service_name: name, ...body });
  assertProblem(await post({ config: { client_id: "x" } }), 400, "InvalidPlatformConfig");
  assertProblem(await post({ config: { client_secret: "x" } }), 400, "InvalidPlatformConfig");
  assertProblem(await post({}), 400, "InvalidPlatformConfig");
  const config = { client_id: "x", client_secret: "y" };
  assertProblem(await post({ service_name: "Pigeon", config }), 400, "ValidationError");
  assertProblem(await post({ tenant_id: nobody, config }), 404, "NotFound");
});

Deno.test("S1: a service is got and updated bare, deactivated and activated with a message", async () => {
  const { name } = await platform(field);
  const { made } = await registered(name);
  const path = `${services}/${at(made.body, "platform", "id")}`;
  const got = await ask(boss, "GET", path);
  assert.deepEqual([got.status, fieldsOf(got.body)], [200, serviceFields]);
  const update = { config: { additional_data: null, tenant_id: "directory" } };
  const put = await ask(boss, "PUT", path, update);
  assert.deepEqual([put.status, fieldsOf(put.body)], [200, serviceFields]);
  assert.deepEqual(at(put.body, "config", "additional_data"), null);
  assert.equal(at(put.body, "config", "tenant_id"), "directory");
  const empty = { config: { client_id: "" } };
  assertProblem(await ask(boss, "PUT", path, empty), 400, "InvalidPlatformConfig");
  const off = await ask(boss, "POST", `${path}/deactivate`);
  assert.deepEqual([off.status, fieldsOf(off.body)], [200, wrapped]);
  assert.equal(at(off.body, "platform", "is_active"), false);
  const { made: again } = await registered(name);
  assertProblem(again, 409, "PlatformAlreadyExists");
  assert.match(String(at(again.body, "detail")), /activate/);
  const on = await ask(boss, "POST", `${path}/activate`);
  assert.deepEqual([on.status, at(on.body, "platform", "is_active")], [200, true]);
  for (const verb of ["", "/deactivate", "/activate"]) {
    const method = verb === "" ? "GET" : "POST";
    assertProblem(await ask(boss, method, `${services}/${nobody}${verb}`), 404, "PlatformNotFound");
  }
  assertProblem(await ask(boss, "PUT", `${services}/${nobody}`, {}), 404, "PlatformNotFound");
});

Deno.test("S1: a list names its tenant, which must be the token's", async () => {
  assert.equal((await ask(boss, "GET", `${services}?tenant_id=${side.tenantId}`)).status, 200);
  assertProblem(await ask(boss, "GET", `${services}?tenant_id=${nobody}`), 404, "NotFound");
});

Deno.test("every good call of every procedure answers what /openapi.json says", async () => {
  for (const entry of entries) {
    for (const place of placesOf(entry)) {
      const { input, as, secrets } = await example(field, side, entry.path);
      const { url, init } = restAt(place, entry, input);
      const response = await w.request(url, init, as);
      const text = await response.text();
      const shown = [...secrets, "sb1."].filter((secret) => text.includes(secret));
      assert.deepEqual(shown, [], `${entry.path} answers with a secret`);
      assert.equal(response.status, place.status, `${entry.path} at ${url}: ${text}`);
      const [path = ""] = url.split("?");
      const wrong = problemsOf(place.method, path, response.status, text && JSON.parse(text));
      assert.deepEqual(wrong, [], `${url} answers what its document does not say: ${text}`);
    }
  }
});

Deno.test("every refusal of every procedure answers what /openapi.json says", async () => {
  for (const entry of entries) {
    const { input, as } = await example(field, side, entry.path);
    const spoiled = [
      ...rests(entry, input, { nothing: "of the kind" }),
      ...rests(entry, { id: nobody }),
    ];
    for (const { url, init } of spoiled) {
      for (const who of [as, null, { ...boss, grants: {} }]) {
        const response = await w.request(url, init, who);
        const text = await response.text();
        if (response.ok) continue;
        const [path = ""] = url.split("?");
        const wrong = problemsOf(init.method ?? "", path, response.status, JSON.parse(text));
        assert.deepEqual(wrong, [], `${init.method} ${url}: ${text}`);
      }
    }
  }
});

Deno.test("the answers in the platform API's own conventions keep their names and carry the header", async () => {
  const headers = { prefer: "conventions=platform-api" };
  const { id } = await platform(field);
  const response = await w.request(`${catalogue}/${id}`, { headers }, boss);
  const body: unknown = await response.json();
  assert.equal(response.headers.get("preference-applied"), "conventions=platform-api");
  assert.deepEqual(fieldsOf(body), platformFields);
  const shape = z.object({
    is_active: z.enum(["YES", "NO"]),
    created_at: z.string().regex(/^\d{14}$/),
  });
  shape.parse(body);
});

Deno.test("/openapi.json is OpenAPI 3.1, the health routes answer, and the world closes", async () => {
  assert.match(document.openapi, /^3\.1\./);
  for (const path of ["/health", "/ready", "/.well-known/jwks.json", "/docs"]) {
    const response = await w.request(path);
    assert.equal(response.status, 200, path);
    await response.body?.cancel();
  }
  await w.close();
});
