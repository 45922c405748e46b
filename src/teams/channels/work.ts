/**
 * Working off what channels were told: in order within a chat, each update once, by whichever process
 * comes to it. What is to be said is written down before it is sent and each part again when it was,
 * so that a second message is sent only by a process that follows one killed between the two.
 */
import { and, asc, eq, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { channels, channelUpdates } from "../../../db/schema/channels.ts";
import { asSystem, type Services, type TenantCtx, transact } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { told } from "../../log.ts";
import { at } from "../../secrets/places.ts";
import type { Adapter, Heard, OpenChannel, Part, Payload } from "./adapter.ts";
import { answer } from "./answers.ts";
import type { Chat } from "./arrivals.ts";
import { adapterOf } from "./kinds.ts";

const HOLD_MS = 60_000;
const MOST_ATTEMPTS = 10;
const LONGEST_PAUSE_MS = 10 * 60_000;

type Update = {
  id: string;
  payload: Payload;
  reply: Part[] | null;
  sentParts: number;
  attempts: number;
};
type Held = { ctx: TenantCtx; holder: string; update: Update };

const after = (ms: number) => sql`now() + make_interval(secs => ${ms / 1_000})`;
const view = {
  id: channelUpdates.id,
  payload: channelUpdates.payload,
  reply: channelUpdates.reply,
  sentParts: channelUpdates.sentParts,
  attempts: channelUpdates.attempts,
};

/** The chat's oldest update, ours for a while; null when there is none, or it is somebody's or not due. */
function hold(
  ctx: TenantCtx,
  { channelId, chatKey }: Chat,
  holder: string,
): Promise<Update | null> {
  return transact(ctx, async (ctx) => {
    const [oldest] = await ctx.db.select({
      id: channelUpdates.id,
      isFree: sql<boolean>`coalesce(${channelUpdates.heldUntil} < now(), true)
        and ${channelUpdates.dueAt} <= now()`,
    }).from(channelUpdates).where(and(
      eq(channelUpdates.tenantId, ctx.tenantId),
      eq(channelUpdates.channelId, channelId),
      eq(channelUpdates.chatKey, chatKey),
      eq(channelUpdates.state, "received"),
    )).orderBy(asc(channelUpdates.position)).limit(1).for("update");
    if (!oldest?.isFree) return null;
    const [update] = await ctx.db.update(channelUpdates).set({
      holder,
      heldUntil: after(HOLD_MS),
      attempts: sql`${channelUpdates.attempts} + 1`,
    }).where(and(eq(channelUpdates.tenantId, ctx.tenantId), eq(channelUpdates.id, oldest.id)))
      .returning(view);
    return update ?? null;
  });
}

type Columns = Pick<
  typeof channelUpdates.$inferInsert,
  "state" | "reply" | "sentParts" | "failure" | "holder"
>;
type Change = Partial<Columns> & {
  heldUntil?: ReturnType<typeof after> | null;
  dueAt?: ReturnType<typeof after>;
};

/** Writes something of an update that is still ours; throws Lost when it is not. */
async function note({ ctx, holder, update }: Held, set: Change): Promise<void> {
  const rows = await transact(ctx, (ctx) =>
    ctx.db.update(channelUpdates).set(set).where(and(
      eq(channelUpdates.tenantId, ctx.tenantId),
      eq(channelUpdates.id, update.id),
      eq(channelUpdates.holder, holder),
      eq(channelUpdates.state, "received"),
    )).returning({ id: channelUpdates.id }));
  if (rows.length === 0) throw new Lost();
}

class Lost extends Error {
  override name = "Lost";
}

const released = { holder: null, heldUntil: null };

/** Tries again later, or not at all any more. */
async function postpone(held: Held, why: string, afterMs?: number) {
  const { attempts } = held.update;
  if (attempts >= MOST_ATTEMPTS) {
    held.ctx.log("warn", "an update was given up", { update: held.update.id, why });
    return await note(held, { state: "failed", failure: why.slice(0, 500), ...released });
  }
  const pauseMs = afterMs ?? Math.min(LONGEST_PAUSE_MS, 1_000 * 2 ** attempts);
  await note(held, { dueAt: after(pauseMs), failure: why.slice(0, 500), ...released });
}

async function openChannel(ctx: TenantCtx, id: string) {
  const [row] = await transact(ctx, (ctx) =>
    ctx.db.select({
      id: channels.id,
      teamId: channels.teamId,
      kind: channels.kind,
      apiRoot: channels.apiRoot,
      botName: channels.botName,
      token: channels.token,
      secret: channels.secret,
      isActive: channels.isActive,
    }).from(channels).where(and(eq(channels.tenantId, ctx.tenantId), eq(channels.id, id))));
  if (!row?.isActive) return null;
  const { kind, isActive: _, ...rest } = row;
  const token = row.token === null
    ? null
    : await ctx.secrets.open(ctx, at(channels.token, id), row.token);
  const secret = await ctx.secrets.open(ctx, at(channels.secret, id), row.secret);
  return { kind, channel: { ...rest, token, secret } };
}

/** What is to be sent, written down before anything of it is: with the conversation it belongs to. */
async function prepared(held: Held, adapter: Adapter, channel: OpenChannel, heard: Heard) {
  let { reply } = held.update;
  if (reply) return reply;
  void adapter.working?.(held.ctx, channel, heard.place).catch(() => {});
  await answer(held.ctx, channel.teamId, heard, async (ctx, { text, isMarkdown }) => {
    const parts = text.trim() === "" ? [] : adapter.divide(text, isMarkdown);
    await note({ ...held, ctx }, { reply: parts });
    reply = parts;
  });
  return reply ?? [];
}

/** Sends what is left of the answer; false when it has to wait. */
async function deliver(held: Held, adapter: Adapter, channel: OpenChannel, heard: Heard) {
  const parts = await prepared(held, adapter, channel, heard);
  let { place } = heard;
  for (let sent = held.update.sentParts; sent < parts.length; sent++) {
    const part = parts[sent] ?? {};
    const id = `${held.update.id}-${sent}`;
    let delivery = await adapter.send(held.ctx, channel, place, part, id);
    if (delivery.what === "moved") {
      place = delivery.place;
      delivery = await adapter.send(held.ctx, channel, place, part, id);
    }
    if (delivery.what === "later") {
      await postpone(held, delivery.why, delivery.afterMs);
      return false;
    }
    const failure = "why" in delivery ? { failure: delivery.why.slice(0, 500) } : {};
    if (delivery.what === "gone") {
      await note(held, { state: "done", ...failure, ...released });
      return true;
    }
    await note(held, { sentParts: sent + 1, heldUntil: after(HOLD_MS), ...failure });
  }
  await note(held, { state: "done", ...released });
  return true;
}

/** Keeps what is held while its process lives. */
function keeping(held: Held): () => void {
  const renew = () =>
    note(
      { ...held, ctx: { ...held.ctx, frame: { open: false, committed: [] } } },
      { heldUntil: after(HOLD_MS) },
    ).catch(() => {});
  const timer = setInterval(renew, HOLD_MS / 3);
  return () => clearInterval(timer);
}

/** One update of the chat; false when there is nothing (more) to do now. */
async function workOne(services: Services, chat: Chat): Promise<boolean> {
  const ctx = asSystem(services, chat.tenantId);
  const holder = v7();
  const update = await hold(ctx, chat, holder);
  if (!update) return false;
  const held = { ctx, holder, update };
  const stop = keeping(held);
  try {
    const open = await openChannel(ctx, chat.channelId);
    if (!open) {
      await note(held, { state: "failed", failure: "The channel is not active", ...released });
      return true;
    }
    const adapter = adapterOf(open.kind);
    const heard = adapter.hear(open.channel, update.payload);
    if (heard) return await deliver(held, adapter, open.channel, heard);
    await note(held, { state: "done", ...released });
    return true;
  } catch (error) {
    if (error instanceof Lost) return false;
    if (error instanceof Fault) {
      await postpone(held, error.message, 1_000 * (error.more.retryAfterSeconds ?? 1));
      return false;
    }
    services.log("error", "an update could not be worked off", { error: told(error) });
    await postpone(held, "It broke on our side").catch(() => {});
    return false;
  } finally {
    stop();
  }
}

/** Works off a chat until nothing of it is due. */
export async function workChat(services: Services, chat: Chat): Promise<void> {
  while (await workOne(services, chat));
}

const CHATS = 20;

/** One round over the chats that have something due, wherever it came in; answers how many there were. */
export async function workDue(services: Services): Promise<number> {
  const rows = await services.database.query(sql`select * from chats_due(${CHATS})`);
  await Promise.all(rows.map((row) =>
    workChat(services, {
      tenantId: String(row.tenant_id),
      channelId: String(row.channel_id),
      chatKey: String(row.chat_key),
    })
  ));
  return rows.length;
}
