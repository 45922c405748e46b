/** One request of a team from admission to settlement: let in, sent on, passed back, settled once. */
import type { Database } from "../../../db/client.ts";
import type { Services, TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { isObject } from "../../objects.ts";
import { bytesOf, headerOf, piecesOf } from "../../outbound.ts";
import { textOf } from "../../short_texts.ts";
import { waitFor } from "../../waits.ts";
import { admit, type Lease, type Outcome, type Quota, settle, settled } from "../admission.ts";
import type { Effective } from "../effective.ts";
import { type Coming, type StreamEnd, tapped } from "./event_streams.ts";
import type { ChatRequest } from "./requests.ts";
import { type Route, routesOf } from "./routes.ts";
import {
  type Called,
  callUpstreams,
  isOk,
  LATE,
  NO_ANSWER,
  type Progress,
  UpstreamFailed,
} from "./upstream_calls.ts";
import { countedOf, type Said, saidIn, type Usage, usageOf } from "./usages.ts";

/** Who chats: a team, with one of its keys or as somebody of its tenant. */
export type Chatting = { teamId: string; apiKeyId: string | null; effective: Effective };

export type Place = {
  /** Looked at once the database is asked: a server makes it when it is. */
  readonly signal: AbortSignal;
  sessionId?: string | null;
  userId?: string | null;
};

/** How it ended, for who keeps the conversation. */
export type Ended = { outcome: Outcome; model: string; said: () => Said };

export type Exchange = {
  quota: Quota;
  model: string;
  status: number;
  contentType: string;
  /** The upstream's `Retry-After`. */
  retryAfter: string | null;
  body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
  ended: Promise<Ended>;
};

const GRACE_SECONDS = 15;
const LONGEST_MS = 900_000;

/** The longest an answer may take in all; the lease lasts a little longer. */
function answerWithinMs(routes: readonly Route[]): number {
  const waits = routes.map(({ upstream }) => upstream.maxAttempts * (upstream.timeoutMs + 2_000));
  const reads = Math.max(...routes.map(({ upstream }) => upstream.idleMs));
  return Math.min(LONGEST_MS, waits.reduce((sum, ms) => sum + ms, 0) + 10 * reads);
}

type Course = {
  ctx: TenantCtx;
  lease: Lease;
  isStreamed: boolean;
  progress: Progress;
  beganAt: number;
  firstByteMs: number | null;
  ended: PromiseWithResolvers<Ended>;
  /** The client's leaving. */
  signal: AbortSignal;
  /** That, or the end of its time. */
  stop: AbortSignal;
  cut: (reason: Fault) => void;
  /** Nobody waits for either any more. */
  release: () => void;
};

/** What is under way in this process. */
const underWay = new WeakMap<Database, Set<Course>>();

function coursesOf({ database }: Pick<Services, "database">): Set<Course> {
  const known = underWay.get(database);
  if (known) return known;
  const courses = new Set<Course>();
  underWay.set(database, courses);
  return courses;
}

const ending = () =>
  new Fault("Unavailable", "process.ending", "This process ends: send it again", {
    retryAfterSeconds: 1,
  });

/**
 * Lets what is under way end by itself for so long and then cuts it off, as where an upstream breaks
 * off. Resolves when all of it is settled.
 */
export async function windUp(services: Pick<Services, "database">, withinMs: number) {
  const courses = coursesOf(services);
  const timer = setTimeout(() => courses.forEach(({ cut }) => cut(ending())), withinMs);
  while (courses.size > 0) await Promise.all([...courses].map(({ ended }) => ended.promise));
  clearTimeout(timer);
  await settled(services);
}

type Finish = {
  outcome: Outcome;
  route: Route;
  attempts: number;
  status: number | null;
  usage: Usage | null;
  /** Asked only where nobody told the usage, or a conversation is kept. */
  said: () => Said;
};

/** Writes down what it came to, once. */
function finish(course: Course, { outcome, route, attempts, status, usage, said }: Finish) {
  const { ctx, lease, isStreamed, beganAt, firstByteMs } = course;
  course.release();
  coursesOf(ctx).delete(course);
  settle(ctx, lease, {
    model: route.model,
    outcome,
    status,
    attempts,
    ...countedOf(usage, () => said().all),
    latencyMs: performance.now() - beganAt,
    firstByteMs,
    isStreamed,
  });
  course.ended.resolve({ outcome, said, model: route.model });
}

const nothing = () => ({ text: "", all: "", isFinished: false });
const outcomeOf: Record<StreamEnd["how"], Outcome> = {
  whole: "answered",
  aborted: "aborted",
  cut: "cut",
};

/** A request that was let in. */
export type Begun = {
  quota: Quota;
  /** The body its answer will have where that is a stream, as was asked for. */
  stream: ReadableStream<Uint8Array> | null;
  /** Rejects with UpstreamFailed, and with what `signal` was aborted with. */
  answer: Promise<Exchange>;
};

/**
 * Sends a request on; resolves when it is let in. Throws QuotaExceeded, Unavailable where nobody serves
 * the model, and what `signal` was aborted with.
 */
export async function begin(
  ctx: TenantCtx,
  { teamId, apiKeyId, effective }: Chatting,
  request: ChatRequest,
  place: Place,
): Promise<Begun> {
  const { sessionId = null, userId = null } = place;
  const routes = await routesOf(ctx, request, effective);
  const withinMs = answerWithinMs(routes);
  const beganAt = performance.now();
  const admission = admit(ctx, {
    teamId,
    apiKeyId,
    sessionId,
    userId,
    endpoint: request.endpoint,
    model: request.model,
    inputTokens: request.inputTokens,
    leaseSeconds: Math.ceil(withinMs / 1_000) + GRACE_SECONDS,
  });
  const bounds = bounded(place.signal, withinMs);
  const progress: Progress = { route: routes[0], attempts: 1 };
  // Made ready while the database decides; it leaves when that lets it in.
  const calling = callUpstreams(ctx, routes, request, {
    signal: bounds.stop,
    after: admission,
    progress,
  });
  calling.catch(() => {}); // Told below, to whom was let in.
  const lease = await admission.catch((error) => {
    bounds.release();
    throw error;
  });
  await null; // What was made ready leaves first.
  const course: Course = {
    ctx,
    lease,
    isStreamed: request.isStreamed,
    progress,
    beganAt,
    firstByteMs: null,
    ended: Promise.withResolvers<Ended>(),
    ...bounds,
  };
  coursesOf(ctx).add(course);
  const coming = Promise.withResolvers<Coming>();
  const stream = request.isStreamed ? streamed(course, coming.promise, request.wantsUsage) : null;
  const answer = answered(course, calling, stream && { stream, begin: coming.resolve });
  answer.catch(() => {}); // Whoever was told that it is let in waits for it.
  return { quota: lease.quota, stream, answer };
}

/** The same, with the answer. */
export const exchange = async (...asked: Parameters<typeof begin>): Promise<Exchange> =>
  await (await begin(...asked)).answer;

type Streaming = { stream: ReadableStream<Uint8Array>; begin: (coming: Coming) => void };

/** Passes back what the upstream says, as a stream where it streams and may. */
async function answered(course: Course, calling: Promise<Called>, streaming: Streaming | null) {
  try {
    const called = await calling;
    const { answer, route, clean } = called;
    const contentType = headerOf(answer, "content-type") ?? "application/json";
    const base = {
      quota: course.lease.quota,
      model: route.model,
      status: answer.status,
      contentType,
      retryAfter: headerOf(answer, "retry-after"),
      ended: course.ended.promise,
    };
    const isStream = isOk(answer) && contentType.startsWith("text/event-stream");
    if (streaming && isStream && answer.body) {
      streaming.begin({ pieces: piecesOf(answer.body), clean });
      return { ...base, body: streaming.stream };
    }
    return { ...base, body: await whole(course, called) };
  } catch (error) {
    throw failed(course, error);
  }
}

/** Ends with the client's leaving, and at the latest after so many milliseconds. */
function bounded(signal: AbortSignal, withinMs: number) {
  const stop = new AbortController();
  const abort = () => stop.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  const callOff = waitFor(withinMs, () => stop.abort());
  const release = () => {
    callOff();
    signal.removeEventListener("abort", abort);
  };
  const cut = (reason: Fault) => stop.abort(reason);
  return { signal, stop: stop.signal, cut, release };
}

/** Settles what nobody answered, and says what that is to the caller. */
function failed(course: Course, error: unknown): unknown {
  const { signal, stop, lease, progress } = course;
  const isCut = stop.aborted && !signal.aborted;
  const isOurs = isCut && stop.reason instanceof Fault; // Whatever the upstream made of it.
  const failure = isCut && !isOurs
    ? new UpstreamFailed("ProviderTimeout", LATE, progress.route, progress.attempts)
    : error instanceof UpstreamFailed && !isOurs
    ? error
    : null;
  if (failure) failure.quota = lease.quota;
  finish(course, {
    outcome: signal.aborted ? "aborted" : "failed",
    route: failure?.route ?? progress.route,
    attempts: failure?.attempts ?? progress.attempts,
    status: failure?.status ?? null,
    usage: null,
    said: nothing,
  });
  return failure ?? (isCut ? stop.reason : error);
}

/** What an upstream used that refused: it says so with its status. */
const unused: Usage = { inputTokens: 0, outputTokens: 0 };

async function whole(course: Course, { answer, route, attempts, clean }: Called) {
  const { status } = answer;
  const ok = isOk(answer);
  const refuse = (message: string) =>
    new UpstreamFailed("ProviderError", message, route, attempts, ok ? status : null);
  const bytes = await bytesOf(answer.body).catch(() => {
    throw refuse("The model broke off its answer");
  });
  course.firstByteMs = performance.now() - course.beganAt;
  const value = parsed(bytes);
  // Some say with a 200 that they failed.
  if (ok && (!isObject(value) || ("error" in value && value.error))) throw refuse(NO_ANSWER);
  const usage = isObject(value) && "usage" in value ? usageOf(value.usage) : null;
  finish(course, {
    outcome: ok ? "answered" : "failed",
    route,
    attempts,
    status,
    usage: usage ?? (ok ? null : unused),
    said: () => saidIn(value),
  });
  return ok ? bytes : encoder.encode(clean(decoder.decode(bytes)));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(textOf(bytes, decoder));
  } catch {
    return null;
  }
}

/** Nothing comes of it where what is coming never comes. */
function streamed(course: Course, coming: Promise<Coming>, wantsUsage: boolean) {
  const { ctx, beganAt, stop, signal, progress } = course;
  return tapped(coming, {
    wantsUsage,
    requestId: ctx.requestId,
    stop,
    hasLeft: () => signal.aborted,
    began: () => course.firstByteMs = performance.now() - beganAt,
    ended: ({ how, usage, said }) =>
      finish(course, { outcome: outcomeOf[how], ...progress, status: 200, usage, said }),
  });
}
