/** A connection is completed by its person, once, as a whole or not at all. */
import assert from "node:assert/strict";
import { eq } from "drizzle-orm";
import { oauthFlows } from "../../db/schema/platforms.ts";
import { asSystem, transact } from "../../src/context.ts";
import { environment } from "../kit.ts";
import {
  clientSecret,
  connect,
  count,
  elsewhere,
  flowOf,
  type House,
  house,
  inMinutes,
  refusal,
  rowOf,
  tenantWith,
  trailOf,
  visit,
} from "./accounts.ts";

let at: House;
let now: Date | null = null;
const lines: string[] = [];
Deno.test.beforeAll(async () => {
  const env = await environment({ LOG_LEVEL: "debug" });
  at = await house({ env, now: () => now ?? new Date(), write: (line) => void lines.push(line) });
});
Deno.test.beforeEach(() => {
  now = null;
  Object.assign(at.provider.settings, { rotate: true, tokenDelayMs: 0, afterToken: undefined });
  at.provider.resetCounts();
});
Deno.test.afterAll(() => at[Symbol.asyncDispose]());

Deno.test("connections.complete knows only the flows of the person itself", async () => {
  const tenant = await tenantWith(at);
  const other = await tenantWith(at);
  const id = await visit(at, tenant.member, tenant);
  for (const stranger of [tenant.admin, other.member, other.admin]) {
    const refused = await refusal(at.as(stranger).platforms.connections.complete({ id }));
    assert.deepEqual([refused.code, refused.reason], ["NotFound", "connection.not_found"]);
  }
  assert.equal(at.provider.counts.codeExchanges, 0);
  const binding = await at.as(tenant.member).platforms.connections.complete({ id });
  assert.equal(binding.userId, tenant.member.userId);
});

Deno.test("connections.complete exchanges once, for however many ask, and answers it again", async () => {
  const tenant = await tenantWith(at);
  const id = await visit(at, tenant.member, tenant);
  const { complete } = at.as(tenant.member).platforms.connections;
  const others = Promise.withResolvers<void>();
  at.provider.settings.beforeToken = () => others.promise;
  let refused = 0;
  const asked = Array.from({ length: 8 }, () =>
    complete({ id }).catch((error) => {
      if (++refused === 7) others.resolve(); // The provider answers once all have asked.
      throw error;
    }));
  const all = await Promise.allSettled(asked);
  at.provider.settings.beforeToken = undefined;
  assert.equal(count(all, ({ status }) => status === "fulfilled"), 1);
  for (const one of all) {
    if (one.status !== "rejected") continue;
    assert.equal((await refusal(Promise.reject(one.reason))).reason, "connection.completing");
  }
  assert.equal(at.provider.counts.codeExchanges, 1);
  const again = await complete({ id });
  assert.deepEqual(again, await complete({ id }));
  const { entries } = await trailOf(at, tenant.tenantId);
  assert.equal(count(entries, ({ action }) => action === "binding.connected"), 1);
});

Deno.test("connections.complete waits for the person and does not outlive the flow", async () => {
  const tenant = await tenantWith(at);
  const { start, complete } = at.as(tenant.member).platforms.connections;
  const started = await start({ platformId: tenant.platform.id });
  assert.equal((await refusal(complete({ id: started.id }))).reason, "connection.pending");
  const id = await visit(at, tenant.member, tenant);
  now = inMinutes(11);
  assert.equal((await refusal(complete({ id }))).reason, "connection.expired");
  now = null;
  await transact(
    asSystem(at.process, tenant.tenantId),
    ({ db }) => db.update(oauthFlows).set({ state: "completing" }).where(eq(oauthFlows.id, id)),
  );
  assert.equal((await refusal(complete({ id }))).reason, "connection.completing");
  now = inMinutes(11);
  assert.equal((await refusal(complete({ id }))).reason, "connection.expired");
});

Deno.test("connections.complete takes code and state where the redirect URI is the client's", async () => {
  const tenant = await tenantWith(at);
  const admin = at.as(tenant.admin).platforms.credentials;
  const { credentials } = await admin.list({ platformId: tenant.platform.id });
  await admin.update({ id: credentials[0]?.id ?? "", redirectUris: [elsewhere] });
  const { start, complete } = at.as(tenant.member).platforms.connections;
  const started = await start({ platformId: tenant.platform.id, redirectUri: elsewhere });
  assert.equal((await start({ platformId: tenant.platform.id })).redirectUri, elsewhere);
  const back = await at.provider.authorize(started.authorizationUrl, { account: "eve" });
  const [code, state] = ["code", "state"].map((name) => back.searchParams.get(name) ?? "");
  assert.ok(code && state);
  await assert.rejects(complete({ id: started.id, code }), /together/);
  const wrong = await refusal(complete({ id: started.id, code, state: `${state.slice(1)}A` }));
  assert.equal(wrong.reason, "state.invalid");
  const binding = await complete({ id: started.id, code, state });
  assert.equal(binding.externalUserId, "eve");
});

Deno.test("connections.complete fails as a whole when the provider refuses", async () => {
  const tenant = await tenantWith(at);
  const { complete } = at.as(tenant.member).platforms.connections;
  const refusals = [
    { prepare: () => at.provider.failTokens({ kind: 500 }), code: "ProviderError" },
    { prepare: () => at.provider.failTokens({ kind: "drop" }), code: "ProviderError" },
    {
      prepare: () =>
        at.provider.addClient({
          clientId: tenant.clientId,
          clientSecret: "another",
          redirectUris: [tenant.callback],
        }),
      code: "CredentialValidation",
    },
  ];
  for (const { prepare, code } of refusals) {
    const id = await visit(at, tenant.member, tenant);
    prepare();
    const refused = await refusal(complete({ id }));
    assert.equal(refused.code, code);
    assert.ok(!refused.message.includes(clientSecret));
    assert.equal((await flowOf(at, tenant.tenantId, id)).state, "failed");
    assert.equal((await refusal(complete({ id }))).reason, "connection.failed");
  }
  const { bindings } = await at.as(tenant.member).platforms.bindings.list({});
  assert.deepEqual(bindings, []);
});

Deno.test("connections.complete refuses an ID token that is not for this flow", async () => {
  const tenant = await tenantWith(at);
  const id = await visit(at, tenant.member, tenant);
  await transact(
    asSystem(at.process, tenant.tenantId),
    ({ db }) => db.update(oauthFlows).set({ nonce: "another" }).where(eq(oauthFlows.id, id)),
  );
  const { complete } = at.as(tenant.member).platforms.connections;
  const refused = await refusal(complete({ id }));
  assert.equal(refused.code, "ProviderError");
  const { bindings } = await at.as(tenant.member).platforms.bindings.list({});
  assert.deepEqual(bindings, []);
});

Deno.test("connections.complete leaves nothing when the service was deactivated meanwhile", async () => {
  const tenant = await tenantWith(at);
  const id = await visit(at, tenant.member, tenant);
  at.provider.settings.afterToken = async () => {
    await at.as(tenant.admin).platforms.services.deactivate({ id: tenant.service.id });
  };
  const api = at.as(tenant.member).platforms;
  const refused = await refusal(api.connections.complete({ id }));
  assert.equal(refused.reason, "service_platform.inactive");
  assert.equal((await flowOf(at, tenant.tenantId, id)).state, "failed");
  assert.deepEqual((await api.bindings.list({})).bindings, []);
  assert.equal(at.provider.counts.revocations, 1, "the provider was not told");
});

Deno.test("the same account again renews its binding; another account gets its own", async () => {
  const tenant = await tenantWith(at);
  const first = await connect(at, tenant.member, tenant, "milo");
  const before = await rowOf(at, tenant.tenantId, first.id);
  const again = await connect(at, tenant.member, tenant, "milo");
  const after = await rowOf(at, tenant.tenantId, first.id);
  assert.equal(again.id, first.id);
  assert.equal(after.tokenVersion, before.tokenVersion + 1);
  assert.notEqual(after.accessToken, before.accessToken);
  const second = await connect(at, tenant.member, tenant, "ada");
  const theirs = await connect(at, tenant.admin, tenant, "milo");
  assert.equal(new Set([first.id, second.id, theirs.id]).size, 3);
  const { revoke, get } = at.as(tenant.member).platforms.bindings;
  await revoke({ id: first.id });
  const fresh = await connect(at, tenant.member, tenant, "milo");
  assert.notEqual(fresh.id, first.id);
  assert.equal((await get({ id: first.id })).state, "revoked");
});

Deno.test("two connections of one account at once end in one binding", async () => {
  const tenant = await tenantWith(at);
  const ids = await Promise.all([1, 2, 3].map(() => visit(at, tenant.member, tenant, "twin")));
  const { complete } = at.as(tenant.member).platforms.connections;
  const made = await Promise.all(ids.map((id) => complete({ id })));
  assert.equal(new Set(made.map(({ id }) => id)).size, 1);
});

Deno.test("an account without an ID token is known by userinfo, without that by nothing", async () => {
  const plain = { defaultScopes: ["calls:read"] };
  const named = await tenantWith(at, {
    ...plain,
    userinfoUrl: `${at.provider.apiUrl}/me`,
    quirks: { accountId: "/account" },
  });
  assert.equal((await connect(at, named.member, named, "nell")).externalUserId, "nell");
  const nameless = await tenantWith(at, { ...plain, userinfoUrl: null, quirks: {} });
  const first = await connect(at, nameless.member, nameless, "nell");
  const second = await connect(at, nameless.member, nameless, "nell");
  assert.deepEqual([first.externalUserId, second.externalUserId], [null, null]);
  assert.notEqual(first.id, second.id);
  const down = await tenantWith(at, { ...plain, userinfoUrl: "http://127.0.0.1:9/me", quirks: {} });
  assert.equal((await connect(at, down.member, down, "nell")).externalUserId, null);
});
