/** Telegram: a team's bot. Updates come to a webhook that carries a secret; answers go out in parts. */
import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import type { TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { explained } from "../commands.ts";
import type { Adapter, Delivery, OpenChannel } from "./adapter.ts";
import { type Answer, type Failure, type Place, telegramApi } from "./telegram_api.ts";
import { markdownRuns } from "./telegram_markdown.ts";
import { divided } from "./telegram_parts.ts";
import { type Part as Message, plainRuns } from "./telegram_text.ts";
import { read, type Turn } from "./telegram_updates.ts";

const HEADER = "x-telegram-bot-api-secret-token";
const DIGITS = 20;

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Each secret is compared, whatever the others came to, and digests are all of one length. */
function isTrue(headers: Headers, { secrets }: OpenChannel): boolean {
  const given = digest(headers.get(HEADER) ?? "");
  const equal = secrets.map((secret) => timingSafeEqual(given, digest(secret.reveal())));
  return equal.includes(true);
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return null;
  }
}

/** A bot's id stands before the colon of its token. */
export const botIdOf = (token: string) => Number(token.split(":")[0]);

const botOf = ({ token, botName }: OpenChannel) => ({
  id: botIdOf(token?.reveal() ?? "0"),
  username: botName ?? "",
});

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

/** One that names no bot and is none of ours is likely another bot's of the group. */
const isForOther = ({ command }: Turn) =>
  command !== null && !command.isAddressed && explained([command.name]).length === 0;

function heardIn({ chatKey, userKey, messageId, threadId, isPrivate, text, command }: Turn) {
  const place: Place = { chatKey, threadId, replyToMessageId: isPrivate ? null : messageId };
  return {
    platform: "telegram",
    // In a group each speaks for themselves, and what is said there stays there.
    userId: isPrivate ? userKey : `${chatKey}:${userKey}`,
    content: text,
    command: command && { name: command.name, argument: command.argument },
    place,
  };
}

function deliveryOf(failure: Failure, place: Place): Delivery {
  const why = failure.description;
  switch (failure.what) {
    case "slow_down":
      return { what: "later", afterMs: failure.afterSeconds * 1_000, why };
    case "moved":
      return { what: "moved", place: { ...place, chatKey: failure.toChatKey } };
    case "unavailable":
      return failure.mayBeDone ? { what: "unknown", why } : { what: "later", afterMs: 0, why };
    case "unauthorized":
      return { what: "later", afterMs: 60_000, why };
    default:
      return { what: failure.what, why };
  }
}

export const telegram: Adapter = {
  receive({ headers, body }, channel) {
    if (!isTrue(headers, channel)) return Promise.resolve(null);
    const turn = read(parsed(body), botOf(channel));
    // What will never become readable is acknowledged too: Telegram would send it again and again.
    if (turn.kind !== "turn" || isForOther(turn)) return Promise.resolve("nothing");
    const updateKey = String(turn.updateId);
    const position = updateKey.padStart(DIGITS, "0");
    const { chatKey } = turn;
    return Promise.resolve({ updateKey, chatKey, position, heard: heardIn(turn) });
  },

  divide: (text, isMarkdown) =>
    divided(isMarkdown ? markdownRuns(text) : plainRuns(text)).map((part) => ({ ...part })),

  async send(ctx, channel, place, part) {
    const where = Where.parse(place);
    const { text, entities } = Sendable.parse(part);
    const api = apiOf(ctx, channel);
    let answer = await api.sendMessage(where, { text, entities });
    if (!answer.ok && answer.what === "refused" && entities.length > 0) {
      answer = await api.sendMessage(where, { text, entities: [] }); // Rather plain than not at all.
    }
    return answer.ok ? { what: "sent" } : deliveryOf(answer, where);
  },

  async working(ctx, channel, place) {
    await apiOf(ctx, channel).sendTyping(Where.parse(place));
  },

  async connect(ctx, channel, url, commands) {
    const api = apiOf(ctx, channel);
    const me = resultOf(await api.getMe());
    resultOf(await api.setWebhook({ url, secret: channel.secrets[0] }));
    resultOf(await api.setMyCommands(explained(commands)));
    return me.username;
  },

  async disconnect(ctx, channel, url) {
    const api = apiOf(ctx, channel);
    // The bot may have been given to another channel since.
    if (resultOf(await api.getWebhookInfo()).url === url) resultOf(await api.deleteWebhook());
  },
};

/** What Telegram answered; its refusals are told with what can be done about them. */
function resultOf<T>(answer: Answer<T>): T {
  if (answer.ok) return answer.result;
  throw new Fault("ProviderError", "channel.refused", sentenceOf(answer));
}

function sentenceOf({ what, description }: Failure): string {
  const said = `Telegram says: ${description}`;
  switch (what) {
    case "unauthorized":
      return `Give the token BotFather shows now: this one is no bot's. ${said}`;
    case "slow_down":
    case "unavailable":
      return `Try again in a while. ${said}`;
    default:
      return `See that PUBLIC_URL is an https address Telegram can reach. ${said}`;
  }
}
