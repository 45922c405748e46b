/**
 * Guessing a password: how often one may try, and when an account closes itself for a while. Nobody
 * can shut somebody else out: who signed in from a network before is let through from there.
 */
import { and, eq } from "drizzle-orm";
import { userSecurity } from "../../db/schema/identity.ts";
import { digestOf, networkOf } from "../access/networks.ts";
import { asSystem, type Ctx, transact, type TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import type { Limit } from "../limits/limiter.ts";
import { publish, record } from "../trail.ts";

const perNetwork = { name: "sign-in-address", max: 30, windowSeconds: 60 };
const perEmailHere = { name: "sign-in-email-here", max: 10, windowSeconds: 60 };
/** From all networks together. Who is known where they are is not held up by what others do. */
const perEmail = { name: "sign-in-email", max: 10, windowSeconds: 60 };
const whileLocked = { name: "sign-in-locked", max: 5, windowSeconds: 900 };

const LOCK_AFTER = 10;
const FIRST_LOCK_MS = 30_000;
const LONGEST_LOCK_MS = 3600_000;
/** Wrong tries this far back are forgotten. */
const FORGET_MS = 24 * 3600_000;

function take(ctx: Ctx, limit: Limit, key: string) {
  const verdict = ctx.limiter.take(limit, key);
  if (verdict.allowed) return;
  throw new Fault("RateLimited", "sign_in.too_often", "Too many attempts: wait a moment", {
    retryAfterSeconds: verdict.resetSeconds,
  });
}

/** Throws RateLimited. */
export function slowDown(ctx: Ctx, email: string) {
  const network = networkOf(ctx.address);
  take(ctx, perNetwork, digestOf(network));
  take(ctx, perEmailHere, digestOf(email, network));
}

/** The same for who never signed in from where they are. An unknown e-mail is known nowhere. */
export function slowStrangersDown(ctx: Ctx, email: string) {
  take(ctx, perEmail, digestOf(email));
}

/** Whether one of `addresses` is of the caller's network. */
export function isKnownHere(ctx: Ctx, addresses: readonly string[]): boolean {
  const network = networkOf(ctx.address);
  return network !== "unknown" && addresses.some((address) => networkOf(address) === network);
}

export type Tried = { tenantId: string; userId: string; isKnown: boolean };

const own = ({ tenantId, userId }: Tried) =>
  and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId));

/**
 * Counts a try before its password is looked at, so that guesses sent at once are counted like
 * those sent in turn; answers whether it may be looked at. The tenth closes the account, unless it turns
 * out to be right. What is tried while it is closed neither counts nor keeps it closed.
 */
export function takeTry(ctx: Ctx, tried: Tried): Promise<boolean> {
  return transact(asSystem(ctx, tried.tenantId), async (tx) => {
    const [held] = await tx.db.select({
      failed: userSecurity.failedSignIns,
      lockedUntil: userSecurity.lockedUntil,
      updatedAt: userSecurity.updatedAt,
    }).from(userSecurity).where(own(tried)).for("update");
    if (!held) return false;
    const nowMs = ctx.now().getTime();
    if (held.lockedUntil && held.lockedUntil.getTime() > nowMs) {
      const key = digestOf(tried.userId, networkOf(ctx.address));
      return tried.isKnown && ctx.limiter.take(whileLocked, key).allowed;
    }
    const isOld = nowMs - held.updatedAt.getTime() > FORGET_MS;
    const failed = isOld ? 1 : Math.min(held.failed + 1, 1_000);
    const lockedUntil = failed < LOCK_AFTER ? null : new Date(nowMs + lockMs(failed));
    await tx.db.update(userSecurity).set({ failedSignIns: failed, lockedUntil }).where(own(tried));
    if (lockedUntil) await noteLock(tx, tried.userId, failed, lockedUntil);
    return true;
  });
}

const lockMs = (failed: number) =>
  Math.min(LONGEST_LOCK_MS, FIRST_LOCK_MS * 2 ** Math.min(failed - LOCK_AFTER, 20));

async function noteLock(ctx: TxCtx, subjectId: string, failedSignIns: number, lockedUntil: Date) {
  const after = { failedSignIns, lockedUntil };
  await record(ctx, {
    action: "user.locked",
    subjectType: "user",
    subjectId,
    before: null,
    after,
  });
  await publish(ctx, {
    type: "user.locked",
    source: "/users",
    subjectId,
    data: { userId: subjectId, lockedUntil: lockedUntil.toISOString() },
  });
}

/** The password was right: what was tried before it no longer counts. */
export async function forget(ctx: TxCtx, userId: string) {
  const { tenantId } = ctx;
  await ctx.db.update(userSecurity).set({ failedSignIns: 0, lockedUntil: null })
    .where(own({ tenantId, userId, isKnown: true }));
}
