/**
 * What asking about keys that nobody here knows may cost: a made-up one costs a query, so that from
 * one network only so many are asked about in a minute. Keys that hold are never counted.
 */
import { Fault } from "../errors.ts";
import type { Limiter } from "../limits/limiter.ts";
import { digestOf, networkOf } from "./networks.ts";

export const UNKNOWN_KEYS_PER_MINUTE = 60;
const perNetwork = { name: "unknown-key", max: UNKNOWN_KEYS_PER_MINUTE, windowSeconds: 60 };

const tooMany = (retryAfterSeconds: number) =>
  new Fault("RateLimited", "api_key.too_many_unknown", "Too many keys that do not hold: wait", {
    retryAfterSeconds,
  });

export type UnknownKeys = {
  /**
   * Asks, and counts the answer against the caller's network when it is null. Questions under way
   * count as if nobody's key held, so that many at once ask no more than one after the other.
   * Throws RateLimited.
   */
  ask<T>(address: string, question: () => Promise<T | null>): Promise<T | null>;
};

export function unknownKeys(limiter: Limiter): UnknownKeys {
  const asking = new Map<string, Set<Promise<unknown>>>();

  function begin<T>(network: string, question: () => Promise<T | null>): Promise<T | null> {
    const answer = question();
    const beside = asking.get(network) ?? new Set();
    asking.set(network, beside);
    const ended = answer.then(
      (known) => known === null && limiter.take(perNetwork, network),
      () => {},
    ).then(() => {
      beside.delete(ended);
      if (beside.size === 0) asking.delete(network);
    });
    beside.add(ended);
    return answer;
  }

  return {
    ask: async (address, question) => {
      const network = digestOf(networkOf(address));
      for (;;) {
        const { remaining } = limiter.take(perNetwork, network, 0);
        if (remaining === 0) throw tooMany(limiter.take(perNetwork, network).resetSeconds);
        const beside = asking.get(network);
        if (!beside || beside.size < remaining) return await begin(network, question);
        await Promise.race(beside);
      }
    },
  };
}
