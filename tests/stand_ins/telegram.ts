/**
 * Telegram's Bot API as its own server speaks it (`telegram-bot-api --local`, which takes a webhook
 * over http): answers a bot's calls, delivers updates to its webhook, and fails when it is told to.
 */
import type { ResponseParameters } from "@grammyjs/types";
import { BadRequest } from "./telegram_markup.ts";
import { type BotState, methods, type Params, Refusal, type Sent } from "./telegram_methods.ts";

import type { Recorded } from "./telegram_people.ts";

export type { Sent } from "./telegram_methods.ts";

export type Fault =
  /** Too Many Requests; nothing is done. */
  | { retryAfter: number }
  /** A server's error, as JSON; nothing is done. */
  | { status: number }
  /** A gateway's page in front of the server, not JSON. */
  | "gateway"
  /** No answer until the stand-in ends; nothing is done. */
  | "hang"
  /** It is done, and the connection breaks before the answer is through. */
  | "cut";

export type Call = { at: number; method: string; status: number };

export type TelegramOptions = {
  /** Takes http webhooks on any port, like the real one with --local. Default true. */
  isLocal?: boolean;
  me?: { id: number; username: string };
  /** How updates leave for the webhook. Default `fetch`. */
  reach?: (request: Request) => Promise<Response>;
};

export type Telegram = AsyncDisposable & {
  /** The API root: what stands before `/bot<token>/`. */
  readonly url: string;
  readonly token: string;
  readonly me: { id: number; username: string };
  /** Messages that were taken, in order. */
  readonly sent: readonly Sent[];
  readonly typing: BotState["typing"];
  readonly commands: BotState["commands"];
  readonly webhook: BotState["webhook"];
  /** Every call that was answered, refused ones included. */
  readonly calls: readonly Call[];
  count(method: string): number;
  /** Makes a chat known without an update from it. */
  know(chatId: number, type?: string): void;
  /** The person blocks the bot, or the group throws it out. */
  block(chatId: number): void;
  unblock(chatId: number): void;
  /** The group becomes a supergroup with another id. */
  migrate(fromChatId: number, toChatId: number): void;
  /** The next `times` calls of `method` fail. */
  fail(fault: Fault, times?: number, method?: string): void;
  /**
   * Sends the update to the webhook at once and answers with the status, 0 for none, or null where
   * the webhook did not ask for its kind. What is not taken stays to be delivered again.
   */
  deliver(update: Recorded, options?: { secret?: string | null }): Promise<number | null>;
  /** Sends again what was not taken, in order. */
  redeliver(): Promise<number[]>;
  readonly pending: readonly unknown[];
};

const WEBHOOK_TIMEOUT_MS = 60_000;

export function telegram(options: TelegramOptions = {}): Telegram {
  const me = options.me ?? { id: 8_000_000_001, username: "switchboard_bot" };
  const token = `${me.id}:${crypto.randomUUID().replaceAll("-", "")}abc`;
  const bot: BotState = {
    isLocal: options.isLocal ?? true,
    me,
    chats: new Map(),
    sent: [],
    typing: [],
    commands: [],
    webhook: { url: "", secret: "", allowed: [], maxConnections: 40 },
    pending: [],
    lastError: null,
  };
  const calls: Call[] = [];
  const faults: { fault: Fault; method: string }[] = [];
  const stopping = new AbortController();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, signal: stopping.signal, onListen: () => {} },
    (request) => answer(request, { bot, token, calls, faults, stopping: stopping.signal }),
  );
  const reach = options.reach ?? fetch;
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    token,
    me,
    sent: bot.sent,
    typing: bot.typing,
    get commands() {
      return bot.commands;
    },
    get webhook() {
      return bot.webhook;
    },
    calls,
    pending: bot.pending,
    count: (method) => calls.filter((call) => call.method === method.toLowerCase()).length,
    know: (chatId, type = chatId > 0 ? "private" : "group") => void chatOf(bot, chatId, type),
    block: (chatId) => void (chatOf(bot, chatId, "private").isBlocked = true),
    unblock: (chatId) => void (chatOf(bot, chatId, "private").isBlocked = false),
    migrate: (from, to) => {
      chatOf(bot, from, "group").movedTo = to;
      chatOf(bot, to, "supergroup");
    },
    fail: (fault, times = 1, method = "sendMessage") => {
      for (let n = 0; n < times; n++) faults.push({ fault, method: method.toLowerCase() });
    },
    deliver: (update, { secret } = {}) => deliver(bot, reach, update, secret),
    redeliver: async () => {
      const statuses: number[] = [];
      for (const update of [...bot.pending]) statuses.push(await hand(bot, reach, update));
      return statuses;
    },
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await server.finished;
    },
  };
}

type Counter = {
  bot: BotState;
  token: string;
  calls: Call[];
  faults: { fault: Fault; method: string }[];
  stopping: AbortSignal;
};

async function answer(request: Request, at: Counter): Promise<Response> {
  const [, token = "", name = ""] = /^\/bot([^/]*)\/(\w*)$/.exec(new URL(request.url).pathname) ??
    [];
  const method = name.toLowerCase();
  const params = await paramsOf(request);
  const number = at.faults.findIndex((each) => each.method === method);
  const [fault] = number < 0 ? [] : at.faults.splice(number, 1);
  const response = await failing(fault?.fault, at.stopping) ?? run(at, token, method, params);
  at.calls.push({ at: Date.now(), method, status: response.status });
  return fault?.fault === "cut" ? cut(response) : response;
}

/** The answer of a call that fails before anything is done. */
async function failing(fault: Fault | undefined, stopping: AbortSignal) {
  if (fault === undefined || fault === "cut") return null;
  if (fault === "gateway") return new Response("<html>Bad Gateway</html>", { status: 502 });
  if (fault === "hang") {
    const over = Promise.withResolvers<void>();
    stopping.addEventListener("abort", () => over.resolve(), { once: true });
    await over.promise;
    return refusal(500, "Internal Server Error: restart");
  }
  if ("status" in fault) return refusal(fault.status, "Internal Server Error");
  const { retryAfter } = fault;
  const words = `Too Many Requests: retry after ${retryAfter}`;
  return refusal(429, words, { retry_after: retryAfter });
}

/** The answer's head, less than it promised, and the connection is gone. */
const cut = (response: Response) =>
  new Response('{"ok":', { status: response.status, headers: { "content-length": "1000" } });

function run({ bot, token }: Counter, given: string, method: string, params: Params): Response {
  if (!/^\d+:[\w-]+$/.test(given)) return refusal(404, "Not Found");
  if (given !== token) return refusal(401, "Unauthorized");
  const known = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (!known) return refusal(404, "Not Found: method not found");
  try {
    return Response.json({ ok: true, ...known(bot, params) });
  } catch (error) {
    if (error instanceof BadRequest) return refusal(400, `Bad Request: ${error.message}`);
    if (error instanceof Refusal) return refusal(error.code, error.message, error.parameters);
    throw error;
  }
}

const refusal = (code: number, description: string, parameters?: ResponseParameters) =>
  Response.json(
    { ok: false, error_code: code, description, ...parameters ? { parameters } : {} },
    { status: code },
  );

/** From the query, a form or JSON, as the documentation lists them. */
async function paramsOf(request: Request): Promise<Params> {
  const query = Object.fromEntries(new URL(request.url).searchParams);
  const type = request.headers.get("content-type") ?? "";
  if (type.startsWith("application/json")) {
    const body: unknown = await request.json().catch(() => ({}));
    return { ...query, ...typeof body === "object" ? body : {} };
  }
  if (!/^(?:application\/x-www-form-urlencoded|multipart\/form-data)/.test(type)) return query;
  return { ...query, ...Object.fromEntries(await request.formData()) };
}

function chatOf({ chats }: BotState, chatId: number, type: string) {
  const chat = chats.get(String(chatId)) ??
    { type, messages: new Set(), threads: new Set(), isBlocked: false, movedTo: null };
  chats.set(String(chatId), chat);
  return chat;
}

type Reach = (request: Request) => Promise<Response>;

/** What the server learns of chats from an update, before the bot does. */
function learn(bot: BotState, update: Recorded): void {
  const { message } = update;
  if (!message) return;
  const chat = chatOf(bot, message.chat.id, message.chat.type);
  chat.messages.add(message.message_id);
  if (message.is_topic_message && message.message_thread_id) {
    chat.threads.add(message.message_thread_id);
  }
}

async function deliver(bot: BotState, reach: Reach, update: Recorded, secret?: string | null) {
  learn(bot, update);
  const { allowed } = bot.webhook;
  if (allowed.length > 0 && !allowed.some((kind) => kind in update)) return null;
  return await hand(bot, reach, update, secret);
}

async function hand(
  bot: BotState,
  reach: Reach,
  update: unknown,
  secret: string | null = bot.webhook.secret,
): Promise<number> {
  const { url } = bot.webhook;
  const status = url === "" ? 0 : await reach(
    new Request(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...secret ? { "x-telegram-bot-api-secret-token": secret } : {},
      },
      body: JSON.stringify(update),
      signal: AbortSignal.timeout(WEBHOOK_TIMEOUT_MS),
    }),
  ).then(async (response) => {
    await response.body?.cancel();
    return response.status;
  }, () => 0);
  const isTaken = status >= 200 && status <= 299;
  const place = bot.pending.indexOf(update);
  if (isTaken && place >= 0) bot.pending.splice(place, 1);
  if (isTaken) return status;
  if (place < 0) bot.pending.push(update);
  const words = status === 0
    ? "Webhook connection closed"
    : `Wrong response from the webhook: ${status}`;
  bot.lastError = { at: Date.now(), words };
  return status;
}
