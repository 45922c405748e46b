/** What becomes of an account whose token cannot be renewed, or whose refresh was lost. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { userPlatformBindings as table } from "../../db/schema/platforms.ts";
import { accessToken } from "../../src/platforms/bindings.ts";
import { refresh } from "../../src/platforms/refresh.ts";
import { connect, count, refusal, rowOf, type Tenant } from "./accounts.ts";
import { at, clock, quick, type Scene, scene, toExpiry, toMargin } from "./aged.ts";

Deno.test("invalid_grant makes needs_reauth once, and the provider is not asked again", async () => {
  const { tenant, read, row, actions } = await scene();
  at.provider.revokeAccount("milo");
  toExpiry();
  const refused = await refusal(read());
  assert.deepEqual([refused.code, refused.reason], ["BindingNotUsable", "binding.needs_reauth"]);
  const { state, stateReason, isActive } = await row();
  assert.deepEqual([state, stateReason, isActive], ["needs_reauth", "invalid_grant", false]);
  for (let i = 0; i < 10; i++) await refusal(read());
  assert.equal(at.provider.counts.refreshRequests, 1);
  assert.equal(count(await actions(), (action) => action === "binding.needs_reauth"), 1);
  clock.aheadMs = 0;
  const again = await connect(at, tenant.member, tenant);
  assert.equal(again.state, "active");
  assert.ok((await read()).accessToken);
});

Deno.test("invalid_grant is not believed when another version was written meanwhile", async () => {
  const { read, row, set } = await scene();
  toExpiry();
  at.provider.settings.beforeToken = async () => {
    await set({
      tokenVersion: sql`${table.tokenVersion} + 1`,
      tokenExpiresAt: new Date(Date.now() + 3 * 3600_000),
      refreshHolder: null,
      refreshLeaseUntil: null,
    });
    at.provider.revokeAccount("milo");
  };
  assert.ok((await read()).accessToken);
  assert.equal((await row()).state, "active");
});

Deno.test("a provider that is away leaves the old token in use, and is asked once a cool-down", async () => {
  const { read, row, actions } = await scene();
  toMargin();
  const before = await row();
  at.provider.failTokens({ kind: 503 });
  const slow = { ...quick, coolMs: 60_000 };
  const tokens = await Promise.all(Array.from({ length: 5 }, () => read(slow)));
  for (let i = 0; i < 10; i++) tokens.push(await read(slow));
  assert.equal(new Set(tokens.map(({ accessToken }) => accessToken)).size, 1);
  const after = await row();
  assert.deepEqual([after.state, after.stateReason, after.isActive], [
    "expiring",
    "status_503",
    true,
  ]);
  assert.deepEqual([after.tokenVersion, after.refreshAttempts], [before.tokenVersion, 0]);
  assert.equal(at.provider.counts.refreshRequests, 1);
  assert.equal(count(await actions(), (action) => action === "binding.expiring"), 1);
  toExpiry();
  const refused = await refusal(read(slow));
  assert.equal(refused.code, "Unavailable");
  assert.ok((refused.more.retryAfterSeconds ?? 0) > 1);
  assert.equal(at.provider.counts.refreshRequests, 1);
});

Deno.test("a provider that comes back is used again, however often it was away", async () => {
  const { read, row, actions } = await scene();
  toExpiry();
  at.provider.failTokens({ kind: 503 }, 4);
  at.provider.failTokens({ kind: "drop" });
  for (let i = 0; i < 5; i++) {
    assert.equal((await refusal(read())).code, "Unavailable");
    await new Promise((resolve) => setTimeout(resolve, 80));
  }
  assert.ok((await read()).accessToken);
  assert.deepEqual([(await row()).state, (await row()).stateReason], ["active", null]);
  assert.equal(count(await actions(), (action) => action === "binding.expiring"), 1);
  assert.equal(at.provider.counts.refreshRequests, 6);
});

Deno.test("a client the provider does not take is no fault of the person's", async () => {
  const { tenant, read, row } = await scene();
  toExpiry();
  const client = { clientId: tenant.clientId, redirectUris: [tenant.callback] };
  at.provider.addClient({ ...client, clientSecret: "changed there" });
  const refused = await refusal(read());
  assert.deepEqual([refused.code, refused.reason], ["ProviderError", "provider.invalid_client"]);
  assert.equal((await row()).state, "expiring");
  await mend(tenant);
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.ok((await read()).accessToken);
});

async function mend(tenant: Tenant) {
  await at.as(tenant.admin).platforms.services.update({
    id: tenant.service.id,
    config: { clientSecret: "changed there" },
  });
}

Deno.test("an account without a refresh token lives as long as its token", async () => {
  at.provider.settings.refreshTokens = "offline_access";
  const { read, row } = await scene({ defaultScopes: ["openid", "calls:read"] });
  assert.equal((await row()).refreshToken, null);
  toMargin();
  assert.ok((await read()).accessToken);
  toExpiry();
  assert.equal((await refusal(read())).reason, "binding.needs_reauth");
  assert.equal((await row()).stateReason, "no_refresh_token");
  assert.equal(at.provider.counts.refreshRequests, 0);
});

Deno.test("an old client drains: its accounts refresh with it after another took its place", async () => {
  const { tenant, read, id } = await scene();
  const clientId = crypto.randomUUID();
  at.provider.addClient({ clientId, clientSecret: "next", redirectUris: [tenant.callback] });
  await at.as(tenant.admin).platforms.services.update({
    id: tenant.service.id,
    config: { clientId, clientSecret: "next" },
  });
  toExpiry();
  assert.ok((await read()).accessToken);
  const { credentialId } = await rowOf(at, tenant.tenantId, id);
  clock.aheadMs = 0;
  const fresh = await connect(at, tenant.member, tenant, "fresh");
  assert.notEqual(fresh.credentialId, credentialId);
});

Deno.test("tokens that come after a revocation are not written, and the provider is told", async () => {
  const { tenant, read, row, id } = await scene();
  toExpiry();
  at.provider.settings.afterToken = async () => {
    at.provider.settings.afterToken = undefined;
    await at.as(tenant.member).platforms.bindings.revoke({ id });
  };
  assert.equal((await refusal(read())).reason, "binding.revoked");
  const { state, accessToken, refreshToken } = await row();
  assert.deepEqual([state, accessToken, refreshToken], ["revoked", null, null]);
  assert.equal(at.provider.counts.revocations, 2);
});

/** A claim whose holder is gone, as a killed process leaves it. */
const crash = (s: Scene, attempts: number) =>
  s.set({
    refreshHolder: crypto.randomUUID(),
    refreshLeaseUntil: sql`clock_timestamp() - interval '1 second'`,
    refreshAttempts: attempts,
  });

Deno.test("a refresh lost in a crash is tried once more; a third time nobody is asked", async () => {
  const s = await scene();
  toExpiry();
  await crash(s, 1);
  assert.ok((await s.read()).accessToken);
  assert.equal(at.provider.counts.refreshRequests, 1);
  clock.aheadMs *= 2;
  await crash(s, 2);
  for (let i = 0; i < 10; i++) {
    assert.equal((await refusal(s.read())).reason, "binding.needs_reauth");
  }
  assert.equal((await s.row()).stateReason, "refresh_lost");
  assert.equal(at.provider.counts.refreshRequests, 1);
  const actions = await s.actions();
  assert.equal(count(actions, (action) => action === "binding.needs_reauth"), 1);
});

Deno.test("a holder whose lease was taken over writes nothing", async () => {
  const s = await scene();
  toExpiry();
  const taken = crypto.randomUUID();
  at.provider.settings.afterToken = async () => void await s.set({ refreshHolder: taken });
  const { tokenVersion } = await s.row();
  await refresh(s.ctx(), { id: s.id, tokenVersion, isGood: false }, quick);
  const after = await s.row();
  assert.deepEqual([after.tokenVersion, after.refreshHolder], [tokenVersion, taken]);
});

Deno.test("a rotated token is not lost to a database that is away for a moment", async () => {
  const { ctx, id, row } = await scene();
  toExpiry();
  let [away, refused] = [0, 0];
  const { database } = at.process;
  const flaky: typeof database = {
    ...database,
    transaction: async (work, access) => {
      if (away === 0) return await database.transaction(work, access);
      away--;
      refused++;
      throw Object.assign(new Error("away"), { code: "ECONNREFUSED" });
    },
  };
  at.provider.settings.afterToken = () => void (away = 12);
  const token = await accessToken({ ...ctx(), database: flaky }, { id }, quick);
  assert.equal(refused, 12);
  assert.equal((await row()).tokenVersion, 2);
  assert.equal(at.provider.counts.refreshRequests, 1);
  assert.ok(token.accessToken);
});
