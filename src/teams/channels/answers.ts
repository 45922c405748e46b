/** What is answered to somebody on a channel: a command's words, a model's, or why there are none. */
import type { TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { run } from "../commands.ts";
import { converse, requestOf } from "../conversations.ts";
import { effectiveOf } from "../effective.ts";
import type { Chatting } from "../gateway/exchanges.ts";
import { takeRate } from "../rates.ts";
import { begin, end } from "../turns.ts";
import type { Heard } from "./adapter.ts";

export type Words = { text: string; isMarkdown: boolean };

/** A refusal in words for who is spoken with; null: it is worth trying again. */
function sentenceFor(error: unknown): string | null {
  if (!(error instanceof Fault)) return null;
  if (error.code === "Conflict" || error.code === "Unavailable") return null;
  if (error.code === "RateLimited") {
    return `That was a lot at once. Write again in ${error.more.retryAfterSeconds ?? 60} seconds.`;
  }
  if (error.code === "QuotaExceeded") return "That was all for now. Write again later.";
  if (error.code === "ProviderError" || error.code === "ProviderTimeout") {
    return "I could not get an answer just now. Write again in a while.";
  }
  return "I cannot answer that.";
}

/** Writes an answer down where it will be sent from. */
export type Keep = (ctx: TenantCtx, words: Words) => Promise<void>;

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
 * what is worth another try: somebody else is at the conversation, or nobody can count.
 */
export async function answer(ctx: TenantCtx, teamId: string, heard: Heard, keep: Keep) {
  try {
    const { effective } = await effectiveOf(ctx, teamId);
    const chatting = { teamId, apiKeyId: null, effective };
    takeRate(ctx, teamId, effective);
    const words = await commanded(ctx, chatting, heard);
    if (words) return await keep(ctx, words);
    const request = requestOf(heard.content, chatting, false);
    const never = new AbortController().signal;
    const { platform, userId } = heard;
    const speaker = {
      platform,
      userId,
      keep: (ctx: TenantCtx, text: string) => keep(ctx, { text, isMarkdown: true }),
    };
    const spoken = await converse(ctx, chatting, speaker, request, never);
    await spoken.kept;
    const { said } = await spoken.ended;
    if (spoken.status >= 300 || said().text === "") {
      throw new Fault("ProviderError", "upstream.refused", "The provider gave no answer");
    }
  } catch (error) {
    const text = sentenceFor(error);
    if (text === null) throw error;
    await keep(ctx, { text, isMarkdown: false });
  }
}
