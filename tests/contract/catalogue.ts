/** What the database itself says of its tables: columns, keys, links. Partitions are left out. */
import type { Row } from "./tap.ts";

export type Ask = (text: string, params?: unknown[]) => Promise<Row[]>;
export type Column = { name: string; type: string; notNull: boolean; hasDefault: boolean };
export type Link = { columns: string[]; target: string; targetColumns: string[] };
export type Table = {
  name: string;
  columns: Column[];
  primaryKey: string[];
  links: Link[];
  isTenant: boolean;
};

const text = (value: unknown) => String(value);
const texts = (value: unknown) => Array.isArray(value) ? value.map(text) : [];

/** Every table of the service, by name. */
export async function tables(ask: Ask): Promise<Table[]> {
  const names = await ask(`select relname from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
      and relname <> 'schema_migrations' order by relname`);
  return await Promise.all(names.map(async ({ relname }): Promise<Table> => {
    const name = text(relname);
    const columns = await columnsOf(ask, name);
    return {
      name,
      columns,
      primaryKey: await primaryKeyOf(ask, name),
      links: await linksOf(ask, name),
      isTenant: columns.some((column) => column.name === "tenant_id"),
    };
  }));
}

async function columnsOf(ask: Ask, table: string): Promise<Column[]> {
  const rows = await ask(
    `select attname, format_type(atttypid, atttypmod) as type, attnotnull, atthasdef
     from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped
     order by attnum`,
    [table],
  );
  return rows.map(({ attname, type, attnotnull, atthasdef }) => ({
    name: text(attname),
    type: text(type),
    notNull: attnotnull === true,
    hasDefault: atthasdef === true,
  }));
}

const names = (relation: string, numbers: string) =>
  `(select array_agg(a.attname::text order by n.place) from unnest(${numbers})
    with ordinality n(number, place)
    join pg_attribute a on a.attrelid = ${relation} and a.attnum = n.number)`;

async function primaryKeyOf(ask: Ask, table: string): Promise<string[]> {
  const [row] = await ask(
    `select ${names("c.conrelid", "c.conkey")} as columns from pg_constraint c
     where c.conrelid = $1::regclass and c.contype = 'p'`,
    [table],
  );
  return texts(row?.columns);
}

async function linksOf(ask: Ask, table: string): Promise<Link[]> {
  const rows = await ask(
    `select ${names("c.conrelid", "c.conkey")} as columns,
       c.confrelid::regclass::text as target,
       ${names("c.confrelid", "c.confkey")} as target_columns
     from pg_constraint c
     where c.conrelid = $1::regclass and c.contype = 'f' and c.conparentid = 0`,
    [table],
  );
  return rows.map(({ columns, target, target_columns }) => ({
    columns: texts(columns),
    target: text(target),
    targetColumns: texts(target_columns),
  }));
}

/** Everyone's to read and the root tenant's to write: no tenant may change any of it. */
export const everyones: ReadonlySet<string> = new Set([
  "platforms",
  "platform_configs",
  "model_prices",
]);

/** The rows of one tenant in a table, as a condition with the tenant as $1. */
export const belongsTo = ({ name, isTenant }: Table): string | null =>
  name === "tenants"
    ? "id = $1"
    : name === "tenant_closure"
    ? "tenant_id = $1 or (ancestor_id = $1 and depth = 1)" // Its children's children are theirs.
    : everyones.has(name)
    ? "$1::uuid is not null"
    : isTenant
    ? "tenant_id = $1"
    : null;

/**
 * A fingerprint of the rows of a tenant, table by table: how many there are and which transactions
 * wrote them, so that no write goes unseen. Of the tables in `leaving` what their rows say counts
 * instead, without the columns named.
 */
export async function fingerprints(
  ask: Ask,
  all: Table[],
  tenantId: string,
  leaving: Record<string, string[]> = {},
): Promise<Record<string, string>> {
  const parts = all.flatMap((table) => {
    const [mine, without] = [belongsTo(table), leaving[table.name]];
    if (!mine) return [];
    const words = without?.map((column) => ` - '${column}'`).join("");
    const print = words === undefined
      ? "coalesce(sum(t.xmin::text::bigint), 0)::text"
      : `coalesce(md5(string_agg((to_jsonb(t)${words})::text, '|' order by t.id)), '')`;
    return `select '${table.name}' as name, count(*) || ':' || ${print} as print
      from "${table.name}" t where ${mine}`;
  });
  const rows = await ask(parts.join(" union all "), [tenantId]);
  return Object.fromEntries(rows.map(({ name, print }) => [text(name), text(print)]));
}
