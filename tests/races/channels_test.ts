/** What is said to a bot is answered once and in order, whatever happens to the processes that answer. */
import assert from "node:assert/strict";
import { until } from "../db/house.ts";
import { type ChannelHouse, channelHouse, type Served, words } from "./channel_house.ts";

const PROVE = Deno.env.get("PROVE") === "1";
const CHATS = PROVE ? 40 : 12;
const MESSAGES = PROVE ? 50 : 20;
/** So that no team writes faster than it may. */
const CHATS_OF_A_BOT = 10;
/** How often each update comes in all. */
const TIMES = PROVE ? 20 : 8;
const KILLS = PROVE ? 12 : 3;
const POWER_CUTS = PROVE ? 3 : 1;
const SEED = Number(Deno.env.get("SEED") ?? Date.now() % 1_000_000);

let it: ChannelHouse;
Deno.test.beforeAll(async () => {
  it = await channelHouse();
});
Deno.test.afterAll(() => it.close());

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

type Bot = Awaited<ReturnType<ChannelHouse["bot"]>>;
type Written = ReturnType<typeof words>;

/** Hands an update over until a process takes it, as Telegram does. */
async function insist({ server }: Bot, update: Written) {
  for (let tries = 0; await server.deliver(update) !== 200; tries++) {
    if (tries > 600) throw new Error("Nobody takes an update");
    await pause(100);
  }
}

/** Everything that is said in a chat, in order, and again and again in any order. */
async function talk(bot: Bot, person: number, roll: () => number) {
  const said: Written[] = [];
  for (let n = 0; n < MESSAGES; n++) {
    const update = words(person, 1_000_000 + person * 1_000 + n, `chat ${person} says ${n}`);
    await insist(bot, update);
    said.push(update);
    for (let again = 1; again < TIMES; again++) {
      const old = said[Math.floor(roll() * said.length)];
      if (old) await bot.server.deliver(old); // Where it fails it came before.
    }
    await pause(roll() * 60);
  }
}

/** Kills these without a word and lets others take their places; tells what they were between. */
async function kill(victims: Served[]): Promise<string[]> {
  const names = victims.map(({ name }) => name);
  const fresh = victims.length < it.processes.length ? it.serve() : null;
  const ends = victims.map((victim) => victim.stop("SIGKILL"));
  await Promise.all(ends);
  const between = await it.between(names);
  await it.expire(names);
  for (const victim of victims) it.processes.splice(it.processes.indexOf(victim), 1);
  it.processes.push(...fresh ? [await fresh] : await Promise.all(victims.map(() => it.serve())));
  return between;
}

const sentBy = (bots: Bot[]) => bots.flatMap(({ server }) => server.sent);

/** How often each update was answered, by its key; fails where a chat's answers are out of order. */
function answeredBy(bots: Bot[]): Map<string, number> {
  const counts = new Map<string, number>();
  const last = new Map<string, number>();
  for (const { text, chatId } of sentBy(bots)) {
    const [, person, n] = /chat (\d+) says (\d+)$/.exec(text) ?? assert.fail(text);
    const key = String(1_000_000 + Number(person) * 1_000 + Number(n));
    counts.set(key, (counts.get(key) ?? 0) + 1);
    const before = last.get(chatId) ?? -1;
    const isNext = Number(n) === before + 1 || (Number(n) === before && counts.get(key) !== 1);
    assert.ok(isNext, `chat ${person} was answered ${n} after ${before}`);
    last.set(chatId, Number(n));
  }
  return counts;
}

Deno.test(`${CHATS * MESSAGES} updates that come ${TIMES} times to processes that are killed are each answered once, in order per chat`, async () => {
  const bots: Bot[] = [];
  for (let n = 0; n < CHATS; n += CHATS_OF_A_BOT) bots.push(await it.bot());
  const roll = dice(SEED);
  it.model.delay({ headers: 15 });
  it.processes.push(...await Promise.all([it.serve(), it.serve(), it.serve()]));
  const began = Date.now();
  const windows = new Map<string, number>();
  const talking = Promise.all(
    Array.from({ length: CHATS }, (_, person) => {
      const bot = bots[Math.floor(person / CHATS_OF_A_BOT)];
      return bot && talk(bot, person, dice(SEED + person));
    }),
  );
  const answered = (share: number) =>
    until(() => sentBy(bots).length >= share * CHATS * MESSAGES, `${share} of it`, 120_000);
  for (let n = 1; n <= KILLS; n++) {
    await answered(n / (KILLS + 1.5));
    const isPowerCut = n > KILLS - POWER_CUTS;
    const one = it.processes[Math.floor(roll() * it.processes.length)];
    const victims = isPowerCut ? [...it.processes] : one ? [one] : [];
    for (const key of await kill(victims)) windows.set(key, (windows.get(key) ?? 0) + 1);
  }
  await talking;
  await it.allDone(120_000);
  const counts = answeredBy(bots);
  const twice = [...counts].filter(([, n]) => n > 1);
  const ms = Date.now() - began;
  const sum = { seed: SEED, updates: counts.size, kills: KILLS, windows: windows.size };
  console.log(JSON.stringify({ ...sum, twice: twice.length, ms }));
  assert.equal(counts.size, CHATS * MESSAGES);
  for (const [key, n] of twice) {
    assert.ok(n <= 1 + (windows.get(key) ?? 0), `${key} was answered ${n} times`);
  }
  assert.deepEqual(await it.states(), { done: CHATS * MESSAGES });
});

Deno.test("a process that hangs past its hold and wakes up neither sends nor records", async () => {
  const bot = await it.bot();
  while (it.processes.length > 1) await it.processes.pop()?.stop("SIGKILL");
  const [sleeper] = it.processes;
  if (!sleeper) throw new Error("There is no process");
  const people = [101, 102, 103, 104, 105];
  it.model.clearPlans();
  it.model.resetCounts();
  const wake = it.model.hang({ times: people.length });
  const idOf = (person: number, n: number) => 2_000_000 + person * 10 + n;
  for (const person of people) {
    for (const n of [0, 1, 2]) {
      await insist(bot, words(person, idOf(person, n), `chat ${person} says ${n}`));
    }
  }
  await it.model.arrived(people.length);
  sleeper.child.kill("SIGSTOP");
  it.processes.splice(0, 1, await it.serve());
  await it.expire([sleeper.name]);
  const all = people.length * 3;
  await until(() => bot.server.sent.length >= all, "the other answers", 30_000);
  sleeper.child.kill("SIGCONT");
  wake(); // What it waited for comes now.
  await until(
    () => it.model.calls.every(({ outcome }) => outcome !== "open"),
    "it has its answers",
  );
  await fetch(`${sleeper.url}/ready`).then((answer) => answer.body?.cancel());
  // It works on as any process: what is said to it is answered.
  it.processes.push(sleeper);
  for (const person of people) {
    await insist(bot, words(person, idOf(person, 3), `chat ${person} says 3`));
  }
  await it.allDone();
  const order = Map.groupBy(bot.server.sent, ({ chatId }) => chatId);
  for (const sent of order.values()) {
    assert.deepEqual(sent.map(({ text }) => /says (\d)$/.exec(text)?.[1]), ["0", "1", "2", "3"]);
  }
  assert.equal(bot.server.sent.length, people.length * 4);
  const told = await it.home.server.admin(`select total_message_count as n from chat_sessions
    where team_id = '${bot.teamId}'`);
  assert.deepEqual([...new Set(told.map(({ n }) => n))], [8]);
});

Deno.test("a process that is told to end leaves every chat where another can go on, and nothing is sent twice", async () => {
  const bot = await it.bot();
  it.model.clearPlans();
  it.model.delay({ headers: 30 });
  const people = Array.from({ length: 10 }, (_, n) => 201 + n);
  const idOf = (person: number, n: number) => 3_000_000 + person * 10 + n;
  const talking = Promise.all(people.map(async (person) => {
    for (let n = 0; n < 8; n++) {
      await insist(bot, words(person, idOf(person, n), `chat ${person} says ${n}`));
    }
  }));
  for (const share of [0.2, 0.5]) {
    await until(() => bot.server.sent.length >= share * 80, `${share} of it`, 30_000);
    const [old] = it.processes.splice(0, 1);
    it.processes.push(await it.serve());
    await old?.stop("SIGTERM");
  }
  await talking;
  await it.allDone(25_000);
  const order = Map.groupBy(bot.server.sent, ({ chatId }) => chatId);
  for (const sent of order.values()) {
    const said = sent.map(({ text }) => Number(/says (\d)$/.exec(text)?.[1]));
    assert.deepEqual(said, [0, 1, 2, 3, 4, 5, 6, 7]);
  }
  assert.equal(order.size, people.length);
});
