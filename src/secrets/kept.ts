/** A value per key, fetched once however many ask for it, kept while it may be. */
import { BoundedMap } from "../bounded_map.ts";

export type KeepOptions = {
  /** How many values are kept; those that nobody asks for go first. */
  max: number;
  /** How old a value may be, counted from before its fetch. 0: any age. */
  ttlMs?: number;
  now?: (() => number) | undefined;
};

type Entry<T> = { coming: Promise<T>; settled: boolean; startMs: number };

/**
 * `shares` says whether the caller may wait for another caller's fetch. One that holds a
 * transaction may not: the other may be waiting for the connection that it holds.
 *
 * Failures are not kept.
 */
export function keep<T>({ max, ttlMs = 0, now = () => performance.now() }: KeepOptions) {
  const kept = new BoundedMap<Entry<T>>(max);
  const isOld = ({ startMs }: Entry<T>) => ttlMs > 0 && now() - startMs > ttlMs;
  return async (key: string, shares: boolean, fetch: () => Promise<T>): Promise<T> => {
    const known = kept.get(key);
    if (known && !isOld(known) && (known.settled || shares)) return await known.coming;
    const startMs = now();
    const entry = { coming: fetch(), settled: false, startMs };
    if (shares) kept.set(key, entry);
    try {
      const value = await entry.coming;
      kept.set(key, { ...entry, settled: true });
      return value;
    } catch (error) {
      if (kept.peek(key) === entry) kept.delete(key);
      throw error;
    }
  };
}
