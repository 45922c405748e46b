/** The cache's second level: packed texts in Redis, which may be away or hold rubbish. */
import superjson from "superjson";
import { type Redis, unavailable } from "../redis.ts";

export type Shelf = {
  /** The text under the key; null when there is none or Redis does not say so in time. */
  take(key: string): Promise<string | null>;
  /** Never throws; a text over a million characters (Upstash's request limit) stays away. */
  put(key: string, text: string): Promise<void>;
};

const MAX_CHARS = 1_000_000;

export function shelf({ redis, ttlSeconds }: { redis: Redis | null; ttlSeconds: number }): Shelf {
  return {
    async take(key) {
      if (!redis) return null;
      const text = await redis.run(async (client) => {
        const text: unknown = await client.get(key);
        if (text === null || typeof text === "string") return text;
        throw new TypeError("GET answered neither a text nor nothing");
      });
      return text === unavailable ? null : text;
    },
    async put(key, text) {
      if (!redis || text.length > MAX_CHARS) return;
      await redis.run((client) => client.set(key, text, { ex: ttlSeconds }));
    },
  };
}

/** A value and the moment before it was filled. */
export type Packed = { filledAtMs: number; value: unknown };

/** Null when superjson refuses the value. */
export function pack(packed: Packed): string | null {
  try {
    return superjson.stringify(packed);
  } catch {
    return null;
  }
}

/** The packed value, frozen all through; null when the text is not one of ours. */
export function unpack(text: string): Packed | null {
  try {
    const packed = superjson.parse<unknown>(text);
    if (typeof packed !== "object" || packed === null) return null;
    if (!("value" in packed) || !("filledAtMs" in packed)) return null;
    const { filledAtMs, value } = packed;
    if (typeof filledAtMs !== "number" || !Number.isFinite(filledAtMs)) return null;
    freeze(value);
    return { filledAtMs, value };
  } catch {
    return null;
  }
}

/** All callers share one value: who changes it is told at once, not the next caller. */
function freeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  if (ArrayBuffer.isView(value)) return;
  Object.freeze(value);
  for (const inner of Object.values(value)) freeze(inner);
}
