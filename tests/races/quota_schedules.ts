/** What may happen to quotas, in any order and at once; and how each of it is done to a database. */
import { sql } from "drizzle-orm";
import fc from "fast-check";
import { v7 } from "uuid";
import type { Database } from "../../db/client.ts";
import { settleExpired, verdictIn } from "../../src/teams/admission.ts";
import type { House } from "../db/house.ts";
import { dayIn, type Lease, models, type Oracle, settlementOf } from "./quota_oracle.ts";

export const TEAMS = 3;
const zones = [
  "UTC",
  "America/New_York",
  "Asia/Kolkata",
  "Pacific/Kiritimati",
  "Pacific/Pago_Pago",
  "Europe/Berlin",
  "Nowhere/Land",
];

const wanted = fc.record({
  team: fc.nat(TEAMS - 1),
  key: fc.nat(2), // The last: with none, as somebody of the tenant.
  user: fc.constantFrom(null, "ada", "olu"),
  model: fc.constantFrom(...models),
  tokens: fc.nat(1_000_000),
  salt: fc.nat(100_000_000),
});
const picks = fc.array(fc.nat(), { minLength: 1, maxLength: 12, size: "max" });
const act = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constant("admit" as const),
      wanted: fc.array(wanted, { minLength: 1, maxLength: 8 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ does: fc.constant("settle" as const), picks }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant("again" as const), picks }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant("sweep" as const) }) },
);
export type Act = typeof act extends fc.Arbitrary<infer A> ? A : never;

const quota = fc.option(fc.nat(25), { freq: 5 });
export const quotas = fc.tuple(...Array.from({ length: TEAMS }, () => fc.tuple(quota, quota)));
/** What may change while requests come. */
const change = fc.oneof(
  fc.record({ sets: fc.constant("clock" as const), hours: fc.integer({ min: 1, max: 800 }) }),
  fc.record({
    sets: fc.constant("zone" as const),
    tenant: fc.nat(1),
    zone: fc.constantFrom(...zones),
  }),
  fc.record({
    sets: fc.constant("quota" as const),
    team: fc.nat(TEAMS - 1),
    daily: quota,
    monthly: quota,
  }),
  fc.record({
    sets: fc.constant("active" as const),
    team: fc.nat(TEAMS - 1),
    isActive: fc.boolean(),
  }),
  fc.record({
    sets: fc.constant("key" as const),
    team: fc.nat(TEAMS - 1),
    key: fc.nat(1),
    isOver: fc.boolean(),
  }),
);
const price = fc.bigInt({ min: 0n, max: 1_000_000_000_000n });
/** What may change between them: while they come, two answers would be right. */
const pause = fc.oneof(
  change,
  fc.record({ sets: fc.constant("lost" as const), picks }),
  fc.record({ sets: fc.constant("price" as const), input: price, output: price }),
);
export type Change = typeof pause extends fc.Arbitrary<infer A> ? A : never;

/** Acts that go on at once, after one change and during another. */
export const step = fc.record({
  before: fc.option(pause, { freq: 3 }),
  acts: fc.array(act, { minLength: 1, maxLength: 6 }),
  during: fc.oneof(
    { weight: 3, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: change },
  ),
});
export type Step = typeof step extends fc.Arbitrary<infer A> ? A : never;

export type Stage = {
  databases: Database[];
  admin: House["admin"];
  tenantIds: string[];
  oracle: Oracle;
};

export type Answer = { lease: Lease; isAgain: boolean; said: Record<string, unknown> };
/** What was done to leases that were there before. */
export type Done = { answers: Answer[]; settled: Set<string>; isSwept: boolean };

/** So many come one after the other, and name their day. */
const FEW = 3;

const alone = (it: Record<string, unknown>, day: string, isAgain: boolean) =>
  sql`select chat_let_in(${it.tenant}::uuid, ${it.team}::uuid,
    ${it.key}::uuid, ${it.lease}::uuid, null, ${it.user}, ${it.endpoint}, ${it.model},
    ${it.tokens}::integer, ${it.request}, ${it.seconds}::integer, ${isAgain}, ${day}::date,
    ${`${day.slice(0, 7)}-01`}::date, 'infinity', 'infinity') as told`;

async function admit(stage: Stage, database: Database, leases: Lease[], isAgain: boolean) {
  const { oracle, tenantIds } = stage;
  const items = leases.map((lease, place) => ({
    place,
    tenant: tenantIds[oracle.teams[lease.team]?.tenant ?? 0],
    team: oracle.teams[lease.team]?.id,
    key: lease.key,
    lease: lease.id,
    session: null,
    user: lease.user,
    endpoint: "chat.completions",
    model: lease.model,
    tokens: lease.tokens,
    request: "request-of-a-schedule",
    seconds: 3_600,
  }));
  const rows: Record<string, unknown>[] = [];
  if (items.length <= FEW) {
    for (const [place, it] of items.entries()) {
      const tenant = oracle.teams[leases[place]?.team ?? 0]?.tenant ?? 0;
      const day = dayIn(oracle.zones[tenant] ?? "UTC", oracle.now);
      const [row] = await database.query(alone(it, day, isAgain));
      rows.push({ ...verdictIn(row?.told), place });
    }
  } else {
    const asked = JSON.stringify(items);
    rows.push(...await database.query(sql`select * from chat_admit(${asked}::jsonb, ${isAgain})`));
  }
  return leases.map((lease, place): Answer => ({
    lease,
    isAgain,
    said: rows.find((row) => Number(row.place) === place) ?? {},
  }));
}

async function settle({ oracle, tenantIds }: Stage, database: Database, leases: Lease[]) {
  const items = leases.map((lease) => ({
    tenant: tenantIds[oracle.teams[lease.team]?.tenant ?? 0],
    lease: lease.id,
    ...settlementOf(lease),
  }));
  await database.query(sql`select chat_settle(${JSON.stringify(items)}::jsonb)`);
}

const complain = (_: string, message: string, fields?: Record<string, unknown>) => {
  throw new Error(`${message} ${JSON.stringify(fields)}`);
};

/** Does them all at once, each on a connection of its own; picks are of what was there before. */
export async function doAll(stage: Stage, acts: Act[], during: () => Promise<void>): Promise<Done> {
  const { oracle, databases } = stage;
  const known = [...oracle.open.values(), ...[...oracle.rows.values()].map(({ lease }) => lease)];
  const picked = (picks: number[]) => {
    const leases = picks.flatMap((pick) => known[pick % Math.max(1, known.length)] ?? []);
    return [...new Set(leases)];
  };
  const done: Done = { answers: [], settled: new Set(), isSwept: false };
  const work = async (act: Act, database: Database) => {
    if (act.does === "admit") {
      const leases = act.wanted.map(({ key, ...rest }): Lease => ({
        ...rest,
        id: v7(),
        key: oracle.teams[rest.team]?.keys[key]?.id ?? null,
        day: "",
        isOver: false,
      }));
      done.answers.push(...await admit(stage, database, leases, false));
    } else if (act.does === "again") {
      done.answers.push(...await admit(stage, database, picked(act.picks), true));
    } else if (act.does === "settle") {
      const leases = picked(act.picks);
      for (const { id } of leases) done.settled.add(id);
      await settle(stage, database, leases);
    } else {
      done.isSwept = true;
      await settleExpired({ database, log: complain });
    }
  };
  await Promise.all([
    during(),
    ...acts.map((act, n) => {
      const database = databases[n % databases.length];
      if (!database) throw new Error("There is no connection");
      return work(act, database);
    }),
  ]);
  return done;
}

const quoted = (n: number | null) => n === null ? "null" : String(n);

/** Changes the database and what the oracle knows of it. */
export async function apply(stage: Stage, change: Change): Promise<void> {
  const { oracle, admin, tenantIds } = stage;
  if (change.sets === "clock") {
    oracle.now = new Date(oracle.now.getTime() + change.hours * 3_600_000);
    await admin(`update test_clock set moment = '${oracle.now.toISOString()}'`);
  } else if (change.sets === "zone") {
    oracle.zones[change.tenant] = change.zone;
    await admin(`update tenants set time_zone = '${change.zone}'
      where id = '${tenantIds[change.tenant]}'`);
  } else if (change.sets === "price") {
    const { input, output } = change;
    oracle.prices.set("repriced", { input, output });
    await admin(`insert into model_prices (id, model, input_micros, output_micros, starts_at)
      select '${v7()}', 'repriced', ${input}, ${output}, max(starts_at) + interval '1 second'
      from model_prices where model = 'repriced'`);
  } else if (change.sets === "lost") {
    const open = [...oracle.open.values()];
    for (const pick of change.picks) {
      const lease = open[pick % Math.max(1, open.length)];
      if (!lease) continue;
      lease.isOver = true;
      await admin(`update quota_leases set expires_at = now() - interval '1 second'
        where id = '${lease.id}'`);
    }
  } else {
    const team = oracle.teams[change.team];
    if (!team) throw new Error("There is no such team");
    if (change.sets === "quota") {
      team.dailyQuota = change.daily;
      team.monthlyQuota = change.monthly;
      await admin(`update teams set daily_quota = ${quoted(change.daily)},
        monthly_quota = ${quoted(change.monthly)} where id = '${team.id}'`);
    } else if (change.sets === "active") {
      team.isActive = change.isActive;
      await admin(`update teams set is_active = ${change.isActive} where id = '${team.id}'`);
    } else {
      const key = team.keys[change.key];
      if (!key) return;
      key.holds = false;
      await admin(`update api_keys set ${change.isOver ? "expires_at" : "revoked_at"} =
        now() - interval '1 second' where id = '${key.id}'`);
    }
  }
}
