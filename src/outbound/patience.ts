/** How long a call may keep us waiting, and what ends it early. */

import { Refused } from "./screen.ts";

/**
 * One call's stopwatch. `signal` aborts with Refused("timeout") when a wait runs out, or with the
 * caller's own reason when the caller's signal fires; everything the call holds open watches it.
 */
export class Patience {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal = this.#controller.signal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #caller: AbortSignal | undefined;
  readonly #giveUp = () => this.#controller.abort(this.#caller?.reason);

  constructor(readonly host: string, caller: AbortSignal | undefined) {
    caller?.throwIfAborted();
    this.#caller = caller;
    caller?.addEventListener("abort", this.#giveUp, { once: true });
  }

  /** From now on the far side has `ms` to do what is said in `what`; replaces the wait before. */
  wait(ms: number, what: string) {
    clearTimeout(this.#timer);
    if (!Number.isFinite(ms)) return;
    this.#timer = setTimeout(
      () => this.#controller.abort(new Refused("timeout", `${this.host} ${what} within ${ms} ms`)),
      ms,
    );
  }

  /** The call is over; no timer and no listener stays behind. */
  end() {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#giveUp);
  }

  /** The promise's outcome, unless the wait or the caller ends first. */
  async bound<T>(promise: Promise<T>): Promise<T> {
    const broken = Promise.withResolvers<never>();
    const onAbort = () => broken.reject(this.signal.reason);
    if (this.signal.aborted) onAbort();
    this.signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([broken.promise, promise]);
    } finally {
      this.signal.removeEventListener("abort", onAbort);
    }
  }
}
