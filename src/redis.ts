/** Redis is asked for help for a few milliseconds and never depended on. */
import { Redis as Upstash, type Requester } from "@upstash/redis";

/** What a call comes to when Redis is down, slow, confused, or known to be so. */
export const unavailable: unique symbol = Symbol("redis unavailable");

export type Redis = {
  /**
   * The answer of `work`, or `unavailable` after at most `timeoutMs`; never throws. `work` throws
   * when an answer is not of the type it needs, and that counts against Redis like any failure.
   * Its commands may have taken place although the answer is `unavailable`.
   */
  run<T>(work: (client: Upstash) => Promise<T>): Promise<T | typeof unavailable>;
  /** False while the breaker is open: calls are then answered `unavailable` without waiting. */
  healthy(): boolean;
};

export type RedisOptions = {
  /** Upstash's REST address and token: https://upstash.com/docs/redis/features/restapi */
  url: string;
  token: string;
  fetch?: typeof fetch;
  /** The longest a call may take, all its commands together. 40 unless said. */
  timeoutMs?: number;
  /** Calls under way at once; further ones are `unavailable` and do not count as failures. */
  maxInFlight?: number;
  /** The breaker's clock in milliseconds and its jitter. */
  now?: () => number;
  random?: () => number;
};

/** @throws TypeError when the address is not http(s), at the start and not on a request. */
export function redis(o: RedisOptions): Redis {
  const { timeoutMs = 40, maxInFlight = 1_000, now = Date.now, random = Math.random } = o;
  if (!/^https?:$/.test(new URL(o.url).protocol)) {
    throw new TypeError("Give Redis' REST address: https://…");
  }
  const breaker = circuit(now, random);
  let inFlight = 0;

  async function bounded<T>(work: (client: Upstash) => Promise<T>) {
    const stop = new AbortController();
    const late = Promise.withResolvers<typeof unavailable>();
    const timer = setTimeout(() => late.resolve(unavailable), timeoutMs);
    inFlight++;
    try {
      const client = new Client(requester(o, stop.signal));
      return await Promise.race([work(client), late.promise]);
    } catch {
      return unavailable;
    } finally {
      clearTimeout(timer);
      stop.abort();
      inFlight--;
    }
  }

  /** Of its own, so that no request pays for finding out whether Redis is back. */
  async function probe() {
    breaker.settle(await bounded((client) => client.ping()) === "PONG");
  }

  return {
    healthy: breaker.isClosed,
    async run(work) {
      if (!breaker.isClosed()) {
        if (breaker.mayProbe()) void probe();
        return unavailable;
      }
      if (inFlight >= maxInFlight) return unavailable;
      const answer = await bounded(work);
      breaker.count(answer !== unavailable);
      return answer;
    },
  };
}

const FAILURES_TO_OPEN = 3;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/**
 * Closed → open after consecutive failures → half-open: one probe after a pause, which doubles each
 * time the probe fails and is spread by half up and down. Source: Nygard, "Release It!", Circuit
 * Breaker.
 */
function circuit(now: () => number, random: () => number) {
  let failures = 0;
  let pauses = 0;
  let state: "closed" | "open" | "probing" = "closed";
  let untilMs = 0;

  function open() {
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** pauses++);
    untilMs = now() + pauseMs * (0.5 + random());
    state = "open";
  }

  return {
    isClosed: () => state === "closed",
    /** Calls that began before it opened tell nothing new. */
    count(ok: boolean) {
      if (state !== "closed") return;
      failures = ok ? 0 : failures + 1;
      if (ok) pauses = 0;
      if (failures >= FAILURES_TO_OPEN) open();
    },
    mayProbe() {
      if (state !== "open" || now() < untilMs) return false;
      state = "probing";
      return true;
    },
    settle(ok: boolean) {
      failures = 0;
      if (ok) state = "closed";
      else open();
    },
  };
}

/** Upstash's commands over our own requests; answers stay as Redis gives them, unparsed. */
class Client extends Upstash {
  constructor(requester: Requester) {
    super(requester);
    this.opts = { automaticDeserialization: false };
  }
}

/**
 * One POST, no second try: the library's own requester tries again with growing pauses (even with
 * `retry: false` it sends twice) and takes neither a fetch nor a signal for each call.
 */
function requester(o: RedisOptions, signal: AbortSignal): Requester {
  const base = o.url.replace(/\/+$/, "");
  const request = o.fetch ?? fetch;
  return {
    async request(command) {
      const answer = await request([base, ...command.path ?? []].join("/"), {
        method: "POST",
        headers: { authorization: `Bearer ${o.token}`, "content-type": "application/json" },
        body: JSON.stringify(command.body),
        redirect: "error",
        signal,
      });
      const body = JSON.parse(await answer.text());
      if (!answer.ok || !isWhole(body, command)) throw new Error("Redis answered nonsense");
      return body;
    },
  };
}

type Command = Parameters<Requester["request"]>[0];

/** A pipeline has a result for each command; a lone command's is checked by the library. */
function isWhole(body: unknown, { path, body: sent }: Command): boolean {
  if (path?.[0] !== "pipeline" && path?.[0] !== "multi-exec") return true;
  return Array.isArray(body) && Array.isArray(sent) && body.length === sent.length &&
    body.every((each: unknown) =>
      typeof each === "object" && each !== null && ("result" in each || "error" in each)
    );
}
