/**
 * An answer as the messages that carry it. Each is at most 4,096 units long, holds at most what
 * Telegram keeps of formatting, and ends at the best place there is: before a paragraph, a line, a
 * sentence, a word. Nothing is cut within a grapheme, a link or code in a line, unless one alone is
 * longer than a message; a code block that goes on is opened again with its language.
 */
import {
  isBlank,
  MAX_MARK_BYTES,
  MAX_MARKS,
  MAX_UNITS,
  type Part,
  partOf,
  type Run,
  weight,
} from "./telegram_text.ts";

/** A run and where it stands in the whole text. */
type Placed = { run: Run; from: number; to: number };

type Whole = {
  text: string;
  runs: readonly Placed[];
  /** By position: 1 where a cut before it would break a link, an address or code in a line. */
  held: Uint8Array;
  /** By position: the number of the code block it is in, 0 outside of one. */
  blocks: Uint32Array;
};

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
const words = new Intl.Segmenter("en", { granularity: "word" });
const address = /https?:\/\/[!-~]+/gi;
/** Enough of what follows to know where a grapheme or a word begins. */
const OUTLOOK = 64;

/** The messages in order, each ready to be sent; none is blank. */
export function divided(runs: readonly Run[], maxUnits: number = MAX_UNITS): Part[] {
  const whole = wholeOf(runs, maxUnits);
  const parts: Part[] = [];
  for (let from = afterSpace(whole, 0); from < whole.text.length;) {
    const reach = reachOf(whole, from, maxUnits);
    const to = reach === whole.text.length ? reach : cut(whole, from, reach);
    const part = partOf(between(whole, from, beforeSpace(whole, from, to)));
    if (!isBlank(part.text)) parts.push(part);
    from = afterSpace(whole, to);
  }
  return parts;
}

function wholeOf(runs: readonly Run[], maxUnits: number): Whole {
  const placed: Placed[] = [];
  let length = 0;
  for (const run of runs) {
    placed.push({ run, from: length, to: length += run.text.length });
  }
  const text = runs.map((run) => run.text).join("");
  const whole = { text, runs: placed, held: new Uint8Array(length + 1) };
  const blocks = new Uint32Array(length + 1);
  placed.forEach(({ run, from, to }, number) => {
    if (run.style.pre !== undefined) blocks.fill(number + 1, from, to);
  });
  for (const [from, to] of [...wholesIn(placed), ...addressesIn(text)]) {
    if (to - from <= maxUnits) whole.held.fill(1, from + 1, to);
  }
  return { ...whole, blocks };
}

/** Links, in however many styles, and code in a line. */
function wholesIn(runs: readonly Placed[]): [from: number, to: number][] {
  const found: [number, number][] = [];
  let before: string | null = null;
  for (const { run: { style }, from, to } of runs) {
    const what: string | null = style.link ?? (style.code ? "code" : null);
    const last = found.at(-1);
    if (what !== null && what === before && last) last[1] = to;
    else if (what !== null) found.push([from, to]);
    before = what;
  }
  return found;
}

const addressesIn = (text: string): [from: number, to: number][] =>
  [...text.matchAll(address)].map(({ 0: found, index }) => [index, index + found.length]);

/** The farthest a message that begins at `from` may go. */
function reachOf({ text, runs }: Whole, from: number, maxUnits: number): number {
  const limit = Math.min(text.length, from + maxUnits);
  let [marks, bytes, before] = [0, 0, {}];
  for (let n = runAt(runs, from); n < runs.length; n++) {
    const placed = runs[n];
    if (!placed || placed.from >= limit) break;
    const more = weight(placed.run, before);
    marks += more.marks;
    bytes += more.bytes;
    if ((marks > MAX_MARKS || bytes > MAX_MARK_BYTES) && placed.from > from) return placed.from;
    before = placed.run.style;
  }
  return limit;
}

/** The number of the run that holds a position; runs are in order. */
function runAt(runs: readonly Placed[], position: number): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((runs[middle]?.to ?? Infinity) > position) high = middle;
    else low = middle + 1;
  }
  return low;
}

function between({ runs }: Whole, from: number, to: number): Run[] {
  const found: Run[] = [];
  for (let n = runAt(runs, from); n < runs.length; n++) {
    const placed = runs[n];
    if (!placed || placed.from >= to) break;
    const { run: { text, style }, from: start } = placed;
    found.push({ text: text.slice(Math.max(0, from - start), to - start), style });
  }
  return found;
}

/** Past what a message does not begin with; a code block keeps its indentation. */
function afterSpace({ text, blocks }: Whole, from: number): number {
  let at = from;
  while (text[at] === "\n" || text[at] === " " && blocks[at] === 0) at++;
  return at;
}

function beforeSpace({ text }: Whole, from: number, to: number): number {
  let at = to;
  while (at > from && (text[at - 1] === "\n" || text[at - 1] === " ")) at--;
  return at;
}

/** Kinds of places, the best first. */
const levels = ["paragraph", "line", "sentence", "word"] as const;
type Level = typeof levels[number];

const endsSentence = /(?:[.!?…:;]["'”’)\]]*\s|[。！？；])$/u;

function levelAt({ text, blocks }: Whole, at: number): Level | null {
  const isNewLine = text[at - 1] === "\n";
  const isInBlock = blocks[at] !== 0 && blocks[at] === blocks[at - 1];
  if (blocks[at] !== blocks[at - 1]) return "paragraph";
  if (isNewLine && text[at - 2] === "\n" && !isInBlock) return "paragraph";
  if (isNewLine) return "line";
  if (!isInBlock && endsSentence.test(text.slice(Math.max(0, at - 6), at))) return "sentence";
  return text[at - 1] === " " ? "word" : null;
}

/**
 * Where to end a message that begins at `from` and may go as far as `reach`: the last best place in
 * its second half, else the last place of any kind.
 */
function cut(whole: Whole, from: number, reach: number): number {
  const seen = whole.text.slice(from, reach + OUTLOOK);
  const signs = graphemes.segment(seen);
  const isFree = (at: number) =>
    whole.held[at] === 0 && signs.containing(at - from)?.index === at - from;
  const half = from + Math.ceil((reach - from) / 2);
  const last = new Map<Level, number>();
  for (let at = reach; at > from && (last.get("paragraph") ?? 0) < half; at--) {
    const level = levelAt(whole, at);
    if (level !== null && !last.has(level) && isFree(at)) last.set(level, at);
  }
  const good = levels.map((level) => last.get(level) ?? 0).find((at) => at >= half);
  if (good !== undefined) return good;
  // Where words are written without spaces.
  const word = from + (words.segment(seen).containing(reach - from)?.index ?? 0);
  if (word >= half && isFree(word)) return word;
  return last.size > 0 ? Math.max(...last.values()) : forced(whole, from, reach, signs);
}

/** No good place: between two graphemes, and if there is but one, between two characters. */
function forced(
  { text, held }: Whole,
  from: number,
  reach: number,
  signs: Intl.Segments,
): number {
  const signAt = (at: number) => from + (signs.containing(at - from)?.index ?? 0);
  for (let at = reach; at > from;) {
    const sign = signAt(at);
    if (sign > from && held[sign] === 0) return sign;
    at = Math.min(sign, at - 1);
  }
  if (signAt(reach) > from) return signAt(reach);
  const splitsPair = /[\ud800-\udbff]/.test(text[reach - 1] ?? "");
  return splitsPair && reach - 1 > from ? reach - 1 : reach;
}
