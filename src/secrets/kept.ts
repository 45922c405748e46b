/** A value per key, fetched once however many ask for it, kept while it may be. */
import { LRUCache } from "lru-cache";

export type KeepOptions = {
  /** How many values are kept; the least recently used go first. */
  max: number;
  /** How old a value may be, counted from before its fetch. 0: any age. */
  ttlMs?: number;
  now?: (() => number) | undefined;
};

type Entry<T> = { coming: Promise<T>; settled: boolean };

/**
 * `shares` says whether the caller may wait for another caller's fetch. One that holds a
 * transaction may not: the other may be waiting for the connection that it holds.
 *
 * Failures are not kept.
 */
export function keep<T>({ max, ttlMs = 0, now = () => performance.now() }: KeepOptions) {
  const kept = new LRUCache<string, Entry<T>>({ max, ttl: ttlMs, ttlResolution: 0, perf: { now } });
  return async (key: string, shares: boolean, fetch: () => Promise<T>): Promise<T> => {
    const known = kept.get(key);
    if (known && (known.settled || shares)) return await known.coming;
    const start = now();
    const entry = { coming: fetch(), settled: false };
    if (shares) kept.set(key, entry, { start });
    try {
      const value = await entry.coming;
      kept.set(key, { ...entry, settled: true }, { start });
      return value;
    } catch (error) {
      if (kept.peek(key) === entry) kept.delete(key);
      throw error;
    }
  };
}
