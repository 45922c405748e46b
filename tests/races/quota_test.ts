/** A team's quota holds whatever happens to the processes that keep it and to the clients that ask. */
import assert from "node:assert/strict";
import { settleExpired } from "../../src/teams/admission.ts";
import { services } from "../../src/services.ts";
import { open } from "../../db/client.ts";
import { until } from "../db/house.ts";
import { started } from "../start/service.ts";
import { disagreements, expireAll, totals } from "./books.ts";
import { chat, type TeamHouse, teamHouse, variablesOf } from "./team_house.ts";

const PROVE = Deno.env.get("PROVE") === "1";
const REQUESTS = 1_000;
const QUOTA = 100;
const ROUNDS = PROVE ? 20 : 1;
/** How long clients keep coming, and how long the model may take. */
const COMING_MS = 800;
const SLOW_MS = 700;
const KILLS = PROVE ? 4 : 2;
const SEED = Number(Deno.env.get("SEED") ?? Date.now() % 1_000_000);

let home: TeamHouse;
Deno.test.beforeAll(async () => {
  home = await teamHouse();
});
Deno.test.afterAll(() => home.close());

/** Numbers from 0 to 1 that come again with their seed: mulberry32. */
function dice(seed: number) {
  let state = seed;
  return () => {
    state = state + 0x6d2b79f5 | 0;
    let t = Math.imul(state ^ state >>> 15, 1 | state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const serve = () => started(variablesOf(home.env));
type Served = Awaited<ReturnType<typeof serve>>;

/** What one client came to: a status, or that it left. Where nobody answers any more it asks the other. */
async function ask(
  urls: () => string[],
  { apiKey, id }: { apiKey: string; id: string },
  roll: () => number,
): Promise<string> {
  const init = chat(apiKey, { stream: roll() < 0.5, user: `user ${Math.floor(roll() * 3)}` }, id);
  const [leaves, leavesMs] = [roll() < 0.2, roll() * 500];
  await pause(roll() * COMING_MS);
  const left = new AbortController();
  const timer = setTimeout(() => leaves && left.abort(), leavesMs);
  const { signal } = left;
  for (let tries = Math.floor(roll() * 2);; tries++) {
    try {
      const answer = await fetch(`${urls()[tries % 2]}/v1/chat/completions`, { ...init, signal });
      const text = await answer.text();
      clearTimeout(timer);
      return `${answer.status} ${/insufficient_quota/.exec(text) ?? ""}`.trim();
    } catch {
      if (signal.aborted) return "left";
      await pause(200);
    }
  }
}

/** Ends one of them without a word; another takes its place. */
async function killOne(processes: Served[], roll: () => number) {
  const which = Math.floor(roll() * processes.length);
  const victim = processes[which];
  if (!victim) throw new Error("There is nobody to kill");
  await victim.stop("SIGKILL");
  processes[which] = await serve();
}

async function round(processes: Served[], seed: number) {
  const roll = dice(seed);
  const team = await home.team({ dailyQuota: QUOTA });
  const { id } = team;
  home.model.delayMs = () => roll() * SLOW_MS / 6;
  let isOver = false;
  // Who is killed takes along what it has let in and not begun: there may be no more to wait for.
  const killing = (async () => {
    for (let n = 0; n < KILLS; n++) {
      const least = Math.ceil((n + roll()) / KILLS * QUOTA / 2);
      const begun = () => home.model.seen.get(id) ?? 0;
      await until(() => isOver || begun() >= least, `${least} answers have begun`, 60_000);
      if (!isOver) await killOne(processes, roll);
    }
  })();
  const urls = () => processes.map(({ url }) => url);
  const clients = Array.from({ length: REQUESTS }, (_, n) => ask(urls, team, dice(seed + n)));
  const answers = new Map<string, number>();
  for (const answer of await Promise.all(clients)) {
    answers.set(answer, (answers.get(answer) ?? 0) + 1);
  }
  isOver = true;
  await killing;
  return { ...team, answers };
}

/** What a full quota leaves behind. */
const full = {
  rows: QUOTA,
  leases: 0,
  requests: QUOTA,
  admitted_day: QUOTA,
  settled_day: QUOTA,
  admitted_month: QUOTA,
  settled_month: QUOTA,
};

/** Asks until the quota is used up, where the kills have left something of it. */
async function useUp({ url }: Served, apiKey: string) {
  for (let status = 200; status === 200;) {
    const answer = await fetch(`${url}/v1/chat/completions`, chat(apiKey));
    await answer.body?.cancel();
    status = answer.status;
  }
}

Deno.test(`a daily quota of ${QUOTA} admits ${QUOTA} of ${REQUESTS} requests at once to 2 processes, through kills and aborts`, async () => {
  const processes = await Promise.all([serve(), serve()]);
  const others = await Promise.all(
    [1, 2].map(() => services({ env: home.env, database: open(home.server.url, { poolSize: 2 }) })),
  );
  try {
    for (let n = 0; n < ROUNDS; n++) {
      const { id, apiKey, answers } = await round(processes, SEED + n * REQUESTS);
      for (const process of processes) await useUp(process, apiKey);
      const leases = await home.server.count(`select count(*) from quota_leases`);
      console.log(JSON.stringify({ seed: SEED, round: n, ...Object.fromEntries(answers), leases }));
      await expireAll(home.server);
      await Promise.all(others.map((other) => settleExpired(other)));
      assert.deepEqual(await totals(home.server, id), full);
      assert.deepEqual(await disagreements(home.server), []);
      const known = ["200", "429 insufficient_quota", "left"];
      assert.deepEqual([...answers.keys()].filter((answer) => !known.includes(answer)), []);
      assert.ok((answers.get("200") ?? 0) <= QUOTA);
    }
  } finally {
    for (const process of processes) await process.stop("SIGKILL");
    for (const { database } of others) await database.close();
  }
});

Deno.test("clients that leave, whenever they do, leave no lease behind", async () => {
  const roll = dice(SEED);
  const { id, apiKey } = await home.team();
  home.model.delayMs = () => roll() * 40;
  await using process = await serve();
  await (await fetch(`${process.url}/v1/chat/completions`, chat(apiKey))).text();
  const answers: string[] = [];
  const client = async () => {
    while (answers.length < 200) {
      const left = new AbortController();
      const timer = setTimeout(() => left.abort(), roll() * 200);
      const init = { ...chat(apiKey, { stream: roll() < 0.5 }), signal: left.signal };
      const answer = await fetch(`${process.url}/v1/chat/completions`, init)
        .then((answer) => answer.text()).then(() => "answered", () => "left");
      clearTimeout(timer);
      answers.push(answer);
    }
  };
  await Promise.all(Array.from({ length: 20 }, client));
  assert.ok(answers.filter((answer) => answer === "left").length > 100);
  const leases = () => home.server.count(`select count(*) from quota_leases`);
  await until(async () => await leases() === 0, "every lease is settled");
  const outcomes = await home.server.admin(`select outcome, is_streamed, count(*)::int as n
    from usage_logs where team_id = '${id}' group by 1, 2 order by 1, 2`);
  console.log(JSON.stringify(outcomes));
  assert.ok(outcomes.every(({ outcome }) => outcome === "answered" || outcome === "aborted"));
  const aborted = outcomes.filter(({ outcome }) => outcome === "aborted");
  assert.deepEqual(aborted.map(({ is_streamed }) => is_streamed), [false, true]);
  assert.deepEqual(await disagreements(home.server), []);
});
