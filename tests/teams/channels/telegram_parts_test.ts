/** An answer in messages: nothing too long, nothing lost, nothing cut where it hurts. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { divided } from "../../../src/teams/channels/telegram_parts.ts";
import {
  clean,
  isBlank,
  MAX_UNITS,
  partOf,
  plainRuns,
  type Run,
} from "../../../src/teams/channels/telegram_text.ts";
import {
  anyStyle,
  anyText,
  assertTaken,
  looks,
  looksOfRuns,
  placesOf,
  RUNS,
  SEED,
} from "./formatted.ts";

const textOf = (runs: readonly Run[]) => runs.map(({ text }) => text).join("");
const texts = (runs: readonly Run[], max?: number) => divided(runs, max).map(({ text }) => text);
const plain = (text: string, max?: number) => texts(plainRuns(text), max);

Deno.test("divided leaves a short answer in one message, without the space around it", () => {
  assert.deepEqual(divided(plainRuns("\n Rye, please. \n")), [
    { text: "Rye, please.", entities: [] },
  ]);
  assert.deepEqual(divided(plainRuns(" \n\u200b")), []);
  assert.deepEqual(divided([]), []);
});

Deno.test("divided fills a message to 4,096 UTF-16 units and no further", () => {
  assert.deepEqual(plain("x".repeat(9_000)).map((text) => text.length), [4_096, 4_096, 808]);
  assert.equal(plain("x".repeat(4_096)).length, 1);
  const bread = plain("🥐".repeat(2_048) + "🥐");
  assert.deepEqual(bread.map((text) => text.length), [4_096, 2]);
});

Deno.test("divided prefers paragraphs to lines, lines to sentences, sentences to words", () => {
  assert.deepEqual(plain("One one.\n\nTwo. Two\ntwo two", 20), ["One one.", "Two. Two\ntwo two"]);
  assert.deepEqual(plain("One. One one\ntwo two two", 20), ["One. One one", "two two two"]);
  assert.deepEqual(plain("One one one. Two two two", 20), ["One one one.", "Two two two"]);
  assert.deepEqual(plain("One one one two two two", 20), ["One one one two two", "two"]);
  assert.deepEqual(plain("你好世界。你好世界，你好。", 8), ["你好世界。", "你好世界，你好。"]);
});

Deno.test("divided ends no message early for a better place far before its end", () => {
  const [first = ""] = plain("Hi.\n\n" + "word ".repeat(30), 100);
  assert.ok(first.length > 90, first);
});

Deno.test("divided cuts words that no spaces part where one ends", () => {
  for (const part of plain("สวัสดีครับ".repeat(10), 35)) assert.match(part, /^(?:สวัสดี|ครับ)+$/);
});

Deno.test("divided cuts within no grapheme, unless it alone is longer than a message", () => {
  const family = "👩‍👩‍👧‍👦";
  assert.deepEqual(plain(family.repeat(3), 24), [family.repeat(2), family]);
  assert.deepEqual(plain("🇩🇪🇫🇷🇮🇷", 6), ["🇩🇪", "🇫🇷", "🇮🇷"]);
  // A mark may sit on a space, which is then no gap.
  assert.deepEqual(plain("aaaa bbbb \u0301cccc", 10), ["aaaa", "bbbb \u0301cccc"]);
  const tower = plain("a" + "\u0301".repeat(10_000));
  assert.deepEqual(tower.map((text) => text.length), [4_096, 4_096, 1_809]);
  assert.ok(plain(`x${"👩‍".repeat(20)}👩`, 10).every((text) => text.isWellFormed()));
});

Deno.test("divided keeps a link, an address and code in a line whole", () => {
  const link = { link: "https://bakery.example/" };
  const linked = [
    { text: "This is ", style: {} },
    { text: "a link of", style: link },
    { text: " two styles", style: { ...link, bold: true } },
    { text: " here", style: {} },
  ] as const;
  assert.deepEqual(texts(linked, 22), ["This is", "a link of two styles", "here"]);
  const code = [{ text: "Say ", style: {} }, {
    text: "deno task ok",
    style: { code: true },
  }] as const;
  assert.deepEqual(texts(code, 14), ["Say", "deno task ok"]);
  const address = "https://bakery.example/a";
  assert.deepEqual(plain(`你好你好${address}你好`, 26), ["你好你好", `${address}你好`]);
  assert.equal(plain(`${address}${"b".repeat(30)}`, 30).join(""), `${address}${"b".repeat(30)}`);
});

Deno.test("divided opens a code block again with its language, indented as it was", () => {
  const code = Array.from({ length: 300 }, (_, n) => `    line ${n} of the code`).join("\n");
  const runs = [
    { text: "Look:\n", style: {} },
    { text: code, style: { pre: "ts" } },
    { text: "\nDone.", style: {} },
  ] as const;
  const parts = divided(runs);
  assert.equal(parts.length, 2);
  const [first, second] = parts;
  assert.deepEqual(first?.entities.map(({ type, offset }) => [type, offset]), [["pre", 6]]);
  assert.ok(second && second.text.startsWith("    line "));
  assert.deepEqual(second.entities, [
    { type: "pre", offset: 0, length: second.text.length - "\nDone.".length, language: "ts" },
  ]);
  const lines = parts.flatMap(({ text }) => text.split("\n"));
  assert.deepEqual(lines, textOf(runs).split("\n"));
});

Deno.test("divided cuts before a code block rather than within it", () => {
  const runs = [
    { text: "x ".repeat(1_300) + "\n", style: {} },
    { text: "a\n\nb\n".repeat(400), style: { pre: "" } },
  ] as const;
  assert.deepEqual(divided(runs).map(({ entities }) => entities.length), [0, 1]);
});

Deno.test("divided puts no more formatting into a message than Telegram keeps", () => {
  const bold = Array.from({ length: 250 }, (_, n): Run[] => [
    { text: `b${n}`, style: { bold: true } },
    { text: " ", style: {} },
  ]).flat();
  const parts = divided(bold);
  assert.deepEqual(parts.map(({ entities }) => entities.length), [100, 100, 50]);
  parts.forEach(assertTaken);
  const link = (n: number) => `https://x.example/${n}/${"p".repeat(1_900)}`;
  const links = Array.from({ length: 9 }, (_, n): Run[] => [
    { text: `l${n}`, style: { link: link(n) } },
    { text: " ", style: {} },
  ]).flat();
  assert.deepEqual(divided(links).map(({ entities }) => entities.length), [4, 4, 1]);
  divided(links).forEach(assertTaken);
});

Deno.test("divided takes a long answer of any make in well under a second", () => {
  const makes = ["x", "a ", "a\n", "🇩🇪", "สวัสดี", "a\u0301\u0301", "\n", "https://x.example/ "];
  for (const make of makes) {
    const start = performance.now();
    divided(plainRuns(make.repeat(Math.ceil(130_000 / make.length))));
    const ms = performance.now() - start;
    assert.ok(ms < 2_000, `${JSON.stringify(make)}: ${ms} ms`);
  }
});

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

type Span = { from: number; to: number };

/** What may not be cut, if it fits: graphemes, links, code in a line, addresses. */
function wholes(runs: readonly Run[], max: number): Span[] {
  const text = textOf(runs);
  const spans: Span[] = [];
  let from = 0;
  let before = "";
  for (const { text, style: { link, code } } of runs) {
    const is = link ?? (code ? "code" : "");
    const last = spans.at(-1);
    if (is !== "" && last && before === is) last.to += text.length;
    else if (is !== "") spans.push({ from, to: from + text.length });
    before = is;
    from += text.length;
  }
  const found = [...graphemes.segment(text)].map(({ segment, index }) => [segment, index] as const);
  const addresses = [...text.matchAll(/https?:\/\/[!-~]+/gi)].map(({ 0: all, index }) =>
    [all, index] as const
  );
  for (const [all, index] of [...found, ...addresses]) {
    spans.push({ from: index, to: index + all.length });
  }
  return joined(spans).filter(({ from, to }) => to - from <= max);
}

/** What overlaps holds together. */
function joined(spans: Span[]): Span[] {
  const all: Span[] = [];
  for (const { from, to } of spans.sort((a, b) => a.from - b.from)) {
    const last = all.at(-1);
    if (last && from < last.to) last.to = Math.max(last.to, to);
    else all.push({ from, to });
  }
  return all;
}

const anyRuns = fc.array(fc.tuple(anyText, anyStyle), { maxLength: 14 }).map((pairs): Run[] =>
  pairs.map(([text, style]) => ({ text: clean(text), style })).filter(({ text }) => text !== "")
);

Deno.test("divided keeps every promise for any answer and any length", () => {
  console.log(`seed ${SEED}`);
  const counts = { parts: 0, joints: 0 };
  const property = fc.property(anyRuns, fc.integer({ min: 24, max: 400 }), (runs, max) => {
    const text = textOf(runs);
    const parts = divided(runs, max);
    const places = placesOf(text, parts);
    const all = looksOfRuns(runs);
    const held = wholes(runs, max);
    for (const [number, part] of parts.entries()) {
      const { from, to } = places[number] ?? assert.fail();
      assert.ok(part.text.length <= max && !isBlank(part.text));
      assert.equal(part.text, part.text.replace(/[ \n]+$/, ""));
      assert.deepEqual(looks(part), all.slice(from, to));
      assertTaken(part);
      const joint = { from: to, to: places[number + 1]?.from ?? Infinity };
      if (joint.to === Infinity) continue;
      const cut = held.filter((whole) => whole.from < joint.from && joint.to < whole.to);
      assert.deepEqual(cut.map(({ from, to }) => text.slice(from, to)), []);
      counts.joints++;
    }
    counts.parts += parts.length;
  });
  fc.assert(property, { seed: SEED, numRuns: RUNS });
  console.log(`${RUNS} answers, ${counts.parts} messages, ${counts.joints} joints`);
  assert.ok(counts.joints > RUNS / 2);
});

Deno.test("divided keeps to 4,096 units by Telegram's own count", () => {
  const long = fc.tuple(anyRuns, fc.integer({ min: 1, max: 40 })).map(([runs, times]) =>
    Array.from({ length: times }, () => runs).flat()
  );
  const property = fc.property(long, (runs) => {
    for (const part of divided(runs)) {
      assert.ok(part.text.length <= MAX_UNITS);
      assertTaken(part);
    }
  });
  fc.assert(property, { seed: SEED, numRuns: Math.ceil(RUNS / 5) });
});

Deno.test("partOf counts in UTF-16 units and joins what is alike", () => {
  const runs: Run[] = [
    { text: "🥐 ", style: { bold: true } },
    { text: "rye", style: { bold: true, italic: true } },
    { text: "!", style: {} },
  ];
  assert.deepEqual(partOf(runs), {
    text: "🥐 rye!",
    entities: [{ type: "bold", offset: 0, length: 6 }, { type: "italic", offset: 3, length: 3 }],
  });
});
