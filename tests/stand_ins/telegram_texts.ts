/**
 * What the real server does with a text and its entities before it sends them (TDLib,
 * fix_formatted_text): it refuses, cleans, trims, untangles and counts. All in UTF-16 units.
 */
import type { MessageEntity } from "@grammyjs/types";
import { BadRequest, fromHtml, fromMarkdownV2, type Marked } from "./telegram_markup.ts";

const MAX_UNITS = 4096;
const MAX_SOURCE_BYTES = 32_768;
const MAX_ENTITIES = 100;
const MAX_ENTITY_BYTES = 9_500;

const bytes = (text: string) => new TextEncoder().encode(text).length;

/** The text and entities of a message as sent, or a BadRequest. */
export function sendable(text: string, parseMode: string, entities: MessageEntity[]): Marked {
  if (text === "") throw new BadRequest("message text is empty");
  if (!text.isWellFormed()) throw new BadRequest("strings must be encoded in UTF-8");
  if (bytes(text) > MAX_SOURCE_BYTES) throw new BadRequest("text is too long");
  const marked = parsed(text, parseMode, entities);
  const whole = trimmed(cleaned({ ...marked, entities: untangled(marked) }));
  if (isEmpty(whole.text)) throw new BadRequest("text must be non-empty");
  if (whole.text.length > MAX_UNITS) throw new BadRequest("message is too long");
  const kept = byKeeping(whole.entities).slice(0, MAX_ENTITIES);
  const size = kept.reduce((sum, entity) => sum + sizeOf(entity), 0);
  if (size > MAX_ENTITY_BYTES) throw new BadRequest("ENTITIES_TOO_LONG");
  return { text: whole.text, entities: kept.sort(inOrder) };
}

function parsed(text: string, parseMode: string, entities: MessageEntity[]): Marked {
  const mode = parseMode.toLowerCase();
  const isKept = (entity: MessageEntity) =>
    entity.type !== "text_link" || linkError(entity.url) === null;
  if (mode === "html" || mode === "markdownv2") {
    const marked = mode === "html" ? fromHtml(text) : fromMarkdownV2(text);
    return { text: marked.text, entities: marked.entities.filter(isKept) };
  }
  if (mode !== "" && mode !== "none") throw new BadRequest("unsupported parse_mode");
  for (const entity of entities) check(text, entity);
  return { text, entities };
}

/** Entities that were sent as such are not mended but refused. */
function check(text: string, { offset, length, ...entity }: MessageEntity): void {
  const at = (place: number) => `at byte offset ${bytes(text.slice(0, place))}`;
  const splits = (place: number) =>
    /[\ud800-\udbff]/.test(text.charAt(place - 1)) && /[\udc00-\udfff]/.test(text.charAt(place));
  const whole = (n: number) => Number.isInteger(n) && n >= 0 && n <= 1_000_000;
  if (!whole(offset)) throw new BadRequest(`receive an entity with incorrect offset ${offset}`);
  if (!whole(length)) throw new BadRequest(`receive an entity with incorrect length ${length}`);
  const wrong = entity.type === "text_link" ? linkError(entity.url) : null;
  if (wrong !== null) throw new BadRequest(`entity URL ${wrong}`);
  if (length === 0) return;
  if (offset >= text.length) {
    throw new BadRequest(`entity begins after the end of the text at UTF-16 offset ${offset}`);
  }
  const [from, to] = [offset, offset + length];
  const begins = `entity beginning at UTF-16 offset ${from} ends`;
  if (to > text.length) {
    throw new BadRequest(`${begins} after the end of the text at UTF-16 offset ${to}`);
  }
  if (splits(from)) {
    throw new BadRequest(`entity begins in a middle of a UTF-16 symbol ${at(from)}`);
  }
  if (splits(to)) throw new BadRequest(`${begins} in a middle of a UTF-16 symbol ${at(to)}`);
}

function linkError(url: string): string | null {
  if (!URL.canParse(url)) return `'${url}' is invalid: Wrong HTTP URL`;
  const { protocol, hostname } = new URL(url);
  if (["tg:", "ton:"].includes(protocol)) return null;
  if (!["http:", "https:"].includes(protocol)) {
    return `'${url}' is invalid: Unsupported URL protocol`;
  }
  return hostname.includes(".") ? null : `'${url}' is invalid: Wrong HTTP URL`;
}

const isCode = ({ type }: MessageEntity) => type === "pre" || type === "code";
const isSolid = (entity: MessageEntity) =>
  isCode(entity) || ["text_link", "text_mention", "custom_emoji"].includes(entity.type);
const isQuote = ({ type }: MessageEntity) => type.endsWith("blockquote");
const endOf = ({ offset, length }: MessageEntity) => offset + length;
const inOrder = (a: MessageEntity, b: MessageEntity) => a.offset - b.offset || b.length - a.length;

/** What overlaps something that came first goes: solid ones, quotes; styles give way to code. */
function untangled({ text, entities }: Marked): MessageEntity[] {
  const given = entities.filter(({ length }) => length > 0).sort(inOrder);
  const quotes = apart(given.filter(isQuote));
  const solid = apart(given.filter(isSolid)).filter((entity) =>
    !quotes.some((quote) => crosses(entity, quote) || covers(entity, quote))
  );
  const others = given.filter((entity) => !isQuote(entity) && !isSolid(entity));
  const styles = [...new Set(others.map(({ type }) => type))].flatMap((type) => {
    const held = new Uint8Array(text.length + 1);
    for (const { offset, ...entity } of others) {
      if (entity.type === type) held.fill(1, offset, offset + entity.length);
    }
    for (const code of solid.filter(isCode)) held.fill(0, code.offset, endOf(code));
    const [sample] = others.filter((entity) => entity.type === type);
    return sample ? stretches(held).map((place) => ({ ...sample, ...place })) : [];
  });
  return [...quotes, ...solid, ...styles].sort(inOrder);
}

function apart(entities: MessageEntity[]): MessageEntity[] {
  const kept: MessageEntity[] = [];
  for (const entity of entities) {
    const last = kept.at(-1);
    if (!last || entity.offset >= endOf(last)) kept.push(entity);
  }
  return kept;
}

const crosses = (a: MessageEntity, b: MessageEntity) =>
  a.offset < b.offset && b.offset < endOf(a) && endOf(a) < endOf(b) ||
  b.offset < a.offset && a.offset < endOf(b) && endOf(b) < endOf(a);
const covers = (a: MessageEntity, b: MessageEntity) =>
  a.offset <= b.offset && endOf(a) >= endOf(b) && a.length > b.length;

function stretches(held: Uint8Array): { offset: number; length: number }[] {
  const found: { offset: number; length: number }[] = [];
  for (let at = 0; at < held.length; at++) {
    const last = found.at(-1);
    if (held[at] === 0) continue;
    if (last && last.offset + last.length === at) last.length++;
    else found.push({ offset: at, length: 1 });
  }
  return found;
}

const removed = /[\r\u2028-\u202e]|\u0333|\u033f|\u030a/u;

function cleaned({ text, entities }: Marked): Marked {
  let left = "";
  const places: number[] = [];
  for (let at = 0; at < text.length; at++) {
    places.push(left.length);
    const sign = text.charAt(at);
    if (!removed.test(sign)) left += sign < " " && sign !== "\n" ? " " : sign;
  }
  places.push(left.length);
  return { text: left, entities: entities.map((entity) => moved(entity, (at) => places[at] ?? 0)) };
}

const moved = <E extends MessageEntity>(entity: E, to: (at: number) => number): E => ({
  ...entity,
  offset: to(entity.offset),
  length: to(endOf(entity)) - to(entity.offset),
});

/** Spaces and newlines go at the end, and before the first entity at the beginning. */
function trimmed({ text, entities }: Marked): Marked {
  const visible = entities.map((entity) => tight(text, entity)).filter(({ length }) => length > 0);
  const end = text.replace(/[ \n]+$/, "").length;
  const first = Math.min(end, ...visible.map(({ offset }) => offset));
  const spaces = /^[ \n]*/.exec(text.slice(0, first))?.[0].length ?? 0;
  const to = (at: number) => Math.min(at, end) - spaces;
  const left = visible.map((entity) => moved(entity, to)).filter(({ length }) => length > 0);
  return { text: text.slice(spaces, end), entities: left };
}

/** Only links and code may begin with a space or hold nothing else. */
function tight<E extends MessageEntity>(text: string, entity: E): E {
  if (isSolid(entity)) return entity;
  const spaces = /^[ \n]*/.exec(text.slice(entity.offset, endOf(entity)))?.[0].length ?? 0;
  return { ...entity, offset: entity.offset + spaces, length: entity.length - spaces };
}

const unseen = new RegExp(
  "[\\s\\u180e\\u200b-\\u200f\\u202e\\u2800\\ufffc\\ufeff\\u{e0000}-\\u{e007f}]",
  "gu",
);
const isEmpty = (text: string) => text.replaceAll(unseen, "") === "";

/** Styles are the first to go when there are too many. */
const byKeeping = (entities: MessageEntity[]): MessageEntity[] => [
  ...entities.filter((entity) => isSolid(entity) || isQuote(entity)),
  ...pieces(entities.filter((entity) => !isSolid(entity) && !isQuote(entity))),
];

/** Styles that lie over each other are cut where another begins. */
function pieces(styles: MessageEntity[]): MessageEntity[] {
  const starts = styles.map(({ offset }) => offset);
  return styles.flatMap((style) => {
    const cuts = starts.filter((at) => at > style.offset && at < endOf(style));
    const places = [...new Set([style.offset, ...cuts, endOf(style)])].sort((a, b) => a - b);
    return places.slice(1).map((to, n) => {
      const offset = places[n] ?? 0;
      return { ...style, offset, length: to - offset };
    });
  }).sort(inOrder);
}

function sizeOf(entity: MessageEntity): number {
  const words = entity.type === "text_link"
    ? entity.url
    : entity.type === "pre"
    ? entity.language ?? ""
    : null;
  return 12 + (words === null ? 0 : Math.ceil((1 + bytes(words)) / 4) * 4);
}
