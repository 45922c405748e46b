/**
 * The clients people use with OpenAI's API, the `openai` package and the AI SDK, in a process of
 * their own: what they need is downloaded when they are first asked, not when the service starts.
 */
import type { Answered, Ask, At, Json, Order, Word } from "./asks.ts";

export type { Answered, Ask, At, Refused } from "./asks.ts";

const folder = new URL("./openai_sdks/", import.meta.url);

export interface Asking extends Promise<Answered> {
  /** The client leaves. */
  abort(): Promise<void>;
}

export interface OpenaiClients extends AsyncDisposable {
  /** Has a client call an API; `onChunk` sees a stream's chunks as they come. */
  ask(ask: At & Ask, onChunk?: (chunk: Json) => void): Asking;
}

type Waiting = { onChunk: (chunk: Json) => void; done: PromiseWithResolvers<Answered> };

export function openaiClients(): OpenaiClients {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", "--quiet", "--config", "deno.json", "main.ts"],
    cwd: folder,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  const waiting = new Map<number, Waiting>();
  let last = 0;
  const order = (line: Order) =>
    writer.write(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
  const listening = listen(child.stdout, waiting);
  const ask = (what: At & Ask, onChunk: (chunk: Json) => void = () => {}): Asking => {
    const id = ++last;
    const done = Promise.withResolvers<Answered>();
    waiting.set(id, { onChunk, done });
    order({ id, ask: what }).catch(done.reject);
    return Object.assign(done.promise, { abort: () => order({ id, abort: true }) });
  };
  const stop = async () => {
    await writer.close();
    await child.status;
    await listening;
  };
  return { ask, [Symbol.asyncDispose]: stop };
}

async function listen(stdout: ReadableStream<Uint8Array>, waiting: Map<number, Waiting>) {
  let rest = "";
  for await (const text of stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) hear(JSON.parse(line), waiting);
  }
  for (const { done } of waiting.values()) done.reject(new Error("The clients' process ended"));
}

function hear(word: Word, waiting: Map<number, Waiting>): void {
  const asked = waiting.get(word.id);
  if ("chunk" in word) return asked?.onChunk(word.chunk);
  waiting.delete(word.id);
  asked?.done.resolve(word.answered);
}
