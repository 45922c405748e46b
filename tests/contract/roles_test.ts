/** What the service may do in the database, and what it sees before it has said for whom. */
import assert from "node:assert/strict";
import { furnish, house } from "./house.ts";

const field = await house();
const { superuser: ask, tables, w } = field;
const side = await field.side(field.root.tenantId, "Harbour Bakery");
await furnish(field, side, "canary");
const SERVICE = "switchboard_service";

Deno.test("the service owns nothing, cannot pass row security, and is no administrator", async () => {
  const [role] = await ask(
    "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication " +
      "from pg_roles where rolname = $1",
    [SERVICE],
  );
  assert.deepEqual(new Set(Object.values(role ?? {})), new Set([false]));
  const owned = await ask(
    `select c.oid::regclass::text as thing from pg_class c join pg_roles r on r.oid = c.relowner
       where r.rolname = $1
     union all select p.oid::regprocedure::text from pg_proc p join pg_roles r on r.oid = p.proowner
       where r.rolname = $1`,
    [SERVICE],
  );
  assert.deepEqual(owned, []);
  const member = await ask(
    `select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid
     join pg_roles s on s.oid = m.member where s.rolname = $1`,
    [SERVICE],
  );
  assert.deepEqual(member, [], "It is a member of another role: what that may do, it may");
});

/** What nobody may ever take back, and tables the service may only add to. */
const appendOnly = ["audit_entries", "events"];
/** What admission and settlement alone write: nobody counts past them. */
const counted = ["quota_counters", "quota_leases", "usage_logs", "usage_days"];
/** Tables whose rows come and go by nature. Rows with history are never deleted. */
const deletable: Readonly<Record<string, string>> = {
  client_access: "A network taken off a list; the trail keeps it",
  data_keys: "A retired key is destroyed, so that what it sealed is gone",
  domains: "A claim given up; the trail keeps it",
  foreign_ids: "A name another system no longer uses; the trail keeps it",
  foreign_id_types: "A kind of such names; the trail keeps it",
  group_members: "Who was taken out of a group; the trail keeps it",
  idempotency_keys: "A failed request frees its key",
  identity_provider_groups: "A word that stands for a group no longer; the trail keeps it",
  instances: "A process that ended",
  leases: "A finished piece of work",
  model_prices: "A price taken back; the trail keeps it",
  permission_bindings: "A permission taken out of a role; the trail keeps it",
  recovery_codes: "Codes that new ones have replaced",
  tenant_addresses: "An address no longer used; the trail keeps it",
};

Deno.test("the service may not change or remove the trail, nor truncate anything", async () => {
  const may = async (what: string, table: string) =>
    (await ask("select has_table_privilege($1, $2, $3) as may", [SERVICE, table, what]))[0]?.may;
  for (const { name } of tables) {
    for (const what of ["TRUNCATE", "REFERENCES", "TRIGGER"]) {
      assert.equal(await may(what, name), false, `${name}: revoke ${what}`);
    }
    if (appendOnly.includes(name)) assert.equal(await may("UPDATE", name), false, name);
    for (const what of counted.includes(name) ? ["INSERT", "UPDATE"] : []) {
      assert.equal(await may(what, name), false, `${name}: revoke ${what}`);
    }
    assert.equal(
      await may("DELETE", name),
      name in deletable,
      `${name}: rows with history are not deleted; else list it in roles_test.ts`,
    );
  }
  const create = await ask("select has_schema_privilege($1, 'public', 'CREATE') as may", [SERVICE]);
  assert.equal(create[0]?.may, false);
});

Deno.test("every definer function has a narrow owner, a fixed search path and is not everyone's", async () => {
  const functions = await ask(`select p.oid::regprocedure::text as name, r.rolname as owner,
      p.proconfig::text as config, has_function_privilege('public', p.oid, 'EXECUTE') as everyone,
      (select bool_or(c.relowner = p.proowner) from pg_class c where c.relname = 'tenants') as by_owner
    from pg_proc p join pg_roles r on r.oid = p.proowner
    where p.pronamespace = 'public'::regnamespace and p.prosecdef`);
  assert.ok(functions.length > 5);
  for (const { name, owner, config, everyone, by_owner } of functions) {
    assert.ok(owner === "switchboard_worker" || by_owner, `${name} belongs to ${owner}`);
    assert.match(
      String(config),
      /search_path=pg_catalog/,
      `${name}: set search_path = pg_catalog, public`,
    );
    assert.equal(everyone, false, `${name}: revoke all on function … from public`);
  }
});

Deno.test("the worker logs in nowhere, owns no table and passes no row security by its role", async () => {
  const [role] = await ask(
    "select rolsuper, rolbypassrls, rolcanlogin, rolcreaterole from pg_roles where rolname = $1",
    ["switchboard_worker"],
  );
  assert.deepEqual(new Set(Object.values(role ?? {})), new Set([false]));
  const owned = await ask(
    `select c.relname from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = $1`,
    ["switchboard_worker"],
  );
  assert.deepEqual(owned, []);
});

async function rowsSeen(table: string, tenant: string | null): Promise<number> {
  await ask("begin");
  try {
    await ask(`set local role ${SERVICE}`);
    if (tenant !== null) await ask("select set_config('app.tenant_id', $1, true)", [tenant]);
    return (await ask(`select 1 from "${table}"`)).length;
  } finally {
    await ask("rollback");
  }
}

Deno.test("without a tenant the service sees no row of any tenant", async () => {
  const guarded = tables.filter(({ name, isTenant }) => isTenant || name === "tenants");
  for (const { name } of guarded) {
    const [{ n } = { n: 0 }] = await ask(`select count(*)::int as n from "${name}"`);
    assert.ok(Number(n) > 0, `${name} is empty: rows.ts must put a row in it`);
    assert.equal(await rowsSeen(name, null), 0, `${name} without a tenant`);
    assert.equal(await rowsSeen(name, ""), 0, `${name} with an empty tenant`);
    assert.ok(await rowsSeen(name, side.tenantId) > 0, `${name} for its tenant`);
  }
});

Deno.test("a tenant's transaction leaves nothing behind in its session", async () => {
  await w.as(side.boss).platforms.services.list({});
  const [row] = await ask(
    "select current_setting('app.tenant_id', true) as tenant, current_user as who",
  );
  assert.equal(row?.tenant || null, null);
  assert.notEqual(row?.who, SERVICE);
  await w.close();
});
