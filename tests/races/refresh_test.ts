/** One refresh over several processes: Redis down, a slow provider, holders that are killed. */
import assert from "node:assert/strict";
import { open } from "../../db/client.ts";
import type { Env } from "../../src/env.ts";
import { type Timing, usual } from "../../src/platforms/refresh.ts";
import { type House, house } from "../db/house.ts";
import { environment, world } from "../kit.ts";
import { connect, tenantWith } from "../platforms/accounts.ts";
import { type OidcProvider, oidcProvider } from "../stand_ins/oidc_provider.ts";
import { started } from "./workers/started.ts";
import type { Order, Told } from "./workers/token.ts";

const CALLERS = [17, 17, 16];
const REDIS_DOWN = {
  UPSTASH_REDIS_REST_URL: "http://127.0.0.1:9",
  UPSTASH_REDIS_REST_TOKEN: "nobody",
};

let home: House;
let env: Env;
let provider: OidcProvider;
Deno.test.beforeAll(async () => {
  home = await house();
  env = await environment({ DATABASE_URL: home.url });
  provider = await oidcProvider();
});
Deno.test.afterAll(async () => {
  await provider.stop();
  await home[Symbol.asyncDispose]();
});

/** A binding whose token has ended, and processes that may be asked for it. */
async function stage(
  settings: Partial<typeof provider.settings>,
  more: Record<string, string> = {},
) {
  Object.assign(provider.settings, { rotate: true, tokenDelayMs: 0 });
  const w = await world({ database: open(home.url, { poolSize: 4 }), env });
  const at = { ...w, provider };
  const tenant = await tenantWith(at);
  const { tenantId, member: { userId } } = tenant;
  const { id } = await connect(at, tenant.member, tenant, `milo-${tenantId}`);
  await home.admin(`update user_platform_bindings
    set token_expires_at = now() - interval '1 minute' where id = '${id}'`);
  Object.assign(provider.settings, settings);
  provider.resetCounts();
  const variables = {
    DATABASE_URL: home.url,
    PUBLIC_URL: env.PUBLIC_URL,
    SIGNING_KEYS: JSON.stringify(env.SIGNING_KEYS),
    ENCRYPTION_KEYS: env.ENCRYPTION_KEYS,
    ALLOW_PRIVATE_HOSTS: "1",
    LOG_LEVEL: "error",
    ...more,
  };
  const worker = async (order: Partial<Order> = {}) => {
    const process = started("tests/races/workers/token.ts");
    const whole: Order = {
      ...{ variables, tenantId, userId, bindingId: id, times: 1, timing: usual },
      ...{ stopsBeforeCommit: false, ...order },
    };
    await process.say(JSON.stringify(whole));
    assert.equal(await process.hear(), "ready");
    return process;
  };
  /** What processes of so many callers each are told when they ask at once. */
  const ask = async (callers: number[], timing: Timing = usual): Promise<Told[]> => {
    const workers = await Promise.all(callers.map((times) => worker({ times, timing })));
    await Promise.all(workers.map((process) => process.say("go")));
    const told = workers.map(async (process): Promise<Told> => JSON.parse(await process.hear()));
    try {
      return await Promise.all(told);
    } finally {
      for (const process of workers) await process[Symbol.asyncDispose]();
    }
  };
  const state = async () =>
    (await home.admin(`select state, state_reason, token_version, refresh_attempts
      from user_platform_bindings where id = '${id}'`))[0];
  const audited = (action: string) =>
    home.count(`select count(*) from audit_entries
      where tenant_id = '${tenantId}' and subject_id = '${id}' and action = '${action}'`);
  return { worker, ask, state, audited, close: w.close };
}
type Stage = Awaited<ReturnType<typeof stage>>;

type Storm = { more?: Record<string, string>; settings?: { tokenDelayMs: number } };
const storms: Record<string, Storm> = {
  "three processes": {},
  "three processes, Redis down": { more: REDIS_DOWN },
  "three processes, a provider that takes 8 s": { settings: { tokenDelayMs: 8_000 } },
};

for (const [name, { more = {}, settings = {} }] of Object.entries(storms)) {
  Deno.test(`50 callers at expiry cause one refresh: ${name}`, async () => {
    const s = await stage(settings, more);
    const told = await s.ask(CALLERS);
    const tokens = told.flatMap(({ tokens }) => tokens);
    const reasons = told.flatMap(({ reasons }) => reasons);
    const { refreshRequests, reuses } = provider.counts;
    const slowestMs = Math.max(...told.map(({ ms }) => ms));
    console.log(
      JSON.stringify({ name, tokens: tokens.length, refreshRequests, reuses, slowestMs }),
    );
    assert.deepEqual(reasons, []);
    assert.deepEqual([tokens.length, new Set(tokens).size], [50, 1]);
    assert.deepEqual([refreshRequests, reuses], [1, 0]);
    assert.equal(await s.audited("binding.refreshed"), 1);
    assert.equal(await s.audited("binding.token_read"), 50);
    await s.close();
  });
}

/** A lease short enough to wait for, and still longer than a call may take. */
const brief: Timing = { leaseMs: 1_500, callMs: 1_000, waitMs: 10_000, coolMs: 100 };

/** Kills -9 a process that has the provider's answer and has not written it. */
async function killedHolder(s: Stage) {
  const holder = await s.worker({ timing: brief, stopsBeforeCommit: true });
  await holder.say("go");
  assert.equal(await holder.hear(), "stopped");
  assert.equal(provider.counts.refreshSuccesses, 1);
  await holder.kill();
}

Deno.test("a holder killed before its commit costs nothing without rotation", async () => {
  const s = await stage({ rotate: false });
  await killedHolder(s);
  const told = await s.ask([5, 5], brief);
  const { refreshRequests, refreshSuccesses, reuses } = provider.counts;
  console.log(
    JSON.stringify({ killed: "not rotating", refreshRequests, refreshSuccesses, reuses }),
  );
  const tokens = told.flatMap(({ tokens }) => tokens);
  assert.deepEqual([tokens.length, new Set(tokens).size], [10, 1]);
  assert.deepEqual([refreshRequests, refreshSuccesses], [2, 2]);
  const row = await s.state();
  assert.deepEqual([row?.state, row?.token_version, row?.refresh_attempts], ["active", 2, 0]);
  await s.close();
});

Deno.test("a rotated token lost with its holder is tried again, then needs_reauth", async () => {
  const s = await stage({ rotate: true });
  await killedHolder(s);
  const told = await s.ask([5, 5], brief);
  const before = provider.counts.refreshRequests;
  const later = await s.ask([5, 5], brief);
  const { refreshRequests, reuses } = provider.counts;
  console.log(
    JSON.stringify({ killed: "rotating", before, later: refreshRequests - before, reuses }),
  );
  const reasons = [...told, ...later].flatMap(({ reasons }) => reasons);
  assert.deepEqual(reasons, Array.from({ length: 20 }, () => "binding.needs_reauth"));
  assert.deepEqual([before, refreshRequests], [2, 2]);
  const row = await s.state();
  assert.deepEqual([row?.state, row?.state_reason], ["needs_reauth", "invalid_grant"]);
  assert.equal(await s.audited("binding.needs_reauth"), 1);
  await s.close();
});

Deno.test("two holders killed in a row end it without a third call", async () => {
  const s = await stage({ rotate: false });
  await killedHolder(s);
  const second = await s.worker({ timing: brief, stopsBeforeCommit: true });
  await second.say("go");
  assert.equal(await second.hear(), "stopped");
  await second.kill();
  const told = await s.ask([5, 5], brief);
  const reasons = told.flatMap(({ reasons }) => reasons);
  assert.deepEqual(reasons, Array.from({ length: 10 }, () => "binding.needs_reauth"));
  assert.equal(provider.counts.refreshRequests, 2);
  assert.equal((await s.state())?.state_reason, "refresh_lost");
  assert.equal(await s.audited("binding.needs_reauth"), 1);
  await s.close();
});
