/**
 * The keys that sign tokens, turned over in stages: published before it signs, published still when it
 * has signed its last. Each stage is a new SIGNING_KEYS, made out of the one before.
 */
import { SigningKeys } from "../src/env.ts";
import { ACCESS_TOKEN_SECONDS, JWKS_SECONDS, type SigningKey } from "../src/access/tokens.ts";
import { newSigningKey } from "./laptop.ts";

/** A stage whose time has not come, or that does not follow from the one before. */
export class NotYet extends Error {
  override name = "NotYet";
}

export type Clock = {
  now: Date;
  /** How long it takes until every process runs with a new SIGNING_KEYS. */
  rolloutMs: number;
};

export const ROLLOUT_MS = 5 * 60_000;
const MOST_KEYS = 8;

/** The keys SIGNING_KEYS holds. Says nothing of them when they cannot be read: they are secret. */
export function readSigningKeys(text: string | undefined): SigningKey[] {
  if (!text) return [];
  try {
    return SigningKeys.parse(JSON.parse(text));
  } catch {
    throw new NotYet("SIGNING_KEYS is no list of keys: give it as the service has it");
  }
}

/** The first key signs at once, since nobody relies on another; a later one is published first. */
export async function added(keys: readonly SigningKey[], { now }: Clock): Promise<SigningKey[]> {
  const next = keys.find(({ state }) => state === "next");
  if (next) throw new NotYet(`${next.kid} is next already: promote it, or take it out`);
  if (keys.length >= MOST_KEYS) throw new NotYet(`There are ${MOST_KEYS} keys: retire an old one`);
  const made = await newSigningKey(keys.length === 0 ? "current" : "next");
  return [...keys, { ...made, since: now.toISOString() }];
}

/** When a key may go on to its next state, in milliseconds since 1970; null: nobody knows since when it is in this one. */
export function dueMs({ state, since }: SigningKey, { rolloutMs }: Clock): number | null {
  if (since === undefined) return null;
  const seconds = state === "next" ? JWKS_SECONDS : ACCESS_TOKEN_SECONDS;
  return Date.parse(since) + rolloutMs + seconds * 1000;
}

function chosen(keys: readonly SigningKey[], state: "next" | "old", kid?: string): SigningKey {
  const [only, ...others] = keys.filter((key) =>
    kid === undefined ? key.state === state : key.kid === kid
  );
  if (!only) {
    throw new NotYet(
      kid === undefined ? `SIGNING_KEYS has no ${state} key` : `SIGNING_KEYS has no key ${kid}`,
    );
  }
  if (others.length > 0) throw new NotYet(`There are several ${state} keys: name one`);
  return only;
}

const knowsNot = ({ kid, state }: SigningKey, { now }: Clock) =>
  new NotYet(
    `Nobody knows since when ${kid} is ${state}. Put "since":"${now.toISOString()}" into its entry, ` +
      "give that to every process, and come back",
  );

/** The next key signs from now on, and the one before is kept for the tokens it has signed. */
export function promoted(keys: readonly SigningKey[], clock: Clock, kid?: string): SigningKey[] {
  const next = chosen(keys, "next", kid);
  if (next.state !== "next") {
    throw new NotYet(
      `${next.kid} is ${next.state}: only a key that was published as next may sign`,
    );
  }
  const due = dueMs(next, clock);
  if (due === null) throw knowsNot(next, clock);
  if (clock.now.getTime() < due) {
    throw new NotYet(
      `${next.kid} may sign from ${
        new Date(due).toISOString()
      } on: until then somebody may not know it`,
    );
  }
  const since = clock.now.toISOString();
  return keys.map((key) =>
    key === next
      ? { ...key, state: "current", since }
      : key.state === "current"
      ? { ...key, state: "old", since }
      : key
  );
}

/** An old key is forgotten once every token it has signed has ended. */
export function retired(keys: readonly SigningKey[], clock: Clock, kid?: string): SigningKey[] {
  const old = chosen(keys, "old", kid);
  if (old.state !== "old") {
    throw new NotYet(`${old.kid} is ${old.state}: only a key that signs no more is retired`);
  }
  const due = dueMs(old, clock);
  if (due === null) throw knowsNot(old, clock);
  if (clock.now.getTime() < due) {
    throw new NotYet(
      `${old.kid} may go from ${new Date(due).toISOString()} on: until then its tokens hold`,
    );
  }
  return keys.filter((key) => key !== old);
}

const followed = { current: "signs", next: "may sign from", old: "may go from" } as const;

/** A line for each key: its state, since when, and when the next stage may come. */
export const statusOf = (keys: readonly SigningKey[], clock: Clock): string[] =>
  keys.map((key) => {
    const due = dueMs(key, clock);
    const when = key.state === "current" || due === null ? "" : ` ${new Date(due).toISOString()}`;
    return `${key.kid}  ${key.state}  since: ${key.since ?? "unknown"}  ${
      followed[key.state]
    }${when}`;
  });
