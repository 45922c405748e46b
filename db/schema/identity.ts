/** Identity: tenants nested without limit, the people in them, what they may do and how they prove it. */
import { type SQL, sql } from "drizzle-orm";
import {
  boolean,
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

export const addressKinds = ["registered", "billing", "shipping", "site"] as const;
export const userKinds = ["person", "service"] as const;
export const statuses = ["active", "suspended", "closed"] as const;

/** A scalar, looked up row by row: of `exists` the planner may make a hash of everything below. */
const below = (tenant: SQL) =>
  sql`(select true from tenant_closure c where c.ancestor_id = ${tenant} and c.tenant_id = tenants.id)`;

export const tenants = pgTable("tenants", {
  ...row,
  ...metadata,
  parentId: uuid(),
  name: text().notNull(),
  status: text({ enum: statuses }).notNull().default("active"),
  timeZone: text().notNull().default("UTC"),
  inheritsAccess: boolean().notNull().default(true), // False: what is bound above does not reach in.
  // Kept by triggers, so that a check costs the same at any depth; the service cannot write them.
  isOpen: boolean().notNull().default(true), // It and everything above it is active.
  level: integer().notNull().default(0), // Tenants above it.
  barrierLevel: integer().notNull().default(0), // Of the nearest, from it upwards, that does not inherit.
}, (t) => [
  primaryKey({ columns: [t.id] }),
  foreignKey({ columns: [t.parentId], foreignColumns: [t.id] }),
  index("idx_tenants_parent_id").on(t.parentId, t.id), // Children, a page at a time.
  lock("tenant_only", (tenant) => sql`id = ${tenant}`),
  lock(
    "tenants_below_create",
    (tenant) =>
      sql`exists (select 1 from tenant_closure c where c.ancestor_id = ${tenant} and c.tenant_id = tenants.parent_id)`,
    "insert",
  ),
  lock("child_tenants", (tenant) => sql`parent_id = ${tenant}`, "insert"),
  lock(
    "tenants_below",
    (tenant) => sql`parent_id = ${tenant} or ${below(tenant)}`,
    "select",
  ),
  lock("tenants_below_change", below, "update"),
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

/** Where a tenant is found and billed (S4's OrgAddress). */
export const tenantAddresses = pgTable("tenant_addresses", {
  ...tenantRow,
  kind: text({ enum: addressKinds }).notNull(),
  lines: words(),
  city: text().notNull(),
  region: text(),
  postalCode: text(),
  country: text().notNull(), // ISO 3166-1 alpha-2.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  tenantOnly,
]);

/** A name of the DNS that a tenant claims, and has shown to be its own once it is verified. */
export const domains = pgTable("domains", {
  ...tenantRow,
  name: text().notNull(), // Lower case, IDNA in ASCII, without a dot at the end.
  challenge: text().notNull(), // What the TXT record must hold.
  verifiedAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  unique("idx_domains_tenant_name").on(t.tenantId, t.name),
  uniqueIndex("idx_domains_verified_name").on(t.name).where(sql`verified_at is not null`),
  tenantOnly,
]);

/** People, and the service accounts that own keys. */
export const users = pgTable("users", {
  ...tenantRow,
  ...metadata,
  kind: text({ enum: userKinds }).notNull().default("person"),
  email: text(), // Lower case, as it is compared. A service account has none.
  displayName: text().notNull(),
  status: text({ enum: statuses }).notNull().default("active"),
  isEmailShown: boolean().notNull().default(false), // Somebody has shown that the e-mail is theirs.
  // Raised when the account may have come into other hands: what was connected before is closed.
  holderVersion: integer().notNull().default(1),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  unique("idx_users_tenant_email").on(t.tenantId, t.email),
  index("idx_users_email").on(t.email), // Sign-in looks across tenants, through a definer function.
  index("idx_users_display_name").on(t.tenantId, sql`lower(display_name) text_pattern_ops`),
  check("users_person_has_email", sql`kind <> 'person' or email is not null`),
  tenantOnly,
]);

/** What proves a user: the row's id is the user's. */
export const userSecurity = pgTable("user_security", {
  ...tenantRow,
  passwordHash: text(),
  passwordChangedAt: at(),
  totpSecret: sealed(),
  totpConfirmedAt: at(), // Asked for at sign-in from then on.
  totpStep: integer(), // The last time step a code was taken for: none is taken twice (RFC 6238, 5.2).
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
  previousCounter: integer(), // The token whose use made the current one.
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

/** Access tokens that were ended before their time, by their `jti`. */
export const revokedTokens = pgTable("revoked_tokens", {
  ...tenantRow,
  ...owned,
  expiresAt: at().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  index("idx_revoked_tokens_owner_user_id").on(t.tenantId, t.ownerUserId),
  index("idx_revoked_tokens_expires_at").on(t.expiresAt), // The sweep goes across tenants.
  tenantOnly,
]);

/** A kind of name that another system has for our users: a payroll number, a CRM's id. */
export const foreignIdTypes = pgTable("foreign_id_types", {
  ...tenantRow,
  name: text().notNull(),
  description: text(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  unique("idx_foreign_id_types_tenant_name").on(t.tenantId, t.name),
  tenantOnly,
]);

export const foreignIds = pgTable("foreign_ids", {
  ...tenantRow,
  ...owned,
  typeId: uuid().notNull(),
  value: text().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  foreignKey({
    columns: [t.tenantId, t.typeId],
    foreignColumns: [foreignIdTypes.tenantId, foreignIdTypes.id],
  }),
  unique("idx_foreign_ids_type_value").on(t.tenantId, t.typeId, t.value),
  index("idx_foreign_ids_owner_user_id").on(t.tenantId, t.ownerUserId, t.id),
  tenantOnly,
]);
