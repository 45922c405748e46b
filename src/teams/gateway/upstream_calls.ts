/** Asks upstreams in turn until one answers: tries again after a pause, then what may stand in for it. */
import type { TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { type Answer, headerOf, Refused } from "../../outbound.ts";
import type { Secret } from "../../secrets/secret.ts";
import type { Quota } from "../admission.ts";
import { type ChatRequest, textFor } from "./requests.ts";
import { keyOf, type Route } from "./routes.ts";

export type Called = {
  route: Route;
  answer: Answer;
  attempts: number;
  /** An error's text without what lies between us and the upstream: its key, its address. */
  clean: (text: string) => string;
};

/** Said with how often it was tried, for the usage row. */
export class UpstreamFailed extends Fault {
  /** Known once it was let in. */
  quota: Quota | null = null;
  constructor(
    code: "ProviderError" | "ProviderTimeout",
    message: string,
    readonly route: Route,
    readonly attempts: number,
    readonly status: number | null = null,
  ) {
    super(code, code === "ProviderError" ? "upstream.failed" : "upstream.timeout", message);
  }
}

export const LATE = "The model did not answer in time";
export const NO_ANSWER = "What came from the model's provider is no answer";

const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** The request itself is wrong: no other would answer it differently. */
export const isTheirs = (status: number) => [400, 413, 422].includes(status);
/** It may go better in a moment. */
const isPassing = (status: number) => status === 408 || status === 429 || status >= 500;

export const isOk = ({ status }: Pick<Answer, "status">) => status >= 200 && status < 300;

/** A model's answer and not, say, a proxy's page. */
function isGood(answer: Answer): boolean {
  const type = headerOf(answer, "content-type");
  return isOk(answer) &&
    (type === null || /^(application\/([\w.-]+\+)?json|text\/event-stream)\b/i.test(type));
}

const encoder = new TextEncoder();
const paths = { "chat.completions": "/chat/completions", embeddings: "/embeddings" } as const;

/** Whom it was last sent to, and how often anybody was asked. */
export type Progress = { route: Route; attempts: number };
/** `progress` is kept up to date, for who ends it meanwhile. */
type Within = { signal: AbortSignal; after: Promise<unknown>; progress: Progress };

async function send(
  ctx: TenantCtx,
  request: ChatRequest,
  route: Route,
  { signal, after }: Within,
) {
  const { upstream } = route;
  const key = await keyOf(ctx, upstream);
  const answer = await ctx.answering(upstream.baseUrl + paths[request.endpoint], {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: request.isStreamed ? "text/event-stream" : "application/json",
      "x-request-id": ctx.requestId,
      ...key ? { authorization: `Bearer ${key.reveal()}` } : {},
    },
    body: encoder.encode(textFor(request, route)),
    signal,
    after,
    timeoutMs: upstream.timeoutMs,
    idleMs: upstream.idleMs,
    maxBytes: MAX_ANSWER_BYTES,
  });
  return { answer, key };
}

/** Full jitter, and as long as the upstream asks for if that is bearable. Null: longer than anybody waits. */
function pauseMs(answer: Answer | null, tries: number): number | null {
  const asked = Number((answer && headerOf(answer, "retry-after")) ?? NaN) * 1_000;
  if (asked > LONGEST_PAUSE_MS) return null;
  return Math.max(asked || 0, Math.random() * FIRST_PAUSE_MS * 2 ** tries);
}

const paused = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });

/** What would tell a client where its request went and as whom. */
function cleaning(key: Secret | null, { upstream }: Route) {
  return (text: string) => {
    const { host, pathname } = new URL(upstream.baseUrl);
    const telling = [...key ? [key.reveal()] : [], `${host}${pathname.replace(/\/$/, "")}`, host];
    return telling.reduce((clean, word) => clean.replaceAll(word, "…"), text);
  };
}

/** Whoever does not read an answer's body says so, or its connection is held for it. */
const leave = ({ body }: Answer) => body !== null && "next" in body && body.cancel();

type Tried = { answer: Answer; key: Secret | null } | { refused: Refused };

async function attempt(
  ctx: TenantCtx,
  request: ChatRequest,
  route: Route,
  within: Within,
): Promise<Tried> {
  const { signal } = within;
  signal.throwIfAborted();
  try {
    return await send(ctx, request, route, within);
  } catch (error) {
    if (!(error instanceof Refused) || signal.aborted) throw error;
    return { refused: error };
  }
}

/**
 * The first answer worth passing on: a good one, one about the request itself, or the last there was.
 * Nothing is sent before `after` resolves; what it rejects with is thrown.
 */
export async function callUpstreams(
  ctx: TenantCtx,
  routes: readonly [Route, ...Route[]],
  request: ChatRequest,
  within: Within,
): Promise<Called> {
  let attempts = 0;
  let last: { route: Route; tried: Tried } | null = null;
  for (const route of routes) {
    for (let tries = 1; tries <= route.upstream.maxAttempts; tries++) {
      attempts++;
      Object.assign(within.progress, { route, attempts });
      if (last && "answer" in last.tried) leave(last.tried.answer);
      const tried = await attempt(ctx, request, route, within);
      last = { route, tried };
      const answer = "answer" in tried ? tried.answer : null;
      if ("answer" in tried && (isGood(tried.answer) || isTheirs(tried.answer.status))) {
        return { route, answer: tried.answer, attempts, clean: cleaning(tried.key, route) };
      }
      const isHopeless = answer
        ? !isOk(answer) && !isPassing(answer.status)
        : "refused" in tried && tried.refused.reason !== "unreachable";
      if (isHopeless || tries === route.upstream.maxAttempts) break;
      const ms = pauseMs(answer, tries);
      if (ms === null) break;
      await paused(ms, within.signal);
    }
  }
  return lastOf(last?.route ?? routes[0], last?.tried ?? null, attempts);
}

/** What it came to where nobody gave a good answer. Throws UpstreamFailed where there was none at all. */
function lastOf(route: Route, tried: Tried | null, attempts: number) {
  if (tried && "answer" in tried) {
    const { answer, key } = tried;
    if (!isOk(answer)) return { route, answer, attempts, clean: cleaning(key, route) };
    leave(answer);
    const { status } = answer;
    throw new UpstreamFailed("ProviderError", NO_ANSWER, route, attempts, status);
  }
  const isLate = tried?.refused.reason === "timeout";
  throw new UpstreamFailed(
    isLate ? "ProviderTimeout" : "ProviderError",
    isLate ? LATE : "The model could not be reached",
    route,
    attempts,
  );
}
