/**
 * Holding a chat: one process at a time works off what was said in it, the oldest first, and everything
 * it writes of it stands or falls with the hold. A hold lasts half a minute, is renewed while its process
 * lives, and goes to whoever asks once it is over.
 */
import { and, asc, eq, isNull, lte, or, type SQL, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { channelChats, channelUpdates } from "../../../db/schema/channels.ts";
import { frame, type TenantCtx, transact, type TxCtx } from "../../context.ts";
import { isAway } from "../../errors.ts";
import { told } from "../../log.ts";
import type { Part } from "./adapter.ts";
import { type Chat, now } from "./arrivals.ts";

export const HOLD_MS = 30_000;
/** Tries in a row in which nothing was sent. */
export const MOST_ATTEMPTS = 10;
const LONGEST_PAUSE_MS = 10 * 60_000;
/** After that nobody waits for an answer any more. */
const TOO_LATE_MS = 24 * 3600_000;
const RETRY_MS = 500;

export type Update = {
  id: string;
  payload: Record<string, unknown>;
  reply: Part[] | null;
  sentParts: number;
  attempts: number;
  createdAt: Date;
};
type Hold = {
  ctx: TenantCtx;
  chat: Chat;
  holder: string;
  /** Until when nobody else can have taken it, by this process' own clock. */
  sureUntilMs: number;
  /** Aborted when somebody else has taken it. */
  lost: AbortController;
};
/** A chat that is ours, and its oldest update. */
export type Held = { hold: Hold; update: Update };

/** Somebody else is at the chat by now. */
export class Lost extends Error {
  override name = "Lost";
}

const after = (ms: number) => sql`now() + make_interval(secs => ${ms / 1_000})`;
const view = {
  id: channelUpdates.id,
  payload: channelUpdates.payload,
  reply: channelUpdates.reply,
  sentParts: channelUpdates.sentParts,
  attempts: channelUpdates.attempts,
  createdAt: channelUpdates.createdAt,
};

const isChat = ({ tenantId, channelId, chatKey }: Chat) =>
  and(
    eq(channelChats.tenantId, tenantId),
    eq(channelChats.channelId, channelId),
    eq(channelChats.chatKey, chatKey),
  );
const isWaiting = ({ tenantId, channelId, chatKey }: Chat) =>
  and(
    eq(channelUpdates.tenantId, tenantId),
    eq(channelUpdates.channelId, channelId),
    eq(channelUpdates.chatKey, chatKey),
    eq(channelUpdates.state, "received"),
  );

type Columns = Pick<
  typeof channelUpdates.$inferInsert,
  "state" | "payload" | "reply" | "sentParts" | "failure" | "attempts"
>;
type Change = { [name in keyof Columns]?: Columns[name] | SQL };

const writeUpdate = (ctx: TxCtx, id: string, set: Change) =>
  ctx.db.update(channelUpdates).set(set)
    .where(and(eq(channelUpdates.tenantId, ctx.tenantId), eq(channelUpdates.id, id)));

/** Renews the hold, which locks the chat's row until the commit. Throws Lost. */
async function renewed(ctx: TxCtx, { chat, holder }: Hold): Promise<void> {
  const rows = await ctx.db.update(channelChats).set({ heldUntil: after(HOLD_MS) })
    .where(and(isChat(chat), eq(channelChats.holder, holder))).returning({ id: channelChats.id });
  if (rows.length === 0) throw new Lost();
}

/** Writes what belongs to a hold in one transaction with its renewal. Throws Lost, and writes nothing then. */
async function within<T>(hold: Hold, work: (ctx: TxCtx) => Promise<T>, ctx = hold.ctx): Promise<T> {
  const askedMs = ctx.now().getTime();
  try {
    const value = await transact(ctx, async (ctx) => {
      await renewed(ctx, hold);
      return await work(ctx);
    });
    if (!ctx.db) hold.sureUntilMs = askedMs + HOLD_MS / 2; // Else it is not committed yet.
    return value;
  } catch (error) {
    if (error instanceof Lost) hold.lost.abort(error);
    throw error;
  }
}

/** The oldest update that waits; what was tried too often is passed over. Gives the chat back when there is none. */
async function next(ctx: TxCtx, chat: Chat, isOver = false): Promise<Update | null> {
  for (;;) {
    const [oldest] = await ctx.db.select({ id: view.id, attempts: view.attempts })
      .from(channelUpdates).where(isWaiting(chat))
      .orderBy(asc(channelUpdates.position), asc(channelUpdates.id)).limit(1);
    if (!oldest || isOver) {
      await giveBack(ctx, chat, oldest ? now : null);
      return null;
    }
    // Only a process that ended in the middle leaves it so: it might end every process.
    if (oldest.attempts >= MOST_ATTEMPTS) {
      const failure = sql`coalesce(${channelUpdates.failure}, 'It was begun too often')`;
      await writeUpdate(ctx, oldest.id, { state: "failed", failure });
      continue;
    }
    const attempts = oldest.attempts + 1;
    const [update] = await writeUpdate(ctx, oldest.id, { attempts }).returning(view);
    return update ?? null;
  }
}

const giveBack = (ctx: TxCtx, chat: Chat, dueAt: SQL | null) =>
  ctx.db.update(channelChats).set({ holder: null, heldUntil: null, dueAt }).where(isChat(chat));

/** The chat with its oldest update, ours for a while; null when nothing is due, or it is somebody's. */
export async function hold(ctx: TenantCtx, chat: Chat): Promise<Held | null> {
  const holder = v7();
  const askedMs = ctx.now().getTime();
  const update = await transact(ctx, async (ctx) => {
    const taken = await ctx.db.update(channelChats).set({ holder, heldUntil: after(HOLD_MS) })
      .where(and(
        isChat(chat),
        lte(channelChats.dueAt, sql`now()`),
        or(isNull(channelChats.heldUntil), sql`${channelChats.heldUntil} < now()`),
      )).returning({ id: channelChats.id });
    return taken.length === 0 ? null : await next(ctx, chat);
  });
  if (!update) return null;
  const sureUntilMs = askedMs + HOLD_MS / 2;
  return { hold: { ctx, chat, holder, sureUntilMs, lost: new AbortController() }, update };
}

/** Writes something of the update while it is ours. Throws Lost. */
export const note = (
  { hold, update }: Held,
  set: Change,
  ctx: TenantCtx = hold.ctx,
): Promise<void> => within(hold, async (ctx) => void await writeUpdate(ctx, update.id, set), ctx);

/**
 * Says that the update is over and answers the next one, which is ours with the chat; null when there
 * is none, or `isOver`.
 */
export async function finish(held: Held, set: Change, isOver = false): Promise<Held | null> {
  const { hold, update } = held;
  const following = await within(hold, async (ctx) => {
    await writeUpdate(ctx, update.id, set);
    return await next(ctx, hold.chat, isOver);
  });
  return following && { hold, update: following };
}

/** Gives the chat back until a pause is over; or, when it was tried often enough, goes on to the next. */
export async function postpone(
  held: Held,
  why: string,
  { askedMs = 0, most = MOST_ATTEMPTS }: { askedMs?: number; most?: number } = {},
): Promise<Held | null> {
  const { hold, update } = held;
  const failure = why.slice(0, 500);
  const pauseMs = Math.max(askedMs, Math.min(LONGEST_PAUSE_MS, 1_000 * 2 ** update.attempts));
  const ageMs = hold.ctx.now().getTime() - update.createdAt.getTime();
  if (update.attempts >= most || ageMs + pauseMs > TOO_LATE_MS) {
    hold.ctx.log("warn", "an update was given up", { update: update.id, why });
    return await finish(held, { state: "failed", failure });
  }
  await within(hold, async (ctx) => {
    await writeUpdate(ctx, update.id, { failure });
    await giveBack(ctx, hold.chat, after(pauseMs));
  });
  return null;
}

/** Gives the chat back at once, as if this update had not been begun: this process ends. */
export const handOver = ({ hold, update }: Held): Promise<void> =>
  within(hold, async (ctx) => {
    await writeUpdate(ctx, update.id, { attempts: update.attempts - 1 });
    await giveBack(ctx, hold.chat, now);
  });

/** To be asked before anything is sent: throws Lost where somebody else may be at it. */
export async function requireHeld(held: Held): Promise<void> {
  const { hold } = held;
  const leftMs = hold.sureUntilMs - hold.ctx.now().getTime();
  // More is left than ever was when somebody has put the clock back.
  if (leftMs <= 0 || leftMs > HOLD_MS / 2) await within(hold, () => Promise.resolve());
}

/** Keeps the chat while its process lives; the answer ends that. */
export function keeping({ hold }: Held): () => void {
  const renew = () =>
    within(hold, () => Promise.resolve(), { ...hold.ctx, frame: frame() }).catch((error) => {
      if (error instanceof Lost) return;
      hold.ctx.log("warn", "a chat was not kept", { error: told(error) });
    });
  const timer = setInterval(renew, HOLD_MS / 3);
  return () => clearInterval(timer);
}

/** What was sent must be written down: it is tried until it is, or the chat is somebody else's. */
export async function insisting<T>(write: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await write();
    } catch (error) {
      if (!isAway(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
