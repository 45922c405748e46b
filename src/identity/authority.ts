/**
 * Nobody gives more than they hold. Whoever changes who may do what holds that tenant's lock, looks
 * at what they hold themselves inside the same transaction, and tells every process.
 */
import { sql } from "drizzle-orm";
import { rowsOf } from "../../db/client.ts";
import { covers, narrowed, permissions, union } from "../access/permissions.ts";
import { readStanding } from "../access/standings.ts";
import type { Grants, TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { moved } from "../trail.ts";

/** Rights in one tenant. */
export type Rights = { tenantId: string; grants: Grants };

/**
 * First in a transaction that changes who may do what in the ctx's tenant: such changes come one
 * after the other there, none passes a change of the actor's own rights or of the tree, and what
 * every process knows of access there is out of date once this commits.
 */
export async function changingAccess(ctx: TxCtx): Promise<void> {
  const { tenantId, actor } = ctx;
  const actors = actor.tenantId === tenantId
    ? sql``
    : sql`lock_access_shared(${actor.tenantId}::uuid),`;
  // From left to right: everyone takes the locks in this order.
  await ctx.db.execute(
    sql`select lock_tree_shared(), ${actors} lock_access(${tenantId}::uuid)`,
  );
  await moved(ctx, "access");
}

/** First in a transaction that changes a tenant's place, status or inheritance: alone in the tree. */
export async function changingTree(ctx: TxCtx): Promise<void> {
  await ctx.db.execute(sql`select lock_tree()`);
}

const everything: Grants = Object.fromEntries(permissions.map((p) => [p, "global"]));

/** What the actor may do in a tenant at this moment, whatever their token says. */
export async function heldAt(ctx: TxCtx, tenantId: string): Promise<Grants> {
  const { actor, principal } = ctx;
  if (actor.type === "system") return everything;
  const subject = actor.type === "user" ? actor.id : principal?.userId;
  if (actor.type === "anonymous" || !subject) return {};
  const { grants } = await standingAt(ctx, { home: actor.tenantId, subject }, tenantId);
  return actor.type === "key" ? narrowed(grants, Object.keys(principal?.grants ?? {})) : grants;
}

/** How a user stands in a tenant, read inside the transaction. */
export const standingAt = (
  ctx: TxCtx,
  { home, subject }: { home: string; subject: string },
  acting: string,
) =>
  readStanding(
    async (statement) => rowsOf(await ctx.db.execute(statement)),
    { home, subject, session: null, acting },
    (what) => ctx.log("warn", "a binding names what does not exist", { what }),
  );

/** Throws Forbidden unless the actor holds all of `wanted`, each in its tenant; `field` is to blame. */
export async function requireHeld(
  ctx: TxCtx,
  wanted: readonly Rights[],
  field: string,
): Promise<void> {
  const byTenant = new Map<string, Grants>();
  for (const { tenantId, grants } of wanted) {
    byTenant.set(tenantId, union(byTenant.get(tenantId) ?? {}, grants));
  }
  for (const [tenantId, grants] of byTenant) {
    const held = await heldAt(ctx, tenantId);
    if (covers(held, grants)) continue;
    const beyond = permissions.filter((p) => {
      const reach = grants[p];
      return reach && !covers(held, { [p]: reach });
    });
    const shown = beyond.slice(0, 5).join(", ") + (beyond.length > 5 ? ", …" : "");
    throw new Fault("Forbidden", "grant.beyond", `You do not hold ${shown} that far yourself`, {
      fields: [{ field, message: "Give only what you hold yourself, no farther than you hold it" }],
    });
  }
}
