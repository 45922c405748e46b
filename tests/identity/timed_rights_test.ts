/** Who holds rights for a time gives them for no longer, to themselves as little as to others. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { assertRefused, bind, refusal, roleOf } from "./givers.ts";
import { home, minutes } from "./house.ts";

const h = await home();
const BEYOND = "Forbidden grant.beyond_time ends_at";
const endsAt = new Date(h.clock.ms + minutes(60));
const later = new Date(endsAt.getTime() + 1);
const sooner = new Date(endsAt.getTime() - minutes(10));

/** A lasting owner, and somebody who is an admin until `endsAt` by way of `by`. */
async function stage(by: "role" | "group") {
  const tenantId = await h.tenantBelow();
  const owner = h.w.as(await h.w.person(tenantId, "owner")).identity;
  const groupId = (await owner.groups.create({ name: `contractors ${v7()}` })).id;
  await owner.roleBindings.create({ groupId, systemRole: "admin" });
  const admin = await h.w.person(tenantId, "admin");
  const { userId } = admin;
  await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [userId]);
  await owner.roleBindings.create({ userId, systemRole: "member" });
  if (by === "role") await owner.roleBindings.create({ userId, systemRole: "admin", endsAt });
  else await owner.groupMembers.add({ groupId, userId, endsAt });
  const person = async () => (await h.w.person(tenantId, "member")).userId;
  return { tenantId, owner, me: h.w.as(admin).identity, userId, groupId, person };
}

for (const by of ["role", "group"] as const) {
  Deno.test(`roleBindings.create by an admin for a time, by a ${by}, ends when that does`, async () => {
    const { tenantId, me, userId, person } = await stage(by);
    const give = (to: string, endsAt?: Date | null) =>
      me.roleBindings.create({ userId: to, systemRole: "auditor", endsAt });
    for (const to of [userId, await person()]) {
      for (const end of [undefined, null, later]) await assertRefused(give(to, end), BEYOND);
      assert.deepEqual((await give(to, endsAt)).endsAt, endsAt);
    }
    assert.deepEqual((await give(await person(), sooner)).endsAt, sooner);
    const roleId = await roleOf(h, tenantId, { "users.create": "tenant" });
    await assertRefused(me.roleBindings.create({ userId, roleId }), BEYOND);
    // What they hold without end they give without end.
    const roleless = await person();
    await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [roleless]);
    await me.roleBindings.create({ userId: roleless, systemRole: "member" });
  });

  Deno.test(`groupMembers.add by an admin for a time, by a ${by}, ends when that does`, async () => {
    const { me, groupId, person } = await stage(by);
    const userId = await person();
    for (const end of [undefined, null, later]) {
      await assertRefused(me.groupMembers.add({ groupId, userId, endsAt: end }), BEYOND);
    }
    assert.deepEqual((await me.groupMembers.add({ groupId, userId, endsAt })).endsAt, endsAt);
    const memberGroupId = (await me.groups.create({ name: `inner ${v7()}` })).id;
    await assertRefused(me.groupMembers.add({ groupId, memberGroupId }), BEYOND);
  });

  Deno.test(`what has no end is not given by an admin for a time, by a ${by}`, async () => {
    const { owner, me, groupId } = await stage(by);
    const permissions = [{ permission: "users.create" as const, reach: "tenant" as const }];
    const email = () => `${v7()}@people.example`;
    const ways = (who: typeof me) => [
      who.roles.create({ name: `role ${v7()}`, permissions }),
      who.users.create({ email: email(), displayName: "Ada", systemRole: "admin" }),
      who.invitations.create({ email: email(), systemRole: "admin" }),
      who.invitations.create({ email: email(), groupId }),
    ];
    const settled = (who: typeof me) => Promise.all(ways(who).map((way) => refusal(way)));
    assert.deepEqual(await settled(me), [BEYOND, BEYOND, BEYOND, BEYOND]);
    assert.deepEqual(await settled(owner), ["done", "done", "done", "done"]);
  });
}

Deno.test("groupMembers.update prolongs no membership beyond what one holds, one's own included", async () => {
  const { owner, me, userId, groupId, person } = await stage("group");
  const other = await person();
  await owner.groupMembers.add({ groupId, userId: other, endsAt: sooner });
  for (const who of [userId, other]) {
    const update = (endsAt: Date | null) =>
      me.groupMembers.update({ groupId, userId: who, endsAt });
    for (const end of [null, later]) await assertRefused(update(end), BEYOND);
    assert.deepEqual((await update(endsAt)).endsAt, endsAt);
  }
  assert.equal((await owner.groupMembers.update({ groupId, userId, endsAt: null })).endsAt, null);
});

Deno.test("who holds rights for a time may still take them away", async () => {
  const { owner, me, groupId, person } = await stage("role");
  const [userId, gone] = [await person(), await person()];
  await owner.groupMembers.add({ groupId, userId });
  const shortened = await me.groupMembers.update({ groupId, userId, endsAt: later });
  assert.deepEqual(shortened.endsAt, later);
  await assertRefused(me.groupMembers.update({ groupId, userId, endsAt: null }), BEYOND);
  await me.groupMembers.remove({ groupId, userId });
  const { id } = await owner.roleBindings.create({ userId: gone, systemRole: "admin" });
  await me.roleBindings.revoke({ id });
  await owner.roleBindings.create({ userId: gone, systemRole: "admin" });
  await me.users.deactivate({ id: gone });
});

Deno.test("roleBindings.create names the time, and counts what lasts beside what ends", async () => {
  const { tenantId, owner, me, userId, person } = await stage("role");
  const to = await person();
  const give = () => me.roleBindings.create({ userId: to, systemRole: "auditor" });
  await assert.rejects(give(), new RegExp(`ends at ${endsAt.toISOString()}: give it until then`));
  const longer = new Date(endsAt.getTime() + minutes(60));
  await owner.roleBindings.create({ userId, systemRole: "auditor", endsAt: longer });
  await assert.rejects(give(), new RegExp(longer.toISOString()));
  await bind(h, tenantId, { userId }, await roleOf(h, tenantId, { "audit.read": "tenant" }));
  await assertRefused(give(), BEYOND);
  await h.sql("update role_bindings set ends_at = null where owner_user_id = $1", [userId]);
  assert.equal((await give()).endsAt, null);
});

Deno.test("roleBindings.create below weighs time as well", async () => {
  const { tenantId, owner, userId, person } = await stage("role");
  const below = await h.tenantBelow(tenantId);
  await owner.roleBindings.create({ userId, systemRole: "owner", endsAt });
  const me = h.w.as({
    ...await h.w.person(tenantId, "owner"),
    userId,
    actor: { type: "user", tenantId, id: userId },
  }).identity;
  const to = await person();
  const give = (end?: Date) =>
    me.roleBindings.create({
      userId: to,
      systemRole: "auditor",
      appliesToTenantId: below,
      endsAt: end,
    });
  await assertRefused(give(), BEYOND);
  assert.deepEqual((await give(endsAt)).endsAt, endsAt);
});
