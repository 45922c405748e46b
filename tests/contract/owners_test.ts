/** A table is written by its own domain and nobody else, so that its rules stand in one place. */
import assert from "node:assert/strict";
import { getTableName, is, Table } from "drizzle-orm";
import * as access from "../../db/schema/access.ts";
import * as chat from "../../db/schema/teams.ts";
import * as channels from "../../db/schema/channels.ts";
import * as people from "../../db/schema/identity.ts";
import * as machinery from "../../db/schema/machinery.ts";
import * as platforms from "../../db/schema/platforms.ts";
import * as signIn from "../../db/schema/sign_in.ts";
import * as trail from "../../db/schema/trail.ts";
import { type Source, sources } from "./sources.ts";

/** The files that may write a table: all of its domain's, or those named. */
const owners: Readonly<Record<string, readonly string[]>> = {
  cache_epochs: ["src/trail.ts"],
  data_keys: ["src/secrets/"],
  encryption_keys: ["src/secrets/"],
  idempotency_keys: ["src/idempotency.ts"],
  instances: ["src/secrets/instances.ts"],
  leases: ["src/jobs.ts"],
  audit_entries: ["src/trail.ts"],
  events: ["src/trail.ts"],
  // Any use of a key notes when it was: that is seen where keys are checked.
  // A team makes its own.
  api_keys: ["src/identity/", "src/access/principals.ts", "src/teams/team_keys.ts"],
};

/** Scripts that write a table past its verbs. Shrinks only. */
const scripts: Readonly<Record<string, string>> = {
  "scripts/seed.ts": "Brings the catalogue to what this release knows, each change with its record",
};

/** Written by the database itself, and by nothing that is said here. */
const byTrigger = ["tenant_closure", "group_closure"];
/** Written by admission and settlement, which are the database's own functions. */
const byFunction = ["quota_counters", "quota_leases", "usage_logs", "usage_days"];

const identity = { ...people, ...access, ...signIn };
const teams = { ...chat, ...channels };
const schemas = { identity, machinery, platforms, teams, trail };
const tables = Object.entries(schemas).flatMap(([domain, schema]) =>
  Object.entries(schema).flatMap(([name, value]: [string, unknown]) =>
    is(value, Table) ? [{ name, table: getTableName(value), domain }] : []
  )
);

const ownersOf = (table: string, domain: string) =>
  byFunction.includes(table) ? [] : owners[table] ?? [`src/${domain}/`];

/** What each table is called in a file: its own name, or another it was given there. */
function namesIn({ text }: Source): Map<string, string> {
  const names = new Map(tables.map(({ name, table }) => [name, table]));
  for (const [, name = "", other = ""] of text.matchAll(/\b(\w+) as (\w+)/g)) {
    const table = names.get(name);
    if (table) names.set(other, table);
  }
  for (const [, other = "", name = ""] of text.matchAll(/\bconst (\w+) = (\w+);/g)) {
    const table = names.get(name);
    if (table) names.set(other, table);
  }
  return names;
}

/** Every table a file writes, by the query builder or in SQL. */
function writtenBy(source: Source): Set<string> {
  const names = namesIn(source);
  const built = [...source.text.matchAll(/\.(?:insert|update|delete)\(\s*(?:\w+\.)?(\w+)\s*\)/g)]
    .flatMap(([, name = ""]) => names.get(name) ?? []);
  const spelled = [...source.text.matchAll(/\b(?:insert into|delete from|update)\s+"?(\w+)"?\s/gi)]
    .flatMap(([, name = ""]) => tables.some(({ table }) => table === name) ? [name] : []);
  return new Set([...built, ...spelled]);
}

const all = (await sources(".ts")).filter(({ path }) => /^(src|routers|scripts|db)\//.test(path));

Deno.test("only a table's own domain writes it", () => {
  const writers = new Map<string, string[]>();
  for (const source of all) {
    for (const table of writtenBy(source)) {
      writers.set(table, [...writers.get(table) ?? [], source.path]);
    }
  }
  for (const { table, domain } of tables) {
    const mayWrite = ownersOf(table, domain);
    const others = (writers.get(table) ?? []).filter((path) =>
      !mayWrite.some((owner) => path.startsWith(owner)) && !scripts[path]
    );
    assert.deepEqual(
      others,
      [],
      `${table} is written outside ${mayWrite}: call a verb of its domain`,
    );
    const isWritten = writers.has(table) || byTrigger.includes(table) || byFunction.includes(table);
    assert.ok(isWritten, `nobody writes ${table}, or this test does not see it`);
  }
});

Deno.test("routers and scripts write no table themselves", () => {
  for (const source of all.filter(({ path }) => /^(routers|scripts)\//.test(path))) {
    if (scripts[source.path]) continue;
    assert.deepEqual([...writtenBy(source)], [], `${source.path}: call a verb`);
  }
});

Deno.test("verbs write within transact and read within read, never on the bare database", () => {
  for (
    const { path, text } of all.filter(({ path }) =>
      /^src\/(identity|platforms|teams)\//.test(path)
    )
  ) {
    assert.ok(!/database\.transaction\(/.test(text), `${path}: use transact or read`);
    assert.ok(
      !/\.(?:values|set)\(\{[^}]*\.\.\.input\b/.test(text),
      `${path}: write the columns out`,
    );
  }
});
