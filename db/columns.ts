/** The column vocabulary. A table is built from these words and its own columns, nothing else. */
import { type SQL, sql } from "drizzle-orm";
import {
  boolean,
  customType,
  jsonb,
  pgPolicy,
  smallint,
  text,
  timestamp,
  uuid,
} from "drizzle-orm/pg-core";
import { v7 } from "uuid";

/** Milliseconds, as JavaScript keeps them: what is read back equals what was written. */
export const at = () => timestamp({ withTimezone: true, mode: "date", precision: 3 });

export const row = {
  id: uuid().notNull().$defaultFn(() => v7()), // Sorts by age, so it is also the page cursor.
  createdAt: at().notNull().defaultNow(),
  // Strictly increasing per row, so that a version of the row can be named by it (ETag).
  updatedAt: at().notNull().defaultNow()
    .$onUpdate(() => sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`),
  schemaVersion: smallint().notNull().default(1),
};

/** A row that belongs to one tenant. Every query on such a table names the tenant. */
export const tenantRow = { tenantId: uuid().notNull(), ...row };
export const active = { isActive: boolean().notNull().default(true) };
export const owned = { ownerUserId: uuid().notNull() };
export const metadata = {
  metadata: jsonb().$type<Record<string, unknown>>().notNull().default({}),
};
export const words = () => text().array().notNull().default(sql`'{}'::text[]`);

/** Ciphertext. A domain in the database refuses anything that is not sealed. */
export const sealed = customType<{ data: string; driverData: string }>({
  dataType: () => "sealed",
});

const tenant = sql`nullif(current_setting('app.tenant_id', true), '')::uuid`;

/** The second lock: the database itself shows and takes only the rows that `condition` names. */
export const lock = (
  name: string,
  condition: (tenant: SQL) => SQL,
  to: "all" | "select" | "insert" | "update" = "all",
) =>
  pgPolicy(name, {
    for: to,
    ...(to === "insert" ? {} : { using: condition(tenant) }),
    ...(to === "select" ? {} : { withCheck: condition(tenant) }),
  });

export const tenantOnly = lock("tenant_only", (tenant) => sql`tenant_id = ${tenant}`);
