/** What is taken from somebody is felt by every process within the published bound, whatever it knew before. */
import assert from "node:assert/strict";
import { open } from "../../db/client.ts";
import type { Env } from "../../src/env.ts";
import { type House, house } from "../db/house.ts";
import { environment, world } from "../kit.ts";
import { type CuttingProxy, cuttingProxy } from "../stand_ins/cutting_proxy.ts";
import { type Loser, loser, losses, type Proof } from "./losers.ts";
import type { Knock, Order, Tally, Times, Told } from "./workers/knock.ts";
import { type Started, started } from "./workers/started.ts";

/** Within this, no process takes what was revoked anywhere. */
const BOUND_MS = 5_000;
const TRIES = Deno.env.get("PROVE") === "1" ? 10_000 : 1_000;
/** Each of these may hang for as long as a database may be waited for. */
const TRIES_HUNG = 20;
const REDIS_DOWN = {
  UPSTASH_REDIS_REST_URL: "http://127.0.0.1:9",
  UPSTASH_REDIS_REST_TOKEN: "nobody",
};
const UNTOUCHED = "untouched";

let home: House;
let network: CuttingProxy;
let env: Env;
Deno.test.beforeAll(async () => {
  home = await house();
  network = cuttingProxy(home.url);
  env = await environment({ DATABASE_URL: home.url });
});
Deno.test.afterAll(async () => {
  await network.stop();
  await home[Symbol.asyncDispose]();
});

type Used = { name: string; kind: string; proof: Proof };
const nameOf = (kind: string, proof: Proof) => `${kind}/${proof}`;
const usedOf = (kind: string, proofs: readonly Proof[]): Used[] =>
  proofs.map((proof) => ({ name: nameOf(kind, proof), kind, proof }));

/** A platform everybody may read who may read any: kept by each process, so that asking costs no query. */
async function stage() {
  const w = await world({ database: open(home.url, { poolSize: 5 }), env });
  const { platform: { id } } = await w.as(w.operator).platforms.catalogue.create({
    name: "Outlook",
    serviceType: "email",
  });
  const losers = new Map<string, Loser>();
  for (const kind of [UNTOUCHED, ...Object.keys(losses)]) {
    losers.set(kind, await loser({ w, admin: home.admin }));
  }
  const used = [
    ...usedOf(UNTOUCHED, ["token", "acting", "key"]),
    ...Object.entries(losses).flatMap(([kind, { of }]) => usedOf(kind, of)),
  ];
  const knocks = used.map(({ name, kind, proof }): Knock => {
    const text = losers.get(kind)?.proofs[proof] ?? "";
    const headers = proof === "key" ? { "x-api-key": text } : { authorization: `Bearer ${text}` };
    return { name, path: `/api/v1/platforms/${id}`, headers };
  });
  return { w, losers, used, knocks };
}
type Stage = Awaited<ReturnType<typeof stage>>;

async function worker(knocks: Knock[], more: Record<string, string>): Promise<Started> {
  const process = started("tests/races/workers/knock.ts");
  const variables = {
    DATABASE_URL: home.url,
    PUBLIC_URL: env.PUBLIC_URL,
    SIGNING_KEYS: JSON.stringify(env.SIGNING_KEYS),
    ENCRYPTION_KEYS: env.ENCRYPTION_KEYS,
    KEY_ENVIRONMENT: env.KEY_ENVIRONMENT,
    LOG_LEVEL: "error",
    ...more,
  };
  const order: Order = { variables, knocks, pauseMs: 150 };
  await process.say(JSON.stringify(order));
  await process.say("use");
  assert.equal(await process.hear(), "warm", "Something was not taken before anything changed");
  return process;
}

/** Takes everything from everybody at once; when each was committed. */
async function loseAll({ w, losers }: Stage): Promise<Map<string, number>> {
  const committed = new Map<string, number>();
  await Promise.all(
    Object.entries(losses).map(async ([kind, { change }]) => {
      const whose = losers.get(kind);
      if (!whose) throw new Error(`Nobody is to lose by ${kind}`);
      await change(w, whose);
      committed.set(kind, Date.now());
    }),
  );
  return committed;
}

/** Each kind so often in all, over its proofs and this many processes. */
function timesOf(used: Used[], tries: number, processes: number): Times {
  const proofs = Map.groupBy(used, ({ kind }) => kind);
  return Object.fromEntries(
    used.map(({ name, kind }) => {
      const sharers = processes * (proofs.get(kind)?.length ?? 1);
      return [name, Math.ceil(tries / sharers)];
    }),
  );
}

const tell = async (process: Started, times: Times): Promise<Told> => {
  await process.say(`try ${JSON.stringify(times)}`);
  return JSON.parse(await process.hear());
};
const statusesOf = (tally: Tally | undefined) => Object.entries(tally?.statuses ?? {});
const triesIn = (tally: Tally | undefined) => statusesOf(tally).reduce((sum, [, n]) => sum + n, 0);

/** Nothing was taken in the tries, and nothing refused otherwise than it should be. */
function assertRefused(used: Used[], told: Told[], committed: Map<string, number>) {
  for (const [kind, { status, of }] of Object.entries(losses)) {
    const names = used.filter((one) => one.kind === kind).map(({ name }) => name);
    const all = told.flatMap(({ tried }) => names.map((name) => tried[name]));
    const tries = all.reduce((sum, tally) => sum + triesIn(tally), 0);
    const taken = all.reduce((sum, tally) => sum + (tally?.statuses[200] ?? 0), 0);
    const last = told.flatMap((one) => names.map((name) => one.used[name]?.lastTakenMs ?? 0));
    const lastTakenMs = Math.max(0, Math.max(...last) - (committed.get(kind) ?? 0));
    console.log(JSON.stringify({ kind, proofs: of, tries, taken, lastTakenMs }));
    assert.ok(tries >= TRIES, kind);
    assert.equal(taken, 0, `${kind} was taken after ${BOUND_MS} ms`);
    const answers = new Set(all.flatMap((tally) => statusesOf(tally).map(([code]) => code)));
    assert.deepEqual([...answers], [String(status)], kind);
    assert.ok(lastTakenMs < BOUND_MS, `${kind} was taken for ${lastTakenMs} ms`);
  }
}

/** Whoever nothing was taken from was let in by each of these processes, every time. */
function assertUntouched(told: Told[]) {
  for (const { used, tried } of told) {
    for (const { name } of usedOf(UNTOUCHED, ["token", "acting", "key"])) {
      for (const tally of [used[name], tried[name]]) {
        assert.deepEqual(statusesOf(tally).map(([code]) => code), ["200"], name);
      }
    }
  }
}

/** The process that could not ask took nothing after the bound: it said that it cannot tell. */
function assertUnknowing(used: Used[], { used: before, tried }: Told, hungSinceMs: number) {
  const all = used.map(({ name }) => tried[name]);
  const lastTakenMs = Math.max(...used.map(({ name }) => before[name]?.lastTakenMs ?? 0)) -
    hungSinceMs;
  const counts: Record<string, number> = {};
  for (const [code, n] of all.flatMap(statusesOf)) counts[code] = (counts[code] ?? 0) + n;
  console.log(JSON.stringify({ kind: "a database that hangs", answers: counts, lastTakenMs }));
  assert.ok(lastTakenMs < BOUND_MS, `Taken for ${lastTakenMs} ms without a database`);
  assert.ok(all.every((tally) => triesIn(tally) > 0));
  for (const code of Object.keys(counts)) assert.ok(["401", "403", "503"].includes(code), code);
  assert.ok((counts[503] ?? 0) > 0);
}

Deno.test("what is taken from somebody is refused by every process within 5 s", async () => {
  const s = await stage();
  const { used, knocks } = s;
  const [plain, another, withoutRedis, cutOff] = await Promise.all([
    worker(knocks, {}),
    worker(knocks, {}),
    worker(knocks, REDIS_DOWN),
    worker(knocks, { DATABASE_URL: network.url }),
  ]);
  const committed = await loseAll(s);
  network.setHung(true);
  const hungSinceMs = Date.now();
  await new Promise((resolve) => setTimeout(resolve, BOUND_MS));
  const processes = [plain, another, withoutRedis];
  const hanging = tell(cutOff, { ...timesOf(used, TRIES_HUNG, 1), atOnce: 10_000 });
  const told = await Promise.all(
    processes.map((process) => tell(process, timesOf(used, TRIES, processes.length))),
  );
  assertRefused(used, told, committed);
  assertUntouched(told);
  assertUnknowing(used, await hanging, hungSinceMs);
  network.setHung(false);
  const after = await tell(cutOff, timesOf(used, 3, 1));
  for (const { name, kind } of used) {
    const right = losses[kind]?.status ?? 200;
    assert.deepEqual(Object.keys(after.tried[name]?.statuses ?? {}), [String(right)], name);
  }
  for (const process of [...processes, cutOff]) await process[Symbol.asyncDispose]();
  await s.w.close();
});
