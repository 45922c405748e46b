/** Opens the database. The only files that know which driver runs it are this one and embedded.ts. */
import { neonConfig, Pool } from "@neondatabase/serverless";
import { type SQL, sql } from "drizzle-orm";
import { drizzle as overNeon } from "drizzle-orm/neon-serverless";
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";
import { drizzle as overPostgres } from "drizzle-orm/postgres-js";
import postgres from "postgres";

/** One type for every driver and for a transaction, so that a verb never knows which it has. */
export type Db = PgDatabase<PgQueryResultHKT>;

export type Database = {
  readonly driver: "neon" | "postgres" | "embedded";
  /** Set when every session logs in as superuser and must put the service's role on (embedded). */
  readonly role: string | null;
  /** A transaction; `access` is told to the server. */
  transaction<T>(work: (db: Db) => Promise<T>, access: "read write" | "read only"): Promise<T>;
  /** One statement outside any tenant: only definer functions answer anything here. */
  query(statement: SQL): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
};

/** Drivers answer raw statements with an array or with `{ rows }`. */
export function rowsOf(result: unknown): Record<string, unknown>[] {
  if (Array.isArray(result)) return result;
  if (typeof result === "object" && result !== null && "rows" in result) return rowsOf(result.rows);
  return [];
}

/** Wraps any Drizzle database as ours. */
export function databaseOf(
  db: Db,
  { driver, role, close }: Pick<Database, "driver" | "role" | "close">,
): Database {
  return {
    driver,
    role,
    close,
    transaction: (work, access) => db.transaction(work, { accessMode: access }),
    query: async (statement) => {
      if (!role) return rowsOf(await db.execute(statement));
      return await db.transaction(async (db) => {
        await db.execute(sql`select set_config('role', ${role}, true)`);
        return rowsOf(await db.execute(statement));
      });
    },
  };
}

export type OpenOptions = {
  driver?: "auto" | "neon" | "postgres";
  /** Connections this process may hold. */
  poolSize?: number;
  /** A WebSocket proxy in front of a Postgres that is not Neon: `host:port/path`. */
  webSocketProxy?: string;
};

const isNeon = (url: string) => /\.neon\.tech$/.test(new URL(url).hostname);

/** Opens `postgres://…`: through Neon's WebSocket driver when the host is Neon's, else over TCP. */
export function open(url: string, options: OpenOptions = {}): Database {
  const { driver = "auto", poolSize = 10 } = options;
  if (driver === "neon" || (driver === "auto" && isNeon(url))) return openNeon(url, options);
  const client = postgres(url, {
    max: poolSize,
    connect_timeout: 10,
    idle_timeout: 60,
    prepare: false, // Poolers in transaction mode hand every transaction another session.
    onnotice: () => {},
  });
  return databaseOf(overPostgres({ client, casing: "snake_case" }), {
    driver: "postgres",
    role: null,
    close: () => client.end({ timeout: 5 }),
  });
}

function openNeon(url: string, { poolSize = 10, webSocketProxy }: OpenOptions): Database {
  neonConfig.webSocketConstructor = WebSocket;
  if (webSocketProxy) {
    neonConfig.wsProxy = webSocketProxy;
    neonConfig.useSecureWebSocket = false;
    neonConfig.pipelineConnect = false;
    neonConfig.pipelineTLS = false;
  }
  const pool = new Pool({ connectionString: url, max: poolSize, connectionTimeoutMillis: 10_000 });
  pool.on("error", () => {}); // An idle connection that breaks is replaced on the next use.
  return databaseOf(overNeon({ client: pool, casing: "snake_case" }), {
    driver: "neon",
    role: null,
    close: () => pool.end(),
  });
}
