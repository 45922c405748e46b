/** Where sealed values stand, asked of the database itself, so that no table can be forgotten. */
import { type SQL, sql } from "drizzle-orm";
import { rowsOf } from "../../db/client.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";

export type SealedColumn = { table: string; column: string };

/** A sealed value of one row: `column` of the row `id`. */
export type SealedValue = { id: string; sealed: string };

/** Every column of the domain `sealed`. A table of them that has no tenant or id is refused. */
export async function sealedColumns(ctx: TenantCtx): Promise<SealedColumn[]> {
  const rows = await read(ctx, async ({ db }) =>
    rowsOf(
      await db.execute(sql`
        select c.relname as table, a.attname as column,
          (select count(*) from pg_attribute k where k.attrelid = c.oid
            and k.attname in ('tenant_id', 'id') and not k.attisdropped) as names
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid
        join pg_type t on t.oid = a.atttypid
        where t.typname = 'sealed' and t.typtype = 'd' and c.relnamespace = 'public'::regnamespace
          and c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
        order by c.relname, a.attname`),
    ));
  return rows.map(({ table, column, names }) => {
    if (Number(names) !== 2) {
      throw new Error(`${table} has a sealed column and no tenant_id and id`);
    }
    return { table: String(table), column: String(column) };
  });
}

const keyOf = (column: string): SQL => sql`split_part(${sql.identifier(column)}::text, '.', 2)`;

/** The next values of the tenant sealed under another key than `keyId`, by the row's id. */
export const othersThan = (
  ctx: TenantCtx,
  { table, column }: SealedColumn,
  { keyId, after, most }: { keyId: string; after: string | null; most: number },
): Promise<SealedValue[]> =>
  read(ctx, async ({ db, tenantId }) => {
    const rows = rowsOf(
      await db.execute(sql`
        select id, ${sql.identifier(column)}::text as sealed from ${sql.identifier(table)}
        where tenant_id = ${tenantId} and ${keyOf(column)} <> ${keyId}
          ${after === null ? sql`` : sql`and id > ${after}`}
        order by id limit ${most}`),
    );
    return rows.map(({ id, sealed }) => ({ id: String(id), sealed: String(sealed) }));
  });

/** How many values of the tenant are sealed under another key than `keyId`. */
export const countOthers = (
  ctx: TenantCtx,
  { table, column }: SealedColumn,
  keyId: string,
): Promise<number> =>
  read(ctx, async ({ db, tenantId }) => {
    const [row] = rowsOf(
      await db.execute(sql`
        select count(*) as others from ${sql.identifier(table)}
        where tenant_id = ${tenantId} and ${keyOf(column)} <> ${keyId}`),
    );
    return Number(row?.others);
  });

/** Whether any value of the tenant is sealed under `keyId`. */
export async function isUsed(
  { db, tenantId }: TxCtx,
  columns: SealedColumn[],
  keyId: string,
): Promise<boolean> {
  for (const { table, column } of columns) {
    const rows = rowsOf(
      await db.execute(sql`
        select 1 from ${sql.identifier(table)}
        where tenant_id = ${tenantId} and ${keyOf(column)} = ${keyId} limit 1`),
    );
    if (rows.length > 0) return true;
  }
  return false;
}

/**
 * Puts new sealed texts in the place of old ones, each only where the old one still stands, and
 * answers how many it could. The rows' versions stay: what they say has not changed.
 */
export async function exchange(
  ctx: TenantCtx,
  { table, column }: SealedColumn,
  pairs: (SealedValue & { fresh: string })[],
): Promise<number> {
  if (pairs.length === 0) return 0;
  const values = pairs.map(({ id, sealed, fresh }) =>
    sql`(${id}::uuid, ${sealed}::text, ${fresh}::text)`
  );
  return await transact(ctx, async ({ db, tenantId }) => {
    const done = await db.execute(sql`
      update ${sql.identifier(table)} as t set ${sql.identifier(column)} = v.fresh
      from (values ${sql.join(values, sql`, `)}) as v (id, sealed, fresh)
      where t.tenant_id = ${tenantId} and t.id = v.id and t.${sql.identifier(column)} = v.sealed
      returning t.id`);
    return rowsOf(done).length;
  });
}
