/** How attacks on a sign-in are counted: each tried, none let in, and the honest one beside them. */
import assert from "node:assert/strict";
import type { SsoHome } from "./sso_house.ts";

export type Attempt = { status: number };
export type Attacks = Record<string, () => Promise<Attempt>>;

const isIn = ({ status }: Attempt) => status < 400;

/** Fails unless every attack is refused, leaves no session and no link, and `control` is let in. */
export async function repelled(
  h: SsoHome,
  title: string,
  attacks: Attacks,
  control: () => Promise<Attempt>,
  statuses: readonly number[] = [400, 401, 403, 404, 409, 502],
) {
  const gained = async () => {
    const [row] = await h.sql(`select (select count(*) from sessions) +
      (select count(*) from user_identities) + (select count(*) from users) as n`);
    return Number(row?.n);
  };
  const before = await gained();
  const accepted: string[] = [];
  for (const [name, attempt] of Object.entries(attacks)) {
    const answer = await attempt();
    if (isIn(answer)) accepted.push(name);
    else {
      const text = JSON.stringify(answer);
      assert.ok(statuses.includes(answer.status), `${title}, ${name}: ${text}`);
    }
  }
  const count = Object.keys(attacks).length;
  console.log(`${title}: ${accepted.length} accepted of ${count}`);
  assert.deepEqual(accepted, [], title);
  assert.equal(await gained(), before, `${title}: somebody was let in all the same`);
  const honest = await control();
  assert.ok(isIn(honest), `${title}, the honest one: ${JSON.stringify(honest)}`);
}

/** Each character replaced by another of the alphabet, one at a time. */
export const flips = (text: string): string[] =>
  [...text].map((old, at) => text.slice(0, at) + (old === "A" ? "B" : "A") + text.slice(at + 1));
