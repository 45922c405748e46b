/** What an answer says it used, or what is counted where it does not say. */
import { z } from "zod";
import type { UsageSource } from "../admission.ts";
import { tokensOf } from "./requests.ts";

export type Usage = { inputTokens: number; outputTokens: number };
export type Counted = { inputTokens: number | null; outputTokens: number; source: UsageSource };

const tokens = z.int().min(0).max(2_147_483_647);
const Told = z.object({
  prompt_tokens: tokens,
  completion_tokens: tokens.nullish(),
});

/** OpenAI's `usage` object; null for anything else. */
export function usageOf(value: unknown): Usage | null {
  const { data } = Told.safeParse(value);
  return data
    ? { inputTokens: data.prompt_tokens, outputTokens: data.completion_tokens ?? 0 }
    : null;
}

/** Reported, else what came through counted, else the input that was sent. */
export function countedOf(usage: Usage | null, said: () => string): Counted {
  if (usage) return { ...usage, source: "provider" };
  const outputTokens = tokensOf(said());
  const source = outputTokens === 0 ? "input_floor" : "counted";
  return { inputTokens: null, outputTokens, source };
}

/** What a message or delta says: its text, its refusal, its reasoning, the calls it wants made. */
const Spoken = z.object({
  content: z.unknown().optional(), // The last chunk's delta is empty.
  refusal: z.string().nullish().catch(null),
  reasoning: z.string().nullish().catch(null),
  reasoning_content: z.string().nullish().catch(null),
  tool_calls: z.array(z.object({
    function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).nullish(),
  })).nullish().catch(null),
});
const Choices = z.object({
  choices: z.array(z.object({
    message: Spoken.nullish(),
    delta: Spoken.nullish(),
    finish_reason: z.string().nullish().catch(null),
  })),
});

export type Said = {
  /** The first choice's text. */
  text: string;
  /** All that was put out, of every choice. */
  all: string;
  isFinished: boolean;
};

/** What an answer, or one chunk of it, says. */
export function saidIn(value: unknown): Said {
  const { data } = Choices.safeParse(value);
  const [first] = data?.choices ?? [];
  const content = (first?.message ?? first?.delta)?.content;
  const all = (data?.choices ?? []).map(({ message, delta }) => {
    const it = message ?? delta;
    const calls = it?.tool_calls?.map((call) =>
      `${call.function?.name ?? ""}${call.function?.arguments ?? ""}`
    ) ?? [];
    return [
      typeof it?.content === "string" ? it.content : "",
      it?.refusal ?? "",
      it?.reasoning ?? it?.reasoning_content ?? "",
      ...calls,
    ].join("");
  });
  return {
    text: typeof content === "string" ? content : "",
    all: all.join(""),
    isFinished: (data?.choices ?? []).some(({ finish_reason }) => Boolean(finish_reason)),
  };
}
