/** How often somebody may do something: decided in this process, agreed on through Redis. */
import { BoundedMap } from "../bounded_map.ts";
import type { Redis } from "../redis.ts";
import { agreement } from "./agreement.ts";
import { backMs, type Counts, isCounted, SLICES, units } from "./counts.ts";

/** `max` units in any `windowSeconds`. The name is part of what is counted, `max` is not. */
export type Limit = { name: string; max: number; windowSeconds: number };

export type Verdict = {
  allowed: boolean;
  limit: number;
  /** Units left after this take; 0 or more. */
  remaining: number;
  /**
   * Refused: seconds until the same take fits if nobody takes meanwhile. Allowed: seconds until all
   * units are back (a window when none is used). Rounded up; at least 1, at most 1.2 windows.
   */
  resetSeconds: number;
};

/**
 * A sliding window in ten slices: a unit counts until its slice has wholly left the window, so no
 * window in any position holds more than `max`, and a unit is back after at most 1.1 windows. Fixed
 * windows, GCRA and the two counters of Cloudflare's "How we built rate limiting capable of scaling
 * to millions of domains", whose asynchronous counting this takes over, let up to twice `max`
 * through some window; and GCRA's clock does not add up over processes that did not ask each other.
 *
 * Bounds. One process: `max`. N processes: `max` + N × what one admits of a key from one exchange
 * to the answer of the next (`syncMs` and two Redis calls while busy); never over N × `max`, which
 * is all that holds while Redis is away. Clocks may differ by a slice.
 *
 * Memory: `maxKeys` keys, of those not seen for long one goes first. A forgotten key starts from zero
 * and, with Redis, knows the shared count again one call later. So to win `max` units one touches
 * seven eighths of `maxKeys` other keys, each of which had its allowance anyway; where keys are free
 * to invent (an e-mail at sign-in), limit the address too.
 */
export type Limiter = {
  /**
   * Takes `cost` units (1 unless said, 0 only looks) or none at all; never waits.
   * @throws RangeError for a cost, `max` or window that is not a whole number in range.
   */
  take(limit: Limit, key: string, cost?: number): Verdict;
  /** False while other processes cannot be asked what they let through, though they should be. */
  agrees(): boolean;
};

export type LimiterOptions = {
  redis: Redis | null;
  /** Milliseconds since 1970. */
  now: () => number;
  /** The least time between two exchanges with Redis. 500 unless said. */
  syncMs?: number;
  /** Keys counted here. 50,000 unless said. */
  maxKeys?: number;
};

/** Keys stand in Redis as they are: pass an id or a digest of bounded length, not an e-mail. */
export function limiter({ redis, now, syncMs = 500, maxKeys = 50_000 }: LimiterOptions): Limiter {
  const table = new BoundedMap<Counts>(maxKeys);
  const shared = redis && agreement({ redis, table, syncMs });

  return {
    agrees: () => redis === null || redis.healthy(),
    take(limit, key, cost = 1) {
      check(limit, cost);
      const { max, windowSeconds } = limit;
      const id = `${limit.name.length}:${limit.name}:${windowSeconds}:${key}`;
      const counts = table.get(id) ?? start(table, id, windowSeconds);
      const nowMs = now();
      const slice = Math.floor(nowMs / counts.sliceMs);
      const { sum, newest } = swept(counts, slice);
      const left = max - sum;
      const allowed = cost <= left;
      if (allowed && cost > 0) add(counts, slice, cost);
      const last = allowed && cost > 0 ? Math.max(newest, slice) : newest;
      const atMs = allowed ? fullMs(last, counts) : fitsMs(counts, sum, max - cost);
      shared?.touch(id, nowMs);
      return {
        allowed,
        limit: max,
        remaining: Math.max(0, allowed ? left - cost : left),
        resetSeconds: atMs === null
          ? windowSeconds
          : Math.max(1, Math.ceil((atMs - nowMs) / 1_000)),
      };
    },
  };
}

/** The largest number a structured field holds: RFC 9651, section 3.3.1. */
const MOST = 999_999_999_999_999;

function check({ max, windowSeconds }: Limit, cost: number) {
  if (!isWhole(cost, 0, MOST)) throw new RangeError("Give the cost as a whole number, 0 or more");
  if (!isWhole(max, 0, MOST)) throw new RangeError("Give max as a whole number, 0 or more");
  if (!isWhole(windowSeconds, 1, 31_622_400)) {
    throw new RangeError("Give windowSeconds as a whole number, from a second to a year");
  }
}

const isWhole = (n: number, least: number, most: number) =>
  Number.isInteger(n) && n >= least && n <= most;

function start(table: BoundedMap<Counts>, id: string, windowSeconds: number): Counts {
  const counts: Counts = { sliceMs: windowSeconds * 1_000 / SLICES, bySlice: new Map() };
  table.set(id, counts);
  return counts;
}

/**
 * Forgets what counts no more, also what a clock that ran ahead and was set back has left, or it would
 * for too long. Answers the units that do, and the newest slice with any.
 */
function swept({ bySlice }: Counts, slice: number) {
  let [sum, newest] = [0, -Infinity];
  for (const [at, count] of bySlice) {
    if (!isCounted(at, slice)) {
      bySlice.delete(at);
      continue;
    }
    const used = units(count);
    sum += used;
    if (used > 0 && at > newest) newest = at;
  }
  return { sum, newest };
}

function add({ bySlice }: Counts, slice: number, cost: number) {
  const count = bySlice.get(slice);
  if (count) {
    count.own += cost;
    count.fresh += cost;
  } else {
    bySlice.set(slice, { own: cost, fresh: cost, learnt: 0 });
  }
}

/** When all units are back, the newest of this slice; null when none is used. */
const fullMs = (newest: number, { sliceMs }: Counts) =>
  newest === -Infinity ? null : backMs(newest, sliceMs);

/** When no more than `target` of the `sum` that is used now still counts; null for never. */
function fitsMs(counts: Counts, sum: number, target: number): number | null {
  let left = sum;
  for (const at of [...counts.bySlice.keys()].sort((a, b) => a - b)) {
    left -= units(counts.bySlice.get(at));
    if (left <= target) return backMs(at, counts.sliceMs);
  }
  return null;
}
