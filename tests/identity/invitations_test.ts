/** Invitations: a token that goes to one mailbox, works once, and gives what its sender holds then. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { newLinkToken } from "../../src/access/link_tokens.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { assertRefused, bind, holder, refusal, roleOf } from "./givers.ts";
import { elsewhere, type Login, minutes } from "./house.ts";
import { mailed, newEmail } from "./people.ts";

const h = await mailed();
const password = "correct horse battery";
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: "owner" });
  const admin = await h.login(tenantId, { role: "admin" });
  return { tenantId, owner, admin };
};

const invite = async (who: Login, more: Record<string, unknown> = { systemRole: "member" }) => {
  const email = newEmail();
  const invitation = await h.identity(who).invitations.create({ email, ...more });
  return { email, id: invitation.id, invitation, token: h.tokenTo(email) };
};
const accept = (token: string, more: Record<string, unknown> = {}) =>
  h.send("/invitations/accept", { token, display_name: "Ada Okafor", password, ...more }, {
    address: elsewhere(),
  });
const outcome = async (token: string) => {
  const { status, body } = await accept(token);
  return `${status} ${body.reason ?? ""}`.trim();
};
const group = async (tenantId: string) => {
  const id = v7();
  await h.sql("insert into groups (tenant_id, id, name) values ($1, $2, $3)", [tenantId, id, id]);
  return id;
};

Deno.test("invitations.accept makes the user with the role and in the group, once", async () => {
  const { tenantId, admin } = await stage();
  const groupId = await group(tenantId);
  const { email, id, token } = await invite(admin, { systemRole: "member", groupId });
  const { status, body } = await accept(token);
  assert.equal(status, 201);
  assert.deepEqual([body.email, body.tenant_id, body.display_name], [
    email,
    tenantId,
    "Ada Okafor",
  ]);
  const [bound] = await h.sql("select system_role from role_bindings where owner_user_id = $1", [
    body.id,
  ]);
  assert.equal(bound?.system_role, "member");
  const [member] = await h.sql("select group_id from group_members where owner_user_id = $1", [
    body.id,
  ]);
  assert.equal(member?.group_id, groupId);
  const shown = await h.identity(admin).invitations.get({ id });
  assert.deepEqual([shown.status, shown.ownerUserId], ["accepted", body.id]);
  assert.equal((await h.send("/auth/sign-in", { email, password })).status, 200);
  assert.equal(await outcome(token), "401 invitation.refused");
  const types = await h.eventTypes(tenantId);
  for (const type of ["invitation.created", "invitation.accepted"]) {
    assert.equal(types.filter((one) => one === type).length, 1, type);
  }
  const [event] = await h.sql(
    "select data from events where type = 'user.created' and subject_id = $1",
    [body.id],
  );
  assert.equal(Reflect.get(Object(event?.data), "user_id"), body.id);
});

Deno.test("an invitation's token is in the message and nowhere else", async () => {
  const { admin } = await stage();
  const { token, invitation, email, id } = await invite(admin);
  assert.match(token, /^sbi_[0-9a-f]{32}_[0-9a-f]{32}_[\w-]{43}$/);
  const secret = token.slice(-43);
  assert.ok(!JSON.stringify(invitation).includes(secret));
  await h.identity(admin).invitations.resend({ id });
  const next = h.tokenTo(email).slice(-43);
  await accept(h.tokenTo(email));
  const kept = await h.everythingKept();
  assert.ok(kept.includes(id));
  for (const word of [secret, next, password]) assert.ok(!kept.includes(word));
});

Deno.test("what is no open invitation is refused with one answer", async () => {
  const { admin, owner } = await stage();
  const { invitations } = h.identity(admin);
  const [used, revoked, expired] = [await invite(admin), await invite(admin), await invite(admin)];
  const fine = await invite(owner);
  await accept(used.token);
  await invitations.revoke({ id: revoked.id });
  await h.sql("update invitations set expires_at = now() - interval '1 hour' where id = $1", [
    expired.id,
  ]);
  assert.equal((await invitations.get({ id: expired.id })).status, "expired");
  const place = { tenantId: owner.tenantId, id: fine.id };
  const guessed = (await newLinkToken("invitation", place)).text;
  const reset = fine.token.replace("sbi_", "sbp_");
  const misplaced = fine.token.replace(owner.tenantId.replaceAll("-", ""), "0".repeat(32));
  const swapped = fine.token.replace(fine.id.replaceAll("-", ""), used.id.replaceAll("-", ""));
  const wrong = [used, revoked, expired].map(({ token }) => token);
  const bodies = new Set<string>();
  for (
    const token of [...wrong, guessed, reset, misplaced, swapped, "x", fine.token.toUpperCase()]
  ) {
    const { status, body } = await accept(token);
    const { request_id: _, ...rest } = body;
    bodies.add(JSON.stringify({ status, ...rest }));
  }
  assert.equal(bodies.size, 1, [...bodies].join("\n"));
  assert.match([...bodies].join(), /"status":401.*invitation\.refused/);
  assert.equal(await outcome(fine.token), "201");
});

Deno.test("invitations.create gives no more than its caller holds, by role or by group", async () => {
  const { tenantId, owner, admin } = await stage();
  const refused = (who: Login, more: Record<string, unknown>) =>
    refusal(h.identity(who).invitations.create({ email: newEmail(), ...more }));
  assert.equal(await refused(admin, { systemRole: "owner" }), "Forbidden grant.beyond system_role");
  assert.equal(await refused(owner, { systemRole: "owner" }), "done");
  const [strong, plain] = [await group(tenantId), await group(tenantId)];
  await bind(
    h,
    tenantId,
    { groupId: strong },
    await roleOf(h, tenantId, { "users.read": "subtree" }),
  );
  assert.equal(await refused(admin, { groupId: strong }), "Forbidden grant.beyond group_id");
  assert.equal(await refused(admin, { groupId: plain }), "done");
  assert.equal(await refused(owner, { groupId: strong }), "done");
  const nested = await group(tenantId);
  await h.sql(
    "insert into group_members (tenant_id, id, group_id, member_group_id) values ($1, $2, $3, $4)",
    [tenantId, v7(), strong, nested],
  );
  assert.equal(await refused(admin, { groupId: nested }), "Forbidden grant.beyond group_id");
  const other = await group(await h.tenantBelow());
  assert.equal(await refused(owner, { groupId: other }), "NotFound group.not_found");
  const writer = await holder(h, tenantId, { "invitations.create": "tenant" });
  const asked = h.identity(writer).invitations.create({ email: newEmail(), groupId: plain });
  await assertRefused(asked, "Forbidden grant.beyond group_id");
});

Deno.test("invitations.create refuses whom the tenant has, or has invited", async () => {
  const { owner, admin } = await stage();
  const { invitations } = h.identity(owner);
  const { email, id } = await invite(owner);
  const again = () => refusal(invitations.create({ email: email.toUpperCase() }));
  assert.equal(await again(), "Conflict invitation.already_exists");
  const here = invitations.create({ email: admin.email });
  await assertRefused(here, "Conflict user.already_exists");
  assert.equal(h.lettersTo(admin.email).length, 0);
  assert.equal(h.lettersTo(email).length, 1);
  await invitations.revoke({ id });
  assert.equal(await again(), "done");
});

Deno.test("an e-mail that became a user's since makes accepting a conflict, and the invitation stays", async () => {
  const { owner } = await stage();
  const { email, token, id } = await invite(owner);
  const { id: userId } = await h.identity(owner).users.create({ email, displayName: "A" });
  assert.equal(await outcome(token), "409 user.already_exists");
  assert.equal((await h.identity(owner).invitations.get({ id })).status, "open");
  await h.identity(owner).users.update({ id: userId, email: newEmail() });
  assert.equal(await outcome(token), "201");
});

type Change = (
  scene: { tenantId: string; admin: Login; owner: Login; roleId: string; groupId: string },
) =>
  | Promise<unknown>
  | unknown;
const since: Record<string, Change> = {
  "is shut out": ({ admin, owner }) => h.identity(owner).users.deactivate({ id: admin.userId }),
  "has lost the role": ({ admin }) =>
    h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [admin.userId]),
  "may no longer invite": async ({ tenantId, admin }) => {
    await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [
      admin.userId,
    ]);
    const role = await roleOf(h, tenantId, {
      "users.read": "tenant",
      "group_members.add": "tenant",
    });
    await bind(h, tenantId, { userId: admin.userId }, role);
  },
  "is outgrown by the role": ({ tenantId, roleId }) =>
    h.sql(
      "insert into permission_bindings (tenant_id, id, role_id, permission, reach) values ($1, $2, $3, 'users.update', 'subtree')",
      [tenantId, v7(), roleId],
    ),
  "is outgrown by the group": async ({ tenantId, groupId }) => {
    await bind(h, tenantId, { groupId }, await roleOf(h, tenantId, { "users.update": "subtree" }));
  },
  "gives a role that is gone": ({ roleId }) =>
    h.sql("update roles set is_active = false where id = $1", [roleId]),
  "gives a group that is gone": ({ groupId }) =>
    h.sql("update groups set is_active = false where id = $1", [groupId]),
};

for (const [what, change] of Object.entries(since)) {
  Deno.test(`an invitation is stale once its sender ${what}`, async () => {
    const scene = await stage();
    const roleId = await roleOf(h, scene.tenantId, { "users.read": "tenant" });
    const groupId = await group(scene.tenantId);
    const [first, second] = [
      await invite(scene.admin, { roleId, groupId }),
      await invite(scene.admin, { roleId, groupId }),
    ];
    assert.equal(await outcome(first.token), "201");
    await change({ ...scene, roleId, groupId });
    assert.equal(await outcome(second.token), "409 invitation.stale");
    const [user] = await h.sql("select 1 from users where email = $1", [second.email]);
    assert.equal(user, undefined);
  });
}

Deno.test("a key's invitation holds while the key and its owner do", async () => {
  const { owner, admin } = await stage();
  const ends = {
    none: () => {},
    revoked: (id: string) => h.identity(admin).apiKeys.revoke({ id }),
    expired: (id: string) =>
      h.sql("update api_keys set expires_at = now() - interval '1 hour' where id = $1", [id]),
    narrowed: (id: string) =>
      h.sql("update api_keys set scopes = '{users.read}' where id = $1", [id]),
    orphaned: () => h.identity(owner).users.deactivate({ id: admin.userId }),
  };
  for (const [how, end] of Object.entries(ends)) {
    const { as, id } = await h.keyOf(admin, ["invitations.create", "invitations.read"]);
    const email = newEmail();
    await assertRefused(
      h.w.as(as).identity.invitations.create({ email, systemRole: "member" }),
      "Forbidden grant.beyond system_role",
    );
    const invitation = await h.w.as(as).identity.invitations.create({ email });
    assert.deepEqual([invitation.inviterType, invitation.inviterId], ["key", id]);
    await end(id);
    const expected = how === "none" ? "201" : "409 invitation.stale";
    assert.equal(await outcome(h.tokenTo(email)), expected, how);
  }
});

Deno.test("an invitation from above holds while its sender stands above", async () => {
  const { tenantId } = await stage();
  const top = await h.login(ROOT_TENANT, { role: "operator" });
  const acting = h.w.as({ ...top, tenantId, userId: null }).identity.invitations;
  const sent = async () => {
    const email = newEmail();
    await acting.create({ email, systemRole: "admin" });
    return h.tokenTo(email);
  };
  const [first, second] = [await sent(), await sent()];
  assert.equal(await outcome(first), "201");
  await h.sql("update users set status = 'suspended' where id = $1", [top.userId]);
  assert.equal(await outcome(second), "409 invitation.stale");
});

Deno.test("nobody joins a tenant that is shut, or below one", async () => {
  const above = await h.tenantBelow();
  const tenantId = await h.tenantBelow(above);
  const owner = await h.login(tenantId, { role: "owner" });
  const { token } = await invite(owner);
  const become = (status: string) =>
    h.sql("update tenants set status = $2 where id = $1", [above, status]);
  await become("suspended");
  assert.equal(await outcome(token), "401 invitation.refused");
  await become("active");
  assert.equal(await outcome(token), "201");
});

Deno.test("invitations.resend sends a new token in the caller's name, and the old one is dead", async () => {
  const { tenantId, owner, admin } = await stage();
  const { id, email, token } = await invite(admin);
  await h.identity(owner).users.deactivate({ id: admin.userId });
  const again = await h.identity(owner).invitations.resend({ id, expiresInSeconds: 3_600 });
  assert.equal(again.inviterId, owner.userId);
  assert.equal(again.expiresAt.getTime(), h.clock.ms + minutes(60));
  assert.equal(await outcome(token), "401 invitation.refused");
  assert.equal(await outcome(h.tokenTo(email)), "201");
  await assertRefused(
    h.identity(owner).invitations.resend({ id }),
    "Conflict invitation.accepted",
  );
  await assertRefused(
    h.identity(owner).invitations.revoke({ id }),
    "Conflict invitation.accepted",
  );
  const strong = await invite(owner, { systemRole: "owner" });
  const second = await h.login(tenantId, { role: "admin" });
  await assertRefused(
    h.identity(second).invitations.resend({ id: strong.id }),
    "Forbidden grant.beyond system_role",
  );
  assert.equal(await outcome(strong.token), "201");
});

Deno.test("invitations.revoke is done once and ends resending", async () => {
  const { tenantId, owner } = await stage();
  const { id } = await invite(owner);
  const { invitations } = h.identity(owner);
  const revoked = await invitations.revoke({ id });
  assert.equal(revoked.status, "revoked");
  const length = (await h.trail(tenantId)).length;
  assert.deepEqual(await invitations.revoke({ id }), revoked);
  assert.equal((await h.trail(tenantId)).length, length);
  await assertRefused(invitations.resend({ id }), "Conflict invitation.revoked");
});

Deno.test("invitations.list filters by state and e-mail; who reaches themselves sees their own", async () => {
  const { tenantId, owner, admin } = await stage();
  const { invitations } = h.identity(owner);
  const [open, revoked, accepted, expired] = [
    await invite(owner),
    await invite(admin),
    await invite(owner),
    await invite(owner),
  ];
  await invitations.revoke({ id: revoked.id });
  await accept(accepted.token);
  await h.sql("update invitations set expires_at = now() - interval '1 hour' where id = $1", [
    expired.id,
  ]);
  const states = { open, revoked, accepted, expired } as const;
  for (const status of ["open", "revoked", "accepted", "expired"] as const) {
    const found = (await invitations.list({ status })).invitations;
    assert.deepEqual(found.map(({ id }) => id), [states[status].id], status);
    assert.equal(found[0]?.status, status);
  }
  const byEmail = await invitations.list({ email: ` ${open.email.toUpperCase()}` });
  assert.deepEqual(byEmail.invitations.map(({ id }) => id), [open.id]);
  const narrow = { ...admin, grants: { "invitations.read": "self" as const } };
  const mine = await h.w.as(narrow).identity.invitations.list({});
  assert.deepEqual(mine.invitations.map(({ id }) => id), [revoked.id]);
  await assertRefused(
    h.w.as(narrow).identity.invitations.get({ id: open.id }),
    "NotFound invitation.not_found",
  );
  const visitor = h.w.as({ ...narrow, tenantId, userId: null }).identity.invitations;
  assert.deepEqual((await visitor.list({})).invitations, []);
});

Deno.test("invitations take an hour to thirty days, a week when nothing is said", async () => {
  const { owner } = await stage();
  const make = (expires_in_seconds: unknown) =>
    h.w.request("/api/v1/invitations", {
      method: "POST",
      body: JSON.stringify({ email: newEmail(), expires_in_seconds }),
    }, owner).then(async (answer) => ({ status: answer.status, body: await answer.json() }));
  for (const wrong of [3_599, 30 * 86_400 + 1, 1e99, -1, 3_600.5]) {
    assert.equal((await make(wrong)).status, 400, String(wrong));
  }
  assert.equal((await make(3_600)).status, 201);
  const { body } = await make(undefined);
  assert.equal(Date.parse(body.expires_at), h.clock.ms + 7 * 86_400_000);
});

Deno.test("a message that cannot be sent fails no request, and the log says so without the token", async () => {
  const { owner } = await stage();
  const tokens: string[] = [];
  const mailer = ({ text }: { text: string }) => {
    tokens.push(text);
    return Promise.reject(new Error(`cannot send ${text}`));
  };
  const email = newEmail();
  await h.w.as(owner, { mailer, requestId: "request-of-this-test" }).identity.invitations
    .create({ email });
  assert.equal(tokens.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 0));
  const said = h.lines.filter((line) => line.includes("request-of-this-test"));
  assert.match(said.join(), /a message was not sent/);
  assert.ok(!h.lines.join().includes("sbi_"));
});

Deno.test("what is not committed is not sent", async () => {
  const { owner } = await stage();
  const { invitations } = h.identity(owner);
  const email = newEmail();
  const before = h.letters.length;
  await h.sql(`create function refuse() returns trigger language plpgsql as
    $$ begin raise exception 'the disk is full'; end $$`);
  await h.sql(
    "create trigger refuse before insert on events for each row execute function refuse()",
  );
  await assert.rejects(invitations.create({ email }));
  await h.sql("drop function refuse() cascade");
  assert.equal(h.letters.length, before);
  await invitations.create({ email });
  assert.equal(h.letters.length, before + 1);
});

Deno.test("trying tokens is limited where one comes from, and so is writing to one address", async () => {
  const { owner } = await stage();
  const address = elsewhere();
  const attempt = () =>
    h.send("/invitations/accept", { token: "x", display_name: "A", password }, { address });
  const answers: number[] = [];
  for (let i = 0; i < 21; i++) answers.push((await attempt()).status);
  assert.deepEqual(answers, [...Array(20).fill(401), 429]);
  const { id } = await invite(owner);
  const { invitations } = h.identity(owner);
  const said: string[] = [];
  for (let i = 0; i < 10; i++) said.push(await refusal(invitations.resend({ id })));
  assert.deepEqual(said, [...Array(9).fill("done"), "RateLimited link_send_email.rate"]);
  h.clock.ms += minutes(121);
  assert.equal(await refusal(invitations.resend({ id })), "done");
});

Deno.test("invitations.accept wants a password that is long enough, and says which field", async () => {
  const { owner } = await stage();
  const { token } = await invite(owner);
  const { status, body } = await accept(token, { password: "short" });
  assert.equal(status, 400);
  assert.match(JSON.stringify(body), /"field":"password"/);
  assert.equal(await outcome(token), "201");
});

Deno.test.afterAll(() => h.w.close());
