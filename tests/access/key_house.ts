/** Keys of a tenant, and processes that are shown them: their queries are counted and can be held up. */
import { sql } from "drizzle-orm";
import type { Database } from "../../db/client.ts";
import { isNamed } from "../../db/named_queries.ts";
import type { Permission } from "../../src/access/permissions.ts";
import { principals } from "../../src/access/principals.ts";
import { cache } from "../../src/cache/cache.ts";
import type { Services } from "../../src/context.ts";
import { patient } from "../../src/retries.ts";
import { home } from "../identity/house.ts";

export const passed = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export async function keyHouse() {
  const h = await home();

  /** A fresh process over the same database, whose queries are counted and can be held up. */
  function process() {
    const { database } = h.w.process;
    const count = { queries: 0, read: 0, writes: 0, epochs: 0 };
    const gate: { hold: Promise<void> | null; error: Error | null } = { hold: null, error: null };
    const nameOf = (statement: Parameters<Database["query"]>[0]) =>
      isNamed(statement) ? statement.name : null;
    const gated: Database["query"] = async (statement) => {
      const { hold, error } = gate;
      const rows = await database.query(statement);
      if (nameOf(statement) === "api_keys_by_id") count.read++;
      await hold;
      if (error) throw error;
      return rows;
    };
    const services: Services = {
      ...h.w.process,
      cache: cache({
        redis: null,
        now: () => h.clock.ms,
        epochsOf: async (tenantId) => {
          count.epochs++;
          const rows = await gated(sql`select * from epochs_of(${tenantId}::uuid)`);
          return Object.fromEntries(rows.map(({ topic, epoch }) => [String(topic), Number(epoch)]));
        },
      }),
      database: patient({
        ...database,
        query: (statement) => {
          if (nameOf(statement) === "api_keys_used") count.writes++;
          else count.queries++;
          return gated(statement);
        },
      }),
    };
    return { ...principals(services), count, gate };
  }

  /** What every change of access does besides. */
  const announce = (tenantId: string) =>
    h.sql(
      `insert into cache_epochs as e (tenant_id, topic) values ($1, 'access')
      on conflict (tenant_id, topic) do update set epoch = e.epoch + 1`,
      [tenantId],
    );

  const minted = async (
    more: { scopes?: Permission[]; expiresAt?: Date; role?: string } = {},
  ) => {
    const tenantId = await h.tenantBelow();
    const owner = await h.login(tenantId, { role: more.role ?? "admin" });
    const { scopes = ["audit.read", "api_keys.create"], expiresAt } = more;
    const made = await h.w.as(owner).identity.apiKeys.create({ name: "k", scopes, expiresAt });
    return { tenantId, owner, key: made.key, id: made.apiKey.id };
  };

  return { h, process, minted, announce };
}
