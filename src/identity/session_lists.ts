/**
 * Where somebody is signed in: the sessions as their owner, or whoever runs the tenant, sees them and
 * ends them; and single tokens, ended before their time (after RFC 7009).
 */
import { and, desc, eq, gt, isNull, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { revokedTokens, sessions, users } from "../../db/schema/identity.ts";
import { readRefreshToken, type RefreshToken } from "../access/refresh_tokens.ts";
import type { Issued } from "../access/tokens.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { invalid } from "../errors.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { moved, publish, record } from "../trail.ts";
import { endSession, endSessionsOf, ownUser, type Reason } from "./sessions.ts";
import { requireAbove } from "./users.ts";

export const Session = z.object({
  id: z.uuid(),
  ownerUserId: z.uuid(),
  userAgent: z.string().max(512).nullable(),
  address: z.string().max(64).nullable(),
  createdAt: z.date(),
  lastUsedAt: z.date(),
  expiresAt: z.date(),
  revokedAt: z.date().nullable(),
  revokedFor: z.string().max(32).nullable(),
  isCurrent: z.boolean(),
}).meta({ id: "Session" });
type Row = Omit<z.infer<typeof Session>, "isCurrent">;
const view = { ...columnsOf(sessions, Session), lastUsedAt: sessions.rotatedAt };

const shown = ({ principal }: TenantCtx, row: Row): z.infer<typeof Session> => ({
  ...row,
  isCurrent: row.id === principal?.sessionId,
});

/** Nobody of another tenant has a session here. */
const ownedBy = (userId: string | null) =>
  userId === null ? sql`false` : eq(sessions.ownerUserId, userId);

/** With `self` reach only one's own. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(sessions.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(sessions.id, id),
    ctx.reach === "self" ? ownedBy(ctx.userId) : undefined,
  );

export const List = z.strictObject({
  ...page,
  userId: z.uuid("Give a user's id").optional(),
  isActive: z.boolean().optional(),
});
export const Listed = z.object({ sessions: z.array(Session).max(100), nextCursor });

/** Sessions, the newest first; `isActive` leaves out those that have ended. */
export function list(ctx: TenantCtx, { cursor, limit, userId, isActive }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const holds = and(isNull(sessions.revokedAt), gt(sessions.expiresAt, ctx.now()));
    const rows = await ctx.db.select(view).from(sessions)
      .where(and(
        own(ctx),
        cursor ? lt(sessions.id, cursor) : undefined,
        userId ? eq(sessions.ownerUserId, userId) : undefined,
        isActive === undefined ? undefined : isActive ? holds : sql`not (${holds})`,
      ))
      .orderBy(desc(sessions.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { sessions: items.map((row) => shown(ctx, row)), nextCursor };
  });
}

export const Revoke = z.strictObject({ id: z.uuid() });

/** Ends a session; within seconds no process takes a token of it. */
export function revoke(ctx: TenantCtx, { id }: z.infer<typeof Revoke>) {
  return transact(ctx, async (ctx) => {
    const before = found(await ctx.db.select(view).from(sessions).where(own(ctx, id)), "session");
    if (before.revokedAt) return shown(ctx, before);
    if (before.ownerUserId !== ctx.userId) await requireAbove(ctx, before.ownerUserId);
    await endSession(ctx, id, before.ownerUserId, "revoked");
    return shown(
      ctx,
      found(await ctx.db.select(view).from(sessions).where(own(ctx, id)), "session"),
    );
  });
}

export const Ended = z.object({ ended: z.int().min(0) });

export const RevokeAll = z.strictObject({ userId: z.uuid("Give a user's id") });

/** Ends every session of a user, by whoever runs their tenant or by themselves. */
export function revokeAll(ctx: TenantCtx, { userId }: z.infer<typeof RevokeAll>) {
  return transact(ctx, async (ctx) => {
    const rows = await ctx.db.select({ id: users.id }).from(users).where(and(
      eq(users.tenantId, ctx.tenantId),
      eq(users.id, userId),
      ctx.reach === "self" ? eq(users.id, ctx.userId ?? sql`null`) : undefined,
    ));
    found(rows, "user");
    if (userId !== ctx.userId) await requireAbove(ctx, userId);
    return await endAll(ctx, userId, "revoked");
  });
}

export const SignOutEverywhere = z.strictObject({ exceptCurrent: z.boolean().default(false) });

/** Ends all of one's own sessions; `exceptCurrent`: but the one that asks. */
export function signOutEverywhere(
  ctx: TenantCtx,
  { exceptCurrent }: z.infer<typeof SignOutEverywhere>,
) {
  const userId = ownUser(ctx);
  const but = exceptCurrent ? ctx.principal?.sessionId : null;
  return transact(ctx, (ctx) => endAll(ctx, userId, "signed_out", but));
}

async function endAll(ctx: TxCtx, userId: string, revokedFor: Reason, but?: string | null) {
  const ended = await endSessionsOf(ctx, userId, revokedFor, but);
  if (ended === 0) return { ended };
  await note(ctx, "user.signed_out", "user", userId, { userId, ended, revokedFor });
  return { ended };
}

export const RevokeToken = z.strictObject({
  token: z.string().min(1, "Give an access or a refresh token").max(4096),
});

/**
 * Ends one token of the caller's own: an access token by itself, a refresh token with its session.
 * What is no token of theirs is passed over in silence, as RFC 7009 (2.2) has it.
 */
export async function revokeToken(ctx: TenantCtx, { token }: z.infer<typeof RevokeToken>) {
  const userId = ownUser(ctx);
  if (token.startsWith("sb_")) {
    throw invalid("token", "This is an API key: revoke it by its id, under /api-keys");
  }
  const refresh = readRefreshToken(token);
  if (refresh) return await endByToken(ctx, userId, refresh);
  const issued = await ctx.tokens.read(token, ctx.now());
  const isOwn = issued?.whose.home === ctx.tenantId && issued.whose.subject === userId;
  if (isOwn) await transact(ctx, (ctx) => endToken(ctx, userId, issued));
}

async function endByToken(ctx: TenantCtx, userId: string, token: RefreshToken) {
  if (token.tenantId !== ctx.tenantId) return;
  await transact(ctx, async (ctx) => {
    const [held] = await ctx.db.select({ refreshKey: sessions.refreshKey }).from(sessions)
      .where(and(
        eq(sessions.tenantId, ctx.tenantId),
        eq(sessions.id, token.sessionId),
        eq(sessions.ownerUserId, userId),
      ));
    if (!held) return;
    const place = at(sessions.refreshKey, token.sessionId);
    const refreshKey = await ctx.secrets.open(ctx, place, held.refreshKey);
    if (!token.isSignedWith(refreshKey.reveal())) return;
    await endSession(ctx, token.sessionId, userId, "revoked");
  });
}

async function endToken(ctx: TxCtx, userId: string, { id, expiresAt }: Issued) {
  await moved(ctx, "access");
  const made = await ctx.db.insert(revokedTokens).values({
    id,
    tenantId: ctx.tenantId,
    ownerUserId: userId,
    // Longer than the token holds anywhere, whichever clock runs ahead.
    expiresAt: new Date((expiresAt + 600) * 1000),
  }).onConflictDoNothing().returning({ id: revokedTokens.id });
  if (made.length > 0) await note(ctx, "access_token.revoked", "access_token", id, { userId });
}

async function note(
  ctx: TxCtx,
  action: string,
  subjectType: string,
  subjectId: string,
  after: Record<string, unknown>,
) {
  await record(ctx, { action, subjectType, subjectId, before: null, after });
  await publish(ctx, { type: action, source: "/sessions", subjectId, data: after });
}
