/** The service's parts where only its secrets are worked on: no request comes in, none goes out. */
import type { Database } from "../../db/client.ts";
import { cache } from "../cache/cache.ts";
import type { Services } from "../context.ts";
import { limiter } from "../limits/limiter.ts";
import { log } from "../log.ts";
import type { Keyring } from "./keyring.ts";
import { databaseStore } from "./store.ts";
import { vault } from "./vault.ts";

const refuse = () =>
  Promise.reject(new Error("Nothing is called or signed while keys are rotated"));

export function offline(database: Database, keyring: Keyring): Services {
  return {
    database,
    secrets: vault({ store: databaseStore, keyring }),
    cache: cache({ redis: null, epochsOf: () => Promise.resolve({}), now: Date.now }),
    limiter: limiter({ redis: null, now: Date.now }),
    outbound: refuse,
    answering: refuse,
    mailer: refuse,
    resolveTxt: refuse,
    tokens: { sign: refuse, read: () => Promise.resolve(null), jwks: { keys: [] } },
    standings: { of: refuse, ofToken: () => null },
    log: log("warn", console.error),
    now: () => new Date(),
    publicUrl: "http://localhost",
    keyEnvironment: "live",
  };
}
