/** A token is renewed once however many want it, and a dead account is said to be dead, once. */
import assert from "node:assert/strict";
import { accessToken } from "../../src/platforms/bindings.ts";
import { until } from "../db/house.ts";
import { count, refusal, trailOf } from "./accounts.ts";
import { at, clock, quick, scene, toExpiry, toMargin } from "./aged.ts";

Deno.test("50 callers at expiry cause one refresh and have one token", async () => {
  const { read, actions } = await scene();
  toExpiry();
  at.provider.settings.tokenDelayMs = 200;
  const tokens = await Promise.all(Array.from({ length: 50 }, () => read()));
  assert.equal(new Set(tokens.map(({ accessToken }) => accessToken)).size, 1);
  const { refreshRequests, reuses } = at.provider.counts;
  assert.deepEqual({ refreshRequests, reuses }, { refreshRequests: 1, reuses: 0 });
  const all = await actions();
  assert.equal(count(all, (action) => action === "binding.refreshed"), 1);
  assert.equal(count(all, (action) => action === "binding.token_read"), 50);
  console.log(`50 callers: ${refreshRequests} refresh, ${reuses} reuses, ${tokens.length} tokens`);
});

Deno.test("a token is renewed a minute before its end, a short one in its last third", async () => {
  clock.frozenMs = Date.now();
  const long = await scene();
  clock.aheadMs = 3600_000 - 65_000;
  await long.read();
  assert.equal(at.provider.counts.refreshRequests, 0);
  clock.aheadMs = 3600_000 - 55_000;
  await long.read();
  assert.equal(at.provider.counts.refreshRequests, 1);
  clock.aheadMs = 0;
  at.provider.settings.accessTokenSeconds = 90;
  const short = await scene();
  clock.aheadMs = 50_000;
  await short.read();
  assert.equal(at.provider.counts.refreshRequests, 0);
  clock.aheadMs = 65_000;
  await short.read();
  assert.equal(at.provider.counts.refreshRequests, 1);
});

Deno.test("a refresh is written down with fingerprints, and keeps what the provider left out", async () => {
  at.provider.settings.rotate = false;
  const { tenant, read, row, id } = await scene();
  const before = await row();
  toExpiry();
  const token = await read();
  const after = await row();
  assert.equal(after.tokenVersion, before.tokenVersion + 1);
  assert.deepEqual([after.refreshAttempts, after.refreshHolder, after.refreshLeaseUntil], [
    0,
    null,
    null,
  ]);
  const { entries, text } = await trailOf(at, tenant.tenantId);
  const entry = entries.find(({ action }) => action === "binding.refreshed");
  assert.equal(entry?.subjectId, id);
  assert.match(String(entry?.diff.access_token?.before), /^fp:/);
  assert.match(String(entry?.diff.access_token?.after), /^fp:/);
  assert.equal(entry?.diff.refresh_token, undefined, "the same refresh token stays");
  assert.ok(!text.includes(token.accessToken));
  toExpiry();
  clock.aheadMs *= 2;
  await read();
  assert.equal(at.provider.counts.refreshSuccesses, 2);
});

Deno.test("a refresh token the provider does not repeat is kept", async () => {
  at.provider.settings.rotate = false;
  const { ctx, id, row } = await scene();
  const before = await row();
  toExpiry();
  const { outbound } = at.process;
  const laconic: typeof outbound = async (url, init) => {
    const { refresh_token: _, ...others } = await (await outbound(url, init)).json();
    return Response.json(others);
  };
  for (const round of [1, 2]) {
    await accessToken({ ...ctx(), outbound: laconic }, { id }, quick);
    assert.equal((await row()).refreshToken, before.refreshToken);
    assert.equal(at.provider.counts.refreshSuccesses, round);
    clock.aheadMs *= 2;
  }
});

Deno.test("in the margin nobody waits: the old token is answered while one refreshes", async () => {
  const { read, ctx, id, row } = await scene();
  toMargin();
  const { tokenVersion } = await row();
  const gate = Promise.withResolvers<void>();
  at.provider.settings.beforeToken = () => gate.promise;
  const holder = { ...at.process, database: { ...at.process.database } }; // As another process.
  const elsewhere = accessToken({ ...ctx(), ...holder }, { id }, quick);
  while (at.provider.counts.refreshesInFlight === 0) await new Promise((go) => setTimeout(go, 5));
  const began = performance.now();
  const token = await read({ ...quick, waitMs: 60_000 });
  assert.ok(performance.now() - began < 30_000); // Who waits does so for a minute.
  gate.resolve();
  assert.notEqual((await elsewhere).accessToken, token.accessToken);
  assert.equal((await row()).tokenVersion, tokenVersion + 1);
  assert.equal(at.provider.counts.refreshRequests, 1);
});

Deno.test("a caller waits for another process's refresh, and not for ever", async () => {
  const { read, ctx, id } = await scene();
  toExpiry();
  const gate = Promise.withResolvers<void>();
  at.provider.settings.beforeToken = () => gate.promise;
  const other = { ...at.process, database: { ...at.process.database } };
  const elsewhere = accessToken({ ...ctx(), ...other }, { id }, quick);
  while (at.provider.counts.refreshesInFlight === 0) await new Promise((go) => setTimeout(go, 5));
  const impatient = await refusal(read({ ...quick, waitMs: 150 }));
  assert.equal(impatient.code, "Unavailable");
  assert.ok((impatient.more.retryAfterSeconds ?? 0) >= 1);
  let looks = 0;
  const { database } = at.process;
  const watched: typeof database = {
    ...database,
    transaction: (work, access) => database.transaction(work, access).finally(() => looks++),
  };
  const patient = { ...quick, waitMs: 30_000 };
  const waiting = accessToken({ ...ctx(), database: watched }, { id }, patient);
  await until(() => looks > 4, "it has looked again and again");
  gate.resolve();
  const tokens = await Promise.all([waiting, elsewhere]);
  assert.equal(tokens[0].accessToken, tokens[1].accessToken);
  assert.equal(at.provider.counts.refreshRequests, 1);
});
