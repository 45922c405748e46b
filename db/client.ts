/** Opens the database. The only files that know which driver runs it are this one and embedded.ts. */
import { neonConfig, Pool, type PoolClient } from "@neondatabase/serverless";
import { type SQL, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-serverless";
import { type PgDatabase, PgDialect, type PgQueryResultHKT } from "drizzle-orm/pg-core";
import { Socket } from "node:net";
import pg from "pg";
import { isForgotten } from "./failures.ts";
import { KeptSessions, lendFrom } from "./kept_sessions.ts";
import { askNamed, isNamed, type Named, unnamed } from "./named_queries.ts";
import { TcpStream } from "./tcp_stream.ts";

/** One type for every driver and for a transaction, so that a verb never knows which it has. */
export type Db = PgDatabase<PgQueryResultHKT>;

export type Database = {
  readonly driver: "neon" | "postgres" | "embedded";
  /** Set when every session logs in as superuser and must put the service's role on (embedded). */
  readonly role: string | null;
  /** A transaction; `access` is told to the server. */
  transaction<T>(work: (db: Db) => Promise<T>, access: "read write" | "read only"): Promise<T>;
  /**
   * One statement outside any tenant: only definer functions answer anything here. One with a name is
   * parsed and planned once by a session.
   */
  query(statement: SQL | Named): Promise<Record<string, unknown>[]>;
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

const plain = (statement: SQL | Named) => isNamed(statement) ? unnamed(statement) : statement;

/** Wraps the sessions of a driver as ours; `ask` is its own way to one statement, if it has one. */
export function databaseOf(
  lend: Lend,
  { driver, role, close }: Pick<Database, "driver" | "role" | "close">,
  ask: Database["query"] = async (statement) =>
    rowsOf(await lend((session) => session.execute(plain(statement)))),
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
    if (!role) return await ask(statement);
    return await transaction(async (db) => {
      await db.execute(sql`select set_config('role', ${role}, true)`);
      return rowsOf(await db.execute(plain(statement)));
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

/** Encryption is Node's: it wants a socket of its own kind beneath it. */
const streamFor = ({ ssl }: { ssl?: unknown } = {}) =>
  ssl ? new Socket() : new TcpStream(ANSWER_WITHIN_MS);

/** The server ends a transaction's statement after 15 s; this is for a network that swallows its answer. */
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
    keepAlive: true,
    ...driver === "neon" ? {} : { stream: streamFor },
    ...driver === "neon" || new pg.Client(url).ssl ? { query_timeout: ANSWER_WITHIN_MS } : {},
  });
  // A connection that breaks says so to whoever waits for its answer; else to nobody.
  pool.on("error", () => {});
  pool.on("connect", (client: PoolClient) => void client.on("error", () => {}));
  const kept = new KeptSessions(pool, Math.min(3, Math.floor(poolSize / 3)));
  const close = async () => {
    kept.close();
    await pool.end();
  };
  return databaseOf(
    (work) => lendFrom(pool, (client) => work(sessionOf(client))),
    { driver, role: null, close },
    asking(pool, kept),
  );
}

const casing = "snake_case";
/** A driver's session as ours. */
export const sessionOf = (client: PoolClient): Db => drizzle({ client, casing });
const dialect = new PgDialect({ casing });
/** Dates, times and lists of them and of numerics, as the server writes them: what drizzle gives too. */
const written = new Set([1082, 1114, 1184, 1186, 1115, 1182, 1185, 1187, 1231]);
const types = {
  getTypeParser: (...[id, format]: Parameters<typeof pg.types.getTypeParser>) =>
    written.has(id) ? String : pg.types.getTypeParser(id, format),
};

/**
 * Without drizzle's session, which takes longer to make than a small statement to send. Named
 * statements go over sessions of their own, which a pool takes as long to lend.
 */
function asking(pool: Pool, kept: KeptSessions): Database["query"] {
  let areKept = true;
  const ask = (text: string, params: unknown[]) =>
    lendFrom(pool, async (client) => (await client.query({ text, types }, params)).rows);
  return async (statement) => {
    if (!isNamed(statement)) {
      const { sql: text, params } = dialect.sqlToQuery(statement);
      return await ask(text, params);
    }
    const { text, values } = statement;
    if (!areKept) return await ask(text, [...values]);
    try {
      return await kept.lend((client) => askNamed(client, statement, types));
    } catch (error) {
      if (!isForgotten(error)) throw error;
      areKept = false; // A pooler stands between, and others' statements are where ours was.
      kept.rest();
      return await ask(text, [...values]);
    }
  };
}

function configureNeon(webSocketProxy: string | undefined) {
  neonConfig.webSocketConstructor = WebSocket;
  if (!webSocketProxy) return;
  neonConfig.wsProxy = webSocketProxy;
  neonConfig.useSecureWebSocket = false;
  neonConfig.pipelineConnect = false;
  neonConfig.pipelineTLS = false;
}
