/** The database keeps tenants apart by itself: asked of its own catalogue, table by table. */
import assert from "node:assert/strict";
import { getTableColumns } from "drizzle-orm";
import { toSnakeCase } from "drizzle-orm/casing";
import { PgColumn } from "drizzle-orm/pg-core";
import { everyones, type Table, tables } from "./catalogue.ts";
import { drizzleTables } from "./rows.ts";
import { tapped } from "./tap.ts";

const { superuser: ask, database } = await tapped();
const all = await tables(ask);
const tenantTables = all.filter(({ isTenant }) => isTenant);

/** Tables without a tenant: what the whole installation shares. Shrinks only. */
const shared: Readonly<Record<string, string>> = {
  encryption_keys: "Key-encryption keys by name and check value, never the keys",
  instances: "The running processes",
  leases: "Work one process at a time may do",
  model_prices: "What models cost everyone; written in the root tenant alone",
  platform_configs: "What each type gives everyone's teams; written in the root tenant alone",
  platforms: "The catalogue everyone reads; written in the root tenant alone",
  tenants: "The tenants themselves: policied on their id and closure",
};

/** Unique indexes that do not start with the tenant: each tells one bit across tenants. */
const uniqueEverywhere: Readonly<Record<string, string>> = {
  idx_api_keys_id: "A key names itself before its tenant is known; ids are random",
  idx_channels_id: "A webhook names the channel alone, before its tenant is known; ids are random",
  ix_teams_platform_name:
    "Public channels address a team by its name: one tenant's, as the documents have it",
  idx_domains_verified_name:
    "A name of the DNS is one tenant's: its owner has shown it to be theirs",
};

/** Links into what tenants share carry no tenant, because there is none. */
const isShared = (table: string) => table in shared;

/** Links whose columns no index starts with: nothing deletes or moves what they point at. */
const unindexed: Readonly<Record<string, string>> = {
  "oauth_flows(platform_id)": "Platforms are never deleted; flows live for a day",
  "oauth_flows(tenant_id,credential_id)": "Credentials are never deleted; flows live for a day",
  "oauth_flows(tenant_id,owner_user_id)": "Users are never deleted; flows live for a day",
  "platform_credentials(tenant_id,owner_user_id)": "Users are never deleted; asked for by platform",
  "invitations(tenant_id,group_id)": "Groups are never deleted; a tenant's invitations are few",
  "invitations(tenant_id,owner_user_id)": "Users are never deleted; never asked for by user",
  "invitations(tenant_id,role_id)": "Roles are never deleted; a tenant's invitations are few",
  "sso_flows(tenant_id,identity_provider_id)": "Flows live for a day",
  "service_platforms(tenant_id,credential_id)": "Credentials are never deleted; services are few",
  "user_platform_bindings(tenant_id,credential_id)": "Credentials are never deleted",
};

/** The indexes the documents list, under their names. */
const documented = [
  "idx_platform_name",
  "idx_platform_service_type",
  "idx_platform_is_active",
  "idx_platform_credential_platform_id",
  "idx_user_platform_binding_user_id",
  "idx_user_platform_binding_platform_id",
  "idx_service_platform_tenant_service",
  "ix_teams_platform_type",
  "ix_teams_platform_name",
  "ix_teams_display_name",
];

const names = (rows: Record<string, unknown>[], key = "name") =>
  rows.map((row) => String(row[key]));

Deno.test("every table belongs to a tenant or is listed as shared", () => {
  for (const { name, isTenant } of all) {
    assert.ok(
      isTenant !== name in shared,
      `${name}: give it tenant_id (db/columns.ts, tenantRow), or list it as shared with a reason`,
    );
  }
});

Deno.test("every primary key of a tenant's table starts with the tenant", () => {
  for (const { name, primaryKey, columns } of tenantTables) {
    assert.equal(primaryKey[0], "tenant_id", `${name}: primaryKey({ columns: [t.tenantId, …] })`);
    assert.ok(columns.find((column) => column.name === "tenant_id")?.notNull, name);
  }
});

Deno.test("every link between tenants' tables carries the tenant", () => {
  for (const { name, links } of tenantTables) {
    for (const { columns, target, targetColumns } of links) {
      if (isShared(target)) continue;
      const label = `${name}(${columns}) → ${target}(${targetColumns})`;
      assert.equal(columns[0], "tenant_id", `${label}: make it composite, the tenant first`);
      assert.equal(targetColumns[0], "tenant_id", label);
    }
  }
});

Deno.test("every table with a tenant has row security enabled and forced", async () => {
  const rows = await ask(`select relname as name, relrowsecurity and relforcerowsecurity as locked
    from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
      and not relispartition`);
  const locked = new Set(names(rows.filter((row) => row.locked === true)));
  for (const name of [...tenantTables.map(({ name }) => name), "tenants", ...everyones]) {
    assert.ok(locked.has(name), `${name}: add a policy and \`force row level security\``);
  }
});

Deno.test("every policy says what may be seen and what may be written", async () => {
  const rows = await ask(`select tablename, policyname, cmd, qual, with_check, permissive
    from pg_policies where schemaname = 'public'`);
  for (const { tablename, policyname, cmd, qual, with_check } of rows) {
    const label = `${tablename}.${policyname}`;
    if (cmd !== "INSERT") assert.ok(qual, `${label} has no USING`);
    if (cmd !== "SELECT" && cmd !== "DELETE") assert.ok(with_check, `${label} has no WITH CHECK`);
  }
});

Deno.test("every policy for callers reads the tenant with nullif, and none lets everybody write", async () => {
  const rows = await ask(
    `select tablename, policyname, cmd, coalesce(qual, '') || coalesce(with_check, '')
      as text from pg_policies where schemaname = 'public' and roles = '{public}'`,
  );
  for (const { tablename, policyname, cmd, text } of rows) {
    const label = `${tablename}.${policyname}`;
    if (everyones.has(String(tablename)) && policyname === "catalogue_read") {
      assert.deepEqual([cmd, text], ["SELECT", "true"]);
      continue;
    }
    assert.match(String(text), /NULLIF\(current_setting\('app.tenant_id'/i, label);
  }
});

Deno.test("every unique index of a tenant's table starts with the tenant", async () => {
  const rows = await ask(`select c.relname as name, t.relname as table,
      (select attname from pg_attribute where attrelid = t.oid and attnum = i.indkey[0]) as first
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
    where i.indisunique and t.relnamespace = 'public'::regnamespace and not t.relispartition`);
  const ours = rows.filter(({ table }) => tenantTables.some(({ name }) => name === table));
  for (const { name, table, first } of ours) {
    if (String(name) in uniqueEverywhere) continue;
    assert.equal(first, "tenant_id", `${table}: ${name} reveals other tenants' rows by refusing`);
  }
  const gone = Object.keys(uniqueEverywhere).filter((name) => !names(rows).includes(name));
  assert.deepEqual(gone, [], "These are gone: take them off the list");
});

Deno.test("nothing is granted on partitions, and each lies under a table that is locked", async () => {
  const rows = await ask(`select relname as name, relacl::text as granted from pg_class
    where relnamespace = 'public'::regnamespace and relispartition and relkind = 'r'`);
  assert.ok(rows.length >= 8);
  for (const { name, granted } of rows) {
    assert.ok(
      !String(granted ?? "").includes("switchboard"),
      `${name}: revoke what is granted on it`,
    );
  }
});

Deno.test("every column the code knows is in the database as it says, and the other way round", () => {
  for (const [name, table] of drizzleTables) {
    const there = all.find((table) => table.name === name);
    assert.ok(there, `${name} is in db/schema and in no migration: deno task db:new NAME`);
    const said = Object.entries(getTableColumns(table)).map(([key, column]) => {
      assert.ok(column instanceof PgColumn);
      return `${toSnakeCase(key)} ${spelled(column.getSQLType())} ${column.notNull}`;
    });
    const found = there.columns.map(({ name, type, notNull }) =>
      `${name} ${spelled(type)} ${notNull}`
    );
    assert.deepEqual(found.sort(), said.sort(), `${name}: schema and migrations differ`);
  }
  const unknown = all.filter(({ name }) => !drizzleTables.has(name)).map(({ name }) => name);
  assert.deepEqual(unknown, [], "These tables are in a migration only: add them to db/schema");
});

const spelled = (type: string) => type.replaceAll(/\s+\(/g, "(").replaceAll(/,\s+/g, ",");

Deno.test("every default, not-null and primary key of the code is the database's", () => {
  for (const [name, table] of drizzleTables) {
    const there = all.find((table) => table.name === name);
    for (const [key, column] of Object.entries(getTableColumns(table))) {
      const found = there?.columns.find((column) => column.name === toSnakeCase(key));
      const hasDefault = column.default !== undefined;
      assert.equal(found?.hasDefault, hasDefault, `${name}.${key}: default`);
    }
  }
});

Deno.test("every index the documents list exists under its name", async () => {
  const there = names(
    await ask("select indexname as name from pg_indexes where schemaname = 'public'"),
  );
  assert.deepEqual(documented.filter((name) => !there.includes(name)), []);
});

/** Columns that hold a secret, or a name that sounds like one and does not. */
const soundsSecret = /secret|token|password|verifier|totp|refresh_key|(^|_)(api_key|code)$|private/;
const notSecret: Readonly<Record<string, string>> = {
  "api_keys.secret_hash": "SHA-256 of 190 random bits",
  "channels.previous_secret_until": "A moment",
  "channels.token_fingerprint": "A keyed fingerprint",
  "platform_credentials.secret_fingerprint": "A keyed fingerprint",
  "identity_providers.secret_fingerprint": "A keyed fingerprint",
  "tenant_addresses.postal_code": "Where letters go",
  "invitations.token_hash": "SHA-256 of 256 random bits",
  "password_resets.token_hash": "SHA-256 of 256 random bits",
  "quota_leases.input_tokens": "A count of a model's tokens",
  "usage_days.input_tokens": "A count of a model's tokens",
  "usage_days.output_tokens": "A count of a model's tokens",
  "usage_logs.input_tokens": "A count of a model's tokens",
  "usage_logs.output_tokens": "A count of a model's tokens",
  "sso_flows.secret_hash": "SHA-256 of 256 random bits",
  "platforms.token_url": "An address",
  "platform_credentials.token_url": "An address",
  "user_platform_bindings.token_expires_at": "A moment",
  "user_platform_bindings.token_version": "A counter",
  "user_security.password_hash": "argon2id",
  "user_security.totp_confirmed_at": "A moment",
  "user_security.totp_step": "A count of half minutes",
  "user_security.password_changed_at": "A moment",
};

Deno.test("every column that holds a secret is sealed", () => {
  for (const { name: table, columns } of all) {
    for (const { name, type } of columns.filter(({ name }) => soundsSecret.test(name))) {
      const label = `${table}.${name}`;
      assert.ok(
        type === "sealed" !== label in notSecret,
        `${label}: make it sealed() in db/schema, or say in schema_test.ts why it is no secret`,
      );
    }
  }
});

Deno.test("every link has an index that starts with it, or a reason", async () => {
  const rows = await ask(
    `select t.relname as table, (select array_agg(a.attname::text order by k.place)
      from unnest(i.indkey::int2[]) with ordinality k(number, place)
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number) as columns
    from pg_index i join pg_class t on t.oid = i.indrelid
    where t.relnamespace = 'public'::regnamespace and not t.relispartition`,
  );
  const used = new Set<string>();
  for (const { name, links } of all) {
    for (const { columns } of links) {
      const label = `${name}(${columns})`;
      const isCovered = rows.some((row) => row.table === name && startsWith(row.columns, columns));
      if (isCovered) continue;
      used.add(label);
      assert.ok(unindexed[label], `${label}: no index starts with it; add one, or say why not`);
    }
  }
  assert.deepEqual(
    Object.keys(unindexed).filter((label) => !used.has(label)),
    [],
    "No longer needed",
  );
});

/** The first columns of an index, in any order: a lookup by all of them can use it. */
function startsWith(index: unknown, columns: string[]): boolean {
  if (!Array.isArray(index)) return false;
  const head = index.slice(0, columns.length);
  return columns.every((column) => head.includes(column));
}

/** Rows that lack words of every row. Shrinks only. */
const terse: Readonly<Record<string, string>> = {
  quota_leases: "Made and gone within one request, at one write each; it says when it was admitted",
  usage_days: "A sum of usage rows, which say when they were; rewritten with each of them",
};

Deno.test("every row a tenant owns has a table of words that code and database share", () => {
  const gone = Object.keys(terse).filter((name) => !tenantTables.some((t) => t.name === name));
  assert.deepEqual(gone, [], "These are gone: take them off the list");
  for (const { name, columns } of tenantTables.filter(isRow)) {
    if (name in terse) continue;
    const there = columns.map((column) => column.name);
    for (const word of ["id", "tenant_id", "created_at", "updated_at", "schema_version"]) {
      assert.ok(there.includes(word), `${name} lacks ${word}: start it with ...tenantRow`);
    }
  }
});
const isRow = ({ primaryKey }: Table) => primaryKey.includes("id");

Deno.test("the database of this test is closed", () => database.close());
