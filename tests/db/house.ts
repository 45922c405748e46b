/** A database as an installation has it: made by its owner, served by a login that owns nothing. */
import connect from "postgres";
import { migrate, ownerOf } from "../../db/migrate.ts";
import {
  type FreshDatabase,
  freshDatabase,
  postgres,
  type PostgresServer,
} from "../stand_ins/postgres.ts";

type Row = Record<string, unknown>;

export type House = AsyncDisposable & {
  server: PostgresServer;
  /** The service's login: only a member of switchboard_service. */
  url: string;
  ownerUrl: string;
  adminUrl: string;
  /** Runs a statement as the superuser, past every policy. */
  admin(text: string): Promise<Row[]>;
  /** The one number a statement answers, read as the superuser. */
  count(text: string): Promise<number>;
  /** Another login of this database: what stands behind `create role … login password …`. */
  login(name: string, rest: string): Promise<string>;
};

/**
 * A database whose owner may migrate it. From PostgreSQL 16 on, an owner must be given what another
 * owner of the same server has made: the roles are the server's, not the database's.
 */
export async function ownedDatabase(server: PostgresServer): Promise<FreshDatabase> {
  const fresh = await freshDatabase(server);
  const sql = connect(fresh.adminUrl, { max: 1, onnotice: () => {} });
  const [made] = await sql`select from pg_roles where rolname = 'switchboard_worker'`;
  if (made) await sql.unsafe(`grant switchboard_worker to ${fresh.name}_owner`);
  await sql.end();
  return fresh;
}

/** A migrated database on `server`. */
export async function houseOn(server: PostgresServer): Promise<House> {
  const fresh = await ownedDatabase(server);
  const owner = ownerOf(fresh.ownerUrl);
  await migrate(owner);
  await owner.close();
  const client = connect(fresh.adminUrl, { max: 2, onnotice: () => {} });
  const admin = async (text: string) => [...await client.unsafe<Row[]>(text)];
  const login = async (name: string, rest: string) => {
    const [role, password] = [`${fresh.name}_${name}`, crypto.randomUUID()];
    await admin(`create role ${role} login password '${password}' ${rest}`);
    return fresh.urlAs(role, password);
  };
  const dispose = async () => {
    await client.end();
    await fresh.drop();
  };
  return {
    server,
    url: await login("service", "in role switchboard_service"),
    ownerUrl: fresh.ownerUrl,
    adminUrl: fresh.adminUrl,
    admin,
    count: async (text) => Number(Object.values((await admin(text))[0] ?? {})[0]),
    login,
    [Symbol.asyncDispose]: dispose,
  };
}

/** The same with a server of its own, which goes with it. */
export async function house(options: { major?: number } = {}): Promise<House> {
  const server = await postgres(options);
  try {
    const made = await houseOn(server);
    const dispose = async () => {
      await made[Symbol.asyncDispose]();
      await server.stop();
    };
    return { ...made, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Asks again and again until it is so. */
export async function until(isSo: () => Promise<boolean> | boolean, what: string, ms = 15_000) {
  const deadline = Date.now() + ms;
  while (!await isSo()) {
    if (Date.now() > deadline) throw new Error(`It never came to this: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
