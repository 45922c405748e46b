/**
 * OpenAI's API on a free port, with no model behind it. It speaks the real protocol, JSON and SSE,
 * refuses what OpenAI refuses, and says in its model list and its answers that it is the
 * development upstream. The same request gets the same answer; `openai_tokens.ts` says what is
 * counted as usage. Fields it does not know come back in `development_upstream.unknown_fields`.
 *
 * A function among `tools` is called when the user's last message names it, with the JSON object
 * written in that message as its arguments. What goes wrong is planned by a test, or asked for by
 * the model's name (its part after the last slash): `dev/echo`, `dev/slow`, `dev/long`, `dev/cut`,
 * `dev/error-mid-stream`, `dev/hang`, `dev/no-usage`, `dev/no-quota`, `dev/error-429` and any
 * other status like it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { answerTo, chunksOf, completionOf, DISCLAIMER } from "./openai_answers.ts";
import {
  type Behaviour,
  type DelaysMs,
  developmentModels,
  Plans,
  type When,
} from "./openai_behaviours.ts";
import { Call, Calls } from "./openai_calls.ts";
import { refuseChat, refuseEmbeddings } from "./openai_checks.ts";
import { embeddingsOf } from "./openai_embeddings.ts";
import {
  type Body,
  type Failure,
  invalidUrl,
  isBody,
  noSuchModel,
  refuseKey,
  refuseModel,
  unparsable,
  wrongMethod,
} from "./openai_refusals.ts";
import { type Exchange, mayAnswer, sendFailure, sendJson, sendStream } from "./openai_sending.ts";
import { readAll } from "./oidc_resources.ts";

export type { Behaviour, DelaysMs, When } from "./openai_behaviours.ts";
export type { Call } from "./openai_calls.ts";
export { DISCLAIMER } from "./openai_answers.ts";
export { tokensOf } from "./openai_tokens.ts";
export { type Failure, quotaExceeded } from "./openai_refusals.ts";

export interface OpenaiUpstream extends AsyncDisposable {
  /** The base address clients take, ending in `/v1`. */
  readonly url: string;
  readonly keys: readonly string[];
  readonly models: readonly string[];
  /** The requests since the last reset, oldest first. */
  readonly calls: readonly Call[];
  /** Done when so many requests have come since the last reset. */
  arrived(count: number): Promise<void>;
  /** Forgets the calls; plans stay. */
  resetCounts(): void;
  /** Plans what happens to the next completions or embeddings; plans for one thing queue up. */
  plan(behaviour: Behaviour, when?: When): void;
  fail(failure: Failure, when?: When): void;
  /** For all requests, unless `when` says how many. */
  delay(delayMs: DelaysMs, when?: When): void;
  /** Destroys the socket after so many chunks. */
  cutAfter(chunks: number, when?: When): void;
  /** Sends OpenAI's error event after so many chunks, and no `[DONE]`. */
  errorMidStream(afterChunks: number, when?: When): void;
  /** Lets a request wait, after so many chunks or before any answer; call the result to go on. */
  hang(when?: When & { afterChunks?: number }): () => void;
  clearPlans(): void;
  stop(): Promise<void>;
}

export interface Settings {
  /** Keys that are taken; one is made up when left out. */
  keys?: string[];
  /** The development upstream's own models when left out. */
  models?: string[];
  port?: number;
}

type Desk = { keys: string[]; models: string[]; plans: Plans; calls: Calls; serial: number };

export async function openaiUpstream(settings: Settings = {}): Promise<OpenaiUpstream> {
  const desk: Desk = {
    keys: settings.keys ?? [`sk-dev-${crypto.randomUUID()}`],
    models: settings.models ?? Object.keys(developmentModels),
    plans: new Plans(),
    calls: new Calls(),
    serial: 0,
  };
  const server = createServer((request, response) => {
    handle(desk, request, response).catch((error: unknown) => {
      if (request.errored || response.destroyed) return;
      console.error("The development upstream stumbled:", error);
      response.destroy();
    });
  });
  server.keepAliveTimeout = 60_000; // A client that pauses must not meet a closing connection.
  const port = await listen(server, settings.port ?? 0);
  const stop = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };
  return {
    url: `http://127.0.0.1:${port}/v1`,
    ...controls(desk),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function controls({ keys, models, plans, calls }: Desk) {
  return {
    keys,
    models,
    calls: calls.list,
    arrived: (count: number) => calls.arrived(count),
    resetCounts: () => calls.reset(),
    plan: (behaviour: Behaviour, when?: When) => plans.add(behaviour, when),
    fail: (fail: Failure, when?: When) => plans.add({ fail }, when),
    delay: (delayMs: DelaysMs, when?: When) => plans.add({ delayMs }, { times: Infinity, ...when }),
    cutAfter: (cutAfter: number, when?: When) => plans.add({ cutAfter }, when),
    errorMidStream: (errorAfter: number, when?: When) => plans.add({ errorAfter }, when),
    hang: ({ afterChunks, ...when }: When & { afterChunks?: number } = {}) => {
      const { promise: released, resolve } = Promise.withResolvers<void>();
      plans.add(
        { hang: afterChunks === undefined ? { released } : { afterChunks, released } },
        when,
      );
      return resolve;
    },
    clearPlans: () => plans.clear(),
  };
}

function listen(server: Server, wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(wanted, "127.0.0.1", () => {
      const address = server.address();
      if (typeof address !== "object" || address === null) reject(new Error("no port was given"));
      else resolve(address.port);
    });
  });
}

async function handle(desk: Desk, request: IncomingMessage, response: ServerResponse) {
  const call = new Call(++desk.serial, request, response);
  desk.calls.add(call);
  const exchange: Exchange = { call, response, behaviour: {} };
  call.text = (await readAll(request)).toString("utf8");
  const { method, path } = call;
  const post = posts[path];
  const isModels = path === "/v1/models" || path.startsWith("/v1/models/");
  if (!post && !isModels) return sendFailure(exchange, invalidUrl(method, path));
  if (method !== (post ? "POST" : "GET")) return sendFailure(exchange, wrongMethod(method, path));
  const refused = refuseKey(call.headers.authorization, desk.keys);
  if (refused) return sendFailure(exchange, refused);
  if (!post) return await answerModels(desk, exchange);
  const body = parsed(call.text);
  if (!body) return sendFailure(exchange, unparsable);
  [call.body, call.model] = [body, typeof body.model === "string" ? body.model : undefined];
  exchange.behaviour = desk.plans.take(call.model ?? "");
  if (!await mayAnswer(exchange)) return;
  const { fail } = exchange.behaviour;
  const failure = fail ?? refuseModel(body, desk.models) ?? post.refuse(body);
  if (failure) return sendFailure(exchange, failure);
  await post.answer(exchange, body);
}

interface Post {
  refuse(body: Body): Failure | undefined;
  answer(exchange: Exchange, body: Body): Promise<void>;
}

const posts: Readonly<Record<string, Post>> = {
  "/v1/chat/completions": {
    refuse: refuseChat,
    answer: (exchange, body) => {
      const answer = answerTo(body, exchange.call.serial, exchange.behaviour);
      if (body.stream !== true) return sendJson(exchange, completionOf(answer));
      const { stream_options: options } = body;
      const includeUsage = isBody(options) && options.include_usage === true;
      return sendStream(exchange, chunksOf(answer, includeUsage));
    },
  },
  "/v1/embeddings": {
    refuse: refuseEmbeddings,
    answer: (exchange, body) => sendJson(exchange, embeddingsOf(body)),
  },
};

function parsed(text: string): Body | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isBody(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const modelOf = (id: string) => ({
  id,
  object: "model",
  created: 1_700_000_000,
  owned_by: "development-upstream",
  description: [DISCLAIMER, developmentModels[id]].filter(Boolean).join(" It "),
});

function answerModels({ models }: Desk, exchange: Exchange): Promise<void> | void {
  const { path } = exchange.call;
  if (path === "/v1/models") {
    return sendJson(exchange, { object: "list", data: models.map(modelOf) });
  }
  const named = path.slice("/v1/models/".length);
  const id = models.find((each) => each === named || encodeURIComponent(each) === named);
  if (id !== undefined) return sendJson(exchange, modelOf(id));
  sendFailure(exchange, noSuchModel(named));
}
