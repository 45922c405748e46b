/**
 * The two markup languages of the Bot API, as strict as the real server: what it cannot parse is an
 * error with its words. Written from the documentation ("Formatting options") and the errors of
 * TDLib; `<tg-emoji>`, `![…](…)` and expandable quotes are left out, as nobody here sends them.
 */
import type { MessageEntity } from "@grammyjs/types";

export type Marked = { text: string; entities: MessageEntity[] };

/** A 400, with the description that follows "Bad Request: ". */
export class BadRequest extends Error {}

const unparsable = (words: string) => new BadRequest(`can't parse entities: ${words}`);
const bytes = (text: string) => new TextEncoder().encode(text).length;

function entityOf(kind: string, offset: number, length: number, more: string): MessageEntity {
  if (kind === "pre") return { type: "pre", offset, length, ...more ? { language: more } : {} };
  if (kind === "text_link") return { type: "text_link", offset, length, url: more };
  return { type: simples.find((name) => name === kind) ?? "bold", offset, length };
}

const simples = [
  ...["bold", "italic", "underline", "strikethrough", "spoiler", "code", "blockquote"] as const,
];

const tags: Readonly<Record<string, string>> = {
  b: "bold",
  strong: "bold",
  i: "italic",
  em: "italic",
  u: "underline",
  ins: "underline",
  s: "strikethrough",
  strike: "strikethrough",
  del: "strikethrough",
  span: "spoiler",
  ...{
    "tg-spoiler": "spoiler",
    a: "text_link",
    code: "code",
    pre: "pre",
    blockquote: "blockquote",
  },
};

const named: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"' };
const reference = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(lt|gt|amp|quot));?/gi;

const unescaped = (text: string) =>
  text.replaceAll(reference, (all, decimal, hex, name) => {
    if (name) return named[name.toLowerCase()] ?? all;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });

type Open = { tag: string; offset: number; more: string };

export function fromHtml(source: string): Marked {
  const open: Open[] = [];
  const entities: MessageEntity[] = [];
  let text = "";
  for (let at = 0; at < source.length;) {
    const next = source.indexOf("<", at);
    text += unescaped(source.slice(at, next < 0 ? source.length : next));
    if (next < 0) break;
    const place = `at byte offset ${bytes(source.slice(0, next))}`;
    const isEnd = source[next + 1] === "/";
    const [all = "", name = "", rest = ""] =
      /^<\/?([^\s>]*)((?:[^>"']|"[^"]*"|'[^']*')*)>/.exec(source.slice(next)) ?? [];
    if (all === "") throw unparsable(`Unclosed ${isEnd ? "end" : "start"} tag ${place}`);
    const tag = name.toLowerCase();
    if (isEnd) {
      const begun = open.pop();
      if (!begun) throw unparsable(`Unexpected end tag ${place}`);
      if (tag !== "" && tag !== begun.tag) {
        throw unparsable(
          `Unmatched end tag ${place}, expected "</${begun.tag}>", found "</${tag}>"`,
        );
      }
      if (text.length > begun.offset) finish(entities, begun, text);
    } else {
      if (!Object.hasOwn(tags, tag)) throw unparsable(`Unsupported start tag "${tag}" ${place}`);
      open.push({ tag, offset: text.length, more: attribute(tag, rest, place) });
    }
    at = next + all.length;
  }
  const left = open.at(-1);
  if (left) {
    throw unparsable(`Can't find end tag corresponding to start tag "${left.tag}"`);
  }
  return { text, entities };
}

function attribute(tag: string, rest: string, place: string): string {
  const found = new Map<string, string>();
  let left = rest.trim();
  while (left !== "") {
    const [all = "", name = "", a, b, c] =
      /^([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([\w.-]+)(?=\s|$))\s*/.exec(left) ?? [];
    if (all === "") {
      throw unparsable(
        `Expected equal sign in declaration of an attribute of the tag "${tag}" ${place}`,
      );
    }
    found.set(name, unescaped(a ?? b ?? c ?? ""));
    left = left.slice(all.length);
  }
  const style = found.get("class") ?? "";
  if (tag === "span" && style !== "tg-spoiler") {
    throw unparsable(`Tag "span" must have class "tg-spoiler" ${place}`);
  }
  if (tag === "code" && style.startsWith("language-")) return style.slice("language-".length);
  return tag === "a" ? found.get("href") ?? "" : "";
}

/** `<pre><code class="language-x">` is one block of code; a link without address is its text. */
function finish(entities: MessageEntity[], { tag, offset, more }: Open, text: string): void {
  const length = text.length - offset;
  const kind = tags[tag] ?? "";
  const last = entities.at(-1);
  if (kind === "pre" && last?.type === "pre" && last.offset === offset && last.length === length) {
    return;
  }
  const words = kind === "text_link" ? more || text.slice(offset) : more;
  const isBlock = kind === "code" && more !== "";
  entities.push(entityOf(isBlock ? "pre" : kind, offset, length, words));
}

/** What opens and closes; the longer marks first. */
const marks: readonly (readonly [mark: string, kind: string])[] = [
  ["```", "pre"],
  ["`", "code"],
  ["__", "underline"],
  ["_", "italic"],
  ["*", "bold"],
  ["~", "strikethrough"],
  ["||", "spoiler"],
  ["[", "text_link"],
];
const reserved = "_*[]()~`>#+-=|{}.!";
const names: Readonly<Record<string, string>> = {
  pre: "Pre",
  code: "Code",
  underline: "Underline",
  italic: "Italic",
  bold: "Bold",
  strikethrough: "Strikethrough",
  spoiler: "Spoiler",
  text_link: "TextUrl",
  blockquote: "BlockQuote",
};

type Begun = { kind: string; mark: string; offset: number; byte: number; more: string };

export function fromMarkdownV2(source: string): Marked {
  const reader = new Reader(source);
  while (reader.step());
  return reader.end();
}

class Reader {
  #at = 0;
  #text = "";
  readonly #open: Begun[] = [];
  readonly #entities: MessageEntity[] = [];

  constructor(readonly source: string) {}

  /** Reads a sign, a mark or an address; false at the end. */
  step(): boolean {
    const rest = this.source.slice(this.#at);
    const top = this.#open.at(-1);
    const isCode = top?.kind === "pre" || top?.kind === "code";
    const mark = marks.find(([mark]) => rest.startsWith(mark));
    if (rest === "") return false;
    if (/^\\[\n -~]/.test(rest)) this.#say(rest.charAt(1), 2);
    else if (isCode && !rest.startsWith(top.mark)) this.#say(rest.charAt(0));
    else if (top?.kind === "text_link" && rest[0] === "]") this.#address(rest);
    else if (mark && top?.mark === mark[0] && mark[0] !== "[") {
      this.#close(top.kind === "pre" ? top.more : "");
      this.#at += mark[0].length;
    } else if (mark) this.#begin(mark, rest);
    else if (rest[0] === "\n" || rest[0] === ">" && this.#at === 0) this.#line(rest);
    else if (reserved.includes(rest.charAt(0))) {
      const words = "is reserved and must be escaped with the preceding '\\'";
      throw unparsable(`Character '${rest[0]}' ${words}`);
    } else this.#say(rest.charAt(0));
    return true;
  }

  end(): Marked {
    if (this.#isQuoted()) this.#endQuote();
    const left = this.#open.at(-1);
    if (left) throw endless(left);
    return { text: this.#text, entities: this.#entities };
  }

  #say(text: string, length = text.length): void {
    this.#text += text;
    this.#at += length;
  }

  #isQuoted = () => this.#open.some(({ kind }) => kind === "blockquote");

  #byte = () => bytes(this.source.slice(0, this.#at));

  #begin([mark, kind]: readonly [string, string], rest: string): void {
    const [, language = "", gap = ""] = /^```(?:([^\s`]+)(?=\s))?(\r?\n)?/.exec(rest) ?? [];
    this.#open.push({ kind, mark, offset: this.#text.length, byte: this.#byte(), more: language });
    this.#at += mark.length + (kind === "pre" ? language.length + gap.length : 0);
  }

  #close(more: string): void {
    const { kind, offset } = this.#open.pop() ?? { kind: "", offset: 0 };
    const length = this.#text.length - offset;
    if (length === 0) return;
    const isBare = kind === "text_link" && more === "";
    const words = isBare ? this.#text.slice(offset) : more;
    this.#entities.push(entityOf(kind, offset, length, words));
  }

  /** A quote begins with `>` and goes on for as long as lines do. */
  #line(rest: string): void {
    const isQuoted = this.#isQuoted();
    const goesOn = rest[0] === ">" || rest[1] === ">";
    if (isQuoted && !goesOn) this.#endQuote();
    if (rest[0] === "\n") this.#say("\n");
    if (!goesOn) return;
    const begun = { offset: this.#text.length, byte: this.#byte(), more: "" };
    if (!isQuoted) this.#open.push({ kind: "blockquote", mark: ">", ...begun });
    this.#at++;
  }

  #endQuote(): void {
    const last = this.#open.at(-1);
    if (last && last.kind !== "blockquote") throw endless(last);
    this.#close("");
  }

  #address(rest: string): void {
    const [all = "", url = ""] = /^\]\(((?:\\[\n -~]|[^)\\])*)\)/.exec(rest) ?? [];
    if (rest[1] === "(" && all === "") {
      throw unparsable(`Can't find end of a URL at byte offset ${this.#byte() + 2}`);
    }
    this.#close(url.replaceAll(/\\([\n -~])/g, "$1"));
    this.#at += all.length || 1;
  }
}

const endless = ({ kind, byte }: Begun) =>
  unparsable(`Can't find end of ${names[kind]} entity at byte offset ${byte}`);
