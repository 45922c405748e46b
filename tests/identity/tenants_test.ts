/** Tenants: who makes, sees and changes which; what they inherit; what the database itself refuses. */
import assert from "node:assert/strict";
import type { Grants, Reach } from "../../src/context.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import type { Person } from "../kit.ts";
import { actingIn, bind, somebody } from "./bound.ts";
import { home } from "./house.ts";
import { refusal, said } from "./said.ts";

const h = await home();
const tenantsOf = (person: Person) => h.w.as(person).identity.tenants;
const operator = tenantsOf(h.w.operator);
const nobody = crypto.randomUUID();

const withReach = (owner: Person, reach: Reach): Person => ({
  ...owner,
  grants: Object.fromEntries(Object.keys(owner.grants).map((p) => [p, reach])),
});

/** A tenant with a child and a grandchild, and its owner. */
async function family() {
  const top = await h.tenantBelow();
  const child = await h.tenantBelow(top);
  const grandchild = await h.tenantBelow(child);
  const owner = await h.w.person(top, "owner");
  return { top, child, grandchild, owner, tenants: tenantsOf(owner) };
}

/** Entries and events that `work` leaves in a tenant's trail. */
async function left(tenantId: string, work: () => Promise<unknown>) {
  const look = async () => [
    ...(await h.trail(tenantId)).map(({ action }) => `entry ${action}`),
    ...(await h.eventTypes(tenantId)).map((type) => `event ${type}`),
  ];
  const before = await look();
  await work();
  const after = await look();
  for (const one of before) after.splice(after.indexOf(one), 1);
  return after;
}

Deno.test("create makes a tenant below the acting one, with what it was given", async () => {
  const { top, tenants } = await family();
  const made: string[] = [];
  const trail = await left(top, async () => {
    const metadata = { plan: "small", "Odd Key": [1] };
    const { createdAt, updatedAt, id, ...rest } = await tenants.create({
      name: "  Nordlicht Bäckerei ",
      timeZone: "Europe/Berlin",
      metadata,
    });
    made.push(id);
    assert.ok(createdAt <= updatedAt);
    assert.deepEqual(rest, {
      parentId: top,
      name: "Nordlicht Bäckerei",
      status: "active",
      isActive: true,
      isOpen: true,
      timeZone: "Europe/Berlin",
      inheritsAccess: true,
      metadata,
      level: 2,
    });
  });
  assert.deepEqual(trail, ["entry tenant.created", "event tenant.created"]);
  assert.equal((await tenants.get({ id: made[0] ?? "" })).parentId, top);
  assert.equal((await tenants.create({ name: "Plain" })).timeZone, "UTC");
});

Deno.test("create goes deeper with subtree reach alone, and never up or aside", async () => {
  const { owner, grandchild, tenants } = await family();
  const theirs = await family();
  const make = { name: "Deep", parentId: grandchild };
  assert.equal((await tenants.create(make)).level, 4);
  assert.equal(await said(tenantsOf(withReach(owner, "tenant")).create(make)), "tenant.not_found");
  assert.equal(await said(tenantsOf(withReach(owner, "tenant")).create({ name: "Own" })), "done");
  assert.equal(
    await said(tenantsOf(withReach(owner, "self")).create({ name: "Own" })),
    "tenant.not_found",
  );
  for (const parentId of [theirs.top, theirs.child, ROOT_TENANT, nobody]) {
    const { reason, more } = await refusal(tenants.create({ name: "Aside", parentId }));
    assert.deepEqual([reason, more.fields?.[0]?.field], ["tenant.not_found", "parent_id"]);
  }
});

Deno.test("create refuses a place that is not open", async () => {
  const { child, grandchild, tenants } = await family();
  await tenants.suspend({ id: child });
  for (const parentId of [child, grandchild]) {
    assert.equal(await said(tenants.create({ name: "Late", parentId })), "tenant.not_open");
  }
  await tenants.activate({ id: child });
  assert.equal(await said(tenants.create({ name: "In time", parentId: grandchild })), "done");
});

Deno.test("a time zone is one of the IANA database", async () => {
  const { tenants, top } = await family();
  for (const timeZone of ["+01:00", "Nowhere/Here", "", "Europe", "UTC+1", "x".repeat(65)]) {
    const refused = await said(tenants.create({ name: "T", timeZone })).catch(String);
    assert.match(refused, /BAD_REQUEST|IANA|characters/, timeZone);
  }
  for (const timeZone of ["UTC", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "Etc/GMT+1"]) {
    assert.equal((await tenants.update({ id: top, timeZone })).timeZone, timeZone);
  }
});

Deno.test("get and list show the own tenant and those below, as far as the reach goes", async () => {
  const { top, child, grandchild, owner } = await family();
  const theirs = await family();
  const visible: Record<Reach, string[]> = {
    self: [],
    tenant: [top],
    subtree: [top, child, grandchild],
    global: [top, child, grandchild],
  };
  for (const reach of ["self", "tenant", "subtree", "global"] as const) {
    const tenants = tenantsOf(withReach(owner, reach));
    for (const id of [top, child, grandchild, theirs.top, theirs.child, ROOT_TENANT, nobody]) {
      const expected = visible[reach].includes(id) ? "done" : "tenant.not_found";
      assert.equal(await said(tenants.get({ id })), expected, `${reach} ${id}`);
      const listed = id === top ? "done" : expected;
      assert.equal(await said(tenants.list({ parentId: id })), listed, `${reach} list ${id}`);
    }
    const all = await tenants.list({ subtree: true });
    assert.deepEqual(
      all.tenants.map(({ id }) => id).sort(),
      visible[reach].filter((id) => id !== top).sort(),
    );
  }
});

Deno.test("list answers children, or with subtree everything below, page by page and complete", async () => {
  const { top, child, tenants } = await family();
  const expected = new Map([[top, new Set<string>()], [child, new Set<string>()]]);
  const listed = await tenants.list({ subtree: true });
  expected.set(top, new Set(listed.tenants.map(({ id }) => id)));
  for (let n = 0; n < 12; n++) {
    const parents: string[] = [...expected.get(top) ?? [], top];
    const parentId = parents[n * 7 % parents.length] ?? top;
    expected.get(top)?.add((await tenants.create({ name: `N ${n}`, parentId })).id);
  }
  const rows = await h.sql("select id, parent_id from tenants");
  const childrenOf = (id: string) =>
    rows.filter((row) => row.parent_id === id).map((row) => String(row.id));
  const under = (id: string): string[] => childrenOf(id).flatMap((one) => [one, ...under(one)]);
  for (const [parentId, subtree] of [[top, true], [top, false], [child, true], [child, false]]) {
    const at = String(parentId);
    const found: string[] = [];
    let cursor: string | null | undefined;
    do {
      const more = { parentId: at, subtree: Boolean(subtree), limit: 3 };
      const page = await tenants.list({ ...more, ...(cursor ? { cursor } : {}) });
      found.push(...page.tenants.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor);
    assert.deepEqual(found, (subtree ? under(at) : childrenOf(at)).sort().reverse());
  }
  assert.deepEqual(new Set(under(top)), expected.get(top));
});

Deno.test("list keeps to a status, in pages of it", async () => {
  const { child, grandchild, tenants } = await family();
  await tenants.suspend({ id: grandchild });
  const ids = async (status: "active" | "suspended" | "closed") =>
    (await tenants.list({ subtree: true, status })).tenants.map(({ id }) => id);
  assert.deepEqual(await ids("active"), [child]);
  assert.deepEqual(await ids("suspended"), [grandchild]);
  assert.deepEqual(await ids("closed"), []);
});

Deno.test("update changes what is given, clears what is null, and leaves the rest", async () => {
  const { top, tenants } = await family();
  const metadata = { plan: "large" };
  const trail = await left(top, async () => {
    await tenants.update({ id: top, name: "New", timeZone: "Asia/Tokyo", metadata });
    await tenants.update({ id: top, name: "New" });
  });
  assert.deepEqual(trail, ["entry tenant.updated", "event tenant.updated"]);
  const now = await tenants.get({ id: top });
  assert.deepEqual([now.name, now.timeZone, now.metadata], ["New", "Asia/Tokyo", metadata]);
  const cleared = await tenants.update({ id: top, timeZone: null, metadata: null });
  assert.deepEqual([cleared.name, cleared.timeZone, cleared.metadata], ["New", "UTC", {}]);
});

Deno.test("update reaches the own tenant, and those below with subtree reach", async () => {
  const { top, child, owner } = await family();
  const theirs = await family();
  const answer = (reach: Reach, id: string) =>
    said(tenantsOf(withReach(owner, reach)).update({ id, name: crypto.randomUUID() }));
  assert.equal(await answer("self", top), "tenant.not_found");
  assert.equal(await answer("tenant", top), "done");
  assert.equal(await answer("tenant", child), "tenant.not_found");
  assert.equal(await answer("subtree", child), "done");
  for (const id of [theirs.top, theirs.child, ROOT_TENANT, nobody]) {
    assert.equal(await answer("subtree", id), "tenant.not_found");
  }
});

Deno.test("update refuses a stale If-Match, and one from before a tenant above was suspended", async () => {
  const { child, grandchild, owner, tenants } = await family();
  const read = async () => {
    const answer = await h.w.request(`/api/v1/tenants/${grandchild}`, {}, owner);
    await answer.body?.cancel();
    return answer.headers.get("etag") ?? "";
  };
  const put = (ifMatch: string) =>
    said(
      h.w.as(owner, { ifMatch }).identity.tenants.update({
        id: grandchild,
        name: crypto.randomUUID(),
      }),
    );
  const first = await read();
  assert.equal(await put(first), "done");
  assert.equal(await put(first), "row.changed");
  const second = await read();
  await tenants.suspend({ id: child });
  assert.notEqual(await read(), second);
  assert.equal(await put(second), "row.changed");
});

Deno.test("what is bound above does not reach into a tenant that does not inherit", async () => {
  const { top, child, grandchild, tenants } = await family();
  const changed = await tenants.update({ id: child, inheritsAccess: false });
  assert.equal(changed.inheritsAccess, false);
  for (const id of [child, grandchild]) {
    assert.equal(await said(tenants.get({ id })), "done");
    assert.equal(await said(tenants.update({ id, name: "In" })), "tenant.not_inheriting");
    assert.equal(
      await said(tenants.create({ name: "In", parentId: id })),
      "tenant.not_inheriting",
    );
  }
  assert.equal(await said(tenants.suspend({ id: grandchild })), "tenant.not_inheriting");
  assert.equal(await said(tenants.suspend({ id: child })), "done", "its place is for those above");
  await tenants.activate({ id: child });
  assert.equal(await said(operator.update({ id: grandchild, name: "In" })), "done");
  const inside = await h.w.person(child, "owner");
  assert.equal(await said(tenantsOf(inside).update({ id: grandchild, name: "In" })), "done");
  assert.equal(await said(tenants.update({ id: top, name: "Own" })), "done");
});

Deno.test("inheriting again takes holding what then reaches in, whoever it is for", async () => {
  const { top, child, tenants } = await family();
  await bind(h, await somebody(h, top), top, { "audit.read": "subtree", "users.read": "tenant" });
  await tenants.update({ id: child, inheritsAccess: false });
  const inside = async (grants: Grants) => {
    const who = await somebody(h, child);
    await bind(h, who, child, { "tenants.update": "tenant", ...grants });
    return h.w.as(await actingIn(h, who, child)).identity.tenants;
  };
  const again = { id: child, inheritsAccess: true };
  const { reason, more } = await refusal((await inside({ "audit.read": "tenant" })).update(again));
  assert.deepEqual([reason, more.fields?.[0]?.field], ["grant.beyond", "inherits_access"]);
  const [owners] = await h.sql(
    "update role_bindings set revoked_at = now() where tenant_id = $1 and system_role = 'owner' returning 1",
    [top],
  );
  assert.ok(owners);
  assert.equal(await said((await inside({ "audit.read": "subtree" })).update(again)), "done");
});

/** One statement under the service's role in a tenant; how many rows it touched, or that it was refused. */
async function blindly(tenantId: string, text: string): Promise<number | "refused"> {
  await h.sql("begin");
  try {
    await h.sql("set local role switchboard_service");
    await h.sql("select set_config('app.tenant_id', $1, true)", [tenantId]);
    return (await h.sql(text)).length;
  } catch {
    return "refused";
  } finally {
    await h.sql("rollback");
  }
}

Deno.test("the database itself shows and changes no tenant but the own and those below", async () => {
  const { top, child, grandchild } = await family();
  await family();
  const all = `(values ('${top}'), ('${child}'), ('${grandchild}')) v (id)`;
  assert.equal(await blindly(top, "select 1 from tenants"), 3);
  assert.equal(
    await blindly(top, `select 1 from tenants join ${all} on v.id::uuid = tenants.id`),
    3,
  );
  assert.equal(await blindly(child, "select 1 from tenants"), 2);
  const seen = await blindly(top, "select 1 from tenant_closure");
  assert.equal(seen, 4, "its line up, itself, and who lies below it");
  // Without a condition and without an answer, the policies for looking are not asked.
  await h.sql("begin");
  await h.sql("set local role switchboard_service");
  await h.sql("select set_config('app.tenant_id', $1, true)", [child]);
  await h.sql("update tenants set name = 'Blind'");
  await h.sql("reset role");
  const changed = await h.sql("select id from tenants where name = 'Blind' order by id");
  await h.sql("rollback");
  assert.deepEqual(changed.map(({ id }) => id), [child, grandchild].sort());
});

Deno.test("the database itself takes no tenant aside or above, and no derived column", async () => {
  const { top, child, grandchild } = await family();
  const theirs = await family();
  const into = (parent: string) =>
    `insert into tenants (id, name, parent_id) values (gen_random_uuid(), 'Planted', '${parent}')`;
  assert.equal(await blindly(top, into(top)), 0);
  assert.equal(await blindly(top, into(grandchild)), 0);
  for (const parent of [theirs.top, theirs.child, ROOT_TENANT]) {
    assert.equal(await blindly(top, into(parent)), "refused");
  }
  assert.equal(await blindly(child, into(top)), "refused");
  for (const column of ["is_open = true", "level = 0", "barrier_level = 0", "id = id"]) {
    assert.equal(await blindly(top, `update tenants set ${column}`), "refused", column);
  }
  assert.equal(await blindly(top, "delete from tenants"), "refused");
  assert.equal(await blindly(top, "delete from tenant_closure"), "refused");
});

Deno.test("what tells of tenants nobody sees tells it only to those above them", async () => {
  const { top, child, grandchild } = await family();
  const theirs = await family();
  const asked = [
    `select 1 from tenants_below('${child}', null, null, 10)`,
    `select 1 from tenant_extent('${child}', 10)`,
    `select 1 where tenant_is_within('${grandchild}', '${child}')`,
    `select 1 from rights_gained('${grandchild}', '${top}', true) limit 1`,
  ];
  await bind(h, await somebody(h, top), top, "owner");
  await h.sql("update tenants set inherits_access = false where id = $1", [child]);
  for (const text of asked) {
    assert.equal(await blindly(top, text), 1, text);
    assert.equal(await blindly(theirs.top, text), 0, text);
    assert.equal(await blindly(grandchild, text), 0, text);
  }
});

Deno.test("the house of this test is closed", () => h.w.close());
