/** What an answer says about limits, in the fields clients understand. */
import type { Limit, Verdict } from "./limiter.ts";

export type Judged = { limit: Limit; verdict: Verdict };

/**
 * `RateLimit-Policy` and `RateLimit` with one item for each limit, as structured fields, and
 * `Retry-After` in seconds when one refused: the latest of those that did, never before their
 * windows end. Sources: draft-ietf-httpapi-ratelimit-headers-11, sections 3, 4 and 6; RFC 9651;
 * RFC 9110, section 10.2.3. Nothing for no limits: an empty List is no field.
 * @throws TypeError when a limit's name is not printable ASCII, which a String must be.
 */
export function limitHeaders(judged: readonly Judged[]): Record<string, string> {
  if (judged.length === 0) return {};
  const policies = judged.map(({ limit }) =>
    `${quoted(limit.name)};q=${limit.max};w=${limit.windowSeconds}`
  );
  const limits = judged.map(({ limit, verdict }) =>
    `${quoted(limit.name)};r=${verdict.remaining};t=${verdict.resetSeconds}`
  );
  const said = { "RateLimit-Policy": policies.join(", "), "RateLimit": limits.join(", ") };
  const refused = judged.filter(({ verdict }) => !verdict.allowed);
  if (refused.length === 0) return said;
  const retrySeconds = Math.max(...refused.map(({ verdict }) => verdict.resetSeconds));
  return { ...said, "Retry-After": `${retrySeconds}` };
}

const MOST_NAMES = 100;
/** There are few, each told again and again. */
const names = new Map<string, string>();

function quoted(name: string): string {
  const known = names.get(name);
  if (known !== undefined) return known;
  if (!/^[\x20-\x7e]+$/.test(name)) throw new TypeError("A limit's name is printable ASCII");
  const text = `"${name.replace(/["\\]/g, "\\$&")}"`;
  if (names.size >= MOST_NAMES) names.clear();
  names.set(name, text);
  return text;
}
