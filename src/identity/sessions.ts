/**
 * Staying signed in: a sign-in opens a session, whose refresh tokens are counted, so that one used
 * twice at once is told from one that was lost and one that was stolen.
 */
import { and, eq, isNull, ne, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { sessions, users } from "../../db/schema/identity.ts";
import {
  countAfter,
  newRefreshToken,
  readRefreshToken,
  type Step,
  stepOf,
} from "../access/refresh_tokens.ts";
import type { Standing } from "../access/standings.ts";
import type { Signing } from "../access/tokens.ts";
import {
  asSystem,
  callerAddress,
  type Ctx,
  type Principal,
  type TenantCtx,
  transact,
  type TxCtx,
} from "../context.ts";
import { Fault } from "../errors.ts";
import { at } from "../secrets/places.ts";
import { moved, publish, record } from "../trail.ts";
import { forget } from "./attempts.ts";
import { standingAt } from "./authority.ts";

const SESSION_MS = 30 * 24 * 3600_000;

export const Tokens = z.object({
  accessToken: z.string().max(4096),
  tokenType: z.literal("Bearer"),
  expiresIn: z.int().min(0).max(86_400),
  refreshToken: z.string().max(512),
  tenantId: z.uuid(),
  userId: z.uuid(),
});

/** A user, by the tenant they live in. */
export type Who = { tenantId: string; userId: string };

/**
 * Opens a session for a user who has proved who they are. `alongside` runs in the same transaction:
 * what it throws leaves no session.
 */
export async function openSession(
  ctx: Ctx,
  { tenantId, userId }: Who,
  alongside: (ctx: TxCtx) => Promise<void> = () => Promise.resolve(),
) {
  const system = asSystem(ctx, tenantId);
  await ctx.secrets.ready(system);
  const id = v7();
  const refreshKey = crypto.getRandomValues(new Uint8Array(32)).toBase64();
  const sealed = await ctx.secrets.seal(system, at(sessions.refreshKey, id), refreshKey);
  const actor = { type: "user", tenantId, id: userId } as const;
  const standing = await transact({ ...system, actor }, async (tx) => {
    await alongside(tx);
    await tx.db.insert(sessions).values({
      id,
      tenantId,
      ownerUserId: userId,
      refreshKey: sealed,
      expiresAt: new Date(ctx.now().getTime() + SESSION_MS),
      userAgent: ctx.userAgent?.slice(0, 512) ?? null,
      address: callerAddress(ctx).slice(0, 64),
    });
    await forget(tx, userId);
    await note(tx, "session.opened", id, userId);
    return await standingAt(tx, { home: tenantId, subject: userId }, tenantId);
  });
  return await issue(ctx, { tenantId, userId, sessionId: id, standing, counter: 0, refreshKey });
}

type Issue = {
  tenantId: string;
  userId: string;
  sessionId: string;
  standing: Standing;
  counter: number;
  refreshKey: string;
};

async function issue(ctx: Ctx, { refreshKey, counter, standing, ...who }: Issue) {
  const { tenantId, userId, sessionId } = who;
  const principal: Principal = {
    ...who,
    actor: { type: "user", tenantId, id: userId },
    grants: standing.grants,
  };
  const { token, expiresInSeconds } = await ctx.tokens.sign(
    principal,
    ctx.now(),
    signingOf(standing),
  );
  return {
    accessToken: token,
    tokenType: "Bearer" as const,
    expiresIn: expiresInSeconds,
    refreshToken: newRefreshToken({ tenantId, sessionId, counter }, refreshKey),
    tenantId,
    userId,
  };
}

/** What a token of somebody who stands so is signed under. */
export const signingOf = ({ homeEpoch, actingEpoch, untilMs, networks }: Standing): Signing => ({
  homeEpoch,
  actingEpoch,
  untilMs,
  isListed: networks.length > 0,
});

export const Refresh = z.strictObject({
  refreshToken: z.string().min(1, "Give the refresh token").max(512),
});

const ended = () =>
  new Fault("Unauthorized", "refresh_token.refused", "Sign in again: this session is over");

type Traded = Omit<Issue, "standing"> & { step: Step; expiresAt: Date };

/**
 * Trades a refresh token for the next; see `stepOf` for one that was used before. One that nobody
 * should have any more ends the session.
 */
export async function refresh(ctx: Ctx, { refreshToken }: z.infer<typeof Refresh>) {
  const token = readRefreshToken(refreshToken);
  if (!token) throw ended();
  const { tenantId, sessionId } = token;
  const traded = await transact(asSystem(ctx, tenantId), async (ctx): Promise<Traded | null> => {
    const held = await heldSession(ctx, sessionId);
    if (!held) return null;
    const place = at(sessions.refreshKey, sessionId);
    const refreshKey = (await ctx.secrets.open(ctx, place, held.refreshKey)).reveal();
    if (!token.isSignedWith(refreshKey)) return null;
    const { ownerUserId: userId } = held;
    const step = stepOf(token.counter, held, ctx.now());
    const count = countAfter(step, token.counter, held, ctx.now());
    if (count) await ctx.db.update(sessions).set({ ...count }).where(own(ctx, sessionId));
    if (step === "reused") await endSession(ctx, sessionId, userId, "reused");
    const { counter } = count ?? held;
    return { tenantId, userId, sessionId, counter, refreshKey, step, expiresAt: held.expiresAt };
  });
  if (!traded) throw ended();
  const { step, expiresAt, ...who } = traded;
  const { requestId } = ctx;
  ctx.log("info", "refresh token presented", { requestId, tenantId, sessionId, step });
  if (step === "reused") throw ended();
  // What is known here will do: a token is looked at anew wherever more is known than it was signed by.
  const whose = { home: tenantId, subject: who.userId, session: sessionId, acting: tenantId };
  const standing = await ctx.standings.of(whose);
  if (!standing.holds) throw ended();
  const untilMs = Math.min(standing.untilMs, expiresAt.getTime());
  return await issue(ctx, { ...who, standing: { ...standing, untilMs } });
}

const own = (ctx: TenantCtx, id: string) =>
  and(eq(sessions.tenantId, ctx.tenantId), eq(sessions.id, id));

/** The session if it still holds: not ended or expired, its user active, its tenants open. */
async function heldSession(ctx: TxCtx, id: string) {
  const [row] = await ctx.db.select({
    ownerUserId: sessions.ownerUserId,
    refreshKey: sessions.refreshKey,
    counter: sessions.counter,
    previousCounter: sessions.previousCounter,
    rotatedAt: sessions.rotatedAt,
    expiresAt: sessions.expiresAt,
    isOpen: sql<boolean>`${users.status} = 'active' and tenant_is_open(${users.tenantId})`,
  }).from(sessions)
    .innerJoin(
      users,
      and(eq(users.tenantId, sessions.tenantId), eq(users.id, sessions.ownerUserId)),
    )
    .where(and(own(ctx, id), isNull(sessions.revokedAt)))
    .for("update", { of: sessions });
  return row && row.isOpen && row.expiresAt > ctx.now() ? row : null;
}

export const SignOut = z.strictObject({});

/** Ends the session of the token that asks, and with it every token of the session. */
export async function signOut(ctx: TenantCtx, _: z.infer<typeof SignOut>) {
  const sessionId = ctx.principal?.sessionId;
  if (!sessionId) return;
  const userId = ownUser(ctx);
  await transact(ctx, (ctx) => endSession(ctx, sessionId, userId, "signed_out"));
}

/**
 * The user who asks, in their own tenant. A token acts in one tenant, and what proves a user lives in
 * theirs: throws Forbidden anywhere else.
 */
export function ownUser({ userId }: TenantCtx): string {
  if (userId !== null) return userId;
  throw new Fault("Forbidden", "session.elsewhere", "Use a token of your own tenant for this");
}

/** Why a session ended. */
export type Reason =
  | "signed_out"
  | "revoked"
  | "reused"
  | "password_changed"
  | "email_changed"
  | "email_shown"
  | "second_factor_reset";

/** Ends one session, and writes that down; nothing when it has ended already. */
export async function endSession(ctx: TxCtx, id: string, userId: string, revokedFor: Reason) {
  await moved(ctx, "access"); // First: whoever changes access takes these two locks in this order.
  const done = await ctx.db.update(sessions).set({ revokedAt: ctx.now(), revokedFor })
    .where(and(own(ctx, id), isNull(sessions.revokedAt))).returning({ id: sessions.id });
  if (done.length === 0) return;
  await note(ctx, "session.ended", id, userId, { revokedFor });
}

/** Ends a user's sessions, `but` one; answers how many. The caller writes down why. */
export async function endSessionsOf(
  ctx: TxCtx,
  userId: string,
  revokedFor: Reason,
  but?: string | null,
): Promise<number> {
  await moved(ctx, "access");
  const done = await ctx.db.update(sessions).set({ revokedAt: ctx.now(), revokedFor })
    .where(and(
      eq(sessions.tenantId, ctx.tenantId),
      eq(sessions.ownerUserId, userId),
      isNull(sessions.revokedAt),
      but ? ne(sessions.id, but) : undefined,
    )).returning({ id: sessions.id });
  return done.length;
}

async function note(
  ctx: TxCtx,
  action: string,
  subjectId: string,
  userId: string,
  more: Record<string, unknown> = {},
) {
  const after = { userId, ...more };
  await record(ctx, { action, subjectType: "session", subjectId, before: null, after });
  await publish(ctx, { type: action, source: "/sessions", subjectId, data: after });
}
