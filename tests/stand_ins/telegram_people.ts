/** Who is on Telegram in our tests: people, bots, chats, and how one of them writes a message. */
import type { Chat, Message, MessageEntity, Update, User } from "@grammyjs/types";

export const ours: User & { username: string } = {
  id: 8_000_000_001,
  is_bot: true,
  first_name: "Switchboard",
  username: "switchboard_bot",
};
export const mira: User = {
  id: 5_211_004_417, // Beyond 32 bits, as new ids are.
  is_bot: false,
  first_name: "Mira",
  last_name: "Ćosić",
  username: "mira_c",
  language_code: "de",
  is_premium: true,
};
export const omid: User = { id: 311_774, is_bot: false, first_name: "امید", language_code: "fa" };
export const otherBot: User = {
  id: 7_400_100_200,
  is_bot: true,
  first_name: "Weather",
  username: "weather_bot",
};
/** The names Telegram puts in for who writes as a chat, and for what a channel sends by itself. */
export const anonymous: User = {
  id: 1_087_968_824,
  is_bot: true,
  first_name: "Group",
  username: "GroupAnonymousBot",
};
export const asChannel: User = {
  id: 136_817_688,
  is_bot: true,
  first_name: "Channel",
  username: "Channel_Bot",
};
export const service: User = { id: 777_000, is_bot: false, first_name: "Telegram" };

export const home: Chat.PrivateChat = {
  id: mira.id,
  type: "private",
  first_name: "Mira",
  last_name: "Ćosić",
  username: "mira_c",
};
export const group: Chat.GroupChat = { id: -4_600_123, type: "group", title: "Bakery" };
export const supergroup: Chat.SupergroupChat = {
  id: -1_001_987_654_321,
  type: "supergroup",
  title: "Bakery",
  username: "bakery_talk",
};
export const forum: Chat.SupergroupChat = {
  id: -1_002_111_222_333,
  type: "supergroup",
  title: "Bakery forum",
  is_forum: true,
};
export const channel: Chat.ChannelChat = {
  id: -1_001_555_000_111,
  type: "channel",
  title: "Bread news",
  username: "bread_news",
};
export const inbox: Chat.SupergroupChat = {
  id: -1_003_000_000_001,
  type: "supergroup",
  title: "Bread news",
  is_direct_messages: true,
};

export const DATE = 1_790_000_000;

type Incoming = NonNullable<Update["message"]>;

/** A message outside of channels. What it replies to shows no further replies. */
export type Written = Omit<Incoming, "reply_to_message"> & {
  reply_to_message?: Omit<Message, "reply_to_message">;
};

export type Recorded = Omit<Update, "message"> & { message?: Written };

/** What `from` writes in `chat`. */
export function written(
  chat: Incoming["chat"],
  from: User,
  more: Partial<Omit<Written, "chat" | "from">>,
): Written {
  return { message_id: 4_711, date: DATE, ...more, chat, from };
}

/** Text with the entities Telegram finds in it by itself. */
export const said = (text: string): { text: string; entities?: MessageEntity[] } => {
  const entities = found(text);
  return entities.length > 0 ? { text, entities } : { text };
};

const finders: readonly (readonly [RegExp, "bot_command" | "mention" | "url" | "hashtag"])[] = [
  [/(?<![\w/])\/\w{1,64}(?:@\w{3,32})?/g, "bot_command"],
  [/(?<![\w/@])@\w{3,32}/g, "mention"],
  [/https?:\/\/[^\s]+/g, "url"],
  [/(?<!\w)#\w+/g, "hashtag"],
];

const found = (text: string): MessageEntity[] =>
  finders.flatMap(([pattern, type]) =>
    [...text.matchAll(pattern)].map(({ 0: all, index }): MessageEntity => ({
      type,
      offset: index,
      length: all.length,
    }))
  ).sort((a, b) => a.offset - b.offset);
