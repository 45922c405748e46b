/**
 * A real Postgres for tests that need one: the server TEST_DATABASE_URL names, else the one npm
 * brought, else an installed version that the caller asks for by its number.
 */
import connect from "postgres";
import { type Binaries, binariesIn, bundledBinaries, installed } from "./postgres_binaries.ts";
import {
  type Account,
  folderFor,
  freePort,
  leash,
  type Leashed,
  runToEnd,
  unprivileged,
  untilReady,
  writeFor,
} from "./processes.ts";

export { installed } from "./postgres_binaries.ts";

export interface PostgresServer extends AsyncDisposable {
  /** Reaches the server's own database as its superuser (with TEST_DATABASE_URL: as that login). */
  readonly url: string;
  readonly major: number;
  stop(): Promise<void>;
}

export interface FreshDatabase extends AsyncDisposable {
  readonly name: string;
  /** A login that owns the database, may create roles and is no superuser, as Neon's owner. */
  readonly ownerUrl: string;
  /** The server's superuser, connected to this database. */
  readonly adminUrl: string;
  /** This database as another login, for example the service's role. */
  urlAs(role: string, password: string): string;
  /** Also drops the roles whose names start with this database's name and an underscore. */
  drop(): Promise<void>;
}

/**
 * Starts a server, or joins the one TEST_DATABASE_URL names. `major` asks for an installed version
 * and fails where it is absent: skip such a test with `ignore: installed(15) === undefined`.
 */
export async function postgres(options: { major?: number } = {}): Promise<PostgresServer> {
  const account = unprivileged();
  if (options.major !== undefined) {
    const folder = installed(options.major);
    if (folder === undefined) throw new Error(`Postgres ${options.major} is not installed`);
    return start(await binariesIn(folder, account), account);
  }
  const given = Deno.env.get("TEST_DATABASE_URL");
  if (given) return await join(given);
  return start(await bundledBinaries(account), account);
}

async function join(url: string): Promise<PostgresServer> {
  const stop = () => Promise.resolve();
  const major = await withAdmin(url, async (sql) => {
    const [row] = await sql<{ version: string }[]>`
      select current_setting('server_version_num') as version`;
    return Math.floor(Number(row?.version) / 10_000);
  });
  return { url, major, stop, [Symbol.asyncDispose]: stop };
}

async function start(
  binaries: Binaries,
  account: Account | undefined,
  attemptsLeft = 3,
): Promise<PostgresServer> {
  const folder = await folderFor(account, "switchboard-postgres-");
  const password = randomName("secret");
  const port = freePort();
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  let server: Leashed;
  try {
    await initialise(binaries, folder, password, account);
    server = leash([
      `${binaries.folder}/postgres`,
      ...["-D", `${folder}/data`, "-p", String(port)],
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ], { folder, account, signal: "QUIT" });
  } catch (error) {
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
  try {
    await untilReady(server, async () => (await server.log()).includes("ready to accept conn"));
  } catch (error) {
    // Somebody took the free port between our look and the server's.
    if (attemptsLeft > 1 && String(error).includes("could not bind")) {
      return start(binaries, account, attemptsLeft - 1);
    }
    throw error;
  }
  return { url, major: binaries.major, stop: server.stop, [Symbol.asyncDispose]: server.stop };
}

const settings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: 500,
  shared_buffers: "64MB",
  fsync: "off",
  full_page_writes: "off",
  synchronous_commit: "off",
  jit: "off",
  timezone: "UTC",
};

async function initialise(
  { folder: binaries, major }: Binaries,
  folder: string,
  password: string,
  account: Account | undefined,
): Promise<void> {
  await writeFor(account, `${folder}/password`, password);
  const locale = major >= 17
    ? ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    : ["--locale=C.UTF-8"];
  await runToEnd([
    `${binaries}/initdb`,
    ...["-D", `${folder}/data`, "-U", "postgres", "-E", "UTF8", "-A", "scram-sha-256"],
    ...["--pwfile", `${folder}/password`, "--no-sync", "--no-instructions", ...locale],
  ], account);
}

/** A database of its own for one test file, owned by a login that is no superuser. */
export async function freshDatabase(server: PostgresServer): Promise<FreshDatabase> {
  const name = randomName("test");
  const owner = `${name}_owner`;
  const password = randomName("secret");
  await withAdmin(server.url, async (sql) => {
    await sql.unsafe(`create role ${owner} login createrole createdb password '${password}'`);
    const [me] = await sql<{ isSuper: boolean }[]>`
      select rolsuper as "isSuper" from pg_roles where rolname = current_user`;
    if (!me?.isSuper) await sql.unsafe(`grant ${owner} to current_user`);
    await sql.unsafe(`create database ${name} owner ${owner}`);
  });
  const urlAs = (role: string, secret: string) => {
    const url = new URL(server.url);
    url.pathname = `/${name}`;
    url.username = encodeURIComponent(role);
    url.password = encodeURIComponent(secret);
    return url.href;
  };
  const admin = new URL(server.url);
  admin.pathname = `/${name}`;
  const drop = () =>
    withAdmin(server.url, async (sql) => {
      await sql.unsafe(`drop database if exists ${name} with (force)`);
      const roles = await sql<{ role: string }[]>`
        select rolname as role from pg_roles where starts_with(rolname, ${name + "_"})`;
      for (const { role } of roles) await sql.unsafe(`drop owned by ${role}`);
      for (const { role } of roles) await sql.unsafe(`drop role ${role}`);
    });
  return {
    name,
    ownerUrl: urlAs(owner, password),
    adminUrl: admin.href,
    urlAs,
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

async function withAdmin<T>(url: string, work: (sql: connect.Sql) => Promise<T>): Promise<T> {
  const sql = connect(url, { max: 1, onnotice: () => {} });
  try {
    return await work(sql);
  } finally {
    await sql.end();
  }
}

function randomName(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}`;
}
