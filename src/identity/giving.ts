/**
 * Rights that count in several tenants at once: who may give them, and who may take them away. What
 * counts below is held by whoever holds it here as far as `subtree`, however many tenants there are
 * and whether they are open now; where inheritance is stopped it must be held in that very tenant.
 */
import { eq, inArray } from "drizzle-orm";
import { tenants } from "../../db/schema/identity.ts";
import { covers } from "../access/permissions.ts";
import { systemRoles } from "../access/roles.ts";
import type { Grants, TenantCtx, TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { heldAt, requireHeld, type Rights } from "./authority.ts";

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

/** The tenants of these that are open and those that inherit from here. */
async function placesOf(ctx: TxCtx, ids: string[]) {
  const rows = await ctx.db
    .select({ id: tenants.id, isOpen: tenants.isOpen, barrierLevel: tenants.barrierLevel })
    .from(tenants).where(inArray(tenants.id, ids));
  const [here] = await ctx.db.select({ level: tenants.level }).from(tenants)
    .where(eq(tenants.id, ctx.tenantId));
  const level = here?.level ?? 0;
  return {
    open: new Set(rows.filter(({ isOpen }) => isOpen).map(({ id }) => id)),
    stopped: new Set(rows.filter((row) => row.barrierLevel > level).map(({ id }) => id)),
  };
}

/** Throws Forbidden unless the actor holds all that is given; `field` is to blame. */
export async function requireToGive(
  ctx: TxCtx,
  all: readonly Rights[],
  field: string,
): Promise<void> {
  const given = weighed(ctx, all);
  const here = given.filter(({ tenantId }) => tenantId === ctx.tenantId);
  const below = given.filter(({ tenantId }) => tenantId !== ctx.tenantId);
  if (below.length === 0) return await requireHeld(ctx, here, field);
  const { open, stopped } = await placesOf(ctx, below.map(({ tenantId }) => tenantId));
  const held = await heldAt(ctx, ctx.tenantId);
  const left = below.flatMap((rights) => {
    const { tenantId } = rights;
    if (stopped.has(tenantId)) return [rights];
    const grants = reachingDown(rights.grants);
    if (covers(held, grants)) return [];
    return [open.has(tenantId) ? rights : { tenantId: ctx.tenantId, grants }];
  });
  await requireHeld(ctx, [...here, ...left], field);
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
