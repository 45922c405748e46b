/** Asks upstreams in turn until one answers: tries again after a pause, then what may stand in for it. */
import type { TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { Refused } from "../../outbound.ts";
import type { Quota } from "../admission.ts";
import { type ChatRequest, textFor } from "./requests.ts";
import { keyOf, type Route } from "./routes.ts";

export type Called = { route: Route; response: Response; attempts: number };

/** Said with how often it was tried, for the usage row. */
export class UpstreamFailed extends Fault {
  /** Known once it was let in. */
  quota: Quota | null = null;
  constructor(
    code: "ProviderError" | "ProviderTimeout",
    message: string,
    readonly route: Route,
    readonly attempts: number,
  ) {
    super(code, code === "ProviderError" ? "upstream.failed" : "upstream.timeout", message);
  }
}

const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** The request itself is wrong: no other would answer it differently. */
const isTheirs = (status: number) => [400, 405, 409, 413, 415, 422].includes(status);
/** It may go better in a moment. */
const isPassing = (status: number) => status === 408 || status === 429 || status >= 500;

const paths = { "chat.completions": "/chat/completions", embeddings: "/embeddings" } as const;

async function send(ctx: TenantCtx, request: ChatRequest, route: Route, signal: AbortSignal) {
  const { upstream, name } = route;
  const key = await keyOf(ctx, upstream);
  return await ctx.outbound(upstream.baseUrl + paths[request.endpoint], {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: request.isStreamed ? "text/event-stream" : "application/json",
      "x-request-id": ctx.requestId,
      ...key ? { authorization: `Bearer ${key.reveal()}` } : {},
    },
    body: textFor(request, name),
    signal,
    timeoutMs: upstream.timeoutMs,
    idleMs: upstream.idleMs,
    maxBytes: MAX_ANSWER_BYTES,
  });
}

/** Full jitter, and as long as the upstream asks for if that is bearable. Null: longer than anybody waits. */
function pauseMs(response: Response | null, tries: number): number | null {
  const asked = Number(response?.headers.get("retry-after") ?? NaN) * 1_000;
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

type Tried = { response: Response } | { refused: Refused };

async function attempt(
  ctx: TenantCtx,
  request: ChatRequest,
  route: Route,
  signal: AbortSignal,
): Promise<Tried> {
  signal.throwIfAborted();
  try {
    return { response: await send(ctx, request, route, signal) };
  } catch (error) {
    if (!(error instanceof Refused) || signal.aborted) throw error;
    return { refused: error };
  }
}

/** The first answer worth passing on: a good one, one about the request itself, or the last there was. */
export async function callUpstreams(
  ctx: TenantCtx,
  routes: readonly [Route, ...Route[]],
  request: ChatRequest,
  signal: AbortSignal,
): Promise<Called> {
  let attempts = 0;
  let last: { route: Route; tried: Tried } | null = null;
  for (const route of routes) {
    for (let tries = 1; tries <= route.upstream.maxAttempts; tries++) {
      attempts++;
      const tried = await attempt(ctx, request, route, signal);
      if ("response" in tried) {
        const { response } = tried;
        if (response.ok || isTheirs(response.status)) return { route, response, attempts };
      }
      if (last && "response" in last.tried) await last.tried.response.body?.cancel();
      last = { route, tried };
      const response = "response" in tried ? tried.response : null;
      const isHopeless = response
        ? !isPassing(response.status)
        : "refused" in tried && tried.refused.reason !== "unreachable";
      if (isHopeless || tries === route.upstream.maxAttempts) break;
      const ms = pauseMs(response, tries);
      if (ms === null) break;
      await paused(ms, signal);
    }
  }
  if (last && "response" in last.tried) {
    return { route: last.route, response: last.tried.response, attempts };
  }
  const route = last?.route ?? routes[0];
  const isLate = last && "refused" in last.tried && last.tried.refused.reason === "timeout";
  throw new UpstreamFailed(
    isLate ? "ProviderTimeout" : "ProviderError",
    isLate ? "The model did not answer in time" : "The model could not be reached",
    route,
    attempts,
  );
}
