/** Signing in: how one joins, what stands in for a forgotten proof, and other houses' identity providers. */
import { sql } from "drizzle-orm";
import {
  boolean,
  foreignKey,
  index,
  pgTable,
  primaryKey,
  text,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import { active, at, owned, sealed, tenantOnly, tenantRow, words } from "../columns.ts";
import { groups, roles } from "./access.ts";
import { tenants, users } from "./identity.ts";
import { actorTypes } from "./trail.ts";

/** Somebody is asked to join, with a role and into a group that whoever asks holds now and then. */
export const invitations = pgTable("invitations", {
  ...tenantRow,
  email: text().notNull(),
  systemRole: text(), // A key of src/access/roles.ts, or …
  roleId: uuid(), // … a role of this tenant, or neither.
  groupId: uuid(),
  inviterType: text({ enum: actorTypes }).notNull(),
  inviterTenantId: uuid().notNull(),
  inviterId: uuid(), // No foreign key: an inviter may be of a tenant above.
  tokenHash: text().notNull(),
  expiresAt: at().notNull(),
  acceptedAt: at(),
  revokedAt: at(),
  ownerUserId: uuid(), // Who it became.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  foreignKey({ columns: [t.tenantId, t.roleId], foreignColumns: [roles.tenantId, roles.id] }),
  foreignKey({ columns: [t.tenantId, t.groupId], foreignColumns: [groups.tenantId, groups.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  uniqueIndex("idx_invitations_one_open").on(t.tenantId, t.email)
    .where(sql`accepted_at is null and revoked_at is null`),
  tenantOnly,
]);

export const passwordResets = pgTable("password_resets", {
  ...tenantRow,
  ...owned,
  tokenHash: text().notNull(),
  expiresAt: at().notNull(),
  usedAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  index("idx_password_resets_owner_user_id").on(t.tenantId, t.ownerUserId, t.id),
  index("idx_password_resets_expires_at").on(t.expiresAt), // The sweep goes across tenants.
  tenantOnly,
]);

/** Each stands in once for a code of a lost authenticator. */
export const recoveryCodes = pgTable("recovery_codes", {
  ...tenantRow,
  ...owned,
  codeHash: text().notNull(),
  usedAt: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  unique("idx_recovery_codes_hash").on(t.tenantId, t.ownerUserId, t.codeHash),
  tenantOnly,
]);

/** An OIDC issuer a tenant's people sign in with. */
export const identityProviders = pgTable("identity_providers", {
  ...tenantRow,
  ...active,
  name: text().notNull(),
  issuer: text().notNull(),
  clientId: text().notNull(),
  clientSecret: sealed().notNull(),
  secretFingerprint: text().notNull(),
  scopes: words(),
  groupClaim: text(), // The claim of the ID token that lists groups.
  createsUsers: boolean().notNull().default(false), // Makes users of a verified domain as they come.
  linksUsers: boolean().notNull().default(false), // Lets in who is a user here by a verified e-mail.
  systemRole: text(), // What a user made so is given.
  returnUris: words(), // Where a browser may be sent on to, letter for letter.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  unique("idx_identity_providers_tenant_name").on(t.tenantId, t.name),
  index("idx_identity_providers_id").on(t.id), // Sign-in begins with the id alone.
  tenantOnly,
]);

/** Which group a word of the provider's group claim stands for. */
export const identityProviderGroups = pgTable("identity_provider_groups", {
  ...tenantRow,
  identityProviderId: uuid().notNull(),
  claimValue: text().notNull(),
  groupId: uuid().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({
    columns: [t.tenantId, t.identityProviderId],
    foreignColumns: [identityProviders.tenantId, identityProviders.id],
  }),
  foreignKey({ columns: [t.tenantId, t.groupId], foreignColumns: [groups.tenantId, groups.id] }),
  unique("idx_identity_provider_groups_claim").on(
    t.tenantId,
    t.identityProviderId,
    t.claimValue,
    t.groupId,
  ),
  index("idx_identity_provider_groups_group_id").on(t.tenantId, t.groupId),
  tenantOnly,
]);

/** Who an issuer's subject is here. */
export const userIdentities = pgTable("user_identities", {
  ...tenantRow,
  ...owned,
  identityProviderId: uuid().notNull(),
  subject: text().notNull(),
  lastSignInAt: at().notNull(),
  isDoubted: boolean().notNull().default(false), // Until the provider names the user's new e-mail.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  foreignKey({
    columns: [t.tenantId, t.identityProviderId],
    foreignColumns: [identityProviders.tenantId, identityProviders.id],
  }),
  unique("idx_user_identities_subject").on(t.tenantId, t.identityProviderId, t.subject),
  index("idx_user_identities_owner_user_id").on(t.tenantId, t.ownerUserId),
  tenantOnly,
]);

/** One try to sign in at an identity provider. */
export const ssoFlows = pgTable("sso_flows", {
  ...tenantRow,
  identityProviderId: uuid().notNull(),
  state: text({ enum: ["pending", "coded", "done", "failed"] }).notNull().default("pending"),
  stateHash: text().notNull(),
  secretHash: text().notNull(), // Of what only the client that began it knows.
  nonce: text().notNull(),
  codeVerifier: sealed().notNull(),
  code: sealed(),
  issuer: text(), // As the answer named it.
  failure: text(),
  returnTo: text(),
  expiresAt: at().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({
    columns: [t.tenantId, t.identityProviderId],
    foreignColumns: [identityProviders.tenantId, identityProviders.id],
  }),
  index("idx_sso_flows_expires_at").on(t.expiresAt), // The sweep goes across tenants.
  tenantOnly,
]);
