/** Identity: tenants nested without limit, the people in them, what they may do and how they prove it. */
import { sql } from "drizzle-orm";
import {
  check,
  foreignKey,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import {
  active,
  at,
  lock,
  metadata,
  owned,
  row,
  sealed,
  tenantOnly,
  tenantRow,
  words,
} from "../columns.ts";

export const statuses = ["active", "suspended", "closed"] as const;
export const reaches = ["self", "tenant", "subtree", "global"] as const;

export const tenants = pgTable("tenants", {
  ...row,
  ...metadata,
  parentId: uuid(),
  name: text().notNull(),
  status: text({ enum: statuses }).notNull().default("active"),
  timeZone: text().notNull().default("UTC"),
}, (t) => [
  primaryKey({ columns: [t.id] }),
  foreignKey({ columns: [t.parentId], foreignColumns: [t.id] }),
  index("idx_tenants_parent_id").on(t.parentId),
  lock("tenant_only", (tenant) => sql`id = ${tenant}`),
  lock("child_tenants", (tenant) => sql`parent_id = ${tenant}`, "insert"),
  lock(
    "tenants_below",
    (tenant) =>
      sql`parent_id = ${tenant} or exists (select 1 from tenant_closure c where c.ancestor_id = ${tenant} and c.tenant_id = tenants.id)`,
    "select",
  ),
]);

/** Every tenant with each of its ancestors, itself included at depth 0. Kept by a trigger on tenants. */
export const tenantClosure = pgTable("tenant_closure", {
  tenantId: uuid().notNull(),
  ancestorId: uuid().notNull(),
  depth: integer().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.ancestorId] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  foreignKey({ columns: [t.ancestorId], foreignColumns: [tenants.id] }),
  index("idx_tenant_closure_ancestor_id").on(t.ancestorId, t.tenantId),
  lock("tenant_only", (tenant) => sql`tenant_id = ${tenant} or ancestor_id = ${tenant}`, "select"),
]);

export const users = pgTable("users", {
  ...tenantRow,
  ...metadata,
  email: text().notNull(), // Lower case, as it is compared.
  displayName: text().notNull(),
  status: text({ enum: statuses }).notNull().default("active"),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  unique("idx_users_tenant_email").on(t.tenantId, t.email),
  index("idx_users_email").on(t.email), // Sign-in looks across tenants, through a definer function.
  tenantOnly,
]);

/** What proves a user: the row's id is the user's. */
export const userSecurity = pgTable("user_security", {
  ...tenantRow,
  passwordHash: text(),
  passwordChangedAt: at(),
  totpSecret: sealed(),
  failedSignIns: integer().notNull().default(0),
  lockedUntil: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.id], foreignColumns: [users.tenantId, users.id] }),
  tenantOnly,
]);

export const sessions = pgTable("sessions", {
  ...tenantRow,
  ...owned,
  refreshKey: sealed().notNull(), // Signs this session's refresh tokens; no row per token.
  counter: integer().notNull().default(0),
  rotatedAt: at().notNull().defaultNow(),
  expiresAt: at().notNull(),
  revokedAt: at(),
  revokedFor: text(),
  userAgent: text(),
  address: text(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  index("idx_sessions_owner_user_id").on(t.tenantId, t.ownerUserId, t.id),
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

/** Gives a role to a user. Lives in the user's home tenant and names the tenant it applies to. */
export const roleBindings = pgTable("role_bindings", {
  ...tenantRow,
  ...owned,
  appliesToTenantId: uuid().notNull(),
  systemRole: text(), // A key of src/access/roles.ts, or …
  roleId: uuid(), // … a role of this tenant.
  startsAt: at(),
  endsAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  foreignKey({ columns: [t.tenantId, t.roleId], foreignColumns: [roles.tenantId, roles.id] }),
  foreignKey({ columns: [t.appliesToTenantId], foreignColumns: [tenants.id] }),
  index("idx_role_bindings_owner_user_id").on(t.tenantId, t.ownerUserId),
  check("role_bindings_one_role", sql`(system_role is null) <> (role_id is null)`),
  tenantOnly,
]);

export const apiKeys = pgTable("api_keys", {
  ...tenantRow,
  ...owned, // Whose permissions the key can never exceed.
  name: text().notNull(),
  secretHash: text().notNull(),
  hint: text().notNull(), // The last four characters, so that a person can tell keys apart.
  scopes: words(),
  expiresAt: at(),
  lastUsedAt: at(),
  revokedAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  uniqueIndex("idx_api_keys_id").on(t.id), // A key names only itself; its tenant is found by it.
  index("idx_api_keys_owner_user_id").on(t.tenantId, t.ownerUserId, t.id),
  tenantOnly,
]);
