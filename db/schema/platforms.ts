/** Platforms: the catalogue, what a tenant has switched on, its secrets, and the accounts people connected. */
import { sql } from "drizzle-orm";
import {
  foreignKey,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
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
import { tenants, users } from "./identity.ts";

export const serviceTypes = ["email", "chat", "sms", "call"] as const;
export const authKinds = ["oauth2", "bot_token", "api_key", "basic"] as const;
export const credentialKinds = ["oauth_client", "api_key", "bot_token", "password"] as const;
export const bindingStates = ["active", "expiring", "needs_reauth", "revoked"] as const;
export const flowStates = ["pending", "coded", "completing", "completed", "failed"] as const;

/** The catalogue. Read by every tenant, written in the root tenant. */
export const platforms = pgTable("platforms", {
  ...row,
  ...active,
  ...metadata,
  name: text().notNull(),
  description: text(),
  serviceType: text({ enum: serviceTypes }).notNull(),
  authKind: text({ enum: authKinds }).notNull().default("oauth2"),
  authUrl: text(),
  tokenUrl: text(),
  revocationUrl: text(),
  userinfoUrl: text(),
  apiHosts: words(), // Origins the token proxy may reach: https://graph.microsoft.com
  defaultScopes: words(),
  documentationUrl: text(),
  quirks: jsonb().$type<Record<string, unknown>>().notNull().default({}),
  deletedAt: at(),
}, (t) => [
  primaryKey({ columns: [t.id] }),
  uniqueIndex("idx_platform_name").on(sql`lower(${t.name})`).where(sql`deleted_at is null`),
  index("idx_platform_service_type").on(t.serviceType),
  index("idx_platform_is_active").on(t.isActive),
  lock("catalogue_read", () => sql`true`, "select"),
  lock(
    "catalogue_write",
    (tenant) => sql`${tenant} = '00000000-0000-7000-8000-000000000001'::uuid`,
  ),
]);

export const platformCredentials = pgTable("platform_credentials", {
  ...tenantRow,
  ...active,
  platformId: uuid().notNull(),
  ownerUserId: uuid(), // Null: the tenant's own.
  kind: text({ enum: credentialKinds }).notNull().default("oauth_client"),
  name: text().notNull().default("default"),
  clientId: text().notNull(),
  clientSecret: sealed().notNull(), // The only place a secret is kept.
  secretFingerprint: text().notNull(),
  authUrl: text(),
  tokenUrl: text(),
  redirectUris: words(),
  scopes: words(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  foreignKey({ columns: [t.platformId], foreignColumns: [platforms.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  index("idx_platform_credential_platform_id").on(t.tenantId, t.platformId, t.id),
  uniqueIndex("idx_platform_credential_one_active").on(t.tenantId, t.platformId)
    .where(sql`is_active and owner_user_id is null`),
  uniqueIndex("idx_platform_credential_one_active_of_user")
    .on(t.tenantId, t.platformId, t.ownerUserId)
    .where(sql`is_active and owner_user_id is not null`),
  index("idx_platform_credential_platform").on(t.platformId),
  tenantOnly,
]);

export const servicePlatforms = pgTable("service_platforms", {
  ...tenantRow,
  ...active,
  platformId: uuid().notNull(),
  serviceName: text().notNull(), // The catalogue platform's name; it cannot be renamed while in use.
  credentialId: uuid().notNull(),
  providerTenantId: text(), // The provider's own directory id, S1's config.tenant_id.
  additionalData: jsonb().$type<Record<string, unknown>>(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  foreignKey({ columns: [t.platformId], foreignColumns: [platforms.id] }),
  foreignKey({
    columns: [t.tenantId, t.credentialId],
    foreignColumns: [platformCredentials.tenantId, platformCredentials.id],
  }),
  index("idx_service_platform_tenant_service").on(t.tenantId, t.serviceName),
  uniqueIndex("idx_service_platform_tenant_platform").on(t.tenantId, t.platformId), // One per service.
  index("idx_service_platform_platform").on(t.platformId),
  tenantOnly,
]);

/** A user's account at a provider. `token_version` fences every write of tokens. */
export const userPlatformBindings = pgTable("user_platform_bindings", {
  ...tenantRow,
  ...owned,
  ...active,
  ...metadata,
  platformId: uuid().notNull(),
  credentialId: uuid().notNull(), // The OAuth client that minted the tokens; only it can refresh them.
  externalUserId: text(),
  accessToken: sealed(),
  refreshToken: sealed(),
  tokenExpiresAt: at(),
  scopes: words(),
  state: text({ enum: bindingStates }).notNull().default("active"),
  stateReason: text(),
  tokenVersion: integer().notNull().default(1),
  refreshHolder: uuid(),
  refreshLeaseUntil: at(),
  refreshAttempts: integer().notNull().default(0), // Refreshes begun on this version of the token.
  refreshedAt: at(),
  holderVersion: integer().notNull().default(1), // Usable while it is the user's.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  foreignKey({ columns: [t.platformId], foreignColumns: [platforms.id] }),
  foreignKey({
    columns: [t.tenantId, t.credentialId],
    foreignColumns: [platformCredentials.tenantId, platformCredentials.id],
  }),
  index("idx_user_platform_binding_user_id").on(t.tenantId, t.ownerUserId, t.id),
  index("idx_user_platform_binding_platform_id").on(t.tenantId, t.platformId, t.id),
  index("idx_user_platform_binding_platform").on(t.platformId),
  uniqueIndex("idx_user_platform_binding_account")
    .on(t.tenantId, t.ownerUserId, t.platformId, t.externalUserId)
    .where(sql`state <> 'revoked'`),
  tenantOnly,
]);

/** One try to connect an account. Its state is used once, its code is kept sealed until `complete`. */
export const oauthFlows = pgTable("oauth_flows", {
  ...tenantRow,
  ...owned,
  platformId: uuid().notNull(),
  credentialId: uuid().notNull(),
  state: text({ enum: flowStates }).notNull().default("pending"),
  stateHash: text().notNull(),
  codeVerifier: sealed().notNull(),
  nonce: text().notNull(),
  code: sealed(),
  redirectUri: text().notNull(),
  scopes: words(),
  failure: text(),
  bindingId: uuid(),
  holderVersion: integer().notNull().default(1), // The user's when it began.
  expiresAt: at().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.ownerUserId], foreignColumns: [users.tenantId, users.id] }),
  foreignKey({ columns: [t.platformId], foreignColumns: [platforms.id] }),
  foreignKey({
    columns: [t.tenantId, t.credentialId],
    foreignColumns: [platformCredentials.tenantId, platformCredentials.id],
  }),
  index("idx_oauth_flows_expires_at").on(t.expiresAt),
  tenantOnly,
]);
