/** Holds what a database says after a step against what the oracle says. */
import assert from "node:assert/strict";
import {
  costOf,
  countersOf,
  dayIn,
  daysOf,
  floorOf,
  type Lease,
  type Oracle,
  roomOf,
  type Row,
  settlementOf,
  textOf,
} from "./quota_oracle.ts";
import type { Answer, Done, Stage } from "./quota_schedules.ts";

type Kept = Record<string, unknown>;
/** What stood before the step: rooms, and who might send. */
export type Before = { teams: Oracle["teams"]; zones: string[]; now: Date; rooms: Room[] };
type Room = ReturnType<typeof roomOf>;

export const before = (oracle: Oracle): Before => ({
  teams: structuredClone(oracle.teams),
  zones: [...oracle.zones],
  now: oracle.now,
  rooms: oracle.teams.map((_, team) => roomOf(oracle, team)),
});

const verdictOf = ({ said }: Answer) => String(said.verdict);
const isAdmitted = (answer: Answer) => verdictOf(answer) === "admitted";
const keyHolds = (teams: Oracle["teams"], { team, key }: Lease) =>
  key === null || teams[team]?.keys.find(({ id }) => id === key)?.holds === true;

/** Every row of these teams, in the oracle's words. */
async function kept({ oracle, admin }: Stage) {
  const places = new Map(oracle.teams.map(({ id }, place) => [id, place]));
  const ids = oracle.teams.map(({ id }) => `'${id}'`).join();
  const from = async (what: string) => {
    const rows = await admin(`${what} where team_id in (${ids})`);
    return rows.map((row): Kept => ({ ...row, team: places.get(String(row.team_id)) }));
  };
  const joined = (rows: Kept[], names: string[]) =>
    rows.map((row) => names.map((name) => row[name] ?? null).join()).sort();
  const [leases, logs, days, counters] = await Promise.all([
    from(`select id, team_id, day_on::text, month_on::text from quota_leases`),
    from(`select *, day_on::text, (cost_micros * 1000000)::numeric(40)::text as cost
      from usage_logs`),
    from(`select *, day_on::text, (cost_micros * 1000000)::numeric(40)::text as cost
      from usage_days`),
    from(`select *, starts_on::text from quota_counters`),
  ]);
  return {
    leases,
    logs: new Map(logs.map((log) => [String(log.id), log])),
    logTexts: joined(logs, [
      ...["team", "api_key_id", "user_id", "requested_model", "day_on", "model", "outcome"],
      ...["status", "attempts", "input_tokens", "output_tokens", "usage_source", "latency_ms"],
      ...["first_byte_ms", "is_streamed", "cost"],
    ]),
    dayTexts: joined(days, [
      ...["team", "day_on", "model", "api_key_id", "user_id", "requests", "errors"],
      ...["input_tokens", "output_tokens", "cost", "unpriced", "timed", "latency_ms"],
      "max_latency_ms",
    ]),
    counterTexts: joined(
      counters.filter(({ admitted }) => Number(admitted) > 0),
      ["team", "period", "starts_on", "admitted", "settled"],
    ),
  };
}

/** With nothing changed meanwhile there is one right answer for each, and one right number of them. */
function assertExact(oracle: Oracle, { rooms }: Before, answers: Answer[]) {
  for (const [team, room] of rooms.entries()) {
    const asked = answers.filter(({ lease, isAgain }) => lease.team === team && !isAgain);
    const { isActive, dailyQuota, monthlyQuota } = oracle.teams[team] ?? assert.fail();
    const shut = asked.filter(({ lease }) => !isActive || !keyHolds(oracle.teams, lease));
    const verdicts = new Set(shut.map(verdictOf));
    assert.deepEqual([...verdicts], shut.length ? [isActive ? "no_key" : "no_team"] : []);
    const others = asked.filter((answer) => !shut.includes(answer));
    const admitted = others.filter(isAdmitted);
    assert.equal(admitted.length, Math.min(others.length, room.day, room.month));
    const left = roomOf(oracle, team);
    for (const answer of others) {
      const verdict = verdictOf(answer);
      if (verdict !== "admitted") assert.equal(left[verdict === "day" ? "day" : "month"], 0);
    }
    for (const [period, quota] of [["day", dailyQuota], ["month", monthlyQuota]] as const) {
      const told = admitted.map(({ said }) => said[`${period}_left`]);
      if (quota === null) assert.ok(told.every((n) => n === null), `${told}`);
      else if (told.length > 0) assert.equal(Math.min(...told.map(Number)), left[period]);
    }
  }
}

/** With something changed meanwhile every answer is right for before or after. */
function assertPlausible(oracle: Oracle, was: Before, { lease, said: { verdict } }: Answer) {
  const [one, other] = [was.teams[lease.team], oracle.teams[lease.team]];
  const isOpen = one?.isActive || other?.isActive;
  if (verdict === "no_team") return assert.ok(!one?.isActive || !other?.isActive);
  if (verdict === "no_key") return assert.ok(!keyHolds(oracle.teams, lease));
  assert.ok(isOpen && keyHolds(was.teams, lease), `${verdict} was not possible`);
  assert.ok(["admitted", "day", "month"].includes(String(verdict)), String(verdict));
}

/** No counter went beyond the larger of the quotas that held. */
function assertBounded(oracle: Oracle, was: Before, wasCounters: string[]) {
  const numbers = (lines: string[]) =>
    new Map(lines.map((line) => {
      const [team, period, starts, admitted] = line.split(",");
      return [`${team},${period},${starts}`, Number(admitted)];
    }));
  const counted = numbers(wasCounters);
  for (const [name, admitted] of numbers(countersOf(oracle))) {
    if (admitted === (counted.get(name) ?? 0)) continue;
    const [team, period] = name.split(",");
    const quotas = [was.teams[Number(team)], oracle.teams[Number(team)]].map((it) =>
      (period === "day" ? it?.dailyQuota : it?.monthlyQuota) ?? Infinity
    );
    assert.ok(admitted <= Math.max(...quotas), `${name}: ${admitted} of ${quotas}`);
  }
}

/** Enters what was let in and what was settled; where two things were possible, as it was done. */
function enter(stage: Stage, was: Before, done: Done, now: Awaited<ReturnType<typeof kept>>) {
  const { oracle } = stage;
  for (const { lease, isAgain, said } of done.answers) {
    if (isAgain || said.verdict !== "admitted") continue;
    const row = now.leases.find(({ id }) => id === lease.id) ?? assert.fail("It has no lease");
    const tenant = oracle.teams[lease.team]?.tenant ?? 0;
    const days = [
      dayIn(was.zones[tenant] ?? "", was.now),
      dayIn(oracle.zones[tenant] ?? "", oracle.now),
    ];
    const moments = [days[0], dayIn(was.zones[tenant] ?? "", oracle.now), days[1]];
    assert.ok(moments.includes(String(row.day_on)), `${row.day_on} is none of ${moments}`);
    assert.equal(row.month_on, `${String(row.day_on).slice(0, 7)}-01`);
    lease.day = String(row.day_on);
    oracle.open.set(lease.id, lease);
  }
  for (const lease of [...oracle.open.values()]) {
    const possible = [
      ...done.settled.has(lease.id) ? [settlementOf(lease)] : [],
      ...done.isSwept && lease.isOver ? [floorOf(lease)] : [],
    ];
    if (possible.length === 0) continue;
    const outcome = now.logs.get(lease.id)?.outcome;
    const settlement = possible.find((it) => it.outcome === outcome) ?? possible[0];
    const row: Row = { lease, settlement: settlement ?? assert.fail() };
    oracle.open.delete(lease.id);
    oracle.rows.set(lease.id, row);
    oracle.costs.set(lease.id, costOf(row, oracle.prices));
  }
}

/** Everything that must hold once nobody does anything any more. */
export async function check(stage: Stage, was: Before, done: Done, isDisturbed: boolean) {
  const { oracle } = stage;
  const wasCounters = countersOf(oracle);
  const now = await kept(stage);
  for (const { isAgain, said } of done.answers) {
    if (isAgain) assert.equal(said.verdict, "admitted", "What was let in stays so");
  }
  enter(stage, was, done, now);
  const fresh = done.answers.filter(({ isAgain }) => !isAgain);
  if (isDisturbed) fresh.forEach((answer) => assertPlausible(oracle, was, answer));
  else assertExact(oracle, was, fresh);
  assertBounded(oracle, was, wasCounters);
  assert.deepEqual(now.leases.map(({ id }) => id).sort(), [...oracle.open.keys()].sort());
  const rows = [...oracle.rows.values()];
  const costOfRow = ({ lease }: Row) => oracle.costs.get(lease.id) ?? null;
  assert.deepEqual(now.logTexts, rows.map((row) => textOf(row, costOfRow(row))).sort());
  assert.deepEqual(now.dayTexts, daysOf(oracle));
  assert.deepEqual(now.counterTexts, countersOf(oracle));
}
