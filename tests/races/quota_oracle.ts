/** What requests must come to, reckoned in the plainest way: row by row, in whole numbers without end. */

export const models = ["priced", "repriced", "unpriced"] as const;

export type Team = {
  id: string;
  tenant: number;
  dailyQuota: number | null;
  monthlyQuota: number | null;
  isActive: boolean;
  keys: { id: string; holds: boolean }[];
};

/** `salt`: what its settlement is made of, so that it is the same however often it comes. */
export type Lease = {
  id: string;
  team: number;
  key: string | null;
  user: string | null;
  model: string;
  tokens: number;
  salt: number;
  day: string;
  isOver: boolean;
};

export type Settlement = {
  model: string;
  outcome: string;
  status: number | null;
  attempts: number;
  input: number | null;
  output: number;
  source: string;
  latency: number | null;
  first_byte: number | null;
  streamed: boolean;
};
export type Row = { lease: Lease; settlement: Settlement };
export type Price = { input: bigint; output: bigint };

export type Oracle = {
  teams: Team[];
  zones: string[];
  now: Date;
  /** Admitted and not settled. */
  open: Map<string, Lease>;
  rows: Map<string, Row>;
  prices: Map<string, Price>;
  /** Told apart by what a settlement cost when it came. */
  costs: Map<string, bigint | null>;
};

/** The day in a zone; in UTC where there is no such zone. */
export function dayIn(zone: string, at: Date): string {
  const written = (timeZone: string) =>
    new Intl.DateTimeFormat("en-CA", { timeZone, dateStyle: "short" }).format(at);
  try {
    return written(zone);
  } catch {
    return written("UTC");
  }
}

const outcomes = ["answered", "failed", "aborted", "cut"];
const MOST = 2_147_483_647;

/** What a lease is settled with, every time. */
export function settlementOf({ salt, model }: Lease): Settlement {
  const isFallback = salt % 3 === 0;
  return {
    model: isFallback ? models[salt % 7 % models.length] ?? model : model,
    outcome: outcomes[salt % 4] ?? "answered",
    status: salt % 2 ? 200 : null,
    attempts: 1 + salt % 3,
    input: salt % 5 ? salt * 31 % MOST : null,
    output: salt % 6 ? salt * 17 % MOST : 0,
    source: salt % 5 ? "provider" : "counted",
    latency: salt % 100_000,
    first_byte: salt % 2 ? salt % 1_000 : null,
    streamed: salt % 2 === 1,
  };
}

/** What one is settled with whose process is heard of no more. */
export const floorOf = ({ model }: Lease): Settlement => ({
  model,
  outcome: "lost",
  status: null,
  attempts: 0,
  input: null,
  output: 0,
  source: "input_floor",
  latency: null,
  first_byte: null,
  streamed: false,
});

const inputOf = ({ lease, settlement }: Row) => settlement.input ?? lease.tokens;

/** In millionths of a millionth of the currency; null where nobody knows the price. */
export function costOf(row: Row, prices: Oracle["prices"]): bigint | null {
  const price = prices.get(row.settlement.model);
  if (!price) return null;
  return BigInt(inputOf(row)) * price.input + BigInt(row.settlement.output) * price.output;
}

/** A row as text, for comparing: what is told of it, and its cost. */
export const textOf = (row: Row, cost: bigint | null): string => {
  const { lease, settlement: s } = row;
  const said = [s.model, s.outcome, s.status, s.attempts, inputOf(row), s.output, s.source];
  const timed = [s.latency, s.first_byte, s.streamed];
  return [lease.team, lease.key, lease.user, lease.model, lease.day, ...said, ...timed, cost]
    .join();
};

const isError = ({ settlement: { outcome } }: Row) => ["failed", "cut", "lost"].includes(outcome);

/** The sums a day, model, key and user at a time, each as text. */
export function daysOf({ rows, costs }: Oracle): string[] {
  const groups = Map.groupBy(
    rows.values(),
    ({ lease, settlement }) =>
      [lease.team, lease.day, settlement.model, lease.key, lease.user].join(),
  );
  return [...groups].map(([name, group]) => {
    const sum = (of: (row: Row) => bigint) => group.reduce((all, row) => all + of(row), 0n);
    const cost = ({ lease }: Row) => costs.get(lease.id) ?? null;
    const latencies = group.flatMap(({ settlement: { latency } }) => latency ?? []);
    return [
      name,
      group.length,
      group.filter(isError).length,
      sum((row) => BigInt(inputOf(row))),
      sum(({ settlement: { output } }) => BigInt(output)),
      sum((row) => cost(row) ?? 0n),
      group.filter((row) => cost(row) === null).length,
      latencies.length,
      latencies.reduce((all, ms) => all + ms, 0),
      Math.max(0, ...latencies),
    ].join();
  }).sort();
}

/** How many of a team were let in within a day or a month, and how many of them are settled. */
export function countersOf({ open, rows }: Oracle): string[] {
  const counts = new Map<string, { admitted: number; settled: number }>();
  const count = ({ team, day }: Lease, settled: number) => {
    for (const name of [`${team},day,${day}`, `${team},month,${day.slice(0, 7)}-01`]) {
      const it = counts.get(name) ?? { admitted: 0, settled: 0 };
      counts.set(name, { admitted: it.admitted + 1, settled: it.settled + settled });
    }
  };
  for (const lease of open.values()) count(lease, 0);
  for (const { lease } of rows.values()) count(lease, 1);
  return [...counts].map(([name, { admitted, settled }]) => `${name},${admitted},${settled}`)
    .sort();
}

export type Room = { day: number; month: number };

/** How many more a team may send today and this month; Infinity where it has no quota. */
export function roomOf(oracle: Oracle, team: number): Room {
  const { dailyQuota, monthlyQuota, tenant } = oracle.teams[team] ?? {};
  const today = dayIn(oracle.zones[tenant ?? 0] ?? "UTC", oracle.now);
  const leases = [...oracle.open.values(), ...[...oracle.rows.values()].map(({ lease }) => lease)];
  const used = (starts: string) =>
    leases.filter((lease) => lease.team === team && lease.day.startsWith(starts)).length;
  return {
    day: Math.max(0, (dailyQuota ?? Infinity) - used(today)),
    month: Math.max(0, (monthlyQuota ?? Infinity) - used(today.slice(0, 7))),
  };
}
