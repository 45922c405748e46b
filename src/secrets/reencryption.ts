/**
 * Re-encryption: brings every tenant under the primary key-encryption key, while the service runs.
 *
 * What is left to do is read off the data each time: a current data key not wrapped by the primary
 * key is replaced, a value not sealed under the current data key is sealed anew. So it may be
 * killed anywhere, started again, and run twice at once.
 */
import { and, eq, sql } from "drizzle-orm";
import { dataKeys } from "../../db/schema/machinery.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { ROOT_TENANT } from "../topics.ts";
import { boxKey } from "./boxes.ts";
import { mint, rewrap, unwrap, type WrappedKey } from "./data_keys.ts";
import { type DataKey, keyIdOf, open, type Place, seal, Unreadable } from "./envelope.ts";
import type { Keyring } from "./keyring.ts";
import {
  countOthers,
  exchange,
  isUsed,
  othersThan,
  type SealedColumn,
  sealedColumns,
  type SealedValue,
} from "./sealed_columns.ts";
import { holdPrimary, insertKey, primaryKey, wrappedKey } from "./store.ts";
import { sameKey, TAKE_UP_MS } from "./vault.ts";

export type Reencryption = {
  keyring: Keyring;
  /** The service itself, acting in a tenant. */
  ctxOf: (tenantId: string) => TenantCtx;
  /** Values sealed anew in one transaction. */
  batch?: number;
  /**
   * A data key is dropped once it has been out of use for this long: a request that sealed under
   * it may still be on its way to its commit.
   */
  graceMs?: number;
  /** How long processes may still seal under a replaced key. Shorter only in tests. */
  settleMs?: number;
  /** Only counts. */
  dryRun?: boolean;
  /** Told after every tenant. */
  progress?: (sofar: Readonly<Outcome>) => void;
};

export type Outcome = {
  passes: number;
  tenants: number;
  /** Values sealed anew (with dryRun: still to be). */
  values: number;
  /** Data keys made, wrapped anew, and dropped; `keysKept` wait for the grace to end. */
  keysMade: number;
  keysWrapped: number;
  keysDropped: number;
  keysKept: number;
  /** Values that do not open. They stay as they are, and so do their data keys. */
  unreadable: number;
  /** The first few of them. */
  examples: Place[];
  /** Tenants that could not be finished, and why. */
  failures: { tenantId: string; message: string }[];
};

export const GRACE_MS = 15 * 60_000;
/** The take-up bound, and time for what was sealed at its end to be committed. */
export const SETTLE_MS = TAKE_UP_MS + 2_000;
const BATCH = 100;
const MOST_PASSES = 50;
const PAGE = 500;
const EXAMPLES = 20;

type Run = Required<Omit<Reencryption, "progress" | "dryRun">> & {
  primary: string;
  columns: SealedColumn[];
  outcome: Outcome;
};
type Key = WrappedKey & { state: "current" | "old"; isRecent: boolean; isPast: boolean };

/** Runs until a whole pass, begun after every process took up the new keys, finds nothing. */
export async function reencrypt(parts: Reencryption): Promise<Outcome> {
  const { keyring, ctxOf, batch = BATCH, settleMs = SETTLE_MS, progress, dryRun } = parts;
  const outcome = nothingYet();
  const root = ctxOf(ROOT_TENANT);
  const mark = await read(root, primaryKey);
  if (!mark) return outcome; // No key was ever used.
  const primary = await sameKey(keyring, mark);
  const run: Run = {
    keyring,
    ctxOf,
    batch,
    settleMs,
    graceMs: Math.max(parts.graceMs ?? GRACE_MS, settleMs),
    primary,
    columns: await sealedColumns(root),
    outcome,
  };
  const visit = dryRun ? count : renew;
  while (outcome.passes < MOST_PASSES) {
    Object.assign(outcome, { passes: outcome.passes + 1, tenants: 0, keysKept: 0 });
    Object.assign(outcome, { unreadable: 0, examples: [], failures: [] });
    const left = { values: 0, unsettled: false };
    for await (const tenantId of tenantIds(root)) {
      const more = await attempt(run, tenantId, visit);
      left.values += more.values;
      left.unsettled ||= more.unsettled;
      outcome.tenants++;
      progress?.(outcome);
    }
    if (dryRun || (left.values === 0 && !left.unsettled)) return outcome;
    if (left.unsettled) await new Promise((resolve) => setTimeout(resolve, settleMs));
  }
  throw new Error(
    `After ${MOST_PASSES} passes values are still sealed under old keys: some process goes on ` +
      "sealing under them; look at status, and restart the instances",
  );
}

const nothingYet = (): Outcome => ({
  passes: 0,
  tenants: 0,
  values: 0,
  keysMade: 0,
  keysWrapped: 0,
  keysDropped: 0,
  keysKept: 0,
  unreadable: 0,
  examples: [],
  failures: [],
});

async function* tenantIds({ database }: TenantCtx) {
  for (let after: string | null = null;;) {
    const page: Record<string, unknown>[] = await database.query(
      sql`select id from tenant_ids(${after}::uuid, ${PAGE})`,
    );
    for (const { id } of page) yield after = String(id);
    if (page.length < PAGE) return;
  }
}

/** What a visit found: values it had to touch, and whether processes may still use an old key. */
type Found = { values: number; unsettled: boolean };
type Visit = (run: Run, ctx: TenantCtx) => Promise<Found>;

/** One tenant's broken key must not keep the others under an old one. */
async function attempt(run: Run, tenantId: string, visit: Visit): Promise<Found> {
  try {
    return await visit(run, run.ctxOf(tenantId));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    run.outcome.failures.push({ tenantId, message });
    return { values: 0, unsettled: false };
  }
}

const keysOf = ({ graceMs, settleMs }: Run, { db, tenantId }: TxCtx): Promise<Key[]> => {
  const olderThan = (ms: number) =>
    sql<boolean>`${dataKeys.updatedAt} < clock_timestamp() - make_interval(secs => ${ms / 1000})`;
  return db.select({
    ...wrappedKey,
    state: dataKeys.state,
    isRecent: sql<boolean>`not ${olderThan(settleMs)}`,
    isPast: olderThan(graceMs),
  }).from(dataKeys).where(eq(dataKeys.tenantId, tenantId));
};

const sealing = (keys: Key[]) =>
  keys.find(({ purpose, state }) => purpose === "encrypt" && state === "current");

async function renew(run: Run, ctx: TenantCtx): Promise<Found> {
  await renewKeys(run, ctx);
  const keys = await read(ctx, (ctx) => keysOf(run, ctx));
  const current = sealing(keys);
  if (!current) return { values: 0, unsettled: false };
  const old = keys.filter(({ state }) => state === "old");
  const unsettled = old.some(({ isRecent }) => isRecent);
  const opened = openedKeys(run, keys);
  let values = 0;
  for (const column of run.columns) values += await renewColumn(run, ctx, column, current, opened);
  await drop(run, ctx, old);
  return { values, unsettled };
}

/** A new data key where the current one is not under the primary key, and new wrapping for all. */
async function renewKeys(run: Run, ctx: TenantCtx): Promise<void> {
  const { keyring, primary, outcome } = run;
  const keys = await read(ctx, (ctx) => keysOf(run, ctx));
  const current = sealing(keys);
  if (current && current.kekId !== primary) {
    const { tenantId } = ctx;
    const fresh = await mint(keyring, primary, { tenantId, purpose: "encrypt" });
    outcome.keysMade += await underPrimary(run, ctx, async (ctx) => {
      const demoted = await ctx.db.update(dataKeys).set({ state: "old" })
        .where(and(named(current), eq(dataKeys.state, "current"))).returning({ id: dataKeys.id });
      if (demoted.length === 1) await insertKey(ctx, fresh);
      return demoted.length;
    });
  }
  for (const key of keys.filter(({ kekId }) => kekId !== primary)) {
    const { wrapped, kekId: encryptionKeyId } = await rewrap(keyring, key, primary);
    outcome.keysWrapped += await underPrimary(run, ctx, async ({ db }) => {
      const done = await db.update(dataKeys).set({ wrapped, encryptionKeyId })
        .where(and(named(key), eq(dataKeys.wrapped, key.wrapped))).returning({ id: dataKeys.id });
      return done.length;
    });
  }
}

const named = ({ tenantId, id }: Key) => and(eq(dataKeys.tenantId, tenantId), eq(dataKeys.id, id));

const underPrimary = <T>({ primary }: Run, ctx: TenantCtx, work: (ctx: TxCtx) => Promise<T>) =>
  transact(ctx, async (ctx) => {
    if (await holdPrimary(ctx, primary)) return await work(ctx);
    throw new Error(`${primary} is primary no longer: start again`);
  });

/** Unwraps each of a tenant's keys once, when the first value asks for it. */
function openedKeys({ keyring }: Run, keys: Key[]) {
  const opened = new Map<string, Promise<DataKey>>();
  const unwrapped = async (id: string): Promise<DataKey> => {
    const key = keys.find((key) => key.id === id && key.purpose === "encrypt");
    if (!key) throw new Unreadable();
    return { id, tenantId: key.tenantId, key: await boxKey(await unwrap(keyring, key, key)) };
  };
  return (id: string) => {
    const known = opened.get(id) ?? unwrapped(id);
    opened.set(id, known);
    return known;
  };
}

/** Answers how many values it found and could read; who changed one meanwhile wins. */
async function renewColumn(
  run: Run,
  ctx: TenantCtx,
  column: SealedColumn,
  current: Key,
  opened: (id: string) => Promise<DataKey>,
): Promise<number> {
  const { tenantId } = ctx;
  let found = 0;
  const fresh = async ({ id, sealed }: SealedValue) => {
    const place = { tenantId, ...column, row: id };
    try {
      const plain = await open(await opened(keyIdOf(sealed)), place, sealed);
      return [{ id, sealed, fresh: await seal(await opened(current.id), place, plain) }];
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      run.outcome.unreadable++;
      if (run.outcome.examples.length < EXAMPLES) run.outcome.examples.push(place);
      return [];
    }
  };
  for (let after: string | null = null;;) {
    const page: SealedValue[] = await othersThan(ctx, column, {
      keyId: current.id,
      after,
      most: run.batch,
    });
    const pairs = (await Promise.all(page.map(fresh))).flat();
    run.outcome.values += await exchange(ctx, column, pairs);
    found += pairs.length;
    after = page.at(-1)?.id ?? null;
    if (page.length < run.batch) return found;
  }
}

/** Drops keys that have been out of use for the grace and that no value names. */
async function drop(run: Run, ctx: TenantCtx, old: Key[]): Promise<void> {
  for (const key of old) {
    const dropped = key.isPast && await transact(ctx, async (ctx) => {
      if (await isUsed(ctx, run.columns, key.id)) return false;
      await ctx.db.delete(dataKeys).where(and(named(key), eq(dataKeys.state, "old")));
      return true;
    });
    if (dropped) run.outcome.keysDropped++;
    else run.outcome.keysKept++;
  }
}

/** What `renew` would do. */
async function count(run: Run, ctx: TenantCtx): Promise<Found> {
  const { outcome, columns, primary } = run;
  const keys = await read(ctx, (ctx) => keysOf(run, ctx));
  const current = sealing(keys);
  const isStale = current !== undefined && current.kekId !== primary;
  outcome.keysWrapped += keys.filter(({ kekId }) => kekId !== primary).length;
  outcome.keysMade += isStale ? 1 : 0;
  outcome.keysKept += keys.filter(({ state }) => state === "old").length;
  // A stale key is replaced, and then every value is sealed under another key than the current.
  for (const column of current ? columns : []) {
    outcome.values += await countOthers(ctx, column, isStale ? "" : current?.id ?? "");
  }
  return { values: 0, unsettled: false };
}
