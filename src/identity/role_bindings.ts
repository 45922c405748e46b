/**
 * Role bindings: who has which role, in which tenant, from when and until when. They live where
 * their user or group lives and name that tenant or one below it.
 */
import { and, desc, eq, isNull, lt, ne, or, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { roleBindings } from "../../db/schema/access.ts";
import { tenantClosure, tenants, users } from "../../db/schema/identity.ts";
import { systemRole as systemRoleOf } from "../access/roles.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { moment } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireToGive, requireToTake } from "./giving.ts";
import { requirePeriod, requireUser } from "./group_members.ts";
import { groupOf, groupsOf } from "./groups.ts";
import { grantsOfRole } from "./rights.ts";

export const RoleBinding = z.object({
  id: z.uuid(),
  userId: z.uuid().nullable(),
  groupId: z.uuid().nullable(),
  appliesToTenantId: z.uuid(),
  systemRole: z.string().max(64).nullable(),
  roleId: z.uuid().nullable(),
  startsAt: z.date().nullable(),
  endsAt: z.date().nullable(),
  revokedAt: z.date().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "RoleBinding" });
type RoleBinding = z.infer<typeof RoleBinding>;
const view = { ...columnsOf(roleBindings, RoleBinding), userId: roleBindings.ownerUserId };

/** Ids of the bindings of whom `to` names: a look along one index. */
const boundTo = ({ tenantId }: TenantCtx, to: SQL) =>
  sql`select ${roleBindings.id} from ${roleBindings}
    where ${roleBindings.tenantId} = ${tenantId} and ${to}`;

/** With `self` reach only one's own and those of the groups one lies in. */
function own(ctx: TenantCtx, id?: string) {
  const me = sql`${roleBindings.ownerUserId} = ${ctx.userId}`;
  const around = sql`${roleBindings.groupId} in ${groupsOf(ctx, ctx.userId)}`;
  return and(
    eq(roleBindings.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(roleBindings.id, id),
    ctx.reach === "self"
      ? sql`${roleBindings.id} in (${boundTo(ctx, me)} union all ${boundTo(ctx, around)})`
      : undefined,
  );
}

export const Create = z.strictObject({
  userId: z.uuid().nullish(),
  groupId: z.uuid().nullish(),
  systemRole: z.string().min(1, "Give a system role's key").max(64).nullish(),
  roleId: z.uuid().nullish(),
  appliesToTenantId: z.uuid().nullish(),
  startsAt: moment.nullish(),
  endsAt: moment.nullish(),
});
type Create = z.infer<typeof Create>;

/** What a request means, once it says one thing. */
function meant(ctx: TenantCtx, input: Create) {
  const { userId = null, groupId = null, systemRole = null, roleId = null } = input;
  if (userId && groupId) throw invalid("group_id", "Give either a user or a group, not both");
  if (!userId && !groupId) throw invalid("user_id", "Give a user, or a group as group_id");
  if (systemRole !== null && roleId) {
    throw invalid("role_id", "Give either a system role or a role of the tenant, not both");
  }
  if (systemRole === null && !roleId) {
    throw invalid("system_role", "Give a system role, or a role of the tenant as role_id");
  }
  const { startsAt = null, endsAt = null } = input;
  requirePeriod(ctx, { startsAt, endsAt });
  const appliesToTenantId = input.appliesToTenantId ?? ctx.tenantId;
  return { userId, groupId, systemRole, roleId, appliesToTenantId, startsAt, endsAt };
}
type Meant = ReturnType<typeof meant>;

/** Gives a role to a user or a group, in this tenant or in one below it. */
export function create(ctx: TenantCtx, input: Create) {
  const { userId, groupId, ...binding } = meant(ctx, input);
  const { systemRole, roleId, appliesToTenantId } = binding;
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    await requireSubject(ctx, { userId, groupId });
    await requireBelow(ctx, appliesToTenantId);
    const grants = await grantsOfRole(ctx, { systemRole, roleId });
    const field = systemRole === null ? "role_id" : "system_role";
    await requireToGive(ctx, [{ tenantId: appliesToTenantId, grants }], field, binding.endsAt);
    await retireEnded(ctx, { userId, groupId, ...binding });
    const [made] = await ctx.db.insert(roleBindings).values({
      tenantId: ctx.tenantId,
      ownerUserId: userId,
      groupId,
      appliesToTenantId,
      systemRole,
      roleId,
      startsAt: binding.startsAt,
      endsAt: binding.endsAt,
    }).onConflictDoNothing().returning(view);
    if (!made) {
      throw conflict(
        "role_binding.already_exists",
        "The role is given there already: revoke that role binding to give it for another time",
      );
    }
    await note(ctx, "role_binding.created", null, made);
    return made;
  });
}

/** With `self` reach one gives only oneself. */
async function requireSubject(ctx: TxCtx, { userId, groupId }: Pick<Meant, "userId" | "groupId">) {
  if (userId) {
    if (ctx.reach === "self" && userId !== ctx.userId) throw notFound("user");
    await requireUser(ctx, userId);
  }
  if (!groupId) return;
  if (ctx.reach === "self") throw notFound("group");
  await groupOf(ctx, groupId);
}

async function requireBelow(ctx: TxCtx, tenantId: string) {
  const [row] = await ctx.db.select({ id: tenants.id }).from(tenants)
    .innerJoin(tenantClosure, eq(tenantClosure.tenantId, tenants.id))
    .where(and(eq(tenants.id, tenantId), eq(tenantClosure.ancestorId, ctx.tenantId)));
  if (!row) throw notFound("tenant");
}

/** A binding whose time is over makes way for the next. */
const retireEnded = (ctx: TxCtx, { userId, groupId, ...binding }: Meant) =>
  ctx.db.update(roleBindings).set({ revokedAt: ctx.now() }).where(and(
    eq(roleBindings.tenantId, ctx.tenantId),
    eq(roleBindings.appliesToTenantId, binding.appliesToTenantId),
    isNull(roleBindings.revokedAt),
    sql`${roleBindings.endsAt} <= now()`,
    userId ? eq(roleBindings.ownerUserId, userId) : eq(roleBindings.groupId, groupId ?? ""),
    binding.systemRole === null
      ? eq(roleBindings.roleId, binding.roleId ?? "")
      : eq(roleBindings.systemRole, binding.systemRole),
  ));

export const Get = z.strictObject({ id: z.uuid() });
export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>) =>
  read(
    ctx,
    async (ctx) =>
      found(await ctx.db.select(view).from(roleBindings).where(own(ctx, id)), "role_binding"),
  );

export const Revoke = z.strictObject({ id: z.uuid() });

/** Takes a role back, from now on. Again: nothing more happens. */
export function revoke(ctx: TenantCtx, { id }: z.infer<typeof Revoke>) {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const rows = await ctx.db.select(view).from(roleBindings).where(own(ctx, id)).for("update");
    const before = found(rows, "role_binding");
    if (ctx.reach === "self" && before.userId === null) throw notFound("role_binding");
    requireMatch(ctx.ifMatch, before);
    if (before.revokedAt) return before;
    const grants = before.systemRole !== null && systemRoleOf(before.systemRole) === null
      ? {} // Nobody knows it: it gives nothing.
      : await grantsOfRole(ctx, before);
    await requireToTake(ctx, [{ tenantId: before.appliesToTenantId, grants }]);
    await requireAnotherOwner(ctx, { bindingId: id });
    const after = one(
      await ctx.db.update(roleBindings).set({ revokedAt: ctx.now() }).where(own(ctx, id))
        .returning(view),
    );
    await note(ctx, "role_binding.revoked", before, after);
    return after;
  });
}

/**
 * Throws Conflict when the tenant would be left without an active owner: call it under
 * `changingAccess`, before a user is deactivated or a binding taken back. Whoever is no owner may go.
 */
export async function requireAnotherOwner(
  ctx: TxCtx,
  except: { userId: string } | { bindingId: string },
): Promise<void> {
  const [column, going] = "userId" in except
    ? [roleBindings.ownerUserId, except.userId]
    : [roleBindings.id, except.bindingId];
  if (!await hasOwner(ctx, eq(column, going))) return;
  if (await hasOwner(ctx, ne(column, going))) return;
  throw conflict(
    "role_binding.last_owner",
    "This is the last owner of the tenant: make somebody else an owner first",
  );
}

async function hasOwner(ctx: TxCtx, which: SQL): Promise<boolean> {
  const mine = and(
    eq(users.tenantId, roleBindings.tenantId),
    eq(users.id, roleBindings.ownerUserId),
  );
  const [owner] = await ctx.db.select({ id: roleBindings.id }).from(roleBindings)
    .innerJoin(users, mine).where(and(
      eq(roleBindings.tenantId, ctx.tenantId),
      eq(roleBindings.appliesToTenantId, ctx.tenantId),
      eq(roleBindings.systemRole, "owner"),
      isNull(roleBindings.revokedAt),
      sql`coalesce(${roleBindings.startsAt} <= now(), true)`,
      isNull(roleBindings.endsAt), // Who is one for a time leaves the tenant to nobody.
      eq(users.status, "active"),
      eq(users.kind, "person"),
      which,
    )).limit(1);
  return owner !== undefined;
}

export const List = z.strictObject({
  userId: z.uuid().optional(),
  groupId: z.uuid().optional(),
  roleId: z.uuid().optional(),
  systemRole: z.string().max(64).optional(),
  appliesToTenantId: z.uuid().optional(),
  includeEnded: z.boolean().default(false)
    .describe("Also those taken back and those whose time is over."),
  ...page,
});
export const Listed = z.object({ roleBindings: z.array(RoleBinding).max(100), nextCursor });

/** The tenant's role bindings, newest first: those that count now or will. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const { userId, groupId, roleId, systemRole, appliesToTenantId } = input;
    const rows = await ctx.db.select(view).from(roleBindings).where(and(
      own(ctx),
      userId ? eq(roleBindings.ownerUserId, userId) : undefined,
      groupId ? eq(roleBindings.groupId, groupId) : undefined,
      roleId ? eq(roleBindings.roleId, roleId) : undefined,
      systemRole === undefined ? undefined : eq(roleBindings.systemRole, systemRole),
      appliesToTenantId ? eq(roleBindings.appliesToTenantId, appliesToTenantId) : undefined,
      input.includeEnded ? undefined : and(
        isNull(roleBindings.revokedAt),
        or(isNull(roleBindings.endsAt), sql`${roleBindings.endsAt} > now()`),
      ),
      input.cursor ? lt(roleBindings.id, input.cursor) : undefined,
    )).orderBy(desc(roleBindings.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { roleBindings: items, nextCursor };
  });
}

async function note(ctx: TxCtx, action: string, before: RoleBinding | null, after: RoleBinding) {
  const { id: subjectId, createdAt: _, updatedAt: __, ...data } = after;
  await record(ctx, { action, subjectType: "role_binding", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/role-bindings",
    subjectId,
    data: { roleBindingId: subjectId, tenantId: ctx.tenantId, ...data },
  });
}
