/** Roles of a tenant's own: permissions of the catalogue under a name, changed as a whole, gone when nobody has them. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { permissions } from "../../src/access/permissions.ts";
import { systemRoles } from "../../src/access/roles.ts";
import { etagOf } from "../../src/etags.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { all, assertRefused, bind, holder, refusal, selfish } from "./givers.ts";
import { home } from "./house.ts";

const h = await home();
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.w.person(tenantId, "owner");
  const { roles } = h.w.as(owner).identity;
  return { tenantId, owner, roles };
};
const reading = [{ permission: "audit.read", reach: "tenant" }] as const;
const list = [...reading];

Deno.test("roles.create makes a role, its permissions in the catalogue's order", async () => {
  const { tenantId, roles } = await stage();
  const made = await roles.create({
    name: "Reader",
    description: "Reads",
    permissions: [{ permission: "events.read", reach: "self" }, ...list],
  });
  assert.deepEqual(made.permissions, [...list, { permission: "events.read", reach: "self" }]);
  assert.deepEqual(await roles.get({ id: made.id }), made);
  assert.deepEqual((await roles.list({})).roles, [made]);
  assert.equal((await h.trail(tenantId)).at(-1)?.action, "role.created");
  assert.equal((await h.eventTypes(tenantId)).at(-1), "role.created");
  assert.deepEqual((await roles.create({ name: "Nothing", permissions: [] })).permissions, []);
});

Deno.test("roles.create refuses an unknown permission or reach and names it", async () => {
  const { owner } = await stage();
  const token = { authorization: `Bearer ${await h.w.token(owner)}` };
  const ask = async (permissions: unknown) => {
    const { status, body } = await h.send("/roles", { name: "R", permissions }, { headers: token });
    assert.equal(status, 400);
    return JSON.stringify(body.errors);
  };
  const unknown = await ask([...list, { permission: "cakes.eat", reach: "self" }]);
  assert.match(unknown, /"field":"permissions\.1\.permission".*no permission cakes\.eat/);
  const far = await ask([{ permission: "audit.read", reach: "world" }]);
  assert.match(far, /"field":"permissions\.0\.reach".*self, tenant, subtree, global/);
  assert.match(await ask([{ reach: "self" }]), /permissions\.0\.permission/);
  assert.match(await ask([...list, ...list]), /Give each permission once/);
  assert.match(await ask(Array(permissions.length + 1).fill(list[0])), /"field":"permissions"/);
});

Deno.test("roles.create and update keep the system roles' names, in any case and width", async () => {
  const { roles } = await stage();
  const { id } = await roles.create({ name: "Mine", permissions: [] });
  const refused = "ValidationError name.invalid name";
  for (const name of [...Object.keys(systemRoles), "OWNER", " Admin ", "ｏｗｎｅｒ"]) {
    await assertRefused(roles.create({ name, permissions: [] }), refused);
    await assertRefused(roles.update({ id, name }), refused);
  }
  assert.ok(await roles.create({ name: "Owner of cakes", permissions: [] }));
});

Deno.test("roles.create and update refuse a name another role has, until that one is deleted", async () => {
  const { roles } = await stage();
  const first = await roles.create({ name: "Reader", permissions: list });
  const other = await roles.create({ name: "Writer", permissions: list });
  const taken = "Conflict role.already_exists";
  await assertRefused(roles.create({ name: "READER", permissions: list }), taken);
  await assertRefused(roles.update({ id: other.id, name: "reader" }), taken);
  assert.equal((await roles.update({ id: first.id, name: "reader" })).name, "reader");
  for (let n = 0; n < 3; n++) {
    const named = (await roles.list({})).roles.find(({ name }) => name === "reader");
    await roles.delete({ id: named?.id ?? "" });
    await roles.create({ name: "reader", permissions: list });
  }
});

Deno.test("roles reach all tenants only in the root tenant", async () => {
  const { roles } = await stage();
  const permissions = [...list, { permission: "events.read" as const, reach: "global" as const }];
  const refused = "ValidationError reach.invalid permissions.1.reach";
  await assertRefused(roles.create({ name: "Far", permissions }), refused);
  const { id } = await roles.create({ name: "Near", permissions: list });
  await assertRefused(roles.update({ id, permissions }), refused);
  const operators = h.w.as(h.w.operator).identity.roles;
  const name = `Far ${v7()}`;
  assert.equal((await operators.create({ name, permissions })).permissions[1]?.reach, "global");
});

Deno.test("roles.update replaces the permissions as a set, and what it gives changes at once", async () => {
  const { tenantId, owner, roles } = await stage();
  const made = await roles.create({ name: "R", description: "d", permissions: list });
  const who = await h.w.person(tenantId, "member");
  await h.w.as(owner).identity.roleBindings.create({ userId: who.userId, roleId: made.id });
  const holds = async () => {
    const rows = await h.sql("select grants from standing_of($1, $2, null, $1)", [
      tenantId,
      who.userId,
    ]);
    return JSON.stringify(rows);
  };
  assert.match(await holds(), /audit\.read/);
  const permissions = [{ permission: "events.read" as const, reach: "subtree" as const }];
  const after = await roles.update({ id: made.id, permissions });
  assert.deepEqual([after.name, after.description, after.permissions], ["R", "d", permissions]);
  assert.ok(after.updatedAt > made.updatedAt);
  assert.match(await holds(), /events\.read/);
  assert.doesNotMatch(await holds(), /audit\.read/);
  const renamed = await roles.update({ id: made.id, name: "S", description: null });
  assert.deepEqual([renamed.name, renamed.description, renamed.permissions], [
    "S",
    null,
    permissions,
  ]);
  const [entry] = await h.sql(
    "select diff from audit_entries where subject_id = $1 and action = 'role.updated' order by id",
    [made.id],
  );
  assert.deepEqual(Object(entry?.diff).permissions, { before: list, after: permissions });
  const stale = h.w.as(owner, { ifMatch: etagOf(made.id, made.updatedAt) }).identity.roles;
  await assertRefused(stale.update({ id: made.id, name: "T" }), "PreconditionFailed row.changed");
  await assertRefused(stale.delete({ id: made.id }), "PreconditionFailed row.changed");
});

Deno.test("roles.update raises the epoch that tokens are checked against", async () => {
  const { tenantId, roles } = await stage();
  const epoch = async () => {
    const [row] = await h.sql(
      "select epoch from cache_epochs where tenant_id = $1 and topic = 'access'",
      [tenantId],
    );
    return Number(row?.epoch);
  };
  const { id } = await roles.create({ name: "R", permissions: list });
  const before = await epoch();
  await roles.update({ id, permissions: [] });
  assert.equal(await epoch(), before + 1);
});

Deno.test("roles.delete is refused while somebody has the role, whenever it counts", async () => {
  const { tenantId, owner, roles } = await stage();
  const { id } = await roles.create({ name: "R", permissions: list });
  const { userId } = await h.w.person(tenantId, "member");
  const bindings = h.w.as(owner).identity.roleBindings;
  const startsAt = new Date(Date.now() + 3_600_000);
  const binding = await bindings.create({ userId, roleId: id, startsAt });
  await assertRefused(roles.delete({ id }), "Conflict role.in_use");
  await bindings.revoke({ id: binding.id });
  await roles.delete({ id });
  const gone = "NotFound role.not_found";
  const calls = [roles.get({ id }), roles.delete({ id }), roles.update({ id, name: "S" })];
  await Promise.all(calls.map((call) => assertRefused(call, gone)));
  await assertRefused(bindings.create({ userId, roleId: id }), gone);
  const [row] = await h.sql(
    "select diff from audit_entries where subject_id = $1 and action = 'role.deleted'",
    [id],
  );
  assert.deepEqual(row?.diff, { is_active: { before: true, after: false } });
});

Deno.test("roles.update needs what it takes away to be held as well", async () => {
  const { tenantId, roles } = await stage();
  const permissions = [{ permission: "audit.read" as const, reach: "subtree" as const }];
  const { id } = await roles.create({ name: "R", permissions });
  const lower = async (grants: ReturnType<typeof all>) =>
    await refusal(
      h.w.as(await holder(h, tenantId, grants)).identity.roles.update({ id, permissions: list }),
    );
  assert.equal(await lower(all("tenant")), "Forbidden grant.beyond");
  assert.equal(await lower(all("subtree")), "done");
});

Deno.test("roles with self reach are those one has, and cannot be changed with it", async () => {
  const { tenantId, roles } = await stage();
  const [mine, other] = [
    await roles.create({ name: "Mine", permissions: list }),
    await roles.create({ name: "Other", permissions: list }),
  ];
  const me = selfish(await h.w.person(tenantId, "member"));
  await bind(h, tenantId, me, mine.id);
  const seen = h.w.as(me).identity.roles;
  assert.deepEqual((await seen.list({})).roles, [mine]);
  await assertRefused(seen.get({ id: other.id }), "NotFound role.not_found");
  const only = "Forbidden permission.only_self";
  await assertRefused(seen.create({ name: "R", permissions: [] }), only);
  await assertRefused(seen.update({ id: mine.id, name: "R" }), only);
  await assertRefused(seen.delete({ id: mine.id }), only);
});

Deno.test("roles.list pages, and systemRoles.list tells what the system roles give", async () => {
  const { owner, roles } = await stage();
  for (let n = 0; n < 5; n++) await roles.create({ name: `R${n}`, permissions: list });
  const first = await roles.list({ limit: 3 });
  const rest = await roles.list({ limit: 3, ...first.nextCursor && { cursor: first.nextCursor } });
  assert.deepEqual(
    [...first.roles, ...rest.roles].map(({ name }) => name),
    ["R4", "R3", "R2", "R1", "R0"],
  );
  assert.equal(rest.nextCursor, null);
  const { systemRoles: system } = await h.w.as(owner).identity.systemRoles.list({});
  assert.deepEqual(system.map(({ key }) => key), ["owner", "admin", "member", "auditor"]);
  for (const { key, permissions } of system) {
    const grants = Object.fromEntries(permissions.map((p) => [p.permission, p.reach]));
    assert.deepEqual(grants, systemRoles[key]);
  }
  const { systemRoles: root } = await h.w.as(h.w.operator).identity.systemRoles.list({});
  assert.equal(h.w.operator.tenantId, ROOT_TENANT);
  assert.equal(root.at(-1)?.key, "operator");
});
