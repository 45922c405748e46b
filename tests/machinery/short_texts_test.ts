/** What is read and counted by hand is what the platform's coders make of it. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesIn, textOf } from "../../src/short_texts.ts";
import { runs } from "../teams/seeds.ts";

const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: fc.constantFrom("a", "é", "\ud83d", "\ude00", "€", "\ufeff"), maxLength: 12 }),
  fc.integer({ min: 1_000, max: 1_100 }).map((length) => "x".repeat(length)),
);

Deno.test("bytesIn counts what the encoder writes, half pairs too", () => {
  const encoder = new TextEncoder();
  const property = fc.property(text, (text) => {
    assert.equal(bytesIn(text), encoder.encode(text).byteLength);
  });
  fc.assert(property, runs(5_000));
});

Deno.test("textOf reads what the decoder reads, and refuses what that refuses", () => {
  const bytes = fc.oneof(
    text.map((text) => new TextEncoder().encode(text)),
    fc.uint8Array({ maxLength: 20 }),
  );
  const outcome = (read: () => string) => {
    try {
      return read();
    } catch (error) {
      return error instanceof TypeError ? "refused" : error;
    }
  };
  const property = fc.property(bytes, fc.boolean(), (bytes, fatal) => {
    const decoder = new TextDecoder("utf-8", { fatal });
    assert.equal(outcome(() => textOf(bytes, decoder)), outcome(() => decoder.decode(bytes)));
  });
  fc.assert(property, runs(5_000));
});
