/** Every request the stand-in sees: what was asked, what was sent, and how it ended. */
import type { IncomingMessage, ServerResponse } from "node:http";

export type Outcome = "open" | "answered" | "cut" | "aborted";

/** Calls that are remembered; the oldest go first. */
const MAX_CALLS = 10_000;

export class Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What the answer's `x-request-id` says. */
  readonly requestId: string;
  /** The model asked for, if the body named one. */
  model: string | undefined;
  /** The body as it came, once it has come whole. */
  text = "";
  /** The body as JSON, or undefined. */
  body: unknown;
  status: number | undefined;
  /** Events of the stream that were sent, `[DONE]` not counted. */
  chunks = 0;
  outcome: Outcome = "open";
  /** Done when nothing more is sent, however that came. */
  readonly ended: Promise<void>;
  /** Fires when nobody waits for an answer any more. */
  readonly gone: AbortSignal;

  constructor(readonly serial: number, request: IncomingMessage, response: ServerResponse) {
    this.requestId = `req_dev_${serial}`;
    this.method = request.method ?? "GET";
    this.path = new URL(request.url ?? "/", "http://upstream").pathname;
    const headers = Object.entries(request.headers);
    this.headers = Object.fromEntries(headers.map(([name, value]) => [name, String(value)]));
    const { promise, resolve } = Promise.withResolvers<void>();
    const leaving = new AbortController();
    [this.ended, this.gone] = [promise, leaving.signal];
    response.once("close", () => {
      if (this.outcome === "open") {
        this.outcome = response.writableFinished ? "answered" : "aborted";
      }
      leaving.abort();
      resolve();
    });
  }

  get isAborted(): boolean {
    return this.outcome === "aborted";
  }
}

/** The calls since the last reset. */
export class Calls {
  readonly list: Call[] = [];
  #seen = 0;
  #waiting = new Map<() => void, number>();

  add(call: Call): void {
    this.list.push(call);
    this.#seen++;
    if (this.list.length > MAX_CALLS) this.list.shift();
    for (const [resolve, count] of this.#waiting) {
      if (count > this.#seen) continue;
      this.#waiting.delete(resolve);
      resolve();
    }
  }

  /** Done when so many calls have come. */
  arrived(count: number): Promise<void> {
    if (this.#seen >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.set(resolve, count));
  }

  reset(): void {
    this.list.length = 0;
    this.#seen = 0;
  }
}
