/** Embeddings that mean nothing and are the same for the same input. */
import { Buffer } from "node:buffer";
import { type Body, listOf } from "./openai_refusals.ts";
import { tokensOf } from "./openai_tokens.ts";

const DIMENSIONS = 16;

/** A vector of length 1, from a generator seeded with the text. */
function vectorOf(text: string, dimensions: number): number[] {
  let seed = 2_166_136_261;
  for (const sign of text) seed = Math.imul(seed ^ (sign.codePointAt(0) ?? 0), 16_777_619);
  const numbers = Array.from({ length: dimensions }, () => {
    seed = Math.imul(seed, 1_664_525) + 1_013_904_223;
    return (seed >> 8) / 2 ** 23;
  });
  const length = Math.hypot(...numbers);
  return numbers.map((each) => Math.fround(each / length));
}

const isOne = (input: unknown) => typeof input === "string" || typeof listOf(input)[0] === "number";

export function embeddingsOf({ input, model, dimensions, encoding_format: format }: Body) {
  const inputs = isOne(input) ? [input] : listOf(input);
  const size = Number(dimensions ?? DIMENSIONS);
  const tokens = inputs.reduce<number>(
    (sum, each) => sum + (typeof each === "string" ? tokensOf(each) : listOf(each).length),
    0,
  );
  return {
    object: "list",
    data: inputs.map((each, index) => {
      const vector = vectorOf(JSON.stringify(each), size);
      const bytes = Buffer.from(new Float32Array(vector).buffer);
      const embedding = format === "base64" ? bytes.toString("base64") : vector;
      return { object: "embedding", index, embedding };
    }),
    model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    development_upstream: { is_real_model: false },
  };
}
