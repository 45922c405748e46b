/** A model's Markdown in Telegram: what it means is shown, what Telegram cannot show is kept. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { markdownRuns } from "../../../src/teams/channels/telegram_markdown.ts";
import { divided } from "../../../src/teams/channels/telegram_parts.ts";
import type { Part } from "../../../src/teams/channels/telegram_text.ts";
import { assertTaken, RUNS, SEED } from "./formatted.ts";

/** The one message a short answer makes. */
function shown(markdown: string): Part {
  const parts = divided(markdownRuns(markdown));
  assert.equal(parts.length, 1);
  parts.forEach(assertTaken);
  return parts[0] ?? assert.fail();
}

/** The text, and each entity as `type(what it lies on)` with its address or language. */
function said(markdown: string): string[] {
  const { text, entities } = shown(markdown);
  return [
    text,
    ...entities.map((entity) => {
      const on = text.slice(entity.offset, entity.offset + entity.length);
      const more = entity.type === "text_link"
        ? ` ${entity.url}`
        : entity.type === "pre"
        ? ` ${entity.language ?? ""}`
        : "";
      return `${entity.type}(${on})${more}`;
    }),
  ];
}

Deno.test("markdownRuns shows bold, italic, struck and code, one within the other", () => {
  assert.deepEqual(said("A **b** *c* ~~d~~ `e` __f__ _g_"), [
    "A b c d e f g",
    ...["bold(b)", "italic(c)", "strikethrough(d)", "code(e)", "bold(f)", "italic(g)"],
  ]);
  assert.deepEqual(said("**bold *both* ~~all~~**"), [
    "bold both all",
    ...["bold(bold both all)", "italic(both)", "strikethrough(all)"],
  ]);
  assert.deepEqual(said("🥐 **rye**"), ["🥐 rye", "bold(rye)"]);
});

Deno.test("markdownRuns keeps to what Telegram allows at once", () => {
  assert.deepEqual(said("**a `b` c**"), ["a b c", "bold(a )", "code(b)", "bold( c)"]);
  assert.deepEqual(said("[`f`](https://x.example/f)"), ["f", "text_link(f) https://x.example/f"]);
  assert.deepEqual(said("> a **b**\n> ```ts\n> c\n> ```"), [
    "a b\nc",
    ...["blockquote(a b\nc)", "bold(b)", "pre(c) ts"],
  ]);
});

Deno.test("markdownRuns links what Telegram takes for a link, and writes out what it refuses", () => {
  assert.deepEqual(said("[a b](https://x.example/ü?q=1 'title')"), [
    "a b",
    "text_link(a b) https://x.example/%C3%BC?q=1",
  ]);
  const written = {
    "[x](http://localhost:3000)": "x (http://localhost:3000)",
    "[x](./foo.md)": "x (./foo.md)",
    "[x](tg://user?id=1)": "x (tg://user?id=1)",
    "[x](javascript:alert(1))": "[x](javascript:alert(1))",
    "[x](mailto:a@x.example)": "x (mailto:a@x.example)",
    "<a@x.example>": "a@x.example",
    "[x]()": "x",
    [`[x](https://x.example/${"p".repeat(2_100)})`]: `x (https://x.example/${"p".repeat(2_100)})`,
  };
  for (const [source, text] of Object.entries(written)) assert.deepEqual(said(source), [text]);
  assert.deepEqual(said("[](https://x.example/)")[0], "https://x.example/");
  assert.deepEqual(said("<https://x.example/>")[0], "https://x.example/");
});

Deno.test("markdownRuns shows a code block as one, with its language and its tabs", () => {
  assert.deepEqual(said("Look:\n```ts title=a\n\tlet a;\n\n\n```\nDone"), [
    "Look:\n    let a;\nDone",
    "pre(    let a;) ts",
  ]);
  assert.deepEqual(said("    indented"), ["indented", "pre(indented) "]);
  assert.deepEqual(said("~~~\n**a** <b>\n~~~"), ["**a** <b>", "pre(**a** <b>) "]);
  assert.deepEqual(said("a\n```\n \n```\nb")[0], "a\nb");
  assert.deepEqual(said("```an evil language\nx\n```")[1], "pre(x) an");
  assert.deepEqual(said("``` <img>\nx\n```")[1], "pre(x) ");
});

Deno.test("markdownRuns shows what Telegram has no form for plainly", () => {
  assert.deepEqual(said("# Big *news*\ntext"), [
    ...["Big news\ntext", "bold(Big news)", "italic(news)"],
  ]);
  assert.deepEqual(said("| a | b |\n|---|---|\n| 1 | **2** |"), [
    "| a | b |\n|---|---|\n| 1 | **2** |",
    "pre(| a | b |\n|---|---|\n| 1 | **2** |) ",
  ]);
  assert.deepEqual(said("a\n\n---\n\nb")[0], "a\n\n---\n\nb");
  assert.deepEqual(said("<b>x</b> &lt;i&gt; a &amp; b"), ["<b>x</b> <i> a & b"]);
  assert.deepEqual(said("<details>\n\n**x**\n\n</details>")[0], "<details>\n\nx\n\n</details>");
  assert.deepEqual(said("![a cat](https://x.example/c.png)"), [
    ...["a cat", "text_link(a cat) https://x.example/c.png"],
  ]);
  assert.deepEqual(said("[![cat](https://x.example/c.png)](https://x.example/)"), [
    ...["cat", "text_link(cat) https://x.example/"],
  ]);
  assert.deepEqual(
    said("See [1].\n\n[1]: https://x.example")[0],
    "See [1].\n\n[1]: https://x.example",
  );
});

Deno.test("markdownRuns writes lists with their marks and numbers, in as deep as they are", () => {
  const list =
    "Buy:\n- rye\n- flour\n  1. wheat\n     and\n  2) spelt\n\n     Fine.\n- [x] salt\n\n7. a\n8.\n9. b";
  assert.equal(
    said(list)[0],
    [
      ...["Buy:", "• rye", "• flour", "  1. wheat", "    and", "  2) spelt", "", "    Fine."],
      ...["• [x] salt", "", "7. a", "8.", "9. b"],
    ].join("\n"),
  );
  assert.deepEqual(said("1. Do\n   ```sh\n   ls\n   ```\n2. Done"), [
    ...["1. Do\nls\n2. Done", "pre(ls) sh"],
  ]);
  assert.deepEqual(said("- ```sh\n  ls\n  ```")[0], "•\nls");
  assert.deepEqual(said("- a\n-\n\n- c")[0], "• a\n•\n\n• c");
});

Deno.test("markdownRuns keeps lines and paragraphs as they were, and quotes apart", () => {
  assert.equal(said("a\nb  \nc\\\nd\n\n\n\ne")[0], "a\nb\nc\nd\n\ne");
  assert.deepEqual(said("> a\n> > b\n>\n> c\n\n> d\n\ne"), [
    ...["a\nb\n\nc\n\nd\n\ne", "blockquote(a\nb\n\nc)", "blockquote(d)"],
  ]);
});

Deno.test("markdownRuns leaves out what Telegram's servers would take out", () => {
  assert.equal(said("a\u202eb\u0000c\r\nd\ud800 A\u030a")[0], "ab c\nd\ufffd Å");
  assert.equal(said("&#x202e;a&#13;b")[0], "ab");
});

Deno.test("markdownRuns loses nothing that is nested deeper than anybody writes", () => {
  const deep = `${"> ".repeat(200)}**here**`;
  assert.match(said(deep)[0] ?? "", /here/);
  assert.equal(said("- ".repeat(80) + "here")[0]?.endsWith("here"), true);
});

Deno.test("markdownRuns shows even what says nothing", () => {
  assert.equal(said("```\n```")[0], "```\n```");
  assert.deepEqual(divided(markdownRuns(" \n ")), []);
});

/** A document of numbered words in every construct there is, and the words in their order. */
const anyDocument = fc.array(
  fc.tuple(
    fc.constantFrom(
      ...["W", "**W**", "*W* _W_", "~~W~~ W", "`W`", "[W](https://x.example/a)", "[W](./b)", "\n"],
      ...["# W *W*\n\n", "\n\n- W\n- W\n  - W\n", "\n\n1. W\n\n   W\n", "\n\n> W\n> > W **W**\n\n"],
      ...[
        "\n```ts\nW\n\tW\n```\n",
        "\n\n| W | **W** |\n|---|---|\n| W | W |\n\n",
        "<b>W</b>",
        "W. ",
      ],
      ...[
        "![W](https://x.example/p.png)",
        "\n\n---\n\n",
        "**W `W` W**",
        "***W***",
        "W  \nW",
        "\n\n",
      ],
      ...[
        "W 🥐 ",
        "é W",
        "\\*W\\*",
        "&lt;W&gt;",
        "W".padEnd(40),
        "**W",
        "[W",
        "`W",
        "    W\n",
        "<W",
      ],
      ...["https://x.example/W", "\n\n***\n", "\n- \n- W", "\n> \n", "[^1] W", "$W_1$", "|W"],
    ),
    fc.constantFrom("", " ", " ", "\n"),
  ),
  { maxLength: 40 },
).map((pieces) => {
  let n = 0;
  const text = pieces.flat().join("").replaceAll("W", () => `w${++n}x`);
  return { text, words: Array.from({ length: n }, (_, place) => `w${place + 1}x`) };
});

Deno.test("markdownRuns and divided lose no word, keep the order, and are taken as they are", () => {
  console.log(`seed ${SEED}`);
  const property = fc.property(anyDocument, fc.integer({ min: 60, max: 900 }), (document, max) => {
    const parts = divided(markdownRuns(document.text), max);
    parts.forEach(assertTaken);
    const words = parts.map(({ text }) => text).join("\n").match(/w\d+x/g) ?? [];
    assert.deepEqual(words, document.words);
  });
  fc.assert(property, { seed: SEED, numRuns: RUNS });
});

Deno.test("markdownRuns takes any text whatever", () => {
  console.log(`seed ${SEED}`);
  const signs = fc.constantFrom(..."*_~`[]()<>!#-+|>=\\&;: \n\t1.ab🥐");
  const noise = fc.array(signs, { maxLength: 120 }).map((all) => all.join(""));
  const anything = fc.oneof(noise, fc.string({ unit: "binary", maxLength: 200 }));
  const property = fc.property(anything, (text) => {
    divided(markdownRuns(text), 100).forEach(assertTaken);
  });
  fc.assert(property, { seed: SEED, numRuns: RUNS * 4 });
});

Deno.test("markdownRuns reads any long answer in bounded time", () => {
  const makes = [
    "[",
    "**a",
    "a**b*",
    ">",
    "`` ` ",
    "- ",
    "[a](",
    "![[]()",
    "<",
    "|a|\n|-|\n",
    "&a",
  ];
  for (const make of makes) {
    const start = performance.now();
    markdownRuns(make.repeat(Math.ceil(20_000 / make.length)));
    const ms = performance.now() - start;
    assert.ok(ms < 5_000, `${JSON.stringify(make)}: ${ms} ms`);
  }
});
