/**
 * Rotating a key: another takes over from it with the same owner, name, scopes, networks and expiry,
 * and for a while both hold, so that nothing stops while programs change over.
 */
import { and, desc, eq, inArray } from "drizzle-orm";
import { z } from "zod";
import { apiKeys } from "../../db/schema/access.ts";
import { type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { one } from "../rows.ts";
import {
  type ApiKey,
  copyNetworks,
  Created,
  heldKey,
  insertKey,
  keyView,
  newText,
  note,
  outlivesNot,
  ownKey,
  requireOver,
  requireScopes,
} from "./api_keys.ts";
import { changingAccess } from "./authority.ts";
import { requireAbove } from "./users.ts";

const DAY_SECONDS = 24 * 3600;

export const Rotate = z.strictObject({
  id: z.uuid(),
  overlapSeconds: z.int("Give whole seconds").min(0, "Give 0 or more seconds")
    .max(7 * DAY_SECONDS, "Give at most 7 days, in seconds").default(DAY_SECONDS),
});
export const Rotated = Created.extend({ previousExpiresAt: z.date() });

/** Makes the key that takes over. One key has one successor, unless that is revoked unused. */
export async function rotate(ctx: TenantCtx, { id, overlapSeconds }: z.infer<typeof Rotate>) {
  const text = await newText(ctx);
  return await transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await heldKey(ctx, id);
    refuseDead(before, ctx.now());
    const expiresAt = await expiryToInherit(ctx, before);
    await requireMayPassOn(ctx, before, expiresAt);
    const { ownerUserId, name, scopes } = before;
    const made = { ownerUserId, name, scopes, expiresAt, rotatedFromId: id };
    const created = await insertKey(ctx, text, made);
    await copyNetworks(ctx, id, created.apiKey.id);
    const overlapEnds = new Date(ctx.now().getTime() + overlapSeconds * 1_000);
    const previousExpiresAt = before.expiresAt && before.expiresAt < overlapEnds
      ? before.expiresAt
      : overlapEnds;
    const after = one(
      await ctx.db.update(apiKeys).set({ expiresAt: previousExpiresAt }).where(ownKey(ctx, id))
        .returning(keyView),
    );
    await note(ctx, "api_key.rotated", before, after, { successorId: created.apiKey.id });
    return { ...created, previousExpiresAt };
  });
}

function refuseDead({ revokedAt, expiresAt }: ApiKey, now: Date) {
  if (revokedAt) throw conflict("api_key.revoked", "A revoked key stays revoked: make another");
  if (expiresAt && expiresAt <= now) {
    throw conflict("api_key.expired", "This key has expired: make another");
  }
}

/** A key that was rotated before ends early; the successor that came to nothing tells when it would have. */
async function expiryToInherit(ctx: TxCtx, { id, ownerUserId, expiresAt }: ApiKey) {
  const after = (ids: string[]) =>
    ctx.db.select({ id: apiKeys.id, expiresAt: apiKeys.expiresAt, revokedAt: apiKeys.revokedAt })
      .from(apiKeys).where(and(
        eq(apiKeys.tenantId, ctx.tenantId),
        eq(apiKeys.ownerUserId, ownerUserId),
        inArray(apiKeys.rotatedFromId, ids),
      )).orderBy(desc(apiKeys.id));
  const successors = await after([id]);
  const [last] = successors;
  if (!last) return expiresAt;
  const isFollowed = (await after(successors.map(({ id }) => id))).length > 0;
  if (isFollowed || successors.some(({ revokedAt }) => !revokedAt)) {
    throw conflict("api_key.already_rotated", "Another key took over from this one: rotate that");
  }
  return last.expiresAt;
}

/** A key that rotates itself gets what it had; of any other whoever is shown it must hold all it carries. */
async function requireMayPassOn(ctx: TxCtx, key: ApiKey, expiresAt: Date | null) {
  const { actor, userId } = ctx;
  if (actor.type === "key" && actor.id === key.id) return;
  const isOwn = key.ownerUserId === userId;
  if (!isOwn || actor.type === "key") requireScopes(ctx, key.scopes);
  if (!isOwn) {
    await requireOver(ctx, key.ownerUserId, key.scopes);
    await requireAbove(ctx, key.ownerUserId); // It ends the old one, as revoking does.
  }
  await outlivesNot(ctx, expiresAt);
}
