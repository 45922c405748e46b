/** Connections that rest between calls, each to an address that was checked when it was made. */

import type { Connection } from "./connections.ts";

export type KeptOptions = {
  /** Connections at rest to one scheme, host and port. Default 128. */
  perOrigin?: number;
  /** Connections at rest in all. Default 512. */
  inAll?: number;
  /** How long one rests before it is closed. Default 60,000. */
  restMs?: number;
  /** How old one may get, so that a name that moves is asked about again. Default 300,000. */
  lifeMs?: number;
};

type AtRest = { connection: Connection; origin: string; until: number };

/**
 * The one that rested last is taken first, so that what is not needed ends by itself; beyond the
 * bounds the one that rested longest is closed. A connection is here or with one call, never both.
 */
export class KeptConnections {
  /** By age of their rest, the longest first. */
  readonly #all = new Set<AtRest>();
  readonly #byOrigin = new Map<string, AtRest[]>();
  readonly #options: Required<KeptOptions>;
  #sweeper: ReturnType<typeof setTimeout> | undefined;
  #hasEnded = false;

  constructor(options: KeptOptions = {}) {
    this.#options = { perOrigin: 128, inAll: 512, restMs: 60_000, lifeMs: 300_000, ...options };
  }

  /** A connection for one call, which then owns it. */
  take(origin: string): Connection | undefined {
    const now = performance.now();
    for (let last = this.#last(origin); last !== undefined; last = this.#last(origin)) {
      this.#forget(last);
      if (last.until > now) {
        last.connection.wake();
        return last.connection;
      }
      last.connection.close();
    }
    return undefined;
  }

  #last = (origin: string) => this.#byOrigin.get(origin)?.at(-1);

  /** Takes one back whose call is through, for as long as the far side would keep it too. */
  give(origin: string, connection: Connection, keepMs: number) {
    const { perOrigin, inAll, restMs, lifeMs } = this.#options;
    const now = performance.now();
    const until = Math.min(now + restMs, now + keepMs, connection.madeAt + lifeMs);
    if (this.#hasEnded || until <= now) return connection.close();
    const entry = { connection, origin, until };
    const here = this.#byOrigin.get(origin) ?? [];
    this.#byOrigin.set(origin, here);
    here.push(entry);
    this.#all.add(entry);
    connection.rest(() => this.#close(entry));
    if (here.length > perOrigin) this.#close(here[0]);
    if (this.#all.size > inAll) this.#close(this.#all.values().next().value);
    this.#sweepLater();
  }

  #close(entry: AtRest | undefined) {
    if (entry === undefined) return;
    this.#forget(entry);
    entry.connection.close();
  }

  #forget(entry: AtRest) {
    this.#all.delete(entry);
    const here = this.#byOrigin.get(entry.origin) ?? [];
    here.splice(here.lastIndexOf(entry), 1);
    if (here.length === 0) this.#byOrigin.delete(entry.origin);
  }

  #sweepLater() {
    if (this.#sweeper !== undefined) return;
    this.#sweeper = setTimeout(() => {
      this.#sweeper = undefined;
      const now = performance.now();
      for (const entry of this.#all) if (entry.until <= now) this.#close(entry);
      if (this.#all.size > 0) this.#sweepLater();
    }, Math.min(this.#options.restMs, 5_000));
    Deno.unrefTimer(this.#sweeper);
  }

  /** Closes all; what is still with a call is closed when that is through. */
  end() {
    this.#hasEnded = true;
    clearTimeout(this.#sweeper);
    for (const entry of this.#all) this.#close(entry);
  }
}
