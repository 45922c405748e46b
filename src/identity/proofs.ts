/**
 * What proves a person beside their password: a code of their authenticator, taken once for each
 * time step, or a recovery code, which works once. And proving oneself once more when signed in.
 */
import { and, eq, isNotNull, isNull, lt, or } from "drizzle-orm";
import { z } from "zod";
import { userSecurity } from "../../db/schema/identity.ts";
import { recoveryCodes } from "../../db/schema/sign_in.ts";
import { passwordFits } from "../access/passwords.ts";
import { hashRecoveryCode, totpStep } from "../access/totp.ts";
import { asSystem, type Ctx, read, type TenantCtx, type TxCtx } from "../context.ts";
import { Fault, invalid } from "../errors.ts";
import { at } from "../secrets/places.ts";
import { takeBack, takeOwnTry } from "./attempts.ts";
import { ownUser, type Who } from "./sessions.ts";

const DIGITS = /^\d{3} ?\d{3}$/;
export const totp = z.string().max(16).regex(DIGITS, "Give the six digits of the authenticator");
export const recoveryCode = z.string().max(64)
  .regex(/^(?:[0-9A-Za-z][ -]?){16}$/, "Give a recovery code, like 7g2k-0x4d-m9pq-w3tz");
/** Either of them. */
export const code = z.string().max(64)
  .regex(/^(?:\d{3} ?\d{3}|(?:[0-9A-Za-z][ -]?){16})$/, "Give the six digits, or a recovery code");

/** A second factor that is right but not yet taken. */
export type Proof = { step: number } | { codeId: string };

const own = ({ tenantId, userId }: Who) =>
  and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId));

/** The time step of a code of the sealed secret; null when it is none of its codes of now. */
export async function stepOfSealed(ctx: TxCtx, userId: string, sealed: string, text: string) {
  const secret = await ctx.secrets.open(ctx, at(userSecurity.totpSecret, userId), sealed);
  return totpStep(secret.reveal(), text, ctx.now());
}

/** Which proof a code is; null when it is none, or was one. Takes nothing: see `spend`. */
export function proofOf(ctx: Ctx, who: Who, text: string): Promise<Proof | null> {
  return read(asSystem(ctx, who.tenantId), async (ctx) => {
    if (!DIGITS.test(text)) return await recoveryProof(ctx, who, text);
    const [held] = await ctx.db
      .select({ sealed: userSecurity.totpSecret, lastStep: userSecurity.totpStep })
      .from(userSecurity).where(and(own(who), isNotNull(userSecurity.totpConfirmedAt)));
    if (!held?.sealed) return null;
    const step = await stepOfSealed(ctx, who.userId, held.sealed, text);
    return step === null || step <= (held.lastStep ?? 0) ? null : { step };
  });
}

async function recoveryProof(ctx: TxCtx, { tenantId, userId }: Who, text: string) {
  const [found] = await ctx.db.select({ codeId: recoveryCodes.id }).from(recoveryCodes)
    .where(and(
      eq(recoveryCodes.tenantId, tenantId),
      eq(recoveryCodes.ownerUserId, userId),
      eq(recoveryCodes.codeHash, hashRecoveryCode(text)),
      isNull(recoveryCodes.usedAt),
    ));
  return found ?? null;
}

/** Takes a proof, in the transaction of what it is good for. False: another took it first. */
export async function spend(ctx: TxCtx, userId: string, proof: Proof): Promise<boolean> {
  const { tenantId } = ctx;
  const taken = "step" in proof
    ? await ctx.db.update(userSecurity).set({ totpStep: proof.step }).where(and(
      own({ tenantId, userId }),
      isNotNull(userSecurity.totpConfirmedAt),
      or(isNull(userSecurity.totpStep), lt(userSecurity.totpStep, proof.step)),
    )).returning({ id: userSecurity.id })
    : await ctx.db.update(recoveryCodes).set({ usedAt: ctx.now() }).where(and(
      eq(recoveryCodes.tenantId, tenantId),
      eq(recoveryCodes.id, proof.codeId),
      eq(recoveryCodes.ownerUserId, userId),
      isNull(recoveryCodes.usedAt),
    )).returning({ id: recoveryCodes.id });
  return taken.length > 0;
}

/** Only ever said to whoever gave the right password. */
export const needsSecondFactor = () =>
  new Fault(
    "Unauthorized",
    "sign_in.second_factor",
    "Send a code of the authenticator as totp, or a recovery code",
  );
export const wrongSecondFactor = () =>
  new Fault(
    "Unauthorized",
    "sign_in.second_factor_refused",
    "This code does not hold: wait for the next, or send a recovery code",
  );

/** Who changes how they sign in: a person themselves, at home, by a token and never by a key. */
export function ownWho(ctx: TenantCtx): Who {
  if (ctx.actor.type !== "user") {
    throw new Fault("Forbidden", "sign_in.needs_user", "A key cannot change how somebody signs in");
  }
  return { tenantId: ctx.tenantId, userId: ownUser(ctx) };
}

export type Reproof = { password?: string; code?: string };

/**
 * Asks somebody signed in for their password or a code once more; what is wrong counts like a wrong
 * try at the door. Throws ValidationError naming the field, or RateLimited. Answers the proof that
 * the code is, for `spend`.
 */
export async function proveAgain(
  ctx: TenantCtx,
  who: Who,
  { password, code }: Reproof,
  passwordField = "password",
): Promise<Proof | null> {
  const taken = await takeOwnTry(ctx, who);
  if (password !== undefined && !await passwordFits(password, await hashOf(ctx, who))) {
    throw invalid(passwordField, "This is not your password");
  }
  const proof = code === undefined ? null : await proofOf(ctx, who, code);
  if (code !== undefined && !proof) throw wrongCode();
  await takeBack(ctx, taken);
  return proof;
}

export const wrongCode = () =>
  invalid("code", "This code does not hold: wait for the next, or give a recovery code");

async function hashOf(ctx: Ctx, who: Who): Promise<string | null> {
  const [held] = await read(
    asSystem(ctx, who.tenantId),
    ({ db }) => db.select({ hash: userSecurity.passwordHash }).from(userSecurity).where(own(who)),
  );
  return held?.hash ?? null;
}
