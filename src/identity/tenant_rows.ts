/**
 * Tenants as a caller sees them: their own, and with `subtree` or `global` reach those below it.
 * Anything else does not exist for them.
 */
import { and, eq, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { statuses, tenantClosure, tenants } from "../../db/schema/identity.ts";
import { afterCommit, type TenantCtx, type TxCtx } from "../context.ts";
import { conflict, Fault } from "../errors.ts";
import { columnsOf, found } from "../rows.ts";
import { publish, record } from "../trail.ts";

export const Tenant = z.object({
  id: z.uuid(),
  parentId: z.uuid().nullable(),
  name: z.string().max(255),
  status: z.enum(statuses),
  isActive: z.boolean(),
  /** It and every tenant above it is active. */
  isOpen: z.boolean(),
  timeZone: z.string().max(64),
  /** False: what is bound above does not reach in. */
  inheritsAccess: z.boolean(),
  metadata: z.record(z.string(), z.unknown()),
  /** How many tenants lie above it. */
  level: z.int(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Tenant" });
export type Tenant = z.infer<typeof Tenant>;

export const view = {
  ...columnsOf(tenants, Tenant),
  isActive: sql<boolean>`${tenants.status} = 'active'`,
};

/** The acting tenant itself at any reach but `self`, those below it at `subtree` or `global`. */
export function shown(ctx: TenantCtx): SQL {
  if (ctx.reach === "self") return sql`false`;
  return ctx.reach === "tenant" ? eq(tenants.id, ctx.tenantId) : within(ctx);
}

/** Scalar, so that it is looked up for each row: of `exists` the planner may make a hash of all below. */
const within = ({ tenantId }: TenantCtx) =>
  sql`(select true from ${tenantClosure}
    where ${tenantClosure.tenantId} = ${tenants.id} and ${tenantClosure.ancestorId} = ${tenantId})`;

/** One tenant the caller sees. Throws NotFound for any other, naming the field that asked for it. */
export async function tenantOf(ctx: TxCtx, id: string, field = "id"): Promise<Tenant> {
  const [row] = await ctx.db.select(view).from(tenants).where(and(eq(tenants.id, id), shown(ctx)));
  return row ?? missing(field);
}

function missing(field: string): never {
  throw new Fault("NotFound", "tenant.not_found", "No such tenant", {
    ...(field === "id" ? {} : { fields: [{ field, message: "Give a tenant you may act in" }] }),
  });
}

/** The same for whoever is about to change it: nobody else does until they commit. */
export async function locked(ctx: TxCtx, id: string): Promise<Tenant> {
  const rows = await ctx.db.select(view).from(tenants).where(and(eq(tenants.id, id), shown(ctx)))
    .for("no key update"); // Rows that name the tenant may still be made.
  return found(rows, "tenant");
}

/** Throws Forbidden where a tenant at or above `id`, below the acting one, does not inherit access. */
export async function requireInherited(ctx: TxCtx, id: string): Promise<void> {
  if (id === ctx.tenantId || ctx.reach === "global") return;
  const [row] = rowsOf(
    await ctx.db.execute(sql`select here.barrier_level <= acting.level as reaches
      from tenants here, tenants acting where here.id = ${id} and acting.id = ${ctx.tenantId}`),
  );
  if (row?.reaches === true) return;
  throw new Fault(
    "Forbidden",
    "tenant.not_inheriting",
    "What you hold above does not reach into this tenant: it does not inherit access. " +
      "Ask the tenant's own people, or an operator",
  );
}

export function requireOpen({ isOpen, name }: Tenant): void {
  if (isOpen) return;
  throw conflict(
    "tenant.not_open",
    `${name} or a tenant above it is suspended or closed: activate it first`,
  );
}

/** Writes down and tells what was done to a tenant, in the trail of the tenant acted in. */
export async function note(
  ctx: TxCtx,
  action: string,
  before: Tenant | null,
  after: Tenant,
  data: Record<string, unknown>,
): Promise<void> {
  const { id: subjectId, name, parentId } = after;
  await record(ctx, { action, subjectType: "tenant", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/tenants",
    subjectId,
    data: { tenantId: subjectId, name, parentId, ...data },
  });
}

/** Once it is committed, this process asks anew who may do what there and below; the others within seconds. */
export const noticed = (ctx: TxCtx): void => afterCommit(ctx, () => ctx.cache.movedAnywhere());
