/** What is answered to somebody on a channel: a command's words, a model's, or why there are none. */
import type { TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { told } from "../../log.ts";
import { run } from "../commands.ts";
import { converse, requestOf } from "../conversations.ts";
import { effectiveOf } from "../effective.ts";
import type { Chatting } from "../gateway/exchanges.ts";
import { takeRate } from "../rates.ts";
import { begin, end } from "../turns.ts";
import type { Heard } from "./adapter.ts";
import { Lost } from "./holds.ts";

export type Words = { text: string; isMarkdown: boolean };

export const NO_ANSWER = "I could not get an answer just now. Write again in a while.";

/** What is over by itself: another turn, a database or a count that is away, a process that ends. */
const isPassing = (error: unknown) =>
  !(error instanceof Fault) || error.reason === "chat.turn_running" ||
  (error.code === "Unavailable" && error.reason !== "upstream.none");

function sentenceFor(error: unknown): string {
  if (!(error instanceof Fault)) return NO_ANSWER;
  switch (error.code) {
    case "RateLimited":
      return `That was a lot at once. Write again in ${
        error.more.retryAfterSeconds ?? 60
      } seconds.`;
    case "QuotaExceeded":
      return "That was all for now. Write again later.";
    case "Conflict":
    case "Unavailable":
    case "ProviderError":
    case "ProviderTimeout":
      return NO_ANSWER;
    default:
      return "I cannot answer that.";
  }
}

export type Ways = {
  /** Writes an answer down where it will be sent from. */
  keep: (ctx: TenantCtx, words: Words) => Promise<void>;
  /** Whether it is not tried again after this failure. */
  isLast: (error: unknown) => boolean;
  /** Aborted when somebody else answers. */
  signal: AbortSignal;
};

async function commanded(ctx: TenantCtx, chatting: Chatting, heard: Heard): Promise<Words | null> {
  const { command, platform, userId } = heard;
  if (!command) return null;
  const turn = await begin(ctx, { teamId: chatting.teamId, platform, userId });
  try {
    return { text: await run(ctx, chatting, turn, command), isMarkdown: false };
  } finally {
    await end(ctx, turn, null);
  }
}

/**
 * Answers, and writes the answer down with `keep`: a model's together with the conversation. Throws
 * what is worth another try, unless it is the last; then that is what is answered.
 */
export async function answer(
  ctx: TenantCtx,
  teamId: string,
  heard: Heard,
  { keep, isLast, signal }: Ways,
): Promise<void> {
  try {
    const { effective } = await effectiveOf(ctx, teamId);
    const chatting = { teamId, apiKeyId: null, effective };
    takeRate(ctx, teamId, effective);
    const words = await commanded(ctx, chatting, heard);
    if (words) return await keep(ctx, words);
    const request = requestOf(heard.content, chatting, false);
    const { platform, userId } = heard;
    const speaker = {
      platform,
      userId,
      keep: (ctx: TenantCtx, text: string) => keep(ctx, { text, isMarkdown: true }),
    };
    const spoken = await converse(ctx, chatting, speaker, request, signal);
    await spoken.kept;
    const { said } = await spoken.ended;
    if (spoken.status >= 300 || said().text === "") {
      throw new Fault("ProviderError", "upstream.refused", "The provider gave no answer");
    }
  } catch (error) {
    const isOurs = error instanceof Lost || signal.aborted ||
      (error instanceof Fault && error.reason === "process.ending");
    if (isOurs || (isPassing(error) && !isLast(error))) throw error;
    if (!(error instanceof Fault)) ctx.log("error", "an answer broke", { error: told(error) });
    await keep(ctx, { text: sentenceFor(error), isMarkdown: false });
  }
}
