/** Groups: named once in a tenant, found by who is in them, gone with everything that hung on them. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { v7 } from "uuid";
import { etagOf } from "../../src/etags.ts";
import type { Person } from "../kit.ts";
import { all, assertRefused, bind, holder, paged, roleOf, selfish } from "./givers.ts";
import { home } from "./house.ts";

const h = await home();
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.w.person(tenantId, "owner");
  const { groups, groupMembers } = h.w.as(owner).identity;
  const make = async (name = `group ${v7()}`) => (await groups.create({ name })).id;
  const person = async () => (await h.w.person(tenantId, "member")).userId;
  return { tenantId, owner, groups, groupMembers, make, person };
};

Deno.test("groups.create makes a group, shown to those who read and written to the trail", async () => {
  const { tenantId, owner, groups } = await stage();
  const input = { name: "  Bakers ", description: "Who bakes", metadata: { floor: 1, aB: [] } };
  const made = await groups.create(input);
  assert.deepEqual(
    [made.name, made.description, made.metadata],
    ["Bakers", "Who bakes", input.metadata],
  );
  assert.deepEqual(await groups.get({ id: made.id }), made);
  const entry = (await h.trail(tenantId)).at(-1);
  assert.deepEqual(entry, {
    action: "group.created",
    actor_type: "user",
    actor_id: owner.userId,
    subject_id: made.id,
  });
  assert.equal((await h.eventTypes(tenantId)).at(-1), "group.created");
});

Deno.test("groups.create and update refuse a name another group has, whatever its case", async () => {
  const { groups } = await stage();
  await groups.create({ name: "Bakers" });
  const other = await groups.create({ name: "Drivers" });
  await assertRefused(groups.create({ name: "BAKERS" }), "Conflict group.already_exists");
  const rename = (name: string) => groups.update({ id: other.id, name });
  await assertRefused(rename("bakers"), "Conflict group.already_exists");
  assert.equal((await rename("drivers")).name, "drivers");
  const elsewhere = await stage();
  assert.equal((await elsewhere.groups.create({ name: "Bakers" })).name, "Bakers");
});

Deno.test("groups.update changes what is given, clears what is null and heeds If-Match", async () => {
  const { owner, groups } = await stage();
  const made = await groups.create({ name: "A", description: "d", metadata: { a: 1 } });
  const same = await groups.update({ id: made.id });
  assert.deepEqual([same.name, same.description, same.metadata], ["A", "d", { a: 1 }]);
  const cleared = await groups.update({ id: made.id, description: null, metadata: null });
  assert.deepEqual([cleared.description, cleared.metadata], [null, {}]);
  const late = h.w.as(owner, { ifMatch: etagOf(made.id, made.updatedAt) }).identity.groups;
  await assertRefused(late.update({ id: made.id, name: "B" }), "PreconditionFailed row.changed");
  await assertRefused(late.delete({ id: made.id }), "PreconditionFailed row.changed");
  assert.equal((await groups.get({ id: made.id })).name, "A");
});

Deno.test("groups.delete takes members, parents and role bindings along, in one entry with counts", async () => {
  const { tenantId, groups, groupMembers, make, person } = await stage();
  const [inner, doomed, outer] = [await make(), await make("Doomed"), await make()];
  const userId = await person();
  await groupMembers.add({ groupId: doomed, userId });
  await groupMembers.add({ groupId: doomed, memberGroupId: inner });
  await groupMembers.add({ groupId: outer, memberGroupId: doomed });
  await bind(h, tenantId, { groupId: doomed }, await roleOf(h, tenantId, { "audit.read": "self" }));
  await groups.delete({ id: doomed });
  await assertRefused(groups.get({ id: doomed }), "NotFound group.not_found");
  const left = await h.sql(
    `select 1 from group_members where tenant_id = $1
     union all select 1 from role_bindings where group_id = $2 and revoked_at is null`,
    [tenantId, doomed],
  );
  assert.equal(left.length, 0);
  const [entry] = await h.sql(
    "select diff from audit_entries where subject_id = $1 and action = 'group.deleted'",
    [doomed],
  );
  assert.deepEqual(entry?.diff, {
    is_active: { before: true, after: false },
    members_removed: { before: null, after: 2 },
    left_groups: { before: null, after: 1 },
    role_bindings_revoked: { before: null, after: 1 },
  });
  const { groups: below } = await groups.list({ parentId: outer, transitive: true });
  assert.deepEqual(below, []);
  assert.ok((await groups.create({ name: "doomed" })).id); // The name is free again.
  await assertRefused(groups.delete({ id: doomed }), "NotFound group.not_found");
});

Deno.test("groups.delete is refused to whoever does not hold what the group gives", async () => {
  const { tenantId, make } = await stage();
  const [inner, outer] = [await make(), await make()];
  await bind(
    h,
    tenantId,
    { groupId: outer },
    await roleOf(h, tenantId, { "audit.read": "subtree" }),
  );
  await h.sql(
    "insert into group_members (tenant_id, id, group_id, member_group_id) values ($1, $2, $3, $4)",
    [tenantId, v7(), outer, inner],
  );
  const remove = async (grants: ReturnType<typeof all>) =>
    h.w.as(await holder(h, tenantId, grants)).identity.groups.delete({ id: inner });
  await assertRefused(remove(all("tenant")), "Forbidden grant.beyond");
  await remove(all("subtree"));
});

Deno.test("groups.list finds the groups a user is in, directly and through others, as of now", async () => {
  const { tenantId, groups, groupMembers, make, person } = await stage();
  const [a, b, c, apart] = [await make("A"), await make("B"), await make("C"), await make("D")];
  const userId = await person();
  await groupMembers.add({ groupId: b, memberGroupId: a });
  await groupMembers.add({ groupId: c, memberGroupId: b });
  await groupMembers.add({ groupId: a, userId });
  const soon = new Date(Date.now() + 3_600_000);
  await groupMembers.add({ groupId: apart, userId, startsAt: soon });
  const ids = async (input: Parameters<typeof groups.list>[0]) =>
    (await groups.list(input)).groups.map(({ id }) => id);
  assert.deepEqual(await ids({ userId }), [a]);
  assert.deepEqual(await ids({ userId, transitive: true }), [c, b, a]);
  assert.deepEqual(await ids({ parentId: c }), [b]);
  assert.deepEqual(await ids({ parentId: c, transitive: true }), [b, a]);
  assert.deepEqual(await ids({ userId, parentId: c, transitive: true }), [b, a]);
  assert.deepEqual(await ids({ userId: v7() }), []);
  assert.deepEqual(await ids({ parentId: v7() }), []);
  await h.sql("update group_members set ends_at = now() where tenant_id = $1 and group_id = $2", [
    tenantId,
    a,
  ]);
  assert.deepEqual(await ids({ userId, transitive: true }), []);
});

Deno.test("groups with self reach are those one is in, and cannot be changed with it", async () => {
  const { tenantId, owner, groupMembers, make } = await stage();
  const [inner, outer, other] = [await make(), await make(), await make()];
  const me = selfish(await h.w.person(tenantId, "member"));
  await groupMembers.add({ groupId: outer, memberGroupId: inner });
  await groupMembers.add({ groupId: inner, userId: me.userId });
  const { groups } = h.w.as(me).identity;
  const seen = async (who: Person | typeof me) =>
    (await h.w.as(who).identity.groups.list({})).groups.map(({ id }) => id);
  assert.deepEqual(await seen(me), [outer, inner]);
  assert.equal((await groups.get({ id: outer })).id, outer);
  await assertRefused(groups.get({ id: other }), "NotFound group.not_found");
  await groupMembers.add({ groupId: inner, userId: owner.userId });
  assert.deepEqual((await groups.list({ userId: owner.userId })).groups, []);
  assert.equal((await groups.list({ userId: me.userId })).groups.length, 1);
  const mine = "Forbidden permission.only_self";
  await assertRefused(groups.create({ name: "Mine" }), mine);
  await assertRefused(groups.update({ id: inner, name: "Mine" }), mine);
  await assertRefused(groups.delete({ id: inner }), mine);
  const visitor = { ...me, userId: null }; // Somebody of another tenant who acts in this one.
  assert.deepEqual((await h.w.as(visitor).identity.groups.list({})).groups, []);
});

Deno.test("groups.list pages through all groups of a random forest, each once", async () => {
  const { groups, groupMembers, make } = await stage();
  const ids: string[] = [];
  for (let n = 0; n < 12; n++) ids.push(await make());
  const above = new Map<string, Set<string>>(ids.map((id) => [id, new Set()]));
  const reach = (from: string): Set<string> =>
    new Set([...above.get(from) ?? []].flatMap((up) => [up, ...reach(up)]));
  await fc.assert(
    fc.asyncProperty(
      fc.nat(11),
      fc.nat(11),
      fc.integer({ min: 1, max: 5 }),
      async (i, j, limit) => {
        const [group = "", memberGroupId = ""] = [ids[i], ids[j]];
        const wouldCircle = i === j || reach(group).has(memberGroupId);
        if (!wouldCircle && !above.get(memberGroupId)?.has(group)) {
          await groupMembers.add({ groupId: group, memberGroupId });
          above.get(memberGroupId)?.add(group);
        }
        const below = await paged(async (cursor) => {
          const { groups: items, nextCursor } = await groups.list({
            parentId: group,
            transitive: true,
            limit,
            ...(cursor ? { cursor } : {}),
          });
          return { items, nextCursor };
        });
        const expected = ids.filter((id) => reach(id).has(group)).toReversed();
        assert.deepEqual(below.map(({ id }) => id), expected);
      },
    ),
    { numRuns: 40 },
  );
});
