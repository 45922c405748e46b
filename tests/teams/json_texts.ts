/** JSON as the wildest client may write it: odd spacing, escapes, big numbers, keys that stand twice. */
import fc from "fast-check";

const space = fc.string({ unit: fc.constantFrom(" ", "\n", "\t", "\r"), maxLength: 3 });

/** A string's text: letters of every kind, and every kind of escape. */
const piece = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 4 }).map((text) => JSON.stringify(text).slice(1, -1)),
  fc.constantFrom('\\"', "\\\\", "\\/", "\\b", "\\n", "\\u0041", "\\ud83d\\ude00", "\\ud800"),
  fc.constantFrom("\\\\\\\\", '\\\\\\"', "{", "}", "[", "]", ",", ":", " ", "\\u0000", "\u2028"),
);
export const stringText = fc.array(piece, { maxLength: 5 }).map((pieces) => `"${pieces.join("")}"`);

const scalarText = fc.oneof(
  stringText,
  fc.constantFrom("true", "false", "null", "0", "-0", "1.10", "-1E-7", "0.1e+3", "1e400"),
  fc.bigInt().map(String),
);

const separated = (open: string, parts: readonly string[], close: string) =>
  `${open}${parts.join(",")}${close}`;
const spaced = (text: fc.Arbitrary<string>) =>
  fc.tuple(space, text, space).map((parts) => parts.join(""));

const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    scalarText,
    fc.array(spaced(tie("value")), { maxLength: 4 }).map((all) => separated("[", all, "]")),
    fc.array(fc.tuple(spaced(stringText), spaced(tie("value"))), { maxLength: 4 })
      .map((all) => separated("{", all.map((pair) => pair.join(":")), "}")),
  ),
}));
export const valueText = value;

/** One member as it is written: what stands before, between and behind key and value. */
export type Written = {
  before: string;
  keyText: string;
  between: string;
  valueText: string;
  after: string;
};

export const written = (
  keyText: fc.Arbitrary<string> = stringText,
  text: fc.Arbitrary<string> = valueText,
): fc.Arbitrary<Written> =>
  fc.record({
    before: space,
    keyText,
    between: fc.tuple(space, space).map(([before, after]) => `${before}:${after}`),
    valueText: text,
    after: space,
  });

/** An object's members, and what stands around it. */
export const writtenObject = (members: fc.Arbitrary<Written>) =>
  fc.record({
    head: space,
    members: fc.array(members, { maxLength: 8 }),
    inner: space,
    tail: space,
  });
export type WrittenObject = {
  head: string;
  members: Written[];
  inner: string;
  tail: string;
};

/** The object's text; `more` is written behind its last member. */
export function textOfObject({ head, members, inner, tail }: WrittenObject, more = ""): string {
  const all = members.map(({ before, keyText, between, valueText, after }) =>
    before + keyText + between + valueText + after
  );
  const body = members.length > 0 ? all.join(",") : inner;
  return `${head}{${body}${more}}${tail}`;
}

/** A key in one of the ways JSON lets it be written. */
export const escapedKey = (key: string): fc.Arbitrary<string> =>
  fc.array(fc.boolean(), { minLength: key.length, maxLength: key.length }).map((flags) =>
    `"${
      [...key].map((sign, at) =>
        flags[at] ? `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}` : sign
      ).join("")
    }"`
  );
