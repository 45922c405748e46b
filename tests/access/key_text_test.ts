/** The text of an API key: what it looks like, and that a mistyped one is told at once. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { crc32 } from "node:zlib";
import { v7 } from "uuid";
import { hashSecret, newKey, readKey } from "../../src/access/key_text.ts";

Deno.test("readKey reads what newKey wrote", () => {
  for (let i = 0; i < 200; i++) {
    const id = v7();
    const { text, secret } = newKey("live", id);
    assert.match(text, /^sb_live_[0-9a-f]{32}_[0-9A-Za-z]{38}$/);
    assert.deepEqual(readKey(text), { id, secret });
  }
});

Deno.test("newKey draws every character about as often as the others", () => {
  const counts = new Map<string, number>();
  for (let i = 0; i < 1_000; i++) {
    for (const c of newKey("live", v7()).secret) counts.set(c, (counts.get(c) ?? 0) + 1);
  }
  assert.equal(counts.size, 62);
  const expected = 32_000 / 62; // Six standard deviations to either side.
  for (const [c, n] of counts) assert.ok(Math.abs(n - expected) < 6 * Math.sqrt(expected), c);
});

Deno.test("readKey refuses a key with any one character changed, left out or doubled", () => {
  const { text } = newKey("live", v7());
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, other) => {
      const [before, own, after] = [text.slice(0, at), text.charAt(at), text.slice(at + 1)];
      if (other !== own) assert.equal(readKey(before + other + after), null);
      assert.equal(readKey(before + after), null);
      assert.equal(readKey(before + own + own + after), null);
    }),
    { numRuns: 1_000 },
  );
});

/** As a scanner is told to find keys: the expression of the docstring, then zlib's crc32 in base 62. */
const source = await Deno.readTextFile(new URL("../../src/access/key_text.ts", import.meta.url));
const pattern = /^ \* {5}(\\b.*)$/m.exec(source)?.[1] ?? "the docstring holds none";
function scanned(haystack: string): string[] {
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const base62 = (n: number): string =>
    n < 62 ? digits.charAt(n) : base62(Math.floor(n / 62)) + digits.charAt(n % 62);
  return (haystack.match(new RegExp(pattern, "g")) ?? [])
    .filter((found) => base62(crc32(found.slice(0, -6))).padStart(6, "0") === found.slice(-6));
}

Deno.test("a secret scanner finds every key by the documented pattern, and none with a character changed", () => {
  const around = ["", " ", '"', "KEY=", "Bearer ", "\n", "https://x.example/?key="];
  for (const environment of ["live", "test", "dev", "staging"]) {
    for (const [i, before] of around.entries()) {
      const { text } = newKey(environment, v7());
      assert.deepEqual(scanned(`${before}${text}${i % 2 ? "" : '",'}`), [text]);
      for (let at = 3; at < text.length; at++) {
        const other = text.charAt(at) === "a" ? "b" : "a";
        assert.deepEqual(scanned(text.slice(0, at) + other + text.slice(at + 1)), []);
      }
    }
  }
  const { text } = newKey("live", v7());
  for (const broken of [text.slice(0, -1), `${text}0`, `x${text}`, text.replace("sb_", "sb-")]) {
    assert.deepEqual(scanned(broken), []);
  }
});

Deno.test("readKey refuses what is no key at all", () => {
  const { text } = newKey("live", v7());
  const odd = [
    "",
    "sb_",
    ` ${text}`,
    `${text} `,
    `${text}\n`,
    text.toUpperCase(),
    "sb_".repeat(9_999),
  ];
  for (const other of odd) assert.equal(readKey(other), null, other.slice(0, 80));
});

Deno.test("hashSecret is SHA-256, which tells nothing of 190 random bits", async () => {
  const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assert.equal(await hashSecret("abc"), abc);
});
