/** Signing in at an identity provider: who may come in, as whom, once, and what is said of it. */
import assert from "node:assert/strict";
import { elsewhere, minutes } from "./house.ts";
import { claimed, clientSecret, returnTo, type SsoHome, ssoHome } from "./sso_house.ts";

let h: SsoHome;
Deno.test.beforeAll(async () => void (h = await ssoHome()));
Deno.test.beforeEach(() => {
  h.provider.settings.claims = undefined;
  h.clock.ms = Date.now();
});
Deno.test.afterAll(() => h.close());

const identitiesOf = (tenantId: string) =>
  h.sql("select owner_user_id, subject from user_identities where tenant_id = $1", [tenantId]);
const usersOf = (tenantId: string) =>
  h.sql("select id, email, display_name from users where tenant_id = $1", [tenantId]);

Deno.test("sso.start, the callback and complete sign a new user of a verified domain in", async () => {
  const { tenantId, domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `Ada@${domain}`, name: "Ada Lovelace" } });
  const answer = await h.signIn(idp.id, "ada");
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const { body } = await h.me(answer.body);
  assert.equal(body.email, `ada@${domain}`);
  assert.equal(body.display_name, "Ada Lovelace");
  assert.equal(body.tenant_id, tenantId);
  const [binding] = await h.sql("select * from role_bindings where owner_user_id = $1", [
    answer.body.user_id,
  ]);
  assert.equal(binding?.system_role, "member");
  assert.equal(binding?.applies_to_tenant_id, tenantId);
  assert.deepEqual((await h.trail(tenantId)).slice(-6).map(({ action }) => action), [
    "sso.started",
    "sso.authorized",
    "user.created",
    "user.linked",
    "sso.completed",
    "session.opened",
  ]);
  assert.deepEqual((await h.eventTypes(tenantId)).slice(-4), [
    "user.created",
    "user.linked",
    "sso.completed",
    "session.opened",
  ]);
  const refreshed = await h.send("/auth/refresh", { refresh_token: answer.body.refresh_token });
  assert.equal(refreshed.status, 200);
});

Deno.test("sso.complete knows a subject again by itself, whatever their e-mail is by now", async () => {
  const { tenantId, domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  const first = await h.signIn(idp.id, "ada");
  for (
    const claims of [
      { email: "ada@elsewhere.example" },
      { email: undefined, email_verified: undefined },
      { email: `ada@${domain}`, email_verified: false },
    ]
  ) {
    claimed(h.provider, { ada: claims });
    const again = await h.signIn(idp.id, "ada");
    assert.equal(again.status, 200, JSON.stringify(again.body));
    assert.equal(again.body.user_id, first.body.user_id);
  }
  assert.equal((await identitiesOf(tenantId)).length, 1);
  assert.equal((await usersOf(tenantId)).length, 2, "the owner and ada");
});

Deno.test("sso.complete links a user of the tenant by an e-mail both sides have verified", async () => {
  const { tenantId, domain, idp } = await h.house();
  const bob = await h.login(tenantId, { email: `bob@${domain}`, role: "auditor" });
  claimed(h.provider, { b0b: { email: `BOB@${domain}` } });
  const answer = await h.signIn(idp.id, "b0b");
  assert.equal(answer.body.user_id, bob.userId);
  assert.deepEqual(await identitiesOf(tenantId), [{ owner_user_id: bob.userId, subject: "b0b" }]);
  const [completed] = (await h.trail(tenantId)).filter(({ action }) => action === "sso.completed");
  assert.equal(completed?.actor_id, bob.userId);
  const { body } = await h.me(answer.body);
  assert.equal(Reflect.get(Object(body.permissions), "audit.read"), "tenant");
});

Deno.test("sso.complete neither links nor creates where the provider may not", async () => {
  for (const [links, creates] of [[false, true], [true, false]] as const) {
    const { tenantId, domain, idp } = await h.house({ linksUsers: links, createsUsers: creates });
    await h.login(tenantId, { email: `here@${domain}` });
    claimed(h.provider, {
      here: { email: `here@${domain}` },
      new: { email: `new@${domain}` },
    });
    const [here, fresh] = [await h.signIn(idp.id, "here"), await h.signIn(idp.id, "new")];
    assert.equal(here.status, links ? 200 : 403);
    assert.equal(fresh.status, creates ? 200 : 403);
    const { body } = links ? fresh : here;
    assert.equal(body.reason, "sso.not_known");
    assert.match(String(body.detail), /nobody here does/);
    assert.equal((await identitiesOf(tenantId)).length, 1);
  }
});

Deno.test("sso.complete makes a user without a role where the provider gives none", async () => {
  const { domain, idp } = await h.house({ systemRole: null });
  claimed(h.provider, { ada: { email: `ada@${domain}`, name: "\u0007" } });
  const answer = await h.signIn(idp.id, "ada");
  const { body } = await h.me(answer.body);
  assert.equal(body.display_name, `ada@${domain}`, "a name that is none");
  assert.equal(Reflect.get(Object(body.permissions), "platforms.read"), undefined);
  assert.equal(Reflect.get(Object(body.permissions), "users.read"), "self");
});

Deno.test("sso.start asks with PKCE, nonce, state, openid and our one address", async () => {
  const { domain, idp } = await h.house({ scopes: ["email", "openid"] });
  const { body } = await h.start({ email: ` Ada@${domain.toUpperCase()}` });
  const asked = new URL(String(body.authorization_url)).searchParams;
  assert.equal(asked.get("redirect_uri"), h.callback);
  assert.equal(asked.get("scope"), "openid email");
  assert.equal(asked.get("client_id"), idp.clientId);
  assert.equal(asked.get("response_type"), "code");
  assert.equal(asked.get("code_challenge_method"), "S256");
  assert.match(asked.get("code_challenge") ?? "", /^[\w-]{43}$/);
  assert.match(asked.get("nonce") ?? "", /^[\w-]{43}$/);
  assert.match(asked.get("state") ?? "", /^[\w-]{86}$/);
  assert.equal(asked.get("login_hint"), `ada@${domain}`);
  assert.match(String(body.secret), /^[\w-]{86}$/);
  assert.notEqual(body.secret, asked.get("state"));
  assert.equal(new Date(String(body.expires_at)).getTime(), h.clock.ms + minutes(10));
});

Deno.test("sso.start finds the provider by id, by tenant and by a verified domain", async () => {
  const { tenantId, owner, domain, idp } = await h.house();
  for (
    const input of [{ identity_provider_id: idp.id }, { tenant: tenantId }, {
      email: `x@${domain}`,
    }]
  ) {
    const { status, body } = await h.start(input);
    assert.equal(status, 201, JSON.stringify(body));
    assert.ok(String(body.authorization_url).includes(idp.clientId));
  }
  const second = await h.providerFor(owner);
  const several = [await h.start({ tenant: tenantId }), await h.start({ email: `x@${domain}` })];
  for (const { status, body } of several) {
    assert.equal(status, 409);
    assert.equal(body.reason, "sso.several_providers");
    assert.deepEqual(
      body.errors,
      [idp, second].map(({ id, name }) => ({
        field: "identity_provider_id",
        message: `${id} is ${name}`,
      })),
    );
  }
});

Deno.test("sso.start answers alike for an unknown domain, one nobody verified, and none in use", async () => {
  const { tenantId, owner, domain, idp } = await h.house();
  await h.sql(
    "insert into domains (tenant_id, id, name, challenge) values ($1, gen_random_uuid(), $2, 'c')",
    [tenantId, `claimed.${domain}`],
  );
  await h.w.as(owner).identity.identityProviders.delete({ id: idp.id });
  const answers = [
    await h.start({ email: "ada@nowhere.example" }),
    await h.start({ email: `ada@claimed.${domain}` }),
    await h.start({ email: `ada@${domain}` }),
    await h.start({ tenant: tenantId }),
    await h.start({ tenant: crypto.randomUUID() }),
    await h.start({ identity_provider_id: idp.id }),
    await h.start({ identity_provider_id: crypto.randomUUID() }),
  ];
  const shapes = answers.map(({ status, body }) => [status, body.reason, body.detail].join());
  assert.deepEqual(new Set(shapes), new Set([shapes[0]]));
  assert.equal(answers[0]?.status, 404);
});

Deno.test("sso.start wants exactly one way to find the provider", async () => {
  const { tenantId, idp } = await h.house();
  for (const input of [{}, { tenant: tenantId, identity_provider_id: idp.id }]) {
    const { status, body } = await h.start(input);
    assert.equal(status, 400);
    assert.match(JSON.stringify(body.errors), /Give an identity provider's id/);
  }
});

Deno.test("sso.start is limited by address, and nobody else's", async () => {
  const { idp } = await h.house();
  const [address, other] = [elsewhere(), elsewhere()];
  const knock = (from: string) =>
    h.send("/auth/sso/start", { identity_provider_id: idp.id }, { address: from });
  const answers = [];
  for (let i = 0; i < 31; i++) answers.push((await knock(address)).status);
  assert.equal(answers.filter((status) => status === 201).length, 30);
  assert.equal(answers.at(-1), 429);
  assert.equal((await knock(other)).status, 201);
});

Deno.test("the callback sends the browser on with the flow's id and nothing else", async () => {
  const { domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  const input = { identity_provider_id: idp.id, return_to: returnTo };
  const { id, secret, back } = await h.visit(input, "ada");
  const { status, headers, text } = await h.land(back);
  assert.equal(status, 303);
  const location = new URL(headers.get("location") ?? "");
  assert.equal(location.href, `${returnTo}&flow=${id}`);
  for (const value of [back.searchParams.get("code"), back.searchParams.get("state")]) {
    assert.ok(!`${location.href} ${text}`.includes(value ?? ""));
  }
  assert.equal(headers.get("cache-control"), "no-store");
  assert.equal(headers.get("referrer-policy"), "no-referrer");
  assert.equal((await h.complete({ id, secret })).status, 200);
});

Deno.test("the callback's page shows nothing of the request and loads nothing", async () => {
  const { idp } = await h.house();
  const { back } = await h.visit({ identity_provider_id: idp.id }, "ada");
  const head = await h.land(back, { method: "HEAD" });
  assert.equal(head.status, 405, "a link scanner used the state up");
  const { status, text, headers } = await h.land(back);
  assert.equal(status, 200);
  for (const value of back.searchParams.values()) assert.ok(!text.includes(value));
  assert.match(headers.get("content-security-policy") ?? "", /default-src 'none'/);
  assert.match(headers.get("content-type") ?? "", /^text\/html/);
});

Deno.test("the callback keeps a provider's refusal, and complete says it", async () => {
  const { tenantId, idp } = await h.house();
  const started = await h.start({ identity_provider_id: idp.id });
  const { id, secret, authorization_url: url } = started.body;
  const back = await h.provider.authorize(String(url), { deny: true });
  assert.match((await h.land(back)).text, /not signed in/);
  const { status, body } = await h.complete({ id, secret });
  assert.deepEqual([status, body.reason], [409, "sso.failed"]);
  assert.match(String(body.detail), /access_denied/);
  const failed = (await h.trail(tenantId)).filter(({ action }) => action === "sso.failed");
  assert.deepEqual(failed.map(({ actor_type }) => actor_type), ["anonymous"]);
});

Deno.test("sso.complete says what is missing, and is done once", async () => {
  const { domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  const { id, secret, back } = await h.visit({ identity_provider_id: idp.id }, "ada");
  const early = await h.complete({ id, secret });
  assert.deepEqual([early.status, early.body.reason], [409, "sso.pending"]);
  await h.land(back);
  const both = await Promise.all([1, 2, 3].map(() => h.complete({ id, secret })));
  assert.deepEqual(both.map(({ status }) => status).toSorted(), [200, 409, 409]);
  const late = await h.complete({ id, secret });
  assert.deepEqual([late.status, late.body.reason], [409, "sso.used"]);
});

Deno.test("a sign-in is over after ten minutes, at the callback and at complete", async () => {
  const { domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  const one = await h.visit({ identity_provider_id: idp.id }, "ada");
  const two = await h.visit({ identity_provider_id: idp.id }, "ada");
  await h.land(two.back);
  h.clock.ms += minutes(10) + 1;
  assert.equal((await h.land(one.back)).status, 400);
  const late = await h.complete({ id: two.id, secret: two.secret });
  assert.deepEqual([late.status, late.body.reason], [409, "sso.expired"]);
  h.clock.ms -= 2;
  assert.equal((await h.complete({ id: two.id, secret: two.secret })).status, 200);
});

Deno.test("sso.complete refuses whoever is not active, and a tenant that is not open", async () => {
  const { tenantId, domain, idp } = await h.house();
  const bob = await h.login(tenantId, { email: `bob@${domain}` });
  claimed(h.provider, { bob: { email: `bob@${domain}` }, new: { email: `new@${domain}` } });
  const statusOf = async (account: string) => {
    const { status, body } = await h.signIn(idp.id, account);
    return [status, body.reason ?? "in"];
  };
  const put = (status: string) =>
    h.sql("update users set status = $1 where id = $2", [status, bob.userId]);
  await put("suspended");
  assert.deepEqual(await statusOf("bob"), [403, "sso.user_inactive"], "before it was linked");
  await put("active");
  assert.deepEqual(await statusOf("bob"), [200, "in"]);
  await put("closed");
  assert.deepEqual(await statusOf("bob"), [403, "sso.user_inactive"], "once it was linked");
  const begun = await h.visit({ identity_provider_id: idp.id }, "new");
  await h.land(begun.back);
  await h.sql("update tenants set status = 'suspended' where id = $1", [tenantId]);
  const { status, body } = await h.complete({ id: begun.id, secret: begun.secret });
  assert.deepEqual([status, body.reason], [403, "sso.provider_inactive"]);
  assert.equal((await h.start({ identity_provider_id: idp.id })).status, 404);
});

Deno.test("a provider that is down costs a clear answer and no flow", async () => {
  const { tenantId, owner, domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  const gone = await h.w.as(owner).identity.identityProviders.create({
    name: "Gone",
    issuer: "http://127.0.0.1:9",
    clientId: "c",
    clientSecret: "s",
  });
  const { status, body } = await h.start({ identity_provider_id: gone.id });
  assert.deepEqual([status, body.reason], [502, "identity_provider.unreachable"]);
  const [{ flows } = {}] = await h.sql(
    "select count(*)::int as flows from sso_flows where tenant_id = $1",
    [tenantId],
  );
  assert.equal(flows, 0);
  h.provider.failTokens({ kind: 503 });
  const failed = await h.signIn(idp.id, "ada");
  assert.deepEqual([failed.status, failed.body.code], [502, "ProviderError"]);
  assert.equal((await h.signIn(idp.id, "ada")).status, 200);
});

Deno.test("a sign-in leaves no state, secret, verifier, code or token in trail or log", async () => {
  const { tenantId, domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  const { id, secret, back, url } = await h.visit({ identity_provider_id: idp.id }, "ada");
  await h.land(back);
  const [coded] = await h.sql("select * from sso_flows where id = $1", [id]);
  assert.match(String(coded?.code), /^sb1\./);
  assert.match(String(coded?.code_verifier), /^sb1\./);
  const { body } = await h.complete({ id, secret });
  const trail = JSON.stringify([
    await h.sql("select diff from audit_entries where tenant_id = $1", [tenantId]),
    await h.sql("select data from events where tenant_id = $1", [tenantId]),
  ]);
  const [row] = await h.sql("select * from sso_flows where id = $1", [id]);
  assert.equal(row?.code, null);
  const hidden = [
    secret,
    clientSecret,
    back.searchParams.get("state"),
    back.searchParams.get("code"),
    url.searchParams.get("nonce"),
    body.access_token,
    body.refresh_token,
    "sb1.",
  ].map(String);
  for (const text of hidden) {
    assert.ok(text.length > 3 && !trail.includes(text), text);
    assert.ok(!h.lines.some((line) => line.includes(text)), text);
  }
  for (const text of hidden.slice(0, 3)) assert.ok(!JSON.stringify(row).includes(text));
});
