/** An account is connected by the person who started it, once, and by nobody else. */
import assert from "node:assert/strict";
import { eq } from "drizzle-orm";
import { platformCredentials } from "../../db/schema/platforms.ts";
import { asSystem, transact } from "../../src/context.ts";
import { environment } from "../kit.ts";
import {
  clientSecret,
  connect,
  count,
  flowOf,
  type House,
  house,
  inMinutes,
  refusal,
  rowOf,
  scopes,
  tenantWith,
  trailOf,
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

const land = async (url: string | URL, init: RequestInit = {}) => {
  const { pathname, search } = new URL(url);
  const response = await at.request(pathname + search, init);
  return { status: response.status, headers: response.headers, text: await response.text() };
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
  const flow = await flowOf(at, tenant.tenantId, started.id);
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
  assert.equal((await flowOf(at, tenant.tenantId, late.id)).state, "pending");
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
