/** A request goes through a connected account to the provider's own hosts, and nothing else does. */
import assert from "node:assert/strict";
import type { Person } from "../kit.ts";
import type { ApiAnswer } from "../stand_ins/oidc_provider.ts";
import { count, tenantWith, trailOf } from "./accounts.ts";
import { at, far, lines, origin, scene, seen, side } from "./far_side.ts";

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

Deno.test("the proxy sends the provider's own Prefer and Idempotency-Key on, without what is ours", async () => {
  const { toFar } = await scene();
  const zone = 'outlook.timezone="Europe/Athens, Greece"';
  const prefers: [string, string | undefined][] = [
    [zone, zone],
    ["conventions=platform-api", undefined],
    ['Conventions = "Platform-API" ; x=1', undefined],
    [
      `conventions=platform-api, ${zone}; q="a,b" , odata.maxpagesize=5`,
      `${zone}; q="a,b", odata.maxpagesize=5`,
    ],
    ["conventions=theirs", "conventions=theirs"],
  ];
  for (const [prefer, sent] of prefers) {
    const init = {
      method: "POST",
      body: "x",
      headers: { prefer, "idempotency-key": '"their key"' },
    };
    await (await toFar("/", init)).body?.cancel();
    const got = seen.at(-1)?.headers ?? {};
    assert.deepEqual([got.prefer, got["idempotency-key"]], [sent, '"their key"'], prefer);
  }
});

Deno.test("the proxy's answer cannot act on our origin or show the token", async () => {
  const { toFar, accessToken } = await scene();
  side.answer = (_, response) => {
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
    side.answer = (_, response) =>
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
