/**
 * Updates as Telegram's server writes them: one of every kind the Bot API documents, messages of
 * every content, and what people do in private chats, groups, topics and channels. A kind the Bot
 * API gains is a compile error here.
 */
import type { ChatMember, Update } from "@grammyjs/types";
import { contents } from "./telegram_contents.ts";
import {
  anonymous,
  asChannel,
  channel,
  DATE,
  forum,
  group,
  home,
  inbox,
  mira,
  omid,
  otherBot,
  ours,
  type Recorded,
  said,
  service,
  supergroup,
  written,
} from "./telegram_people.ts";

export type Kind = Exclude<keyof Update, "update_id">;

const first = { message_id: 2, date: DATE, chat: home, from: mira };
const edited = { edit_date: DATE + 60 };
const business = { business_connection_id: "bc-1" };
const member = (user: ChatMember["user"]): ChatMember => ({ status: "member", user });
const left = (user: ChatMember["user"]): ChatMember => ({ status: "left", user });
const joining = { chat: supergroup, from: mira, date: DATE };
const blocked: ChatMember = { status: "kicked", user: ours, until_date: 0 };
const post = { message_id: 12, date: DATE, chat: channel, sender_chat: channel };
const boost = { source: "premium", user: mira } as const;
const query = { id: "1234567890", from: mira };
const order = { invoice_payload: "order-1" };

/** One of every kind. */
export const kinds: { readonly [K in Kind]: Required<Pick<Recorded, K>> } = {
  message: { message: written(home, mira, said("Hello")) },
  edited_message: { edited_message: { ...first, ...said("Hello!"), ...edited } },
  channel_post: { channel_post: { ...post, ...said("Fresh rye today #bread") } },
  edited_channel_post: { edited_channel_post: { ...post, ...said("Fresh rye"), ...edited } },
  business_connection: {
    business_connection: {
      id: "bc-1",
      user: mira,
      user_chat_id: mira.id,
      date: DATE,
      is_enabled: true,
      rights: { can_reply: true },
    },
  },
  business_message: {
    business_message: {
      message_id: 3,
      date: DATE,
      chat: home,
      from: mira,
      ...business,
      text: "Hi",
    },
  },
  edited_business_message: {
    edited_business_message: {
      message_id: 3,
      date: DATE,
      chat: home,
      from: mira,
      ...business,
      text: "Hi!",
      ...edited,
    },
  },
  deleted_business_messages: {
    deleted_business_messages: { ...business, chat: home, message_ids: [3] },
  },
  guest_message: {
    guest_message: { ...first, ...said("@switchboard_bot hi"), guest_query_id: "g1" },
  },
  stopped_message_generation: { stopped_message_generation: { chat: home, draft_id: 5 } },
  message_reaction: {
    message_reaction: {
      chat: supergroup,
      message_id: 5,
      user: mira,
      date: DATE,
      old_reaction: [],
      new_reaction: [{ type: "emoji", emoji: "👍" }],
    },
  },
  message_reaction_count: {
    message_reaction_count: {
      chat: channel,
      message_id: 5,
      date: DATE,
      reactions: [{ type: { type: "emoji", emoji: "🔥" }, total_count: 3 }],
    },
  },
  inline_query: { inline_query: { ...query, query: "rye", offset: "", chat_type: "sender" } },
  chosen_inline_result: { chosen_inline_result: { result_id: "1", from: mira, query: "rye" } },
  callback_query: {
    callback_query: {
      ...query,
      chat_instance: "-4",
      data: "model:1",
      message: { chat: home, message_id: 4, date: 0 },
    },
  },
  shipping_query: {
    shipping_query: {
      ...query,
      ...order,
      shipping_address: {
        country_code: "IR",
        state: "",
        city: "Tehran",
        street_line1: "Valiasr 12",
        street_line2: "",
        post_code: "11369",
      },
    },
  },
  pre_checkout_query: {
    pre_checkout_query: { ...query, ...order, currency: "XTR", total_amount: 50 },
  },
  purchased_paid_media: { purchased_paid_media: { from: mira, paid_media_payload: "video-1" } },
  poll: { poll: contents.poll.poll },
  poll_answer: {
    poll_answer: { poll_id: "5", user: mira, option_ids: [0], option_persistent_ids: ["1"] },
  },
  my_chat_member: {
    my_chat_member: {
      chat: home,
      from: mira,
      date: DATE,
      old_chat_member: member(ours),
      new_chat_member: blocked,
    },
  },
  chat_member: {
    chat_member: { ...joining, old_chat_member: left(mira), new_chat_member: member(mira) },
  },
  chat_join_request: { chat_join_request: { ...joining, user_chat_id: mira.id } },
  chat_boost: {
    chat_boost: {
      chat: channel,
      boost: { boost_id: "b1", add_date: DATE, expiration_date: DATE + 86_400, source: boost },
    },
  },
  removed_chat_boost: {
    removed_chat_boost: { chat: channel, boost_id: "b1", remove_date: DATE, source: boost },
  },
  managed_bot: { managed_bot: { user: mira, bot: otherBot } },
  subscription: { subscription: { user: mira, ...order, state: "active" } },
};

const reply = written(supergroup, ours, { message_id: 40, text: "Rye is out of the oven." });
const theirs = written(supergroup, omid, { message_id: 41, text: "Rye?" });
const topic = { message_thread_id: 77, is_topic_message: true };
const begun = written(forum, ours, {
  ...contents.forum_topic_created,
  ...topic,
  message_id: 77,
});
const fromChannel = { type: "channel", date: DATE, chat: channel, message_id: 9 } as const;

/** What people do, by what is special about it. */
export const scenes = {
  private: written(home, mira, said("Do you have rye bread?")),
  privateEntities: written(home, mira, {
    text: "Bold 🥐 code at https://bakery.example/a and @mira_c",
    entities: [
      { type: "bold", offset: 0, length: 4 },
      { type: "code", offset: 8, length: 4 },
      { type: "url", offset: 16, length: 24 },
      { type: "mention", offset: 45, length: 7 },
      { type: "text_link", offset: 0, length: 4, url: "https://bakery.example/" },
      { type: "custom_emoji", offset: 5, length: 2, custom_emoji_id: "5368324170671202286" },
    ],
  }),
  start: written(home, mira, said("/start ref-42")),
  command: written(home, mira, said("/model openai/gpt-4o")),
  commandForUs: written(group, mira, said("/Model@Switchboard_Bot openai/gpt-4o")),
  commandForOther: written(group, mira, said("/weather@weather_bot Tehran")),
  commandForAny: written(supergroup, omid, said("/help")),
  commandLater: written(home, mira, said("Please /help me")),
  commandLines: written(home, mira, said("/model\nopenai/gpt-4o\n")),
  commandForwarded: written(home, mira, {
    ...said("/clear"),
    forward_origin: { type: "user", date: DATE, sender_user: omid },
  }),
  groupTalk: written(group, mira, said("Who brings the flour?")),
  groupMention: written(group, mira, said("@switchboard_bot, do you have rye?")),
  groupMentionOnly: written(group, mira, said("@Switchboard_Bot")),
  groupMentionLater: written(supergroup, omid, said("Ask @switchboard_bot about rye")),
  groupMentionOther: written(supergroup, omid, said("Ask @switchboard_bot_2 about rye")),
  groupTextMention: written(group, omid, {
    text: "Switchboard: rye?",
    entities: [{ type: "text_mention", offset: 0, length: 11, user: ours }],
  }),
  groupReply: written(supergroup, omid, { text: "How much?", reply_to_message: reply }),
  groupReplyToOther: written(supergroup, mira, {
    text: "Yes!",
    reply_to_message: theirs,
  }),
  groupThread: written(supergroup, omid, {
    text: "And wheat?",
    message_thread_id: 40,
    reply_to_message: reply,
  }),
  topicTalk: written(forum, mira, { ...said("Anyone?"), ...topic, reply_to_message: begun }),
  topicMention: written(forum, mira, {
    ...said("@switchboard_bot rye?"),
    ...topic,
    reply_to_message: begun,
  }),
  anonymousAdmin: written(supergroup, anonymous, { ...said("/status"), sender_chat: supergroup }),
  personAsChannel: written(supergroup, asChannel, { ...said("/status"), sender_chat: channel }),
  channelForward: written(supergroup, service, {
    ...said("@switchboard_bot news"),
    sender_chat: channel,
    is_automatic_forward: true,
    forward_origin: fromChannel,
  }),
  forwarded: written(home, mira, { ...said("Fresh rye"), forward_origin: fromChannel }),
  viaBot: written(home, mira, { ...said("Sunny, 24 °C"), via_bot: otherBot }),
  fromBot: written(supergroup, otherBot, said("@switchboard_bot hello")),
  photoCaption: written(home, mira, contents.photo),
  photoGroupCaption: written(group, mira, {
    photo: contents.photo.photo,
    caption: "@switchboard_bot which bread?",
    caption_entities: [{ type: "mention", offset: 0, length: 16 }],
  }),
  blankText: written(home, mira, { text: " \n " }),
  directMessages: written(inbox, mira, {
    ...said("Rye?"),
    direct_messages_topic: { topic_id: 5, user: mira },
  }),
} as const;

/** Everything there is, numbered as it came. */
export const updates: readonly Recorded[] = [
  ...Object.values(kinds),
  ...Object.values(contents).map((content) => ({ message: written(home, mira, content) })),
  ...Object.values(scenes).map((message) => ({ message })),
].map((update, n) => ({ update_id: 700_000_001 + n, ...update }));
