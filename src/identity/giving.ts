/**
 * Rights that count in several tenants at once: who may give them, and who may take them away. What
 * counts below is held by whoever holds it here as far as `subtree`, however many tenants there are
 * and whether they are open now; where inheritance is stopped it must be held in that very tenant.
 */
import { and, eq, gt, inArray } from "drizzle-orm";
import { tenants } from "../../db/schema/identity.ts";
import { covers } from "../access/permissions.ts";
import { systemRoles } from "../access/roles.ts";
import type { Grants, TenantCtx, TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { type End, heldAt, requireHeld, type Rights } from "./authority.ts";

const reachingDown = (grants: Grants): Grants =>
  Object.fromEntries(
    Object.entries(grants).map(([p, reach]) => [p, reach === "global" ? reach : "subtree"]),
  );

/**
 * Without what every member may do with their own things: one has such things at home alone, so
 * that elsewhere it opens nothing, and who comes from elsewhere cannot hold it here.
 */
const beyondOneself = (grants: Grants): Grants =>
  Object.fromEntries(
    Object.entries(grants).filter(([p, reach]) =>
      reach !== "self" || !covers(systemRoles.member ?? {}, { [p]: reach })
    ),
  );

/** The rights of these that must be held, in the tenants they count in. */
const weighed = ({ tenantId: here, actor }: TxCtx, all: readonly Rights[]): Rights[] =>
  all.map(({ tenantId, grants }) => ({
    tenantId,
    grants: tenantId === here && actor.tenantId === here ? grants : beyondOneself(grants),
  }));

/** The tenants of these that inherit nothing from here. */
export async function stoppedOf(ctx: TxCtx, ids: string[]): Promise<Set<string>> {
  const [here] = await ctx.db.select({ level: tenants.level }).from(tenants)
    .where(eq(tenants.id, ctx.tenantId));
  const rows = await ctx.db.select({ id: tenants.id }).from(tenants)
    .where(and(inArray(tenants.id, ids), gt(tenants.barrierLevel, here?.level ?? 0)));
  return new Set(rows.map(({ id }) => id));
}

/**
 * Throws Forbidden unless the actor holds all that is given, and for as long as it is given; `field`
 * is to blame. What is given has no end unless `end` says when.
 */
export const requireToGive = (
  ctx: TxCtx,
  all: readonly Rights[],
  field: string,
  end: End = null,
): Promise<void> => requireAll(ctx, all, field, end);

/** Throws Forbidden unless the actor holds all of it now, for however long; `field` is to blame. */
export const requireNow = (ctx: TxCtx, all: readonly Rights[], field: string): Promise<void> =>
  requireAll(ctx, all, field);

async function requireAll(
  ctx: TxCtx,
  all: readonly Rights[],
  field: string,
  end?: End,
): Promise<void> {
  const given = weighed(ctx, all);
  const below = given.filter(({ tenantId }) => tenantId !== ctx.tenantId);
  if (below.length === 0) return await requireHeld(ctx, given, field, end);
  const stopped = await stoppedOf(ctx, below.map(({ tenantId }) => tenantId));
  const held = await heldAt(ctx, ctx.tenantId, end);
  const left = given.filter(({ tenantId, grants }) =>
    tenantId === ctx.tenantId || stopped.has(tenantId) || !covers(held, reachingDown(grants))
  );
  await requireHeld(ctx, left, field, end);
}

/** Throws Forbidden unless the actor holds what others are about to lose: nobody strips who stands above. */
export async function requireToTake(ctx: TxCtx, taken: readonly Rights[]): Promise<void> {
  const held = await heldAt(ctx, ctx.tenantId);
  for (const { tenantId, grants } of weighed(ctx, taken)) {
    const isHere = tenantId === ctx.tenantId;
    if (covers(held, isHere ? grants : reachingDown(grants))) continue;
    if (!isHere && covers(await heldAt(ctx, tenantId), grants)) continue;
    throw new Fault(
      "Forbidden",
      "grant.beyond",
      "It gives rights you do not hold yourself: leave it to somebody who does",
    );
  }
}

/** Throws Forbidden where a permission for one's own things is used on what is everybody's. */
export function requireMoreThanSelf({ reach }: TenantCtx): void {
  if (reach !== "self") return;
  throw new Fault(
    "Forbidden",
    "permission.only_self",
    "Your permission is for what is your own, and this is not",
  );
}
