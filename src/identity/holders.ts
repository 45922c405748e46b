/**
 * Who holds an account. Where somebody else had a hand in how its person signs in, and where its
 * e-mail is first shown to be theirs, what was opened before may be another's: it is over, and the
 * accounts they connected are closed until they connect them again.
 */
import { and, arrayOverlaps, eq, isNull, sql } from "drizzle-orm";
import { apiKeys } from "../../db/schema/access.ts";
import { users } from "../../db/schema/identity.ts";
import { userIdentities } from "../../db/schema/sign_in.ts";
import { personal } from "../access/roles.ts";
import type { TxCtx } from "../context.ts";
import { moved } from "../trail.ts";
import { endSessionsOf } from "./sessions.ts";

/** What came to an end, as the trail tells it. */
export type Ended = { sessionsEnded: number; apiKeysNarrowed?: number };

const own = (ctx: TxCtx, userId: string) =>
  and(eq(users.tenantId, ctx.tenantId), eq(users.id, userId));

const next = sql`${users.holderVersion} + 1`;

/** Somebody else took a user's second factor off. Their keys stay as they are: nobody has read one. */
export async function closeAccounts(ctx: TxCtx, userId: string): Promise<Ended> {
  const sessionsEnded = await endSessionsOf(ctx, userId, "second_factor_reset");
  await moved(ctx, "bindings");
  await ctx.db.update(users).set({ holderVersion: next }).where(own(ctx, userId));
  return { sessionsEnded };
}

/**
 * Somebody else gave a user another e-mail: whoever reads it may sign in from now on. A provider's
 * subject is them again once the provider names that e-mail.
 */
export async function handOver(ctx: TxCtx, userId: string): Promise<Ended> {
  const sessionsEnded = await endSessionsOf(ctx, userId, "email_changed");
  await moved(ctx, "bindings");
  await ctx.db.update(users).set({ holderVersion: next, isEmailShown: false })
    .where(own(ctx, userId));
  await ctx.db.update(userIdentities).set({ isDoubted: true }).where(and(
    eq(userIdentities.tenantId, ctx.tenantId),
    eq(userIdentities.ownerUserId, userId),
  ));
  return { sessionsEnded, apiKeysNarrowed: await narrowKeys(ctx, userId) };
}

/** Somebody has shown that a user's e-mail is theirs. Null: it was shown before, and nothing ends. */
export async function showEmail(ctx: TxCtx, userId: string): Promise<Ended | null> {
  const [shown] = await ctx.db.update(users).set({ holderVersion: next, isEmailShown: true })
    .where(and(own(ctx, userId), eq(users.isEmailShown, false))).returning({ id: users.id });
  if (!shown) return null;
  const sessionsEnded = await endSessionsOf(ctx, userId, "email_shown");
  await moved(ctx, "bindings");
  return { sessionsEnded, apiKeysNarrowed: await narrowKeys(ctx, userId) };
}

/** Keys go on without what acts as the person: another may have made them. */
async function narrowKeys(ctx: TxCtx, userId: string): Promise<number> {
  const left = personal.reduce(
    (scopes, permission) => sql`array_remove(${scopes}, ${permission})`,
    sql`${apiKeys.scopes}`,
  );
  const narrowed = await ctx.db.update(apiKeys).set({ scopes: left }).where(and(
    eq(apiKeys.tenantId, ctx.tenantId),
    eq(apiKeys.ownerUserId, userId),
    isNull(apiKeys.revokedAt),
    arrayOverlaps(apiKeys.scopes, [...personal]),
  )).returning({ id: apiKeys.id });
  return narrowed.length;
}
