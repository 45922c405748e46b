/**
 * Bindings: the accounts people connected at outside platforms.
 *
 * A binding is active, expiring (its token could not be renewed yet), needs_reauth (only the person
 * can mend it) or revoked. Its tokens never leave but through `accessToken`, which is written down.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { bindingStates, userPlatformBindings as table } from "../../db/schema/platforms.ts";
import { cached, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { found, given, one } from "../rows.ts";
import type { Secret } from "../secrets/secret.ts";
import { metadata } from "../words.ts";
import * as rows from "./binding_rows.ts";
import { type Provider, providerOf, revokeAtProvider } from "./provider_client.ts";
import { refresh, type Timing, usual } from "./refresh.ts";

export { Binding } from "./binding_rows.ts";

export const Get = z.strictObject({ id: z.uuid() });

/** One binding, from the cache when it is there; under `self` only one's own. */
export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<rows.Binding> {
  const viewer = ctx.reach === "self" ? ctx.userId : "all";
  const place = { tenantId: ctx.tenantId, topic: "bindings", key: `${id}/${viewer}` };
  return cached(ctx, place, () =>
    read(ctx, async (ctx) => {
      const seen = and(rows.own(ctx, id), rows.mine(ctx));
      return found(await ctx.db.select(rows.bindingView).from(table).where(seen), "binding");
    }));
}

export const AccessToken = z.strictObject({ id: z.uuid() });
export const Token = z.object({
  bindingId: z.uuid(),
  accessToken: z.string().max(65_536),
  tokenType: z.literal("Bearer"),
  expiresAt: z.date().nullable(),
  scopes: z.array(z.string().max(255)).max(100),
});

/** A token that holds, renewed first when it is due. */
export async function accessToken(
  ctx: TenantCtx,
  { id }: z.infer<typeof AccessToken>,
  timing: Timing = usual,
) {
  const { row, token } = await use(ctx, id, { action: "binding.token_read" }, timing);
  return {
    bindingId: row.id,
    accessToken: token.reveal(),
    tokenType: "Bearer" as const,
    expiresAt: row.tokenExpiry,
    scopes: row.scopes,
  };
}

/** What a token is used for, as the trail tells it. */
export type Use = { action: string; data?: Record<string, unknown> };
export type Used = { row: rows.SealedBinding; token: Secret };

const ROUNDS = 3;

/** Reads a token that holds and writes down what for, in one transaction; refreshes it when due. */
export async function use(ctx: TenantCtx, id: string, what: Use, timing: Timing): Promise<Used> {
  for (let round = 1; round <= ROUNDS; round++) {
    const taken = await take(ctx, id, what, round > 1);
    if ("token" in taken) return taken;
    await refresh(ctx, taken.due, timing);
  }
  throw new Fault("Unavailable", "binding.refreshing", "The token ends faster than it is renewed", {
    retryAfterSeconds: 1,
  });
}

type Taken = Used | { due: { id: string; tokenVersion: number; isGood: boolean } };

const take = (ctx: TenantCtx, id: string, what: Use, wasRefreshed: boolean) =>
  transact(ctx, async (ctx): Promise<Taken> => {
    const row = await usable(ctx, id);
    const { tokenVersion, accessToken } = row;
    const now = ctx.now().getTime();
    const isGood = accessToken !== null && (row.tokenExpiry?.getTime() ?? Infinity) > now;
    const isDue = row.refreshToken !== null && now >= dueAt(row) && !wasRefreshed;
    if (!isGood || isDue) return { due: { id, tokenVersion, isGood } };
    await rows.tell(ctx, what.action, row, {
      ...what.data ? { after: what.data, data: what.data } : {},
    });
    return { row, token: await rows.openAccessToken(ctx, id, accessToken) };
  });

const MARGIN_MS = 60_000;

/** When a token is renewed: a minute before its end, or a third of its life if that is short. */
function dueAt({ tokenExpiry, refreshedAt, createdAt }: rows.SealedBinding): number {
  if (tokenExpiry === null) return Infinity;
  const lifetime = tokenExpiry.getTime() - (refreshedAt ?? createdAt).getTime();
  return tokenExpiry.getTime() - Math.min(MARGIN_MS, Math.max(0, lifetime / 3));
}

const unusable = (reason: string, message: string) =>
  new Fault("BindingNotUsable", reason, message);

/** A binding whose token may be used: one's own, its service in use, its person not needed. */
export async function usable(ctx: TxCtx, id: string): Promise<rows.SealedBinding> {
  const seen = and(rows.own(ctx, id), rows.mine(ctx));
  const row = found(await ctx.db.select(rows.sealedBinding).from(table).where(seen), "binding");
  if (row.state === "revoked") {
    throw unusable("binding.revoked", "This account is disconnected: connect it again");
  }
  await rows.requireService(ctx, row.platformId, "BindingNotUsable");
  if (row.state === "needs_reauth") {
    const why = row.stateReason === rows.CLOSED
      ? "How its person signs in was changed by somebody else"
      : "The provider wants the person again";
    throw unusable("binding.needs_reauth", `${why}: connect it again`);
  }
  return row;
}

export const Update = z.strictObject({ id: z.uuid(), metadata: metadata.nullish() });

/** Changes the metadata; null clears it. */
export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  return transact(ctx, async (ctx) => {
    const before = rows.viewOf(await rows.locked(ctx, id));
    requireMatch(ctx.ifMatch, before);
    const after = one(
      await ctx.db.update(table).set({
        ...given({ metadata: input.metadata === null ? {} : input.metadata }),
        updatedAt: sql`greatest(clock_timestamp(), ${table.updatedAt} + interval '1 millisecond')`,
      }).where(rows.own(ctx, id)).returning(rows.bindingView),
    );
    const data = { changes: Object.keys(input), updatedBy: ctx.actor.id };
    await rows.note(ctx, "binding.updated", after, { before, after, data });
    return after;
  });
}

export const Revoke = z.strictObject({ id: z.uuid() });

/** Disconnects the account here and then, as well as it goes, at the provider. */
export async function revoke(ctx: TenantCtx, { id }: z.infer<typeof Revoke>) {
  const { after, told } = await transact(ctx, async (ctx) => {
    const before = await rows.locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (before.state === "revoked") return { after: rows.viewOf(before), told: null };
    const told = await lastWords(ctx, before);
    const after = one(
      await ctx.db.update(table).set({
        ...rows.state("revoked"),
        accessToken: null,
        refreshToken: null,
        tokenVersion: sql`${table.tokenVersion} + 1`,
        refreshHolder: null,
        refreshLeaseUntil: null,
        refreshAttempts: 0,
      }).where(rows.own(ctx, id)).returning(rows.bindingView),
    );
    const { userId } = after;
    const data = { revokedBy: ctx.actor.id, externalUserId: after.externalUserId, userId };
    await rows.note(ctx, "binding.revoked", after, {
      before: await rows.trailOf(ctx, before),
      after: { ...after, accessToken: null, refreshToken: null },
      data,
    });
    return { after, told };
  });
  if (told) await revokeAtProvider(ctx, told.provider, told.token);
  return after;
}

/** What to tell the provider: a refresh token ends the grant, an access token at least itself. */
async function lastWords(
  ctx: TxCtx,
  row: rows.SealedBinding,
): Promise<{ provider: Provider; token: Secret } | null> {
  const { id, accessToken, refreshToken } = row;
  if (accessToken === null && refreshToken === null) return null;
  const token = refreshToken !== null
    ? await rows.openRefreshToken(ctx, id, refreshToken)
    : await rows.openAccessToken(ctx, id, accessToken ?? "");
  return { provider: await providerOf(ctx, row), token };
}

export const List = z.strictObject({
  platformId: z.uuid().optional(),
  state: z.enum(bindingStates, `Give one of ${bindingStates.join(", ")}`).optional(),
  userId: z.uuid().optional(),
  ...page,
});
export const Listed = z.object({ bindings: z.array(rows.Binding).max(100), nextCursor });

/** The bindings the caller may see, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const { platformId, state, userId, cursor, limit } = input;
    const found = await ctx.db.select(rows.bindingView).from(table)
      .where(and(
        eq(table.tenantId, ctx.tenantId),
        rows.mine(ctx),
        platformId ? eq(table.platformId, platformId) : undefined,
        state ? eq(rows.stateNow, state) : undefined,
        userId ? eq(table.ownerUserId, userId) : undefined,
        cursor ? lt(table.id, cursor) : undefined,
      ))
      .orderBy(desc(table.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(found, limit);
    return { bindings: items, nextCursor };
  });
}
