/** Where a list of usage goes on: opaque to whoever carries it, and looked at when it comes back. */
import { z } from "zod";
import { invalid } from "../errors.ts";
import { usageDay, usageUser } from "./words.ts";

/** What usage may be put together by, in the order it is sorted in. */
export const groups = ["team", "day", "model", "key", "user"] as const;
export type Group = typeof groups[number];

export const MOST_DAYS = 400;
export type Days = { from: string; to: string };

export const shifted = (day: string, days: number) =>
  new Date(Date.parse(day) + days * 86_400_000).toISOString().slice(0, 10);
/** The first day somebody may ask for who asks up to `to`. */
export const earliest = (to: string) => shifted(to, 1 - MOST_DAYS);

/** The values of a row in its groups. */
export type Key = readonly (string | null)[];

const wrong = "Give the next_cursor of the page before";
export const cursorText = z.string().regex(/^[\w-]{1,10000}$/, wrong).max(10_000, wrong);

/** Escapes in JSON spell what no column can hold. */
const storable = (text: string) => !text.includes("\0") && text.isWellFormed();
const shapes: Readonly<Record<Group, z.ZodType<string | null>>> = {
  team: z.uuid(),
  day: usageDay,
  model: z.string().max(255).refine(storable),
  key: z.uuid().nullable(),
  user: usageUser.refine(storable).nullable(),
};
const Place = z.tuple([
  usageDay,
  usageDay,
  z.array(z.enum(groups)).max(groups.length),
  z.array(z.string().nullable()).max(groups.length),
]);

export const cursorOf = ({ from, to }: Days, by: readonly Group[], key: Key): string =>
  new TextEncoder().encode(JSON.stringify([from, to, by, key]))
    .toBase64({ alphabet: "base64url", omitPadding: true });

/** Throws ValidationError for what cursorOf cannot have written. */
export function placeOf(cursor: string): { days: Days; by: Group[]; key: Key } {
  const { data } = Place.safeParse(jsonIn(cursor));
  if (!data) throw invalid("cursor", wrong);
  const [from, to, by, key] = data;
  const isOrdered = groups.filter((group) => by.includes(group)).join() === by.join();
  const fits = key.length === by.length &&
    by.every((group, place) => shapes[group].safeParse(key[place]).success);
  const isBounded = from <= to && from >= earliest(to);
  if (!isOrdered || !fits || !isBounded) throw invalid("cursor", wrong);
  return { days: { from, to }, by, key };
}

function jsonIn(cursor: string): unknown {
  try {
    const bytes = Uint8Array.fromBase64(cursor, { alphabet: "base64url" });
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return null;
  }
}
