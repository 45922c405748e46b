/**
 * Acting in another tenant: somebody signed in trades their token for one of a tenant at or below
 * their own (after RFC 8693). It holds as long as their session does, and is never renewed itself.
 */
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { readStanding, type Whose } from "../access/standings.ts";
import { asSystem, type Principal, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault, notFound } from "../errors.ts";
import { publish, record } from "../trail.ts";
import { signingOf } from "./sessions.ts";

export const Exchange = z.strictObject({ tenantId: z.uuid("Give the tenant's id") });
export const Exchanged = z.object({
  accessToken: z.string().max(4096),
  tokenType: z.literal("Bearer"),
  expiresIn: z.int().min(0).max(86_400),
  tenantId: z.uuid(),
  /** Where the user lives, and with them the session this token ends with. */
  homeTenantId: z.uuid(),
  userId: z.uuid(),
});

const needsSession = () =>
  new Fault("Forbidden", "exchange.needs_session", "Only who has signed in can act elsewhere");

/** Whose token asks. What it says of where it acts is of no account: home decides. */
function whoseOf({ actor, principal }: TenantCtx, acting: string) {
  const { type, tenantId: home, id: subject } = actor;
  const session = principal?.sessionId ?? null;
  if (type !== "user" || subject === null || session === null) throw needsSession();
  return { home, subject, session, acting };
}

/** How they stand there; 404 where they may do nothing, as where there is no such tenant. */
async function standingIn(ctx: TxCtx, whose: Whose) {
  const standing = await readStanding(
    async (statement) => rowsOf(await ctx.db.execute(statement)),
    whose,
    (what) => ctx.log("warn", "a binding names what does not exist", { what }),
  );
  if (!standing.holds || Object.keys(standing.grants).length === 0) throw notFound("tenant");
  return standing;
}

/** Gives a token for a tenant the caller may do something in; written down there. */
export async function exchange(ctx: TenantCtx, { tenantId }: z.infer<typeof Exchange>) {
  const whose = whoseOf(ctx, tenantId);
  const { home, subject, session } = whose;
  const { actor } = ctx;
  // No longer than the token that asks: or one that leaked would be renewed as long as its session lives.
  const presented = await ctx.presented?.();
  const presentedUntilMs = presented ? presented.expiresAt * 1000 : Infinity;
  const standing = await transact({ ...asSystem(ctx, tenantId), actor }, async (ctx) => {
    const standing = await standingIn(ctx, whose);
    const after = { userId: subject, homeTenantId: home };
    await record(ctx, {
      action: "session.exchanged",
      subjectType: "session",
      subjectId: session,
      before: null,
      after,
    });
    await publish(ctx, {
      type: "session.exchanged",
      source: "/sessions",
      subjectId: session,
      data: after,
    });
    return standing;
  });
  const principal: Principal = {
    actor,
    tenantId,
    userId: tenantId === home ? subject : null,
    sessionId: session,
    grants: standing.grants,
  };
  const { token, expiresInSeconds } = await ctx.tokens.sign(
    principal,
    ctx.now(),
    {
      ...signingOf({ ...standing, untilMs: Math.min(standing.untilMs, presentedUntilMs) }),
      id: presented?.id,
    },
  );
  return {
    accessToken: token,
    tokenType: "Bearer" as const,
    expiresIn: expiresInSeconds,
    tenantId,
    homeTenantId: home,
    userId: subject,
  };
}
