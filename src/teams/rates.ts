/**
 * How many requests a minute a team may send. Where several processes should agree on that and cannot,
 * nobody is told that they were too fast: private teams are asked to come back, public ones go on at a
 * part of their rate.
 */
import type { TenantCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import type { Judged } from "../limits/headers.ts";
import type { Effective } from "./effective.ts";

const MINUTE = 60;
/** The part of its rate that a public team has in one process alone. */
export const ALONE = 1 / 6;

/** Too many in a minute, with what the answer's headers say. */
export class RateExceeded extends Fault {
  constructor(readonly judged: Judged) {
    const { max } = judged.limit;
    super("RateLimited", "team.rate", `The team may send ${max} requests a minute: slow down`, {
      retryAfterSeconds: judged.verdict.resetSeconds,
    });
  }
}

const unknowable = (retryAfterSeconds: number) =>
  new Fault(
    "Unavailable",
    "rate_limit.unavailable",
    "How much the team has sent cannot be counted at present: try again shortly",
    { retryAfterSeconds },
  );

/** Counts one request of the team. Throws RateExceeded, and Unavailable while counting is impossible. */
export function takeRate(ctx: TenantCtx, teamId: string, { rateLimit, type }: Effective): Judged {
  const limit = { name: "team", max: rateLimit, windowSeconds: MINUTE };
  if (ctx.limiter.agrees()) {
    const judged = { limit, verdict: ctx.limiter.take(limit, teamId) };
    if (judged.verdict.allowed) return judged;
    throw new RateExceeded(judged);
  }
  if (type === "private") throw unknowable(5);
  const alone = {
    name: "team-alone",
    max: Math.max(1, Math.floor(rateLimit * ALONE)),
    windowSeconds: MINUTE,
  };
  const verdict = ctx.limiter.take(alone, teamId);
  if (!verdict.allowed) throw unknowable(verdict.resetSeconds);
  ctx.limiter.take(limit, teamId); // So that they know of it when they can agree again.
  return { limit: alone, verdict };
}
