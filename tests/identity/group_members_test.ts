/** Members: users for a time, groups without end, never in a circle, each user held by one group at most. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { v7 } from "uuid";
import { etagOf } from "../../src/etags.ts";
import { all, assertRefused, bind, holder, paged, roleOf, selfish } from "./givers.ts";
import { home, minutes } from "./house.ts";

const h = await home();
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.w.person(tenantId, "owner");
  const { groups, groupMembers: members } = h.w.as(owner).identity;
  const make = async () => (await groups.create({ name: `group ${v7()}` })).id;
  const person = async () => (await h.w.person(tenantId, "member")).userId;
  return { tenantId, owner, members, make, person };
};
type Stage = Awaited<ReturnType<typeof stage>>;

const everybody = (
  s: Stage,
  groupId: string,
  more: { transitive?: boolean; limit?: number } = {},
) =>
  paged(async (cursor) => {
    const page = await s.members.list({ groupId, ...more, ...(cursor ? { cursor } : {}) });
    return { items: page.members, nextCursor: page.nextCursor };
  });

Deno.test("groupMembers.add puts users and groups in, and tells the group's trail", async () => {
  const s = await stage();
  const [group, inner, userId] = [await s.make(), await s.make(), await s.person()];
  const endsAt = new Date(Date.now() + 3_600_000);
  const user = await s.members.add({ groupId: group, userId, endsAt });
  const nested = await s.members.add({ groupId: group, memberGroupId: inner });
  assert.deepEqual([user.userId, user.memberGroupId, user.endsAt], [userId, null, endsAt]);
  assert.deepEqual([nested.userId, nested.memberGroupId, nested.isHolding], [null, inner, false]);
  const listed = await everybody(s, group);
  assert.deepEqual(listed, [user, nested]);
  const entries = (await h.trail(s.tenantId)).filter(({ subject_id }) => subject_id === group);
  assert.deepEqual(entries.map(({ action }) => action), [
    "group.created",
    "group.member_added",
    "group.member_added",
  ]);
  assert.equal((await h.eventTypes(s.tenantId)).at(-1), "group.member_added");
});

Deno.test("groupMembers.add refuses a member twice, and takes one back whose time is over", async () => {
  const s = await stage();
  const [group, inner, userId] = [await s.make(), await s.make(), await s.person()];
  const endsAt = new Date(Date.now() + 3_600_000);
  await s.members.add({ groupId: group, userId, endsAt });
  await s.members.add({ groupId: group, memberGroupId: inner });
  const twice = "Conflict group_member.already_exists";
  await assertRefused(s.members.add({ groupId: group, userId }), twice);
  await assertRefused(s.members.add({ groupId: group, memberGroupId: inner }), twice);
  await h.sql("update group_members set ends_at = now() where owner_user_id = $1", [userId]);
  await s.members.add({ groupId: group, userId });
  assert.equal((await everybody(s, group)).length, 2);
});

Deno.test("groupMembers.add refuses whom it does not know: 404 for theirs as for nobody's", async () => {
  const [s, other] = [await stage(), await stage()];
  const [group, gone] = [await s.make(), await s.make()];
  await h.w.as(s.owner).identity.groups.delete({ id: gone });
  const [noGroup, noUser] = ["NotFound group.not_found", "NotFound user.not_found"];
  for (const userId of [v7(), await other.person()]) {
    await assertRefused(s.members.add({ groupId: group, userId }), noUser);
  }
  for (const theirs of [v7(), await other.make(), gone]) {
    await assertRefused(s.members.add({ groupId: group, memberGroupId: theirs }), noGroup);
    await assertRefused(s.members.add({ groupId: theirs, userId: await s.person() }), noGroup);
    await assertRefused(s.members.list({ groupId: theirs }), noGroup);
  }
});

Deno.test("groupMembers.add refuses what is neither or both, and times that make no sense", async () => {
  const s = await stage();
  const [groupId, memberGroupId, userId] = [await s.make(), await s.make(), await s.person()];
  const [past, soon, later] = [0, 1, 2].map((n) => new Date(h.clock.ms + minutes(n)));
  assert.ok(past && soon && later);
  const odd: [Parameters<typeof s.members.add>[0], string][] = [
    [{ groupId }, "user_id"],
    [{ groupId, userId, memberGroupId }, "member_group_id"],
    [{ groupId, memberGroupId, isHolding: true }, "is_holding"],
    [{ groupId, memberGroupId, startsAt: soon }, "starts_at"],
    [{ groupId, memberGroupId, endsAt: soon }, "ends_at"],
    [{ groupId, userId, endsAt: past }, "ends_at"],
    [{ groupId, userId, startsAt: later, endsAt: soon }, "ends_at"],
    [{ groupId, userId, startsAt: soon, endsAt: soon }, "ends_at"],
  ];
  for (const [input, field] of odd) {
    await assertRefused(s.members.add(input), `ValidationError ${field}.invalid ${field}`);
  }
  for (const ms of [-8.64e15, 8.64e15]) {
    const startsAt = new Date(ms);
    await assert.rejects(s.members.add({ groupId, userId, startsAt }), /Give a year/);
  }
  assert.deepEqual(await everybody(s, groupId), []);
  await s.members.add({ groupId, userId, startsAt: soon, endsAt: later });
});

Deno.test("groupMembers.add refuses every circle and names member_group_id", async () => {
  const s = await stage();
  const [a, b, c] = [await s.make(), await s.make(), await s.make()];
  const add = (groupId: string, memberGroupId: string) => s.members.add({ groupId, memberGroupId });
  await add(a, b);
  await add(b, c);
  const circle = "Conflict group.cycle member_group_id";
  for (const [group, member] of [[a, a], [b, a], [c, a], [c, b]] as const) {
    await assertRefused(add(group, member), circle);
  }
  await add(a, c); // A second way down is no circle.
  await s.members.remove({ groupId: b, memberGroupId: c });
  await assertRefused(add(c, a), circle); // The other way is still there.
  await s.members.remove({ groupId: a, memberGroupId: c });
  await add(c, a);
});

Deno.test("a user is held by one group at most: the next one takes the flag", async () => {
  const s = await stage();
  const [a, b, c, userId] = [await s.make(), await s.make(), await s.make(), await s.person()];
  const held = async () =>
    (await h.sql("select group_id from group_members where owner_user_id = $1 and is_holding", [
      userId,
    ])).map(({ group_id }) => group_id);
  await s.members.add({ groupId: a, userId, isHolding: true });
  await s.members.add({ groupId: b, userId });
  assert.deepEqual(await held(), [a]);
  await s.members.add({ groupId: c, userId, isHolding: true });
  assert.deepEqual(await held(), [c]);
  const [entry] = await h.sql(
    "select diff from audit_entries where subject_id = $1 and action = 'group.member_added'",
    [c],
  );
  assert.deepEqual(Object(entry?.diff).held_by, { before: a, after: c });
  assert.equal((await s.members.update({ groupId: b, userId, isHolding: true })).isHolding, true);
  assert.deepEqual(await held(), [b]);
  await s.members.update({ groupId: b, userId, isHolding: false });
  assert.deepEqual(await held(), []);
  await s.members.update({ groupId: a, userId, isHolding: true });
  await s.members.remove({ groupId: a, userId });
  assert.deepEqual(await held(), []);
});

Deno.test("groupMembers.update changes the times given and clears what is null", async () => {
  const s = await stage();
  const [groupId, userId] = [await s.make(), await s.person()];
  const [soon, later] = [1, 2].map((n) => new Date(Date.now() + minutes(n)));
  assert.ok(soon && later);
  await s.members.add({ groupId, userId, startsAt: soon, endsAt: later });
  const change = async (input: { startsAt?: Date | null; endsAt?: Date | null }) => {
    const { startsAt, endsAt } = await s.members.update({ groupId, userId, ...input });
    return [startsAt, endsAt];
  };
  assert.deepEqual(await change({}), [soon, later]);
  assert.deepEqual(await change({ startsAt: null }), [null, later]);
  assert.deepEqual(await change({ endsAt: null }), [null, null]);
  await change({ endsAt: soon });
  const odd = "ValidationError ends_at.invalid ends_at";
  await assertRefused(change({ startsAt: later }), odd);
  await assertRefused(change({ endsAt: new Date(0) }), odd);
  await assertRefused(
    s.members.update({ groupId, userId: await s.person() }),
    "NotFound group_member.not_found",
  );
});

Deno.test("groupMembers.remove takes out who is in, and heeds If-Match", async () => {
  const s = await stage();
  const [groupId, inner, userId] = [await s.make(), await s.make(), await s.person()];
  const { id, updatedAt } = await s.members.add({ groupId, userId });
  await s.members.add({ groupId, memberGroupId: inner });
  const under = (at: Date) =>
    h.w.as(s.owner, { ifMatch: etagOf(id, at) }).identity.groupMembers.remove({ groupId, userId });
  await assertRefused(under(new Date(0)), "PreconditionFailed row.changed");
  await under(updatedAt);
  await s.members.remove({ groupId, memberGroupId: inner });
  assert.deepEqual(await everybody(s, groupId), []);
  for (const member of [{ userId }, { memberGroupId: inner }, { userId: v7() }]) {
    await assertRefused(
      s.members.remove({ groupId, ...member }),
      "NotFound group_member.not_found",
    );
  }
  await assertRefused(s.members.remove({ groupId }), "ValidationError user_id.invalid user_id");
  assert.equal((await h.trail(s.tenantId)).at(-1)?.action, "group.member_removed");
});

Deno.test("groupMembers.remove is refused to whoever does not hold what the group gives, oneself aside", async () => {
  const s = await stage();
  const [groupId, userId] = [await s.make(), await s.person()];
  await s.members.add({ groupId, userId });
  await bind(h, s.tenantId, { groupId }, await roleOf(h, s.tenantId, { "audit.read": "subtree" }));
  const low = await holder(h, s.tenantId, all("tenant"));
  const remove = (who: typeof low, userId: string) =>
    h.w.as(who).identity.groupMembers.remove({ groupId, userId });
  await assertRefused(remove(low, userId), "Forbidden grant.beyond");
  await remove(s.owner, userId);
  await s.members.add({ groupId, userId: low.userId, endsAt: new Date(Date.now() + 60_000) });
  await h.sql("update group_members set ends_at = now() where owner_user_id = $1", [low.userId]);
  await remove(low, low.userId);
});

Deno.test("a deactivated user may be a member and stays one", async () => {
  const s = await stage();
  const [groupId, userId] = [await s.make(), await s.person()];
  await h.sql("update users set status = 'suspended' where id = $1", [userId]);
  await s.members.add({ groupId, userId });
  assert.equal((await everybody(s, groupId)).length, 1);
});

Deno.test("groupMembers.list lists users and groups page by page, each once", async () => {
  const s = await stage();
  const groupId = await s.make();
  const members: string[] = [];
  for (let n = 0; n < 7; n++) {
    const [userId, memberGroupId] = [await s.person(), await s.make()];
    await s.members.add({ groupId, memberGroupId });
    await s.members.add({ groupId, userId });
    members.push(userId, memberGroupId);
  }
  for (const limit of [1, 2, 3, 7, 13, 14, 100]) {
    const listed = await everybody(s, groupId, { limit });
    const ids = listed.map(({ userId, memberGroupId }) => userId ?? memberGroupId);
    assert.deepEqual(ids, members.toSorted().toReversed(), `${limit} a page`);
  }
});

Deno.test("groupMembers.list transitive finds every user below once, as a walk over the groups does", async () => {
  const s = await stage();
  const [groups, users]: [string[], string[]] = [[], []];
  for (let n = 0; n < 8; n++) groups.push(await s.make());
  for (let n = 0; n < 6; n++) users.push(await s.person());
  const within = new Map<string, Set<string>>(groups.map((id) => [id, new Set()]));
  const usersIn = (id: string): Set<string> =>
    new Set([...within.get(id) ?? []].flatMap((m) => groups.includes(m) ? [...usersIn(m)] : [m]));
  const lies = (id: string, group: string): boolean =>
    id === group || [...within.get(group) ?? []].some((m) => lies(id, m));
  const step = fc.record({
    group: fc.constantFrom(...groups),
    member: fc.constantFrom(...groups, ...users),
    limit: fc.integer({ min: 1, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(step, async ({ group, member, limit }) => {
      const isGroup = groups.includes(member);
      const named = isGroup ? { memberGroupId: member } : { userId: member };
      if (within.get(group)?.has(member)) {
        await s.members.remove({ groupId: group, ...named });
        within.get(group)?.delete(member);
      } else if (!isGroup || !lies(group, member)) {
        await s.members.add({ groupId: group, ...named });
        within.get(group)?.add(member);
      }
      for (const id of [group, groups[0] ?? ""]) {
        const found = await everybody(s, id, { transitive: true, limit });
        assert.deepEqual(
          found.map(({ userId }) => userId),
          [...usersIn(id)].sort().toReversed(),
        );
        for (const { groupId, userId } of found) {
          assert.ok(within.get(groupId)?.has(userId ?? ""), "by a membership that is there");
        }
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("groupMembers.list transitive is of now: who comes later or has gone is not in it", async () => {
  const s = await stage();
  const [outer, inner] = [await s.make(), await s.make()];
  await s.members.add({ groupId: outer, memberGroupId: inner });
  const [here, later, gone] = [await s.person(), await s.person(), await s.person()];
  await s.members.add({ groupId: inner, userId: here });
  await s.members.add({ groupId: inner, userId: gone });
  const startsAt = new Date(Date.now() + minutes(1));
  await s.members.add({ groupId: inner, userId: later, startsAt });
  await h.sql("update group_members set ends_at = now() where owner_user_id = $1", [gone]);
  const now = await everybody(s, outer, { transitive: true, limit: 1 });
  assert.deepEqual(now.map(({ userId }) => userId), [here]);
  assert.equal((await everybody(s, inner)).length, 3);
});

Deno.test("groupMembers with self reach shows and moves nobody but oneself", async () => {
  const s = await stage();
  const [outer, inner, other] = [await s.make(), await s.make(), await s.make()];
  const me = selfish(await h.w.person(s.tenantId, "member"));
  await s.members.add({ groupId: outer, memberGroupId: inner });
  await s.members.add({ groupId: outer, memberGroupId: other });
  await s.members.add({ groupId: inner, userId: me.userId });
  await s.members.add({ groupId: inner, userId: s.owner.userId });
  const mine = h.w.as(me).identity.groupMembers;
  const seen = async (groupId: string, transitive = false) =>
    (await mine.list({ groupId, transitive })).members
      .map(({ userId, memberGroupId }) => userId ?? memberGroupId);
  assert.deepEqual(await seen(inner), [me.userId]);
  assert.deepEqual(await seen(outer), [inner]);
  assert.deepEqual(await seen(outer, true), [me.userId]);
  await assertRefused(mine.list({ groupId: other }), "NotFound group.not_found");
  const them = { userId: s.owner.userId };
  await assertRefused(mine.remove({ groupId: inner, ...them }), "NotFound user.not_found");
  await assertRefused(mine.add({ groupId: other, ...them }), "NotFound user.not_found");
  await assertRefused(
    mine.add({ groupId: other, memberGroupId: inner }),
    "NotFound group.not_found",
  );
  await mine.remove({ groupId: inner, userId: me.userId });
  await mine.add({ groupId: other, userId: me.userId });
});
