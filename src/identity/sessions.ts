/**
 * Staying signed in: a sign-in opens a session, whose refresh tokens are counted, so that one used
 * twice at once is told from one that was lost and one that was stolen.
 */
import { and, eq, isNull, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { sessions, users } from "../../db/schema/identity.ts";
import { newRefreshToken, readRefreshToken } from "../access/refresh_tokens.ts";
import type { Standing } from "../access/standings.ts";
import type { Signing } from "../access/tokens.ts";
import {
  asSystem,
  type Ctx,
  type Principal,
  type TenantCtx,
  transact,
  type TxCtx,
} from "../context.ts";
import { Fault } from "../errors.ts";
import { moved, publish, record } from "../trail.ts";
import { forget } from "./attempts.ts";
import { standingAt } from "./authority.ts";

const SESSION_MS = 30 * 24 * 3600_000;
/** Two tabs that refresh at once both go on; an older token is a thief's or its victim's. */
const GRACE_MS = 30_000;

export const Tokens = z.object({
  accessToken: z.string().max(4096),
  tokenType: z.literal("Bearer"),
  expiresIn: z.int().min(0).max(86_400),
  refreshToken: z.string().max(512),
  tenantId: z.uuid(),
  userId: z.uuid(),
});

/** Opens a session for a user whose password was right. */
export async function openSession(
  ctx: Ctx,
  { tenantId, userId }: { tenantId: string; userId: string },
) {
  const system = asSystem(ctx, tenantId);
  await ctx.secrets.ready(system);
  const id = v7();
  const refreshKey = crypto.getRandomValues(new Uint8Array(32)).toBase64();
  const place = { table: "sessions", row: id, column: "refresh_key" };
  const sealed = await ctx.secrets.seal(system, place, refreshKey);
  const actor = { type: "user", tenantId, id: userId } as const;
  const standing = await transact({ ...system, actor }, async (tx) => {
    await tx.db.insert(sessions).values({
      id,
      tenantId,
      ownerUserId: userId,
      refreshKey: sealed,
      expiresAt: new Date(ctx.now().getTime() + SESSION_MS),
      userAgent: ctx.userAgent?.slice(0, 512) ?? null,
      address: ctx.address.slice(0, 64),
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

const signingOf = ({ homeEpoch, actingEpoch, untilMs, networks }: Standing): Signing => ({
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

/**
 * Trades a refresh token for the next. The last one used within the grace is answered again; an
 * older one ends the session.
 */
export async function refresh(ctx: Ctx, { refreshToken }: z.infer<typeof Refresh>) {
  const token = readRefreshToken(refreshToken);
  if (!token) throw ended();
  const { tenantId, sessionId } = token;
  const outcome = await transact(asSystem(ctx, tenantId), async (ctx) => {
    const held = await heldSession(ctx, sessionId);
    if (!held) return null;
    const place = { table: "sessions", row: sessionId, column: "refresh_key" };
    const refreshKey = (await ctx.secrets.open(ctx, place, held.refreshKey)).reveal();
    if (!token.isSignedWith(refreshKey)) return null;
    const { ownerUserId: userId } = held;
    const step = stepOf(token.counter, held, ctx.now());
    if (step === "reused") {
      await endSession(ctx, sessionId, userId, "reused");
      return null;
    }
    if (step === "next") {
      await ctx.db.update(sessions)
        .set({ counter: held.counter + 1, rotatedAt: ctx.now() }).where(own(ctx, sessionId));
    }
    const counter = step === "next" ? held.counter + 1 : held.counter;
    const standing = await standingAt(ctx, { home: tenantId, subject: userId }, tenantId);
    return { tenantId, userId, sessionId, standing, counter, refreshKey };
  });
  if (!outcome) throw ended();
  return await issue(ctx, outcome);
}

const own = (ctx: TenantCtx, id: string) =>
  and(eq(sessions.tenantId, ctx.tenantId), eq(sessions.id, id));

/** The session if it still holds: not ended or expired, its user active, its tenants open. */
async function heldSession(ctx: TxCtx, id: string) {
  const [row] = await ctx.db.select({
    ownerUserId: sessions.ownerUserId,
    refreshKey: sessions.refreshKey,
    counter: sessions.counter,
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

function stepOf(counter: number, held: { counter: number; rotatedAt: Date }, now: Date) {
  if (counter === held.counter) return "next";
  const isFresh = now.getTime() - held.rotatedAt.getTime() < GRACE_MS;
  return counter === held.counter - 1 && isFresh ? "again" : "reused";
}

export const SignOut = z.strictObject({});

/** Ends the session of the token that asks, and with it every token of the session. */
export async function signOut(ctx: TenantCtx, _: z.infer<typeof SignOut>) {
  const sessionId = ctx.principal?.sessionId;
  const { userId } = ctx;
  if (!sessionId || userId === null) return;
  await transact(ctx, (ctx) => endSession(ctx, sessionId, userId, "signed_out"));
}

async function endSession(ctx: TxCtx, id: string, userId: string, revokedFor: string) {
  const done = await ctx.db.update(sessions).set({ revokedAt: ctx.now(), revokedFor })
    .where(and(own(ctx, id), isNull(sessions.revokedAt))).returning({ id: sessions.id });
  if (done.length === 0) return;
  await moved(ctx, "access");
  await note(ctx, "session.ended", id, userId, { revokedFor });
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
