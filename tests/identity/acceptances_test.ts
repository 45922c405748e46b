/** Accepting an invitation: once, in time, and while whoever sent it could send it still. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { newLinkToken } from "../../src/access/link_tokens.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { assertRefused, bind, roleOf } from "./givers.ts";
import type { Login } from "./house.ts";
import { inviting, password } from "./inviting.ts";
import { mailed, newEmail } from "./people.ts";

const h = await mailed();
const { stage, invite, accept, outcome, group } = inviting(h);

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

Deno.test("invitations.accept wants a password that is long enough, and says which field", async () => {
  const { owner } = await stage();
  const { token } = await invite(owner);
  const { status, body } = await accept(token, { password: "short" });
  assert.equal(status, 400);
  assert.match(JSON.stringify(body), /"field":"password"/);
  assert.equal(await outcome(token), "201");
});

Deno.test.afterAll(() => h.w.close());
