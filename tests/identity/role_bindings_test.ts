/** Role bindings: given once, in one's own tenants, for a time; taken back once, and never the last owner's. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { systemRoles } from "../../src/access/roles.ts";
import { asSystem, transact } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import { requireAnotherOwner } from "../../src/identity/role_bindings.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { all, assertRefused, bind, holder, refusal, roleOf, selfish } from "./givers.ts";
import { home, minutes } from "./house.ts";

const h = await home();
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.w.person(tenantId, "owner");
  const { roleBindings: bindings, groups } = h.w.as(owner).identity;
  const person = async (role = "member") => (await h.w.person(tenantId, role)).userId;
  const group = async () => (await groups.create({ name: `group ${v7()}` })).id;
  const role = () => roleOf(h, tenantId, { "audit.read": "tenant" });
  const [first] = (await bindings.list({ userId: owner.userId })).roleBindings;
  return { tenantId, owner, bindings, person, group, role, ownersBinding: first?.id ?? "" };
};
/** What a user may do in a tenant, by the database. */
const grantsOf = async (home: string, userId: string, acting = home) => {
  const standing = await h.w.process.standings.of({ home, subject: userId, session: null, acting });
  return standing.grants;
};

Deno.test("roleBindings.create gives a role to a user or a group, here by default", async () => {
  const s = await stage();
  const [userId, groupId, roleId] = [await s.person(), await s.group(), await s.role()];
  const made = await s.bindings.create({ userId, systemRole: "auditor" });
  assert.deepEqual(
    [made.userId, made.groupId, made.systemRole, made.roleId, made.appliesToTenantId],
    [userId, null, "auditor", null, s.tenantId],
  );
  assert.deepEqual([made.startsAt, made.endsAt, made.revokedAt], [null, null, null]);
  assert.equal((await grantsOf(s.tenantId, userId))["audit.read"], "tenant");
  const toGroup = await s.bindings.create({ groupId, roleId });
  assert.deepEqual([toGroup.userId, toGroup.groupId, toGroup.roleId], [null, groupId, roleId]);
  assert.deepEqual(await s.bindings.get({ id: made.id }), made);
  const [entry] = (await h.trail(s.tenantId)).slice(-1);
  assert.deepEqual([entry?.action, entry?.subject_id], ["role_binding.created", toGroup.id]);
  assert.equal((await h.eventTypes(s.tenantId)).at(-1), "role_binding.created");
});

Deno.test("roleBindings.create gives a role in a tenant below, and in no other", async () => {
  const s = await stage();
  const below = await h.tenantBelow(s.tenantId);
  const deeper = await h.tenantBelow(below);
  const userId = await s.person();
  const give = (appliesToTenantId: string) =>
    s.bindings.create({ userId, systemRole: "auditor", appliesToTenantId });
  assert.equal((await give(deeper)).appliesToTenantId, deeper);
  assert.equal((await grantsOf(s.tenantId, userId, deeper))["audit.read"], "tenant");
  assert.equal((await grantsOf(s.tenantId, userId, below))["audit.read"], undefined);
  await give(below);
  for (const no of [ROOT_TENANT, await h.tenantBelow(), v7()]) {
    await assertRefused(give(no), "NotFound tenant.not_found");
  }
});

Deno.test("roleBindings.create refuses whom and what it does not know", async () => {
  const [s, other] = [await stage(), await stage()];
  const [userId, gone] = [await s.person(), await s.group()];
  await h.w.as(s.owner).identity.groups.delete({ id: gone });
  const give = (input: Parameters<typeof s.bindings.create>[0]) =>
    refusal(s.bindings.create(input));
  const systemRole = "member";
  for (const them of [v7(), await other.person()]) {
    assert.equal(await give({ userId: them, systemRole }), "NotFound user.not_found");
  }
  for (const theirs of [v7(), await other.group(), gone]) {
    assert.equal(await give({ groupId: theirs, systemRole }), "NotFound group.not_found");
  }
  for (const theirs of [v7(), await other.role()]) {
    assert.equal(await give({ userId, roleId: theirs }), "NotFound role.not_found");
  }
  for (const none of ["baker", "constructor", "Owner", "operator"]) {
    const refused = "ValidationError system_role.invalid system_role";
    assert.equal(await give({ userId, systemRole: none }), refused);
  }
  const groupId = await s.group();
  const roleId = await s.role();
  const odd: [Parameters<typeof give>[0], string][] = [
    [{ systemRole }, "user_id"],
    [{ userId, groupId, systemRole }, "group_id"],
    [{ userId }, "system_role"],
    [{ userId, systemRole, roleId }, "role_id"],
  ];
  for (const [input, field] of odd) {
    assert.equal(await give(input), `ValidationError ${field}.invalid ${field}`);
  }
});

Deno.test("roleBindings.create refuses times that make no sense, and gives nothing before its time", async () => {
  const s = await stage();
  const userId = await s.person();
  // The database has a clock of its own, which went on since ours was stopped.
  const [past, soon, later] = [0, 60, 120].map((n) => new Date(h.clock.ms + minutes(n)));
  assert.ok(past && soon && later);
  const give = (times: { startsAt?: Date; endsAt?: Date }) =>
    s.bindings.create({ userId, systemRole: "auditor", ...times });
  const refused = "ValidationError ends_at.invalid ends_at";
  await assertRefused(give({ endsAt: past }), refused);
  await assertRefused(give({ startsAt: later, endsAt: soon }), refused);
  await assertRefused(give({ startsAt: soon, endsAt: soon }), refused);
  for (const ms of [-8.64e15, 8.64e15]) {
    await assert.rejects(give({ startsAt: new Date(ms) }), /Give a year/);
  }
  await give({ startsAt: soon, endsAt: later });
  assert.equal((await grantsOf(s.tenantId, userId))["audit.read"], undefined);
});

Deno.test("roleBindings.create refuses the same twice, until it is taken back or over", async () => {
  const s = await stage();
  const [userId, groupId, roleId] = [await s.person(), await s.group(), await s.role()];
  const twice = "Conflict role_binding.already_exists";
  const inputs = [
    { userId, systemRole: "auditor" },
    { userId, roleId },
    { groupId, roleId },
    { groupId, systemRole: "auditor" },
  ];
  for (const input of inputs) {
    const first = await s.bindings.create(input);
    await assertRefused(s.bindings.create(input), twice);
    const startsAt = new Date(Date.now() + minutes(1));
    await assertRefused(s.bindings.create({ ...input, startsAt }), twice);
    await s.bindings.revoke({ id: first.id });
    const second = await s.bindings.create(input);
    await h.sql("update role_bindings set ends_at = now() where id = $1", [second.id]);
    await s.bindings.create(input);
    await assertRefused(s.bindings.create(input), twice);
  }
});

Deno.test("roleBindings.revoke takes a role back at once; again it changes nothing", async () => {
  const s = await stage();
  const userId = await s.person();
  const made = await s.bindings.create({ userId, systemRole: "auditor" });
  const stale = h.w.as(s.owner, { ifMatch: etagOf(made.id, new Date(0)) }).identity.roleBindings;
  await assertRefused(stale.revoke({ id: made.id }), "PreconditionFailed row.changed");
  assert.equal((await grantsOf(s.tenantId, userId))["audit.read"], "tenant");
  const revoked = await s.bindings.revoke({ id: made.id });
  assert.ok(revoked.revokedAt);
  assert.equal((await grantsOf(s.tenantId, userId))["audit.read"], undefined);
  const entries = (await h.trail(s.tenantId)).length;
  assert.deepEqual(await s.bindings.revoke({ id: made.id }), revoked);
  assert.equal((await h.trail(s.tenantId)).length, entries);
  await assertRefused(s.bindings.revoke({ id: v7() }), "NotFound role_binding.not_found");
});

Deno.test("roleBindings.revoke keeps the last owner, whatever else there is", async () => {
  const s = await stage();
  const last = "Conflict role_binding.last_owner";
  const refused = async () => await assertRefused(s.bindings.revoke({ id: s.ownersBinding }), last);
  await refused();
  const [later, over, idle, elsewhere] = await Promise.all([1, 2, 3, 4].map(() => s.person()));
  const [startsAt, endsAt] = [1, 2].map((n) => new Date(Date.now() + minutes(n)));
  const systemRole = "owner";
  await s.bindings.create({ userId: later ?? "", systemRole, startsAt });
  const ended = await s.bindings.create({ userId: over ?? "", systemRole, endsAt });
  await h.sql("update role_bindings set ends_at = now() where id = $1", [ended.id]);
  await s.bindings.create({ userId: idle ?? "", systemRole });
  await h.sql("update users set status = 'suspended' where id = $1", [idle]);
  await s.bindings.create({ groupId: await s.group(), systemRole });
  const appliesToTenantId = await h.tenantBelow(s.tenantId);
  await s.bindings.create({ userId: elsewhere ?? "", systemRole, appliesToTenantId });
  await refused();
  await h.sql("update users set status = 'active' where id = $1", [idle]);
  await s.bindings.revoke({ id: s.ownersBinding });
});

Deno.test("requireAnotherOwner lets go of whoever is no owner, and of owners while one is left", async () => {
  const s = await stage();
  const may = (userId: string) =>
    refusal(
      transact(asSystem(h.w.process, s.tenantId), (ctx) => requireAnotherOwner(ctx, { userId })),
    );
  const [second, admin] = [await s.person("owner"), await s.person("admin")];
  assert.deepEqual([await may(s.owner.userId), await may(second), await may(admin)], [
    "done",
    "done",
    "done",
  ]);
  await s.bindings.revoke({ id: s.ownersBinding });
  assert.equal(await may(second), "Conflict role_binding.last_owner");
  assert.deepEqual([await may(s.owner.userId), await may(v7())], ["done", "done"]);
});

Deno.test("roleBindings.revoke is refused to whoever does not hold what is taken", async () => {
  const s = await stage();
  const strong = await s.person("owner");
  const [binding] = (await s.bindings.list({ userId: strong })).roleBindings;
  const id = binding?.id ?? "";
  const admin = await h.w.person(s.tenantId, "admin");
  const byAdmin = h.w.as(admin).identity.roleBindings;
  await assertRefused(byAdmin.revoke({ id }), "Forbidden grant.beyond");
  const [member] = (await s.bindings.list({ userId: await s.person() })).roleBindings;
  assert.ok((await byAdmin.revoke({ id: member?.id ?? "" })).revokedAt);
  assert.ok((await s.bindings.revoke({ id })).revokedAt);
});

Deno.test("roleBindings.revoke reaches what was given in a tenant that is suspended or stopped inheriting since", async () => {
  const s = await stage();
  const below = await h.tenantBelow(s.tenantId);
  const roleId = await s.role();
  const give = async () =>
    (await s.bindings.create({ userId: await s.person(), roleId, appliesToTenantId: below })).id;
  const ids = [await give(), await give()];
  const admin = h.w.as(await holder(h, s.tenantId, all("tenant"))).identity.roleBindings;
  const changes = ["status = 'suspended'", "status = 'active', inherits_access = false"];
  for (const [n, change] of changes.entries()) {
    await h.sql(`update tenants set ${change} where id = $1`, [below]);
    await assertRefused(admin.revoke({ id: ids[n] ?? "" }), "Forbidden grant.beyond");
    assert.ok((await s.bindings.revoke({ id: ids[n] ?? "" })).revokedAt, change);
  }
});

Deno.test("roleBindings.list filters, pages and leaves out what is over unless asked", async () => {
  const s = await stage();
  const [userId, groupId, roleId] = [await s.person(), await s.group(), await s.role()];
  const below = await h.tenantBelow(s.tenantId);
  const a = await s.bindings.create({ userId, roleId });
  const b = await s.bindings.create({ groupId, roleId, appliesToTenantId: below });
  const c = await s.bindings.create({ groupId, systemRole: "auditor" });
  const startsAt = new Date(Date.now() + minutes(1));
  const d = await s.bindings.create({ userId, systemRole: "auditor", startsAt });
  const names = new Map([[a.id, "a"], [b.id, "b"], [c.id, "c"], [d.id, "d"]]);
  const found = async (input: Parameters<typeof s.bindings.list>[0]) =>
    (await s.bindings.list(input)).roleBindings.map(({ id }) => names.get(id) ?? "").join("");
  assert.equal(await found({ roleId }), "ba");
  assert.equal(await found({ groupId }), "cb");
  assert.equal(await found({ userId }), "da");
  assert.equal(await found({ systemRole: "auditor" }), "dc");
  assert.equal(await found({ appliesToTenantId: below }), "b");
  assert.equal(await found({ groupId, roleId, systemRole: "auditor" }), "");
  assert.equal(await found({ limit: 3 }), "dcb");
  assert.equal(await found({ limit: 1, cursor: b.id }), "a");
  await s.bindings.revoke({ id: a.id });
  await h.sql("update role_bindings set ends_at = now() where id = $1", [b.id]);
  assert.equal(await found({ roleId }), "");
  assert.equal(await found({ roleId, includeEnded: true }), "ba");
});

Deno.test("roleBindings with self reach are one's own and one's groups', and move nobody else", async () => {
  const s = await stage();
  const me = selfish(await h.w.person(s.tenantId, "member"));
  const [inner, outer, other] = [await s.group(), await s.group(), await s.group()];
  const { groupMembers } = h.w.as(s.owner).identity;
  await groupMembers.add({ groupId: outer, memberGroupId: inner });
  await groupMembers.add({ groupId: inner, userId: me.userId });
  const roleId = await s.role();
  const [own] = (await s.bindings.list({ userId: me.userId })).roleBindings;
  const through = await bind(h, s.tenantId, { groupId: outer }, roleId);
  const theirs = await bind(h, s.tenantId, { groupId: other }, roleId);
  const mine = h.w.as(me).identity.roleBindings;
  const seen = (await mine.list({})).roleBindings.map(({ id }) => id);
  assert.deepEqual(seen, [through, own?.id]);
  const gone = "NotFound role_binding.not_found";
  await assertRefused(mine.get({ id: theirs }), gone);
  await assertRefused(mine.revoke({ id: theirs }), gone);
  await assertRefused(mine.revoke({ id: through }), gone);
  const systemRole = "member";
  await assertRefused(
    mine.create({ userId: s.owner.userId, systemRole }),
    "NotFound user.not_found",
  );
  await assertRefused(mine.create({ groupId: inner, systemRole }), "NotFound group.not_found");
  assert.ok((await mine.revoke({ id: own?.id ?? "" })).revokedAt);
  const visitor = { ...me, userId: null };
  assert.deepEqual((await h.w.as(visitor).identity.roleBindings.list({})).roleBindings, []);
});

Deno.test("a binding of a role this release does not know can be taken back", async () => {
  const s = await stage();
  const userId = await s.person();
  const { id } = await s.bindings.create({ userId, systemRole: "auditor" });
  await h.sql("update role_bindings set system_role = 'archivist' where id = $1", [id]);
  assert.equal(systemRoles.archivist, undefined);
  assert.ok((await s.bindings.revoke({ id })).revokedAt);
});
