/** Tenants: the isolation boundary, nested without limit. The root tenant is the platform's own. */
import { and, desc, eq, lt, ne, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { statuses, tenants } from "../../db/schema/identity.ts";
import { read, type TenantCtx, transact } from "../context.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { given, one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { changesOf } from "../trail.ts";
import { metadata, name } from "../words.ts";
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
  view,
} from "./tenant_rows.ts";

export { Tenant };

/** A name of the IANA time zone database. An offset is none: it knows no summer time. */
const isTimeZone = (text: string) => {
  try {
    return /^[A-Z]/i.test(text) && Boolean(new Intl.DateTimeFormat("en", { timeZone: text }));
  } catch {
    return false;
  }
};
const timeZone = z.string().max(64, "Give at most 64 characters")
  .refine(isTimeZone, "Give a time zone of the IANA database, like Europe/Berlin");

export const Create = z.strictObject({
  name: name("the tenant's name"),
  parentId: z.uuid("Give a tenant's id").optional(),
  timeZone: timeZone.nullish(),
  metadata: metadata.nullish(),
});

/** Makes a tenant below the caller's, or below one that lies below it. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  const { name, parentId = ctx.tenantId, timeZone, metadata } = input;
  return transact(ctx, async (ctx) => {
    await ctx.db.execute(sql`select lock_tree_shared()`); // What is read of the parent holds.
    const parent = await tenantOf(ctx, parentId, "parent_id");
    await requireInherited(ctx, parentId);
    requireOpen(parent);
    const id = v7();
    await ctx.db.insert(tenants).values({
      id,
      parentId,
      name,
      ...given({ timeZone: timeZone ?? undefined, metadata: metadata ?? undefined }),
    });
    // Read anew: its place is settled once the row is there.
    const under = and(eq(tenants.id, id), eq(tenants.parentId, parentId));
    const made = one(await ctx.db.select(view).from(tenants).where(under));
    await note(ctx, "tenant.created", null, made, {});
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

export const Get = z.strictObject({ id: z.uuid() });

export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<Tenant> =>
  read(ctx, (ctx) => tenantOf(ctx, id));

export const List = z.strictObject({
  parentId: z.uuid("Give a tenant's id").optional(),
  /** Everything below, not the children alone. */
  subtree: z.boolean().default(false),
  status: z.enum(statuses, "Give active, suspended or closed").optional(),
  ...page,
});
export const Listed = z.object({ tenants: z.array(Tenant).max(100), nextCursor });

/** The tenants below one, newest first: its children, or with `subtree` every one. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  const { parentId = ctx.tenantId, subtree, status, cursor, limit } = input;
  return read(ctx, async (ctx) => {
    if (parentId !== ctx.tenantId) await tenantOf(ctx, parentId, "parent_id");
    const under = subtree
      ? sql`${tenants.id} = any (array(select tenants_below(${parentId}::uuid,
          ${status ?? null}::text, ${cursor ?? null}::uuid, ${limit + 1}::int)))`
      : eq(tenants.parentId, parentId);
    const rows = await ctx.db.select(view).from(tenants)
      .where(and(
        under,
        ne(tenants.id, ctx.tenantId),
        shown(ctx),
        status ? eq(tenants.status, status) : undefined,
        cursor ? lt(tenants.id, cursor) : undefined,
      ))
      .orderBy(desc(tenants.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { tenants: items, nextCursor };
  });
}

export const Update = z.strictObject({
  id: z.uuid(),
  name: name("the tenant's name").optional(),
  timeZone: timeZone.nullish(),
  metadata: metadata.nullish(),
  inheritsAccess: z.boolean().optional(),
});

/** Changes what is given. Letting rights from above in again takes holding them. */
export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  const { inheritsAccess } = input;
  return transact(ctx, async (ctx) => {
    if (inheritsAccess !== undefined) await changingTree(ctx);
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    await requireInherited(ctx, id);
    if (inheritsAccess && !before.inheritsAccess) {
      await requireGained(ctx, { ...before, inheritsAccess }, "inherits_access");
    }
    const set = given({
      name: input.name,
      timeZone: input.timeZone === null ? "UTC" : input.timeZone,
      metadata: input.metadata === null ? {} : input.metadata,
      inheritsAccess,
    });
    const changes = changesOf(before, { ...before, ...set });
    if (Object.keys(changes).length === 0) return before;
    await ctx.db.update(tenants).set(set).where(and(eq(tenants.id, id), shown(ctx)));
    const after = await tenantOf(ctx, id);
    await note(ctx, "tenant.updated", before, after, { changes });
    if ("inherits_access" in changes) noticed(ctx);
    return after;
  });
}
