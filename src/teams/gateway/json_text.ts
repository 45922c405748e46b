/**
 * An object's JSON text, looked at and changed without being written anew: a number, an escape or a
 * field nobody here knows goes on exactly as it came.
 */
import { invalid } from "../../errors.ts";

/** Where a member stands: `start` of its key, `from` and `to` of its value. */
export type Member = { key: string; start: number; from: number; to: number };

const isSpace = (code: number) => code === 32 || code === 10 || code === 13 || code === 9;
const QUOTE = 34;
const COMMA = 44;
const BACKSLASH = 92;
const BRACKET_END = 93;

/** Behind the string that begins at `at`. */
function afterString(text: string, at: number): number {
  for (let i = at + 1;; i++) {
    i = text.indexOf('"', i);
    let slashes = 0;
    while (text.charCodeAt(i - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return i + 1;
  }
}

/** Behind the value that begins at `at`. */
function afterValue(text: string, at: number): number {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      i = afterString(text, i) - 1;
      if (depth === 0) return i + 1;
    } else if (code === 123 || code === 91) depth++;
    else if (code === 125 || code === BRACKET_END) {
      if (depth === 0) return i;
      if (--depth === 0) return i + 1;
    } else if (depth === 0 && (code === COMMA || isSpace(code))) return i;
  }
  return text.length;
}

const skip = (text: string, at: number) => {
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
};

/** The members of the object that `text` is, which must have been parsed as JSON before. */
export function membersOf(text: string): Member[] {
  const members: Member[] = [];
  let at = skip(text, skip(text, 0) + 1);
  while (text.charCodeAt(at) === QUOTE) {
    const end = afterString(text, at);
    const quoted = text.slice(at, end);
    const key = quoted.includes("\\") ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
    const from = skip(text, skip(text, end) + 1);
    const to = afterValue(text, from);
    members.push({ key, start: at, from, to });
    const next = skip(text, to);
    at = text.charCodeAt(next) === COMMA ? skip(text, next + 1) : text.length;
  }
  return members;
}

/** Where the elements of the list stand that begins at `at`, in a text that was parsed before. */
export function elementsOf(text: string, at: number): { from: number; to: number }[] {
  const elements: { from: number; to: number }[] = [];
  let from = skip(text, at + 1);
  while (text.charCodeAt(from) !== BRACKET_END) {
    const to = afterValue(text, from);
    elements.push({ from, to });
    const next = skip(text, to);
    from = text.charCodeAt(next) === COMMA ? skip(text, next + 1) : next;
  }
  return elements;
}

/**
 * The text with some members' values replaced, or added at the end. Values are JSON texts.
 * `members` are the text's own.
 */
export function withMembers(
  text: string,
  members: readonly Member[],
  values: Readonly<Record<string, string>>,
): string {
  const left = new Map(Object.entries(values));
  let written = "";
  let at = 0;
  for (const { key, from, to } of members) {
    const value = left.get(key);
    if (value === undefined) continue;
    left.delete(key);
    written += text.slice(at, from) + value;
    at = to;
  }
  const end = text.lastIndexOf("}");
  const added = [...left].map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",");
  const comma = added !== "" && members.length > 0 ? "," : "";
  return written + text.slice(at, end) + comma + added + text.slice(end);
}

/**
 * Throws ValidationError for a member that stands twice, or that some reader takes for one of `known`
 * in other letters: two readers must not see two requests in one text.
 */
export function requireUnequivocal(members: readonly Member[], known: readonly string[]): void {
  const seen = new Set<string>();
  for (const { key } of members) {
    if (seen.has(key)) throw invalid(key.slice(0, 100), "Give it once");
    seen.add(key);
    if (known.includes(key)) continue;
    // Upwards first: some readers take ſ for an s and the Kelvin sign for a k.
    const folded = key.toUpperCase().toLowerCase();
    const meant = known.find((name) => name === folded);
    if (meant) throw invalid(key, `Write it ${meant}`);
  }
}
