/** What a user may do: the union over all their roles, asked of the code and of the database. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { v7 } from "uuid";
import { covers, union } from "../../src/access/permissions.ts";
import { everybodys, type GrantRow, grantsOf, systemRoles } from "../../src/access/roles.ts";
import { asSystem, type Grants, read } from "../../src/context.ts";
import { standingAt } from "../../src/identity/authority.ts";
import * as users from "../../src/identity/users.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { home } from "../identity/house.ts";

const row = (more: Partial<GrantRow>): GrantRow => ({
  systemRole: null,
  permission: null,
  reach: null,
  depth: 0,
  passes: true,
  isCurrent: true,
  isActive: true,
  untilMs: null,
  ...more,
});

function reading(rows: GrantRow[], isRoot = false) {
  const told: string[] = [];
  return { grants: grantsOf(rows, isRoot, (what) => void told.push(what)), told };
}

Deno.test("grantsOf adds up what several roles give: none has to give everything", () => {
  const { grants, told } = reading([
    row({ systemRole: "auditor" }),
    row({ systemRole: "member" }),
    row({ permission: "credentials.create", reach: "self" }),
    row({ permission: "credentials.create", reach: "tenant" }),
  ]);
  const { auditor = {}, member = {} } = systemRoles;
  assert.deepEqual(grants, union(auditor, member, { "credentials.create": "tenant" }));
  assert.deepEqual(told, []);
});

Deno.test("grantsOf does not care in which order bindings come", () => {
  const anyRow = fc.record({
    systemRole: fc.constantFrom(null, ...Object.keys(systemRoles)),
    permission: fc.constantFrom("audit.read", "events.read"),
    reach: fc.constantFrom("self", "tenant", "subtree", "global"),
    depth: fc.option(fc.nat(2)),
    passes: fc.boolean(),
    isCurrent: fc.boolean(),
    isActive: fc.boolean(),
    untilMs: fc.constant(null),
  });
  fc.assert(fc.property(fc.array(anyRow), fc.boolean(), (rows, isRoot) => {
    assert.deepEqual(reading(rows, isRoot).grants, reading(rows.toReversed(), isRoot).grants);
    const each = rows.map((row) => reading([row], isRoot).grants);
    assert.deepEqual(reading(rows, isRoot).grants, union(...each));
  }));
});

Deno.test("grantsOf gives nothing for a role, permission or reach it does not know, and says so", () => {
  for (const name of ["emperor", "", "constructor", "__proto__", "toString", "hasOwnProperty"]) {
    assert.deepEqual(reading([row({ systemRole: name })]), { grants: {}, told: [`role ${name}`] });
    assert.deepEqual(reading([row({ permission: name, reach: "tenant" })]), {
      grants: {},
      told: [`permission ${name}`],
    });
    const odd = reading([row({ permission: "audit.read", reach: name })]);
    assert.deepEqual(odd, { grants: {}, told: ["permission audit.read"] });
  }
});

Deno.test("grantsOf counts global from the root tenant alone", () => {
  const rows = [row({ permission: "audit.read", reach: "global" })];
  assert.deepEqual(reading(rows, true).grants, { "audit.read": "global" });
  assert.deepEqual(reading(rows, false).grants, { "audit.read": "subtree" });
  const reaches = new Set(Object.values(reading([row({ systemRole: "operator" })]).grants));
  assert.deepEqual(reaches, new Set(["self", "subtree"]));
});

Deno.test("grantsOf counts from a tenant above only what reaches down", () => {
  for (
    const [reach, given] of [["self", 0], ["tenant", 0], ["subtree", 1], ["global", 1]] as const
  ) {
    const { grants } = reading([row({ permission: "audit.read", reach, depth: 3 })]);
    assert.equal(Object.keys(grants).length, given, reach);
  }
  assert.deepEqual(reading([row({ systemRole: "admin", depth: 1 })]).grants, {});
  const { owner = {} } = systemRoles;
  const below = reading([row({ systemRole: "owner", depth: 1 })]).grants;
  const down = Object.entries(owner).filter(([, reach]) => reach === "subtree");
  assert.deepEqual(below, Object.fromEntries(down));
});

const h = await home();
const asked = (tenantId: string, userId: string): Promise<Grants> =>
  read(
    asSystem(h.w.process, tenantId),
    async (ctx) => (await standingAt(ctx, { home: tenantId, subject: userId }, tenantId)).grants,
  );
/** What everybody may, taken out. */
const beyond = async (tenantId: string, userId: string) => {
  const grants = await asked(tenantId, userId);
  for (const [permission, reach] of Object.entries(everybodys)) {
    assert.ok(covers(grants, { [permission]: reach }), permission);
  }
  return Object.fromEntries(Object.entries(grants).filter(([p]) => !(p in everybodys)));
};

/** A user without roles, and words to give them some. */
async function stage(tenantId: string) {
  const { userId } = await h.w.person(tenantId, "member");
  await h.sql("delete from role_bindings where owner_user_id = $1", [userId]);
  const bind = (
    what: { role?: string; systemRole?: string; at?: string; from?: string; to?: string },
  ) =>
    h.sql(
      `insert into role_bindings
       (tenant_id, id, owner_user_id, applies_to_tenant_id, role_id, system_role, starts_at, ends_at)
       values ($1, $2, $3, $4, $5, $6, now() + $7::interval, now() + $8::interval)`,
      [
        tenantId,
        v7(),
        userId,
        what.at ?? tenantId,
        what.role ?? null,
        what.systemRole ?? null,
        what.from ?? null,
        what.to ?? null,
      ],
    );
  const role = async (given: Record<string, string>, isActive = true) => {
    const id = v7();
    await h.sql("insert into roles (tenant_id, id, name, is_active) values ($1, $2, $3, $4)", [
      tenantId,
      id,
      `role ${id}`,
      isActive,
    ]);
    for (const [permission, reach] of Object.entries(given)) {
      await h.sql(
        `insert into permission_bindings (tenant_id, id, role_id, permission, reach)
         values ($1, $2, $3, $4, $5)`,
        [tenantId, v7(), id, permission, reach],
      );
    }
    return id;
  };
  return { userId, bind, role, grants: () => beyond(tenantId, userId) };
}

Deno.test("grantsIn gives somebody without roles only what everybody may: sign out, know who they are", async () => {
  const tenantId = await h.tenantBelow();
  const { grants } = await stage(tenantId);
  assert.deepEqual(await grants(), {});
});

Deno.test("grantsIn adds up a tenant's own roles and the system's", async () => {
  const { bind, role, grants } = await stage(await h.tenantBelow());
  await bind({ role: await role({ "audit.read": "self", "events.read": "tenant" }) });
  await bind({ role: await role({ "audit.read": "tenant", "no.such": "tenant" }) });
  assert.deepEqual(await grants(), { "audit.read": "tenant", "events.read": "tenant" });
  assert.ok(h.lines.some((line) => line.includes("permission no.such")));
});

Deno.test("grantsIn leaves out bindings that have ended or not begun, and inactive roles", async () => {
  const { bind, role, grants } = await stage(await h.tenantBelow());
  await bind({ systemRole: "admin", to: "-1 second" });
  await bind({ systemRole: "auditor", from: "1 hour" });
  await bind({ systemRole: "owner", from: "-2 hours", to: "-1 hour" });
  await bind({ role: await role({ "audit.read": "tenant" }, false) });
  assert.deepEqual(await grants(), {});
  await bind({ role: await role({ "events.read": "self" }), from: "-1 hour", to: "1 hour" });
  assert.deepEqual(await grants(), { "events.read": "self" });
});

Deno.test("access_rows brings from above only what reaches down, from any depth", async () => {
  const top = await h.tenantBelow();
  let [middle, bottom] = [await h.tenantBelow(top), top];
  for (let depth = 0; depth < 20; depth++) bottom = middle = await h.tenantBelow(middle);
  const { userId, bind, role } = await stage(top);
  await bind({ role: await role({ "audit.read": "tenant", "events.read": "subtree" }) });
  const in_ = async (acting: string) =>
    (await h.sql("select permission, depth from access_rows($1, $2, $3, true) order by 1", [
      top,
      userId,
      acting,
    ])).map(({ permission, depth }) => [permission, depth]);
  assert.deepEqual(await in_(top), [["audit.read", 0], ["events.read", 0]]);
  assert.deepEqual(await in_(bottom), [["events.read", 21]]);
  assert.deepEqual(await in_(await h.tenantBelow()), []);
});

Deno.test("access_rows gives nothing above or beside a user's home, whatever its bindings say", async () => {
  const [above, beside] = [await h.tenantBelow(), await h.tenantBelow()];
  const { userId, bind } = await stage(await h.tenantBelow(above));
  const [own] = await h.sql("select tenant_id from users where id = $1", [userId]);
  await bind({ systemRole: "owner", at: above });
  await bind({ systemRole: "owner", at: beside });
  await bind({ systemRole: "operator", at: ROOT_TENANT });
  for (const acting of [own?.tenant_id, above, beside, ROOT_TENANT]) {
    const rows = await h.sql("select * from access_rows($1, $2, $3, true)", [
      own?.tenant_id,
      userId,
      acting,
    ]);
    assert.deepEqual(rows, []);
  }
});

Deno.test("users.create takes no role that is none, and operators only in the root tenant", async () => {
  const ctx = asSystem(h.w.process, await h.tenantBelow());
  for (const systemRole of ["constructor", "__proto__", "emperor", "", "operator"]) {
    const made = users.create(ctx, {
      email: `${v7()}@people.example`,
      displayName: "Ada",
      systemRole,
    });
    await assert.rejects(made, { code: "ValidationError", reason: "system_role.invalid" });
  }
});

Deno.test.afterAll(() => h.w.close());
