/** An account is connected by the person who started it, once, and by nobody else. */
import assert from "node:assert/strict";
import { eq } from "drizzle-orm";
import { oauthFlows, platformCredentials } from "../../db/schema/platforms.ts";
import { asSystem, read, transact } from "../../src/context.ts";
import { environment } from "../kit.ts";
import {
  clientSecret,
  connect,
  count,
  elsewhere,
  type House,
  house,
  refusal,
  rowOf,
  scopes,
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

const inMinutes = (minutes: number) => new Date(Date.now() + minutes * 60_000);
const land = async (url: string | URL, init: RequestInit = {}) => {
  const { pathname, search } = new URL(url);
  const response = await at.request(pathname + search, init);
  return { status: response.status, headers: response.headers, text: await response.text() };
};
const flowOf = async (tenantId: string, id: string) => {
  const [flow] = await read(
    asSystem(at.process, tenantId),
    ({ db }) => db.select().from(oauthFlows).where(eq(oauthFlows.id, id)),
  );
  assert.ok(flow);
  return flow;
};

Deno.test("connections.start, the callback and complete connect an account", async () => {
  const tenant = await tenantWith(at);
  const binding = await connect(at, tenant.member, tenant, "milo");
  assert.equal(binding.externalUserId, "milo");
  assert.equal(binding.userId, tenant.member.userId);
  assert.equal(binding.state, "active");
  assert.equal(binding.isActive, true);
  assert.deepEqual(binding.scopes.toSorted(), scopes.toSorted());
  assert.ok(binding.tokenExpiry && binding.tokenExpiry > new Date());
  const row = await rowOf(at, tenant.tenantId, binding.id);
  assert.match(row.accessToken ?? "", /^sb1\./);
  assert.match(row.refreshToken ?? "", /^sb1\./);
  const trail = await trailOf(at, tenant.tenantId);
  const connected = trail.entries.find(({ action }) => action === "binding.connected");
  assert.match(String(connected?.diff.access_token?.after), /^fp:/);
  for (const action of ["connection.started", "connection.authorized", "binding.connected"]) {
    assert.equal(count(trail.entries, (entry) => entry.action === action), 1, action);
    assert.equal(count(trail.events, ({ type }) => type === action), 1, action);
  }
  const authorized = trail.entries.find(({ action }) => action === "connection.authorized");
  assert.equal(authorized?.actorType, "anonymous");
});

Deno.test("a connection leaves no state, verifier, code or token in trail or log", async () => {
  const tenant = await tenantWith(at);
  const api = at.as(tenant.member).platforms;
  const started = await api.connections.start({ platformId: tenant.platform.id });
  const back = await at.provider.authorize(started.authorizationUrl, { account: "ada" });
  await land(back);
  const binding = await api.connections.complete({ id: started.id });
  const { accessToken } = await api.bindings.accessToken({ id: binding.id });
  const { text } = await trailOf(at, tenant.tenantId);
  const secrets = [
    back.searchParams.get("state") ?? "",
    back.searchParams.get("code") ?? "",
    accessToken,
    clientSecret,
    "sb1.",
  ];
  for (const secret of secrets) {
    assert.ok(secret.length > 3 && !text.includes(secret), secret);
    assert.ok(!lines.some((line) => line.includes(secret)), secret);
  }
  const flow = await flowOf(tenant.tenantId, started.id);
  assert.equal(flow.code, null);
  assert.ok(!JSON.stringify(flow).includes(secrets[0] ?? ""));
});

Deno.test("connections.start asks with PKCE, a nonce, the quirks and the login hint", async () => {
  const tenant = await tenantWith(at, {
    quirks: {
      authorizationParams: { access_type: "offline", response_type: "token" },
      requiredScopes: ["email"],
      scopeSeparator: ",",
    },
    defaultScopes: ["openid", "calls:read"],
  });
  const started = await at.as(tenant.member).platforms.connections.start({
    serviceName: tenant.platform.name,
    loginHint: "milo@example.com",
  });
  const { searchParams: asked } = new URL(started.authorizationUrl);
  assert.equal(asked.get("scope"), "openid,calls:read,email");
  assert.equal(asked.get("access_type"), "offline");
  assert.equal(asked.get("response_type"), "code", "a quirk replaced what we must send");
  assert.equal(asked.get("code_challenge_method"), "S256");
  assert.match(asked.get("code_challenge") ?? "", /^[\w-]{43}$/);
  assert.ok(asked.get("nonce"));
  assert.equal(asked.get("login_hint"), "milo@example.com");
  assert.equal(asked.get("redirect_uri"), tenant.callback);
  assert.match(asked.get("state") ?? "", /^[\w-]{86}$/);
});

Deno.test("connections.start refuses what cannot be connected", async () => {
  const tenant = await tenantWith(at);
  const { start } = at.as(tenant.member).platforms.connections;
  const platformId = tenant.platform.id;
  const reasonOf = async (input: Parameters<typeof start>[0]) =>
    (await refusal(start(input))).reason;
  assert.equal(await reasonOf({ serviceName: "Nothing such" }), "platform.not_found");
  assert.equal(
    await reasonOf({ platformId, redirectUri: "https://evil.example" }),
    "redirect_uri.invalid",
  );
  assert.equal(
    await reasonOf({ platformId, redirectUri: `${tenant.callback}/` }),
    "redirect_uri.invalid",
  );
  await assert.rejects(start({}), /Give either/);
  await assert.rejects(start({ platformId, serviceName: "both" }), /Give either/);
  const keyed = await at.as(at.operator).platforms.catalogue.create({
    name: `Keyed ${crypto.randomUUID()}`,
    serviceType: "sms",
    authKind: "api_key",
  });
  assert.equal(await reasonOf({ platformId: keyed.platform.id }), "platform_id.invalid");
  const guest = { ...tenant.member, userId: null };
  const noUser = at.as(guest).platforms.connections.start({ platformId });
  assert.equal((await refusal(noUser)).reason, "connection.no_user");
  const other = await at.tenant();
  const unregistered = at.as(other.member).platforms.connections.start({ platformId });
  assert.equal((await refusal(unregistered)).reason, "service_platform.not_registered");
  await at.as(tenant.admin).platforms.services.deactivate({ id: tenant.service.id });
  assert.equal(await reasonOf({ platformId }), "service_platform.inactive");
  await at.as(tenant.admin).platforms.services.activate({ id: tenant.service.id });
  await at.as(at.operator).platforms.catalogue.update({ id: platformId, isActive: false });
  assert.equal(await reasonOf({ platformId }), "platform.not_found");
});

Deno.test("connections.start takes a person's own credential before the tenant's", async () => {
  const tenant = await tenantWith(at);
  const clientId = crypto.randomUUID();
  at.provider.addClient({ clientId, clientSecret: "mine", redirectUris: [tenant.callback] });
  const credential = await at.as(tenant.admin).platforms.credentials.create({
    serviceName: tenant.platform.name,
    clientId,
    clientSecret: "mine",
    ownerUserId: tenant.member.userId,
  });
  await transact(
    asSystem(at.process, tenant.tenantId),
    ({ db }) =>
      db.update(platformCredentials).set({ isActive: true })
        .where(eq(platformCredentials.id, credential.id)),
  );
  const mine = await connect(at, tenant.member, tenant, "mine");
  assert.equal(mine.credentialId, credential.id);
  const others = await connect(at, tenant.admin, tenant, "others");
  assert.notEqual(others.credentialId, credential.id);
});

Deno.test("the callback takes a state once, for ten minutes, and says nothing of why not", async () => {
  const tenant = await tenantWith(at);
  const { start } = at.as(tenant.member).platforms.connections;
  const started = await start({ platformId: tenant.platform.id });
  const back = await at.provider.authorize(started.authorizationUrl);
  const head = await land(back, { method: "HEAD" });
  assert.equal(head.status, 405, "a link scanner used the state up");
  const both = await Promise.all([land(back), land(back), land(back)]);
  assert.deepEqual(both.map(({ status }) => status).toSorted(), [200, 400, 400]);
  const used = await land(back);
  const late = await start({ platformId: tenant.platform.id });
  const lateBack = await at.provider.authorize(late.authorizationUrl);
  now = inMinutes(10.1);
  const expired = await land(lateBack);
  now = null;
  const wrong = new URL(lateBack);
  const state = wrong.searchParams.get("state") ?? "";
  wrong.searchParams.set(
    "state",
    state.slice(0, 60) + (state[60] === "A" ? "B" : "A") + state.slice(61),
  );
  const answers = [
    used,
    expired,
    await land(wrong),
    await land(`${started.redirectUri}?state=x&code=y`),
  ];
  wrong.searchParams.set("state", "A".repeat(86));
  answers.push(await land(wrong), await land(started.redirectUri));
  assert.deepEqual(answers.map(({ status }) => status), answers.map(() => 400));
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
  assert.equal((await flowOf(tenant.tenantId, late.id)).state, "pending");
});

Deno.test("the callback's page shows nothing of the request and loads nothing", async () => {
  const tenant = await tenantWith(at);
  const started = await at.as(tenant.member).platforms.connections.start({
    platformId: tenant.platform.id,
  });
  const back = await at.provider.authorize(started.authorizationUrl);
  const { text, headers } = await land(back);
  assert.match(text, /You can close this window/);
  for (const value of back.searchParams.values()) assert.ok(!text.includes(value));
  assert.equal(
    headers.get("content-security-policy"),
    "default-src 'none'; style-src 'unsafe-inline'",
  );
  assert.equal(headers.get("referrer-policy"), "no-referrer");
  assert.equal(headers.get("cache-control"), "no-store");
  assert.match(headers.get("content-type") ?? "", /^text\/html/);
  const json = await land(back, { headers: { accept: "application/json" } });
  assert.equal(JSON.parse(json.text).status, "invalid");
});

Deno.test("the callback keeps a provider's refusal, and complete says it", async () => {
  const tenant = await tenantWith(at);
  const api = at.as(tenant.member).platforms;
  const started = await api.connections.start({ platformId: tenant.platform.id });
  const back = await at.provider.authorize(started.authorizationUrl, { deny: true });
  assert.equal(back.searchParams.get("error"), "access_denied");
  const landed = await land(back);
  assert.equal(landed.status, 200);
  assert.match(landed.text, /not connected/);
  const failed = await refusal(api.connections.complete({ id: started.id }));
  assert.equal(failed.reason, "connection.failed");
  assert.match(failed.message, /access_denied/);
  const { entries } = await trailOf(at, tenant.tenantId);
  assert.equal(count(entries, ({ action }) => action === "connection.failed"), 1);
});

Deno.test("the callback refuses an answer of another issuer where the issuer is known", async () => {
  const tenant = await tenantWith(at, { metadata: { issuer: at.provider.issuer } });
  const api = at.as(tenant.member).platforms;
  const started = await api.connections.start({ platformId: tenant.platform.id });
  const back = await at.provider.authorize(started.authorizationUrl);
  const mixedUp = new URL(back);
  mixedUp.searchParams.set("iss", "https://evil.example");
  assert.equal((await land(mixedUp)).status, 400);
  assert.equal((await land(back)).status, 200);
  assert.equal((await api.connections.complete({ id: started.id })).state, "active");
});

Deno.test("the callback is limited by address", async () => {
  const address = { remoteAddr: { transport: "tcp", hostname: "192.0.2.9", port: 1 } };
  const knock = () =>
    at.hono.fetch(
      new Request(`${at.env.PUBLIC_URL}/api/v1/oauth/callback?state=x&code=y`),
      address,
    );
  const answers = await Promise.all(Array.from({ length: 61 }, knock));
  const statuses = answers.map(({ status }) => status);
  assert.equal(count(statuses, (status) => status === 429), 1);
  await Promise.all(answers.map((answer) => answer.body?.cancel()));
});

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
  at.provider.settings.tokenDelayMs = 300;
  const all = await Promise.allSettled(Array.from({ length: 8 }, () => complete({ id })));
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
    assert.equal((await flowOf(tenant.tenantId, id)).state, "failed");
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
  assert.equal((await flowOf(tenant.tenantId, id)).state, "failed");
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
