/** A database of one topic for each tenant, and processes that cache what it holds. */
import { type Cache, cache, type CacheOptions } from "../../src/cache/cache.ts";
import { redis } from "../../src/redis.ts";
import { smallRedis } from "./small_redis.ts";

export const ADA = "0192d3a0-0000-7000-8000-000000000ada";
export const PLACE = { tenantId: ADA, topic: "platforms", key: "all" };

export function house() {
  const small = smallRedis();
  const clock = { ms: 1_000_000 };
  /** What stands in the database now. */
  const truth = { value: "v0", epoch: 0, isDown: false, epochReads: 0, fills: 0 };

  /** A value and its epoch change together, as in one transaction. */
  function commit(value: string) {
    truth.value = value;
    truth.epoch++;
  }

  async function epochsOf(): Promise<Record<string, number>> {
    truth.epochReads++;
    await Promise.resolve();
    if (truth.isDown) throw new Error("the database is down");
    return { [PLACE.topic]: truth.epoch };
  }

  const shared = () =>
    redis({
      url: "https://redis.example",
      token: "t",
      fetch: (address, init) => small.fetch(address, init),
      timeoutMs: small.illness ? 3 : 5_000,
      now: () => clock.ms,
      random: () => 0.5,
    });

  const process = (more: Partial<CacheOptions> = {}): Cache =>
    cache({
      redis: null,
      epochsOf,
      now: () => clock.ms,
      random: () => 0.5,
      epochTtlMs: 4_000,
      ...more,
    });

  async function fill() {
    truth.fills++;
    await Promise.resolve();
    return truth.value;
  }

  return { small, clock, truth, commit, shared, process, fill };
}

/** A fill, or a question, that ends when the test says so. */
export function gate<T>() {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let calls = 0;
  const ask = () => {
    calls++;
    return promise;
  };
  return { ask, open: resolve, fail: reject, calls: () => calls };
}
