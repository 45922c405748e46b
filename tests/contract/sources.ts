/** The repository's own text: its files, what they import, and their code without words in it. */

const root = new URL("../../", import.meta.url);
const skipped = new Set([".git", ".data", "node_modules"]);

export type Source = { path: string; text: string };

/** Every file of the repository whose name ends so, by its path from the top. */
export async function sources(...endings: string[]): Promise<Source[]> {
  const found: Source[] = [];
  const walk = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(folder || ".", root))) {
      const path = `${folder}${name}`;
      if (skipped.has(name)) continue;
      if (isDirectory) await walk(`${path}/`);
      else if (endings.some((ending) => name.endsWith(ending))) {
        found.push({ path, text: await Deno.readTextFile(new URL(path, root)) });
      }
    }
  };
  await walk("");
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

export const exists = (path: string): Promise<boolean> =>
  Deno.stat(new URL(path, root)).then(() => true, () => false);

export type Import = { target: string; isType: boolean };

const statement =
  /^(?:import|export)\s+(type\s)?([^"';]*?)(?:\sfrom\s*)?"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;

/** What a module imports or re-exports: our own files by path, others by name. */
export function importsOf({ path, text }: Source): Import[] {
  return [...text.matchAll(statement)].map(([, type, names = "", from, later]) => {
    const named = /\{([^}]*)\}/.exec(names)?.[1]?.split(",").map((name) => name.trim()) ?? [];
    const isAllTypes = named.filter(Boolean).length > 0 &&
      named.filter(Boolean).every((name) => name.startsWith("type ")) &&
      !/^[^{]*\w\s*,/.test(names);
    const target = from ?? later ?? "";
    return {
      target: target.startsWith(".") ? relative(path, target) : target,
      isType: type !== undefined || isAllTypes,
    };
  });
}

const relative = (path: string, target: string) =>
  new URL(target, `file:///${path}`).pathname.slice(1);

/** Where a piece of text that is not code ends, by what it begins with. */
const spans: readonly [RegExp, "comment" | "text"][] = [
  [/\/\/[^\n]*/y, "comment"],
  [/\/\*[\s\S]*?\*\//y, "comment"],
  [/"(?:[^"\\\n]|\\.)*"/y, "text"],
  [/'(?:[^'\\\n]|\\.)*'/y, "text"],
];
const pattern = /\/(?![*/])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[dgimsuvy]*/y;
/** After these a slash begins a pattern and does not divide. */
const before = /(?:^|[=(,:;!&|?{}[\]+\-*%~^<>]|\b(?:return|typeof|case|in|of|await))\s*$/;

const blank = (text: string) => text.replaceAll(/[^\n]/g, " ");

/** The text with comments, strings and patterns as blanks; what stands in `${}` stays. */
export function codeOf(text: string): string {
  let out = "";
  const open: number[] = []; // Braces since each `${` that is open.
  let isTemplate = false;
  for (let at = 0; at < text.length;) {
    const char = text.charAt(at);
    if (isTemplate) {
      if (char === "`") isTemplate = false;
      const isHole = char === "$" && text[at + 1] === "{";
      if (isHole) {
        open.push(0);
        isTemplate = false;
      }
      const length = isHole || char === "\\" ? 2 : 1;
      out += isHole ? " {" : blank(text.slice(at, at + length));
      at += length;
      continue;
    }
    const span = spanAt(text, at, out);
    if (span) {
      out += blank(span);
      at += span.length;
      continue;
    }
    const depth = open.at(-1);
    if (char === "`") isTemplate = true;
    else if (depth !== undefined && char === "{") open[open.length - 1] = depth + 1;
    else if (depth !== undefined && char === "}") {
      if (depth === 0) isTemplate = open.pop() !== undefined;
      else open[open.length - 1] = depth - 1;
    }
    out += char === "`" ? " " : char;
    at++;
  }
  return out;
}

function spanAt(text: string, at: number, code: string): string | null {
  if (!/[/"']/.test(text.charAt(at))) return null;
  const kinds = before.test(code.slice(-40))
    ? [...spans.map(([kind]) => kind), pattern]
    : spans.map(([kind]) => kind);
  for (const kind of kinds) {
    kind.lastIndex = at;
    const found = kind.exec(text)?.[0];
    if (found) return found;
  }
  return null;
}

/** The lines of a file that hold nothing but a comment. */
export const commentLines = (text: string): number => {
  const code = codeOf(text).split("\n");
  return text.split("\n").filter((line, number) =>
    /^\s*(?:\/\/|\/?\*)/.test(line) && code[number]?.trim() === ""
  ).length;
};

export type Piece = { name: string; line: number; lines: number };

/** The functions of formatted code: one closes where its indentation comes back. */
export function functionsOf(text: string): Piece[] {
  const [code, written] = [codeOf(text).split("\n"), text.split("\n")];
  return code.flatMap((line, number): Piece[] => {
    const isHead =
      /^\s*(?:.*\bfunction\b.*|.*=>\s*|(?:async |static |get |override )*[\w#]+\(.*\).*)\{\s*$/
        .test(line);
    if (!isHead || /^\s*(?:if|for|while|switch|catch|else|do|try|return|\})\b/.test(line)) {
      return [];
    }
    const indent = /^\s*/.exec(written[number] ?? "")?.[0] ?? "";
    const end = code.findIndex((later, place) => place > number && later.startsWith(`${indent}}`));
    const name = written[number]?.trim().slice(0, 60) ?? "";
    return [{ name, line: number + 1, lines: (end < 0 ? code.length : end) - number + 1 }];
  });
}
