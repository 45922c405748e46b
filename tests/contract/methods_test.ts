/** Every path says which methods it takes, and an address longer than any of ours is refused first. */
import assert from "node:assert/strict";
import { world } from "../kit.ts";

const w = await world();

const pages = [
  ...["/health", "/ready", "/docs", "/docs/reader.js", "/docs/reader.css", "/openapi.json"],
  ...["/.well-known/jwks.json", "/problems/NotFound"],
];

Deno.test("a path that is only read answers 405 with Allow to every other method", async () => {
  for (const path of pages) {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      const response = await w.request(path, { method });
      const { code, request_id } = await response.json();
      assert.deepEqual([response.status, code], [405, "MethodNotAllowed"], `${method} ${path}`);
      assert.equal(response.headers.get("allow"), "GET, HEAD, OPTIONS", path);
      assert.equal(response.headers.get("x-request-id"), request_id);
    }
    for (const [method, status] of [["GET", 200], ["HEAD", 200], ["OPTIONS", 204]] as const) {
      const response = await w.request(path, { method });
      assert.equal(response.status, status, `${method} ${path}`);
      await response.body?.cancel();
    }
  }
  const unknown = await w.request("/problems/Nonsense");
  assert.deepEqual([unknown.status, (await unknown.json()).code], [404, "NotFound"]);
});

Deno.test("/trpc tells its methods to OPTIONS, and in Allow when it refuses one", async () => {
  const [query, mutation] = ["platforms.catalogue.list", "platforms.bindings.revoke"];
  const allowed: [string, string][] = [
    [query, "GET, HEAD, OPTIONS"],
    [mutation, "POST, OPTIONS"],
    [`${query},${query}`, "GET, HEAD, POST, OPTIONS"],
  ];
  for (const [path, allow] of allowed) {
    const options = await w.request(`/trpc/${path}`, { method: "OPTIONS" });
    assert.deepEqual([options.status, await options.text()], [204, ""], path);
    assert.equal(options.headers.get("allow"), allow, path);
  }
  for (const [path, method] of [[query, "PUT"], [query, "POST"], [mutation, "GET"]] as const) {
    const refused = await w.request(`/trpc/${path}`, {
      method,
      ...(method === "POST" ? { body: "{}" } : {}),
    }, w.operator);
    const { error } = await refused.json();
    assert.equal(refused.status, 405, `${method} ${path}: ${JSON.stringify(error)}`);
    assert.equal(refused.headers.get("allow"), allowed.find(([one]) => one === path)?.[1], path);
  }
});

Deno.test("an address over 16 KiB answers 414 on every surface, before anything else", async () => {
  const binding = `/api/v1/bindings/${crypto.randomUUID()}`;
  const places = [
    ...pages,
    ...[
      "/nowhere",
      "/api/v1/platforms",
      "/api/v1/oauth/callback",
      `${binding}/proxy/api.example/x`,
    ],
    ...["/trpc/platforms.catalogue.list", `${binding}/token`],
  ];
  const filled = (path: string, length: number) =>
    `${path}?x=${"a".repeat(length - w.env.PUBLIC_URL.length - path.length - 3)}`;
  for (const path of places) {
    for (
      const [method, who] of [["GET", null], ["POST", w.operator], ["GET", w.operator]] as const
    ) {
      const response = await w.request(filled(path, 16_385), { method }, who);
      const { code, request_id } = await response.json();
      assert.deepEqual([response.status, code], [414, "UriTooLong"], `${method} ${path}`);
      assert.match(response.headers.get("content-type") ?? "", /^application\/problem\+json/);
      assert.equal(response.headers.get("x-request-id"), request_id);
    }
    const longest = await w.request(filled(path, 16_384));
    assert.notEqual(longest.status, 414, path);
    await longest.body?.cancel();
  }
  const inPath = await w.request(`/api/v1/platforms/${"a".repeat(20_000)}`);
  assert.equal(inPath.status, 414);
  await inPath.body?.cancel();
  await w.close();
});
