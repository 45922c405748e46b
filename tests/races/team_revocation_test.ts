/** A team's key that is taken away lets nothing through to a model any more, in whichever process. */
import assert from "node:assert/strict";
import { asSystem } from "../../src/context.ts";
import * as tenants from "../../src/identity/tenants.ts";
import type { Person } from "../kit.ts";
import { chat, type TeamHouse, teamHouse, variablesOf } from "./team_house.ts";
import type { Knock, Order, Tally, Times, Told } from "./workers/knock.ts";
import { type Started, started } from "./workers/started.ts";

/** Within this, no process takes what was taken away anywhere. */
const BOUND_MS = 5_000;
const TRIES = Deno.env.get("PROVE") === "1" ? 10_000 : 300;
const PROCESSES = 3;
const UNTOUCHED = "untouched";

let home: TeamHouse;
Deno.test.beforeAll(async () => {
  home = await teamHouse();
});
Deno.test.afterAll(() => home.close());

/** A team in a tenant of its own, below one of its own. */
type Loser = {
  top: string;
  tenantId: string;
  owner: Person;
  id: string;
  apiKey: string;
  apiKeyId: string;
};

async function loser(): Promise<Loser> {
  const { w } = home;
  const under = async (parent: string, name: string) =>
    (await tenants.create(asSystem(w.process, parent), { name })).id;
  const top = await under(w.operator.tenantId, "Reseller");
  const tenantId = await under(top, "Harbour Bakery");
  const owner = await w.person(tenantId, "owner");
  return { top, tenantId, owner, ...await home.team({}, owner) };
}

type Loss = {
  /** Whether every process feels it at once, because admission itself looks. */
  isFeltAtOnce: boolean;
  /** Done when it holds. */
  change: (it: Loser) => Promise<unknown>;
};
const teamsOf = ({ owner }: Loser) => home.w.as(owner).teams;
const byOperator = () => home.w.as(home.w.operator).identity.tenants;

const losses: Record<string, Loss> = {
  "key revoked": {
    isFeltAtOnce: true,
    change: (it) => teamsOf(it).teamKeys.revoke({ teamId: it.id, id: it.apiKeyId }),
  },
  "key rotated without overlap": {
    isFeltAtOnce: true,
    change: (it) =>
      teamsOf(it).teamKeys.rotate({ teamId: it.id, id: it.apiKeyId, overlapSeconds: 0 }),
  },
  "key's overlap over": {
    isFeltAtOnce: true,
    change: async (it) => {
      const { previousExpiresAt } = await teamsOf(it).teamKeys
        .rotate({ teamId: it.id, id: it.apiKeyId, overlapSeconds: 1 });
      await new Promise((resolve) => setTimeout(resolve, previousExpiresAt.getTime() - Date.now()));
    },
  },
  "team deactivated": {
    isFeltAtOnce: true,
    change: (it) => teamsOf(it).teams.deactivate({ id: it.id }),
  },
  "team made inactive": {
    isFeltAtOnce: true,
    change: (it) => teamsOf(it).teams.update({ id: it.id, isActive: false }),
  },
  "tenant suspended": {
    isFeltAtOnce: false,
    change: ({ tenantId }) => byOperator().suspend({ id: tenantId }),
  },
  "ancestor suspended": {
    isFeltAtOnce: false,
    change: ({ top }) => byOperator().suspend({ id: top }),
  },
  "tenant closed": {
    isFeltAtOnce: false,
    change: ({ tenantId }) => byOperator().close({ id: tenantId, confirm: "Harbour Bakery" }),
  },
};

async function worker(knocks: Knock[]): Promise<Started> {
  const process = started("tests/races/workers/knock.ts");
  const order: Order = { variables: variablesOf(home.env), knocks, pauseMs: 150 };
  await process.say(JSON.stringify(order));
  await process.say("use");
  assert.equal(await process.hear(), "warm", "Something was not taken before anything changed");
  return process;
}

const tell = async (process: Started, times: Times): Promise<Told> => {
  await process.say(`try ${JSON.stringify(times)}`);
  return JSON.parse(await process.hear());
};
const triesIn = (tally: Tally | undefined) =>
  Object.values(tally?.statuses ?? {}).reduce((sum, n) => sum + n, 0);

/** Takes everything away, each by this process, which takes nothing from that moment on. */
async function loseAll(losers: Map<string, Loser>): Promise<Map<string, number>> {
  const lostAt = new Map<string, number>();
  await Promise.all(
    Object.entries(losses).map(async ([kind, { change }]) => {
      const it = losers.get(kind) ?? assert.fail(kind);
      await change(it);
      lostAt.set(kind, Date.now());
      const here = await Promise.all(Array.from({ length: 10 }, async () => {
        const answer = await home.w.request("/v1/chat/completions", chat(it.apiKey, {}, "here"));
        await answer.body?.cancel();
        return answer.status;
      }));
      assert.deepEqual([...new Set(here)], [401], `${kind}, where it was done`);
    }),
  );
  return lostAt;
}

/** Nothing was taken in the tries, and what was taken before was asked for in time. */
function assertLost(told: Told[], kind: string, lostMs: number) {
  const { isFeltAtOnce } = losses[kind] ?? assert.fail(kind);
  const statuses: Record<string, number> = {};
  for (const { tried } of told) {
    for (const [status, n] of Object.entries(tried[kind]?.statuses ?? {})) {
      statuses[status] = (statuses[status] ?? 0) + n;
    }
  }
  const last = Math.max(...told.map(({ used }) => used[kind]?.lastTakenMs ?? 0)) - lostMs;
  console.log(JSON.stringify({ kind, statuses, lastTakenMs: last }));
  assert.deepEqual(Object.keys(statuses), ["401"], kind);
  assert.ok((statuses[401] ?? 0) >= TRIES);
  assert.ok(last < (isFeltAtOnce ? 50 : BOUND_MS), `${kind} was taken for ${last} ms`);
}

Deno.test("what a team's key or tenant loses is refused within 5 s by every process, and no model hears of it", async () => {
  const losers = new Map<string, Loser>();
  for (const kind of [UNTOUCHED, ...Object.keys(losses)]) losers.set(kind, await loser());
  const knocks = [...losers].map(([name, { apiKey }]): Knock => {
    const { headers, body } = chat(apiKey, {}, name);
    return { name, path: "/v1/chat/completions", headers, body };
  });
  for (const { apiKey } of losers.values()) {
    const warm = await home.w.request("/v1/chat/completions", chat(apiKey));
    assert.equal(warm.status, 200, await warm.text());
  }
  const processes = await Promise.all(Array.from({ length: PROCESSES }, () => worker(knocks)));
  const lostAt = await loseAll(losers);
  await new Promise((resolve) => setTimeout(resolve, BOUND_MS));
  const heard = new Map(home.model.seen);
  const times = Object.fromEntries(
    Object.keys(losses).map((kind) => [kind, Math.ceil(TRIES / PROCESSES)]),
  );
  const told = await Promise.all(
    processes.map((process) => tell(process, { ...times, [UNTOUCHED]: 20 })),
  );
  for (const [kind, lostMs] of lostAt) {
    assertLost(told, kind, lostMs);
    assert.equal(home.model.seen.get(kind), heard.get(kind), `A model heard of ${kind}`);
  }
  assert.equal(home.model.seen.get("here"), undefined, "A model heard of what was taken away");
  for (const { used, tried } of told) {
    assert.deepEqual(Object.keys(used[UNTOUCHED]?.statuses ?? {}), ["200"]);
    assert.deepEqual([triesIn(tried[UNTOUCHED]), tried[UNTOUCHED]?.statuses[200]], [20, 20]);
  }
  for (const process of processes) await process[Symbol.asyncDispose]();
});
