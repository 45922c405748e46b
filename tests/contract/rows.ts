/** Makes a row in every table of a tenant, a canary in every column that can hold words. */
import { getTableColumns, getTableName, is, Table as DrizzleTable } from "drizzle-orm";
import { toSnakeCase } from "drizzle-orm/casing";
import { v7 } from "uuid";
import * as access from "../../db/schema/access.ts";
import * as channels from "../../db/schema/channels.ts";
import * as identity from "../../db/schema/identity.ts";
import * as machinery from "../../db/schema/machinery.ts";
import * as platforms from "../../db/schema/platforms.ts";
import * as signIn from "../../db/schema/sign_in.ts";
import * as teams from "../../db/schema/teams.ts";
import * as trail from "../../db/schema/trail.ts";
import type { Ask, Column, Table } from "./catalogue.ts";

/** Every table the code knows, by its name in the database. */
export const drizzleTables: ReadonlyMap<string, DrizzleTable> = new Map(
  [identity, access, signIn, machinery, platforms, trail, teams, channels]
    .flatMap((schema) => Object.values(schema)).flatMap((value: unknown) =>
      is(value, DrizzleTable) ? [value] : []
    )
    .map((table) => [getTableName(table), table]),
);

/** The words an enum column takes, as the code says them. */
function wordsOf(table: string, column: string): string[] {
  const known = drizzleTables.get(table);
  if (!known) return [];
  const found = Object.entries(getTableColumns(known))
    .find(([key]) => toSnakeCase(key) === column);
  return found?.[1].enumValues ?? [];
}

export type Canary = (table: string, column: string) => string;
export type Seal = (table: string, row: string, column: string, plain: string) => Promise<string>;
export type RowMaker = {
  ask: Ask;
  tenantId: string;
  canary: Canary;
  seal: Seal;
  /** Rows that stand already, by table: what a new row's links may point at. */
  known: Map<string, Record<string, unknown>>;
};

/** Columns of which only one of several may be set, or that must not look like the last row's. */
const chosen: Record<string, Record<string, () => unknown>> = {
  role_bindings: { system_role: () => null, group_id: () => null, revoked_at: () => null },
  group_members: {
    member_group_id: () => null,
    starts_at: () => null,
    ends_at: () => null,
    is_holding: () => true,
  },
  // A person's: what stands for a team's is made by the examples. What an answer shows of it is short.
  api_keys: { team_id: () => null, family_id: () => null, hint: () => "last" },
  identity_providers: { secret_fingerprint: () => "fingerprint" },
  // A key's list: one of the tenant would shut out every key of these tests.
  client_access: { network: () => "203.0.113.0/24" },
  sso_flows: { expires_at: () => new Date(Date.now() + 600_000), state: () => "coded" },
  invitations: { accepted_at: () => null, revoked_at: () => null },
  data_keys: { state: () => "old" },
  user_platform_bindings: { token_expires_at: () => new Date(Date.now() + 30 * 24 * 3600_000) },
  oauth_flows: { expires_at: () => new Date(Date.now() + 600_000), state: () => "coded" },
  idempotency_keys: { state: () => "done", lease_until: () => new Date(0) },
};

/** Written by the database itself. */
const byTrigger = ["tenant_closure", "group_closure"];

/** Inserts one row into each tenant table, tables that are pointed at before those that point. */
export async function fill(maker: RowMaker, all: Table[]): Promise<void> {
  const left = new Set(all.filter(({ name, isTenant }) => isTenant && !byTrigger.includes(name)));
  while (left.size > 0) {
    const ready = [...left].filter(({ name, links }) =>
      links.every(({ target }) => target === name || ![...left].some((t) => t.name === target))
    );
    if (ready.length === 0) throw new Error("Tables point at each other in a circle");
    for (const table of ready) {
      await insert(maker, table);
      left.delete(table);
    }
  }
}

async function insert(maker: RowMaker, table: Table) {
  const twin = table.links.find(({ columns }) => columns.includes("id"));
  const id = String(twin ? maker.known.get(twin.target)?.id : v7());
  const row: Record<string, unknown> = {};
  for (const column of table.columns) row[column.name] = await valueOf(maker, table, column, id);
  for (const { columns, target, targetColumns } of table.links) {
    const there = maker.known.get(target);
    columns.forEach((column, place) => {
      if (column !== "tenant_id" && row[column] !== null) {
        row[column] = there?.[targetColumns[place] ?? ""] ?? null;
      }
    });
  }
  const names = Object.keys(row);
  const marks = names.map((_, place) => `$${place + 1}`);
  const [made] = await maker.ask(
    `insert into "${table.name}" (${names.map((name) => `"${name}"`).join(", ")})
     values (${marks.join(", ")}) on conflict do nothing returning *`,
    Object.values(row),
  );
  if (made && !maker.known.has(table.name)) maker.known.set(table.name, made);
}

async function valueOf(maker: RowMaker, { name }: Table, column: Column, id: string) {
  const special = chosen[name]?.[column.name];
  if (special) return special();
  if (column.name === "tenant_id") return maker.tenantId;
  if (column.name === "id" && column.type === "uuid") return id;
  const canary = maker.canary(name, column.name);
  const [word] = wordsOf(name, column.name);
  switch (column.type) {
    case "text":
      return word ?? canary;
    case "text[]":
      return [canary];
    case "jsonb":
      return JSON.stringify({ [canary]: canary });
    case "sealed":
      return await maker.seal(name, id, column.name, canary);
    case "uuid":
      return v7();
    case "boolean":
      return true;
    case "smallint":
    case "integer":
    case "bigint":
      return 1;
    case "date":
      return new Date().toISOString().slice(0, 10);
    default:
      if (column.type.startsWith("timestamp")) return new Date();
      if (column.type.startsWith("numeric")) return "1.5";
      throw new Error(
        `${name}.${column.name}: say in tests/contract/rows.ts how to make ${column.type}`,
      );
  }
}
