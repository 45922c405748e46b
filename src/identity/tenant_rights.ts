/**
 * A tenant's place gives rights over it: whoever holds a role above reaches in. So whoever changes
 * the place, or lets rights from above in again, must hold what others come to hold by it.
 */
import { sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { offeredBy } from "../access/roles.ts";
import type { TxCtx } from "../context.ts";
import { requireNow } from "./giving.ts";

/** One row of `rights_gained`. */
const Gained = z.object({
  tenant_id: z.string(),
  system_role: z.string().nullable(),
  permission: z.string().nullable(),
  reach: z.string().nullable(),
  is_root: z.boolean(),
  counts: z.array(z.string()),
});

function rightsOf(ctx: TxCtx, gained: z.infer<typeof Gained>) {
  const { tenant_id: tenantId, system_role: systemRole, permission, reach, is_root, counts } =
    gained;
  const offered = offeredBy(
    {
      ...{ systemRole, permission, reach },
      ...{ depth: 0, passes: true, isCurrent: true, isActive: true, untilMs: null },
    },
    is_root,
    (what) => ctx.log("warn", "a binding names what does not exist", { what }),
  );
  return {
    tenantId,
    grants: Object.fromEntries(offered.filter(([, reach]) => counts.includes(reach))),
  };
}

/** Where a tenant would lie, and whether what is bound above would reach in. */
export type Place = { id: string; parentId: string | null; inheritsAccess: boolean };

/**
 * Throws Forbidden unless the actor holds what anybody would come to hold in a tenant, or below it,
 * by its new place; `field` is to blame.
 */
export async function requireGained(ctx: TxCtx, place: Place, field: string): Promise<void> {
  const { id, parentId, inheritsAccess } = place;
  const answer = await ctx.db.execute(
    sql`select * from rights_gained(${id}::uuid, ${parentId}::uuid, ${inheritsAccess}::boolean)`,
  );
  const rows = z.array(Gained).parse(rowsOf(answer));
  await requireNow(ctx, rows.map((gained) => rightsOf(ctx, gained)), field);
}
