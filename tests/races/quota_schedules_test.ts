/** Whatever happens to quotas, in whatever order and at once: they come to what a naive reckoning says. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { v7 } from "uuid";
import { type Database, open } from "../../db/client.ts";
import { type House, house } from "../db/house.ts";
import { environment, world } from "../kit.ts";
import { disagreements } from "./books.ts";
import { before, check } from "./quota_checks.ts";
import type { Oracle, Team } from "./quota_oracle.ts";
import { apply, doAll, quotas, type Stage, step } from "./quota_schedules.ts";

const PROVE = Deno.env.get("PROVE") === "1";
const RUNS = PROVE ? 500 : 12;
const SEED = Number(Deno.env.get("SEED") ?? Date.now() % 1_000_000_000);
const CONNECTIONS = 6;

let server: House;
let databases: Database[] = [];
Deno.test.beforeAll(async () => {
  server = await house();
  databases = Array.from({ length: CONNECTIONS }, () => open(server.url, { poolSize: 1 }));
  // The calendar's clock, so that midnight and the month's end come when they are called.
  await server.admin(`
    create table test_clock (moment timestamptz not null);
    insert into test_clock values ('2026-01-30 12:00+00');
    grant select on test_clock to switchboard_worker;
    alter function local_day rename to local_day_of;
    create function local_day(moment timestamptz, zone text) returns date language sql stable
    set search_path = pg_catalog, public as $$ select local_day_of(c.moment, zone) from test_clock c $$`);
});
Deno.test.afterAll(async () => {
  for (const database of databases) await database.close();
  await server[Symbol.asyncDispose]();
});

async function stage() {
  const w = await world({
    database: open(server.url, { poolSize: 4 }),
    env: await environment({ DATABASE_URL: server.url }),
  });
  const tenants = [await w.tenant(), await w.tenant()];
  const team = async (tenant: number): Promise<Team> => {
    const { teams, teamKeys } = w.as(tenants[tenant]?.admin ?? null).teams;
    const name = v7();
    const { id, apiKeyId } = await teams.create({ displayName: name, platformName: name });
    const { teamKey } = await teamKeys.create({ teamId: id, name: "another" });
    const keys = [apiKeyId, teamKey.id].map((id) => ({ id, holds: true }));
    return { id, tenant, dailyQuota: null, monthlyQuota: null, isActive: true, keys };
  };
  /** New teams in a calendar and a price list as at the beginning. */
  const begin = async (): Promise<Stage> => {
    const now = new Date("2026-01-30T12:00:00Z");
    await server.admin(`
      update tenants set time_zone = 'UTC';
      update test_clock set moment = '${now.toISOString()}';
      delete from model_prices;
      insert into model_prices (id, model, input_micros, output_micros, starts_at) values
        ('${v7()}', 'priced', 150001, 600007, '2020-01-01'),
        ('${v7()}', 'repriced', 3, 1000000000000, '2020-01-01')`);
    const oracle: Oracle = {
      teams: [await team(0), await team(0), await team(1)],
      zones: ["UTC", "UTC"],
      now,
      open: new Map(),
      rows: new Map(),
      prices: new Map([
        ["priced", { input: 150_001n, output: 600_007n }],
        ["repriced", { input: 3n, output: 1_000_000_000_000n }],
      ]),
      costs: new Map(),
    };
    const tenantIds = tenants.map(({ tenantId }) => tenantId);
    return { databases, admin: server.admin, tenantIds, oracle };
  };
  return { begin, close: w.close };
}

Deno.test("quotas, usage and costs come to the same as reckoned one by one, for random schedules", async () => {
  const { begin, close } = await stage();
  const tally: Record<string, number> = {};
  const note = (what: unknown) => tally[String(what)] = (tally[String(what)] ?? 0) + 1;
  const property = fc.asyncProperty(
    quotas,
    fc.array(step, { minLength: 8, maxLength: 16, size: "max" }),
    async (quotas, steps) => {
      const it = await begin();
      for (const [team, [daily, monthly]] of quotas.entries()) {
        await apply(it, { sets: "quota", team, daily, monthly });
      }
      for (const { before: change, acts, during } of steps) {
        if (change) await apply(it, change);
        const was = before(it.oracle);
        const done = await doAll(it, acts, async () => {
          if (during) await apply(it, during);
        });
        await check(it, was, done, during !== null);
        done.answers.forEach(({ said }) => note(said.verdict));
      }
      for (const { settlement } of it.oracle.rows.values()) note(settlement.outcome);
    },
  );
  await fc.assert(property, { numRuns: RUNS, seed: SEED, endOnFailure: true });
  console.log(JSON.stringify({ seed: SEED, runs: RUNS, ...tally }));
  for (const said of ["admitted", "day", "month", "no_team", "no_key", "lost", "answered"]) {
    assert.ok(tally[said], `${said} never came about`);
  }
  assert.deepEqual(await disagreements(server), []);
  await close();
});
