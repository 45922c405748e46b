/** The running processes and their key-encryption keys: none is promoted before all have it. */
import { sql } from "drizzle-orm";
import { instances } from "../../db/schema/machinery.ts";
import { type TenantCtx, transact, type TxCtx } from "../context.ts";
import { type Keyring, KeyringError } from "./keyring.ts";
import { primaryKey } from "./store.ts";
import { sameKey } from "./vault.ts";

/** An instance that was not seen for this long is taken to be gone. */
export const LIVE_SECONDS = 60;

/** How often an instance announces itself: twice may fail before it is taken to be gone. */
export const ANNOUNCE_MS = 20_000;

/**
 * Says that this process lives and which keys it holds. Call it before serving, and then every
 * ANNOUNCE_MS. Errors: KeyringError when it lacks the primary key; do not serve then.
 */
export async function announce(ctx: TenantCtx, id: string, keyring: Keyring): Promise<void> {
  const keys = Object.fromEntries(
    await Promise.all(keyring.ids.map(async (id) => [id, await keyring.check(id)])),
  );
  const primary = await transact(ctx, async (ctx) => {
    const seenAt = sql`clock_timestamp()`;
    await ctx.db.insert(instances).values({ id, keys, seenAt })
      .onConflictDoUpdate({ target: instances.id, set: { keys, seenAt } });
    await ctx.db.delete(instances)
      .where(sql`${instances.seenAt} < clock_timestamp() - interval '1 day'`);
    // After the insert: a promotion under way has ended by now, and its outcome is seen.
    return await primaryKey(ctx);
  });
  if (!primary) return;
  if (!keyring.has(primary.id)) {
    throw new KeyringError(
      `Key-encryption key ${primary.id} is primary and not in ENCRYPTION_KEYS of this process: ` +
        "copy the ENCRYPTION_KEYS of an instance that works",
    );
  }
  await sameKey(keyring, primary);
}

/** Says that this process is about to end. */
export const depart = (ctx: TenantCtx, id: string): Promise<void> =>
  transact(ctx, async ({ db }) => {
    await db.delete(instances).where(sql`${instances.id} = ${id}`);
  });

/** The keys (id to check value) of each process that was seen lately. */
export async function liveKeys({ db }: TxCtx): Promise<Record<string, string>[]> {
  const rows = await db.select({ keys: instances.keys }).from(instances)
    .where(sql`${instances.seenAt} > clock_timestamp() - make_interval(secs => ${LIVE_SECONDS})`);
  return rows.map(({ keys }) => keys);
}
