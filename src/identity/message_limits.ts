/** How often one may ask for what is sent in messages, and try what was sent. */
import { digestOf, networkOf } from "../access/networks.ts";
import { callerAddress, type Ctx, type TenantCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import type { Limit } from "../limits/limiter.ts";

const redeemedPerNetwork = { name: "link-redeem", max: 20, windowSeconds: 60 };
const askedPerNetwork = { name: "link-ask", max: 10, windowSeconds: 60 };
const askedPerEmailHere = { name: "link-ask-email-here", max: 3, windowSeconds: 900 };
/** From all networks together: a mailbox is not to be flooded. */
const askedPerEmail = { name: "link-ask-email", max: 10, windowSeconds: 3600 };
const sentPerEmail = { name: "link-send-email", max: 10, windowSeconds: 3600 };

function take(ctx: Ctx, limit: Limit, ...key: string[]) {
  const verdict = ctx.limiter.take(limit, digestOf(...key));
  if (verdict.allowed) return;
  throw new Fault("RateLimited", `${limit.name}.rate`.replaceAll("-", "_"), "Wait a moment", {
    retryAfterSeconds: verdict.resetSeconds,
  });
}

/** Throws RateLimited, like the others here: before a token from a message is looked at. */
export const slowRedeeming = (ctx: Ctx) =>
  take(ctx, redeemedPerNetwork, networkOf(callerAddress(ctx)));

/** Before a stranger's wish for a message is looked at, whether or not there is anybody to write to. */
export function slowAsking(ctx: Ctx, email: string) {
  const network = networkOf(callerAddress(ctx));
  take(ctx, askedPerNetwork, network);
  take(ctx, askedPerEmailHere, email, network);
  take(ctx, askedPerEmail, email);
}

/** Before somebody of a tenant has a message sent. */
export const slowSending = (ctx: TenantCtx, email: string) =>
  take(ctx, sentPerEmail, ctx.tenantId, email);
