/**
 * Text as Telegram shows it: runs of one style each, cleaned and counted the way its servers do it
 * (TDLib, MessageEntity.cpp and misc.cpp). JavaScript counts as Telegram does, in UTF-16 units.
 */
import type { MessageEntity } from "@grammyjs/types";

export type Style = {
  readonly bold?: true;
  readonly italic?: true;
  readonly strikethrough?: true;
  readonly code?: true;
  /** The language of the code block, "" when it has none. */
  readonly pre?: string;
  /** What `linkable` answered. */
  readonly link?: string;
  readonly quote?: true;
};

export type Run = { readonly text: string; readonly style: Style };

/** One message: the `text` and `entities` of sendMessage. */
export type Part = { text: string; entities: MessageEntity[] };

export const MAX_UNITS = 4096;
/** Telegram silently drops the formatting after the hundredth entity of a message. */
export const MAX_MARKS = 100;
/** Telegram refuses a message whose entities take more than about 9,500 bytes. */
export const MAX_MARK_BYTES = 8_000;
const MARK_BYTES = 16;
const MAX_LINK_LENGTH = 2_048;

/** A ring above a letter is taken out unless it is one sign with the letter. */
const ringed = /\S\u030a/gu;
const takenOut = /\r|[\u2028-\u202e]|\u0333|\u033f|\u030a/gu;
const control = /(?!\n)\p{Cc}/gu;

/** What is left of a text on Telegram's servers, which shift no entity any more. */
export const clean = (text: string): string =>
  text.toWellFormed().replaceAll(ringed, (letter) => letter.normalize("NFC"))
    .replaceAll(takenOut, "").replaceAll(control, " ");

const seen = /[^\s\u180e\u200b-\u200f\u2800\ufffc\u{e0000}-\u{e007f}]/u;

/** Whether Telegram would call it empty. */
export const isBlank = (text: string): boolean => !seen.test(text);

/** Text that is nobody's Markdown: what a command answers. */
export const plainRuns = (text: string): Run[] => [{ text: clean(text), style: {} }];

/** A host with a dot: for any other, Telegram refuses the whole message. */
const webHost = /^[a-z\d_-]+(?:\.[a-z\d_-]+)+$/;

/** The address as Telegram takes it for a link, or null where it would be refused. */
export function linkable(address: string): string | null {
  if (!URL.canParse(address)) return null;
  const { protocol, hostname, href } = new URL(address);
  const isWeb = protocol === "https:" || protocol === "http:";
  return isWeb && webHost.test(hostname) && href.length <= MAX_LINK_LENGTH ? href : null;
}

/** What Telegram allows at once: nothing within code, and no code within a link. */
export function allowed({ code, pre, quote, ...rest }: Style): Style {
  const around = quote ? { quote } : {};
  if (pre !== undefined) return { ...around, pre };
  if (code && rest.link === undefined) return { ...around, code };
  return { ...around, ...rest };
}

const kinds = ["quote", "pre", "link", "bold", "italic", "strikethrough", "code"] as const;
type Kind = typeof kinds[number];

export const isSameStyle = (a: Style, b: Style): boolean =>
  kinds.every((kind) => a[kind] === b[kind]);

/** At most so many entities, and so many bytes of them, does a run add to its message. */
export function weight({ style }: Run, before: Style): { marks: number; bytes: number } {
  const marks = kinds.filter((kind) => style[kind] !== undefined).length;
  const isSameLink = style.link === before.link && style.quote === before.quote;
  const link = isSameLink ? "" : style.link ?? "";
  return { marks, bytes: marks * MARK_BYTES + link.length + (style.pre ?? "").length };
}

/** The runs as one message. */
export function partOf(runs: readonly Run[]): Part {
  const entities = kinds.flatMap((kind) => marksOf(kind, runs));
  entities.sort((a, b) => a.offset - b.offset || b.length - a.length);
  return { text: runs.map(({ text }) => text).join(""), entities };
}

function marksOf(kind: Kind, runs: readonly Run[]): MessageEntity[] {
  const spans: { offset: number; length: number; style: Style }[] = [];
  let offset = 0;
  let isOpen = false;
  for (const { text, style } of runs) {
    const last = spans.at(-1);
    // A quote may hold a link, but its edge may not cut through one.
    const isWithin = last?.style[kind] === style[kind] && last?.style.quote === style.quote;
    if (style[kind] === undefined) isOpen = false;
    else if (isOpen && isWithin && last) last.length += text.length;
    else {
      spans.push({ offset, length: text.length, style });
      isOpen = true;
    }
    offset += text.length;
  }
  return spans.map(({ style, ...place }) => mark(kind, style, place));
}

function mark(kind: Kind, style: Style, place: { offset: number; length: number }): MessageEntity {
  if (kind === "quote") return { type: "blockquote", ...place };
  if (kind === "link") return { type: "text_link", ...place, url: style.link ?? "" };
  if (kind !== "pre") return { type: kind, ...place };
  return { type: "pre", ...place, ...style.pre ? { language: style.pre } : {} };
}
