/**
 * Key-encryption keys from their first day to their last: added, distributed to every process,
 * promoted, and retired once nothing is wrapped by them.
 *
 * The order is Tink's (add, distribute, promote), and these verbs refuse any other.
 */
import { asc, eq, sql } from "drizzle-orm";
import { encryptionKeys, instances } from "../../db/schema/machinery.ts";
import { rowsOf } from "../../db/client.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, notFound } from "../errors.ts";
import { record } from "../trail.ts";
import { liveKeys } from "./instances.ts";
import type { Keyring } from "./keyring.ts";
import { databaseStore } from "./store.ts";
import { sameKey } from "./vault.ts";

export type KeyState = "added" | "primary" | "retired";

/** One key as `status` shows it. */
export type KeyStatus = {
  id: string;
  state: KeyState | "unregistered";
  /** Whether the process that asks holds it, with the registered bytes. */
  here: "held" | "other bytes" | "missing";
  /** Data keys wrapped by it, of all tenants. */
  dataKeys: number;
  /** Running instances that hold it, of all. */
  instances: { holding: number; live: number };
};

async function dataKeysUnder({ db }: TxCtx, id: string): Promise<number> {
  const [row] = rowsOf(await db.execute(sql`select data_keys_under(${id}) as keys`));
  return Number(row?.keys);
}

const registered = ({ db }: TxCtx) =>
  db.select({
    id: encryptionKeys.id,
    state: encryptionKeys.state,
    check: encryptionKeys.checkValue,
  }).from(encryptionKeys).orderBy(asc(encryptionKeys.createdAt), asc(encryptionKeys.id));

/** All keys, those of the database first and then those only this process holds. */
export async function status(ctx: TenantCtx, keyring: Keyring): Promise<KeyStatus[]> {
  const checks = new Map<string, string>();
  for (const id of keyring.ids) checks.set(id, await keyring.check(id));
  return await read(ctx, async (ctx) => {
    const rows = await registered(ctx);
    const live = await liveKeys(ctx);
    const known = new Set(rows.map(({ id }) => id));
    const strangers = keyring.ids.filter((id) => !known.has(id))
      .map((id) => ({ id, state: "unregistered" as const, check: checks.get(id) ?? "" }));
    const all: KeyStatus[] = [];
    for (const { id, state, check } of [...rows, ...strangers]) {
      const mine = checks.get(id);
      const here = mine === undefined ? "missing" : mine === check ? "held" : "other bytes";
      const holding = live.filter((keys) => keys[id] === check).length;
      const dataKeys = await dataKeysUnder(ctx, id);
      all.push({ id, state, here, dataKeys, instances: { holding, live: live.length } });
    }
    return all;
  });
}

/** Registers a key this process holds; the first one ever is primary at once. */
export async function add(ctx: TenantCtx, keyring: Keyring, id: string): Promise<KeyState> {
  const mark = { id, check: await keyring.check(id) };
  await databaseStore.primary(ctx, mark);
  const { state, check } = await transact(ctx, async (ctx) => {
    const made = await ctx.db.insert(encryptionKeys)
      .values({ id, state: "added", checkValue: mark.check }).onConflictDoNothing()
      .returning({ id: encryptionKeys.id });
    if (made.length === 1) await note(ctx, "added", id, null);
    return await lock(ctx, id);
  });
  await sameKey(keyring, { id, check });
  if (state === "retired") {
    throw conflict("encryption_key.retired", `${id} is retired: make a key with another id`);
  }
  return state;
}

/** The key's row, held until the transaction ends. */
async function lock(ctx: TxCtx, id: string) {
  const [row] = await registered(ctx).where(eq(encryptionKeys.id, id)).for("update");
  if (!row) throw notFound("encryption_key");
  return row;
}

/** Nobody changes the set of running instances while its keys are compared. */
async function refuseUnlessEverywhere(ctx: TxCtx, { id, check }: { id: string; check: string }) {
  await ctx.db.execute(sql`lock table ${instances} in share mode`);
  const live = await liveKeys(ctx);
  const without = live.filter((keys) => keys[id] !== check);
  if (without.length === 0) return;
  const other = without.filter((keys) => id in keys).length;
  throw conflict(
    "encryption_key.not_distributed",
    `${without.length} of ${live.length} running instances do not hold ${id}` +
      (other > 0 ? ` (${other} hold other bytes under that id)` : "") +
      ": put it into the ENCRYPTION_KEYS of every instance, restart them, then promote it",
  );
}

/** Makes a key the one that wraps new data keys. Refused until every running instance holds it. */
export async function promote(ctx: TenantCtx, keyring: Keyring, id: string): Promise<void> {
  const { check } = await read(ctx, async (ctx) => {
    const [row] = await registered(ctx).where(eq(encryptionKeys.id, id));
    if (!row) {
      throw conflict("encryption_key.unregistered", `${id} is not registered: add it first`);
    }
    return row;
  });
  await sameKey(keyring, { id, check });
  await transact(ctx, async (ctx) => {
    await refuseUnlessEverywhere(ctx, { id, check });
    const before = await registered(ctx).where(eq(encryptionKeys.state, "primary")).for("update");
    const { state } = await lock(ctx, id);
    if (state === "primary") return;
    if (state === "retired") {
      throw conflict("encryption_key.retired", `${id} is retired: add a key with another id`);
    }
    const set = (to: KeyState, id: string) =>
      ctx.db.update(encryptionKeys).set({ state: to }).where(eq(encryptionKeys.id, id));
    for (const old of before) await set("added", old.id); // First: only one may be primary.
    await set("primary", id);
    await note(ctx, "promoted", id, before[0]?.id ?? null);
  });
}

/** Takes a key out of use. Refused while it is primary or any data key is wrapped by it. */
export async function retire(ctx: TenantCtx, id: string): Promise<void> {
  await transact(ctx, async (ctx) => {
    const { state } = await lock(ctx, id); // Waits for those who add a data key under it.
    if (state === "retired") return;
    if (state === "primary") {
      throw conflict("encryption_key.primary", `${id} is primary: promote another key first`);
    }
    const wrapped = await dataKeysUnder(ctx, id);
    if (wrapped > 0) {
      throw conflict(
        "encryption_key.in_use",
        `${id} still wraps ${wrapped} data key${wrapped === 1 ? "" : "s"}: re-encrypt first`,
      );
    }
    await ctx.db.update(encryptionKeys).set({ state: "retired" }).where(eq(encryptionKeys.id, id));
    await note(ctx, "retired", id, null);
  });
}

/** The trail knows subjects by UUID and a key has a name, so the subject is the installation. */
const note = (ctx: TxCtx, done: string, id: string, instead: string | null) =>
  record(ctx, {
    action: `encryption_key.${done}`,
    subjectType: "installation",
    subjectId: ctx.tenantId,
    before: instead === null ? null : { encryptionKey: instead },
    after: { encryptionKey: id },
  });
