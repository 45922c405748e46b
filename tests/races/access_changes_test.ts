/** Changes of access that meet: each waits for the one before it, and what comes of them is one after the other. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { open } from "../../db/client.ts";
import type { Principal } from "../../src/context.ts";
import { type House, house, until } from "../db/house.ts";
import { bind, holder, refusal, roleOf } from "../identity/givers.ts";
import { type Home, home } from "../identity/house.ts";
import type { Person } from "../kit.ts";

const ROUNDS = Deno.env.get("PROVE") ? 20 : 4;
const STORM = Deno.env.get("PROVE") ? 2_000 : 240;
const LATCH = 4_711;

let server: House;
let h: Home;
let latch: ReturnType<typeof open>;

Deno.test.beforeAll(async () => {
  server = await house();
  latch = open(server.adminUrl, { poolSize: 1 });
  // A change whose request is called so stays open, all done but its record, until the latch is let go.
  await server.admin(`create function hold_open() returns trigger language plpgsql as $$ begin
    if new.request_id in ('held', 'doomed') then perform pg_advisory_xact_lock(${LATCH}); end if;
    if new.request_id = 'doomed' then raise exception 'doomed' using errcode = '22000'; end if;
    return new;
  end $$`);
  await server.admin(`create trigger hold_open before insert on audit_entries
    for each row execute function hold_open()`);
  h = await home({
    database: open(server.url, { poolSize: 12 }),
    sql: (text, params = []) =>
      server.admin(text.replaceAll(/\$(\d+)/g, (_, n) => quoted(params[Number(n) - 1]))),
  });
});
Deno.test.afterAll(async () => {
  await h.w.close();
  await latch.close();
  await server[Symbol.asyncDispose]();
});

const quoted = (value: unknown) =>
  value === null || value === undefined ? "null" : `'${String(value).replaceAll("'", "''")}'`;

type Call = (requestId: string) => Promise<unknown>;
const as = (who: Principal, requestId: string) => h.w.as(who, { requestId }).identity;

/**
 * Runs the first call until all but its commit is done, then the others, which must come to wait for
 * it or to an end, then lets it go. Answers what each said, in the order given.
 */
async function meeting(first: Call, others: Call[], end: "held" | "doomed" = "held") {
  const said = await latch.transaction(async (db) => {
    await db.execute(`select pg_advisory_xact_lock(${LATCH})`);
    const held = refusal(first(end)).catch(String);
    await until(() => waiting(1), "the first has done its part");
    let ended = 0;
    const late = others.map((call) => refusal(call("late")).finally(() => ended++));
    await until(async () => await waiting(1 + others.length - ended), "the others wait");
    return [held, ...late];
  }, "read write");
  return await Promise.all(said);
}

const waiting = async (n: number) =>
  await server.count(`select count(*) from pg_stat_activity
    where datname = current_database() and wait_event = 'advisory'`) >= n;

async function stage() {
  const tenantId = await h.tenantBelow();
  const owner = await h.w.person(tenantId, "owner");
  const group = async () => (await as(owner, "made").groups.create({ name: v7() })).id;
  const nest = (groupId: string, memberGroupId: string, who: Principal = owner): Call => (id) =>
    as(who, id).groupMembers.add({ groupId, memberGroupId });
  const give =
    (roleId: string, to: { userId: string } | { groupId: string }, who = owner): Call => (id) =>
      as(who, id).roleBindings.create({
        roleId,
        ..."userId" in to ? { userId: to.userId } : { groupId: to.groupId },
      });
  const bindingOf = async ({ userId }: Person) => {
    const [row] = await h.sql(
      "select id from role_bindings where owner_user_id = $1 and revoked_at is null",
      [userId],
    );
    return String(row?.id);
  };
  const revoke = (id: string, who: Principal = owner): Call => (requestId) =>
    as(who, requestId).roleBindings.revoke({ id });
  return { tenantId, owner, group, nest, give, bindingOf, revoke };
}
const rounds = async (round: (s: Awaited<ReturnType<typeof stage>>) => Promise<void>) => {
  for (let n = 0; n < ROUNDS; n++) await round(await stage());
};
const beyond = (field: string) => `Forbidden grant.beyond ${field}`;
const reading = { "audit.read": "tenant" } as const;
const events = [{ permission: "events.read", reach: "tenant" }] as const;

Deno.test("of two nestings that would make a circle one wins, of three two", async () => {
  await rounds(async (s) => {
    const [a, b, c] = [await s.group(), await s.group(), await s.group()];
    const circle = "Conflict group.cycle member_group_id";
    assert.deepEqual(await meeting(s.nest(b, a), [s.nest(a, b)]), ["done", circle]);
    const three = await meeting(s.nest(c, b), [s.nest(a, c), s.nest(a, c)]);
    assert.deepEqual(three, ["done", circle, circle]);
    const [d, e, f] = [await s.group(), await s.group(), await s.group()];
    const said = await meeting(s.nest(d, e), [s.nest(e, f), s.nest(f, d)]);
    assert.deepEqual(said.toSorted(), [circle, "done", "done"]);
  });
  assert.equal(await circles(), 0);
});

Deno.test("of two who give the same role one wins", async () => {
  await rounds(async (s) => {
    const [roleId, groupId] = [await roleOf(h, s.tenantId, reading), await s.group()];
    const to = await holder(h, s.tenantId, {});
    const exists = "Conflict role_binding.already_exists";
    for (const subject of [{ userId: to.userId }, { groupId }]) {
      const give = s.give(roleId, subject);
      assert.deepEqual(await meeting(give, [give, give]), ["done", exists, exists]);
    }
  });
});

Deno.test("of two owners who revoke each other, or themselves, one stays", async () => {
  await rounds(async (s) => {
    const other = await h.w.person(s.tenantId, "owner");
    const [mine, theirs] = [await s.bindingOf(s.owner), await s.bindingOf(other)];
    const last = "Conflict role_binding.last_owner";
    const said = await meeting(s.revoke(theirs), [s.revoke(mine, other)]);
    assert.equal(said[0], "done");
    assert.match(String(said[1]), /^Forbidden grant\.beyond$/);
    const third = await h.w.person(s.tenantId, "owner");
    const own = await s.bindingOf(third);
    assert.deepEqual(await meeting(s.revoke(own, third), [s.revoke(mine)]), ["done", last]);
    const fourth = await h.w.person(s.tenantId, "owner");
    const shut: Call = (id) => as(s.owner, id).users.deactivate({ id: fourth.userId });
    assert.deepEqual(await meeting(shut, [s.revoke(mine)]), ["done", last]);
  });
});

Deno.test("a grant waits for the taking back of the right it needs, and is refused by it", async () => {
  await rounds(async (s) => {
    const giver = await holder(h, s.tenantId, reading);
    const [roleId, to] = [await roleOf(h, s.tenantId, reading), await holder(h, s.tenantId, {})];
    const id = await s.bindingOf(giver);
    const give = s.give(roleId, to, giver);
    const [failed, given] = await meeting(s.revoke(id), [give], "doomed");
    assert.match(String(failed), /Error/);
    assert.equal(given, "done"); // It was not taken back after all.
    await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [
      to.userId,
    ]);
    assert.deepEqual(await meeting(s.revoke(id), [give]), ["done", beyond("role_id")]);
    const shutOut = await holder(h, s.tenantId, reading);
    const shut: Call = (id) => as(s.owner, id).users.deactivate({ id: shutOut.userId });
    const said = await meeting(shut, [s.give(roleId, to, shutOut)]);
    assert.deepEqual(said, ["done", beyond("role_id")]);
  });
});

Deno.test("a right through a group is taken back before a grant, or the grant was before", async () => {
  await rounds(async (s) => {
    const [groupId, roleId] = [await s.group(), await roleOf(h, s.tenantId, reading)];
    await bind(h, s.tenantId, { groupId }, await roleOf(h, s.tenantId, reading));
    const giver = await holder(h, s.tenantId, {});
    const member = { groupId, userId: giver.userId };
    await as(s.owner, "made").groupMembers.add(member);
    const [one, two] = [await holder(h, s.tenantId, {}), await holder(h, s.tenantId, {})];
    const leave: Call = (id) => as(s.owner, id).groupMembers.remove(member);
    assert.deepEqual(await meeting(s.give(roleId, one, giver), [leave]), ["done", "done"]);
    await as(s.owner, "made").groupMembers.add(member);
    const said = await meeting(leave, [s.give(roleId, two, giver)]);
    assert.deepEqual(said, ["done", beyond("role_id")]);
  });
});

Deno.test("who nests a group under one that is given more at that moment held it, or is refused", async () => {
  await rounds(async (s) => {
    const nester = await holder(h, s.tenantId, { ...reading, "group_members.add": "tenant" });
    const more = await roleOf(h, s.tenantId, { "events.read": "tenant" });
    const [a, b, c, d] = [await s.group(), await s.group(), await s.group(), await s.group()];
    const bound = await meeting(s.give(more, { groupId: a }), [s.nest(a, b, nester)]);
    assert.deepEqual(bound, ["done", beyond("group_id")]);
    const nested = await meeting(s.nest(c, d, nester), [s.give(more, { groupId: c })]);
    assert.deepEqual(nested, ["done", "done"]);
    const [e, f] = [await s.group(), await s.group()];
    const said = await Promise.all([
      refusal(s.nest(e, f, nester)("free")),
      refusal(s.give(more, { groupId: e })("free")),
    ]);
    assert.equal(said[1], "done");
    const order = await h.sql(
      `select action from audit_entries where tenant_id = $1 and request_id = 'free' order by id`,
      [s.tenantId],
    );
    const actions = order.map(({ action }) => action);
    const isBefore = actions[0] === "group.member_added";
    assert.equal(said[0], isBefore ? "done" : beyond("group_id"));
  });
});

Deno.test("who binds a role that is given more at that moment held it, or is refused", async () => {
  await rounds(async (s) => {
    const giver = await holder(h, s.tenantId, reading);
    const grow = (id: string): Call => (request) =>
      as(s.owner, request).roles.update({ id, permissions: [...events] });
    const to = await holder(h, s.tenantId, {});
    const [first, second] = [
      await roleOf(h, s.tenantId, reading),
      await roleOf(h, s.tenantId, reading),
    ];
    const grown = await meeting(grow(first), [s.give(first, to, giver)]);
    assert.deepEqual(grown, ["done", beyond("role_id")]);
    const given = await meeting(s.give(second, to, giver), [grow(second)]);
    assert.deepEqual(given, ["done", "done"]);
  });
});

Deno.test("what is deleted at that moment is given to nobody, and what is given is not deleted", async () => {
  await rounds(async (s) => {
    const to = await holder(h, s.tenantId, {});
    const drop = (id: string): Call => (request) => as(s.owner, request).roles.delete({ id });
    const [first, second] = [await roleOf(h, s.tenantId, {}), await roleOf(h, s.tenantId, {})];
    const gone = await meeting(drop(first), [s.give(first, to)]);
    assert.deepEqual(gone, ["done", "NotFound role.not_found"]);
    const kept = await meeting(s.give(second, to), [drop(second)]);
    assert.deepEqual(kept, ["done", "Conflict role.in_use"]);
    const [groupId, inner] = [await s.group(), await s.group()];
    const end: Call = (id) => as(s.owner, id).groups.delete({ id: groupId });
    const said = await meeting(end, [s.nest(groupId, inner), s.give(second, { groupId })]);
    assert.deepEqual(said, ["done", "NotFound group.not_found", "NotFound group.not_found"]);
  });
});

/** Groups that lie in themselves, by the memberships alone. */
const circles = () =>
  server.count(`with recursive up (start, at) as (
    select member_group_id, group_id from group_members where member_group_id is not null
    union select u.start, m.group_id from up u join group_members m on m.member_group_id = u.at
  ) select count(*) from up where start = at`);

/** Rows in which the closure and a naive recomputation differ. */
const differences = () =>
  server.admin(`with recursive up (tenant_id, group_id, ancestor_id) as (
    select tenant_id, id, id from groups
    union select u.tenant_id, u.group_id, m.group_id
    from up u join group_members m on m.member_group_id = u.ancestor_id
  ), naive as (
    select u.*, exists (select 1 from role_bindings b where b.group_id = u.ancestor_id) as is_bound from up u
  ), kept as (select tenant_id, group_id, ancestor_id, is_bound from group_closure)
  (select 'missing' as what, * from (select * from naive except select * from kept) a)
  union all (select 'too much', * from (select * from kept except select * from naive) b)`);

/** So many calls at once from each of several callers. */
async function storm(steps: number, step: () => Promise<unknown>, callers = 10) {
  const told = new Map<string, number>();
  let left = steps;
  await Promise.all(Array.from({ length: callers }, async () => {
    while (left-- > 0) {
      const said = await refusal(step());
      told.set(said, (told.get(said) ?? 0) + 1);
    }
  }));
  return told;
}
const pick = <T>(list: readonly T[]): T => {
  const one = list[Math.floor(Math.random() * list.length)];
  assert.ok(one !== undefined);
  return one;
};

Deno.test("after a storm of nesting, leaving, binding and deleting the closure is what the memberships say", async () => {
  const s = await stage();
  const roleId = await roleOf(h, s.tenantId, reading);
  const groups: string[] = [];
  for (let n = 0; n < 12; n++) groups.push(await s.group());
  const { groupMembers, roleBindings, groups: names } = as(s.owner, "storm");
  const said = await storm(STORM, async () => {
    const [groupId, memberGroupId, chance] = [pick(groups), pick(groups), Math.random()];
    if (chance < 0.55) return await groupMembers.add({ groupId, memberGroupId });
    if (chance < 0.8) return await groupMembers.remove({ groupId, memberGroupId });
    if (chance < 0.95) return await roleBindings.create({ groupId, roleId });
    await names.delete({ id: groupId });
    groups.splice(groups.indexOf(groupId), 1, await s.group());
  });
  console.log("storm of groups:", Object.fromEntries(said));
  assert.deepEqual(await differences(), []);
  assert.equal(await circles(), 0);
  assert.ok((said.get("done") ?? 0) > STORM / 10);
  assert.ok((said.get("Conflict group.cycle member_group_id") ?? 0) > 0);
  const bound = await server.count("select count(*) from group_closure where is_bound");
  assert.ok(bound > 0 && await server.count("select count(*) from group_members") > 0);
});

Deno.test("after a storm of owners who revoke one another one of them is left", async () => {
  for (let n = 0; n < ROUNDS; n++) {
    const s = await stage();
    const people = [s.owner];
    for (let i = 0; i < 5; i++) people.push(await h.w.person(s.tenantId, "owner"));
    const ids = await Promise.all(people.map(s.bindingOf));
    const said = await storm(60, () => s.revoke(pick(ids), pick(people))("storm"), 12);
    const left = await server.count(`select count(*) from role_bindings
      where tenant_id = '${s.tenantId}' and system_role = 'owner' and revoked_at is null`);
    assert.equal(left, 1, JSON.stringify([...said]));
  }
});
