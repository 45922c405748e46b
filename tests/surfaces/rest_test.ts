import assert from "node:assert/strict";
import fc from "fast-check";
import { etagOf } from "../../src/etags.ts";
import { at, ids, toyApp } from "./toy.ts";

const { ask, app, seen, reports } = toyApp();
const gmail = `/api/v1/platforms/${ids.gmail}`;
const mail = { name: "Mail", service_type: "email" };

Deno.test("REST answers with the documents' names, status codes and headers", async () => {
  const { status, headers, body } = await ask("POST /api/v1/platforms", {
    json: { ...mail, metadata: { helpURL: 1, snake_too: { camelToo: 2 } } },
  });
  assert.equal(status, 201);
  assert.deepEqual(body.platform.metadata, { helpURL: 1, snake_too: { camelToo: 2 } });
  assert.equal(body.platform.created_at, "2026-11-22T10:11:12.345Z");
  assert.equal(body.platform.is_active, true);
  assert.equal(body.success, true);
  assert.equal(headers.get("location"), gmail);
  assert.equal(headers.get("etag"), etagOf(ids.gmail, at));
  assert.equal(headers.get("x-request-id"), "req-1");
  assert.equal(headers.get("cache-control"), "no-store");
  assert.equal(headers.get("content-type"), "application/json; charset=utf-8");
});

Deno.test("REST answers 204 with nothing", async () => {
  const { status, body, headers } = await ask(`DELETE ${gmail}`);
  assert.deepEqual([status, body, headers.get("content-type")], [204, "", null]);
});

Deno.test("REST answers HEAD as GET without a body", async () => {
  const { status, body, headers } = await ask(`HEAD ${gmail}`);
  assert.deepEqual([status, body], [200, ""]);
  assert.ok(headers.get("etag"));
});

Deno.test("REST reads what the query holds by its schema", async () => {
  seen.length = 0;
  const query = "limit=2&is_active=NO&service_types=sms&created_after=20261122101112&cursor=12";
  assert.equal((await ask(`GET /api/v1/platforms?${query}`)).status, 200);
  assert.deepEqual(seen, [{
    limit: 2,
    isActive: false,
    serviceTypes: ["sms"],
    createdAfter: new Date("2026-11-22T10:11:12Z"),
    cursor: "12",
  }]);
});

Deno.test("REST accepts the telephone platform's dates and booleans in a body", async () => {
  seen.length = 0;
  const json = { ...mail, is_active: "NO", starts_at: "20240229235959", metadata: { on: "YES" } };
  assert.equal((await ask("POST /api/v1/platforms", { json })).status, 201);
  assert.deepEqual(seen, [{
    name: "Mail",
    serviceType: "email",
    isActive: false,
    startsAt: new Date("2024-02-29T23:59:59Z"),
    metadata: { on: "YES" },
  }]);
});

Deno.test("REST answers in the telephone platform's forms on Prefer, values only", async () => {
  const { headers, body } = await ask(`GET ${gmail}`, {
    headers: { prefer: 'respond-async, Conventions = "platform-api"' },
  });
  assert.equal(body.is_active, "YES");
  assert.equal(body.created_at, "20261122101112");
  assert.deepEqual(body.metadata, { helpURL: "x", isActive: true });
  assert.equal(headers.get("preference-applied"), "conventions=platform-api");
  assert.equal(headers.get("vary"), "Prefer");
});

Deno.test("REST answers 304 to the version known, in the form asked for only", async () => {
  const etag = etagOf(ids.gmail, at);
  const known = await ask(`GET ${gmail}`, { headers: { "if-none-match": `"x", W/${etag}` } });
  assert.deepEqual([known.status, known.body, known.headers.get("etag")], [304, "", etag]);
  const other = await ask(`GET ${gmail}`, {
    headers: { "if-none-match": etag, prefer: "conventions=platform-api" },
  });
  assert.equal(other.status, 200);
});

Deno.test("REST hands If-Match to the verb, which refuses another version with 412", async () => {
  const headers = (tag: string) => ({ json: { name: "New" }, headers: { "if-match": tag } });
  assert.equal((await ask(`PUT ${gmail}`, headers(etagOf(ids.gmail, at)))).status, 200);
  assert.equal((await ask(`PUT ${gmail}`, headers(etagOf(ids.gmail, at, "x")))).status, 200);
  assert.equal((await ask(`PUT ${gmail}`, headers("*"))).status, 200);
  const stale = await ask(`PUT ${gmail}`, headers(etagOf(ids.gmail, new Date(0))));
  assert.deepEqual([stale.status, stale.body.code], [412, "PreconditionFailed"]);
  assert.equal((await ask(`PUT ${gmail}`, headers(`W/${etagOf(ids.gmail, at)}`))).status, 412);
});

Deno.test("REST answers unknown paths 404 and known paths' other methods 405 with Allow", async () => {
  const absent = await ask("GET /api/v1/nothing");
  assert.deepEqual([absent.status, absent.body.code], [404, "NotFound"]);
  assert.equal(absent.headers.get("content-type"), "application/problem+json; charset=utf-8");
  const refused = await ask(`PATCH ${gmail}`);
  assert.deepEqual([refused.status, refused.body.code], [405, "MethodNotAllowed"]);
  const allowed = (refused.headers.get("allow") ?? "").split(", ").sort();
  assert.deepEqual(allowed, ["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]);
  const options = await ask(`OPTIONS ${gmail}`);
  assert.deepEqual([options.status, options.headers.get("allow")], [
    204,
    refused.headers.get("allow"),
  ]);
  assert.equal((await ask("GET /api/v1/platforms/search")).status, 200);
});

Deno.test("REST turns callers away before it reads their body", async () => {
  let isRead = false;
  const body = new ReadableStream({
    pull: (controller) => {
      isRead = true;
      controller.close();
    },
  }, { highWaterMark: 0 });
  const headers = { authorization: "mallory" };
  const refused = await app.request("/api/v1/platforms", { method: "POST", body, headers });
  assert.deepEqual([refused.status, isRead], [403, false]);
  const stranger = await app.request("/api/v1/platforms", { method: "POST", body: "{" });
  assert.deepEqual([stranger.status, stranger.headers.get("www-authenticate")], [401, "Bearer"]);
});

Deno.test("REST names unknown, missing and wrong fields as the wire spells them", async () => {
  const { status, body } = await ask("POST /api/v1/platforms", {
    json: {
      serviceType: "email",
      service_type: "fax",
      is_active: "maybe",
      foo: 1,
      config: { client_id: 7 },
    },
  });
  assert.equal(status, 400);
  assert.equal(body.code, "ValidationError");
  assert.deepEqual(
    Object.fromEntries(
      body.errors.map((e: { field: string; message: string }) => [e.field, e.message]),
    ),
    {
      name: "is required",
      service_type: 'must be one of "email", "chat", "sms", "call"',
      is_active: "must be true or false",
      "config.client_id": "must be text",
      foo: "`foo` is not a field of this request",
      serviceType: "`serviceType` is not a field of this request; it is spelled `service_type`",
    },
  );
});

Deno.test("REST answers the code a field is registered with", async () => {
  const type = await ask("POST /api/v1/platforms", { json: { name: "x", service_type: "fax" } });
  assert.deepEqual([type.status, type.body.code], [400, "InvalidPlatformType"]);
  const config = await ask("POST /api/v1/platforms", {
    json: { ...mail, config: { client_id: "a", oops: 1 } },
  });
  assert.equal(config.body.code, "InvalidPlatformConfig");
  assert.equal(config.body.detail, "`oops` is not a field of this request");
  assert.deepEqual(config.body.errors.map((e: { field: string }) => e.field), ["config.oops"]);
});

Deno.test("REST refuses one name with two values", async () => {
  const json = { id: ids.broken, name: "x" };
  const { status, body } = await ask(`PUT ${gmail}`, { json });
  assert.deepEqual([status, body.errors[0].field], [400, "id"]);
  assert.equal((await ask(`PUT ${gmail}`, { json: { id: ids.gmail } })).status, 200);
  assert.equal((await ask(`PUT ${gmail}?id=${ids.broken}`, { json: {} })).status, 400);
});

Deno.test("REST says nothing of a bug but the request id, and reports it", async () => {
  reports.length = 0;
  const { status, body } = await ask(`GET /api/v1/platforms/${ids.broken}`);
  assert.deepEqual([status, body.code, body.request_id], [500, "InternalError", "req-1"]);
  assert.ok(!JSON.stringify(body).includes("secret"));
  assert.equal(reports.length, 1);
});

Deno.test("REST turns bad bodies into 4xx that say what is wrong", async () => {
  const post = (body: BodyInit, type = "application/json") =>
    ask("POST /api/v1/platforms", { method: "POST", body, headers: { "content-type": type } });
  const statuses = async (...answers: ReturnType<typeof post>[]) =>
    (await Promise.all(answers)).map((answer) => answer.status);
  const good = JSON.stringify(mail);
  assert.deepEqual(
    await statuses(
      post(good, "text/plain"),
      post(good, "application/json; charset=latin1"),
      post(good, "application/json;charset=UTF-8"),
      post(good, "application/merge-patch+json"),
      post(`\ufeff${good}`),
      post("{"),
      post("[]"),
      post("null"),
      post(`${good}${" ".repeat(5000)}`),
      post(Uint8Array.of(0x7b, 0xff, 0x7d)),
      post('{"metadata":{"__proto__":1}}'),
      post('{"metadata":{"a":"\\u0000"}}'),
      post('{"metadata":{"a":"\\ud800"}}'),
      post('{"metadata":{"a":1e999}}'),
      post(`{"metadata":{"a":${"[".repeat(40)}${"]".repeat(40)}}}`),
      post(""),
    ),
    [415, 415, 201, 201, 201, 400, 400, 400, 413, 400, 400, 400, 400, 400, 400, 400],
  );
});

Deno.test("REST refuses in query and path what it refuses in a body", async () => {
  for (const query of ["cursor=%00", "__proto__=1", "constructor=1", "isActive=true", "limit=x"]) {
    const { status, body } = await ask(`GET /api/v1/platforms?${query}`);
    assert.deepEqual([status, body.errors.length], [400, 1], query);
  }
  assert.equal((await ask("GET /api/v1/platforms/%00")).status, 400);
  assert.equal((await ask("GET /api/v1/platforms?limit=1&limit=2")).status, 400);
});

Deno.test("REST never answers 5xx to whatever is sent", async () => {
  const text = fc.oneof(fc.string({ unit: "binary", maxLength: 30 }), fc.json());
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "POST", "PUT", "DELETE"),
      fc.array(text, { maxLength: 3 }),
      fc.array(fc.tuple(fc.constantFrom("id", "limit", "is_active", "__proto__", "x"), text)),
      fc.oneof(text, fc.object({ key: fc.constantFrom("name", "metadata", "config", "isActive") })),
      async (method, segments, query, body) => {
        const path = segments.map(encodeURIComponent).join("/");
        const search = new URLSearchParams(query.map(([k, v]) => [k, v.toWellFormed()]));
        const url = `http://x/api/v1/platforms/${path}?${search}`;
        const sent = typeof body === "string" ? body : JSON.stringify(body);
        const response = await app.request(url, {
          method,
          ...(method === "GET" ? {} : { body: sent }),
          headers: { authorization: "ann", "content-type": "application/json" },
        });
        assert.ok(response.status < 500, `${method} ${url} ${sent}`);
      },
    ),
    { numRuns: 500 },
  );
});
