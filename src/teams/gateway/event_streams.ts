/**
 * An upstream's event stream on its way to the client: each event goes on the moment it is whole, byte
 * for byte. Looked at on the way are the usage, which is kept back where nobody asked for it, and the
 * end, which is always said: an error in OpenAI's shape where it broke, then `[DONE]`.
 */
import { type Said, saidIn, type Usage, usageOf } from "./usages.ts";

export type StreamEnd = {
  how: "whole" | "aborted" | "cut";
  usage: Usage | null;
  /** What was put out so far. */
  said: () => Said;
};

type Options = {
  wantsUsage: boolean;
  /** The client went away, or is done. Called once, at the end. */
  ended: (end: StreamEnd) => void;
  /** Told once, with the first event. */
  began: () => void;
  requestId: string;
};

const DONE = "data: [DONE]\n\n";
const MOST_KEPT = 32 * 1024 * 1024;
const encoder = new TextEncoder();

/** Behind the last whole event of a text. */
function wholeUntil(text: string): number {
  const [plain, crlf] = [text.lastIndexOf("\n\n"), text.lastIndexOf("\r\n\r\n")];
  return Math.max(plain < 0 ? 0 : plain + 2, crlf < 0 ? 0 : crlf + 4);
}

const eventsOf = (text: string) => text.match(/[^]*?(?:\r?\n){2}/g) ?? [];

const dataOf = (event: string) =>
  event.split(/\r?\n/).filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(line.charAt(5) === " " ? 6 : 5)).join("\n");

function jsonOf(event: string): unknown {
  try {
    return JSON.parse(dataOf(event));
  } catch {
    return null;
  }
}

/** The error event of a stream that broke off. */
export const brokenEvent = (requestId: string) =>
  `data: ${
    JSON.stringify({
      error: {
        message: `The model broke off its answer; when you ask about it, quote ${requestId}`,
        type: "server_error",
        param: null,
        code: "upstream_cut",
      },
    })
  }\n\n`;

/** The first choice's text as it comes, of a stream as the client gets it. */
export async function* deltasOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    rest += text;
    const until = wholeUntil(rest);
    for (const event of eventsOf(rest.slice(0, until))) {
      const content = saidIn(jsonOf(event)).text;
      if (content !== "") yield content;
    }
    rest = rest.slice(until);
  }
}

type Seen = { usage: Usage | null; isDone: boolean; isFailed: boolean; kept: string };

const mayTell = (text: string) =>
  text.includes('"usage"') || text.includes("[DONE]") || text.includes('"error"');

/** What of these events goes on; what they tell is noted in `seen`. */
function passed(whole: string, seen: Seen, wantsUsage: boolean): string {
  if (seen.kept.length < MOST_KEPT) seen.kept += whole;
  if (!mayTell(whole)) return whole;
  return eventsOf(whole).filter((event) => {
    if (!mayTell(event)) return true;
    if (dataOf(event) === "[DONE]") {
      const isFirst = !seen.isDone;
      seen.isDone = true;
      return isFirst;
    }
    const value = jsonOf(event);
    if (typeof value !== "object" || value === null) return true;
    if ("error" in value && value.error) seen.isFailed = true;
    const usage = "usage" in value ? usageOf(value.usage) : null;
    if (!usage) return true;
    seen.usage = usage;
    const isOnlyUsage = "choices" in value && Array.isArray(value.choices) &&
      value.choices.length === 0;
    return wantsUsage || !isOnlyUsage;
  }).join("");
}

function saidSoFar({ kept }: Seen): Said {
  const parts = eventsOf(kept).map((event) => saidIn(jsonOf(event)));
  return {
    text: parts.map(({ text }) => text).join(""),
    all: parts.map(({ all }) => all).join(""),
    isFinished: parts.some(({ isFinished }) => isFinished),
  };
}

/** The stream as the client gets it. Cancelling it ends the upstream's. */
export function tapped(upstream: ReadableStream<Uint8Array>, o: Options) {
  const reader = upstream.getReader();
  const decoder = new TextDecoder();
  const seen: Seen = { usage: null, isDone: false, isFailed: false, kept: "" };
  let rest = "";
  let hasBegun = false;
  let hasEnded = false;

  function end(how: StreamEnd["how"]) {
    if (hasEnded) return;
    hasEnded = true;
    o.ended({ how, usage: seen.usage, said: () => saidSoFar(seen) });
  }

  /** What is still to be said when the upstream has said all it will. */
  function closing(isBroken: boolean): string {
    const last = rest === "" ? "" : passed(`${rest}\n\n`, seen, o.wantsUsage);
    rest = "";
    if (seen.isDone && !isBroken) {
      end(seen.isFailed ? "cut" : "whole");
      return last;
    }
    const isWhole = !seen.isFailed && saidSoFar(seen).isFinished;
    end(isWhole ? "whole" : "cut");
    const error = isWhole || seen.isFailed ? "" : brokenEvent(o.requestId);
    return last + error + (seen.isDone ? "" : DONE);
  }

  /** The next bytes that go on; null when there are no more. */
  async function next(): Promise<Uint8Array | null> {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return null;
      const before = rest;
      const text = before + decoder.decode(value, { stream: true });
      const until = wholeUntil(text);
      rest = text.slice(until);
      if (until === 0) continue;
      if (!hasBegun) o.began();
      hasBegun = true;
      const whole = text.slice(0, until);
      const on = passed(whole, seen, o.wantsUsage);
      if (on === "") continue;
      // As it came, where nothing of it stayed behind.
      return on.length === text.length && before === "" ? value : encoder.encode(on);
    }
  }

  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      let bytes: Uint8Array | null = null;
      let isBroken = false;
      try {
        bytes = await next();
      } catch {
        isBroken = true;
      }
      if (hasEnded) return;
      if (bytes) return controller.enqueue(bytes);
      const last = closing(isBroken);
      if (last !== "") controller.enqueue(encoder.encode(last));
      controller.close();
    },
    async cancel() {
      end("aborted");
      await reader.cancel().catch(() => {});
    },
  }, { highWaterMark: 0 });
}
