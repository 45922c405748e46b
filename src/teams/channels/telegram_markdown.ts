/**
 * A model's Markdown as Telegram can show it. What Telegram has no form for is shown plainly: lists
 * with their marks, headings in bold, tables and rules as they were written, pictures as links.
 */
import MarkdownIt from "markdown-it";
import {
  allowed,
  clean,
  isBlank,
  isSameStyle,
  linkable,
  plainRuns,
  type Run,
  type Style,
} from "./telegram_text.ts";

type Token = ReturnType<InstanceType<typeof MarkdownIt>["parse"]>[number];

const MAX_NESTING = 100;

// Definitions nobody refers to would vanish, so `[1]: https://…` stays what was written.
const markdown = new MarkdownIt({ html: false, maxNesting: MAX_NESTING }).disable("reference");

/** The answer in runs, ready to be divided into messages. */
export function markdownRuns(source: string): Run[] {
  const text = clean(source.replaceAll("\t", "    "));
  const tokens = markdown.parse(text, {});
  // The parser leaves out what lies deeper than it looks.
  if (tokens.some(({ level }) => level >= MAX_NESTING - 1)) return plainRuns(text);
  const page = new Page(text.split("\n"));
  for (const token of tokens) page.block(token);
  return isBlank(page.runs.map((run) => run.text).join("")) ? plainRuns(text) : page.runs;
}

/** What has been written so far, and where in the document we are. */
class Page {
  readonly runs: Run[] = [];
  readonly #lines: readonly string[];
  #style: Style = {};
  /** The source line after the last block that was written. */
  #line = 0;
  #quotes = 0;
  #isQuoteBegun = false;
  #tables = 0;
  #lists = 0;
  /** List items that wait for their first words: their mark and their first line. */
  #items: { mark: string; line: number }[] = [];
  readonly #open = new Map<string, number>();
  /** The link we are in, and what it shows so far. */
  #link: { href: string; shown: string } | null = null;

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  block(token: Token): void {
    const { type, nesting } = token;
    if (type === "table_open") this.#table(token);
    if (type.startsWith("table_")) this.#tables += nesting;
    if (this.#tables > 0) return;
    if (type === "inline") this.#words(token);
    else if (type === "fence" || type === "code_block") this.#code(token);
    else if (type === "hr") this.#leaf(token, () => this.#say(token.markup));
    else if (type.startsWith("heading_")) this.#toggle("bold", nesting);
    else if (type === "blockquote_open" || type === "blockquote_close") this.#quote(nesting);
    else if (/^(?:bullet|ordered)_list_/.test(type)) this.#lists += nesting;
    else if (type === "list_item_open") {
      this.#items.push({ mark: markOf(token), line: token.map?.[0] ?? this.#line });
    } else if (type === "list_item_close") this.#marksAlone();
  }

  /** A block of its own lines, as far from the one before as in the source. */
  #leaf({ map }: Token, write: () => void): void {
    const [start, end] = map ?? [this.#line, this.#line];
    if (this.runs.length > 0) this.#gap(start > this.#line ? "\n\n" : "\n");
    this.#say(this.#marks(), {});
    write();
    this.#line = end;
  }

  /** What stands before a line: how deep it is, and the marks of items that begin with it. */
  #marks(): string {
    const items = this.#items.splice(0);
    return "  ".repeat(this.#lists - items.length) + items.map(({ mark }) => mark).join("");
  }

  /** The marks of items with no words in their first line. */
  #marksAlone(): void {
    const [item] = this.#items;
    if (item === undefined) return;
    if (this.runs.length > 0) this.#gap(item.line > this.#line ? "\n\n" : "\n");
    this.#say(this.#marks().trimEnd(), {});
    this.#line = item.line + 1;
  }

  #gap(text: string): void {
    this.#add(text, this.#quotes > 0 && this.#isQuoteBegun ? { quote: true } : {});
  }

  #words(token: Token): void {
    this.#leaf(token, () => {
      for (const child of token.children ?? []) this.#inline(child);
    });
  }

  #code(token: Token): void {
    const content = token.content.replace(/\n+$/, "");
    const [start = 0, end = 0] = token.map ?? [];
    this.#marksAlone();
    const gap = start > this.#line ? "\n\n" : "\n";
    this.#line = end;
    if (isBlank(content)) return;
    if (this.runs.length > 0) this.#gap(gap);
    this.#say(content, { pre: languageOf(token.info) });
  }

  #table(token: Token): void {
    const [start = 0, end = 0] = token.map ?? [];
    const rows = this.#lines.slice(start, end).map((line) => line.replace(/^[\s>]+/, ""));
    this.#leaf(token, () => this.#say(rows.join("\n"), { pre: "" }));
  }

  #quote(nesting: number): void {
    this.#quotes += nesting;
    if (this.#quotes === 0 || nesting > 0 && this.#quotes === 1) this.#isQuoteBegun = false;
  }

  #inline(token: Token): void {
    const { type, nesting, content } = token;
    if (type === "softbreak" || type === "hardbreak") this.#say("\n" + "  ".repeat(this.#lists));
    else if (type === "code_inline") this.#say(content, { ...this.#style, code: true });
    else if (type === "image") this.#picture(content, String(token.attrGet("src") ?? ""));
    else if (type === "link_open") this.#openLink(String(token.attrGet("href") ?? ""));
    else if (type === "link_close") this.#closeLink();
    else if (type.startsWith("strong_")) this.#toggle("bold", nesting);
    else if (type.startsWith("em_")) this.#toggle("italic", nesting);
    else if (type.startsWith("s_")) this.#toggle("strikethrough", nesting);
    else this.#say(content);
  }

  #toggle(kind: "bold" | "italic" | "strikethrough", nesting: number): void {
    const depth = (this.#open.get(kind) ?? 0) + nesting;
    this.#open.set(kind, depth);
    const { [kind]: _, ...rest } = this.#style;
    this.#style = depth > 0 ? { ...rest, [kind]: true } : rest;
  }

  #openLink(href: string): void {
    this.#link = { href, shown: "" };
    const link = linkable(href);
    if (link !== null) this.#style = { ...this.#style, link };
  }

  /** An address Telegram takes for no link stands behind its words. */
  #closeLink(): void {
    const { href, shown } = this.#link ?? { href: "", shown: "" };
    const { link, ...rest } = this.#style;
    if (shown === "") this.#say(href);
    else if (link === undefined && href !== "" && ![shown, `mailto:${shown}`].includes(href)) {
      this.#say(` (${href})`);
    }
    this.#style = rest;
    this.#link = null;
  }

  #picture(words: string, address: string): void {
    if (this.#link !== null) return this.#say(words || address);
    this.#openLink(address);
    this.#say(words);
    this.#closeLink();
  }

  #say(text: string, style: Style = this.#style): void {
    if (text === "") return;
    const isQuoted = this.#quotes > 0;
    this.#add(clean(text), isQuoted ? { ...style, quote: true } : style);
    if (isQuoted) this.#isQuoteBegun = true;
    if (this.#link !== null) this.#link.shown += text;
  }

  #add(text: string, wanted: Style): void {
    if (text === "") return;
    const style = allowed(wanted);
    const last = this.runs.at(-1);
    const joins = last !== undefined && isSameStyle(last.style, style);
    if (joins) this.runs[this.runs.length - 1] = { text: last.text + text, style };
    else this.runs.push({ text, style });
  }
}

const markOf = ({ info, markup }: Token): string => info === "" ? "• " : `${info}${markup} `;

/** The first word after the fence, if it can be a language. */
const languageOf = (info: string): string => /^[\w+#.-]{1,32}(?!\S)/.exec(info.trim())?.[0] ?? "";
