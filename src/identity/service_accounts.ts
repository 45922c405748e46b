/**
 * Service accounts: users that are programs. They have no e-mail and cannot sign in; what they do
 * they do with API keys. They are renamed, deactivated and given roles as every user is.
 */
import { and, desc, eq, lt } from "drizzle-orm";
import { z } from "zod";
import { roleBindings } from "../../db/schema/access.ts";
import { users } from "../../db/schema/identity.ts";
import { read, type TenantCtx, transact } from "../context.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { name } from "../words.ts";
import { givingRole, noteUser, ownUser, role, User, userView } from "./users.ts";

export const ServiceAccount = User.pick({
  id: true,
  displayName: true,
  status: true,
  isActive: true,
  createdAt: true,
  updatedAt: true,
}).meta({ id: "ServiceAccount" });
const view = { ...columnsOf(users, ServiceAccount), isActive: userView.isActive };

const own = (ctx: TenantCtx, id?: string) => and(ownUser(ctx, id), eq(users.kind, "service"));

export const Create = z.strictObject({
  displayName: name("a name to tell the program by"),
  ...role,
});

/** Makes a service account, with a role in the tenant if one is named: never more than the caller holds. */
export function create(ctx: TenantCtx, { displayName, ...role }: z.infer<typeof Create>) {
  return transact(ctx, async (ctx) => {
    await givingRole(ctx, role);
    const { tenantId } = ctx;
    const { systemRole = null, roleId = null } = role;
    const made = one(
      await ctx.db.insert(users).values({ tenantId, kind: "service", displayName }).returning(view),
    );
    if (systemRole || roleId) {
      await ctx.db.insert(roleBindings)
        .values({
          tenantId,
          ownerUserId: made.id,
          appliesToTenantId: tenantId,
          systemRole,
          roleId,
        });
    }
    const after = { ...made, kind: "service", systemRole, roleId };
    await noteUser(ctx, "user.created", null, after, {
      kind: "service",
      displayName,
      systemRole,
      roleId,
    });
    return made;
  });
}

export const Get = z.strictObject({ id: z.uuid() });

export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(users).where(own(ctx, id));
    return found(rows, "service_account");
  });
}

export const List = z.strictObject(page);
export const Listed = z.object({
  serviceAccounts: z.array(ServiceAccount).max(100),
  nextCursor,
});

export function list(ctx: TenantCtx, { cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(users)
      .where(and(own(ctx), cursor ? lt(users.id, cursor) : undefined))
      .orderBy(desc(users.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { serviceAccounts: items, nextCursor };
  });
}
