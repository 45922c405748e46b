/** The service, as `deno serve src/main.ts` and Deno Deploy start it. */
import { sql } from "drizzle-orm";
import { open } from "../db/client.ts";
import { hasArgon2 } from "./access/argon2.ts";
import { app } from "./app.ts";
import { asSystem } from "./context.ts";
import { EnvError, readEnv, variableNames } from "./env.ts";
import { maintainHourly, once, startJobs } from "./jobs.ts";
import { told } from "./log.ts";
import { announce, ANNOUNCE_MS, depart } from "./secrets/instances.ts";
import { services } from "./services.ts";
import { startFailure } from "./start_failures.ts";
import { chatsAtRest, closeDesk } from "./teams/channels/desks.ts";
import { windUp } from "./teams/gateway/exchanges.ts";
import { rounds } from "./teams/rounds.ts";
import { ROOT_TENANT } from "./topics.ts";

async function start() {
  if (!await hasArgon2()) {
    throw new EnvError(
      "Switchboard cannot start:\n  this runtime's WebCrypto has no Argon2id: run it on Deno 2.9 or newer",
    );
  }
  // Each by its name, so that the process needs leave to read no other.
  const env = readEnv(Object.fromEntries(variableNames.map((name) => [name, Deno.env.get(name)])));
  const database = open(env.DATABASE_URL, {
    driver: env.DATABASE_DRIVER,
    poolSize: env.DATABASE_POOL,
    ...(env.DATABASE_WEBSOCKET_PROXY ? { webSocketProxy: env.DATABASE_WEBSOCKET_PROXY } : {}),
  });
  const [login] = await database.query(sql`select * from login_powers()`);
  const powers = Object.entries(login ?? {}).filter(([, has]) => has === true).map(([name]) =>
    name
  );
  if (powers.length > 0) {
    throw new EnvError(
      `Switchboard cannot start:\n  DATABASE_URL logs in as a role that is ${
        powers.join(" and ")
      }: ` +
        "give a login that is only a member of switchboard_service",
    );
  }
  const process = await services({ env, database });
  const instance = crypto.randomUUID();
  const sayHello = () => announce(asSystem(process, ROOT_TENANT), instance, process.keyring);
  await sayHello();
  Deno.unrefTimer(setInterval(() => {
    sayHello().catch((error) => process.log("error", "not announced", { error: told(error) }));
  }, ANNOUNCE_MS));
  if (Deno.env.get("DENO_DEPLOYMENT_ID")) {
    Deno.cron("maintenance", "17 * * * *", async () => void await maintainHourly(process));
    for (const round of rounds) {
      Deno.cron(round.name, "* * * * *", async () => {
        await once(process, round);
        await round.rest?.(process); // The process may be put to sleep when this ends.
      });
    }
  } else {
    const stopJobs = startJobs(process, rounds);
    stopOnSignal(async () => {
      stopJobs();
      closeDesk(process);
      await windUp(process, WIND_UP_MS);
      await chatsAtRest(process); // A message that was sent is to be written down.
      await depart(asSystem(process, ROOT_TENANT), instance);
      await database.close(); // Waits for what is under way.
    });
  }
  return app(process, {
    requestsPerMinute: env.REQUESTS_PER_MINUTE,
    tenantRequestsPerMinute: env.TENANT_REQUESTS_PER_MINUTE,
    trustForwardedFor: env.TRUST_FORWARDED_FOR,
  });
}

const WIND_UP_MS = 3_000;
const STOP_WITHIN_MS = 5_000;

/** `deno serve` stops listening by itself and then waits for the last connection, ours included. */
function stopOnSignal(stop: () => Promise<void>) {
  const end = () => {
    setTimeout(() => Deno.exit(0), STOP_WITHIN_MS);
    stop().catch(() => {}).finally(() => Deno.exit(0));
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, end);
}

const hono = await start().catch((error: unknown) => {
  console.error(startFailure(error, Deno.env.get("DATABASE_URL")) ?? told(error));
  Deno.exit(1);
});

export default {
  fetch: (request: Request, info: Deno.ServeHandlerInfo): Response | Promise<Response> =>
    hono.fetch(request, info),
};
