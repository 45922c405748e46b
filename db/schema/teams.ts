/** Teams and chat: who chats with which models under which limits, what was said, and what it used. */
import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  check,
  date,
  foreignKey,
  index,
  integer,
  numeric,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import {
  active,
  at,
  lock,
  metadata,
  row,
  sealed,
  tenantOnly,
  tenantRow,
  words,
} from "../columns.ts";
import { tenants } from "./identity.ts";

export const platformTypes = ["public", "private"] as const;
export const usageSources = ["provider", "counted", "input_floor"] as const;
/** What became of an admitted request; `lost`: its process ended before it could say. */
export const outcomes = ["answered", "failed", "aborted", "cut", "lost"] as const;
export const endpoints = ["chat.completions", "embeddings"] as const;
export const messageRoles = ["user", "assistant"] as const;

const rootOnly = lock(
  "catalogue_write",
  (tenant) => sql`${tenant} = '00000000-0000-7000-8000-000000000001'::uuid`,
);
const readByAll = lock("catalogue_read", () => sql`true`, "select");

/** What a platform type gives its teams where they say nothing themselves (S3's PlatformConfig). */
export const platformConfigs = pgTable("platform_configs", {
  ...row,
  platformType: text({ enum: platformTypes }).notNull(),
  defaultModel: text().notNull(),
  availableModels: words(),
  rateLimit: integer().notNull(), // Requests a minute.
  maxHistory: integer().notNull(), // Messages.
  allowModelSwitch: boolean().notNull(),
  requiresAuth: boolean().notNull(),
  commands: words(),
}, (t) => [
  primaryKey({ columns: [t.id] }),
  uniqueIndex("idx_platform_configs_platform_type").on(t.platformType),
  readByAll,
  rootOnly,
]);

export const teams = pgTable("teams", {
  ...tenantRow,
  ...active,
  ...metadata,
  platformName: text().notNull(),
  displayName: text().notNull(),
  platformType: text({ enum: platformTypes }).notNull().default("private"),
  monthlyQuota: integer(), // Requests; null: as many as they like.
  dailyQuota: integer(),
  // Null: what the platform type gives.
  rateLimit: integer(),
  maxHistory: integer(),
  defaultModel: text(),
  availableModels: text().array(),
  allowModelSwitch: boolean(),
  keysChangedAt: at(), // When a key of theirs was last taken back or given another end.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  // Public channels address a team by it, before any tenant is known.
  uniqueIndex("ix_teams_platform_name").on(sql`lower(platform_name)`),
  uniqueIndex("ix_teams_display_name").on(t.tenantId, t.displayName),
  index("ix_teams_platform_type").on(t.tenantId, t.platformType),
  check("teams_rate_limit", sql`rate_limit between 1 and 1000`),
  check("teams_max_history", sql`max_history between 1 and 100`),
  check("teams_quotas", sql`daily_quota >= 0 and monthly_quota >= 0`),
  tenantOnly,
]);

/** Where models are served, by how their names begin. The root tenant's serve every tenant. */
export const upstreams = pgTable("upstreams", {
  ...tenantRow,
  ...active,
  name: text().notNull(),
  modelPrefix: text().notNull(), // Empty: every model.
  stripsPrefix: boolean().notNull().default(false), // The provider knows its models without it.
  baseUrl: text().notNull(),
  apiKey: sealed(),
  apiKeyFingerprint: text(),
  timeoutMs: integer().notNull().default(60_000), // To the first byte of an answer.
  idleMs: integer().notNull().default(60_000), // Between two bytes of it.
  maxAttempts: integer().notNull().default(2),
  fallbackModels: words(), // Asked in this order when the model fails; a team's own list still rules.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  uniqueIndex("idx_upstreams_model_prefix").on(t.tenantId, t.modelPrefix).where(sql`is_active`),
  tenantOnly,
]);

/** What a model costs from a day on, in millionths of the currency for a million tokens. */
export const modelPrices = pgTable("model_prices", {
  ...row,
  model: text().notNull(),
  inputMicros: bigint({ mode: "number" }).notNull(),
  outputMicros: bigint({ mode: "number" }).notNull(),
  currency: text().notNull().default("USD"),
  startsAt: at().notNull(),
}, (t) => [
  primaryKey({ columns: [t.id] }),
  uniqueIndex("idx_model_prices_model").on(t.model, t.startsAt),
  readByAll,
  rootOnly,
]);

/** A conversation of one user of a platform with a team (S3's ChatSession). */
export const chatSessions = pgTable("chat_sessions", {
  ...tenantRow,
  teamId: uuid().notNull(),
  platform: text().notNull(),
  userId: text().notNull(), // As the platform names them: none of our users.
  keyFamilyId: uuid(), // The first of the keys it belongs to; each rotated key passes it on.
  currentModel: text(), // Null: the team's default, whatever that becomes.
  totalMessageCount: integer().notNull().default(0),
  lastActivityAt: at().notNull().defaultNow(),
  turnId: uuid(), // The turn that is under way, until it ends or its time does.
  turnUntil: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.teamId], foreignColumns: [teams.tenantId, teams.id] }),
  unique("idx_chat_sessions_user").on(t.tenantId, t.teamId, t.platform, t.userId),
  index("idx_chat_sessions_team_id").on(t.tenantId, t.teamId, t.id),
  index("idx_chat_sessions_user_id").on(t.tenantId, t.userId, t.id),
  tenantOnly,
]);

/** Partitioned by month over the id, which is time. */
export const messages = pgTable("messages", {
  ...tenantRow,
  sessionId: uuid().notNull(),
  role: text({ enum: messageRoles }).notNull(),
  content: text().notNull(),
  model: text(), // That answered; null for what the user said.
  isPartial: boolean().notNull().default(false), // The answer was cut.
  clearedAt: at(), // No longer told to a model.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({
    columns: [t.tenantId, t.sessionId],
    foreignColumns: [chatSessions.tenantId, chatSessions.id],
  }),
  index("idx_messages_session_id").on(t.tenantId, t.sessionId, t.id),
  index("idx_messages_uncleared").on(t.tenantId, t.sessionId, t.id).where(sql`cleared_at is null`),
  tenantOnly,
]);

/** How many requests of a team were admitted in a day or month of its tenant's calendar. */
export const quotaCounters = pgTable("quota_counters", {
  tenantId: uuid().notNull(),
  teamId: uuid().notNull(),
  period: text({ enum: ["day", "month"] }).notNull(),
  startsOn: date().notNull(),
  admitted: bigint({ mode: "number" }).notNull().default(0), // What the quota bounds.
  settled: bigint({ mode: "number" }).notNull().default(0), // Those of them with a usage row.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.teamId, t.period, t.startsOn] }),
  foreignKey({ columns: [t.tenantId, t.teamId], foreignColumns: [teams.tenantId, teams.id] }),
  tenantOnly,
]);

/**
 * An admitted request that is not settled yet. Past its time anybody settles it at the floor. Its
 * team's counters refer to the team for it: they were counted on just before, and nobody deletes them.
 */
export const quotaLeases = pgTable("quota_leases", {
  tenantId: uuid().notNull(),
  id: uuid().notNull(),
  teamId: uuid().notNull(),
  apiKeyId: uuid(),
  sessionId: uuid(),
  userId: text(),
  endpoint: text({ enum: endpoints }).notNull(),
  model: text().notNull(),
  inputTokens: integer().notNull(), // Counted from what was sent: the floor.
  requestId: text().notNull(),
  dayOn: date().notNull(),
  monthOn: date().notNull(),
  admittedAt: timestamp({ withTimezone: true, mode: "date" }).notNull().defaultNow(),
  expiresAt: at().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  index("idx_quota_leases_expires_at").on(t.expiresAt), // The sweep goes across tenants.
  tenantOnly,
]);

/**
 * What each admitted request came to. Partitioned by month over the id; written once, from its lease,
 * and bound to its team as that is.
 */
export const usageLogs = pgTable("usage_logs", {
  ...tenantRow,
  teamId: uuid().notNull(),
  apiKeyId: uuid(),
  sessionId: uuid(),
  userId: text(),
  endpoint: text({ enum: endpoints }).notNull(),
  model: text().notNull(), // That was used in the end, a fallback perhaps.
  requestedModel: text().notNull(),
  outcome: text({ enum: outcomes }).notNull(),
  status: integer(), // The upstream's last; null when there was none.
  attempts: integer().notNull(),
  inputTokens: integer().notNull(),
  outputTokens: integer().notNull(),
  usageSource: text({ enum: usageSources }).notNull(),
  costMicros: numeric({ precision: 24, scale: 6 }), // Null: nobody knows what the model costs.
  latencyMs: integer(),
  firstByteMs: integer(),
  isStreamed: boolean().notNull(),
  requestId: text().notNull(),
  dayOn: date().notNull(), // In the tenant's time zone.
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  index("idx_usage_logs_team_id").on(t.tenantId, t.teamId, t.id),
  index("idx_usage_logs_session_id").on(t.tenantId, t.sessionId, t.id),
  // Few are not answered, and they are what is looked for.
  index("idx_usage_logs_outcome").on(t.tenantId, t.outcome, t.id)
    .where(sql`outcome <> 'answered'`),
  tenantOnly,
]);

/** The sums of usage rows, a day, model, key and user at a time. */
export const usageDays = pgTable("usage_days", {
  tenantId: uuid().notNull(),
  id: uuid().notNull(),
  teamId: uuid().notNull(),
  dayOn: date().notNull(),
  model: text().notNull(),
  apiKeyId: uuid(),
  userId: text(),
  requests: bigint({ mode: "number" }).notNull(),
  errors: bigint({ mode: "number" }).notNull(), // Not answered whole: failed, cut or lost.
  inputTokens: bigint({ mode: "number" }).notNull(),
  outputTokens: bigint({ mode: "number" }).notNull(),
  costMicros: numeric({ precision: 30, scale: 6 }).notNull(),
  unpriced: bigint({ mode: "number" }).notNull(), // Requests whose cost nobody knows.
  timed: bigint({ mode: "number" }).notNull(), // Requests with a latency.
  latencyMs: bigint({ mode: "number" }).notNull(), // Their sum.
  maxLatencyMs: integer().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.teamId], foreignColumns: [teams.tenantId, teams.id] }),
  unique("idx_usage_days_sum").on(t.tenantId, t.teamId, t.dayOn, t.model, t.apiKeyId, t.userId)
    .nullsNotDistinct(),
  index("idx_usage_days_day_on").on(t.tenantId, t.dayOn),
  tenantOnly,
]);
