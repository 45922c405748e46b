/** What a role, a group or a user gives or has, wherever it counts: what whoever passes it on must hold. */
import { and, eq, isNull, type SQL, sql } from "drizzle-orm";
import {
  groupClosure,
  groupMembers,
  permissionBindings,
  roleBindings,
  roles,
} from "../../db/schema/access.ts";
import { union } from "../access/permissions.ts";
import {
  type GrantRow,
  offeredBy,
  systemRole as systemRoleOf,
  systemRoles,
} from "../access/roles.ts";
import type { Grants, TxCtx } from "../context.ts";
import { invalid, notFound } from "../errors.ts";
import { ROOT_TENANT } from "../topics.ts";
import type { Rights } from "./authority.ts";

type Given = { systemRole: string | null; permission: string | null; reach: string | null };

const grantsOfGiven = (ctx: TxCtx, given: readonly Given[]): Grants =>
  union(...given.map((one) => {
    const row: GrantRow = {
      ...one,
      depth: 0,
      passes: true,
      isCurrent: true,
      isActive: true,
      untilMs: null,
    };
    return Object.fromEntries(
      offeredBy(
        row,
        ctx.tenantId === ROOT_TENANT,
        (what) => ctx.log("warn", "a binding names what does not exist", { what }),
      ),
    );
  }));

/** A role as a request names it: the key of a system role, or the id of a role of this tenant. */
export type RoleName = {
  systemRole?: string | null | undefined;
  roleId?: string | null | undefined;
};

/** What a role gives. Throws ValidationError for a system role that is none, NotFound for an id that is none. */
export async function grantsOfRole(ctx: TxCtx, { systemRole, roleId }: RoleName): Promise<Grants> {
  if (systemRole) {
    if (!systemRoleOf(systemRole)) {
      throw invalid("system_role", `Give one of ${Object.keys(systemRoles).join(", ")}`);
    }
    if (systemRole === "operator" && ctx.tenantId !== ROOT_TENANT) {
      throw invalid("system_role", "Operators live in the root tenant");
    }
    return grantsOfGiven(ctx, [{ systemRole, permission: null, reach: null }]);
  }
  if (!roleId) throw invalid("role_id", "Give a system role's key or a role's id");
  const [role] = await ctx.db.select({ id: roles.id }).from(roles)
    .where(and(eq(roles.tenantId, ctx.tenantId), eq(roles.id, roleId), eq(roles.isActive, true)))
    .for("share");
  if (!role) throw notFound("role");
  const given = await ctx.db
    .select({ permission: permissionBindings.permission, reach: permissionBindings.reach })
    .from(permissionBindings)
    .where(and(
      eq(permissionBindings.tenantId, ctx.tenantId),
      eq(permissionBindings.roleId, roleId),
    ));
  return grantsOfGiven(ctx, given.map((one) => ({ ...one, systemRole: null })));
}

/** Everything bindings that are not taken back give, those of other times included, by the tenant they name. */
async function rightsBoundTo(ctx: TxCtx, subject: SQL): Promise<Rights[]> {
  const rows = await ctx.db.selectDistinct({
    tenantId: roleBindings.appliesToTenantId,
    systemRole: roleBindings.systemRole,
    permission: permissionBindings.permission,
    reach: permissionBindings.reach,
  }).from(roleBindings).leftJoin(
    permissionBindings,
    and(
      eq(permissionBindings.tenantId, roleBindings.tenantId),
      eq(permissionBindings.roleId, roleBindings.roleId),
    ),
  ).where(and(
    eq(roleBindings.tenantId, ctx.tenantId),
    isNull(roleBindings.revokedAt),
    sql`(${roleBindings.endsAt} is null or ${roleBindings.endsAt} > now())`,
    subject,
  ));
  const byTenant = Map.groupBy(rows, ({ tenantId }) => tenantId);
  return [...byTenant].map(([tenantId, given]) => ({
    tenantId,
    grants: grantsOfGiven(ctx, given),
  }));
}

/** What an owner of this tenant holds and whatever else anybody of it does: what it takes to become, or keep out, them all. */
export async function rightsOverAll(ctx: TxCtx): Promise<Rights[]> {
  const { tenantId } = ctx;
  const systemRole = tenantId === ROOT_TENANT ? "operator" : "owner";
  const grants = await grantsOfRole(ctx, { systemRole });
  // An owner need not hold what others hold where inheritance from here is stopped.
  return [{ tenantId, grants }, ...await rightsBoundTo(ctx, sql`true`)];
}

/** What whoever joins a group comes to hold: the group's own bindings and those of every group it lies in. */
export const rightsOfGroup = (ctx: TxCtx, groupId: string): Promise<Rights[]> =>
  rightsBoundTo(
    ctx,
    sql`${roleBindings.groupId} in (select ${groupClosure.ancestorId} from ${groupClosure}
      where ${groupClosure.tenantId} = ${ctx.tenantId} and ${groupClosure.groupId} = ${groupId})`,
  );

/** What a user of this tenant holds or will hold, their groups' included. */
export const rightsOfUser = (ctx: TxCtx, userId: string): Promise<Rights[]> =>
  rightsBoundTo(
    ctx,
    sql`(${roleBindings.ownerUserId} = ${userId} or ${roleBindings.groupId} in (
      select ${groupClosure.ancestorId} from ${groupClosure}
      join ${groupMembers} on ${groupMembers.tenantId} = ${groupClosure.tenantId}
        and ${groupMembers.groupId} = ${groupClosure.groupId}
      where ${groupMembers.tenantId} = ${ctx.tenantId} and ${groupMembers.ownerUserId} = ${userId}))`,
  );
