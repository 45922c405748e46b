/** Channels: where a team is spoken to from outside, what came in, and who works it off. */
import { sql } from "drizzle-orm";
import {
  foreignKey,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import { active, at, sealed, tenantOnly, tenantRow } from "../columns.ts";
import { teams } from "./teams.ts";

export const channelKinds = ["telegram", "webhook"] as const;
export const updateStates = ["received", "done", "failed"] as const;

export const channels = pgTable("channels", {
  ...tenantRow,
  ...active,
  teamId: uuid().notNull(),
  kind: text({ enum: channelKinds }).notNull(),
  name: text().notNull(),
  token: sealed(), // The bot's; none for a webhook.
  tokenFingerprint: text(),
  secret: sealed().notNull(), // What an update must carry or be signed with.
  apiRoot: text().notNull(), // The Bot API, or where answers are sent.
  botName: text(), // @name, as the platform says it; null while it is not connected.
  // Taken as well until then, so that whoever sends has time to change over.
  previousSecret: sealed(),
  previousSecretUntil: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({ columns: [t.tenantId, t.teamId], foreignColumns: [teams.tenantId, teams.id] }),
  uniqueIndex("idx_channels_id").on(t.id), // A webhook names only the channel: its tenant is found by it.
  index("idx_channels_team_id").on(t.tenantId, t.teamId, t.id),
  tenantOnly,
]);

/** A chat of a channel. Whoever holds it works off what was said in it; nobody else does meanwhile. */
export const channelChats = pgTable("channel_chats", {
  ...tenantRow,
  channelId: uuid().notNull(),
  chatKey: text().notNull(),
  dueAt: at(), // Null: nothing is waiting.
  holder: uuid(),
  heldUntil: at(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({
    columns: [t.tenantId, t.channelId],
    foreignColumns: [channels.tenantId, channels.id],
  }),
  unique("idx_channel_chats_chat_key").on(t.tenantId, t.channelId, t.chatKey),
  index("idx_channel_chats_due_at").on(t.dueAt).where(sql`due_at is not null`), // Across tenants.
  tenantOnly,
]);

/** One thing a channel was told. Worked off once, in order per chat, by whichever process comes to it. */
export const channelUpdates = pgTable("channel_updates", {
  ...tenantRow,
  channelId: uuid().notNull(),
  updateKey: text().notNull(), // The platform's own id: a second of it is the same update.
  chatKey: text().notNull(),
  position: text().notNull(), // Sorts the updates of a chat as the platform numbered them.
  payload: jsonb().$type<Record<string, unknown>>().notNull(), // What was heard; empty once answered.
  state: text({ enum: updateStates }).notNull().default("received"),
  attempts: integer().notNull().default(0), // Since something of it was last sent.
  reply: jsonb().$type<Record<string, unknown>[]>(), // What is to be sent, part by part, once it is known.
  sentParts: integer().notNull().default(0),
  failure: text(),
}, (t) => [
  primaryKey({ columns: [t.tenantId, t.id] }),
  foreignKey({
    columns: [t.tenantId, t.channelId],
    foreignColumns: [channels.tenantId, channels.id],
  }),
  unique("idx_channel_updates_update_key").on(t.tenantId, t.channelId, t.updateKey),
  index("idx_channel_updates_chat").on(t.tenantId, t.channelId, t.chatKey, t.position, t.id)
    .where(sql`state = 'received'`),
  index("idx_channel_updates_state").on(t.tenantId, t.channelId, t.state, t.id),
  index("idx_channel_updates_updated_at").on(t.updatedAt) // The sweep goes across tenants.
    .where(sql`state <> 'received'`),
  tenantOnly,
]);
