/** The trail: what was done, and what others are told of it. Both are written with the change itself. */
import { foreignKey, index, jsonb, pgTable, primaryKey, text, uuid } from "drizzle-orm/pg-core";
import { tenantOnly, tenantRow } from "../columns.ts";
import { tenants } from "./identity.ts";

export type Diff = Record<string, { before: unknown; after: unknown }>;
export const actorTypes = ["user", "key", "system", "anonymous"] as const;

/** Partitioned by month over the id, which is time. Written once: the service may not change or remove it. */
export const auditEntries = pgTable("audit_entries", {
  ...tenantRow,
  actorType: text({ enum: actorTypes }).notNull(),
  actorTenantId: uuid().notNull(),
  actorId: uuid(), // No foreign key: an operator acts in tenants that are not theirs.
  action: text().notNull(),
  subjectType: text().notNull(),
  subjectId: uuid().notNull(),
  diff: jsonb().$type<Diff>().notNull(),
  requestId: text().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  index("idx_audit_entries_action").on(t.tenantId, t.action, t.id),
  index("idx_audit_entries_subject_id").on(t.tenantId, t.subjectId, t.id),
  index("idx_audit_entries_actor_id").on(t.tenantId, t.actorId, t.id),
  tenantOnly,
]);

export const events = pgTable("events", {
  ...tenantRow,
  type: text().notNull(),
  source: text().notNull(), // The CloudEvents source: /platforms, /service-platforms, …
  subjectId: uuid().notNull(),
  data: jsonb().$type<Record<string, unknown>>().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  index("idx_events_type").on(t.tenantId, t.type, t.id),
  index("idx_events_subject_id").on(t.tenantId, t.subjectId, t.id),
  tenantOnly,
]);
