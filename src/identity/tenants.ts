/** Tenants: the isolation boundary, nested without limit. The root tenant is the platform's own. */
import { z } from "zod";
import { tenants } from "../../db/schema/identity.ts";
import { type TenantCtx, transact } from "../context.ts";
import { columnsOf, one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { publish, record } from "../trail.ts";
import { name } from "../words.ts";

export const Tenant = z.object({
  id: z.uuid(),
  parentId: z.uuid().nullable(),
  name: z.string().max(255),
  status: z.enum(["active", "suspended", "closed"]),
  timeZone: z.string().max(64),
  createdAt: z.date(),
  updatedAt: z.date(),
});
type Tenant = z.infer<typeof Tenant>;
const view = columnsOf(tenants, Tenant);

export const Create = z.strictObject({ name: name("the tenant's name") });

/** Makes a tenant directly below the caller's. */
export function create(ctx: TenantCtx, { name }: z.infer<typeof Create>) {
  return transact(ctx, async (ctx) => {
    const { tenantId: parentId } = ctx;
    const made = one(await ctx.db.insert(tenants).values({ name, parentId }).returning(view));
    await record(ctx, {
      action: "tenant.created",
      subjectType: "tenant",
      subjectId: made.id,
      before: null,
      after: made,
    });
    await publish(ctx, {
      type: "tenant.created",
      source: "/tenants",
      subjectId: made.id,
      data: { name, parentId },
    });
    return made;
  });
}

/** Makes the root tenant where there is none; answers whether it did. */
export function foundRoot(ctx: TenantCtx, name: string): Promise<boolean> {
  return transact({ ...ctx, tenantId: ROOT_TENANT }, async (ctx) => {
    const made = await ctx.db.insert(tenants).values({ id: ROOT_TENANT, name })
      .onConflictDoNothing().returning({ id: tenants.id });
    return made.length > 0;
  });
}
