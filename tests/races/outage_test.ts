/** The database goes away and comes back: every surface says so, quickly, and goes on afterwards. */
import assert from "node:assert/strict";
import { open } from "../../db/client.ts";
import { type House, house } from "../db/house.ts";
import { world } from "../kit.ts";
import { type CuttingProxy, cuttingProxy } from "../stand_ins/cutting_proxy.ts";

let home: House;
let network: CuttingProxy;
Deno.test.beforeAll(async () => {
  home = await house();
  network = cuttingProxy(home.url);
});
Deno.test.afterAll(async () => {
  await network.stop();
  await home[Symbol.asyncDispose]();
});

const post = (body: unknown, headers: Record<string, string> = {}) => ({
  method: "POST",
  body: JSON.stringify(body),
  headers,
});

Deno.test("the app answers 503 while the database is away, and 200 when it is back", async () => {
  const lines: string[] = [];
  const w = await world({ database: open(network.url), write: (line) => lines.push(line) });
  const { tenantId, admin } = await w.tenant();
  const person = { email: "ada@example.com", password: "correct horse battery" };
  await w.person(tenantId, "admin", person);
  const key = { name: "robot", scopes: ["platforms.read"] };
  const calls: [string, RequestInit, boolean][] = [
    ["/api/v1/auth/me", {}, true],
    ["/api/v1/service-platforms", {}, true],
    ["/api/v1/api-keys", post(key), true],
    ["/api/v1/api-keys", post(key, { "idempotency-key": "while-away" }), true],
    ["/api/v1/auth/sign-in", post(person), false],
    [`/trpc/identity.auth.me?input=${encodeURIComponent('{"json":{}}')}`, {}, true],
    ["/api/v1/auth/me", { headers: { "x-api-key": await anApiKey() } }, false],
  ];
  async function anApiKey() {
    const made = await w.request(
      "/api/v1/api-keys",
      post({ ...key, scopes: ["users.read"] }),
      admin,
    );
    return String((await made.json()).key);
  }
  const ask = ([path, init, signedIn]: typeof calls[number]) =>
    w.request(path, init, signedIn ? admin : null);

  network.setDown(true);
  for (const call of calls) {
    const began = performance.now();
    const answer = await ask(call);
    const text = await answer.text();
    assert.equal(answer.status, 503, `${call[0]}: ${text}`);
    assert.match(text, /The database cannot be reached: try again shortly/);
    assert.ok(!text.includes("127.0.0.1") && !text.includes("ECONN"), text);
    assert.ok(performance.now() - began < 3_000, "it took its time");
  }
  assert.equal((await w.request("/health")).status, 200);
  const ready = await w.request("/ready");
  assert.deepEqual([ready.status, await ready.json()], [503, {
    status: "not ready",
    database: "down",
  }]);

  network.setDown(false);
  for (const call of calls) {
    const answer = await ask(call);
    assert.ok(answer.ok, `${call[0]}: ${await answer.text()}`);
  }
  assert.equal((await w.request("/ready")).status, 200);
  assert.equal(await home.count("select count(*) from api_keys where name = 'robot'"), 3);
  await w.close();
});
