/** The repository keeps its own manners: small files, small functions, true words, pinned parts. */
import assert from "node:assert/strict";
import { codeOf, commentLines, exists, functionsOf, type Source, sources } from "./sources.ts";

const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 70;

const code = await sources(".ts");
const texts = await sources(".ts", ".md", ".json", ".sql", ".sh", ".yml", ".proto");
const markdown = texts.filter(({ path }) => path.endsWith(".md"));
const isTable = ({ path }: Source) => /provider_seed\//.test(path);

/** Closures over one state, made of small functions. Shrinks only. */
const closures: Readonly<Record<string, string>> = {
  "src/cache/cache.ts": "cache(): reads, fills and moves share one shelf",
  "tests/kit.ts": "world(): what a test holds in its hand",
};

/** What a module keeps between calls. Shrinks only. */
const kept: Readonly<Record<string, string>> = {
  "src/access/passwords.ts": "One hash that fits nothing, made once because it is slow on purpose",
};

/** Places that look away from a type, and why there is no other way. Shrinks only. */
const casts: Readonly<Record<string, string>> = {
  "tests/kit.ts": "tRPC keeps its procedures flat at run time; its types do not say so",
};

const lineOf = (text: string, index: number) => text.slice(0, index).split("\n").length;

/** Each match in code, not in its strings and comments, as `file:line`. */
const places = (sources: Source[], pattern: RegExp): string[] =>
  sources.flatMap(({ path, text }) => {
    const bare = codeOf(text);
    return [...bare.matchAll(pattern)].map(({ index }) => `${path}:${lineOf(bare, index)}`);
  });

Deno.test("codeOf leaves code and blanks what is written in it", () => {
  const text = 'const a = "x!"; // b!\nconst c = /d!"/.test(`e! ${f!.g} h!`); const i = j / k!;';
  assert.equal(
    codeOf(text).replaceAll(/ +/g, " "),
    "const a = ; \nconst c = .test( {f!.g} ); const i = j / k!;",
  );
});

Deno.test("functionsOf measures from the head to the brace that closes", () => {
  const text = "function a() {\n  if (b) {\n  }\n}\nconst c = () => {\n};\n";
  assert.deepEqual(functionsOf(text).map(({ lines }) => lines), [4, 2]);
});

Deno.test(`no file is longer than ${MAX_FILE_LINES} lines`, () => {
  const long = [...code, ...markdown].map(({ path, text }) =>
    [path, text.split("\n").length] as const
  )
    .filter(([, lines]) => lines > MAX_FILE_LINES);
  assert.deepEqual(long, [], "Divide these by their ideas");
});

Deno.test(`no function is longer than ${MAX_FUNCTION_LINES} lines`, () => {
  for (const { path, text } of code) {
    for (const { name, line, lines } of functionsOf(text)) {
      if (lines <= MAX_FUNCTION_LINES || closures[path]) continue;
      assert.fail(`${path}:${line} ${name} has ${lines} lines: take a part out`);
    }
  }
});

Deno.test("no value is asserted to be there, and no type is thrown away", () => {
  assert.deepEqual(
    places(code, /[\w)\]>]!(?=[.,;)\]}[(\s]|$)(?!\s*=)/gm),
    [],
    "Check it instead of `!`",
  );
  assert.deepEqual(
    places(code, /(?::|<|\bas|\|)\s*any\b(?!\()|\bany(?=\[\]|>)/g),
    [],
    "Say what it is, or unknown",
  );
  const away = places(code, /\bas unknown as\b|\bas never\b|@ts-(?:ignore|expect-error|nocheck)/g)
    .filter((place) => !casts[place.split(":")[0] ?? ""]);
  assert.deepEqual(away, [], "Narrow the type; or list the file in tidy_test.ts with a reason");
  const gone = Object.keys(casts).filter((path) => !code.some((source) => source.path === path));
  assert.deepEqual(gone, []);
});

Deno.test("no file hides type or lint errors", () => {
  const found = code.filter(({ path, text }) =>
    path !== "tests/contract/tidy_test.ts" &&
    /@ts-(?:ignore|expect-error|nocheck)|deno-lint-ignore-file|deno-fmt-ignore-file/.test(text)
  );
  assert.deepEqual(found.map(({ path }) => path), []);
});

const banned = new Set([
  "utils",
  "util",
  "helpers",
  "helper",
  "common",
  "types",
  "managers",
  "manager",
  "misc",
  "lib",
  "shared",
]);

Deno.test("files and folders are named after what they hold", () => {
  for (const { path } of texts) {
    const parts = path.split("/");
    const [folders, file = ""] = [parts.slice(0, -1), parts.at(-1)];
    const name = file.replace(/\..*$/, "");
    for (const part of [...folders, name]) {
      assert.ok(!banned.has(part), `${path}: say what it holds instead of ${part}`);
    }
    assert.ok(!folders.includes("services"), `${path}: services is no folder here`);
    assert.notEqual(file, "index.ts", `${path}: import the file itself`);
    if (!file.endsWith(".ts") || path === "drizzle.config.ts") continue; // That one is named by its tool.
    assert.match(file, /^[a-z0-9_]+(?:\.d)?\.ts$/, `${path}: snake_case, like the others`);
  }
});

Deno.test("every file opens with a sentence about what it is", () => {
  for (
    const { path, text } of code.filter(({ path }) => /^(db|src|routers|scripts)\//.test(path))
  ) {
    assert.match(
      text,
      /^(#!.*\n)?\/\*\*/,
      `${path}: begin with /** One sentence in the product's words. */`,
    );
  }
});

Deno.test("every path in a Markdown file leads somewhere", async () => {
  for (const { path, text } of markdown) {
    const folder = path.includes("/") ? path.replace(/[^/]*$/, "") : "";
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:|mailto:|#)([^)\s#]+)/g)) {
      assert.ok(
        await exists(`${folder}${target}`),
        `${path} links to ${target}, which is not there`,
      );
    }
    const named = /`((?:db|src|routers|tests|scripts|\.ci)\/[\w./-]*[\w/])`/g;
    for (const [, target = ""] of text.matchAll(named)) {
      assert.ok(await exists(target), `${path} names ${target}, which is not there`);
    }
  }
});

Deno.test("no text names a machine, a registry or a person's folder", () => {
  const elsewhere = new RegExp(
    [
      "registry\\.npm",
      "jsr\\.io",
      "deno\\.land/",
      "esm\\.sh",
      "unpkg\\.com",
      "cdn\\.",
      "/home/\\w",
      "/Users/\\w",
      "/(?:root|work)/",
    ]
      .join("|"),
  );
  for (const { path, text } of texts) {
    if (path === "tests/contract/tidy_test.ts") continue;
    const found = elsewhere.exec(text);
    assert.ok(!found, `${path}:${found && lineOf(text, found.index)} names ${found?.[0]}`);
  }
});

Deno.test("comments are 2 to 12 per cent of the lines, floor by floor", () => {
  for (const floor of ["db", "src", "routers", "scripts", "tests"]) {
    const files = code.filter((source) => source.path.startsWith(`${floor}/`) && !isTable(source));
    const lines = files.reduce((sum, { text }) => sum + text.split("\n").length, 0);
    const comments = files.reduce((sum, { text }) => sum + commentLines(text), 0);
    const share = Math.round(1000 * comments / lines) / 10;
    assert.ok(share >= 2 && share <= 12, `${floor}: ${share} % of the lines are comments`);
  }
});

Deno.test("nothing is left for later in the code", () => {
  const found = code.filter(({ text, path }) =>
    path !== "tests/contract/tidy_test.ts" && /\b(?:TODO|FIXME|XXX|HACK)\b/.test(text)
  );
  assert.deepEqual(found.map(({ path }) => path), [], "File it, or do it");
});

/** Where the environment may be read; everything else is handed what it needs. */
const readsEnvironment = /^(src\/env\.ts|src\/main\.ts|scripts\/|tests\/|drizzle\.config\.ts)/;

Deno.test("the environment is read in one place, and nothing is remembered between calls in modules", () => {
  const env = places(code, /\bDeno\.env\b/g).filter((place) => !readsEnvironment.test(place));
  assert.deepEqual(env, [], "Add the variable to src/env.ts and hand it down");
  const inside = code.filter(({ path }) => /^(src|routers|db)\//.test(path));
  const state = places(inside, /^(?:export )?(?:let|var) /gm)
    .filter((place) => !kept[place.split(":")[0] ?? ""]);
  assert.deepEqual(state, [], "Keep it in the services or in a closure");
  const spoken = places(inside, /\bconsole\./g).filter((place) =>
    !/^src\/(log|main|secrets\/offline)\.ts/.test(place)
  );
  assert.deepEqual(spoken, [], "Use ctx.log");
});

const { imports, version } = await jsonOf("deno.json");
const lock = await jsonOf("deno.lock");

async function jsonOf(path: string): Promise<Record<string, Record<string, string>>> {
  return JSON.parse(await Deno.readTextFile(new URL(`../../${path}`, import.meta.url)));
}

Deno.test("every dependency comes from npm and is pinned to one version", () => {
  assert.equal(version, undefined);
  for (const [name, target] of Object.entries(imports ?? {})) {
    assert.match(
      target,
      /^npm:@?[\w.-]+(?:\/[\w.-]+)?@\d+\.\d+\.\d+(?:-[\w.]+)?$/,
      `${name}: pin it exactly`,
    );
  }
  const bare = code.flatMap(({ path, text }) =>
    [...text.matchAll(/(?:from|import)\s*\(?\s*"((?:jsr|https?|npm):[^"]*)"/g)].map(([, target]) =>
      `${path} → ${target}`
    )
  );
  assert.deepEqual(bare, [], "Name it in deno.json and import it by that name");
});

/** Below these versions a defect others suffered is still in them. */
const least: Readonly<Record<string, string>> = {
  hono: "4.12.25",
  "@trpc/server": "11.8.0",
  "drizzle-orm": "0.45.2",
  superjson: "2.2.6",
  jose: "6.0.0",
};

Deno.test("no dependency is older than the version that mended it", () => {
  for (const [name, floor] of Object.entries(least)) {
    const locked = Object.keys(lock.npm ?? {}).filter((key) => key.startsWith(`${name}@`))
      .map((key) => key.slice(name.length + 1).split("_")[0] ?? "");
    assert.ok(locked.length > 0, `${name} is not in deno.lock`);
    for (const found of locked) assert.ok(isAtLeast(found, floor), `${name} ${found} < ${floor}`);
  }
});

function isAtLeast(found: string, floor: string): boolean {
  const [a, b] = [found, floor].map((text) => text.split(/[.-]/).map(Number));
  for (const place of [0, 1, 2]) {
    const difference = (a?.[place] ?? 0) - (b?.[place] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
