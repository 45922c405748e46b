/**
 * What the stand-in counts as tokens: a run of letters and digits with the space before it is one,
 * and so is every other sign. A message costs 3 besides its text, an answer 3 to begin, a part that
 * is not text 85, the tools offered as much as their JSON.
 */
import { type Body, isBody, listOf } from "./openai_refusals.ts";

const token = /\s*(?:[\p{L}\p{N}]+|[^\s\p{L}\p{N}])|\s+$/gu;

/** The text in the pieces it is streamed in: joined they are the text again. */
export const piecesOf = (text: string): string[] => text.match(token) ?? [];

export const tokensOf = (text: string): number => piecesOf(text).length;

const partTokens = (part: unknown) =>
  isBody(part) && typeof part.text === "string" ? tokensOf(part.text) : 85;

function messageTokens(message: Body): number {
  const { content, name, tool_calls: calls } = message;
  const said = typeof content === "string"
    ? tokensOf(content)
    : listOf(content).reduce<number>((sum, part) => sum + partTokens(part), 0);
  const named = typeof name === "string" ? tokensOf(name) : 0;
  return 3 + said + named + (calls === undefined ? 0 : tokensOf(JSON.stringify(calls)));
}

export const promptTokensOf = ({ messages, tools }: Body): number =>
  listOf(messages).filter(isBody).reduce((sum, message) => sum + messageTokens(message), 3) +
  (tools === undefined ? 0 : tokensOf(JSON.stringify(tools)));

export const usageOf = (promptTokens: number, completionTokens: number) => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
  prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
  completion_tokens_details: {
    reasoning_tokens: 0,
    audio_tokens: 0,
    accepted_prediction_tokens: 0,
    rejected_prediction_tokens: 0,
  },
});
