/**
 * Guessing a password: how often one may try, and when an account closes itself for a while. Nobody
 * can shut somebody else out: who signed in from a network before is let through from there.
 */
import { and, eq, sql } from "drizzle-orm";
import { userSecurity } from "../../db/schema/identity.ts";
import { digestOf, networkOf } from "../access/networks.ts";
import { asSystem, callerAddress, type Ctx, transact, type TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import type { Limit } from "../limits/limiter.ts";
import { publish, record } from "../trail.ts";

const perNetwork = { name: "sign-in-address", max: 30, windowSeconds: 60 };
const perEmailHere = { name: "sign-in-email-here", max: 10, windowSeconds: 60 };
/** From all networks together. Who is known where they are is not held up by what others do. */
const perEmail = { name: "sign-in-email", max: 10, windowSeconds: 60 };
const perUser = { name: "sign-in-own", max: 10, windowSeconds: 60 };
const whileLocked = { name: "sign-in-locked", max: 5, windowSeconds: 900 };

const LOCK_AFTER = 10;
const FIRST_LOCK_MS = 30_000;
const LONGEST_LOCK_MS = 3600_000;
/** Wrong tries this far back are forgotten. */
const FORGET_MS = 24 * 3600_000;

const tooOften = (retryAfterSeconds: number) =>
  new Fault("RateLimited", "sign_in.too_often", "Too many attempts: wait a moment", {
    retryAfterSeconds,
  });

function take(ctx: Ctx, limit: Limit, key: string) {
  const { allowed, resetSeconds } = ctx.limiter.take(limit, key);
  if (!allowed) throw tooOften(resetSeconds);
}

/** Throws RateLimited. */
export function slowDown(ctx: Ctx, email: string) {
  const network = networkOf(callerAddress(ctx));
  take(ctx, perNetwork, digestOf(network));
  take(ctx, perEmailHere, digestOf(email, network));
}

/** The same for who never signed in from where they are. An unknown e-mail is known nowhere. */
export function slowStrangersDown(ctx: Ctx, email: string) {
  take(ctx, perEmail, digestOf(email));
}

/**
 * A try of somebody who is signed in and proves themselves once more: limited and counted like one
 * at the door. Throws RateLimited, also while their account is closed.
 */
export async function takeOwnTry(ctx: Ctx, who: { tenantId: string; userId: string }) {
  take(ctx, perUser, digestOf(who.tenantId, who.userId));
  const taken = await takeTry(ctx, { ...who, isKnown: true });
  if (!taken) throw tooOften(Math.ceil(FIRST_LOCK_MS / 1_000));
  return taken;
}

/** Whether one of `addresses` is of the caller's network. */
export function isKnownHere(ctx: Ctx, addresses: readonly string[]): boolean {
  const network = networkOf(callerAddress(ctx));
  return network !== "unknown" && addresses.some((address) => networkOf(address) === network);
}

export type Tried = { tenantId: string; userId: string; isKnown: boolean };

/** A try that may be looked at, and what it has done to the count. */
export type Try = { tried: Tried; isCounted: boolean; lockedUntil: Date | null };

const own = ({ tenantId, userId }: Omit<Tried, "isKnown">) =>
  and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId));

/**
 * Counts a try before its password or code is looked at, so that guesses sent at once are counted
 * like those sent in turn; null when it may not be looked at. The tenth closes the account, unless it
 * turns out to be right. What is tried while it is closed neither counts nor keeps it closed.
 */
export function takeTry(ctx: Ctx, tried: Tried): Promise<Try | null> {
  return transact(asSystem(ctx, tried.tenantId), async (tx) => {
    const [held] = await tx.db.select({
      failed: userSecurity.failedSignIns,
      lockedUntil: userSecurity.lockedUntil,
      updatedAt: userSecurity.updatedAt,
    }).from(userSecurity).where(own(tried)).for("update");
    if (!held) return null;
    const nowMs = ctx.now().getTime();
    if (held.lockedUntil && held.lockedUntil.getTime() > nowMs) {
      const key = digestOf(tried.userId, networkOf(callerAddress(ctx)));
      const isLetThrough = tried.isKnown && ctx.limiter.take(whileLocked, key).allowed;
      return isLetThrough ? { tried, isCounted: false, lockedUntil: null } : null;
    }
    const isOld = nowMs - held.updatedAt.getTime() > FORGET_MS;
    const failed = isOld ? 1 : Math.min(held.failed + 1, 1_000);
    const lockedUntil = failed < LOCK_AFTER ? null : new Date(nowMs + lockMs(failed));
    await tx.db.update(userSecurity).set({ failedSignIns: failed, lockedUntil }).where(own(tried));
    if (lockedUntil) await noteLock(tx, tried.userId, failed, lockedUntil);
    return { tried, isCounted: true, lockedUntil };
  });
}

/**
 * The try was neither right nor wrong: a right password that stands alone where more is asked. It no
 * longer counts, and those before it still do; or else whoever has the password could wipe out
 * their guesses at the code with it.
 */
export async function takeBack(ctx: Ctx, { tried, isCounted, lockedUntil }: Try): Promise<void> {
  if (!isCounted) return;
  const left = sql`greatest(${userSecurity.failedSignIns} - 1, 0)`;
  await transact(asSystem(ctx, tried.tenantId), (tx) =>
    tx.db.update(userSecurity).set({
      failedSignIns: left,
      lockedUntil: sql`case when ${left} < ${LOCK_AFTER}
        or ${userSecurity.lockedUntil} = ${lockedUntil?.toISOString() ?? null}::timestamptz
        then null else ${userSecurity.lockedUntil} end`,
    }).where(own(tried)));
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

/** Everything asked for was right: what was tried before it no longer counts. */
export async function forget(ctx: TxCtx, userId: string) {
  const { tenantId } = ctx;
  await ctx.db.update(userSecurity).set({ failedSignIns: 0, lockedUntil: null })
    .where(own({ tenantId, userId }));
}
