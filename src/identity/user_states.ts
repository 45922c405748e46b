/** Whether somebody may act at all: deactivating ends everything they are signed in with, for good. */
import { and, eq, isNull } from "drizzle-orm";
import { z } from "zod";
import { apiKeys } from "../../db/schema/access.ts";
import { sessions, users } from "../../db/schema/identity.ts";
import { type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { one } from "../rows.ts";
import { changingAccess } from "./authority.ts";
import { requireAnotherOwner } from "./role_bindings.ts";
import {
  closeResets,
  heldUser,
  noteUser,
  ownUser,
  requireAbove,
  type User,
  userView,
} from "./users.ts";

export const Deactivate = z.strictObject({ id: z.uuid() });

/** Shuts a user out: their sessions end, their keys are revoked. The last owner of a tenant stays. */
export function deactivate(ctx: TenantCtx, { id }: z.infer<typeof Deactivate>): Promise<User> {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await heldUser(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (!before.isActive) return before;
    await requireAbove(ctx, id);
    await requireAnotherOwner(ctx, { userId: id });
    const after = await become(ctx, id, "suspended");
    await closeResets(ctx, id);
    const sessionsEnded = await endSessions(ctx, id, "deactivated");
    const apiKeysRevoked = await revokeKeys(ctx, id);
    const ended = { sessionsEnded, apiKeysRevoked };
    await noteUser(ctx, "user.deactivated", before, { ...after, ...ended }, ended);
    return after;
  });
}

export const Activate = z.strictObject({ id: z.uuid() });

/** Lets a user back in. Neither sessions nor keys come back. */
export function activate(ctx: TenantCtx, { id }: z.infer<typeof Activate>): Promise<User> {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await heldUser(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (before.isActive) return before;
    if (before.status === "closed") {
      throw conflict("user.closed", "A closed user does not come back: make a new one");
    }
    await requireAbove(ctx, id);
    const after = await become(ctx, id, "active");
    await noteUser(ctx, "user.activated", before, after);
    return after;
  });
}

const become = async (ctx: TxCtx, id: string, status: User["status"]): Promise<User> =>
  one(await ctx.db.update(users).set({ status }).where(ownUser(ctx, id)).returning(userView));

/** Ends every session of a user; answers how many. Their tokens hold until the access epoch moves. */
export async function endSessions(ctx: TxCtx, userId: string, revokedFor: string) {
  const ended = await ctx.db.update(sessions).set({ revokedAt: ctx.now(), revokedFor }).where(and(
    eq(sessions.tenantId, ctx.tenantId),
    eq(sessions.ownerUserId, userId),
    isNull(sessions.revokedAt),
  )).returning({ id: sessions.id });
  return ended.length;
}

async function revokeKeys(ctx: TxCtx, userId: string): Promise<number> {
  const revoked = await ctx.db.update(apiKeys).set({ revokedAt: ctx.now() }).where(and(
    eq(apiKeys.tenantId, ctx.tenantId),
    eq(apiKeys.ownerUserId, userId),
    isNull(apiKeys.revokedAt),
  )).returning({ id: apiKeys.id });
  return revoked.length;
}
