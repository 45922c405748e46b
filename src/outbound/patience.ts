/** How long a call may keep us waiting, and what ends it early. */

import { waitFor } from "../waits.ts";
import { Refused } from "./screen.ts";

const nothing = () => {};

/**
 * One call's stopwatch. It is over when a wait runs out, with Refused("timeout"), or when the
 * caller's signal fires, with the caller's own reason; what the call holds open is let go then.
 */
export class Patience {
  isOver = false;
  reason: unknown;
  #stop = nothing;
  #controller: AbortController | undefined;
  #hasEnded = false;
  #what = "";
  #ms = Infinity;
  #deadline = Infinity;
  #callOff = nothing;
  #ringsAt = Infinity;
  readonly #caller: AbortSignal | undefined;
  readonly #giveUp = () => this.#over(this.#caller?.reason);

  constructor(readonly host: string, caller: AbortSignal | undefined) {
    caller?.throwIfAborted();
    this.#caller = caller;
    caller?.addEventListener("abort", this.#giveUp, { once: true });
  }

  /** Aborts with the reason; for what takes a signal and nothing less. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.isOver) this.#controller.abort(this.reason);
    return this.#controller.signal;
  }

  /** What to do when it is over, instead of what was said before; at once when it is. */
  whenOver(stop: () => void) {
    this.#stop = stop;
    if (this.isOver) stop();
  }

  /** From now on the far side has `ms` to do what is said in `what`; replaces the wait before. */
  wait(ms: number, what: string) {
    this.#ms = ms;
    this.#what = what;
    this.#deadline = performance.now() + ms;
    // A stream waits twice a chunk: a timer that rings too early costs less than two more of them.
    if (this.#deadline < this.#ringsAt) this.#arm();
  }

  #arm() {
    this.#callOff();
    this.#ringsAt = Infinity;
    if (this.#hasEnded || this.isOver || this.#deadline === Infinity) return;
    this.#ringsAt = this.#deadline;
    const ms = Math.max(0, this.#deadline - performance.now());
    this.#callOff = waitFor(ms, () => this.#ring());
  }

  #ring() {
    this.#ringsAt = Infinity;
    if (this.#deadline > performance.now()) return this.#arm();
    const within = `${this.#what} within ${this.#ms} ms`;
    this.#over(new Refused("timeout", `${this.host} ${within}`));
  }

  #over(reason: unknown) {
    if (this.isOver || this.#hasEnded) return;
    this.isOver = true;
    this.reason = reason;
    this.#callOff();
    this.#controller?.abort(reason);
    this.#stop();
  }

  /** The call is over; no timer and no listener stays behind. */
  end() {
    this.#hasEnded = true;
    this.#stop = nothing;
    this.#callOff();
    this.#caller?.removeEventListener("abort", this.#giveUp);
  }

  /** The promise's outcome, unless the wait or the caller ends first. */
  bound<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const before = this.#stop;
      let isBound = true;
      // Before whoever waits goes on and says something else.
      const free = () => {
        if (isBound) this.#stop = before;
        isBound = false;
      };
      this.whenOver(() => {
        free();
        before();
        reject(this.reason);
      });
      promise.then((value) => {
        free();
        resolve(value);
      }, (error) => {
        free();
        reject(error);
      });
    });
  }
}
