/**
 * Working off what channels were told: in order within a chat, each update once, by whichever process
 * comes to it. What is to be said is written down before it is sent and each part again when it was,
 * so that a second message is sent only by a process that follows one killed between the two.
 */
import type { Services, TenantCtx } from "../../context.ts";
import { asSystem } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { told } from "../../log.ts";
import { type Adapter, type Delivery, Heard, type OpenChannel, type Part } from "./adapter.ts";
import { answer, NO_ANSWER } from "./answers.ts";
import type { Chat } from "./arrivals.ts";
import {
  finish,
  handOver,
  type Held,
  hold,
  insisting,
  keeping,
  Lost,
  MOST_ATTEMPTS,
  note,
  postpone,
  requireHeld,
} from "./holds.ts";
import { adapterOf } from "./kinds.ts";
import { opened } from "./openings.ts";

/** What breaks on our side breaks again: nobody has to wait long for that. */
const MOST_BREAKS = 3;
const MOST_MOVES = 3;
const TYPING_MS = 4_500;

type At = { held: Held; adapter: Adapter; channel: OpenChannel; heard: Heard };
/** Asked before the chat's next update is begun. */
type IsOver = () => boolean;

/** Shows that an answer is on its way for as long as it is. */
function showing({ held, adapter, channel, heard }: At): () => void {
  const show = () => void adapter.working?.(held.hold.ctx, channel, heard.place).catch(() => {});
  show();
  const timer = setInterval(show, TYPING_MS);
  return () => clearInterval(timer);
}

/** What is to be sent, written down before anything of it is: with the conversation it belongs to. */
async function prepared(at: At): Promise<Part[]> {
  const { held, adapter, channel, heard } = at;
  const { hold, update } = held;
  if (update.reply) return update.reply;
  let reply: Part[] = [];
  const keep = async (
    ctx: TenantCtx,
    { text, isMarkdown }: { text: string; isMarkdown: boolean },
  ) => {
    const parts = adapter.divide(text, isMarkdown);
    reply = parts.length > 0 ? parts : adapter.divide(NO_ANSWER, false); // There was nothing to see.
    await note(held, { reply }, ctx);
  };
  const stop = heard.command ? () => {} : showing(at);
  const isLast = (error: unknown) =>
    update.attempts >= (error instanceof Fault ? MOST_ATTEMPTS : MOST_BREAKS);
  try {
    const ctx = { ...hold.ctx, requestId: update.id };
    await answer(ctx, channel.teamId, heard, { keep, isLast, signal: hold.lost.signal });
  } finally {
    stop();
  }
  return reply;
}

/** Sends a part, after the chat to where it has moved. */
async function sendPart(
  { held, adapter, channel }: At,
  number: number,
  part: Part,
  place: Heard["place"],
): Promise<{ delivery: Exclude<Delivery, { what: "moved" }>; place: Heard["place"] }> {
  const id = `${held.update.id}-${number}`;
  for (let moves = 0; moves <= MOST_MOVES; moves++) {
    await requireHeld(held);
    const delivery = await adapter.send(held.hold.ctx, channel, place, part, id);
    if (delivery.what !== "moved") return { delivery, place };
    place = delivery.place;
  }
  return { delivery: { what: "refused", why: "The chat moves on and on" }, place };
}

/** Sends what is left of the answer, and goes on to the next update. */
async function deliver(at: At, isOver: IsOver): Promise<Held | null> {
  const { held } = at;
  const parts = await prepared(at);
  const nothing = { payload: {}, reply: null }; // What people said is kept with the conversation.
  let { place } = at.heard;
  let failure: string | null = null;
  for (let sent = held.update.sentParts; sent < parts.length; sent++) {
    const part = await sendPart(at, sent, parts[sent] ?? {}, place);
    const { delivery } = part;
    place = part.place;
    if ("why" in delivery) failure = delivery.why.slice(0, 500);
    if (delivery.what === "later") {
      return await postpone(held, delivery.why, { askedMs: delivery.afterMs });
    }
    if (delivery.what === "refused") return await finish(held, { state: "failed", failure });
    if (delivery.what === "gone") return await finish(held, { state: "done", failure, ...nothing });
    const progress = { sentParts: sent + 1, attempts: 1, failure };
    if (sent + 1 < parts.length) await insisting(() => note(held, progress));
  }
  const done = { state: "done" as const, sentParts: parts.length, failure, ...nothing };
  return await insisting(() => finish(held, done, isOver()));
}

async function tried(held: Held, isOver: IsOver): Promise<Held | null> {
  const { ctx, chat } = held.hold;
  const open = await opened(ctx, chat.channelId);
  if (!open?.isInUse) {
    return await finish(held, {
      state: "failed",
      failure: "The channel or its team is not in use",
    });
  }
  const heard = Heard.safeParse(held.update.payload).data;
  if (!heard) return await finish(held, { state: "failed", failure: "It cannot be read" });
  const { kind, channel } = open;
  return await deliver({ held, adapter: adapterOf(kind), channel, heard }, isOver);
}

/** One update; answers the next, which is held too, or null. */
async function workOne(held: Held, isOver: IsOver): Promise<Held | null> {
  const { ctx, lost } = held.hold;
  try {
    return await tried(held, isOver);
  } catch (error) {
    if (error instanceof Lost || lost.signal.aborted) return null;
    if (error instanceof Fault) {
      if (error.reason === "process.ending") return await handOver(held).then(() => null);
      const askedMs = 1_000 * (error.more.retryAfterSeconds ?? 0);
      return await postpone(held, error.message, { askedMs });
    }
    ctx.log("error", "an update could not be worked off", { error: told(error) });
    return await postpone(held, "It broke on our side", { most: MOST_BREAKS });
  }
}

/** Works off a chat until nothing of it is due, or `isOver`. */
export async function workChat(services: Services, chat: Chat, isOver: IsOver): Promise<void> {
  const first = await hold(asSystem(services, chat.tenantId), chat);
  if (!first) return;
  const stop = keeping(first);
  try {
    for (let held: Held | null = first; held;) held = await workOne(held, isOver);
  } finally {
    stop();
  }
}
