/**
 * A database for this file alone: a copy of a migrated one on the server that TEST_DATABASE_URL names,
 * else an embedded one. What the service says to it can be listened to and bent.
 */
import type { QueryOptions } from "@electric-sql/pglite";
import { type Client, Pool as NeonPool, type PoolClient } from "@neondatabase/serverless";
import pg from "pg";
import { type Database, databaseOf, open, rowsOf, sessionOf } from "../db/client.ts";
import { type Embedded, embedded } from "../db/embedded.ts";
import { lendFrom } from "../db/kept_sessions.ts";
import { migrate, migrations, ownerOf } from "../db/migrate.ts";
import { ownedDatabase } from "./db/house.ts";
import { postgres, type PostgresServer } from "./stand_ins/postgres.ts";

export type Row = Record<string, unknown>;

export type TestDatabase = Database & {
  /** Asked as the superuser, past every policy; of several statements without parameters the last answers. */
  admin(text: string, params?: unknown[]): Promise<Row[]>;
  /** The role whose login the service has here, and nobody else. */
  login: string;
};

/** Told of every statement of the service, and in which transaction; answers what is asked instead. */
export type Hear = (text: string, params: unknown[], transaction: number) => string;

/** A migrated, empty database. */
export async function freshDatabase(hear?: Hear): Promise<TestDatabase> {
  const isGiven = Deno.env.has("TEST_DATABASE_URL");
  return isGiven ? await copied(await postgres(), hear) : await freshEmbedded(hear);
}

/** What is migrated the same way has the same name. */
async function schemaName(): Promise<string> {
  const names = (await migrations()).map(({ checksum }) => checksum).join("");
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(names));
  return new Uint8Array(hash).toHex().slice(0, 16);
}

let snapshot: Promise<Blob> | undefined;

/** An embedded one. */
export async function freshEmbedded(hear?: Hear): Promise<TestDatabase & Embedded> {
  const database = await embedded(undefined, await (snapshot ??= migrated()));
  const { client } = database;
  const [query, exec] = [client.query.bind(client), client.exec.bind(client)];
  if (hear) listenIn(client, hear);
  const admin: TestDatabase["admin"] = async (text, params) =>
    params?.length ? (await query<Row>(text, params)).rows : (await exec(text)).at(-1)?.rows ?? [];
  return { ...database, admin, login: "switchboard_service" };
}

/** A snapshot of one, kept for every process that tests this schema. */
async function migrated(): Promise<Blob> {
  const file = `${Deno.env.get("TMPDIR") ?? "/tmp"}/switchboard-${await schemaName()}.tar`;
  const kept = await Deno.readFile(file).catch(() => null);
  if (kept) return new Blob([kept]);
  const database = await embedded();
  await migrate(database);
  // Two thirds of the files, which every start would unpack.
  await database.client.exec("update pg_database set datistemplate = false");
  for (const name of ["template0", "template1"]) {
    await database.client.exec(`drop database ${name}`);
  }
  const dump = await database.client.dumpDataDir("none");
  await database.close();
  const part = `${file}.${crypto.randomUUID()}`;
  await Deno.writeFile(part, new Uint8Array(await dump.arrayBuffer()));
  await Deno.rename(part, file); // Whole or not at all, for the files that run beside this one.
  return dump;
}

type Query = (text: string, params?: unknown[], options?: QueryOptions) => Promise<{ rows: Row[] }>;

const bent = <S extends object>(session: S, query: unknown): S =>
  new Proxy(session, {
    get: (target, name) => name === "query" ? query : Reflect.get(target, name, target),
  });

function listenIn(client: Embedded["client"], hear: Hear) {
  const ask: Query = client.query.bind(client);
  const transaction = client.transaction.bind(client);
  const through = (query: Query, number: number): Query => (text, params = [], options) =>
    query(hear(text, params, number), params, options);
  let transactions = 0;
  Object.assign(client, {
    query: through(ask, 0),
    transaction: (work: (session: object) => Promise<unknown>) => {
      const number = ++transactions;
      return transaction((session) =>
        work(bent(session, through((...said) => session.query(...said), number)))
      );
    },
  });
}

const TcpClient: typeof Client = pg.Client;
const TcpPool: typeof NeonPool = pg.Pool;
const BIGINT = 20;

/** Numbers as the embedded database answers them. */
const types = {
  getTypeParser: (...[id, format]: Parameters<typeof pg.types.getTypeParser>) =>
    id === BIGINT ? Number : pg.types.getTypeParser(id, format),
};

async function connected(url: string) {
  const client = new TcpClient({ connectionString: url, types });
  client.on("error", () => {}); // Who waits for an answer is told.
  await client.connect();
  return client;
}

async function asked<T>(server: PostgresServer, work: (admin: Client) => Promise<T>): Promise<T> {
  const admin = await connected(server.url);
  return await work(admin).finally(() => admin.end());
}

/** Makes the database that others are copies of, unless it is there; answers its name. */
export const template = (server: PostgresServer): Promise<string> =>
  asked(server, async (admin) => {
    const name = `switchboard_${await schemaName()}`;
    await admin.query("select pg_advisory_lock(hashtext('switchboard.template'))");
    const { rowCount } = await admin.query("select from pg_database where datname = $1", [name]);
    if (rowCount) return name;
    const fresh = await ownedDatabase(server);
    const owner = ownerOf(fresh.ownerUrl);
    await migrate(owner);
    await owner.close();
    await admin.query(`alter database ${fresh.name} allow_connections false`);
    await admin.query(`alter database ${fresh.name} rename to ${name}`);
    return name;
  });

async function copied(server: PostgresServer, hear?: Hear): Promise<TestDatabase> {
  const [name, original] = [
    `test_${crypto.randomUUID().replaceAll("-", "")}`,
    await template(server),
  ];
  const [login, password] = [`${name}_service`, crypto.randomUUID()];
  await asked(server, async (admin) => {
    await admin.query(
      `create role ${login} login password '${password}' in role switchboard_service`,
    );
    await admin.query(`create database ${name} template ${original}`);
  });
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  const superuser = await connected(url.href);
  const admin: TestDatabase["admin"] = async (text, params) => {
    const answer: unknown = await superuser.query(text, params);
    return rowsOf(Array.isArray(answer) ? answer.at(-1) : answer);
  };
  [url.username, url.password] = [login, password];
  const database = hear ? overheard(url.href, hear) : open(url.href);
  const close = async () => {
    await database.close();
    await superuser.end();
    await asked(server, async (admin) => {
      await admin.query(`drop database ${name} with (force)`);
      await admin.query(`drop role ${login}`);
    });
  };
  return { ...database, admin, login, close };
}

/** As `open` opens it, each statement told of. */
function overheard(url: string, hear: Hear): Database {
  const pool = new TcpPool({ connectionString: url });
  // The drop ends what is on its way out, in `close`; whoever waits for an answer is told.
  pool.on("error", () => {});
  pool.on("connect", (client: PoolClient) => void client.on("error", () => {}));
  let transactions = 0;
  return databaseOf(
    (work) =>
      lendFrom(pool, (client) => {
        const number = ++transactions;
        const query = (said: string | { text: string }, params: unknown[] = []) =>
          typeof said === "string"
            ? client.query(hear(said, params, number), params)
            : client.query({ ...said, text: hear(said.text, params, number) }, params);
        return work(sessionOf(bent(client, query)));
      }),
    { driver: "postgres", role: null, close: () => pool.end() },
  );
}
