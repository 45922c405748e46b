/** A world with a clock of its own, people whose passwords are cheap to check, and a way past row security. */
import { argon2id } from "hash-wasm";
import { v7 } from "uuid";
import type { Database } from "../../db/client.ts";
import { asSystem } from "../../src/context.ts";
import * as tenants from "../../src/identity/tenants.ts";
import type { Limiter } from "../../src/limits/limiter.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { environment, freshDatabase, type Person, world } from "../kit.ts";

/** A hash as the service stores it, at a cost that tests can pay a thousand times. */
export const cheapHash = (password: string): Promise<string> =>
  argon2id({
    password: password.normalize("NFKC"),
    salt: crypto.getRandomValues(new Uint8Array(16)),
    memorySize: 8,
    iterations: 1,
    parallelism: 1,
    hashLength: 32,
    outputType: "encoded",
  });

export type Login = Person & { email: string; password: string };
export type Answer = { status: number; headers: Headers; body: Record<string, unknown> };

/** Refuses nobody: for what must hold without it. */
export const patience: Limiter = {
  take: ({ max }) => ({ allowed: true, limit: max, remaining: max, resetSeconds: 1 }),
  agrees: () => true,
};

type Row = Record<string, unknown>;
/** A database, and a way to ask it as the superuser, past every policy. */
export type Ground = {
  database: Database;
  sql: (text: string, params?: unknown[]) => Promise<Row[]>;
};

async function embeddedGround(): Promise<Ground> {
  const database = await freshDatabase();
  return { database, sql: database.admin };
}

export async function home(ground?: Ground) {
  const clock = { ms: Date.now() };
  const lines: string[] = [];
  const { database, sql } = ground ?? await embeddedGround();
  const w = await world({
    database,
    env: await environment({ LOG_LEVEL: "debug" }),
    now: () => new Date(clock.ms),
    write: (line) => void lines.push(line),
  });
  const tenantBelow = async (parent = ROOT_TENANT, name = "Harbour Bakery") =>
    (await tenants.create(asSystem(w.process, parent), { name })).id;

  const login = async (
    tenantId: string,
    more: { role?: string; email?: string; password?: string } = {},
  ): Promise<Login> => {
    const { role = "member", email = `${v7()}@people.example` } = more;
    const password = more.password ?? `password ${crypto.randomUUID()}`;
    const person = await w.person(tenantId, role, { email });
    await sql("update user_security set password_hash = $1 where id = $2", [
      await cheapHash(password),
      person.userId,
    ]);
    return { ...person, email, password };
  };

  /** Through the front door, from `address`. */
  const send = async (path: string, body: unknown, more: {
    address?: string;
    headers?: Record<string, string>;
    method?: string;
  } = {}): Promise<Answer> => {
    const { address = "198.51.100.1", headers, method = "POST" } = more;
    const request = new Request(`${w.env.PUBLIC_URL}/api/v1${path}`, {
      method,
      headers: { "content-type": "application/json", ...headers },
      ...(method === "GET" ? {} : { body: JSON.stringify(body) }),
    });
    const remoteAddr = { transport: "tcp" as const, hostname: address, port: 4_711 };
    const answer = await w.hono.fetch(request, { remoteAddr });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : {} };
  };

  const trail = async (tenantId: string) =>
    (await sql(
      "select action, actor_type, actor_id, subject_id from audit_entries where tenant_id = $1 order by id",
      [tenantId],
    )).map((row) => ({ ...row }));
  const eventTypes = async (tenantId: string) =>
    (await sql("select type from events where tenant_id = $1 order by id", [tenantId]))
      .map(({ type }) => String(type));

  return { w, clock, lines, sql, tenantBelow, login, send, trail, eventTypes };
}
export type Home = Awaited<ReturnType<typeof home>>;

let addresses = 0;
/** An address nobody came from before. */
export const elsewhere = () => `203.0.${Math.floor(++addresses / 250)}.${addresses % 250 + 1}`;

export const minutes = (n: number) => n * 60_000;
