/** Requests of teams, let in and settled as the gateway does it, and the same sums made naively. */
import { freshDatabase, world, type WorldOptions } from "../kit.ts";
import { asSystem, type Services, type TenantCtx } from "../../src/context.ts";
import {
  admit,
  type Asked,
  settle,
  settled,
  settleExpired,
  type Settlement,
} from "../../src/teams/admission.ts";

/** What a model costs here, in millionths for a million tokens; others have no price. */
export const prices: Readonly<Record<string, readonly [bigint, bigint]>> = {
  "openai/gpt-4": [30_000_007n, 60_000_011n],
  "=free/model": [0n, 0n],
};
export const models = [...Object.keys(prices), "local/unpriced"];

/** A request as it should be found again. */
export type Used = {
  id: string;
  tenantId: string;
  teamId: string;
  day: string;
  model: string;
  apiKeyId: string | null;
  userId: string | null;
  outcome: string;
  input: bigint;
  output: bigint;
  latencyMs: bigint | null;
};

/** What a request asks for and comes to, but for the place it is asked from. */
export type Wish = Partial<Pick<Asked, "apiKeyId" | "userId" | "sessionId" | "inputTokens">> & {
  teamId: string;
  model: string;
  /** Another day than the one it is: the lease is dated back before it is settled. */
  day?: string;
  /** Null: its process ended, and it is settled as lost. */
  settlement: Partial<Settlement> | null;
};

type Sql = (text: string, params?: unknown[]) => Promise<Record<string, unknown>[]>;

/** Lets a request in and settles it. */
async function useOf(
  process: Services,
  sql: Sql,
  tenantId: string,
  wish: Wish,
): Promise<Used> {
  const ctx: TenantCtx = asSystem(process, tenantId);
  const { teamId, model, settlement, day } = wish;
  const [apiKeyId, userId] = [wish.apiKeyId ?? null, wish.userId ?? null];
  const inputTokens = wish.inputTokens ?? 7;
  const lease = await admit(ctx, {
    teamId,
    apiKeyId,
    userId,
    sessionId: wish.sessionId ?? null,
    endpoint: "chat.completions",
    model,
    inputTokens,
    leaseSeconds: settlement === null ? 0 : 60,
  });
  if (day !== undefined) {
    await sql("update quota_leases set day_on = $2::date where id = $1", [lease.id, day]);
  }
  const came: Settlement = {
    model,
    outcome: "answered",
    status: 200,
    attempts: 1,
    inputTokens: null,
    outputTokens: 3,
    source: "provider",
    latencyMs: 100,
    firstByteMs: 10,
    isStreamed: false,
    ...settlement,
  };
  if (settlement !== null) settle(ctx, lease, came);
  const [row] = await sql(
    "select local_day(now(), time_zone)::text as d from tenants where id = $1",
    [
      tenantId,
    ],
  );
  return {
    id: lease.id,
    tenantId,
    teamId,
    day: day ?? String(row?.d),
    model: came.model,
    apiKeyId,
    userId,
    outcome: settlement === null ? "lost" : came.outcome,
    input: BigInt(settlement === null ? inputTokens : came.inputTokens ?? inputTokens),
    output: BigInt(settlement === null ? 0 : came.outputTokens),
    latencyMs: settlement === null ? null : BigInt(Math.round(came.latencyMs ?? 0)),
  };
}

export async function usageHouse(more: WorldOptions = {}) {
  const database = await freshDatabase();
  /** Around every policy. */
  const sql = database.admin;
  const w = await world({ database, ...more });
  for (const [model, [input, output]] of Object.entries(prices)) {
    await w.as(w.operator).teams.modelPrices.create({
      model,
      inputMicros: Number(input),
      outputMicros: Number(output),
      startsAt: new Date("2020-01-01"),
    });
  }
  const use = (tenantId: string, wish: Wish) => useOf(w.process, sql, tenantId, wish);
  /** All that was asked for is written. */
  const written = async () => {
    await settled(w.process);
    await settleExpired(w.process);
  };
  const team = async (admin: Parameters<typeof w.as>[0], displayName: string) => {
    const { id, apiKeyId } = await w.as(admin).teams.teams.create({
      displayName,
      platformName: `${displayName}-${crypto.randomUUID()}`,
    });
    const { teamKey } = await w.as(admin).teams.teamKeys.create({ teamId: id, name: "second" });
    return { id, keys: [apiKeyId, teamKey.id] };
  };
  return { w, sql, use, written, team };
}
export type UsageHouse = Awaited<ReturnType<typeof usageHouse>>;

/** In millionths of a millionth: exact. */
export const costOf = ({ model, input, output }: Used): bigint | null => {
  const price = prices[model];
  return price ? input * price[0] + output * price[1] : null;
};

export const microsText = (cost: bigint) =>
  `${cost / 1_000_000n}.${String(cost % 1_000_000n).padStart(6, "0")}`;

/** A row of the list as it should be. */
export function sumUp(requests: Used[]) {
  const total = (of: (used: Used) => bigint | null) =>
    requests.reduce((sum, used) => sum + (of(used) ?? 0n), 0n);
  const count = (is: (used: Used) => boolean) => requests.filter(is).length;
  const unpriced = count((used) => costOf(used) === null);
  const latencies = requests.flatMap(({ latencyMs }) => latencyMs === null ? [] : [latencyMs]);
  const timed = BigInt(latencies.length);
  const whole = latencies.reduce((sum, ms) => sum + ms, 0n);
  return {
    requests: requests.length,
    errors: count(({ outcome }) => ["failed", "cut", "lost"].includes(outcome)),
    inputTokens: Number(total(({ input }) => input)),
    outputTokens: Number(total(({ output }) => output)),
    costMicros: unpriced === requests.length ? null : microsText(total(costOf)),
    unpricedRequests: unpriced,
    averageLatencyMs: timed === 0n ? null : Number((2n * whole + timed) / (2n * timed)),
    maxLatencyMs: timed === 0n ? null : Number(latencies.reduce((a, b) => a > b ? a : b)),
  };
}

export type Group = "team" | "day" | "model" | "key" | "user";

/** Every row of a question, in no order. */
export function naive(requests: Used[], by: readonly Group[]) {
  const keyed = Map.groupBy(requests, (used) => JSON.stringify(dimensionsOf(used, by)));
  return [...keyed].map(([key, part]) => ({ ...JSON.parse(key), ...sumUp(part) }));
}

const dimensionsOf = (used: Used, by: readonly Group[]) => ({
  teamId: by.includes("team") ? used.teamId : null,
  day: by.includes("day") ? used.day : null,
  model: by.includes("model") ? used.model : null,
  apiKeyId: by.includes("key") ? used.apiKeyId : null,
  userId: by.includes("user") ? used.userId : null,
});

/** The records of a CSV, read as RFC 4180 says; null where a field is empty and not quoted. */
export function recordsOf(csv: string): (string | null)[][] {
  const records: (string | null)[][] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/y;
  let record: (string | null)[] = [];
  while (field.lastIndex < csv.length) {
    const found = field.exec(csv);
    if (!found) throw new Error(`No CSV: ${csv.slice(0, 200)}`);
    const [, quoted, bare, end] = found;
    record.push(quoted?.replaceAll('""', '"') ?? (bare === "" ? null : bare ?? null));
    if (end === ",") continue;
    records.push(record);
    record = [];
  }
  return records;
}
