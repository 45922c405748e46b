/** Telegram: a team's bot. Updates come to a webhook that carries a secret; answers go out in parts. */
import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import type { TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { explained } from "../commands.ts";
import type { Adapter, Delivery, OpenChannel } from "./adapter.ts";
import { type Failure, type Place, telegramApi } from "./telegram_api.ts";
import { markdownRuns } from "./telegram_markdown.ts";
import { divided } from "./telegram_parts.ts";
import { type Part as Message, plainRuns } from "./telegram_text.ts";
import { read } from "./telegram_updates.ts";

const HEADER = "x-telegram-bot-api-secret-token";
const DIGITS = 20;

const digest = (text: string) => createHash("sha256").update(text).digest();

const Envelope = z.looseObject({
  update_id: z.int().min(0),
  message: z.looseObject({ chat: z.looseObject({ id: z.int() }) }),
});

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body).replaceAll("\\u0000", ""));
  } catch {
    return null;
  }
}

/** A bot's id stands before the colon of its token. */
function botOf({ token, botName }: OpenChannel) {
  return { id: Number(token?.reveal().split(":")[0] ?? 0), username: botName ?? "" };
}

function apiOf(ctx: TenantCtx, { apiRoot, token }: OpenChannel) {
  if (!token) throw new Error("A Telegram channel has a token");
  return telegramApi({ outbound: ctx.outbound, apiRoot, token });
}

const Where = z.object({
  chatKey: z.string(),
  threadId: z.int().nullable(),
  replyToMessageId: z.int().nullable(),
});
const Sendable = z.object({
  text: z.string(),
  entities: z.custom<Message["entities"]>(Array.isArray),
});

function deliveryOf(failure: Failure, place: Place): Delivery {
  const why = failure.description;
  switch (failure.what) {
    case "slow_down":
      return { what: "later", afterMs: failure.afterSeconds * 1_000, why };
    case "moved":
      return { what: "moved", place: { ...place, chatKey: failure.toChatKey } };
    case "unavailable":
      return failure.mayBeDone ? { what: "unknown", why } : { what: "later", afterMs: 2_000, why };
    case "unauthorized":
      return { what: "later", afterMs: 60_000, why };
    default:
      return { what: "gone", why };
  }
}

export const telegram: Adapter = {
  receive({ headers, body }, secret) {
    const given = digest(headers.get(HEADER) ?? "");
    if (!timingSafeEqual(given, digest(secret.reveal()))) return Promise.resolve(null);
    const { data } = Envelope.safeParse(parsed(body));
    if (!data) return Promise.resolve("nothing");
    const updateKey = String(data.update_id);
    return Promise.resolve({
      updateKey,
      chatKey: String(data.message.chat.id),
      position: updateKey.padStart(DIGITS, "0"),
      payload: data,
    });
  },

  hear(channel, payload) {
    const turn = read(payload, botOf(channel));
    if (turn.kind !== "turn") return null;
    const { chatKey, userKey, messageId, threadId, isPrivate, text, command } = turn;
    const place: Place = {
      chatKey,
      threadId,
      replyToMessageId: isPrivate ? null : messageId,
    };
    return {
      platform: "telegram",
      // In a group each speaks for themselves, and what is said there stays there.
      userId: isPrivate ? userKey : `${chatKey}:${userKey}`,
      content: text,
      command: command && { name: command.name, argument: command.argument },
      place,
    };
  },

  divide: (text, isMarkdown) =>
    divided(isMarkdown ? markdownRuns(text) : plainRuns(text)).map((part) => ({ ...part })),

  async send(ctx, channel, place, part) {
    const where = Where.parse(place);
    const { text, entities } = Sendable.parse(part);
    const answer = await apiOf(ctx, channel).sendMessage(where, { text, entities });
    return answer.ok ? { what: "sent" } : deliveryOf(answer, where);
  },

  async working(ctx, channel, place) {
    await apiOf(ctx, channel).sendTyping(Where.parse(place));
  },

  async connect(ctx, channel, url, commands) {
    const api = apiOf(ctx, channel);
    const me = await api.getMe();
    if (!me.ok) throw refusedBy(me.description);
    const hook = await api.setWebhook({ url, secret: channel.secret });
    if (!hook.ok) throw refusedBy(hook.description);
    const menu = await api.setMyCommands(explained(commands));
    if (!menu.ok) throw refusedBy(menu.description);
    return me.result.username;
  },
};

const refusedBy = (description: string) =>
  new Fault("ProviderError", "channel.refused", `Telegram refused: ${description}`);
