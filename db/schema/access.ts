/** Access: groups in groups, roles and the permissions they collect, who has them where, and keys. */
import { sql } from "drizzle-orm";
import {
  boolean,
  check,
  foreignKey,
  index,
  pgTable,
  primaryKey,
  text,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import { active, at, metadata, tenantOnly, tenantRow, words } from "../columns.ts";
import { tenants, users } from "./identity.ts";
import { teams } from "./teams.ts";

export const reaches = ["self", "tenant", "subtree", "global"] as const;

export const groups = pgTable("groups", {
  ...tenantRow,
  ...active,
  ...metadata,
  name: text().notNull(),
  description: text(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  uniqueIndex("idx_groups_tenant_name").on(t.tenantId, sql`lower(name)`).where(sql`is_active`),
  tenantOnly,
]);

/** A user or a group in a group. A user's holding group is the one of them they are placed in. */
export const groupMembers = pgTable("group_members", {
  ...tenantRow,
  groupId: uuid().notNull(),
  ownerUserId: uuid(),
  memberGroupId: uuid(),
  isHolding: boolean().notNull().default(false),
  startsAt: at(), // A user's membership may be for a time; a group's is without end.
  endsAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.groupId], foreignColumns: [groups.tenantId, groups.id] }),
  foreignKey({
    columns: [t.tenantId, t.memberGroupId],
    foreignColumns: [groups.tenantId, groups.id],
  }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  unique("idx_group_members_user").on(t.tenantId, t.groupId, t.ownerUserId),
  unique("idx_group_members_group").on(t.tenantId, t.groupId, t.memberGroupId),
  index("idx_group_members_owner_user_id").on(t.tenantId, t.ownerUserId, t.groupId),
  index("idx_group_members_member_group_id").on(t.tenantId, t.memberGroupId),
  uniqueIndex("idx_group_members_one_holding").on(t.tenantId, t.ownerUserId)
    .where(sql`is_holding`),
  check("group_members_one_member", sql`(owner_user_id is null) <> (member_group_id is null)`),
  check(
    "group_members_user_alone",
    sql`owner_user_id is not null or (not is_holding and starts_at is null and ends_at is null)`,
  ),
  tenantOnly,
]);

/** Every group with each group it lies in, itself included. Kept by triggers. */
export const groupClosure = pgTable("group_closure", {
  tenantId: uuid().notNull(),
  groupId: uuid().notNull(),
  ancestorId: uuid().notNull(),
  isBound: boolean().notNull().default(false), // A role was ever bound to the ancestor.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.groupId, t.ancestorId] }),
  foreignKey({ columns: [t.tenantId, t.groupId], foreignColumns: [groups.tenantId, groups.id] }),
  foreignKey({ columns: [t.tenantId, t.ancestorId], foreignColumns: [groups.tenantId, groups.id] }),
  index("idx_group_closure_ancestor_id").on(t.tenantId, t.ancestorId, t.groupId),
  // A check passes over the groups that give nothing, however many there are.
  index("idx_group_closure_bound").on(t.tenantId, t.groupId, t.ancestorId).where(sql`is_bound`),
  tenantOnly,
]);

export const roles = pgTable("roles", {
  ...tenantRow,
  ...active,
  name: text().notNull(),
  description: text(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  unique("idx_roles_tenant_name").on(t.tenantId, t.name),
  tenantOnly,
]);

export const permissionBindings = pgTable("permission_bindings", {
  ...tenantRow,
  roleId: uuid().notNull(),
  permission: text().notNull(), // A key of the catalogue in src/access/permissions.ts.
  reach: text({ enum: reaches }).notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.roleId], foreignColumns: [roles.tenantId, roles.id] }),
  unique("idx_permission_bindings_role_permission").on(t.tenantId, t.roleId, t.permission),
  tenantOnly,
]);

/** Gives a role to a user or a group. Lives in their home tenant and names the tenant it applies to. */
export const roleBindings = pgTable("role_bindings", {
  ...tenantRow,
  ownerUserId: uuid(),
  groupId: uuid(),
  appliesToTenantId: uuid().notNull(),
  systemRole: text(), // A key of src/access/roles.ts, or …
  roleId: uuid(), // … a role of this tenant.
  startsAt: at(),
  endsAt: at(),
  revokedAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  foreignKey({ columns: [t.tenantId, t.groupId], foreignColumns: [groups.tenantId, groups.id] }),
  foreignKey({ columns: [t.tenantId, t.roleId], foreignColumns: [roles.tenantId, roles.id] }),
  foreignKey({ columns: [t.appliesToTenantId], foreignColumns: [tenants.id] }),
  index("idx_role_bindings_owner_user_id").on(t.tenantId, t.ownerUserId),
  index("idx_role_bindings_group_id").on(t.tenantId, t.groupId),
  index("idx_role_bindings_role_id").on(t.tenantId, t.roleId),
  index("idx_role_bindings_applies_to_tenant_id").on(t.appliesToTenantId), // Who may, from above.
  index("idx_role_bindings_who").on( // Whom a page of "who may" has to look at, in order.
    t.appliesToTenantId,
    t.tenantId,
    sql`coalesce(system_role, role_id::text)`,
    t.ownerUserId,
  ).where(sql`revoked_at is null`),
  uniqueIndex("idx_role_bindings_once").on(
    t.tenantId,
    sql`coalesce(owner_user_id, group_id)`,
    t.appliesToTenantId,
    sql`coalesce(system_role, role_id::text)`,
  ).where(sql`revoked_at is null`),
  check("role_bindings_one_role", sql`(system_role is null) <> (role_id is null)`),
  check("role_bindings_one_subject", sql`(owner_user_id is null) <> (group_id is null)`),
  tenantOnly,
]);

export const apiKeys = pgTable("api_keys", {
  ...tenantRow,
  ownerUserId: uuid(), // Whose permissions the key can never exceed, or …
  teamId: uuid(), // … the team it chats as.
  familyId: uuid(), // Of a team's key: the first of those that took over from each other.
  createdBy: uuid(), // Of a team's key: who made it, in whatever tenant they are.
  name: text().notNull(),
  secretHash: text().notNull(),
  hint: text().notNull(), // The last four characters, so that a person can tell keys apart.
  scopes: words(),
  expiresAt: at(),
  lastUsedAt: at(),
  revokedAt: at(),
  rotatedFromId: uuid(), // The key it took over from.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  uniqueIndex("idx_api_keys_id").on(t.id), // A key names only itself; its tenant is found by it.
  index("idx_api_keys_owner_user_id").on(t.tenantId, t.ownerUserId, t.id),
  foreignKey({ columns: [t.tenantId, t.teamId], foreignColumns: [teams.tenantId, teams.id] }),
  index("idx_api_keys_team_id").on(t.tenantId, t.teamId, t.id),
  check("api_keys_one_holder", sql`(owner_user_id is null) <> (team_id is null)`),
  check("api_keys_family", sql`(family_id is null) = (team_id is null)`),
  tenantOnly,
]);

/** Networks a tenant's callers, or one key's, must come from. Without one any address will do. */
export const clientAccess = pgTable("client_access", {
  ...tenantRow,
  apiKeyId: uuid(), // Null: holds for everyone who acts in the tenant.
  network: text().notNull(), // In CIDR form, the address as RFC 5952 writes it.
  description: text(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  foreignKey({ columns: [t.tenantId, t.apiKeyId], foreignColumns: [apiKeys.tenantId, apiKeys.id] }),
  uniqueIndex("idx_client_access_network").on(
    t.tenantId,
    sql`coalesce(api_key_id, tenant_id)`,
    t.network,
  ),
  index("idx_client_access_api_key_id").on(t.tenantId, t.apiKeyId),
  tenantOnly,
]);
