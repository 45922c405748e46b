/**
 * A tenant's place in the tree, and whether it is open: both are for those above it to say, who hold
 * the right in the tenant it lies in. What happens to it happens to everything below it.
 */
import { and, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { type statuses, tenants } from "../../db/schema/identity.ts";
import { type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { changingTree } from "./authority.ts";
import { requireGained } from "./tenant_rights.ts";
import {
  locked,
  note,
  noticed,
  requireInherited,
  requireOpen,
  shown,
  Tenant,
  tenantOf,
} from "./tenant_rows.ts";

/** More than this is not counted before a tenant is suspended or closed. */
const MOST = 10_000;
const count = z.int().min(0).max(MOST);

/** What a suspension reaches: the tenant and what lies below it. */
export const Reached = z.object({
  tenant: Tenant,
  reached: z.object({
    tenants: count,
    users: count,
    apiKeys: count,
    /** False: a count stopped at 10,000. */
    isComplete: z.boolean(),
  }),
  isDryRun: z.boolean(),
});
type Reached = z.infer<typeof Reached>;

const dryRun = z.boolean().default(false);

export const Suspend = z.strictObject({ id: z.uuid(), dryRun });

/** Shuts a tenant and everything below it until it is activated. `dryRun` only says what that is. */
export const suspend = (ctx: TenantCtx, input: z.infer<typeof Suspend>): Promise<Reached> =>
  shut(ctx, input, "suspended");

export const Close = z.strictObject({
  id: z.uuid(),
  confirm: z.string().max(255, "Give the tenant's name").optional(),
  dryRun,
});

/** Shuts a tenant and everything below it for good. Its name, typed again, says that this is meant. */
export const close = (ctx: TenantCtx, input: z.infer<typeof Close>): Promise<Reached> =>
  shut(ctx, input, "closed");

function shut(
  ctx: TenantCtx,
  { id, dryRun, confirm }: { id: string; dryRun: boolean; confirm?: string | undefined },
  status: "suspended" | "closed",
): Promise<Reached> {
  return transact(ctx, async (ctx) => {
    const before = await placed(ctx, id, status);
    const reached = await extentOf(ctx, id);
    if (before.status === "closed" && status === "suspended") {
      throw conflict("tenant.closed", `${before.name} is closed: there is nothing to suspend`);
    }
    if (dryRun) return { tenant: before, reached, isDryRun: true };
    if (status === "closed" && confirm?.normalize("NFC").trim() !== before.name) {
      throw invalid("confirm", `Give the tenant's name, ${before.name}, to close it for good`);
    }
    const tenant = await turned(ctx, before, status, `tenant.${status}`);
    return { tenant, reached, isDryRun: false };
  });
}

export const Activate = z.strictObject({ id: z.uuid() });

/** Opens a suspended tenant again. What was closed is opened only from above all, with `global` reach. */
export function activate(ctx: TenantCtx, { id }: z.infer<typeof Activate>): Promise<Tenant> {
  return transact(ctx, async (ctx) => {
    const before = await placed(ctx, id, "activated");
    if (before.status === "closed" && ctx.reach !== "global") {
      throw new Fault(
        "Forbidden",
        "tenant.closed",
        `${before.name} is closed: only an operator, with global reach, opens it again`,
      );
    }
    return await turned(ctx, before, "active", "tenant.activated");
  });
}

export const Move = z.strictObject({ id: z.uuid(), parentId: z.uuid("Give a tenant's id") });

/**
 * Puts a tenant, with everything below it, under another. Whoever stands above the new place comes
 * to hold rights over it: the mover must hold them already.
 */
export function move(ctx: TenantCtx, { id, parentId }: z.infer<typeof Move>): Promise<Tenant> {
  return transact(ctx, async (ctx) => {
    const before = await placed(ctx, id, "moved");
    const parent = await tenantOf(ctx, parentId, "parent_id");
    if (before.parentId === parentId) return before;
    await requireApart(ctx, id, parent);
    await requireInherited(ctx, parentId);
    requireOpen(parent);
    await requireGained(ctx, { ...before, parentId }, "parent_id");
    await ctx.db.update(tenants).set({ parentId }).where(and(eq(tenants.id, id), shown(ctx)));
    const after = await tenantOf(ctx, id);
    noticed(ctx);
    await note(ctx, "tenant.moved", before, after, { previousParentId: before.parentId });
    return after;
  });
}

/** Throws Conflict when the new parent is the tenant itself or lies below it. */
async function requireApart(ctx: TxCtx, id: string, parent: Tenant): Promise<void> {
  const answer = await ctx.db.execute(
    sql`select tenant_is_within(${parent.id}::uuid, ${id}::uuid) as is_within`,
  );
  if (one(rowsOf(answer)).is_within !== true) return;
  throw new Fault("Conflict", "tenant.cycle", `${parent.name} is that tenant or lies below it`, {
    fields: [{ field: "parent_id", message: "Give a tenant that does not lie below this one" }],
  });
}

/**
 * The tenant whose place or status is about to change, alone in the tree from here on. It must lie
 * below the acting one, and what the caller holds must reach into the tenant it lies in.
 */
async function placed(ctx: TxCtx, id: string, done: string): Promise<Tenant> {
  await changingTree(ctx);
  const tenant = await locked(ctx, id);
  if (id === ROOT_TENANT || tenant.parentId === null) {
    throw conflict("tenant.root", `The root tenant is the platform's own: it is never ${done}`);
  }
  if (id === ctx.tenantId) {
    throw conflict(
      "tenant.own",
      `A tenant is not ${done} from within: that is for whoever holds the right, ` +
        "with subtree reach, in a tenant above it",
    );
  }
  requireMatch(ctx.ifMatch, tenant);
  await requireInherited(ctx, tenant.parentId);
  return tenant;
}

async function turned(
  ctx: TxCtx,
  before: Tenant,
  status: typeof statuses[number],
  action: string,
): Promise<Tenant> {
  const { id } = before;
  if (before.status === status) return before;
  await ctx.db.update(tenants).set({ status }).where(and(eq(tenants.id, id), shown(ctx)));
  const after = await tenantOf(ctx, id);
  noticed(ctx);
  await note(ctx, action, before, after, { status });
  return after;
}

async function extentOf(ctx: TxCtx, id: string): Promise<Reached["reached"]> {
  const answer = await ctx.db.execute(sql`select * from tenant_extent(${id}::uuid, ${MOST}::int)`);
  const row = one(rowsOf(answer));
  const [tenants, users, apiKeys] = [row.tenants, row.users, row.api_keys].map(Number);
  const counts = { tenants: tenants ?? 0, users: users ?? 0, apiKeys: apiKeys ?? 0 };
  return { ...counts, isComplete: Object.values(counts).every((n) => n < MOST) };
}
