/** Measures what the service promises to be fast at, each against a baseline taken in turns in the same run. */
import { sql } from "drizzle-orm";
import { principals } from "../src/access/principals.ts";
import { type Ctx, frame, type TenantCtx } from "../src/context.ts";
import * as apiKeys from "../src/identity/api_keys.ts";
import * as catalogue from "../src/platforms/catalogue.ts";
import * as registrations from "../src/platforms/services.ts";
import { permission_check_depth, permission_check_warm } from "./bench/access.ts";
import { apiKeyColdVsBetterAuth, apiKeyVsBetterAuth } from "./bench/api_keys.ts";
import { gateway } from "./bench/gateway.ts";
import { requestsPerSecond } from "./bench/load.ts";
import { perSecond, run } from "./bench/measure.ts";
import { ourGateway } from "./bench/our_gateway.ts";
import { refresh, sign_in } from "./bench/sign_in.ts";
import { serve, serveOurs, type Server, type Stage, stage } from "./bench/stage.ts";

const help = `deno task bench [NAME…]

Prints one JSON line per measure: {"bench","unit","ours","baseline","baseline_name","ratio"}, where
ratio is ours/baseline and each figure the median of turns taken one after the other. Names:
trpc_cached_read rest_cached_read api_key_warm api_key_cold api_key_vs_better_auth
api_key_cold_vs_better_auth permission_check_warm permission_check_depth refresh sign_in gateway
cold_start memory; gateway prints gateway_json_c1, _c16, _c64 and gateway_sse_first_byte. Starts
the servers it needs itself, among them a Postgres that does not wait for its disk; takes about
eight minutes for all.`;

const bare = new URL("./bench/bare.ts", import.meta.url).pathname;

const ctxOf = ({ process, admin, tenantId }: Stage): TenantCtx & Ctx => ({
  ...process,
  principal: admin,
  requestId: "bench",
  address: "127.0.0.1",
  userAgent: null,
  ifMatch: null,
  idempotencyKey: null,
  tenantId,
  actor: admin.actor,
  userId: admin.userId,
  reach: "tenant",
  frame: frame(),
});

/** A registered service to read: made once. */
async function registered(on: Stage): Promise<string> {
  const { platforms } = await registrations.list(ctxOf(on), { limit: 1 });
  if (platforms[0]) return platforms[0].id;
  await catalogue.create({ ...on.root(), reach: "global" }, {
    name: "Outlook",
    serviceType: "email",
    metadata: {},
    authKind: "oauth2",
    apiHosts: [],
    defaultScopes: [],
    quirks: {},
  });
  const config = { clientId: "app-1", clientSecret: "a secret" };
  return (await registrations.register(ctxOf(on), { serviceName: "Outlook", config })).platform.id;
}

/** Requests a second of a cached, authenticated, permission-checked read, against a bare ping. */
async function cachedRead(on: Stage, path: (id: string) => string, bench: string) {
  const id = await registered(on);
  const { token } = await on.process.tokens.sign(on.admin, new Date(), {
    homeEpoch: 0,
    actingEpoch: 0,
    untilMs: Infinity,
    isListed: false,
  });
  const [ours, baseline] = [await serveOurs(on.env), await serve(bare)];
  const host = "127.0.0.1";
  const authorization = `Bearer ${token}`;
  const [ms, connections] = [2_000, 16];
  await run(bench, {
    unit: "requests/s",
    baselineName: "bare tRPC ping with superjson on Hono",
    turns: 7,
    turn: async () => [
      await requestsPerSecond(
        { host, port: ours.port, path: path(id), headersOf: () => ({ authorization }) },
        ms,
        connections,
      ),
      await requestsPerSecond(
        { host, port: baseline.port, path: "/trpc/ping", headersOf: () => ({}) },
        ms,
        connections,
      ),
    ],
  });
  await Promise.all([ours.stop(), baseline.stop()]);
}

/** Verifications a second of an API key, against one select by primary key on the same Postgres. */
async function apiKey(on: Stage, bench: "api_key_warm" | "api_key_cold") {
  const { key } = await apiKeys.create(ctxOf(on), { name: "bench", scopes: ["platforms.read"] });
  let queries = 0;
  const { database } = on.process;
  const counted = {
    ...on.process,
    database: {
      ...database,
      query: (statement: Parameters<typeof database.query>[0]) => {
        queries++;
        return database.query(statement);
      },
    },
  };
  const isWarm = bench === "api_key_warm";
  const warm = principals(counted);
  await warm.find(null, key);
  queries = 0;
  let verified = 0;
  const verify = async () => {
    const who = await (isWarm ? warm : principals(counted)).find(null, key);
    if (!who) throw new Error("The key was refused");
    verified++;
  };
  const select = () => database.query(sql`select id from encryption_keys where id = 'k1'`);
  await run(bench, {
    unit: "verifications/s",
    baselineName: "one select by primary key on the same Postgres",
    turns: 7,
    turn: async () => [
      await perSecond(isWarm ? 20_000 : 1_000, verify),
      await perSecond(1_000, select),
    ],
  });
  console.error(`${bench}: ${(queries / verified).toFixed(4)} queries a verification`);
}

async function coldStart(on: Stage) {
  const start = async (serving: Promise<Server>) => {
    const server = await serving;
    await server.stop();
    return server.startMs;
  };
  await run("cold_start", {
    unit: "ms to first answer",
    baselineName: "bare Hono + tRPC app",
    turns: 7,
    turn: async () => [await start(serveOurs(on.env)), await start(serve(bare))],
  });
}

/** Resident memory, from the kernel's own account, two seconds after the first answer. */
async function memory(on: Stage) {
  const rest = async (serving: Promise<Server>) => {
    const server = await serving;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const status = await Deno.readTextFile(`/proc/${server.pid}/status`);
    await server.stop();
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  };
  await run("memory", {
    unit: "MiB resident at rest",
    baselineName: "bare Hono + tRPC app",
    turns: 3,
    turn: async () => [await rest(serveOurs(on.env)), await rest(serve(bare))],
  });
}

const measures: Record<string, (on: Stage) => Promise<void>> = {
  trpc_cached_read: (on) =>
    cachedRead(
      on,
      (id) =>
        `/trpc/platforms.services.get?input=${
          encodeURIComponent(JSON.stringify({ json: { id } }))
        }`,
      "trpc_cached_read",
    ),
  rest_cached_read: (on) =>
    cachedRead(on, (id) => `/api/v1/service-platforms/${id}`, "rest_cached_read"),
  api_key_warm: (on) => apiKey(on, "api_key_warm"),
  api_key_cold: (on) => apiKey(on, "api_key_cold"),
  api_key_vs_better_auth: apiKeyVsBetterAuth,
  api_key_cold_vs_better_auth: apiKeyColdVsBetterAuth,
  permission_check_warm,
  permission_check_depth,
  refresh,
  sign_in,
  gateway: (on) => gateway(ourGateway(on)),
  cold_start: coldStart,
  memory,
};

async function all(names: string[]) {
  const unknown = names.filter((name) => !measures[name]);
  if (unknown.length > 0) {
    console.error(
      `No such measure: ${unknown.join(", ")}. There are ${Object.keys(measures).join(", ")}.`,
    );
    Deno.exit(2);
  }
  const on = await stage();
  try {
    for (const [name, measure] of Object.entries(measures)) {
      if (names.length === 0 || names.includes(name)) await measure(on);
    }
  } finally {
    await on.stop();
  }
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await all(Deno.args);
  Deno.exit(0);
}
