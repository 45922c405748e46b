/** What a tenant asks for again and again is kept near: in this process first, in Redis second. */
import { BoundedMap } from "../bounded_map.ts";
import type { Redis } from "../redis.ts";
import { epochs } from "./epochs.ts";
import { pack, shelf, unpack } from "./shelf.ts";

/** Whose it is, what a change of it is called, and which one. */
export type Place = { tenantId: string; topic: string; key: string };

/**
 * An entry lives under tenant + topic + epoch + key, and the epoch is read before the value: a fill
 * overtaken by a change lands under an epoch nobody reads, in whatever order writes end.
 * A `get` sees every commit made `epochTtlMs` before it began, in any process, with Redis up or
 * down. Source: "namespacing" in memcached's manual, with the generation kept where the truth is.
 */
export type Cache = {
  /**
   * The value under the place, filled once however many ask at once. It is frozen, shared by all
   * callers, and plain data as superjson knows it (Date, Map, Set, bigint survive).
   *
   * `fill` begins its own snapshot of the database when it is called: never inside a transaction,
   * whose view may be older than the epoch or not committed at all. What it throws reaches every
   * waiter and is not kept; so does what `epochsOf` throws once nothing young enough is known.
   */
  get<T>(place: Place, fill: () => Promise<T>): Promise<T>;
  /**
   * After the commit that changed the topic and raised its epoch: this process sees it at once.
   * All of the tenant's topics are asked for again; entries of the others stay good.
   */
  moved(tenantId: string, topic: string): void;
  /** After a commit that raised epochs in tenants nobody has counted: a tree has changed. */
  movedAnywhere(): void;
  /** How often the topic has changed, as it stood at most `epochTtlMs` ago; at once when known. */
  epochOf(tenantId: string, topic: string): number | Promise<number>;
  stats(): CacheStats;
};

/** Counts since the start; `entries` and `chars` are what the process holds now. */
export type CacheStats = {
  hits: number;
  sharedHits: number;
  joined: number;
  fills: number;
  failures: number;
  /** Values superjson refuses (a key named `constructor`): answered, never kept. */
  unkept: number;
  epochReads: number;
  entries: number;
  /** A short text counts for its share of the room. */
  chars: number;
};

export type CacheOptions = {
  redis: Redis | null;
  /** All epochs of one tenant in one query, from the server that takes the writes. */
  epochsOf: (tenantId: string) => Promise<Record<string, number>>;
  /** Milliseconds since 1970. */
  now: () => number;
  /** How long an entry may serve, counted from before it was filled, over both levels. 3600. */
  ttlSeconds?: number;
  /** The published bound on staleness, 1 to 5,000. 3,000 unless said. */
  epochTtlMs?: number;
  maxEntries?: number;
  /** Of packed text in this process; a text over a fiftieth of it is not kept here. 32 million. */
  maxChars?: number;
  /** Names what wrote the entries: another build never reads what this one packed. */
  build?: string;
  random?: () => number;
};

type Held = { value: unknown; expiresAtMs: number };
type Wanted = { place: Place; epoch: number; fill: () => Promise<unknown> };
type Flight = { value: Promise<unknown>; startedAtMs: number };

const JOIN_MS = 10_000;

export function cache(o: CacheOptions): Cache {
  const { now, ttlSeconds = 3_600, epochTtlMs = 3_000, maxEntries = 10_000, build = "1" } = o;
  const { maxChars = 32_000_000, random = Math.random } = o;
  within("ttlSeconds", ttlSeconds, 1, 86_400);
  within("epochTtlMs", epochTtlMs, 1, 5_000);
  const known = epochs({
    read: o.epochsOf,
    ttlMs: epochTtlMs,
    maxTenants: maxEntries,
    now,
    random,
  });
  const shared = shelf({ redis: o.redis, ttlSeconds });
  const held = new BoundedMap<Held>(maxChars);
  const [least, most] = [Math.ceil(maxChars / maxEntries), Math.ceil(maxChars / 50)];
  const flights = new Map<string, Flight>();
  const count = { hits: 0, sharedHits: 0, joined: 0, fills: 0, failures: 0, unkept: 0 };

  /** The value as everyone gets it from now on, or null when the text is none or too old. */
  function hold(key: string, text: string): Held | null {
    const packed = unpack(text);
    if (!packed) return null;
    const expiresAtMs = Math.min(packed.filledAtMs, now()) + ttlSeconds * 1_000;
    if (expiresAtMs <= now()) return null;
    const entry = { value: packed.value, expiresAtMs };
    const chars = key.length + text.length;
    if (chars <= most) held.set(key, entry, Math.max(least, chars));
    return entry;
  }

  async function load(key: string, { place, epoch, fill }: Wanted): Promise<unknown> {
    const sharedKey = keyOf(build, place, epoch);
    const text = await shared.take(sharedKey);
    const found = text === null ? null : hold(key, text);
    if (found) {
      count.sharedHits++;
      return found.value;
    }
    const filledAtMs = now();
    count.fills++;
    const value = await fill();
    const fresh = pack({ filledAtMs, value });
    const entry = fresh === null ? null : hold(key, fresh);
    if (fresh === null || !entry) {
      count.unkept++;
      return value;
    }
    // Not waited for: nobody's answer depends on it.
    void shared.put(sharedKey, fresh);
    return entry.value;
  }

  function fly(key: string, wanted: Wanted): Promise<unknown> {
    const flight = { value: load(key, wanted), startedAtMs: now() };
    flights.set(key, flight);
    const landed = () => {
      if (flights.get(key) === flight) flights.delete(key);
    };
    flight.value.then(landed, () => {
      landed();
      count.failures++;
    });
    return flight.value;
  }

  function at(wanted: Wanted): unknown {
    const key = nearKeyOf(wanted);
    const entry = held.get(key);
    if (entry && entry.expiresAtMs > now()) {
      count.hits++;
      return entry.value;
    }
    const flight = flights.get(key);
    // A fill that hangs holds up those who came with it, not those who come later.
    if (!flight || now() - flight.startedAtMs >= JOIN_MS) return fly(key, wanted);
    count.joined++;
    return flight.value;
  }

  return {
    async get<T>(place: Place, fill: () => Promise<T>): Promise<T> {
      const epoch = known.at(place.tenantId, place.topic);
      const value = at({ place, epoch: typeof epoch === "number" ? epoch : await epoch, fill });
      // One topic and key is filled by one verb, so the key names the shape.
      return (value instanceof Promise ? await value : value) as T;
    },
    moved: (tenantId) => known.forget(tenantId),
    movedAnywhere: () => known.forgetAll(),
    epochOf: (tenantId, topic) => known.at(tenantId, topic),
    stats: () => ({
      ...count,
      epochReads: known.reads(),
      entries: held.size,
      chars: held.weight,
    }),
  };
}

/** One text for one place as well, for this process alone: it is made for every look. */
const nearKeyOf = ({ place: { tenantId, topic, key }, epoch }: Wanted) =>
  `${tenantId.length}:${tenantId}${topic.length}:${topic}${epoch}:${key}`;

/** One text for one place: JSON quotes each part and gives even a lone surrogate its own escape. */
export const keyOf = (build: string, { tenantId, topic, key }: Place, epoch: number): string =>
  `sb:cache:${JSON.stringify([build, tenantId, topic, epoch, key])}`;

function within(name: string, value: number, least: number, most: number) {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`Give ${name} as a whole number from ${least} to ${most}`);
  }
}
