/**
 * The OpenAI-compatible gateway: any OpenAI client, unchanged, with a team's key. What is not known
 * here is passed on as it came, in both directions.
 */
import type { Context, Env, Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { z } from "zod";
import type { TenantCtx } from "../src/context.ts";
import { Fault, invalid, notFound } from "../src/errors.ts";
import type { Judged } from "../src/limits/headers.ts";
import { textOf } from "../src/short_texts.ts";
import type { Endpoint } from "../src/teams/admission.ts";
import { converse, type Spoken } from "../src/teams/conversations.ts";
import { effectiveOf } from "../src/teams/effective.ts";
import { begin, type Chatting, type Exchange } from "../src/teams/gateway/exchanges.ts";
import { modelsOf } from "../src/teams/gateway/models.ts";
import { MAX_REQUEST_BYTES, readRequest } from "../src/teams/gateway/requests.ts";
import { type Place, takePlace } from "../src/teams/gateway/room.ts";
import * as quotas from "../src/teams/quotas.ts";
import { takeRate } from "../src/teams/rates.ts";
import { readBytes, requireJson } from "./json.ts";
import {
  openAiErrorOf,
  quotaHeaders,
  rateHeaders,
  tellsQuota,
  upstreamRefusal,
} from "./openai_errors.ts";
import type { CtxHost } from "./proxy.ts";
import { allowOf } from "./rest.ts";
import { enter } from "./trpc.ts";

/** An answer's, by their names. */
type Named = Record<string, string>;
type Asking = { ctx: TenantCtx; teamId: string };
type Entered = Asking & { chatting: Chatting; judged: Judged };

/** Which team asks. Throws Unauthorized, Forbidden. */
async function asking<E extends Env>(c: Context<E>, host: CtxHost<E>): Promise<Asking> {
  const ctx = enter(await host.context(c), "chat.send");
  const team = ctx.principal?.team;
  if (!team) {
    throw new Fault("Forbidden", "key.no_team", "Send a team's key: this one is a person's");
  }
  return { ctx, teamId: team.id };
}

/** Counts the request. Throws RateExceeded. */
async function entered({ ctx, teamId }: Asking): Promise<Entered> {
  const { effective } = await effectiveOf(ctx, teamId);
  const judged = takeRate(ctx, teamId, effective);
  const chatting = { teamId, apiKeyId: ctx.actor.id, effective };
  return { ctx, teamId, chatting, judged };
}

/** For an answer that counts nothing: what is left of the team's quotas, as far as that can be told. */
async function quotasOf({ ctx, teamId }: Asking): Promise<Named> {
  const quota = await quotas.recent(ctx, teamId);
  return quota ? quotaHeaders(quota) : {};
}

const decoder = new TextDecoder("utf-8", { fatal: true });
const lenient = new TextDecoder();

async function bodyOf(request: Request, { grow }: Place): Promise<string> {
  // Plain HTTP clients leave it out; one that says something else means something else.
  const type = request.headers.get("content-type");
  if (type !== null) requireJson(type);
  try {
    return textOf(await readBytes(request, MAX_REQUEST_BYTES, grow), decoder);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Fault("ValidationError", "body.malformed", "The body is not UTF-8");
  }
}

/** Opts a client that keeps nothing into a conversation that is kept here. */
const SESSION_USER = "x-session-user";

function userOf(header: string): string {
  const { success, data } = z.string().trim().min(1).max(255).regex(/^\P{Cc}+$/u).safeParse(header);
  if (success) return data;
  throw invalid("X-Session-User", "Give the user's id in at most 255 characters");
}

/** Nobody reads it; 499 is what servers note for a client that did not wait. */
const gone = () => new Response(null, { status: 499 });

const isStatus = (status: number): status is ContentfulStatusCode => status >= 200 && status < 600;

const unkept = { "cache-control": "no-store" };

/** The exchange as an answer: its body as it came, unless it tells of what lies behind us. */
function answered(c: Context, it: Exchange, headers: Named): Response {
  const text = it.status >= 300 && it.body instanceof Uint8Array ? decoder.decode(it.body) : "";
  const refusal = it.status < 300 ? null : upstreamRefusal(it.status, text);
  const status = refusal?.status ?? it.status;
  const known = isStatus(status) ? status : 502;
  const all: Named = { ...headers, "x-model": it.model };
  if (refusal) all["x-should-retry"] = String(refusal.mayHelp);
  if (it.retryAfter && refusal?.mayHelp) all["retry-after"] = it.retryAfter;
  if (refusal?.body) return c.json(refusal.body, known, all);
  return responseOf(it.body, known, { ...all, "content-type": it.contentType });
}

/** Hono's own way would copy the headers twice. */
function responseOf(body: BodyInit, status: number, headers: Named): Response {
  const response = new Response(body, { status });
  for (const [name, value] of Object.entries(headers)) response.headers.append(name, value);
  return response;
}

const isDone = (bytes: Uint8Array) =>
  /(^|\n)data: ?\[DONE\]\r?\n\r?\n$/.test(lenient.decode(bytes.subarray(-24)));

/** Whoever has an answer's end may say the next thing: it is held back until the conversation is free. */
async function untilKept(it: Spoken): Promise<Spoken> {
  const { body } = it;
  const kept = it.kept.catch(() => {}); // Written down where it failed.
  if (!(body instanceof ReadableStream)) {
    await kept;
    return it;
  }
  let last: Uint8Array | null = null;
  const holding = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      if (last) controller.enqueue(last);
      last = isDone(bytes) ? bytes : null;
      if (!last) controller.enqueue(bytes);
    },
    async flush(controller) {
      await kept;
      if (last && controller.desiredSize !== null) controller.enqueue(last);
    },
  });
  return { ...it, body: body.pipeThrough(holding) };
}

/** A request on its way to a model and back, within a conversation where one is asked for. */
async function passedOn(c: Context, entered: Entered, endpoint: Endpoint) {
  const place = takePlace(entered.ctx);
  try {
    return await exchanged(c, entered, endpoint, await bodyOf(c.req.raw, place));
  } finally {
    place.leave();
  }
}

async function exchanged(
  c: Context,
  { ctx, chatting, judged }: Entered,
  endpoint: Endpoint,
  text: string,
) {
  const request = readRequest(endpoint, text, chatting.effective);
  const { raw } = c.req;
  const sessionUser = c.req.header(SESSION_USER);
  if (sessionUser === undefined || endpoint === "embeddings") {
    const place = {
      userId: request.userId,
      get signal() {
        return raw.signal;
      },
    };
    const beginning = begin(ctx, chatting, request, place);
    const rate = rateHeaders({ judged }); // While the database decides.
    const begun = await beginning;
    const headers = { ...rate, ...quotaHeaders(begun.quota), ...unkept };
    const ready = begun.stream && responseOf(begun.stream, 200, headers); // While the model thinks.
    const it = await begun.answer;
    if (!ready || it.body !== begun.stream || it.status !== 200) return answered(c, it, headers);
    ready.headers.append("x-model", it.model);
    ready.headers.append("content-type", it.contentType);
    return ready;
  }
  const speaker = { platform: chatting.effective.platformName, userId: userOf(sessionUser) };
  const it = await untilKept(await converse(ctx, chatting, speaker, request, raw.signal));
  const headers = { ...rateHeaders({ judged }), ...quotaHeaders(it.quota), ...unkept };
  return answered(c, it, { ...headers, "x-session-id": it.sessionId });
}

/** Mounts `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`; the rest of `/v1` answers 404. */
export function mountOpenAi<E extends Env>(app: Hono<E>, host: CtxHost<E>): void {
  const failed = (c: Context<E>, error: unknown, more: Named = {}) => {
    // Nothing of ours broke: it ended because its client left.
    if (c.req.raw.signal.aborted && !(error instanceof Fault)) return gone();
    const { status, body, headers } = openAiErrorOf(
      error,
      host.requestId(c),
      c.req.header("user-agent"),
    );
    if (status === 500) host.report(error, c);
    return c.json(body, isStatus(status) ? status : 500, { ...more, ...headers });
  };
  const guarded =
    (work: (c: Context<E>, it: Entered) => Promise<Response>) =>
    async (c: Context<E>): Promise<Response> => {
      let who: Asking | undefined;
      let judged: Judged | undefined;
      try {
        who = await asking(c, host);
        const it = await entered(who);
        judged = it.judged;
        return await work(c, it);
      } catch (error) {
        const headers = judged ? rateHeaders({ judged }) : {};
        const isOver = tellsQuota(error) || c.req.raw.signal.aborted;
        return failed(c, error, { ...headers, ...who && !isOver ? await quotasOf(who) : {} });
      }
    };
  const passed = (endpoint: Endpoint) => guarded((c, it) => passedOn(c, it, endpoint));
  const routes: [string, "GET" | "POST", (c: Context<E>) => Promise<Response>][] = [
    ["/v1/chat/completions", "POST", passed("chat.completions")],
    ["/v1/embeddings", "POST", passed("embeddings")],
    [
      "/v1/models",
      "GET",
      guarded(async (c, it) => {
        const data = await modelsOf(it.ctx, it.chatting.effective);
        return c.json({ object: "list", data }, 200, { ...rateHeaders(it), ...await quotasOf(it) });
      }),
    ],
    [
      "/v1/models/:model{.+}",
      "GET",
      guarded(async (c, it) => {
        const wanted = c.req.param("model");
        const all = await modelsOf(it.ctx, it.chatting.effective);
        const model = all.find(({ id }) => id === wanted);
        if (!model) throw notFound("model");
        return c.json(model, 200, { ...rateHeaders(it), ...await quotasOf(it) });
      }),
    ],
  ];
  for (const [path, method, handler] of routes) {
    app.on(method, path, handler);
    app.all(path, (c) => {
      c.header("Allow", allowOf([method]));
      if (c.req.method === "OPTIONS") return c.body(null, 204);
      const message = `This path takes ${allowOf([method])}`;
      return failed(c, new Fault("MethodNotAllowed", "method.not_allowed", message));
    });
  }
  app.all("/v1/*", async (c, next) => {
    if (c.req.path.startsWith("/v1/admin/")) return await next();
    return failed(c, new Fault("NotFound", "path.not_found", "There is nothing here"));
  });
}
