/** Puts together what a process holds and every request shares. */
import { sql } from "drizzle-orm";
import { resolveTxt } from "node:dns/promises";
import type { Database } from "../db/client.ts";
import { standings } from "./access/standings.ts";
import { tokens } from "./access/tokens.ts";
import { cache } from "./cache/cache.ts";
import type { Services } from "./context.ts";
import type { Env } from "./env.ts";
import { limiter } from "./limits/limiter.ts";
import { log } from "./log.ts";
import { type Mailer, mailerOf } from "./mailer.ts";
import { outbound } from "./outbound.ts";
import { redis } from "./redis.ts";
import { patient } from "./retries.ts";
import { type Keyring, keyringOf } from "./secrets/keyring.ts";
import { databaseStore } from "./secrets/store.ts";
import { vault } from "./secrets/vault.ts";

/** Disposing lets go of what it holds open to the outside; it goes on, and holds nothing more. */
export type Process = Services & { keyring: Keyring } & Disposable;

export type Parts = {
  env: Omit<Env, "DATABASE_URL" | "DATABASE_DRIVER" | "DATABASE_POOL">;
  database: Database;
  now?: () => Date;
  write?: (line: string) => void;
  mailer?: Mailer;
  resolveTxt?: Services["resolveTxt"];
};

/** The services of one process, over a database that is open. */
export async function services(parts: Parts): Promise<Process> {
  const { env, now = () => new Date(), write } = parts;
  const database = patient(parts.database);
  const { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token } = env;
  const shared = url && token ? redis({ url, token }) : null;
  const keyring = keyringOf(env.ENCRYPTION_KEYS);
  const milliseconds = () => now().getTime();
  const shelves = cache({
    redis: shared,
    build: env.PUBLIC_URL, // Installations may share a Redis: neither reads the other's entries.
    now: milliseconds,
    epochsOf: async (tenantId) => {
      const rows = await database.query(sql`select * from epochs_of(${tenantId}::uuid)`);
      return Object.fromEntries(rows.map(({ topic, epoch }) => [String(topic), Number(epoch)]));
    },
  });
  const logger = log(env.LOG_LEVEL, write);
  const outside = outbound({ allowPrivateHosts: env.ALLOW_PRIVATE_HOSTS });
  return {
    database,
    keyring,
    secrets: vault({ store: databaseStore, keyring }),
    cache: shelves,
    limiter: limiter({ redis: shared, now: milliseconds }),
    outbound: outside,
    answering: outside.answer,
    mailer: parts.mailer ?? mailerOf(env),
    resolveTxt: parts.resolveTxt ?? resolveTxt,
    tokens: await tokens(env.SIGNING_KEYS, env.PUBLIC_URL),
    standings: standings({
      database,
      epochOf: (tenantId) => shelves.epochOf(tenantId, "access"),
      now: milliseconds,
      unknown: (what) => logger("warn", "a binding names what does not exist", { what }),
    }),
    log: logger,
    now,
    publicUrl: env.PUBLIC_URL,
    keyEnvironment: env.KEY_ENVIRONMENT,
    [Symbol.dispose]: () => outside[Symbol.dispose](),
  };
}
