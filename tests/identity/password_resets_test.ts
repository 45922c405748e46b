/** Forgotten passwords: the mailbox is the proof, once; asking tells nobody anything. */
import assert from "node:assert/strict";
import { newLinkToken } from "../../src/access/link_tokens.ts";
import { assertRefused, refusal } from "./givers.ts";
import { elsewhere, type Login, minutes } from "./house.ts";
import { bearer, mailed, newEmail } from "./people.ts";

const h = await mailed();
const password = "correct horse battery";
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: "owner" });
  const member = await h.login(tenantId);
  return { tenantId, owner, member };
};
const ask = (email: string, more: { tenant?: string; address?: string } = {}) => {
  const { address = elsewhere(), ...rest } = more;
  return h.send("/auth/password-reset", { email, ...rest }, { address });
};
const confirm = (token: string, next = password) =>
  h.send("/auth/password-reset/confirm", { token, password: next }, { address: elsewhere() });
const outcome = async (token: string) => {
  const { status, body } = await confirm(token);
  return `${status} ${body.reason ?? ""}`.trim();
};
const asked = async ({ email }: Login) => {
  assert.equal((await ask(email)).status, 202);
  return h.tokenTo(email);
};
const REFUSED = "401 password_reset.refused";

Deno.test("passwordResets.confirm sets the password and ends every session, once", async () => {
  const { tenantId, member } = await stage();
  const { access, refresh } = await h.signIn(member);
  const token = await asked(member);
  assert.equal(await h.asks(bearer(access)), 200);
  const { status, body } = await confirm(token);
  assert.deepEqual([status, body.tenant_id, body.user_id], [200, tenantId, member.userId]);
  assert.equal(await h.asks(bearer(access)), 401);
  assert.equal((await h.send("/auth/refresh", { refresh_token: refresh })).status, 401);
  const tried = async (password: string) =>
    (await h.send("/auth/sign-in", { email: member.email, password })).status;
  assert.deepEqual([await tried(member.password), await tried(password)], [401, 200]);
  assert.equal(await outcome(token), REFUSED);
  const entry = (await h.trail(tenantId)).findLast(({ action }) =>
    action === "password_reset.confirmed"
  );
  assert.deepEqual([entry?.actor_type, entry?.actor_id], ["user", member.userId]);
  assert.equal(h.lettersTo(member.email).at(-1)?.subject, "Your password was changed");
});

Deno.test("passwordResets.request answers alike whoever is meant, and writes to who could use it", async () => {
  const { tenantId, owner, member } = await stage();
  const shut = await h.login(tenantId);
  await h.identity(owner).users.deactivate({ id: shut.userId });
  const below = await h.tenantBelow();
  const stuck = await h.login(below);
  await h.sql("update tenants set status = 'suspended' where id = $1", [below]);
  const before = h.letters.length;
  const bodies = new Set<string>();
  for (
    const email of [newEmail(), shut.email, stuck.email, member.email, member.email.toUpperCase()]
  ) {
    const { status, body } = await ask(email);
    bodies.add(JSON.stringify({ status, body }));
  }
  assert.equal(bodies.size, 1, [...bodies].join("\n"));
  assert.match([...bodies].join(), /"status":202/);
  const sent = h.letters.slice(before).map(({ to }) => to);
  assert.deepEqual(sent, [member.email, member.email]);
});

Deno.test("passwordResets.request is limited alike for those who are and those who are not", async () => {
  const { member } = await stage();
  for (const email of [member.email, newEmail()]) {
    const address = elsewhere();
    const answers: number[] = [];
    for (let i = 0; i < 4; i++) answers.push((await ask(email, { address })).status);
    assert.deepEqual(answers, [202, 202, 202, 429]);
    const everywhere: number[] = [];
    for (let i = 0; i < 8; i++) everywhere.push((await ask(email)).status);
    assert.deepEqual(everywhere.slice(0, 6), Array(6).fill(202));
    assert.equal(everywhere.at(-1), 429);
  }
});

Deno.test("one address in two tenants gets a token for each, or for the one that is named", async () => {
  const [first, second] = [await h.tenantBelow(), await h.tenantBelow()];
  const email = newEmail();
  const [one, two] = [await h.login(first, { email }), await h.login(second, { email })];
  await ask(email);
  assert.equal(h.lettersTo(email).length, 2);
  await ask(email, { tenant: second });
  assert.equal(h.lettersTo(email).length, 3);
  const { body } = await confirm(h.tokenTo(email));
  assert.deepEqual([body.tenant_id, body.user_id], [second, two.userId]);
  const [row] = await h.sql("select password_changed_at from user_security where id = $1", [
    one.userId,
  ]);
  assert.ok(row);
  const kept = await h.send("/auth/sign-in", { email, password: one.password, tenant: first });
  assert.equal(kept.status, 200);
});

Deno.test("a reset's token is in the message and nowhere else", async () => {
  const { owner, member } = await stage();
  const secret = (await asked(member)).slice(-43);
  const answer = await h.identity(owner).users.resetPassword({ id: member.userId });
  assert.deepEqual(Object.keys(answer), ["expiresAt"]);
  const token = h.tokenTo(member.email);
  await confirm(token);
  const kept = await h.everythingKept();
  assert.ok(kept.includes(member.userId));
  for (const word of [secret, token.slice(-43), password]) assert.ok(!kept.includes(word));
});

Deno.test("what is no open reset is refused with one answer", async () => {
  const { tenantId, owner, member } = await stage();
  const other = await h.login(tenantId);
  const used = await asked(member);
  const beside = await asked(member); // Dead with the other: one new password is enough.
  await confirm(used);
  const expired = await asked(other);
  await h.sql(
    "update password_resets set expires_at = now() - interval '1 hour' where owner_user_id = $1",
    [
      other.userId,
    ],
  );
  const [row] = await h.sql("select id from password_resets where owner_user_id = $1", [
    owner.userId,
  ]);
  assert.equal(row, undefined);
  const fine = await asked(owner);
  const id = fine.split("_")[2] ?? "";
  const dashed = id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  const guessed = (await newLinkToken("passwordReset", { tenantId, id: dashed })).text;
  const misplaced = fine.replace(tenantId.replaceAll("-", ""), "0".repeat(32));
  const bodies = new Set<string>();
  for (
    const token of [used, beside, expired, guessed, misplaced, fine.replace("sbp", "sbi"), "x"]
  ) {
    const { status, body: { request_id: _, ...body } } = await confirm(token);
    bodies.add(JSON.stringify({ status, ...body }));
  }
  assert.equal(bodies.size, 1, [...bodies].join("\n"));
  assert.match([...bodies].join(), /"status":401.*password_reset\.refused/);
  assert.equal(await outcome(fine), "200");
});

Deno.test("a reset is dead once its user is shut out, its tenant shut, or an hour gone", async () => {
  const { tenantId, member } = await stage();
  const token = await asked(member);
  const during = async (set: string, back: string) => {
    await h.sql(set, [set.includes("tenants") ? tenantId : member.userId]);
    assert.equal(await outcome(token), REFUSED, set);
    await h.sql(back, [set.includes("tenants") ? tenantId : member.userId]);
  };
  const status = (table: string, status: string) =>
    `update ${table} set status = '${status}' where id = $1`;
  await during(status("users", "suspended"), status("users", "active"));
  await during(status("tenants", "suspended"), status("tenants", "active"));
  h.clock.ms += minutes(61);
  assert.equal(await outcome(token), REFUSED);
  h.clock.ms -= minutes(61);
  assert.equal(await outcome(token), "200");
});

Deno.test("a new password opens an account that wrong tries had shut, and leaves its second factor", async () => {
  const { member } = await stage();
  await h.sql(
    `update user_security set failed_sign_ins = 12, locked_until = now() + interval '1 hour',
     totp_step = 7, totp_confirmed_at = now() where id = $1`,
    [member.userId],
  );
  assert.equal(await outcome(await asked(member)), "200");
  const [row] = await h.sql("select * from user_security where id = $1", [member.userId]);
  assert.deepEqual([row?.failed_sign_ins, row?.locked_until, row?.totp_step], [0, null, 7]);
  assert.ok(row?.totp_confirmed_at);
});

Deno.test("who never had a password gets one", async () => {
  const { member } = await stage();
  await h.sql("delete from user_security where id = $1", [member.userId]);
  assert.equal(await outcome(await asked(member)), "200");
  const { status } = await h.send("/auth/sign-in", { email: member.email, password });
  assert.equal(status, 200);
});

Deno.test("users.resetPassword writes to the user, whoever they are, and tells the caller nothing", async () => {
  const { tenantId, owner, member } = await stage();
  const admin = await h.login(tenantId, { role: "admin" });
  const { users } = h.identity(admin);
  await users.resetPassword({ id: owner.userId });
  assert.equal(await outcome(h.tokenTo(owner.email)), "200");
  await h.sql("update users set kind = 'service', email = null where id = $1", [member.userId]);
  await assertRefused(users.resetPassword({ id: member.userId }), "Conflict user.no_password");
  const stranger = await stage();
  const far = h.identity(stranger.owner).users.resetPassword({ id: owner.userId });
  await assertRefused(far, "NotFound user.not_found");
  const said: string[] = [];
  for (let i = 0; i < 10; i++) said.push(await refusal(users.resetPassword({ id: owner.userId })));
  assert.equal(said.at(-1), "RateLimited link_send_email.rate");
  const narrow = { ...admin, grants: { "users.reset": "self" as const } };
  const { resetPassword } = h.w.as(narrow).identity.users;
  await assertRefused(resetPassword({ id: owner.userId }), "NotFound user.not_found");
  assert.equal(await refusal(resetPassword({ id: admin.userId })), "done");
});

Deno.test("trying tokens is limited where one comes from", async () => {
  const address = elsewhere();
  const answers: number[] = [];
  for (let i = 0; i < 21; i++) {
    const body = { token: "x", password };
    answers.push((await h.send("/auth/password-reset/confirm", body, { address })).status);
  }
  assert.deepEqual(answers, [...Array(20).fill(401), 429]);
});

Deno.test.afterAll(() => h.w.close());
