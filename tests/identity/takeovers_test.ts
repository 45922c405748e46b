/** Coming into somebody else's account: what is personal there stays closed, and its person is told. */
import assert from "node:assert/strict";
import { permissions } from "../../src/access/permissions.ts";
import { systemRoles } from "../../src/access/roles.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { connect, refusal as faultOf, tenantWith, visit } from "../platforms/accounts.ts";
import { oidcProvider } from "../stand_ins/oidc_provider.ts";
import { assertRefused, refusal } from "./givers.ts";
import type { Login } from "./house.ts";
import { bearer, mailed, newEmail } from "./people.ts";

const h = await mailed();
const provider = await oidcProvider();
const at = { ...h.w, provider };
Deno.test.afterAll(() => provider.stop());

/** A company whose member Ada has connected an account, is signed in, and has a key that uses it. */
async function stage(role = "member") {
  const company = await tenantWith(at);
  const { tenantId } = company;
  const admin = await h.login(tenantId, { role: "admin" });
  const ada = await h.login(tenantId, { role });
  const binding = await connect(at, ada, company);
  const { access, refresh } = await h.signIn(ada);
  const { key } = await h.keyOf(ada, ["bindings.token", "bindings.proxy", "users.read"]);
  return { company, tenantId, admin, ada, binding, access, refresh, key };
}
type Stage = Awaited<ReturnType<typeof stage>>;

/** What a credential gets of the account: the reason it is refused for, or "done". */
async function uses({ binding: { id } }: Pick<Stage, "binding">, credential: string) {
  const headers = bearer(credential);
  const token = await h.send(`/bindings/${id}/token`, {}, { headers });
  const { host } = new URL(provider.apiUrl);
  const path = `/bindings/${id}/proxy/${host}/api/calls`;
  const proxied = await h.send(path, null, { headers, method: "GET" });
  const [one, other] = [token, proxied].map(({ status, body }) =>
    status === 200 ? "done" : String(body.reason)
  );
  return one === other ? one : `${one}, proxied: ${other}`;
}
const CLOSED = "binding.needs_reauth";

/** Forgets the password and sets another by what came to the mailbox. */
async function reset(who: Login, email: string, password: string): Promise<Login> {
  const asked = await h.send("/auth/password-reset", { email, tenant: who.tenantId });
  assert.equal(asked.status, 202, JSON.stringify(asked.body));
  const body = { token: h.tokenTo(email), password };
  const answer = await h.send("/auth/password-reset/confirm", body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return { ...who, email, password };
}

Deno.test("an admin who comes in by another e-mail finds the accounts closed, and leaves nothing behind", async () => {
  const ours = await stage();
  const { company, tenantId, admin, ada, binding } = ours;
  for (const open of [ours.access, ours.key]) assert.equal(await uses(ours, open), "done");
  const mine = newEmail();
  await h.identity(admin).users.update({ id: ada.userId, email: mine });
  assert.match(h.lettersTo(ada.email).at(-1)?.text ?? "", /accounts you connected stay closed/);
  assert.equal(await h.asks(bearer(ours.access)), 401);
  assert.equal((await h.send("/auth/refresh", { refresh_token: ours.refresh })).status, 401);

  const taker = await reset(ada, mine, "a password of the admin's");
  const taken = await h.signIn(taker);
  assert.equal(await uses(ours, taken.access), CLOSED);
  const shown = await h.w.as(ada).platforms.bindings.get({ id: binding.id });
  assert.deepEqual(
    [shown.state, shown.stateReason, shown.isActive],
    ["needs_reauth", "holder_changed", false],
  );
  const listed = (state: "active" | "needs_reauth") =>
    h.w.as(ada).platforms.bindings.list({ state }).then(({ bindings }) => bindings.length);
  assert.deepEqual([await listed("active"), await listed("needs_reauth")], [0, 1]);
  const left = await h.keyOf(taker, ["bindings.token", "bindings.proxy", "users.read"]);

  // Ada has her e-mail back, and connects her account again.
  await h.identity(admin).users.update({ id: ada.userId, email: ada.email });
  const { access } = await h.signIn(await reset(ada, ada.email, "a password of Ada's own"));
  assert.equal(await uses(ours, access), CLOSED);
  assert.equal((await connect(at, ada, company)).id, binding.id);
  assert.equal(await uses(ours, access), "done");
  assert.equal(await h.asks(bearer(taken.access)), 401);
  const { password } = taker;
  const guess = await h.send("/auth/sign-in", { email: ada.email, password, tenant: tenantId });
  assert.equal(guess.status, 401);
  for (const key of [left.key, ours.key]) {
    assert.equal(await h.asks(bearer(key)), 200);
    assert.equal(await uses(ours, key), "permission.missing");
  }
});

Deno.test("users.update leaves open what belongs to whoever changes their own e-mail with their password", async () => {
  const ours = await stage("admin");
  const { ada, access, key } = ours;
  const change = (currentPassword?: string, id = ada.userId) =>
    h.identity(ada).users.update({
      id,
      email: newEmail(),
      ...currentPassword && { currentPassword },
    });
  assert.equal(
    await refusal(change("not this")),
    "ValidationError current_password.invalid current_password",
  );
  assert.equal(
    await refusal(change(ada.password, ours.admin.userId)),
    "ValidationError current_password.invalid current_password",
  );
  await change(ada.password);
  for (const open of [access, key]) assert.equal(await uses(ours, open), "done");
  assert.doesNotMatch(h.lettersTo(ada.email).at(-1)?.text ?? "", /connected/);
  // A token alone may be a stolen one.
  await change();
  assert.equal(await h.asks(bearer(access)), 401);
  assert.equal(await uses(ours, key), "permission.missing");
  const [{ email } = { email: "" }] = await h.sql("select email from users where id = $1", [
    ada.userId,
  ]);
  assert.equal(await uses(ours, (await h.signIn({ ...ada, email: String(email) })).access), CLOSED);
});

Deno.test("users.update of all but the e-mail, and the same e-mail, close nothing", async () => {
  const ours = await stage();
  const { admin, ada } = ours;
  const { update } = h.identity(admin).users;
  await update({ id: ada.userId, displayName: "Ada", email: ada.email, metadata: { floor: 2 } });
  for (const open of [ours.access, ours.key]) assert.equal(await uses(ours, open), "done");
});

Deno.test("a key of one's own that changes one's e-mail is somebody else", async () => {
  const ours = await stage("admin");
  const all = permissions.filter((permission) => permission in (systemRoles.admin ?? {}));
  const { as } = await h.keyOf(ours.ada, all);
  const { email } = await h.identity(as).users.update({ id: ours.ada.userId, email: newEmail() });
  assert.equal(await h.asks(bearer(ours.access)), 401);
  const { access } = await h.signIn({ ...ours.ada, email: email ?? "" });
  assert.equal(await uses(ours, access), CLOSED);
});

Deno.test("secondFactor.reset by another closes the accounts it guarded, and its person is told", async () => {
  const ours = await stage();
  const { tenantId, admin, ada } = ours;
  const begun =
    "update user_security set totp_secret = (select client_secret from platform_credentials \
    where tenant_id = $1 limit 1), totp_confirmed_at = $3 where id = $2";
  const takeOff = () => h.identity(admin).secondFactor.reset({ userId: ada.userId });
  await h.sql(begun, [tenantId, ada.userId, null]);
  await takeOff(); // It was not asked for yet, and guarded nothing.
  assert.equal(await uses(ours, ours.access), "done");
  await h.sql(begun, [tenantId, ada.userId, new Date()]);
  await takeOff();
  assert.match(h.lettersTo(ada.email).at(-1)?.text ?? "", /second factor off/);
  assert.equal(await h.asks(bearer(ours.access)), 401);
  assert.equal(await uses(ours, ours.key), CLOSED);
  const { access } = await h.signIn(ada);
  assert.equal(await uses(ours, access), CLOSED);
  await connect(at, ada, ours.company);
  for (const open of [access, ours.key]) assert.equal(await uses(ours, open), "done");
});

Deno.test("users.resetPassword shows its caller nothing, and a person's own reset closes no account", async () => {
  const ours = await stage();
  const { admin, ada } = ours;
  const answer = await h.identity(admin).users.resetPassword({ id: ada.userId });
  assert.deepEqual(Object.keys(answer), ["expiresAt"]);
  const token = h.tokenTo(ada.email);
  assert.deepEqual(h.letters.filter(({ text }) => text.includes(token)).map(({ to }) => to), [
    ada.email,
  ]);
  assert.ok(!(await h.everythingKept()).includes(token));
  const { access } = await h.signIn(await reset(ada, ada.email, "a password of Ada's own"));
  for (const open of [access, ours.key]) assert.equal(await uses(ours, open), "done");
});

Deno.test("whoever first shows that an e-mail is theirs ends what was opened with a password they were given", async () => {
  const { company, tenantId, admin } = await stage();
  const [email, password] = [newEmail(), "given by the admin"];
  const made = await h.identity(admin).users.create({
    ...{ email, password },
    displayName: "Bo",
    systemRole: "member",
  });
  const grants = systemRoles.member ?? {};
  const actor = { type: "user", tenantId, id: made.id } as const;
  const bo: Login = { actor, tenantId, userId: made.id, sessionId: null, grants, email, password };
  const maker = await h.signIn(bo);
  const binding = await connect(at, bo, company);
  const { key } = await h.keyOf(bo, ["bindings.token", "bindings.proxy"]);
  for (const open of [maker.access, key]) assert.equal(await uses({ binding }, open), "done");
  const first = await h.signIn(await reset(bo, email, "a password of Bo's own"));
  assert.equal(await h.asks(bearer(maker.access)), 401);
  assert.equal(await uses({ binding }, first.access), CLOSED);
  await connect(at, bo, company);
  assert.equal(await uses({ binding }, first.access), "done");
  assert.equal(await uses({ binding }, key), "permission.missing");
  const second = await h.signIn(await reset(bo, email, "another password of Bo's"));
  assert.equal(await uses({ binding }, second.access), "done");
});

Deno.test("an invitation lets nobody into an account there is, and goes to no other address", async () => {
  const { admin, ada } = await stage();
  const { invitations, users } = h.identity(admin);
  await assertRefused(invitations.create({ email: ada.email }), "Conflict user.already_exists");
  const email = newEmail();
  const { id } = await invitations.create({ email });
  await invitations.resend({ id });
  assert.equal(h.lettersTo(email).length, 2);
  const token = h.tokenTo(email);
  assert.deepEqual(
    h.letters.filter(({ text }) => text.includes(token)).map(({ to }) => to),
    [email],
  );
  await users.update({ id: ada.userId, email });
  const accept = { token, display_name: "Not Ada", password: "a password of mine" };
  assert.equal((await h.send("/invitations/accept", accept)).status, 409);
});

Deno.test("nobody above uses a person's accounts: neither owner nor parent nor operator", async () => {
  const ours = await stage();
  const { tenantId, ada } = ours;
  const owner = await h.login(tenantId, { role: "owner" });
  const parent = await h.login(ROOT_TENANT, { role: "owner" });
  const operator = await h.login(ROOT_TENANT, { role: "operator" });
  const from = (who: Login) => ({ ...who, tenantId, userId: null });
  for (const who of [ours.admin, owner, from(parent), from(operator)]) {
    const { accessToken, get } = h.w.as(who).platforms.bindings;
    const { code } = await faultOf(accessToken({ id: ours.binding.id }));
    assert.equal(code, "NotFound");
    assert.equal((await get({ id: ours.binding.id })).userId, ada.userId, "though all see it");
    const wide = [{ permission: "bindings.token" as const, reach: "tenant" as const }];
    const role = h.identity(who).roles.create({ name: newEmail(), permissions: wide });
    assert.match(await refusal(role), /^Forbidden grant.beyond/);
    const key = { name: "hers", scopes: ["bindings.token" as const], ownerUserId: ada.userId };
    assert.match(await refusal(h.identity(who).apiKeys.create(key)), /^Forbidden api_key/);
  }
});

Deno.test("connections.complete finishes nothing that another held the account for", async () => {
  const { company, admin, ada } = await stage();
  const id = await visit(at, ada, company, "another account");
  await h.identity(admin).users.update({ id: ada.userId, email: newEmail() });
  const { code, reason } = await faultOf(h.w.as(ada).platforms.connections.complete({ id }));
  assert.deepEqual([code, reason], ["Conflict", "connection.holder_changed"]);
});
