/** The Bot API's two markup languages: what is documented is read, the rest refused with its words. */
import assert from "node:assert/strict";
import { fromHtml, fromMarkdownV2, type Marked } from "./telegram_markup.ts";

/** Each source is refused with words that begin so. */
function assertRefused(read: (source: string) => Marked, refused: Record<string, string>) {
  for (const [source, words] of Object.entries(refused)) {
    assert.throws(() => read(source), (error: Error) => {
      assert.ok(error.message.startsWith(`can't parse entities: ${words}`), error.message);
      return true;
    });
  }
}

Deno.test("fromHtml reads what is documented and refuses what is not HTML", () => {
  const { text, entities } = fromHtml(
    '<b>a<i>b</i></b> <a href="https://x.example/?a=1&amp;b">c</a> <code>d</code> &#x1F950; ' +
      '<pre><code class="language-ts">e</code></pre> <span class="tg-spoiler">f</span>&lt;',
  );
  assert.equal(text, "ab c d 🥐 e f<");
  assert.deepEqual(entities.map(({ type, offset, length }) => [type, offset, length]), [
    ...[["italic", 1, 1], ["bold", 0, 2], ["text_link", 3, 1], ["code", 5, 1]],
    ...[["pre", 10, 1], ["spoiler", 12, 1]],
  ]);
  const refused = {
    "<b>a": `Can't find end tag corresponding to start tag "b"`,
    "a</b>": "Unexpected end tag at byte offset 1",
    "<b>é</i>": 'Unmatched end tag at byte offset 5, expected "</b>", found "</i>"',
    "<h1>a</h1>": 'Unsupported start tag "h1" at byte offset 0',
    "é <b": "Unclosed start tag at byte offset 3",
    "1 < 2": "Unclosed start tag at byte offset 2",
    "<a href>x</a>": "Expected equal sign in declaration of an attribute",
    "<span>x</span>": 'Tag "span" must have class "tg-spoiler" at byte offset 0',
  };
  assertRefused(fromHtml, refused);
});

Deno.test("fromMarkdownV2 reads what is documented and refuses what is not escaped", () => {
  const { text, entities } = fromMarkdownV2(
    "*a _b_* __c__ ~d~ ||e|| `f\\`` [g](https://x.example/\\)) \\!\n```ts\nh.i\n```\n>j\n>k\nl",
  );
  assert.equal(text, "a b c d e f` g !\nh.i\n\nj\nk\nl");
  const on = entities.map((entity) => [
    ...[entity.type, text.slice(entity.offset, entity.offset + entity.length)],
  ]);
  assert.deepEqual(on, [
    ...[["italic", "b"], ["bold", "a b"], ["underline", "c"], ["strikethrough", "d"]],
    ...[["spoiler", "e"], ["code", "f`"], ["text_link", "g"], ["pre", "h.i\n"]],
    ["blockquote", "j\nk"],
  ]);
  const refused = {
    "a.": "Character '.' is reserved and must be escaped with the preceding '\\'",
    "a - b": "Character '-' is reserved",
    "a > b": "Character '>' is reserved",
    "é *b": "Can't find end of Bold entity at byte offset 3",
    "`a": "Can't find end of Code entity at byte offset 0",
    "[a](b": "Can't find end of a URL at byte offset 4",
    "*a\n>b*": "Can't find end of Bold entity at byte offset 5",
  };
  assertRefused(fromMarkdownV2, refused);
});
