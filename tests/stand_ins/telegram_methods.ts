/** The methods of the Bot API we call, as the real server checks and answers them. */
import type { MessageEntity, ResponseParameters, UserFromGetMe } from "@grammyjs/types";
import { z } from "zod";
import { BadRequest } from "./telegram_markup.ts";
import { sendable } from "./telegram_texts.ts";

/** A refusal with its code, words and parameters as they go over the wire. */
export class Refusal extends Error {
  constructor(
    readonly code: number,
    description: string,
    readonly parameters?: ResponseParameters,
  ) {
    super(description);
  }
}

export type Sent = {
  /** When it was taken, in milliseconds since 1970. */
  at: number;
  chatId: string;
  messageId: number;
  threadId: number | null;
  replyToMessageId: number | null;
  text: string;
  entities: MessageEntity[];
};

export type Chat = {
  type: string;
  /** Messages and topics that are there. */
  messages: Set<number>;
  threads: Set<number>;
  isBlocked: boolean;
  movedTo: number | null;
};

export type Webhook = {
  url: string;
  secret: string;
  allowed: string[];
  maxConnections: number;
};

/** One bot as its server knows it. */
export type BotState = {
  /** A server started with --local takes http and any port. */
  isLocal: boolean;
  me: { id: number; username: string };
  chats: Map<string, Chat>;
  sent: Sent[];
  typing: { at: number; chatId: string; threadId: number | null }[];
  commands: { command: string; description: string }[];
  webhook: Webhook;
  /** Updates the webhook has not taken, oldest first. */
  pending: unknown[];
  lastError: { at: number; words: string } | null;
};

export type Params = Readonly<Record<string, unknown>>;

type Answered = { result: unknown; description?: string };

const text = (params: Params, name: string): string => {
  const value = params[name];
  return value === undefined || value === null
    ? ""
    : typeof value === "object"
    ? JSON.stringify(value)
    : String(value);
};

const isTrue = (params: Params, name: string) =>
  ["true", "yes", "1"].includes(text(params, name).toLowerCase());

/** A JSON-serialised object, as every way of passing parameters ends up with. */
function json<T>(params: Params, name: string, schema: z.ZodType<T>, words: string): T | undefined {
  const source = text(params, name);
  if (source === "") return undefined;
  const value = z.string().transform((text, ctx): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      ctx.addIssue("not JSON");
      return z.NEVER;
    }
  }).pipe(schema).safeParse(source);
  if (!value.success) throw new BadRequest(words);
  return value.data;
}

const kinds = [
  ...["bold", "italic", "underline", "strikethrough", "spoiler", "code", "blockquote"] as const,
  ...["expandable_blockquote", "mention", "hashtag", "cashtag", "bot_command", "url"] as const,
  ...["email", "phone_number"] as const,
];
const place = { offset: z.int(), length: z.int() };
const Entities: z.ZodType<MessageEntity[]> = z.array(z.union([
  z.object({ type: z.enum(kinds), ...place }),
  z.object({ type: z.literal("pre"), ...place, language: z.string().exactOptional() }),
  z.object({ type: z.literal("text_link"), ...place, url: z.string() }),
]));

export const methods: Readonly<Record<string, (bot: BotState, params: Params) => Answered>> = {
  getme: ({ me }) => ({ result: meOf(me) }),
  sendmessage: (bot, params) => ({ result: sendMessage(bot, params) }),
  sendchataction: (bot, params) => ({ result: sendChatAction(bot, params) }),
  setmycommands: (bot, params) => ({ result: setMyCommands(bot, params) }),
  setwebhook,
  deletewebhook: (bot, params) => setwebhook(bot, { ...params, url: "" }),
  getwebhookinfo: ({ webhook, pending, lastError }) => ({
    result: {
      url: webhook.url,
      has_custom_certificate: false,
      pending_update_count: pending.length,
      ...lastError
        ? { last_error_date: Math.floor(lastError.at / 1000), last_error_message: lastError.words }
        : {},
      ...webhook.url === "" ? {} : { max_connections: webhook.maxConnections },
      ...webhook.allowed.length === 0 ? {} : { allowed_updates: webhook.allowed },
    },
  }),
};

const meOf = ({ id, username }: BotState["me"]): UserFromGetMe => ({
  id,
  is_bot: true,
  first_name: username,
  username,
  can_join_groups: true,
  can_read_all_group_messages: false,
  supports_inline_queries: false,
  can_connect_to_business: false,
  has_main_web_app: false,
  has_topics_enabled: false,
  allows_users_to_create_topics: false,
  can_manage_bots: false,
  supports_join_request_queries: false,
});

function sendMessage(bot: BotState, params: Params) {
  const given = json(params, "entities", Entities, "can't parse MessageEntity") ?? [];
  const marked = sendable(text(params, "text"), text(params, "parse_mode"), given);
  const { chat, chatId, threadId } = target(bot, params);
  const replied = json(
    params,
    "reply_parameters",
    z.object({ message_id: z.int(), allow_sending_without_reply: z.boolean().optional() }),
    "can't parse reply parameters JSON object",
  );
  const isThere = replied !== undefined && chat.messages.has(replied.message_id);
  if (replied && !isThere && replied.allow_sending_without_reply !== true) {
    throw new BadRequest("message to be replied not found");
  }
  const messageId = Math.max(0, ...chat.messages) + 1;
  chat.messages.add(messageId);
  const at = Date.now();
  const replyToMessageId = isThere ? replied.message_id : null;
  bot.sent.push({ at, chatId, messageId, threadId, replyToMessageId, ...marked });
  return {
    message_id: messageId,
    from: { id: bot.me.id, is_bot: true, first_name: bot.me.username, username: bot.me.username },
    chat: { id: Number(chatId), type: chat.type },
    date: Math.floor(at / 1000),
    ...threadId === null ? {} : { message_thread_id: threadId, is_topic_message: true },
    text: marked.text,
    ...marked.entities.length > 0 ? { entities: marked.entities } : {},
  };
}

const actions = new Set([
  ...["typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"],
  ...["upload_document", "choose_sticker", "find_location", "record_video_note"],
  ...["upload_video_note"],
]);

function sendChatAction(bot: BotState, params: Params): true {
  if (!actions.has(text(params, "action"))) {
    throw new BadRequest("wrong parameter action in request");
  }
  const { chatId, threadId } = target(bot, params);
  bot.typing.push({ at: Date.now(), chatId, threadId });
  return true;
}

/** The chat that may be written to, and the topic in it. */
function target(bot: BotState, params: Params) {
  const chatId = text(params, "chat_id");
  if (chatId === "") throw new BadRequest("chat_id is empty");
  const chat = bot.chats.get(chatId);
  if (!chat) throw new BadRequest("chat not found");
  if (chat.movedTo !== null) {
    const parameters = { migrate_to_chat_id: chat.movedTo };
    const words = "Bad Request: group chat was upgraded to a supergroup chat";
    throw new Refusal(400, words, parameters);
  }
  if (chat.isBlocked) {
    throw new Refusal(
      403,
      chat.type === "private"
        ? "Forbidden: bot was blocked by the user"
        : `Forbidden: bot was kicked from the ${chat.type} chat`,
    );
  }
  const thread = text(params, "message_thread_id");
  const threadId = thread === "" ? null : Number(thread);
  if (threadId !== null && !chat.threads.has(threadId)) {
    throw new BadRequest("message thread not found");
  }
  return { chat, chatId, threadId };
}

function setMyCommands(bot: BotState, params: Params): true {
  const Commands = z.array(z.object({ command: z.string(), description: z.string() })).max(100);
  const commands = json(params, "commands", Commands, "can't parse commands JSON object") ?? [];
  for (const { command, description } of commands) {
    if (!/^\/?[a-z0-9_]{1,32}$/.test(command)) throw new BadRequest("BOT_COMMAND_INVALID");
    if (description.length < 1 || description.length > 256) {
      throw new BadRequest("BOT_COMMAND_DESCRIPTION_INVALID");
    }
  }
  bot.commands = commands;
  return true;
}

function setwebhook(bot: BotState, params: Params): Answered {
  const url = text(params, "url");
  const secret = text(params, "secret_token");
  if (url !== "") checkUrl(bot, url);
  if (secret.length > 256) throw new BadRequest("secret token is too long");
  if (!/^[\w-]*$/.test(secret)) throw new BadRequest("secret token contains unallowed characters");
  const words = "can't parse allowed_updates JSON object";
  const allowed = json(params, "allowed_updates", z.array(z.string()), words);
  if (isTrue(params, "drop_pending_updates")) bot.pending.length = 0;
  const { webhook } = bot;
  const isSame = webhook.url === url && webhook.secret === secret;
  const maxConnections = Math.min(100, Math.max(1, Number(text(params, "max_connections")) || 40));
  bot.webhook = { url, secret, allowed: allowed ?? webhook.allowed, maxConnections };
  if (url !== "") {
    return { result: true, description: `Webhook ${isSame ? "is already" : "was"} set` };
  }
  const was = webhook.url === "" ? "is already" : "was";
  return { result: true, description: `Webhook ${was} deleted` };
}

function checkUrl({ isLocal }: BotState, address: string): void {
  if (!URL.canParse(address)) throw new BadRequest("invalid webhook URL specified");
  const { protocol, port } = new URL(address);
  if (isLocal) return;
  if (protocol !== "https:") {
    throw new BadRequest("bad webhook: An HTTPS URL must be provided for webhook");
  }
  if (!["", "443", "80", "88", "8443"].includes(port)) {
    throw new BadRequest("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443");
  }
}
