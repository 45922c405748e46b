/**
 * The text of a refresh token: `sbr_<tenant>_<session>_<counter>_<mac>`. It carries its tenant, and
 * a MAC under the session's own key covers all of it, so no row is kept per token.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

type Named = { tenantId: string; sessionId: string; counter: number };

const macOf = (head: string, refreshKey: string) =>
  createHmac("sha256", refreshKey).update(head).digest("base64url");

export function newRefreshToken({ tenantId, sessionId, counter }: Named, refreshKey: string) {
  const ids = [tenantId, sessionId].map((id) => id.replaceAll("-", "")).join("_");
  const head = `sbr_${ids}_${counter}`;
  return `${head}_${macOf(head, refreshKey)}`;
}

const shape = /^(sbr_([0-9a-f]{32})_([0-9a-f]{32})_(0|[1-9]\d{0,8}))_([A-Za-z0-9_-]{43})$/;
const dashed = (id: string) => id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

export type RefreshToken = Named & { isSignedWith(refreshKey: string): boolean };

/** What a token names, and whether a session's key signed it; null when it is no such token. */
export function readRefreshToken(text: string): RefreshToken | null {
  const [, head, tenant, session, count, mac] = shape.exec(text) ?? [];
  if (!head || !tenant || !session || !count || !mac) return null;
  return {
    tenantId: dashed(tenant),
    sessionId: dashed(session),
    counter: Number(count),
    isSignedWith: (refreshKey) =>
      timingSafeEqual(
        new TextEncoder().encode(macOf(head, refreshKey)),
        new TextEncoder().encode(mac),
      ),
  };
}

/** For this long after a step the token that was used for it is taken for another tab's. */
export const GRACE_MS = 30_000;

/** Where a session stands: the current token, the one whose use made it, and when that was. */
export type Count = { counter: number; previousCounter: number | null; rotatedAt: Date };

/** What an authentic token comes to. */
export type Step = "next" | "concurrent" | "recovered" | "reused";

/**
 * The rule of Supabase Auth's second version of refresh tokens. The current token is traded for the
 * `next`. The one before it is `concurrent` within the grace: the current token is answered again.
 * After the grace its answer was lost, and it is `recovered` by a further step; the lost token is
 * then neither current nor the one before, so whoever does have it gives a theft away. Everything
 * else is `reused`, by a thief or by whoever was robbed, and nobody can tell which.
 */
export function stepOf(counter: number, held: Count, now: Date): Step {
  if (counter === held.counter) return "next";
  // Sessions from before the column was kept: their steps were all by one.
  const previous = held.previousCounter ?? held.counter - 1;
  if (counter !== previous) return "reused";
  return now.getTime() - held.rotatedAt.getTime() < GRACE_MS ? "concurrent" : "recovered";
}

/** Where the session stands after a step; `used` is the token's counter. Null: as before. */
export const countAfter = (step: Step, used: number, held: Count, now: Date): Count | null =>
  step === "next" || step === "recovered"
    ? { counter: held.counter + 1, previousCounter: used, rotatedAt: now }
    : null;
