/** One Idempotency-Key, one effect: over processes, kills and holders that are too slow. */
import assert from "node:assert/strict";
import { open } from "../../db/client.ts";
import type { Env } from "../../src/env.ts";
import { type House, house, until } from "../db/house.ts";
import { environment, world } from "../kit.ts";
import { started } from "./workers/started.ts";
import type { Order, Tally } from "./workers/submit.ts";

const LEASE_MS = 60_000;
const SUBMITS = 1_000;
const PROCESSES = 2;

let home: House;
let env: Env;
const open_ = () => open(home.url, { poolSize: 10 });

Deno.test.beforeAll(async () => {
  home = await house();
  env = await environment({ DATABASE_URL: home.url });
});
Deno.test.afterAll(async () => await home[Symbol.asyncDispose]());

/** A tenant that has an Outlook to register and people who may. */
async function stage(options: { now?: () => Date } = {}) {
  const w = await world({ database: open_(), env, ...options });
  const tenant = await w.tenant();
  const name = `Outlook ${tenant.tenantId}`;
  await w.as(w.operator).platforms.catalogue.create({ name, serviceType: "email" });
  const register = {
    path: "/api/v1/service-platforms",
    body: { service_name: name, config: { client_id: "a", client_secret: "hunter2" } },
  };
  const createKey = {
    path: "/api/v1/api-keys",
    body: { name: "robot", scopes: ["platforms.read"] },
  };
  const { tenantId, admin } = tenant;
  const send = (what: typeof register | typeof createKey, key: string) =>
    w.request(what.path, {
      method: "POST",
      headers: { "idempotency-key": key },
      body: JSON.stringify(what.body),
    }, admin);
  return { w, ...tenant, register, createKey, send, effects: () => effectsOf(tenantId) };
}
type Stage = Awaited<ReturnType<typeof stage>>;
type What = Stage["register"] | Stage["createKey"];

/** Rows, audit entries and events of registrations, then of keys. */
async function effectsOf(tenantId: string) {
  const of = (rest: string) => home.count(`select count(*) from ${rest}`);
  const mine = `where tenant_id = '${tenantId}'`;
  const trail = (name: string) =>
    Promise.all([
      of(`audit_entries ${mine} and action = '${name}'`),
      of(`events ${mine} and type = '${name}'`),
    ]);
  return {
    services: [await of(`service_platforms ${mine}`), ...await trail("platform.registered")],
    keys: [await of(`api_keys ${mine}`), ...await trail("api_key.created")],
  };
}

async function worker(s: Stage, what: What, key: string, more: Partial<Order> = {}) {
  const process = started("tests/races/workers/submit.ts");
  const variables = Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      typeof value === "string" && value !== "" ? [[name, value]] : []
    ),
  );
  variables.SIGNING_KEYS = JSON.stringify(env.SIGNING_KEYS);
  const headers = {
    "content-type": "application/json",
    "idempotency-key": key,
    authorization: `Bearer ${await s.w.token(s.admin)}`,
  };
  const body = JSON.stringify(what.body);
  const order: Order = { variables, path: what.path, headers, body, times: 1, ...more };
  await process.say(JSON.stringify(order));
  assert.equal(await process.hear(), "ready");
  return process;
}

for (const kind of ["register", "createKey"] as const) {
  Deno.test(`once gives ${SUBMITS} submits of one key over ${PROCESSES} processes one effect: ${kind}`, async () => {
    const s = await stage();
    const key = crypto.randomUUID();
    const began = performance.now();
    const workers = await Promise.all(
      Array.from(
        { length: PROCESSES },
        () => worker(s, s[kind], key, { times: SUBMITS / PROCESSES }),
      ),
    );
    await Promise.all(workers.map((process) => process.say("go")));
    const tallies: Tally[] = await Promise.all(
      workers.map(async (process) => JSON.parse(await process.hear())),
    );
    for (const process of workers) await process[Symbol.asyncDispose]();
    const answers = tallies.flat();
    assert.equal(answers.reduce((sum, { times }) => sum + times, 0), SUBMITS);
    const made = answers.filter(({ status }) => status === 201);
    const waited = answers.filter(({ status }) => status === 409);
    assert.equal(made.length + waited.length, answers.length, JSON.stringify(answers));
    assert.ok(made.length > 0 && new Set(made.map(({ text }) => text)).size === 1);
    assert.ok(waited.every(({ reason }) => reason === "idempotency_key.running"));
    const later = await s.send(s[kind], key);
    assert.deepEqual([later.status, await later.text()], [201, made[0]?.text]);
    const other = await s.send({ ...s[kind], body: { ...s[kind].body, name: "x" } } as What, key);
    assert.equal(other.status, 422);
    await other.body?.cancel();
    const { services, keys } = await s.effects();
    assert.deepEqual(kind === "register" ? services : keys, [1, 1, 1]);
    const ran = made.reduce((sum, { times }) => sum + times, 0);
    console.log(
      `${SUBMITS} submits of one key over ${PROCESSES} processes: one effect, ${ran} times its ` +
        `answer, ${SUBMITS - ran} times "still running", ` +
        `in ${Math.round(performance.now() - began)} ms with the start of the processes`,
    );
    await s.w.close();
  });
}

Deno.test("once does a mutation anew, once, whose process was killed before the commit", async () => {
  for (const kind of ["register", "createKey"] as const) {
    let now = Date.now();
    const s = await stage({ now: () => new Date(now) });
    const key = crypto.randomUUID();
    const process = await worker(s, s[kind], key, { stop: "before the commit" });
    await process.say("go");
    assert.equal(await process.hear(), "stopped");
    await process.kill();
    const early = await s.send(s[kind], key);
    assert.equal((await early.json()).reason, "idempotency_key.running");
    now = Date.now() + LEASE_MS + 1_000; // The other's clock went on while it started.
    const late = await s.send(s[kind], key);
    assert.equal(late.status, 201);
    const text = await late.text();
    assert.equal(await (await s.send(s[kind], key)).text(), text);
    assert.deepEqual((await s.effects())[kind === "register" ? "services" : "keys"], [1, 1, 1]);
    await s.w.close();
  }
});

Deno.test("once replays the answer of a process that was killed after the commit", async () => {
  for (const kind of ["register", "createKey"] as const) {
    const s = await stage();
    const key = crypto.randomUUID();
    const process = await worker(s, s[kind], key, { stop: "after the commit" });
    await process.say("go");
    assert.equal(await process.hear(), "stopped");
    await process.kill();
    const again = await s.send(s[kind], key);
    assert.equal(again.status, 201);
    const text = await again.text();
    assert.equal(await (await s.send(s[kind], key)).text(), text);
    assert.deepEqual((await s.effects())[kind === "register" ? "services" : "keys"], [1, 1, 1]);
    await s.w.close();
  }
});

/** A process that seals its answer only when it is told to. */
function slow(s: Stage) {
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { secrets } = s.w.process;
  const { seal } = secrets;
  secrets.seal = async (ctx, spot, plain) => {
    if (spot.table === "idempotency_keys") {
      secrets.seal = seal;
      reached.resolve();
      await go.promise;
    }
    return await seal(ctx, spot, plain);
  };
  return { reached: reached.promise, go: go.resolve };
}

Deno.test("once rolls back a holder that was too slow: the one that took over is the one", async () => {
  let now = Date.now();
  const s = await stage({ now: () => new Date(now) });
  const key = crypto.randomUUID();
  const hold = slow(s);
  const first = s.send(s.createKey, key);
  await hold.reached;
  now += LEASE_MS + 1_000;
  const second = await s.send(s.createKey, key);
  assert.equal(second.status, 201);
  const text = await second.text();
  hold.go();
  const lost = await first;
  assert.deepEqual([lost.status, (await lost.json()).reason], [409, "idempotency_key.lost"]);
  assert.equal(await (await s.send(s.createKey, key)).text(), text);
  assert.deepEqual((await s.effects()).keys, [1, 1, 1]);
  await s.w.close();
});

Deno.test("once rolls back a slow holder whose rows the next one waits for", async () => {
  let now = Date.now();
  const s = await stage({ now: () => new Date(now) });
  const key = crypto.randomUUID();
  const hold = slow(s);
  const first = s.send(s.register, key);
  await hold.reached;
  now += LEASE_MS + 1_000;
  const second = s.send(s.register, key);
  const waiting = () =>
    home.count(`select count(*) from pg_locks join pg_stat_activity using (pid)
      where datname = current_database() and not granted`);
  await until(async () => await waiting() > 0, "the second waits for the first one's rows");
  hold.go();
  const [lost, won] = await Promise.all([first, second]);
  assert.deepEqual([lost.status, won.status], [409, 201]);
  assert.equal((await lost.json()).reason, "idempotency_key.lost");
  await won.body?.cancel();
  assert.deepEqual((await s.effects()).services, [1, 1, 1]);
  await s.w.close();
});
