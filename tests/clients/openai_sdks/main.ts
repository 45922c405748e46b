/**
 * The `openai` package and the AI SDK, unmodified, doing what they are told: a line of JSON on
 * standard input is an order, every chunk and every answer a line of standard output. A project of
 * its own, so that nobody who only runs the service downloads them.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import type { Answered, Json, Order, Word } from "../asks.ts";
import { askAi } from "./ai_sdk.ts";
import { askOpenai } from "./openai_package.ts";
import { observed } from "./observed.ts";

const say = (word: Word) => console.log(JSON.stringify(word));
const leaving = new Map<number, AbortController>();

async function obey(line: string): Promise<void> {
  const order: Order = JSON.parse(line);
  const { id } = order;
  if ("abort" in order) return leaving.get(id)?.abort();
  const abort = new AbortController();
  leaving.set(id, abort);
  const { ask } = order;
  const seen = observed();
  const onChunk = (chunk: Json) => {
    seen.answered.chunks.push(chunk);
    say({ id, chunk });
    if (seen.answered.chunks.length === ask.abortAfter) abort.abort();
  };
  const use = { ...seen, signal: abort.signal, onChunk };
  const answered: Answered = ask.client === "ai"
    ? await askAi(ask, use)
    : await askOpenai(ask, use);
  leaving.delete(id);
  say({ id, answered });
}

for await (const line of createInterface({ input: process.stdin })) {
  obey(line).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
}
