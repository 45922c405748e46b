/** Machinery: keys that seal, epochs that tell caches of a change, requests that must not run twice. */
import { sql } from "drizzle-orm";
import {
  bigint,
  foreignKey,
  index,
  jsonb,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import { at, sealed, tenantOnly, tenantRow } from "../columns.ts";
import { tenants } from "./identity.ts";

/** The key-encryption keys this installation knows by name. The keys themselves are never here. */
export const encryptionKeys = pgTable("encryption_keys", {
  id: text().notNull(),
  state: text({ enum: ["added", "primary", "retired"] }).notNull(),
  checkValue: text().notNull(), // Tells that two processes hold the same bytes under one name.
  createdAt: at().notNull().defaultNow(),
}, (t) => [
  primaryKey({ columns: [t.id] }),
  uniqueIndex("idx_encryption_keys_one_primary").on(t.state).where(sql`state = 'primary'`),
]);

/** The running processes and the key-encryption keys each of them has. */
export const instances = pgTable("instances", {
  id: uuid().notNull(),
  keys: jsonb().$type<Record<string, string>>().notNull(),
  startedAt: at().notNull().defaultNow(),
  seenAt: at().notNull().defaultNow(),
}, (t) => [
  primaryKey({ columns: [t.id] }),
  index("idx_instances_seen_at").on(t.seenAt),
]);

/** A tenant's data keys, wrapped by a key-encryption key. */
export const dataKeys = pgTable("data_keys", {
  ...tenantRow,
  purpose: text({ enum: ["encrypt", "fingerprint"] }).notNull(),
  state: text({ enum: ["current", "old"] }).notNull().default("current"),
  encryptionKeyId: text().notNull(),
  wrapped: text().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  foreignKey({ columns: [t.encryptionKeyId], foreignColumns: [encryptionKeys.id] }),
  uniqueIndex("idx_data_keys_one_current").on(t.tenantId, t.purpose).where(sql`state = 'current'`),
  index("idx_data_keys_encryption_key_id").on(t.encryptionKeyId),
  tenantOnly,
]);

/** Counts the changes of a topic in a tenant. What was read under an older epoch is no longer shown. */
export const cacheEpochs = pgTable("cache_epochs", {
  tenantId: uuid().notNull(),
  topic: text().notNull(),
  epoch: bigint({ mode: "number" }).notNull().default(1),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.topic] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  tenantOnly,
]);

/** A request that carries an Idempotency-Key: running under a lease, or done with its answer. */
export const idempotencyKeys = pgTable("idempotency_keys", {
  ...tenantRow,
  principal: text().notNull(),
  procedure: text().notNull(),
  keyHash: text().notNull(),
  requestHash: text().notNull(),
  state: text({ enum: ["running", "done"] }).notNull().default("running"),
  holder: uuid().notNull(),
  leaseUntil: at().notNull(),
  answer: sealed(),
  expiresAt: at().notNull(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId], foreignColumns: [tenants.id] }),
  uniqueIndex("idx_idempotency_keys_key").on(t.tenantId, t.principal, t.procedure, t.keyHash),
  index("idx_idempotency_keys_expires_at").on(t.expiresAt), // The sweep goes across tenants.
  tenantOnly,
]);

/** Work that one process at a time may do. */
export const leases = pgTable("leases", {
  name: text().notNull(),
  holder: uuid().notNull(),
  until: at().notNull(),
}, (t) => [primaryKey({ columns: [t.name] })]);
