/**
 * Nobody gives more than they hold, by any way there is: for each way, somebody who holds everything
 * but one permission is refused that one, and somebody who holds it as well is not. What they hold
 * stands in the database; their tokens claim everything.
 */
import assert from "node:assert/strict";
import { ladder, permissions } from "../../src/access/permissions.ts";
import { everybodys, systemRoles } from "../../src/access/roles.ts";
import type { Grants, Principal } from "../../src/context.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { procedures } from "../kit.ts";
import { all, allBut, bind, holder, refusal, roleOf } from "./givers.ts";
import { home, patience } from "./house.ts";
import { gifts, voice, voices, ways } from "./ways_to_give.ts";

const isProof = Deno.env.get("PROVE") === "1";
const h = await home();
Object.assign(h.w.process, { limiter: patience });
const each = ways(h);
const fixed = voices(h);
const owned = async () => {
  const tenantId = await h.tenantBelow();
  return { tenantId, owner: await h.w.person(tenantId, "owner") };
};
const refused = /^Forbidden grant\.beyond /;

/** Each permission meets some ways and each way some permissions; on PROVE all meet all. */
const meets = (way: number, permission: number) => isProof || permission % 30 === way % 30;

Deno.test("every change of identity or teams is a way to give, or gives nothing for a reason", () => {
  const known = [...[...each, ...fixed].map(({ path }) => path), ...Object.values(gifts).flat()];
  const paths = procedures()
    .filter(({ path, type }) => type === "mutation" && /^(identity|teams)\./.test(path))
    .map(({ path }) => path);
  const missing = paths.filter((path) => !known.includes(path));
  assert.deepEqual(missing, [], "Say in ways_to_give.ts how these give rights, or why they do not");
  assert.deepEqual(known.filter((path) => !paths.includes(path)), [], "These are gone");
});

Deno.test("by no way does anybody give the one permission they lack", async () => {
  const scene = await owned();
  const rich = await holder(h, scene.tenantId, all("tenant"));
  let tried = 0;
  for (const [n, permission] of permissions.entries()) {
    const poor = await holder(h, scene.tenantId, allBut(permission));
    for (const [w, { label, way }] of each.entries()) {
      if (!meets(w, n)) continue;
      const give = await way(scene, { permission, reach: "tenant" });
      assert.match(await refusal(give(poor)), refused, `${label}, without ${permission}`);
      assert.equal(await refusal(give(rich)), "done", `${label}, with ${permission}`);
      tried++;
    }
  }
  console.log(`escalation: ${each.length} ways, ${tried} gifts refused and ${tried} let through`);
});

Deno.test("by no way does anybody give a permission farther than they hold it", async () => {
  const scene = await owned();
  const reaches = ladder.filter((reach) => reach !== "global");
  for (const held of reaches) {
    const giver = await holder(h, scene.tenantId, { ...all("tenant"), "domains.read": held });
    for (const reach of reaches) {
      const isHeld = ladder.indexOf(reach) <= ladder.indexOf(held);
      for (const { label, way } of each) {
        const give = await way(scene, { permission: "domains.read", reach });
        const said = await refusal(give(giver));
        assert.match(said, isHeld ? /^done$/ : refused, `${label}: ${reach} by who holds ${held}`);
      }
    }
  }
});

Deno.test("by no way does anybody but an operator give what reaches all tenants", async () => {
  const scene = { tenantId: ROOT_TENANT, owner: h.w.operator };
  const near = await holder(h, ROOT_TENANT, { ...all("global"), "platforms.delete": "subtree" });
  const far = await holder(h, ROOT_TENANT, all("global"));
  for (const { label, way } of each) {
    const give = await way(scene, { permission: "platforms.delete", reach: "global" });
    assert.match(await refusal(give(near)), refused, label);
    assert.equal(await refusal(give(far)), "done", label);
  }
});

Deno.test("by no way does a role that is over, is taken back or has not begun let anybody give", async () => {
  const scene = await owned();
  const times = ["ends_at = now()", "starts_at = now() + interval '1 hour'", "revoked_at = now()"];
  for (const time of times) {
    const giver = await holder(h, scene.tenantId, all("tenant"));
    const gift = { permission: "audit.read", reach: "tenant" } as const;
    const name = () => ({ name: crypto.randomUUID(), permissions: [gift] });
    assert.equal(await refusal(h.w.as(giver).identity.roles.create(name())), "done");
    await h.sql(
      `update role_bindings set ${time} where owner_user_id = $1 and revoked_at is null`,
      [giver.userId],
    );
    for (const { label, way } of each) {
      const give = await way(scene, gift);
      assert.match(await refusal(give(giver)), refused, `${label}, ${time}`);
    }
  }
});

Deno.test("nobody gives a system role of which they lack one permission", async () => {
  const scene = await owned();
  const rich = await holder(h, scene.tenantId, all("tenant"));
  for (const systemRole of ["member", "auditor", "admin"]) {
    const grants = systemRoles[systemRole] ?? {};
    for (const permission of permissions.filter((p) => grants[p])) {
      const poor = await holder(h, scene.tenantId, allBut(permission));
      const { userId } = await holder(h, scene.tenantId, {});
      const give = (who: Principal) =>
        refusal(h.w.as(who).identity.roleBindings.create({ userId, systemRole }));
      // What everybody has, nobody lacks.
      const isAnybodys = grants[permission] === "self" && everybodys[permission] === "self";
      const said = [await give(poor), await give(rich)];
      const label = `${systemRole} without ${permission}`;
      assert.match(said[0] ?? "", isAnybodys ? /^done$/ : refused, label);
      assert.match(said[1] ?? "", isAnybodys ? /already_exists/ : /^done$/, label);
    }
  }
  const { userId } = await holder(h, scene.tenantId, {});
  const make = (who: Principal) =>
    refusal(h.w.as(who).identity.roleBindings.create({ userId, systemRole: "owner" }));
  assert.match(await make(rich), refused);
  assert.equal(await make(scene.owner), "done");
});

Deno.test("nobody makes a key that chats as a team without what it carries, in the whole tenant", async () => {
  const scene = await owned();
  const gift = { permission: "chat.send", reach: "tenant" } as const;
  const givers: [string, Grants, boolean][] = [
    ["with everything", all("tenant"), true],
    ...voice.flatMap((permission): [string, Grants, boolean][] => [
      [`without ${permission}`, allBut(permission), false],
      [`with ${permission} of their own`, { ...all("tenant"), [permission]: "self" }, false],
      [`with ${permission} down the tree`, { ...all("tenant"), [permission]: "subtree" }, true],
    ]),
  ];
  for (const [who, grants, may] of givers) {
    const giver = await holder(h, scene.tenantId, grants);
    for (const { label, way } of fixed) {
      const give = await way(scene, gift);
      assert.match(await refusal(give(giver)), may ? /^done$/ : refused, `${label}, ${who}`);
    }
  }
});

Deno.test("who may chat until a day makes no team's key that holds for longer", async () => {
  const scene = await owned();
  const { id: teamId } = await h.w.as(scene.owner).teams.teams
    .create({ displayName: crypto.randomUUID(), platformName: crypto.randomUUID() });
  const giver = await holder(h, scene.tenantId, all("tenant"));
  const endsAt = new Date(h.clock.ms + 24 * 3600_000);
  await h.sql(
    "update role_bindings set ends_at = $2 where owner_user_id = $1 and revoked_at is null",
    [giver.userId, endsAt],
  );
  const create = (expiresAt: Date | null) =>
    refusal(h.w.as(giver).teams.teamKeys.create({ teamId, name: "k", expiresAt }));
  assert.equal(await create(null), "Forbidden grant.beyond_time ends_at");
  const after = new Date(endsAt.getTime() + 1);
  assert.equal(await create(after), "Forbidden grant.beyond_time ends_at");
  assert.equal(await create(endsAt), "done");
});

/** Gives by a binding, through a group and by a role, where it counts in a tenant below. */
async function below(tenantId: string, where: string, owner: Principal) {
  const grants: Grants = { "audit.read": "tenant" };
  const { identity } = h.w.as(owner);
  const { userId } = await holder(h, tenantId, {});
  const [roleId, full] = [await roleOf(h, tenantId, grants), await roleOf(h, tenantId, grants)];
  const [bound, empty] = [await roleOf(h, tenantId, grants), await roleOf(h, tenantId, {})];
  const { id: groupId } = await identity.groups.create({ name: crypto.randomUUID() });
  await bind(h, tenantId, { groupId }, bound, where);
  await bind(h, tenantId, { userId }, empty, where);
  await bind(h, tenantId, { userId }, full, where);
  const audit = { permission: "audit.read", reach: "tenant" } as const;
  return async (who: Principal) => {
    const { groupMembers, roles, roleBindings } = h.w.as(who).identity;
    return [
      await refusal(roleBindings.create({ userId, roleId, appliesToTenantId: where })),
      await refusal(groupMembers.add({ groupId, userId })),
      await refusal(roles.update({ id: empty, permissions: [audit] })),
      await refusal(roles.update({ id: full, permissions: [] })),
    ].map((said) => refused.test(`${said} `) ? "refused" : said);
  };
}
const no = ["refused", "refused", "refused", "refused"];
const yes = ["done", "done", "done", "done"];

Deno.test("what counts in a tenant below is given and taken only by who holds it there", async () => {
  const { tenantId, owner } = await owned();
  const [open, stopped, closed, both] = [
    await h.tenantBelow(tenantId),
    await h.tenantBelow(tenantId),
    await h.tenantBelow(tenantId),
    await h.tenantBelow(tenantId),
  ];
  await h.sql("update tenants set inherits_access = false where id in ($1, $2)", [stopped, both]);
  await h.sql("update tenants set status = 'suspended' where id in ($1, $2)", [closed, both]);
  const near = await holder(h, tenantId, all("tenant"));
  const far = await holder(h, tenantId, all("subtree"));
  const there = await holder(h, tenantId, all("tenant"), open);
  await bind(h, tenantId, there, await roleOf(h, tenantId, all("tenant")), stopped);
  await bind(h, tenantId, there, await roleOf(h, tenantId, all("tenant")));
  for (const where of [open, stopped, closed, both]) {
    assert.deepEqual(await (await below(tenantId, where, owner))(near), no);
  }
  assert.deepEqual(await (await below(tenantId, open, owner))(far), yes);
  assert.deepEqual(await (await below(tenantId, open, owner))(there), yes);
  // Where inheritance is stopped the one above gives nothing, and still takes.
  const taking = ["refused", "refused", "refused", "done"];
  assert.deepEqual(await (await below(tenantId, stopped, owner))(far), taking);
  assert.deepEqual(await (await below(tenantId, stopped, owner))(there), yes);
  assert.deepEqual(await (await below(tenantId, both, owner))(far), taking);
  // Nobody acts in a suspended tenant: who would hold it there, once it is open again, gives it.
  assert.deepEqual(await (await below(tenantId, closed, owner))(far), yes);
  assert.deepEqual(await (await below(tenantId, closed, owner))(there), no);
});

Deno.test("an owner gives every system role in a tenant below, and who acts from above in it", async () => {
  const { tenantId, owner } = await owned();
  const where = await h.tenantBelow(tenantId);
  const local = await h.w.person(where, "owner");
  const acting = { ...owner, tenantId: where, userId: null, grants: all("subtree") };
  const admin = await h.w.person(tenantId, "admin");
  const lesser = { ...admin, tenantId: where, userId: null, grants: all("subtree") };
  for (const systemRole of ["member", "auditor", "admin", "owner"]) {
    const [{ userId }, { userId: theirs }] = [
      await holder(h, tenantId, {}),
      await holder(h, where, {}),
    ];
    const above = { userId, systemRole, appliesToTenantId: where };
    const give = (who: Principal, input: { userId: string; systemRole: string }) =>
      refusal(h.w.as(who).identity.roleBindings.create(input));
    if (systemRole !== "member") assert.match(await give(admin, above), refused);
    assert.equal(await give(owner, above), "done", systemRole);
    const here = { userId: theirs, systemRole };
    assert.match(await give(lesser, here), refused);
    assert.equal(await give(acting, here), "done", systemRole);
    const again = { userId: (await holder(h, where, {})).userId, systemRole };
    assert.equal(await give(local, again), "done", systemRole);
  }
});

Deno.test("a key gives no more than its scopes, whatever its owner holds", async () => {
  const { tenantId, owner } = await owned();
  const grants: Grants = { "role_bindings.create": "tenant", "audit.read": "tenant" };
  const key: Principal = {
    ...owner,
    actor: { type: "key", tenantId, id: crypto.randomUUID() },
    grants,
  };
  const { userId } = await holder(h, tenantId, {});
  const give = async (permission: "audit.read" | "events.read") => {
    const roleId = await roleOf(h, tenantId, { [permission]: "tenant" });
    return await refusal(h.w.as(key).identity.roleBindings.create({ userId, roleId }));
  };
  assert.equal(await give("audit.read"), "done");
  assert.match(await give("events.read"), refused);
});
