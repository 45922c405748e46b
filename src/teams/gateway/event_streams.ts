/**
 * An upstream's event stream on its way to the client: each event goes on the moment it is whole, byte
 * for byte. Looked at on the way are the usage, which is kept back where nobody asked for it, and the
 * end, which is always said: an error in OpenAI's shape where it broke, then `[DONE]`.
 */
import type { Pieces } from "../../outbound.ts";
import { textOf } from "../../short_texts.ts";
import { waitFor } from "../../waits.ts";
import { type ToldError, toldError } from "./upstream_errors.ts";
import { type Said, saidIn, type Usage, usageOf } from "./usages.ts";

export type StreamEnd = {
  how: "whole" | "aborted" | "cut";
  usage: Usage | null;
  /** What was put out so far. */
  said: () => Said;
};

type Options = {
  wantsUsage: boolean;
  /** Called once, at the end, whoever made it. */
  ended: (end: StreamEnd) => void;
  /** Told once, with the first event. */
  began: () => void;
  requestId: string;
  /** Ends it from outside, read on or not. */
  stop: AbortSignal;
  /** Whether that is because the client went away. */
  hasLeft: () => boolean;
};

/** What an upstream sends. `clean`: words of its errors as they may be shown. */
export type Coming = { pieces: Pieces; clean: (text: string) => string };
type Passing = Pick<Options, "wantsUsage"> & Pick<Coming, "clean">;

const DONE = "data: [DONE]\n\n";
const NEWLINE = 10;
const LONGEST_END = "\n\r\n";
const MOST_KEPT = 32 * 1024 * 1024;
/** The characters an event may have: whoever sends more without an end is left. */
export const MOST_OF_AN_EVENT = 16 * 1024 * 1024;
const encoder = new TextEncoder();

/** Behind the last whole event of a text; 0 where there is none. */
function wholeUntil(text: string): number {
  const [plain, crlf] = [text.lastIndexOf("\n\n"), text.lastIndexOf(LONGEST_END)];
  return Math.max(plain < 0 ? 0 : plain + 2, crlf < 0 ? 0 : crlf + LONGEST_END.length);
}

function eventsOf(text: string): string[] {
  const events: string[] = [];
  let from = 0;
  for (const { 0: end, index } of text.matchAll(/\n\r?\n/g)) {
    events.push(text.slice(from, index + end.length));
    from = index + end.length;
  }
  if (from < text.length) events.push(text.slice(from)); // One blank line more than it takes.
  return events;
}

function dataOf(event: string): string {
  const data: string[] = [];
  for (const line of event.split("\n")) {
    if (!line.startsWith("data:")) continue;
    data.push(line.slice(line.charAt(5) === " " ? 6 : 5, line.endsWith("\r") ? -1 : undefined));
  }
  return data.join("\n");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What an event tells. Some upstreams that fail end with the bare JSON of it. */
function toldBy(event: string): { data: string; value: unknown } {
  const data = dataOf(event);
  return { data, value: parsed(data === "" ? event : data) };
}

const errorEvent = (error: ToldError, clean = (text: string) => text) => {
  const cleaned = (_: string, it: unknown) => typeof it === "string" ? clean(it) : it;
  return `data: ${JSON.stringify({ error }, cleaned)}\n\n`;
};

/** The error event of a stream that broke off. */
export const brokenEvent = (requestId: string) =>
  errorEvent({
    message: `The model broke off its answer; when you ask about it, quote ${requestId}`,
    type: "server_error",
    param: null,
    code: "upstream_cut",
  });

/** The first choice's text as it comes, of a stream as the client gets it. */
export async function* deltasOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const events = wholeEvents(async () => (await reader.read()).value ?? null);
  try {
    for (let it = await events.next(); it; it = await events.next()) {
      for (const event of eventsOf(it.text)) {
        const content = saidIn(parsed(dataOf(event))).text;
        if (content !== "") yield content;
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // Where it was not read to its end.
  }
}

type Seen = { usage: Usage | null; isDone: boolean; isFailed: boolean; kept: string };

/** Most events say that there is no usage yet: `"usage":null` tells nothing. */
const telling = /"usage"(?!:null[,}])|\[DONE\]|"error"/;
const mayTell = (text: string) => telling.test(text);

/** What of these events goes on, nothing behind the end; what they tell is noted in `seen`. */
function passed(whole: string, seen: Seen, { wantsUsage, clean }: Passing): string {
  const keep = (text: string) => {
    if (seen.kept.length < MOST_KEPT) seen.kept += text;
    return text;
  };
  if (!mayTell(whole)) return keep(whole);
  return eventsOf(whole).map((event) => {
    if (seen.isDone) return "";
    if (!mayTell(event)) return keep(event);
    const { data, value } = toldBy(event);
    const error = toldError(value);
    if (error) {
      seen.isFailed = true;
      return errorEvent(error, clean);
    }
    keep(event);
    if (data === "[DONE]") seen.isDone = true;
    if (typeof value !== "object" || value === null) return event;
    const usage = "usage" in value ? usageOf(value.usage) : null;
    if (!usage) return event;
    seen.usage = usage;
    const isOnlyUsage = "choices" in value && Array.isArray(value.choices) &&
      value.choices.length === 0;
    return wantsUsage || !isOnlyUsage ? event : "";
  }).join("");
}

function saidSoFar({ kept }: Seen): Said {
  const parts = eventsOf(kept).map((event) => saidIn(parsed(dataOf(event))));
  return {
    text: parts.map(({ text }) => text).join(""),
    all: parts.map(({ all }) => all).join(""),
    isFinished: parts.some(({ isFinished }) => isFinished),
  };
}

/** Reads events, as many as are whole at a time; what has no end yet is not looked at again. */
function wholeEvents(read: () => Promise<Uint8Array | null>) {
  let pieces: string[] = [];
  let length = 0;
  let tail = ""; // The letters of them that an event's end may begin with.
  let isEven = true; // Nothing stands over, not even half a letter.
  let isFirst = true;
  let decoder: TextDecoder | undefined;
  const coming = {
    /** A byte order mark is none but at the very beginning. */
    decode: (value: Uint8Array) =>
      (decoder ??= new TextDecoder("utf-8", { ignoreBOM: !isFirst }))
        .decode(value, { stream: true }),
  };
  const hold = (piece: string) => {
    if (piece === "") return;
    pieces.push(piece);
    length += piece.length;
    tail = (tail + piece.slice(1 - LONGEST_END.length)).slice(1 - LONGEST_END.length);
  };
  const drop = () => {
    pieces = [];
    length = 0;
    tail = "";
  };
  return {
    /** What stood behind the last of them. */
    rest: () => pieces.join(""),
    /** `same`: their bytes as they came, where those are nothing else. Null: there are no more. */
    async next(): Promise<{ text: string; same: Uint8Array | null } | null> {
      for (;;) {
        const value = await read();
        if (value === null) return null;
        const piece = isEven ? textOf(value, coming) : coming.decode(value);
        isFirst &&= value.length === 0;
        const until = wholeUntil(tail + piece) - tail.length;
        const wasEven = isEven;
        isEven = until === piece.length && value.at(-1) === NEWLINE;
        if (until > 0) {
          const text = pieces.join("") + piece.slice(0, until);
          drop();
          hold(piece.slice(until));
          return { text, same: wasEven && isEven ? value : null };
        }
        hold(piece);
        if (length <= MOST_OF_AN_EVENT) continue;
        drop();
        return null;
      }
    },
  };
}

const LAST_WORDS_MS = 1_000;

/** Lets the upstream end its answer, so that its connection is kept; not for long. */
async function seeOut({ next, cancel: leave }: Pieces): Promise<void> {
  const callOff = waitFor(LAST_WORDS_MS, leave);
  await next().catch(() => {});
  callOff();
  leave();
}

/**
 * The stream as the client gets it, made before the upstream's has come; where that never does, nothing
 * comes of it. Cancelling it ends the upstream's.
 */
export function tapped(coming: Promise<Coming>, o: Options) {
  let upstream: Pieces | undefined;
  const passing = { wantsUsage: o.wantsUsage, clean: (text: string) => text };
  const events = wholeEvents(async () => await (upstream ?? await begin()).next());
  const seen: Seen = { usage: null, isDone: false, isFailed: false, kept: "" };
  let [hasBegun, hasEnded, isCancelled] = [false, false, false];

  const stopped = () => {
    end(o.hasLeft() ? "aborted" : "cut");
    upstream?.cancel();
  };

  async function begin() {
    const { pieces, clean } = await coming;
    upstream = pieces;
    passing.clean = clean;
    if (o.stop.aborted) stopped();
    else o.stop.addEventListener("abort", stopped, { once: true });
    return pieces;
  }

  function end(how: StreamEnd["how"]) {
    if (hasEnded) return;
    hasEnded = true;
    o.stop.removeEventListener("abort", stopped);
    o.ended({ how, usage: seen.usage, said: () => saidSoFar(seen) });
  }

  /** What is still to be said when the upstream has said all it will. */
  function closing(): string {
    const rest = `${events.rest()}\n\n`;
    const { data, value } = toldBy(rest);
    // Half an event would be all a client hears of: it stumbles over it.
    const last = data === "[DONE]" || value !== null ? passed(rest, seen, passing) : "";
    const isWhole = !seen.isFailed && (seen.isDone || saidSoFar(seen).isFinished);
    end(isWhole ? "whole" : "cut");
    const error = isWhole || seen.isFailed ? "" : brokenEvent(o.requestId);
    return last + error + (seen.isDone ? "" : DONE);
  }

  /** The next bytes that go on; null when there are no more. */
  async function next(): Promise<Uint8Array | null> {
    for (let it = await events.next(); it; it = await events.next()) {
      if (!hasBegun) o.began();
      hasBegun = true;
      const on = passed(it.text, seen, passing);
      if (on !== "") return on === it.text && it.same ? it.same : encoder.encode(on);
    }
    return null;
  }

  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const bytes = await next().catch(() => null);
      if (isCancelled) return;
      if (bytes) controller.enqueue(bytes);
      if (bytes && !seen.isDone) return;
      const last = bytes ? "" : closing();
      if (last !== "") controller.enqueue(encoder.encode(last));
      end(seen.isFailed ? "cut" : "whole"); // Clients wait for the end and not for `[DONE]` alone.
      controller.close();
      if (upstream) await seeOut(upstream);
    },
    cancel() {
      isCancelled = true;
      end("aborted");
      upstream?.cancel();
    },
  }, { highWaterMark: 1 }); // What comes first is at hand when it is asked for.
}
