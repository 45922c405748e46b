/** Formatted text looked at sign by sign, and answers of every make for properties about it. */
import assert from "node:assert/strict";
import type { MessageEntity } from "@grammyjs/types";
import fc from "fast-check";
import type { Part, Run, Style } from "../../../src/teams/channels/telegram_text.ts";
import { sendable } from "../../stand_ins/telegram_texts.ts";

export const SEED = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);
export const RUNS = Deno.env.get("PROVE") ? 5_000 : 300;

const nameOf = (entity: MessageEntity): string =>
  entity.type === "text_link"
    ? `text_link ${entity.url}`
    : entity.type === "pre"
    ? `pre ${entity.language ?? ""}`
    : entity.type;

/** By sign, the formatting that lies on it. */
export function looks({ text, entities }: Part): string[] {
  const found = new Array<string>(text.length).fill("");
  for (const entity of [...entities].sort((a, b) => nameOf(a) < nameOf(b) ? -1 : 1)) {
    const { offset, length } = entity;
    for (let at = offset; at < offset + length; at++) found[at] += `${nameOf(entity)};`;
  }
  return found;
}

/** The same of runs, said independently of `partOf`. */
export function looksOfRuns(runs: readonly Run[]): string[] {
  return runs.flatMap(({ text, style }) => {
    const names = [
      ...style.quote ? ["blockquote"] : [],
      ...style.pre === undefined ? [] : [`pre ${style.pre}`],
      ...style.link === undefined ? [] : [`text_link ${style.link}`],
      ...(["bold", "code", "italic", "strikethrough"] as const).filter((kind) => style[kind]),
    ];
    const look = names.sort().map((name) => `${name};`).join("");
    return new Array<string>(text.length).fill(look);
  });
}

/** The server takes the part as it is: nothing refused, cleaned, trimmed or left unformatted. */
export function assertTaken(part: Part): void {
  const taken = sendable(part.text, "", part.entities);
  assert.equal(taken.text, part.text);
  const [ours, theirs] = [looks(part), looks(taken)];
  for (const [at, look] of ours.entries()) {
    // Telegram takes styles off leading spaces; nobody can see them there.
    if (theirs[at] === look || part.text.charAt(at).trim() === "") continue;
    assert.fail(`${theirs[at]} is not ${look}, at ${at} of ${JSON.stringify(part.text)}`);
  }
}

/** The parts' places in the text, told apart by nothing but spaces, newlines and what is unseen. */
export function placesOf(text: string, parts: readonly Part[]): { from: number; to: number }[] {
  const unseen = /^[\s\u180e\u200b-\u200f\u2800\ufeff\ufffc\u{e0000}-\u{e007f}]*$/u;
  let end = 0;
  const places = parts.map((part) => {
    const from = text.indexOf(part.text, end);
    assert.ok(from >= 0, `lost or reordered: ${JSON.stringify(part.text)}`);
    assert.match(text.slice(end, from), unseen);
    end = from + part.text.length;
    return { from, to: end };
  });
  assert.match(text.slice(end), unseen);
  return places;
}

const word = fc.constantFrom("rye", "bread", "I", "don't", "Roggenbrot", "نان", "хлеб", "U.S.");
const sign = fc.constantFrom(
  ...["👩‍👩‍👧‍👦", "🇩🇪", "🥐", "é", "e\u0301", "한", "각", "ก็", "क्षि", "👍🏽", "\u200b"],
);
const tie = fc.constantFrom(" ", " ", "\n", "\n\n", ". ", "! ", "。", ", ", "  ", "\n   ", "");
const address = fc.constantFrom(
  "https://bakery.example/a?b=c#d",
  "http://x.example/" + "y".repeat(30),
);
const blob = fc.nat({ max: 60 }).map((length) => "x".repeat(length));

const piece = fc.oneof(
  { weight: 6, arbitrary: word },
  { weight: 2, arbitrary: sign },
  { weight: 1, arbitrary: address },
  { weight: 1, arbitrary: blob },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 8 }) },
);

/** Words, signs of many units, addresses and long nothings, with all sorts of gaps. */
export const anyText = fc.array(fc.tuple(piece, tie), { maxLength: 12 })
  .map((pairs) => pairs.flat().join(""));

const yes = fc.constant(true as const);
const words = fc.record<Style>({
  bold: yes,
  italic: yes,
  strikethrough: yes,
  quote: yes,
  link: fc.constantFrom("https://bakery.example/", "https://x.example/" + "p".repeat(900)),
}, { requiredKeys: [] });

export const anyStyle: fc.Arbitrary<Style> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Style>({}) },
  { weight: 4, arbitrary: words },
  { weight: 1, arbitrary: fc.record<Style>({ code: yes, quote: yes }, { requiredKeys: ["code"] }) },
  {
    weight: 1,
    arbitrary: fc.record<Style>({ pre: fc.constantFrom("", "ts", "python") }),
  },
);
