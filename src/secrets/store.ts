/** Keeps wrapped data keys in the tenant's own rows, and which key-encryption key is primary. */
import { and, eq } from "drizzle-orm";
import { dataKeys, encryptionKeys } from "../../db/schema/machinery.ts";
import { frame, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { one } from "../rows.ts";
import type { NewWrappedKey, Purpose, WrappedKey } from "./data_keys.ts";
import type { DataKeyStore, KekMark } from "./vault.ts";

/** The columns that make a WrappedKey. */
export const wrappedKey = {
  id: dataKeys.id,
  tenantId: dataKeys.tenantId,
  purpose: dataKeys.purpose,
  kekId: dataKeys.encryptionKeyId,
  wrapped: dataKeys.wrapped,
};

/**
 * Joins the caller's transaction, or works beside the call: sealing and fingerprinting at one time
 * are two transactions of one call, and neither is the call's own.
 */
function aside(ctx: TenantCtx): TenantCtx {
  if (ctx.db) return ctx;
  if (ctx.frame.open) throw new Error("A transaction is open on this call: give its ctx");
  return { ...ctx, frame: frame() };
}

export const currentKey = (tenantId: string, purpose: Purpose) =>
  and(
    eq(dataKeys.tenantId, tenantId),
    eq(dataKeys.purpose, purpose),
    eq(dataKeys.state, "current"),
  );

/**
 * Whether a key-encryption key is still primary, and that it stays so until this transaction ends.
 * Promoting and retiring wait, so no data key can slip under a key that is on its way out.
 */
export async function holdPrimary({ db }: TxCtx, kekId: string): Promise<boolean> {
  const held = await db.select({ id: encryptionKeys.id }).from(encryptionKeys)
    .where(and(eq(encryptionKeys.id, kekId), eq(encryptionKeys.state, "primary"))).for("share");
  return held.length === 1;
}

/** Writes a new data key as the current one; a second current key of a purpose is left out. */
export async function insertKey({ db, tenantId }: TxCtx, key: NewWrappedKey) {
  const { id, purpose, kekId: encryptionKeyId, wrapped } = key;
  await db.insert(dataKeys).values({ tenantId, id, purpose, encryptionKeyId, wrapped })
    .onConflictDoNothing();
}

export async function primaryKey({ db }: TxCtx): Promise<KekMark | null> {
  const [primary] = await db.select({ id: encryptionKeys.id, check: encryptionKeys.checkValue })
    .from(encryptionKeys).where(eq(encryptionKeys.state, "primary"));
  return primary ?? null;
}

/** The store of the service: rows of `data_keys` and `encryption_keys`. */
export const databaseStore: DataKeyStore = {
  current: (ctx, purpose) =>
    read(aside(ctx), async ({ db, tenantId }): Promise<WrappedKey | null> => {
      const rows = await db.select(wrappedKey).from(dataKeys).where(currentKey(tenantId, purpose));
      return rows[0] ?? null;
    }),

  byId: (ctx, id) =>
    read(aside(ctx), async ({ db, tenantId }): Promise<WrappedKey | null> => {
      const rows = await db.select(wrappedKey).from(dataKeys)
        .where(and(eq(dataKeys.tenantId, tenantId), eq(dataKeys.id, id)));
      return rows[0] ?? null;
    }),

  add: (ctx, key) =>
    transact(aside(ctx), async (ctx): Promise<WrappedKey | null> => {
      if (!await holdPrimary(ctx, key.kekId)) return null;
      await insertKey(ctx, key);
      return one(
        await ctx.db.select(wrappedKey).from(dataKeys)
          .where(currentKey(ctx.tenantId, key.purpose)),
      );
    }),

  primary: (ctx, first) =>
    transact(aside(ctx), async (ctx) => {
      const known = await primaryKey(ctx);
      if (known) return known;
      await ctx.db.insert(encryptionKeys)
        .values({ id: first.id, state: "primary", checkValue: first.check }).onConflictDoNothing();
      return one([await primaryKey(ctx)].filter((key) => key !== null));
    }),
};
