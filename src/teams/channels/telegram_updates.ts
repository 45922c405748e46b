/**
 * What an update from Telegram is to us: something a person said to the bot, a group that got
 * another id, or nothing. Only new messages with words are answered; in a group only those that are
 * a command, name the bot or reply to it. Whatever JSON comes, there is an answer.
 */
import type { Update } from "@grammyjs/types";
import { z } from "zod";

/** The kinds setWebhook should ask for. Older ones may still come for a while after that. */
export const ALLOWED_UPDATES = ["message"] as const satisfies readonly (keyof Update)[];

export type Command = {
  /** Lower-case, without slash and bot. */
  name: string;
  argument: string;
  /** Whether it is surely for us: in a group, one that names no bot may be meant for another. */
  isAddressed: boolean;
};

export type Turn = {
  kind: "turn";
  updateId: number;
  /** What is worked off in order: the chat's id. */
  chatKey: string;
  /** Who speaks: a person's id, or the id of the chat they speak as. */
  userKey: string;
  messageId: number;
  /** The topic to answer in. */
  threadId: number | null;
  replyToMessageId: number | null;
  /** Without the mention of the bot it opens with; of a picture, what is written under it. */
  text: string;
  command: Command | null;
  isPrivate: boolean;
  isMention: boolean;
  isReplyToBot: boolean;
};

/** A group became a supergroup; both chats tell it. */
export type Migration = {
  kind: "migration";
  updateId: number;
  fromChatKey: string;
  toChatKey: string;
};

/** Acknowledged and left. Without an id there is nothing to remember it by either. */
export type Nothing = { kind: "nothing"; updateId: number | null; reason: Reason };

export type Reason =
  | Exclude<keyof Update, "update_id" | "message">
  | "unreadable"
  | "unknown_kind"
  | "channel"
  | "channel_direct_messages"
  | "automatic_forward"
  | "bot"
  | "no_sender"
  | "no_text"
  | "other_bot"
  | "not_addressed";

/** Who we are, as getMe tells it. */
export type Bot = { id: number; username: string };

/** Everything but `message`. A kind that is missing here is a compile error in `reasons`. */
const reasons: Readonly<Record<Exclude<keyof Update, "update_id" | "message">, true>> = {
  edited_message: true,
  channel_post: true,
  edited_channel_post: true,
  business_connection: true,
  business_message: true,
  edited_business_message: true,
  deleted_business_messages: true,
  guest_message: true,
  stopped_message_generation: true,
  message_reaction: true,
  message_reaction_count: true,
  inline_query: true,
  chosen_inline_result: true,
  callback_query: true,
  shipping_query: true,
  pre_checkout_query: true,
  purchased_paid_media: true,
  poll: true,
  poll_answer: true,
  my_chat_member: true,
  chat_member: true,
  chat_join_request: true,
  chat_boost: true,
  removed_chat_boost: true,
  managed_bot: true,
  subscription: true,
};

const isKind = (name: string): name is keyof typeof reasons => Object.hasOwn(reasons, name);

const Envelope = z.looseObject({ update_id: z.int().nonnegative() });

const User = z.object({ id: z.int(), is_bot: z.boolean() });

const Entity = z.object({
  type: z.string(),
  offset: z.int().nonnegative(),
  length: z.int().nonnegative(),
  user: z.object({ id: z.int() }).optional(),
});

const Message = z.object({
  message_id: z.int(),
  message_thread_id: z.int().optional(),
  is_topic_message: z.boolean().optional(),
  chat: z.object({
    id: z.int(),
    type: z.enum(["private", "group", "supergroup", "channel"]),
    is_direct_messages: z.boolean().optional(),
  }),
  from: User.optional(),
  sender_chat: z.object({ id: z.int() }).optional(),
  via_bot: User.optional(),
  forward_origin: z.object({ type: z.string() }).optional(),
  is_automatic_forward: z.boolean().optional(),
  reply_to_message: z.object({
    message_id: z.int(),
    from: User.optional(),
    forum_topic_created: z.object({}).optional(),
  }).optional(),
  text: z.string().optional(),
  entities: z.array(Entity).optional(),
  caption: z.string().optional(),
  caption_entities: z.array(Entity).optional(),
  migrate_to_chat_id: z.int().optional(),
  migrate_from_chat_id: z.int().optional(),
});
type Message = z.infer<typeof Message>;

/** Never throws. */
export function read(update: unknown, bot: Bot): Turn | Migration | Nothing {
  const envelope = Envelope.safeParse(update).data;
  if (envelope === undefined) return { kind: "nothing", updateId: null, reason: "unreadable" };
  const { update_id: updateId, message, ...others } = envelope;
  const nothing = (reason: Reason): Nothing => ({ kind: "nothing", updateId, reason });
  if (message === undefined) return nothing(Object.keys(others).find(isKind) ?? "unknown_kind");
  const said = Message.safeParse(message).data;
  if (said === undefined) return nothing("unreadable");
  const migration = migrationOf(said);
  if (migration !== null) return { kind: "migration", updateId, ...migration };
  const turn = turnOf(said, bot);
  return typeof turn === "string" ? nothing(turn) : { kind: "turn", updateId, ...turn };
}

function migrationOf({ chat, migrate_to_chat_id: to, migrate_from_chat_id: from }: Message) {
  if (to !== undefined) return { fromChatKey: String(chat.id), toChatKey: String(to) };
  if (from !== undefined) return { fromChatKey: String(from), toChatKey: String(chat.id) };
  return null;
}

function turnOf(message: Message, bot: Bot): Omit<Turn, "kind" | "updateId"> | Reason {
  const userKey = speaker(message);
  if (typeof userKey !== "number") return userKey;
  const written = message.text ?? message.caption ?? "";
  if (storable(written) === "") return "no_text";
  const entities = (message.text === undefined ? message.caption_entities : message.entities) ?? [];
  // What somebody else wrote is no order of the one who forwards it.
  const command = message.forward_origin ? null : commandOf(written, entities);
  if (command?.bot && command.bot !== bot.username.toLowerCase()) return "other_bot";

  const isOfBot = (entity: z.infer<typeof Entity>) => namesBot(written, entity, bot);
  const isMention = entities.some(isOfBot);
  const { reply_to_message: replied, chat } = message;
  // In a topic, what replies to nothing replies to the topic's beginning.
  const isReply = replied !== undefined && replied.forum_topic_created === undefined;
  const isReplyToBot = isReply && replied.from?.id === bot.id;
  const isPrivate = chat.type === "private";
  if (!isPrivate && command === null && !isMention && !isReplyToBot) return "not_addressed";
  const opening = entities.find((entity) => entity.offset === 0 && isOfBot(entity));
  return {
    chatKey: String(chat.id),
    userKey: String(userKey),
    messageId: message.message_id,
    // Replies have a thread too; only a topic can be written to.
    threadId: message.is_topic_message ? message.message_thread_id ?? null : null,
    replyToMessageId: isReply ? replied.message_id : null,
    text: without(written, opening?.length ?? 0),
    command: command && { ...command.said, isAddressed: isPrivate || command.bot !== undefined },
    isPrivate,
    isMention,
    isReplyToBot,
  };
}

/** Whose turn it is. Who speaks as a chat is sent under a bot's name, but is a person. */
function speaker(message: Message): number | Reason {
  const { chat, from, sender_chat: as, via_bot: via } = message;
  if (chat.type === "channel") return "channel";
  if (chat.is_direct_messages) return "channel_direct_messages";
  if (message.is_automatic_forward) return "automatic_forward";
  if (via !== undefined) return "bot";
  if (as !== undefined) return as.id;
  if (from === undefined) return "no_sender";
  return from.is_bot ? "bot" : from.id;
}

const commandText = /^\/(\w{1,64})(?:@(\w+))?$/;

/** The command a text opens with, and the bot it names. */
function commandOf(text: string, entities: readonly z.infer<typeof Entity>[]) {
  const entity = entities.find(({ type, offset }) => type === "bot_command" && offset === 0);
  const found = commandText.exec(text.slice(0, entity?.length ?? 0));
  if (entity === undefined || found === null) return null;
  const [, name = "", bot] = found;
  const argument = storable(text.slice(entity.length));
  return { said: { name: name.toLowerCase(), argument }, bot: bot?.toLowerCase() };
}

function namesBot(text: string, entity: z.infer<typeof Entity>, bot: Bot): boolean {
  if (entity.type === "text_mention") return entity.user?.id === bot.id;
  const { offset, length } = entity;
  return entity.type === "mention" &&
    text.slice(offset, offset + length).toLowerCase() === `@${bot.username.toLowerCase()}`;
}

/** The text without its opening, if that leaves anything. */
function without(text: string, opening: number): string {
  const rest = opening > 0 ? storable(text.slice(opening).replace(/^[\s,:]+/, "")) : "";
  return rest === "" ? storable(text) : rest;
}

/** Postgres keeps neither NUL nor half a surrogate pair. */
const storable = (text: string) => text.toWellFormed().replaceAll("\0", "").trim();
