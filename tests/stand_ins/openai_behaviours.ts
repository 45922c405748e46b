/** How the stand-in misbehaves: what a test plans for it, and what a model's name asks of it. */
import type { Wanted } from "./openai_answers.ts";
import { type Failure, quotaExceeded } from "./openai_refusals.ts";

export interface DelaysMs {
  /** Before anything is answered. */
  headers?: number;
  /** Between the headers and the first chunk; for JSON, the body. */
  firstChunk?: number;
  betweenChunks?: number;
}

export interface Behaviour extends Wanted {
  fail?: Failure;
  delayMs?: DelaysMs;
  /** Chunks after which the socket is destroyed; a JSON answer is cut in the middle. */
  cutAfter?: number;
  /** Chunks after which the stream says the server had an error, and ends. */
  errorAfter?: number;
  /** Waits for ever, or until `released`: after so many chunks, or before anything is answered. */
  hang?: { afterChunks?: number; released: Promise<void> };
}

/** Which requests a plan is for: all models and once, unless it says otherwise. */
export interface When {
  model?: string;
  times?: number;
}

const never = Promise.withResolvers<void>().promise;

const named: Record<string, Behaviour> = {
  slow: { delayMs: { firstChunk: 1_000, betweenChunks: 200 } },
  long: { tokens: 1_000, delayMs: { betweenChunks: 20 } },
  cut: { cutAfter: 3 },
  "error-mid-stream": { errorAfter: 3 },
  hang: { hang: { released: never } },
  "no-usage": { noUsage: true },
  "no-quota": { fail: quotaExceeded },
};

/** The models of the development upstream, and what its list says of each. */
export const developmentModels: Record<string, string> = {
  "dev/echo": "says what it was asked",
  "dev/slow": "a second before the first chunk, 200 ms between chunks",
  "dev/long": "1,000 tokens, 20 ms between them",
  "dev/cut": "the connection breaks after three chunks",
  "dev/error-mid-stream": "an error after three chunks",
  "dev/hang": "never answers",
  "dev/no-usage": "tells no usage",
  "dev/no-quota": "429 insufficient_quota: the provider's bill was not paid",
  "dev/error-429": "429 with retry-after",
  "dev/error-500": "500",
  "dev/error-503": "503",
  "dev/embedding": "vectors that mean nothing",
};

function asNamed(model: string): Behaviour {
  const name = model.split("/").at(-1) ?? "";
  const status = /^error-([45]\d\d)$/.exec(name)?.[1];
  return status ? { fail: { status: Number(status) } } : named[name] ?? {};
}

type Plan = { model: string | undefined; left: number; behaviour: Behaviour };

/** The plans of one stand-in. Of two plans for one thing the older comes first. */
export class Plans {
  #plans: Plan[] = [];

  add(behaviour: Behaviour, { model, times = 1 }: When = {}): void {
    this.#plans.push({ model, left: times, behaviour });
  }

  clear(): void {
    this.#plans = [];
  }

  /** What happens to the next request for the model; uses up what is planned for it. */
  take(model: string): Behaviour {
    let taken: Behaviour = {};
    for (const plan of this.#plans) {
      const isOther = plan.model !== undefined && plan.model !== model;
      if (isOther || Object.keys(plan.behaviour).some((name) => name in taken)) continue;
      taken = { ...taken, ...plan.behaviour };
      plan.left--;
    }
    this.#plans = this.#plans.filter(({ left }) => left > 0);
    return { ...asNamed(model), ...taken };
  }
}
