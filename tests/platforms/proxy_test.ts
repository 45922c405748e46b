/** A request goes through a connected account to the provider's own hosts, and nothing else does. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { environment, type Person } from "../kit.ts";
import { type Far, http, until } from "../outbound/servers.ts";
import type { ApiAnswer } from "../stand_ins/oidc_provider.ts";
import { connect, count, type House, house, tenantWith, trailOf } from "./accounts.ts";

type Seen = { method: string; url: string; headers: IncomingMessage["headers"]; body: string };

let at: House;
let far: Far;
let origin: string;
let aheadMs = 0;
/** What the far side does next, and what it has seen. */
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let seen: Seen[] = [];
const lines: string[] = [];

Deno.test.beforeAll(async () => {
  const env = await environment({ LOG_LEVEL: "debug" });
  const now = () => new Date(Date.now() + aheadMs);
  at = await house({ env, now, write: (line) => void lines.push(line) });
  far = await http(async (request, response) => {
    let body = "";
    try {
      for await (const chunk of request) body += chunk;
    } catch {
      return; // The proxy broke the upload off.
    }
    seen.push({
      method: request.method ?? "",
      url: request.url ?? "",
      headers: request.headers,
      body,
    });
    answer(request, response);
  });
  origin = `http://127.0.0.1:${far.port}`;
});
Deno.test.beforeEach(() => {
  aheadMs = 0;
  seen = [];
  answer = (_, response) => void response.end("fine");
  at.provider.resetCounts();
});
Deno.test.afterAll(async () => {
  await far[Symbol.asyncDispose]();
  await at[Symbol.asyncDispose]();
});

async function scene() {
  const apiHosts = [new URL(at.provider.apiUrl).origin, origin];
  const tenant = await tenantWith(at, { apiHosts });
  const { id } = await connect(at, tenant.member, tenant);
  const { accessToken } = await at.as(tenant.member).platforms.bindings.accessToken({ id });
  const call = (path: string, init: RequestInit = {}, person: Person | null = tenant.member) =>
    at.request(`/api/v1/bindings/${id}/proxy/${path}`, init, person);
  const toFar = (path = "", init: RequestInit = {}) => call(`127.0.0.1:${far.port}${path}`, init);
  const toApi = (path = "", init: RequestInit = {}) =>
    call(`${new URL(origin).hostname}:${new URL(at.provider.apiUrl).port}${path}`, init);
  at.provider.resetCounts();
  return { tenant, id, accessToken, call, toFar, toApi };
}

Deno.test("the proxy sends method, path, query, body and headers on with the token put in", async () => {
  const { toApi, toFar, accessToken, tenant, id } = await scene();
  const init = { method: "POST", body: "hello", headers: { "x-mine": "1" } };
  const response = await toApi("/api/calls/7?page=2&q=a%20b", init);
  assert.equal(response.status, 200);
  const echo: ApiAnswer = await response.json();
  assert.deepEqual([echo.account, echo.method, echo.path, echo.body], [
    ...["milo", "POST", "/api/calls/7", "hello"],
  ]);
  assert.deepEqual(echo.query, { page: "2", q: "a b" });
  assert.equal(echo.headers["x-mine"], "1");
  for (const method of ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]) {
    const answered = await toFar("/a%2Fb/%20c?x=%2F", { method });
    assert.equal(answered.status, 200);
    await answered.body?.cancel();
    assert.deepEqual([seen.at(-1)?.method, seen.at(-1)?.url], [method, "/a%2Fb/%20c?x=%2F"]);
    assert.equal(seen.at(-1)?.headers.authorization, `Bearer ${accessToken}`);
  }
  await (await toFar("")).body?.cancel();
  assert.equal(seen.at(-1)?.url, "/");
  const trail = await trailOf(at, tenant.tenantId);
  const calls = trail.entries.filter(({ action }) => action === "binding.proxied");
  assert.equal(calls.length, 8);
  assert.equal(calls[0]?.subjectId, id);
  assert.deepEqual(calls[0]?.diff, {
    method: { before: null, after: "POST" },
    host: { before: null, after: new URL(at.provider.apiUrl).host },
    path: { before: null, after: "/api/calls/7" },
  });
  assert.equal(count(trail.events, ({ type }) => type === "binding.proxied"), 8);
  assert.ok(!trail.text.includes(accessToken));
  assert.ok(!lines.some((line) => line.includes(accessToken)));
});

Deno.test("the proxy keeps what is the caller's and ours from the provider", async () => {
  const { toFar } = await scene();
  const headers = {
    cookie: "session=ours",
    "x-api-key": "sb_test_ours",
    "x-forwarded-for": "192.0.2.1",
    forwarded: "for=192.0.2.1",
    "idempotency-key": "k",
    prefer: "conventions=platform-api",
    connection: "x-local, keep-alive",
    "x-local": "1",
    te: "trailers",
    "x-kept": "yes",
  };
  await (await toFar("/", { headers })).body?.cancel();
  const got = seen[0]?.headers ?? {};
  for (const name of Object.keys(headers)) {
    if (name !== "x-kept" && name !== "connection") assert.equal(got[name], undefined, name);
  }
  assert.equal(got["x-kept"], "yes");
  assert.equal(got.host, `127.0.0.1:${far.port}`);
});

Deno.test("the proxy's answer cannot act on our origin or show the token", async () => {
  const { toFar, accessToken } = await scene();
  answer = (_, response) => {
    response.writeHead(201, {
      "set-cookie": "theirs=1",
      "x-echo": `you sent Bearer ${accessToken}`,
      "content-security-policy": "default-src *",
      "access-control-allow-origin": "*",
      "strict-transport-security": "max-age=1",
      "clear-site-data": '"*"',
      connection: "x-hop",
      "x-hop": "1",
      "content-type": "text/html",
      "x-theirs": "kept",
    }).end("<script>alert(1)</script>");
  };
  const response = await toFar("/page");
  assert.equal(response.status, 201);
  assert.equal(await response.text(), "<script>alert(1)</script>");
  const names = ["set-cookie", "x-echo", "access-control-allow-origin", "clear-site-data", "x-hop"];
  for (const name of [...names, "strict-transport-security"]) {
    assert.equal(response.headers.get(name), null, name);
  }
  assert.equal(response.headers.get("content-security-policy"), "sandbox; default-src 'none'");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  assert.equal(response.headers.get("x-theirs"), "kept");
  assert.ok(response.headers.get("ratelimit"), "our own headers are lost");
});

Deno.test("the proxy passes redirects, errors and unchanged answers as they are", async () => {
  const { toFar } = await scene();
  for (const status of [302, 304, 307, 404, 418, 500]) {
    answer = (_, response) =>
      void response.writeHead(status, { location: "http://127.0.0.1:1/elsewhere" }).end();
    const response = await toFar("/", { redirect: "manual" });
    assert.equal(response.status, status);
    assert.equal(response.headers.get("location"), "http://127.0.0.1:1/elsewhere");
    await response.body?.cancel();
  }
  assert.equal(seen.length, 6, "a redirect was followed");
});

Deno.test("the proxy reaches only the platform's hosts, and only for the account's person", async () => {
  const { call, tenant, id } = await scene();
  const reasonOf = async (path: string, person?: Person | null) => {
    const response = await call(path, {}, person);
    assert.match(response.headers.get("content-type") ?? "", /problem\+json/);
    return (await response.json()).reason;
  };
  const { hostname, port } = new URL(origin);
  const hosts = [
    ...["evil.example", `${hostname}`, `${hostname}:1`, `${hostname}:${port}@evil.example`],
    ...[`evil.example%2F${hostname}:${port}`, `${hostname}:${port}%2F..`, "%00", "localhost"],
  ];
  for (const host of hosts) assert.equal(await reasonOf(`${host}/x`), "proxy.host", host);
  const colleague = await at.person(tenant.tenantId, "member");
  const place = `${hostname}:${port}/x`;
  assert.equal(await reasonOf(place, colleague), "binding.not_found");
  assert.equal(await reasonOf(place, tenant.admin), "binding.not_found");
  assert.equal(await reasonOf(place, (await tenantWith(at)).member), "binding.not_found");
  assert.equal(await reasonOf(place, tenant.nobody), "permission.missing");
  assert.equal(await reasonOf(place, null), "principal.missing");
  await at.as(tenant.admin).platforms.services.deactivate({ id: tenant.service.id });
  assert.equal(await reasonOf(place), "service_platform.inactive");
  await at.as(tenant.admin).platforms.services.activate({ id: tenant.service.id });
  await at.as(tenant.member).platforms.bindings.revoke({ id });
  assert.equal(await reasonOf(place), "binding.revoked");
  assert.equal(seen.length, 0);
});

Deno.test("no path leads the proxy to another host", async () => {
  const { id, tenant } = await scene();
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    (request) => at.hono.fetch(request),
  );
  const token = await at.token(tenant.member);
  const raw = async (path: string) => {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port });
    const place = `/api/v1/bindings/${id}/proxy/127.0.0.1:${far.port}${path}`;
    await connection.write(new TextEncoder().encode(
      `GET ${place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    ));
    return await new Response(connection.readable).text();
  };
  const paths = [
    ...[
      "//evil.example/",
      "/..//evil.example",
      "/%2e%2e/%2e%2e/x",
      "/../../../../health",
      "/\\evil",
    ],
    ...["/@evil.example/", "/%2F%2Fevil.example", "/;@evil.example", "/.%2e/x", "/a/../../../../x"],
  ];
  for (const path of paths) {
    const before = seen.length;
    const text = await raw(path);
    const isPassed = seen.length === before + 1;
    assert.ok(isPassed || / (400|403|404) /.test(text.split("\r\n")[0] ?? ""), path);
    if (isPassed) assert.equal(seen.at(-1)?.headers.host, `127.0.0.1:${far.port}`, path);
  }
  await server.shutdown();
});

Deno.test("the proxy streams both ways, bounded", async () => {
  const { toApi, toFar } = await scene();
  const response = await toApi("/api/stream?chunks=4&everyMs=60");
  const times: number[] = [];
  for await (const _ of response.body ?? []) times.push(performance.now());
  assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) > 100, "the answer was held back");
  const chunk = new Uint8Array(1024 * 1024);
  const megabytes = (most: number) => {
    let left = most;
    return new ReadableStream<Uint8Array>({
      pull: (controller) => left-- > 0 ? controller.enqueue(chunk) : controller.close(),
    });
  };
  const upload = (most: number) => toFar("/upload", { method: "POST", body: megabytes(most) });
  const fits = await upload(10);
  assert.equal(fits.status, 200);
  await fits.body?.cancel();
  assert.equal(seen.at(-1)?.body.length, 10 * chunk.byteLength);
  const before = seen.length;
  const tooMuch = await upload(11);
  assert.equal(tooMuch.status, 413);
  await tooMuch.body?.cancel();
  const said = { "content-length": String(11 * chunk.byteLength) };
  const declared = await toFar("/upload", { method: "POST", body: "x", headers: said });
  assert.equal(declared.status, 413);
  await declared.body?.cancel();
  assert.equal(seen.length, before);
});

Deno.test("a caller who goes away takes the provider's connection along", async () => {
  const { toFar } = await scene();
  answer = (_, response) => void response.write("first");
  const gone = new AbortController();
  const response = await toFar("/endless", { signal: gone.signal });
  await until(() => far.open() === 1);
  await response.body?.getReader().cancel();
  await until(() => far.open() === 0);
  answer = () => {};
  const waiting = toFar("/silent", { signal: gone.signal });
  await until(() => far.open() === 1);
  gone.abort();
  await (await waiting).body?.cancel();
  await until(() => far.open() === 0);
});

Deno.test("a refused token is renewed once and the request repeated where it can be", async () => {
  const { toFar, accessToken, tenant } = await scene();
  answer = (request, response) => {
    const isOld = request.headers.authorization === `Bearer ${accessToken}`;
    response.writeHead(isOld ? 401 : 200).end(isOld ? "stale" : "fresh");
  };
  const response = await toFar("/mail");
  assert.deepEqual([response.status, await response.text()], [200, "fresh"]);
  assert.equal(seen.length, 2);
  assert.equal(at.provider.counts.refreshRequests, 1);
  const { entries } = await trailOf(at, tenant.tenantId);
  assert.equal(count(entries, ({ action }) => action === "binding.proxied"), 1);
  answer = (_, response) => void response.writeHead(401).end("never");
  for (let i = 0; i < 5; i++) {
    const refused = await toFar("/mail");
    assert.deepEqual([refused.status, await refused.text()], [401, "never"]);
  }
  assert.equal(at.provider.counts.refreshRequests, 1, "every 401 caused a refresh");
});

Deno.test("a refused token is not renewed for a body that is gone, but is for a small one", async () => {
  const { toFar, accessToken } = await scene();
  answer = (request, response) => {
    const isOld = request.headers.authorization === `Bearer ${accessToken}`;
    response.writeHead(isOld ? 401 : 200).end();
  };
  const stream = () => new Blob(["gone"]).stream();
  const streamed = await toFar("/mail", { method: "POST", body: stream() });
  assert.equal(streamed.status, 401);
  assert.equal(at.provider.counts.refreshRequests, 0);
  const headers = { "content-length": "5" };
  const small = await toFar("/mail", { method: "POST", body: "small", headers });
  assert.equal(small.status, 200);
  assert.deepEqual(seen.map(({ body }) => body), ["gone", "small", "small"]);
  assert.equal(seen.at(-1)?.headers["content-length"], "5");
});

Deno.test("the proxy renews a token that is due before it sends anything", async () => {
  const { toFar, accessToken } = await scene();
  aheadMs = 3601_000;
  const response = await toFar("/mail");
  assert.equal(response.status, 200);
  await response.body?.cancel();
  assert.equal(seen.length, 1);
  assert.notEqual(seen[0]?.headers.authorization, `Bearer ${accessToken}`);
  assert.equal(at.provider.counts.refreshRequests, 1);
});

Deno.test("a provider that is away is said so", async () => {
  const tenant = await tenantWith(at, { apiHosts: ["http://127.0.0.1:9"] });
  const { id } = await connect(at, tenant.member, tenant);
  const path = `/api/v1/bindings/${id}/proxy/127.0.0.1:9/x`;
  const response = await at.request(path, {}, tenant.member);
  const { code, reason } = await response.json();
  assert.deepEqual([response.status, code, reason], [502, "ProviderError", "proxy.unreachable"]);
});
