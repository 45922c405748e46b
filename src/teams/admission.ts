/**
 * Admission: a request is let in by one statement that holds the team's quotas whole, and settled once
 * by another that writes its usage row, the counters and the day's sums. What was let in and is never
 * settled, since its process ended, is settled at the floor when its lease is over.
 */
import { sql } from "drizzle-orm";
import { z } from "zod";
import type { Database } from "../../db/client.ts";
import type { Named } from "../../db/named_queries.ts";
import type { endpoints, outcomes, usageSources } from "../../db/schema/teams.ts";
import { type Batcher, batcher, LATER_MS } from "../batches.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Services, TenantCtx } from "../context.ts";
import { Fault, isAway, notFound } from "../errors.ts";
import { told } from "../log.ts";
import { backoff } from "../retries.ts";

export type Endpoint = typeof endpoints[number];
export type Outcome = typeof outcomes[number];
export type UsageSource = typeof usageSources[number];

/** What asks to be let in. `leaseSeconds`: after that it is taken for lost. */
export type Asked = {
  teamId: string;
  apiKeyId: string | null;
  sessionId: string | null;
  userId: string | null;
  endpoint: Endpoint;
  model: string;
  /** Counted from what is sent: what it costs at least. */
  inputTokens: number;
  leaseSeconds: number;
};

export type Period = { limit: number | null; remaining: number | null; endsAt: Date };
export type Quota = { day: Period; month: Period };
/** `overAtMs`: when it is taken for lost, by this process' own clock. */
export type Lease = { id: string; readonly quota: Quota; overAtMs: number };

/** What a request came to. */
export type Settlement = {
  model: string;
  outcome: Outcome;
  /** The upstream's last; null when none answered. */
  status: number | null;
  attempts: number;
  /** Null: what was counted when it was let in. */
  inputTokens: number | null;
  outputTokens: number;
  source: UsageSource;
  /** Null: nobody saw its end. */
  latencyMs: number | null;
  firstByteMs: number | null;
  isStreamed: boolean;
};

/** A quota that is used up: told apart from a rate, which is over in a minute. */
export class QuotaExceeded extends Fault {
  constructor(readonly period: "day" | "month", readonly quota: Quota, now: Date) {
    const { limit, endsAt } = quota[period];
    super(
      "QuotaExceeded",
      `quota.${period}_used_up`,
      `The team's quota of ${limit} requests a ${period} is used up until ${endsAt.toISOString()}`,
      { retryAfterSeconds: Math.max(1, Math.ceil((endsAt.getTime() - now.getTime()) / 1_000)) },
    );
  }
}

type Row = Record<string, unknown>;
type Settling = { tenantId: string; lease: string; settlement: Settlement };
/** A tenant's day and month, as the database said and reads it. */
const Told = z.object({
  day_on: z.string(),
  month_on: z.string(),
  day_ends: z.string(),
  month_ends: z.string(),
});
type Told = z.infer<typeof Told>;
type Calendar = { told: Told; atMs: number };
type Item = {
  tenant: string;
  team: string;
  key: string | null;
  lease: string;
  session: string | null;
  user: string | null;
  endpoint: Endpoint;
  model: string;
  tokens: number;
  request: string;
  seconds: number;
  calendar: Told | null;
};
/** What was left of a team's quotas at that moment. */
type Left = { readonly quota: Quota; atMs: number };
type Desk = {
  admit: Batcher<Item, Row>;
  calendars: BoundedMap<Calendar>;
  left: BoundedMap<Left>;
  settle: Batcher<Settling, true>;
  /** Settlements that are not written yet. */
  unwritten: Set<Promise<void>>;
};

/** One desk for a database, so that requests at the same moment share a round trip. */
const desks = new WeakMap<Database, Desk>();

/** A tenant's new time zone is felt within this time. */
const CALENDAR_MS = 5_000;
/** What is left of a quota is told again for so long to whom it is no matter of. */
const LEFT_MS = 5_000;
const MOST = 200;

function deskOf({ database }: Pick<Services, "database">): Desk {
  const known = desks.get(database);
  if (known) return known;
  const admit = batcher<Item, Row>(async (items, isPart) => {
    const [lone] = items;
    if (lone?.calendar && items.length === 1) {
      const { calendar } = lone;
      const [row] = await database.query((again) => alone(lone, calendar, again || isPart));
      const { day_ends, month_ends } = calendar;
      return [{ day_ends, month_ends, ...verdictIn(row?.told) }];
    }
    const asked = JSON.stringify(items.map((item, place) => ({ ...item, place })));
    const rows = await database.query((again) => together(asked, again || isPart));
    const byPlace = new Map(rows.map((row) => [Number(row.place), row]));
    return items.map((_, place) => byPlace.get(place) ?? { verdict: "no_team" });
  }, { most: MOST, lanes: 2, isEverybodys: isAway });
  const settle = batcher<Settling, true>(async (items) => {
    const done = JSON.stringify(items.map(rowOf));
    await database.query(settling(done));
    return items.map(() => true);
  }, { most: MOST, lanes: 1, gatherMs: LATER_MS, isEverybodys: isAway });
  const calendars = new BoundedMap<Calendar>(1_000);
  const left = new BoundedMap<Left>(10_000);
  const desk = { admit, calendars, left, settle, unwritten: new Set<Promise<void>>() };
  desks.set(database, desk);
  return desk;
}

/** A verdict and four numbers, -1 where there is none; JSON of what went the long way. */
export function verdictIn(told: unknown): Row {
  if (typeof told !== "string") throw new Error("No admission was told of");
  if (told.startsWith("{")) return JSON.parse(told);
  const [verdict, ...numbers] = told.split(" ");
  const [day_quota, day_left, month_quota, month_left] = numbers.map((n) => n === "-1" ? null : n);
  return { verdict, day_quota, day_left, month_quota, month_left };
}

const alone = (it: Item, day: Told, again: boolean): Named => ({
  name: "chat_let_in",
  text: `select chat_let_in($1::uuid, $2::uuid, $3::uuid, $4::uuid, $5::uuid, $6::text, $7::text,
    $8::text, $9::integer, $10::text, $11::integer, $12::boolean, $13::date, $14::date,
    $15::timestamptz, $16::timestamptz) as told`,
  values: [
    ...[it.tenant, it.team, it.key, it.lease, it.session, it.user, it.endpoint, it.model],
    ...[it.tokens, it.request, it.seconds, again],
    ...[day.day_on, day.month_on, day.day_ends, day.month_ends],
  ],
});
const together = (asked: string, again: boolean): Named => ({
  name: "chat_admit",
  text: "select * from chat_admit($1::jsonb, $2::boolean)",
  values: [asked, again],
});
const settling = (done: string): Named => ({
  name: "chat_settle",
  text: "select chat_settle($1::jsonb)",
  values: [done],
});

const wholeMs = (ms: number | null) => ms === null ? null : Math.round(ms);
const rowOf = ({ tenantId, lease, settlement: s }: Settling): Row => ({
  tenant: tenantId,
  lease,
  model: s.model,
  outcome: s.outcome,
  status: s.status,
  attempts: s.attempts,
  input: s.inputTokens,
  output: s.outputTokens,
  source: s.source,
  latency: wholeMs(s.latencyMs),
  first_byte: wholeMs(s.firstByteMs),
  streamed: s.isStreamed,
});

/** What the last to be let in, or not, was told to be left of a team's quotas; null after a moment. */
export function leftOf(ctx: TenantCtx, teamId: string): Quota | null {
  const known = deskOf(ctx).left.get(teamId);
  const nowMs = ctx.now().getTime();
  const isFresh = known && Math.abs(nowMs - known.atMs) < LEFT_MS &&
    known.quota.day.endsAt.getTime() > nowMs;
  return isFresh ? known.quota : null;
}

const numberOf = (value: unknown) => value === null || value === undefined ? null : Number(value);

const quotaOf = (row: Row): Quota => ({
  day: {
    limit: numberOf(row.day_quota),
    remaining: numberOf(row.day_left),
    endsAt: new Date(String(row.day_ends)),
  },
  month: {
    limit: numberOf(row.month_quota),
    remaining: numberOf(row.month_left),
    endsAt: new Date(String(row.month_ends)),
  },
});

/**
 * Version 7 of a UUID (RFC 9562, 5.7): its moment, then version 4's chance. After a pause the library's
 * takes six times as long, and every request waits for this one.
 */
function leaseId(nowMs: number): string {
  const moment = nowMs.toString(16).padStart(12, "0");
  return `${moment.slice(0, 8)}-${moment.slice(8)}-7${crypto.randomUUID().slice(15)}`;
}

/**
 * Lets a request in, in one round trip that others may share. Throws QuotaExceeded, NotFound for a
 * team that is not (active), Unauthorized for a key that was revoked a moment ago.
 */
export async function admit(ctx: TenantCtx, asked: Asked): Promise<Lease> {
  const id = leaseId(Date.now());
  const overAtMs = performance.now() + asked.leaseSeconds * 1_000;
  const { admit, calendars, left } = deskOf(ctx);
  const nowMs = ctx.now().getTime();
  const known = calendars.get(ctx.tenantId);
  const isFresh = known && Math.abs(nowMs - known.atMs) < CALENDAR_MS;
  const row = await admit.ask({
    tenant: ctx.tenantId,
    team: asked.teamId,
    key: asked.apiKeyId,
    lease: id,
    session: asked.sessionId,
    user: asked.userId,
    endpoint: asked.endpoint,
    model: asked.model,
    tokens: asked.inputTokens,
    request: ctx.requestId,
    seconds: asked.leaseSeconds,
    calendar: isFresh ? known.told : null,
  });
  if (row.calendar) calendars.set(ctx.tenantId, { told: Told.parse(row.calendar), atMs: nowMs });
  const { verdict } = row;
  if (verdict === "admitted" || verdict === "day" || verdict === "month") {
    let read: Quota | undefined;
    const told = {
      id,
      overAtMs,
      atMs: nowMs,
      get quota() {
        return read ??= quotaOf(row); // Not before what waits for this has left.
      },
    };
    left.set(asked.teamId, told);
    if (verdict === "admitted") return told;
    throw new QuotaExceeded(verdict, told.quota, ctx.now());
  }
  if (verdict === "no_key") {
    throw new Fault("Unauthorized", "principal.refused", "This key does not hold (any more)");
  }
  throw notFound("team");
}

const LONGEST_PAUSE = 8;

/**
 * Settles a lease, off the caller's path, however long the database is away. What cannot be settled
 * before its lease is over is settled at the floor then.
 */
export function settle(ctx: TenantCtx, lease: Lease, settlement: Settlement): void {
  const { settle, unwritten } = deskOf(ctx);
  const item = { tenantId: ctx.tenantId, lease: lease.id, settlement };
  const write = async () => {
    for (let tries = 5;; tries++) {
      try {
        return void await settle.ask(item);
      } catch (error) {
        if (isAway(error) && performance.now() < lease.overAtMs) {
          await backoff(Math.min(tries, LONGEST_PAUSE));
          continue;
        }
        return ctx.log("error", "not settled", { lease: lease.id, error: told(error) });
      }
    }
  };
  const writing = write().finally(() => unwritten.delete(writing));
  unwritten.add(writing);
}

/** Resolves when every settlement of this process is written. */
export async function settled(services: Pick<Services, "database">): Promise<void> {
  const { unwritten } = deskOf(services);
  while (unwritten.size > 0) await Promise.all(unwritten);
}

const SWEEP = 500;
const floor: Omit<Settlement, "model"> = {
  outcome: "lost",
  status: null,
  attempts: 0,
  inputTokens: null,
  outputTokens: 0,
  source: "input_floor",
  latencyMs: null,
  firstByteMs: null,
  isStreamed: false,
};

/**
 * Settles every lease that is over, whosever it was; answers how many. Any number of processes may.
 * One that cannot be settled stays, and keeps no other from it.
 */
export async function settleExpired(services: Pick<Services, "database" | "log">): Promise<number> {
  const { settle } = deskOf(services);
  let all = 0;
  let failed = 0;
  for (let found = SWEEP; found === SWEEP;) {
    const over = await services.database.query(
      sql`select * from chat_expired(${SWEEP}, ${failed})`,
    );
    found = over.length;
    const done = await Promise.allSettled(over.map(({ tenant_id, id, model }) =>
      settle.ask({
        tenantId: String(tenant_id),
        lease: String(id),
        settlement: { ...floor, model: String(model) },
      })
    ));
    const errors = done.flatMap((one) => one.status === "rejected" ? [one.reason] : []);
    const [error] = errors;
    if (error) services.log("error", "not settled", { leases: errors.length, error: told(error) });
    failed += errors.length;
    all += found - errors.length;
  }
  return all;
}
