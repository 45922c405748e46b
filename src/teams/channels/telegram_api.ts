/**
 * Telegram's Bot API as we call it: through the guarded fetch, at a root that can be configured,
 * with every failure told by what can be done about it. The token stands in the address, which no
 * message of ours or of `Refused` repeats.
 */
import type { ApiResponse, Opts } from "@grammyjs/types";
import { z } from "zod";
import { type Outbound, type RefusalReason, Refused } from "../../outbound.ts";
import type { Secret } from "../../secrets/secret.ts";
import type { Part } from "./telegram_text.ts";
import { ALLOWED_UPDATES, type Bot } from "./telegram_updates.ts";

/** Where a message goes. */
export type Place = { chatKey: string; threadId: number | null; replyToMessageId: number | null };

export type Failure =
  /** Not before so many seconds; nothing was done. */
  | { what: "slow_down"; afterSeconds: number; description: string }
  /** The group has another id now; nothing was done. */
  | { what: "moved"; toChatKey: string; description: string }
  /** Blocked, thrown out, or no such chat: no message will arrive there. */
  | { what: "gone"; description: string }
  /** The token is not, or no longer, a bot's. */
  | { what: "unauthorized"; description: string }
  /** Telegram will not have it, however often it is sent. */
  | { what: "refused"; description: string }
  /** No answer that means anything. Worth another try, unless it may have been done already. */
  | { what: "unavailable"; mayBeDone: boolean; description: string };

export type Answer<T> = { ok: true; result: T } | ({ ok: false } & Failure);

export type TelegramApi = {
  getMe(): Promise<Answer<Bot>>;
  setWebhook(hook: { url: string; secret: Secret }): Promise<Answer<true>>;
  deleteWebhook(): Promise<Answer<true>>;
  /** Where updates go; an empty address when nowhere. */
  getWebhookInfo(): Promise<Answer<{ url: string }>>;
  setMyCommands(commands: { command: string; description: string }[]): Promise<Answer<true>>;
  sendMessage(place: Place, part: Part): Promise<Answer<{ messageId: number }>>;
  /** Shows "typing…" for five seconds or until a message comes. */
  sendTyping(place: Place): Promise<Answer<true>>;
};

export type TelegramApiOptions = {
  outbound: Outbound;
  /** Without a slash at the end, like `https://api.telegram.org`. */
  apiRoot: string;
  token: Secret;
  timeoutMs?: number;
};

const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 1024 * 1024;
/** When a 429 does not say how long. */
const PAUSE_SECONDS = 5;

/** As BotFather gives them. */
export const isBotToken = (token: string): boolean => /^\d{1,20}:[\w-]{20,100}$/.test(token);

const yes = z.literal(true);
const Me = z.object({ id: z.int(), username: z.string() });
const WebhookInfo = z.object({ url: z.string() });
const Sent = z.object({ message_id: z.int() }).transform(({ message_id }) => ({
  messageId: message_id,
}));

/** The few methods we use, of one bot. */
export function telegramApi(options: TelegramApiOptions): TelegramApi {
  const call = <M extends Method, T>(method: M, payload: Opts<never>[M], result: z.ZodType<T>) =>
    called(options, method, payload, result);
  return {
    getMe: () => call("getMe", {}, Me),
    setWebhook: ({ url, secret }) =>
      call("setWebhook", {
        url,
        secret_token: secret.reveal(),
        allowed_updates: ALLOWED_UPDATES,
      }, yes),
    deleteWebhook: () => call("deleteWebhook", {}, yes),
    getWebhookInfo: () => call("getWebhookInfo", {}, WebhookInfo),
    setMyCommands: (commands) => call("setMyCommands", { commands }, yes),
    sendMessage: (place, { text, entities }) =>
      call("sendMessage", {
        ...placed(place),
        text,
        entities,
        link_preview_options: { is_disabled: true },
        ...place.replyToMessageId === null ? {} : {
          reply_parameters: {
            message_id: place.replyToMessageId,
            allow_sending_without_reply: true,
          },
        },
      }, Sent),
    sendTyping: (place) => call("sendChatAction", { ...placed(place), action: "typing" }, yes),
  };
}

type Method =
  | "getMe"
  | "setWebhook"
  | "deleteWebhook"
  | "getWebhookInfo"
  | "setMyCommands"
  | "sendMessage"
  | "sendChatAction";

const placed = ({ chatKey, threadId }: Place) => ({
  chat_id: chatKey,
  ...threadId === null ? {} : { message_thread_id: threadId },
});

const Reply: z.ZodType<ApiResponse<unknown>> = z.union([
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({
    ok: z.literal(false),
    error_code: z.int(),
    description: z.string(),
    parameters: z.object({
      retry_after: z.int().nonnegative().exactOptional(),
      migrate_to_chat_id: z.int().exactOptional(),
    }).exactOptional(),
  }),
]);

async function called<T>(
  { outbound, apiRoot, token, timeoutMs = TIMEOUT_MS }: TelegramApiOptions,
  method: Method,
  payload: object,
  result: z.ZodType<T>,
): Promise<Answer<T>> {
  const plain = token.reveal();
  if (!isBotToken(plain)) {
    return { ok: false, what: "unauthorized", description: "This is no token from BotFather" };
  }
  const answer = await outbound(`${apiRoot}/bot${plain}/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(payload),
    timeoutMs,
    idleMs: timeoutMs,
    maxBytes: MAX_ANSWER_BYTES,
  }).then(async (response) => ({ status: response.status, body: await response.json() }))
    .catch((error: unknown) => silence(error));
  if ("what" in answer) return { ok: false, ...answer };
  const reply = Reply.safeParse(answer.body).data;
  if (reply === undefined) return { ok: false, ...nonsense(answer.status) };
  if (!reply.ok) return { ok: false, ...failure(reply) };
  const read = result.safeParse(reply.result);
  return read.success ? { ok: true, result: read.data } : { ok: false, ...nonsense(answer.status) };
}

/** Found before anything was sent. */
const unsent = new Set<RefusalReason>([
  "address",
  "scheme",
  "credentials_in_url",
  "port",
  "private_address",
  "unresolvable",
]);

/** What a connection that never came about fails with (errno(3)). */
const unconnected = new Set([
  ...["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN", "EADDRNOTAVAIL"],
]);

function wasNeverSent({ reason, cause }: Refused): boolean {
  if (unsent.has(reason)) return true;
  return reason === "unreachable" && cause instanceof Error && "code" in cause &&
    unconnected.has(String(cause.code));
}

function silence(error: unknown): Failure {
  if (error instanceof SyntaxError) return nonsense(null);
  if (!(error instanceof Refused)) throw error;
  const mayBeDone = !wasNeverSent(error);
  return { what: "unavailable", mayBeDone, description: error.message };
}

const nonsense = (status: number | null): Failure => ({
  what: "unavailable",
  mayBeDone: true,
  description: `Telegram's answer${status === null ? "" : ` (${status})`} could not be read`,
});

function failure(reply: Extract<ApiResponse<unknown>, { ok: false }>): Failure {
  const { error_code: code, description, parameters = {} } = reply;
  const { retry_after: afterSeconds = PAUSE_SECONDS, migrate_to_chat_id: to } = parameters;
  if (code === 429) return { what: "slow_down", afterSeconds, description };
  if (to !== undefined) return { what: "moved", toChatKey: String(to), description };
  if (code === 403 || description === "Bad Request: chat not found") {
    return { what: "gone", description };
  }
  if (code === 401 || code === 404) return { what: "unauthorized", description };
  if (code >= 500) return { what: "unavailable", mayBeDone: true, description };
  return { what: "refused", description };
}
