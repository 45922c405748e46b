/** Opens the database. The only files that know which driver runs it are this one and embedded.ts. */
import { neonConfig, Pool, type PoolClient } from "@neondatabase/serverless";
import { type SQL, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-serverless";
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";
import pg from "pg";
import { isBroken } from "./failures.ts";

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

/** Lends one session to `work`, and to nobody else until it is done. */
export type Lend = <T>(work: (session: Db) => Promise<T>) => Promise<T>;

/** Wraps the sessions of a driver as ours. */
export function databaseOf(
  lend: Lend,
  { driver, role, close }: Pick<Database, "driver" | "role" | "close">,
): Database {
  const transaction: Database["transaction"] = async (work, accessMode) => {
    let failure: { error: unknown } | undefined;
    const noted = (db: Db) =>
      work(db).catch((error) => {
        failure = { error };
        throw error;
      });
    try {
      return await lend((session) => session.transaction(noted, { accessMode }));
    } catch (error) {
      throw failure ? failure.error : error; // The rollback of a lost session fails as well.
    }
  };
  const query: Database["query"] = async (statement) => {
    if (!role) return rowsOf(await lend((session) => session.execute(statement)));
    return await transaction(async (db) => {
      await db.execute(sql`select set_config('role', ${role}, true)`);
      return rowsOf(await db.execute(statement));
    }, "read write");
  };
  return { driver, role, close, transaction, query };
}

export type OpenOptions = {
  driver?: "auto" | "neon" | "postgres";
  /** Connections this process may hold. */
  poolSize?: number;
  /** A WebSocket proxy in front of a Postgres that is not Neon: `host:port/path`. */
  webSocketProxy?: string;
};

const isNeon = (url: string) => /\.neon\.tech$/.test(new URL(url).hostname);

/** Node's driver and Neon's are one program with two kinds of socket. */
const TcpPool: typeof Pool = pg.Pool;

/** The server ends a statement after 15 s; this is for a network that swallows its answer. */
const ANSWER_WITHIN_MS = 20_000;

/** Opens `postgres://…`: through Neon's WebSocket driver when the host is Neon's, else over TCP. */
export function open(url: string, options: OpenOptions = {}): Database {
  const { driver: wanted = "auto", poolSize = 10, webSocketProxy } = options;
  const driver = wanted === "auto" ? (isNeon(url) ? "neon" : "postgres") : wanted;
  if (driver === "neon") configureNeon(webSocketProxy);
  const pool = new (driver === "neon" ? Pool : TcpPool)({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    query_timeout: ANSWER_WITHIN_MS,
    keepAlive: true,
  });
  // A connection that breaks says so to whoever waits for its answer; else to nobody.
  pool.on("error", () => {});
  pool.on("connect", (client: PoolClient) => void client.on("error", () => {}));
  return databaseOf((work) => lendFrom(pool, work), {
    driver,
    role: null,
    close: () => pool.end(),
  });
}

/** A session whose connection broke does not go back to the pool. */
async function lendFrom<T>(pool: Pool, work: (session: Db) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let isLost = false;
  try {
    return await work(drizzle({ client, casing: "snake_case" }));
  } catch (error) {
    isLost = isBroken(error);
    throw error;
  } finally {
    client.release(isLost);
  }
}

function configureNeon(webSocketProxy: string | undefined) {
  neonConfig.webSocketConstructor = WebSocket;
  if (!webSocketProxy) return;
  neonConfig.wsProxy = webSocketProxy;
  neonConfig.useSecureWebSocket = false;
  neonConfig.pipelineConnect = false;
  neonConfig.pipelineTLS = false;
}
