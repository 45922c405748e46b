/**
 * Roles: permissions a tenant collects under a name of its own, each with how far it reaches. The
 * system roles stand beside them in every tenant and cannot be changed.
 */
import { and, desc, eq, inArray, isNull, lt, ne, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { permissionBindings, roleBindings, roles } from "../../db/schema/access.ts";
import { covers, ladder, permissions as catalogue } from "../access/permissions.ts";
import { systemRole, systemRoles } from "../access/roles.ts";
import { type Grants, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { changesOf, publish, record } from "../trail.ts";
import { name } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireMoreThanSelf, requireToGive, requireToTake } from "./giving.ts";
import { groupsOf } from "./groups.ts";

const RolePermission = z.object({
  permission: z.string().max(64),
  reach: z.enum(ladder),
}).meta({ id: "RolePermission" });
type RolePermission = z.infer<typeof RolePermission>;

export const Role = z.object({
  id: z.uuid(),
  name: z.string().max(255),
  description: z.string().max(2000).nullable(),
  permissions: z.array(RolePermission).max(catalogue.length),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Role" });
export type Role = z.infer<typeof Role>;
const view = columnsOf(roles, Role);
type Row = Omit<Role, "permissions">;

/** Ids of the roles that are bound to whom `to` names. */
const boundTo = ({ tenantId }: TenantCtx, to: SQL) =>
  sql`select ${roleBindings.roleId} from ${roleBindings}
    where ${roleBindings.tenantId} = ${tenantId} and ${to} and ${roleBindings.revokedAt} is null`;

/** With `self` reach only roles one has. */
function own(ctx: TenantCtx, id?: string) {
  const me = sql`${roleBindings.ownerUserId} = ${ctx.userId}`;
  const around = sql`${roleBindings.groupId} in ${groupsOf(ctx, ctx.userId)}`;
  return and(
    eq(roles.tenantId, ctx.tenantId),
    eq(roles.isActive, true),
    id === undefined ? undefined : eq(roles.id, id),
    ctx.reach === "self"
      ? sql`${roles.id} in (${boundTo(ctx, me)} union all ${boundTo(ctx, around)})`
      : undefined,
  );
}

const place = new Map<string, number>(catalogue.map((permission, at) => [permission, at]));
const inOrder = (list: RolePermission[]) =>
  list.toSorted((a, b) => (place.get(a.permission) ?? 0) - (place.get(b.permission) ?? 0));

/** The roles with what they collect, in the catalogue's order. */
async function withPermissions(ctx: TxCtx, rows: Row[]): Promise<Role[]> {
  if (rows.length === 0) return [];
  const collected = await ctx.db.select({
    roleId: permissionBindings.roleId,
    permission: permissionBindings.permission,
    reach: permissionBindings.reach,
  }).from(permissionBindings).where(and(
    eq(permissionBindings.tenantId, ctx.tenantId),
    inArray(permissionBindings.roleId, rows.map(({ id }) => id)),
  ));
  const byRole = Map.groupBy(collected, ({ roleId }) => roleId);
  return rows.map((row) => ({
    ...row,
    permissions: inOrder(
      (byRole.get(row.id) ?? []).map(({ permission, reach }) => ({ permission, reach })),
    ),
  }));
}

const roleName = name("the role's name");
const unknown = ({ input }: { input?: unknown }) =>
  typeof input === "string"
    ? `The catalogue has no permission ${input.slice(0, 64).toWellFormed()}`
    : "Give a permission of the catalogue, like platforms.read";
const description = z.string().max(2000).nullish();
const permissions = z.array(z.strictObject({
  permission: z.enum(catalogue, { error: unknown }),
  reach: z.enum(ladder, `Give one of ${ladder.join(", ")}`),
})).max(catalogue.length, "Give each permission once").refine(
  (list) => new Set(list.map(({ permission }) => permission)).size === list.length,
  "Give each permission once",
);
type Permissions = z.infer<typeof permissions>;

const grantsOf = (list: readonly RolePermission[]): Grants =>
  Object.fromEntries(list.map(({ permission, reach }) => [permission, reach]));

/** Throws ValidationError for what no role of this tenant can be. */
function check({ tenantId }: TenantCtx, name: string | undefined, list: Permissions = []) {
  if (name !== undefined && systemRole(name.normalize("NFKC").toLowerCase())) {
    throw invalid("name", "A system role has this name: give another");
  }
  const far = list.findIndex(({ reach }) => reach === "global");
  if (far < 0 || tenantId === ROOT_TENANT) return;
  throw invalid(`permissions.${far}.reach`, "Only roles of the root tenant reach all tenants");
}

export const Create = z.strictObject({ name: roleName, description, permissions });

/** Makes a role out of permissions one holds oneself, no farther than one holds them. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireMoreThanSelf(ctx);
  check(ctx, input.name, input.permissions);
  return transact(ctx, async (ctx) => {
    const { tenantId } = ctx;
    await changingAccess(ctx);
    await requireToGive(ctx, [{ tenantId, grants: grantsOf(input.permissions) }], "permissions");
    await refuseTaken(ctx, input.name);
    const row = one(
      await ctx.db.insert(roles).values({
        tenantId,
        name: input.name,
        description: input.description ?? null,
      }).returning(view),
    );
    await collect(ctx, row.id, input.permissions);
    const role = { ...row, permissions: inOrder(input.permissions) };
    const { name, permissions } = role;
    await note(ctx, "role.created", { before: null, after: role }, { name, permissions });
    return role;
  });
}

async function collect(ctx: TxCtx, roleId: string, list: Permissions) {
  if (list.length === 0) return;
  const { tenantId } = ctx;
  await ctx.db.insert(permissionBindings)
    .values(list.map(({ permission, reach }) => ({ tenantId, roleId, permission, reach })));
}

async function refuseTaken(ctx: TxCtx, name: string, id?: string) {
  const [other] = await ctx.db.select({ id: roles.id }).from(roles).where(and(
    eq(roles.tenantId, ctx.tenantId),
    eq(roles.isActive, true),
    sql`lower(${roles.name}) = lower(${name})`,
    id === undefined ? undefined : ne(roles.id, id),
  ));
  if (!other) return;
  throw conflict("role.already_exists", `A role is named ${name} already: give another name`);
}

export const Get = z.strictObject({ id: z.uuid() });
export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>) =>
  read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(roles).where(own(ctx, id));
    return found(await withPermissions(ctx, rows), "role");
  });

async function locked(ctx: TxCtx, id: string): Promise<Role> {
  const rows = await ctx.db.select(view).from(roles).where(own(ctx, id)).for("update");
  return found(await withPermissions(ctx, rows), "role");
}

export const Update = z.strictObject({
  id: z.uuid(),
  name: roleName.optional(),
  description,
  permissions: permissions.optional(),
});

/** Changes the fields given; the permissions are replaced as a whole. Whoever has the role has the new ones. */
export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  requireMoreThanSelf(ctx);
  check(ctx, input.name, input.permissions);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (input.name !== undefined) await refuseTaken(ctx, input.name, id);
    if (input.permissions) await replace(ctx, before, input.permissions);
    const row = one(
      await ctx.db.update(roles).set({
        ...given({ name: input.name, description: input.description }),
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(own(ctx, id)).returning(view),
    );
    const after = { ...row, permissions: inOrder(input.permissions ?? before.permissions) };
    await note(ctx, "role.updated", { before, after }, { changes: changesOf(before, after) });
    return after;
  });
}

/** What is more in `to` than in `from`. */
const beyond = (to: Grants, from: Grants): Grants =>
  Object.fromEntries(Object.entries(to).filter(([p, reach]) => !covers(from, { [p]: reach })));

async function replace(ctx: TxCtx, before: Role, list: Permissions) {
  const [old, now] = [grantsOf(before.permissions), grantsOf(list)];
  const bound = await ctx.db.selectDistinct({ tenantId: roleBindings.appliesToTenantId })
    .from(roleBindings).where(isBound(ctx, before.id));
  const places = new Set([ctx.tenantId, ...bound.map(({ tenantId }) => tenantId)]);
  const everywhere = (grants: Grants) => [...places].map((tenantId) => ({ tenantId, grants }));
  await requireToGive(ctx, everywhere(beyond(now, old)), "permissions");
  await requireToTake(ctx, everywhere(beyond(old, now)));
  await ctx.db.delete(permissionBindings).where(and(
    eq(permissionBindings.tenantId, ctx.tenantId),
    eq(permissionBindings.roleId, before.id),
  ));
  await collect(ctx, before.id, list);
}

const isBound = (ctx: TxCtx, id: string) =>
  and(
    eq(roleBindings.tenantId, ctx.tenantId),
    eq(roleBindings.roleId, id),
    isNull(roleBindings.revokedAt),
  );

export const Delete = z.strictObject({ id: z.uuid() });

/** Takes a role out of use that nobody has. Its row stays; its name is free again. */
export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>) {
  requireMoreThanSelf(ctx);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const [binding] = await ctx.db.select({ id: roleBindings.id }).from(roleBindings)
      .where(isBound(ctx, id)).limit(1);
    if (binding) {
      throw conflict("role.in_use", "Somebody has this role: revoke its role bindings first");
    }
    // The key of names counts roles out of use as well: this one gives its name up.
    await ctx.db.update(roles).set({ isActive: false, name: id }).where(own(ctx, id));
    const change = {
      before: { ...before, isActive: true },
      after: { ...before, isActive: false },
    };
    await note(ctx, "role.deleted", change, { name: before.name });
  });
}

export const List = z.strictObject(page);
export const Listed = z.object({ roles: z.array(Role).max(100), nextCursor });

/** The tenant's own roles, newest first. */
export function list(ctx: TenantCtx, { cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(roles)
      .where(and(own(ctx), cursor ? lt(roles.id, cursor) : undefined))
      .orderBy(desc(roles.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { roles: await withPermissions(ctx, items), nextCursor };
  });
}

export const ListSystem = z.strictObject({});
export const ListedSystem = z.object({
  systemRoles: z.array(z.object({
    key: z.string().max(64),
    permissions: z.array(RolePermission).max(catalogue.length),
  })).max(100),
});

/** The roles every tenant has, and what they give in this one. */
export const listSystem = ({ tenantId }: TenantCtx, _: z.infer<typeof ListSystem>) => ({
  systemRoles: Object.entries(systemRoles)
    .filter(([key]) => key !== "operator" || tenantId === ROOT_TENANT)
    .map(([key, grants]) => ({
      key,
      permissions: catalogue.flatMap((permission) => {
        const reach = grants[permission];
        return reach ? [{ permission, reach }] : [];
      }),
    })),
});

async function note(
  ctx: TxCtx,
  action: string,
  { before, after }: { before: Role | null; after: Role },
  data: Record<string, unknown>,
) {
  const { id: subjectId } = after;
  await record(ctx, { action, subjectType: "role", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/roles",
    subjectId,
    data: { roleId: subjectId, tenantId: ctx.tenantId, ...data },
  });
}
