/** Who is asking, and with what from the outside world: the first argument of every verb. */
import { sql } from "drizzle-orm";
import { type Db, rowsOf } from "../db/client.ts";
import { isBroken, isRetryable } from "../db/failures.ts";
import type { Permission } from "./access/permissions.ts";
import type { Standings } from "./access/standings.ts";
import type { Issued, Tokens } from "./access/tokens.ts";
import type { Cache, Place as CachePlace } from "./cache/cache.ts";
import type { Limiter } from "./limits/limiter.ts";
import { type Log, told } from "./log.ts";
import type { Mailer } from "./mailer.ts";
import type { Answering, Outbound } from "./outbound.ts";
import { ATTEMPTS, backoff, type Patient, refusalOf, settled } from "./retries.ts";
import type { Vault } from "./secrets/vault.ts";

export type Reach = "self" | "tenant" | "subtree" | "global";

/** Who acts. May belong to another tenant than the one acted in, and may have no id (the system, a stranger). */
export type Actor = {
  type: "user" | "key" | "system" | "anonymous";
  tenantId: string;
  id: string | null;
};

export type Grants = Readonly<Partial<Record<Permission, Reach>>>;

/** What a verified token or key says: who, in which tenant, with which permissions, how far each reaches. */
export type Principal = {
  actor: Actor;
  tenantId: string;
  /** The user whose own rows `self` means: a key acts for the user it belongs to. */
  userId: string | null;
  sessionId: string | null;
  grants: Grants;
  /** Of a team's key: the team it chats as, and the first of the keys that took over from each other. */
  team?: { id: string; familyId: string };
};

/** What a process holds and every request shares. */
export type Services = {
  database: Patient;
  secrets: Vault;
  cache: Cache;
  limiter: Limiter;
  outbound: Outbound;
  /** The same for whom a Response is too slow. */
  answering: Answering;
  mailer: Mailer;
  /** The TXT records of a name, each as its parts. Rejects where there are none. */
  resolveTxt: (name: string) => Promise<string[][]>;
  tokens: Tokens;
  standings: Standings;
  log: Log;
  now: () => Date;
  /** The word in this installation's API keys: live, test, dev. */
  keyEnvironment: string;
  /** Where this service is reached from outside, without a slash at the end. */
  publicUrl: string;
};

export type Ctx = Services & {
  requestId: string;
  principal: Principal | null;
  /** A token or key was sent and does not hold. */
  isRefused?: boolean | undefined;
  /** A stranger's network address, as far as it is known; empty for a principal. */
  address: string;
  /** A principal's, which costs a question to the socket. */
  addressOf?: (() => string) | undefined;
  /** The access token that was sent, as it was signed; null for a key. */
  presented?: (() => Promise<Issued | null>) | undefined;
  /**
   * Who asked, as they stand by now: for an answer that takes long. That the token has run out since
   * does not matter, that a right has does.
   */
  again?: (() => Promise<Principal | null>) | undefined;
  userAgent: string | null;
  ifMatch: string | null;
  idempotencyKey: string | null;
};

/** Where a caller comes from, whoever they are. */
export const callerAddress = ({ address, addressOf }: Ctx): string =>
  address || addressOf?.() || "unknown";

/** One call's place: whether a transaction is open on it, and what must happen once it is committed. */
type Frame = { open: boolean; committed: (() => void)[] };

/** What `may` makes of a Ctx: the tenant is certain, and so are the permission and its reach. */
export type TenantCtx = Ctx & {
  tenantId: string;
  actor: Actor;
  userId: string | null;
  reach: Reach;
  frame: Frame;
  db?: Db | undefined;
};

/** Inside `read` or `transact`: the only place with a `db`. */
export type TxCtx = TenantCtx & { db: Db };

export const frame = (): Frame => ({ open: false, committed: [] });

/** Acting as the service itself in one tenant: jobs, seeds, and what happens before anybody is known. */
export const asSystem = (ctx: Services & { requestId?: string }, tenantId: string): TenantCtx => ({
  ...ctx,
  db: undefined, // A transaction sees its own tenant's rows: another tenant needs its own.
  requestId: ctx.requestId ?? crypto.randomUUID(),
  principal: null,
  address: "",
  userAgent: null,
  ifMatch: null,
  idempotencyKey: null,
  tenantId,
  actor: { type: "system", tenantId, id: null },
  userId: null,
  reach: "tenant",
  frame: frame(),
});

const STATEMENT_TIMEOUT = "15s";

/**
 * Runs `work` in a transaction that sees one tenant's rows; the inner ctx shadows the outer, so no
 * query escapes it. Inside another `transact` it is a savepoint. Serialization failures and broken
 * connections are tried again; whether a broken commit took place is asked of the server.
 */
export async function transact<T>(ctx: TenantCtx, work: (ctx: TxCtx) => Promise<T>): Promise<T> {
  if (ctx.db) return await savepoint({ ...ctx, db: ctx.db }, work);
  for (let attempt = 1;; attempt++) {
    const tried = await once(ctx, work);
    if ("value" in tried) return tried.value;
    if (attempt === ATTEMPTS || !isRetryable(tried.error)) throw refusalOf(tried.error);
    await backoff(attempt);
  }
}

type Tried<T> = { value: T } | { error: unknown };

async function once<T>(ctx: TenantCtx, work: (ctx: TxCtx) => Promise<T>): Promise<Tried<T>> {
  enter(ctx);
  let answer: { value: T; transactionId: string } | undefined;
  let committed = false;
  try {
    const value = await ctx.database.transaction(async (db) => {
      const transactionId = await enterTenant(ctx, db, "read write");
      const value = await work({ ...ctx, db });
      answer = { value, transactionId };
      return value;
    }, "read write");
    committed = true;
    return { value };
  } catch (error) {
    // The answer was lost on the way to or from the commit: the server knows which.
    if (!answer || !isBroken(error)) return { error };
    committed = await settled(ctx.database, answer.transactionId);
    return committed ? { value: answer.value } : { error };
  } finally {
    leave(ctx, committed);
  }
}

/** Within a transaction: what fails takes back only its own part, and what it wanted done after it. */
async function savepoint<T>(ctx: TxCtx, work: (ctx: TxCtx) => Promise<T>): Promise<T> {
  const { committed } = ctx.frame;
  const mark = committed.length;
  try {
    return await ctx.db.transaction((db) => work({ ...ctx, db }));
  } catch (error) {
    committed.splice(mark);
    throw error;
  }
}

/** The same for reading only: the server refuses a write. */
export async function read<T>(ctx: TenantCtx, work: (ctx: TxCtx) => Promise<T>): Promise<T> {
  if (ctx.db) return await work({ ...ctx, db: ctx.db });
  for (let attempt = 1;; attempt++) {
    enter(ctx);
    try {
      return await ctx.database.transaction(async (db) => {
        await enterTenant(ctx, db, "read only");
        return await work({ ...ctx, db });
      }, "read only");
    } catch (error) {
      if (attempt === ATTEMPTS || !isRetryable(error)) throw refusalOf(error);
    } finally {
      leave(ctx, false);
    }
    await backoff(attempt);
  }
}

/**
 * A value from the cache, else from `fill`. Inside a transaction it is read afresh: what is not
 * committed must not be shown to others.
 */
export const cached = <T>(ctx: TenantCtx, place: CachePlace, fill: () => Promise<T>): Promise<T> =>
  ctx.db ? fill() : ctx.cache.get(place, fill);

/** Something to do once the outermost transaction is committed; never if it is not. */
export const afterCommit = (ctx: TxCtx, work: () => void) => void ctx.frame.committed.push(work);

function enter(ctx: TenantCtx) {
  if (ctx.frame.open) {
    throw new Error("A transaction is open on this call: use the ctx that transact or read gives");
  }
  ctx.frame.open = true;
}

function leave(ctx: TenantCtx, committed: boolean) {
  const after = ctx.frame.committed.splice(0);
  ctx.frame.open = false;
  if (!committed) return;
  for (const work of after) {
    try {
      work();
    } catch (error) { // The change is made: what fails after it must not look like its failure.
      ctx.log("error", "failed after a commit", { error: told(error) });
    }
  }
}

/** Everything here is local to the transaction: a pooled session carries nothing to the next. */
async function enterTenant(ctx: TenantCtx, db: Db, access: "read write" | "read only") {
  const role = ctx.database.role;
  const [row] = rowsOf(
    await db.execute(sql`select set_config('app.tenant_id', ${ctx.tenantId}, true),
      set_config('statement_timeout', ${STATEMENT_TIMEOUT}, true)
      ${role ? sql`, set_config('role', ${role}, true)` : sql``}
      ${access === "read write" ? sql`, pg_current_xact_id()::text as transaction_id` : sql``}`),
  );
  return String(row?.transaction_id ?? "");
}
