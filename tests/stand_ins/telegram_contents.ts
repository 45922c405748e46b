/**
 * One message of everything a message can hold or tell, by the field's name. A field the Bot API
 * gains is a compile error here.
 */
import type { Message, PhotoSize, Sticker } from "@grammyjs/types";
import {
  channel,
  DATE,
  group,
  mira,
  omid,
  ours,
  supergroup,
  type Written,
} from "./telegram_people.ts";

/** What says where, when and by whom; the rest of a message's fields is its content. */
export type Content = Exclude<keyof Message, keyof Message.MediaMessage | "entities">;

type Part = Partial<Omit<Written, "chat" | "from">>;

const file = (id: string) => ({ file_id: `${id}-AgACAgIAAxkBAAI`, file_unique_id: `${id}-AQAD` });
const size: PhotoSize = { ...file("photo"), width: 90, height: 67, file_size: 1_253 };
const photo: PhotoSize[] = [size, { ...file("photo-m"), width: 320, height: 240 }];
const clip = { ...file("clip"), width: 640, height: 480, duration: 12 };
const location = { latitude: 35.6892, longitude: 51.389 };
const poll = {
  id: "5434219000",
  question: "Rye or wheat?",
  options: [{ persistent_id: "1", text: "Rye", voter_count: 2 }],
  total_voter_count: 2,
  is_closed: false,
  is_anonymous: true,
  type: "regular" as const,
  allows_multiple_answers: false,
  allows_revoting: true,
  members_only: false,
};
const sticker: Sticker = {
  ...file("sticker"),
  type: "regular",
  width: 512,
  height: 512,
  is_animated: false,
  is_video: false,
  emoji: "🥐",
  set_name: "bread",
};
const gift = { id: "5170233102089322756", sticker, star_count: 15 };
const part = { rarity_per_mille: 5, sticker };
const task = { id: 1, text: "Bake" };
const option = { option_persistent_id: "2", option_text: "Spelt" };
const money = { currency: "XTR", total_amount: 50, invoice_payload: "order-1" };
const earlier = { message_id: 3, date: DATE, chat: group, from: mira, text: "Opening hours" };

export const contents: { readonly [K in Content]: Part & Required<Pick<Message, K>> } = {
  text: { text: "Do you have rye bread?" },
  rich_message: { rich_message: { blocks: [{ type: "paragraph", text: "Rye, in **rich**" }] } },
  animation: { animation: clip, document: { ...file("clip"), mime_type: "video/mp4" } },
  audio: { audio: { ...file("song"), duration: 181, title: "Kneading" }, caption: "Listen" },
  document: { document: { ...file("pdf"), file_name: "menu.pdf" }, caption: "What is in it?" },
  live_photo: { live_photo: clip },
  paid_media: { paid_media: { star_count: 5, paid_media: [{ type: "preview", width: 90 }] } },
  photo: {
    photo,
    caption: "Which bread is this?",
    caption_entities: [{ type: "bold", offset: 6, length: 5 }],
    media_group_id: "13579",
  },
  sticker: { sticker },
  story: { story: { chat: channel, id: 7 } },
  video: { video: clip },
  video_note: { video_note: { ...file("note"), length: 240, duration: 5 } },
  voice: { voice: { ...file("voice"), duration: 3, mime_type: "audio/ogg" } },
  contact: { contact: { phone_number: "+989121234567", first_name: "امید", user_id: omid.id } },
  dice: { dice: { emoji: "🎲", value: 4 } },
  game: {
    game: {
      title: "Oven",
      description: "Bake",
      photo,
      text: "",
      text_entities: [],
      animation: clip,
    },
  },
  poll: { poll },
  venue: { venue: { location, title: "Bakery", address: "Valiasr 12" }, location },
  location: { location: { ...location, live_period: 900, horizontal_accuracy: 12.5 } },
  checklist: { checklist: { title: "Tomorrow", tasks: [task] } },
  checklist_tasks_done: { checklist_tasks_done: { marked_as_done_task_ids: [1] } },
  checklist_tasks_added: { checklist_tasks_added: { tasks: [task] } },
  community_chat_added: { community_chat_added: { community: { id: 1, name: "Bakers" } } },
  community_chat_removed: { community_chat_removed: {} },
  suggested_post_info: { suggested_post_info: { state: "pending" } },
  suggested_post_approved: { suggested_post_approved: { send_date: DATE } },
  suggested_post_approval_failed: {
    suggested_post_approval_failed: { price: { currency: "XTR", amount: 5 } },
  },
  suggested_post_declined: { suggested_post_declined: { comment: "No" } },
  suggested_post_paid: { suggested_post_paid: { currency: "TON", amount: 1_000_000 } },
  suggested_post_refunded: { suggested_post_refunded: { reason: "post_deleted" } },
  chat_owner_left: { chat_owner_left: { new_owner: omid } },
  chat_owner_changed: { chat_owner_changed: { new_owner: omid } },
  new_chat_members: { new_chat_members: [ours, omid] },
  community_chat_joined: { community_chat_joined: { community: { id: 1, name: "Bakers" } } },
  left_chat_member: { left_chat_member: omid },
  new_chat_title: { new_chat_title: "Bakery and café" },
  new_chat_photo: { new_chat_photo: photo },
  delete_chat_photo: { delete_chat_photo: true },
  group_chat_created: { group_chat_created: true },
  supergroup_chat_created: { supergroup_chat_created: true },
  channel_chat_created: { channel_chat_created: true },
  managed_bot_created: { managed_bot_created: { bot: ours } },
  poll_option_added: { poll_option_added: option },
  poll_option_deleted: { poll_option_deleted: option },
  message_auto_delete_timer_changed: {
    message_auto_delete_timer_changed: { message_auto_delete_time: 86_400 },
  },
  migrate_to_chat_id: { migrate_to_chat_id: supergroup.id },
  migrate_from_chat_id: { migrate_from_chat_id: group.id },
  pinned_message: { pinned_message: earlier },
  invoice: {
    invoice: {
      title: "Bread",
      description: "Rye",
      start_parameter: "b",
      currency: "EUR",
      total_amount: 450,
    },
  },
  successful_payment: {
    successful_payment: {
      ...money,
      telegram_payment_charge_id: "t1",
      provider_payment_charge_id: "p1",
    },
  },
  refunded_payment: { refunded_payment: { ...money, telegram_payment_charge_id: "t1" } },
  users_shared: { users_shared: { request_id: 1, users: [{ user_id: omid.id }] } },
  chat_shared: { chat_shared: { request_id: 2, chat_id: supergroup.id } },
  connected_website: { connected_website: "bakery.example" },
  write_access_allowed: { write_access_allowed: { from_request: true } },
  passport_data: {
    passport_data: {
      data: [{ type: "email", email: "mira@bakery.example", hash: "aGFzaA==" }],
      credentials: { data: "ZGF0YQ==", hash: "aGFzaA==", secret: "c2VjcmV0" },
    },
  },
  proximity_alert_triggered: {
    proximity_alert_triggered: { traveler: mira, watcher: omid, distance: 50 },
  },
  boost_added: { boost_added: { boost_count: 1 } },
  chat_background_set: {
    chat_background_set: { type: { type: "chat_theme", theme_name: "🌷" } },
  },
  forum_topic_created: { forum_topic_created: { name: "Orders", icon_color: 7_322_096 } },
  forum_topic_edited: { forum_topic_edited: { name: "All orders" } },
  forum_topic_closed: { forum_topic_closed: {} },
  forum_topic_reopened: { forum_topic_reopened: {} },
  general_forum_topic_hidden: { general_forum_topic_hidden: {} },
  general_forum_topic_unhidden: { general_forum_topic_unhidden: {} },
  giveaway_created: { giveaway_created: { prize_star_count: 500 } },
  giveaway: { giveaway: { chats: [channel], winners_selection_date: DATE, winner_count: 3 } },
  giveaway_winners: {
    giveaway_winners: {
      chat: channel,
      giveaway_message_id: 9,
      winners_selection_date: DATE,
      winner_count: 1,
      winners: [omid],
    },
  },
  giveaway_completed: { giveaway_completed: { winner_count: 1 } },
  gift: { gift: { gift, text: "For you" } },
  unique_gift: {
    unique_gift: {
      gift: {
        gift_id: gift.id,
        base_name: "Bread",
        name: "Bread-1",
        number: 1,
        model: { ...part, name: "Rye" },
        symbol: { ...part, name: "Wheat" },
        backdrop: {
          name: "Oven",
          rarity_per_mille: 5,
          colors: { center_color: 1, edge_color: 2, symbol_color: 3, text_color: 4 },
        },
      },
      origin: "upgrade",
    },
  },
  gift_upgrade_sent: { gift_upgrade_sent: { gift } },
  paid_message_price_changed: { paid_message_price_changed: { paid_message_star_count: 3 } },
  direct_message_price_changed: {
    direct_message_price_changed: { are_direct_messages_enabled: true },
  },
  video_chat_scheduled: { video_chat_scheduled: { start_date: DATE + 3_600 } },
  video_chat_started: { video_chat_started: {} },
  video_chat_ended: { video_chat_ended: { duration: 300 } },
  video_chat_participants_invited: { video_chat_participants_invited: { users: [omid] } },
  web_app_data: { web_app_data: { data: "{}", button_text: "Order" } },
};
