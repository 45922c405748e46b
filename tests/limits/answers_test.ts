/** Every surface says what is left of its caller's limits, on good answers and on refusals. */
import assert from "node:assert/strict";
import { app } from "../../src/app.ts";
import { world } from "../kit.ts";

Deno.test("every surface says the limits of whoever asks, and what is nobody's says none", async () => {
  const w = await world();
  const { admin } = await w.tenant();
  const ways: [string, RequestInit?][] = [
    ["/api/v1/users"],
    ["/api/v1/users/nobody"],
    ["/api/v1/platforms", { method: "POST", body: "{" }],
    ["/trpc/identity.users.list"],
    ["/trpc/identity.users.get?input=1"],
    ["/trpc/identity.users.list,identity.groups.list?batch=1"],
    ["/trpc/identity.users.create", { method: "POST", body: "{}" }],
    ["/v1/models"],
  ];
  for (const [path, init] of ways) {
    const { headers } = await w.request(path, init, admin);
    const { tenantId, userId } = admin;
    const told = `${path}, asked by ${userId} of ${tenantId}`;
    assert.match(
      headers.get("ratelimit") ?? "",
      /^"principal";r=\d+;t=\d+, "tenant";r=\d+;t=\d+$/,
      told,
    );
    assert.match(
      headers.get("ratelimit-policy") ?? "",
      /^"principal";q=1000000;w=60, "tenant";/,
      told,
    );
    const strangers = await w.request(path, init);
    assert.match(strangers.headers.get("ratelimit") ?? "", /^"principal";r=\d+;t=\d+$/, path);
  }
  assert.equal((await w.request("/health")).headers.get("ratelimit"), null);
  await w.close();
});

Deno.test("who asks too often is told so with the limit and when to come back, on every surface", async () => {
  const w = await world();
  for (const path of ["/api/v1/users", "/trpc/identity.users.list", "/v1/models"]) {
    const { admin } = await w.tenant();
    const authorization = `Bearer ${await w.token(admin)}`;
    const options = { tenantRequestsPerMinute: 100, trustForwardedFor: false };
    const hono = app(w.process, { ...options, requestsPerMinute: 1 });
    const ask = async () =>
      await hono.fetch(new Request(`${w.env.PUBLIC_URL}${path}`, { headers: { authorization } }));
    await (await ask()).body?.cancel();
    const { status, headers } = await ask();
    assert.equal(status, 429, path);
    assert.match(headers.get("ratelimit") ?? "", /^"principal";r=0;t=\d+$/, path);
    assert.ok(Number(headers.get("retry-after")) >= 1, path);
  }
  await w.close();
});
