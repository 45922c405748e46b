/**
 * A person's second factor: an authenticator whose codes are asked for at sign-in once the person
 * has shown that it works, and ten recovery codes for the day it is lost.
 */
import { and, count, eq, isNotNull, isNull } from "drizzle-orm";
import { z } from "zod";
import { users, userSecurity } from "../../db/schema/identity.ts";
import { recoveryCodes } from "../../db/schema/sign_in.ts";
import { hashRecoveryCode, newRecoveryCode, newTotpSecret, totpUri } from "../access/totp.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, notFound } from "../errors.ts";
import { post } from "../mailer.ts";
import { found, one } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { publish, record } from "../trail.ts";
import { changingAccess, requireHeld } from "./authority.ts";
import { closeAccounts, type Ended } from "./holders.ts";
import {
  code,
  ownWho,
  type Proof,
  proveAgain,
  spend,
  stepOfSealed,
  totp,
  wrongCode,
} from "./proofs.ts";
import { rightsOfUser } from "./rights.ts";
import type { Who } from "./sessions.ts";

const ISSUER = "Switchboard";
const RECOVERY_CODES = 10;
const password = z.string().min(1, "Give your password").max(1024);

const own = ({ tenantId, userId }: Who) =>
  and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId));
const codesOf = ({ tenantId, userId }: Who) =>
  and(eq(recoveryCodes.tenantId, tenantId), eq(recoveryCodes.ownerUserId, userId));

export const Get = z.strictObject({});
export const SecondFactor = z.object({
  isConfirmed: z.boolean(),
  confirmedAt: z.date().nullable(),
  recoveryCodesLeft: z.int().min(0).max(RECOVERY_CODES),
}).meta({ id: "SecondFactor" });

/** Whether the caller is asked for a second factor, and how many recovery codes they have left. */
export function get(ctx: TenantCtx, _: z.infer<typeof Get>): Promise<z.infer<typeof SecondFactor>> {
  const who = ownWho(ctx);
  return read(ctx, async (ctx) => {
    const [held] = await ctx.db.select({ confirmedAt: userSecurity.totpConfirmedAt })
      .from(userSecurity).where(own(who));
    const { left } = one(
      await ctx.db.select({ left: count() }).from(recoveryCodes)
        .where(and(codesOf(who), isNull(recoveryCodes.usedAt))),
    );
    const confirmedAt = held?.confirmedAt ?? null;
    return { isConfirmed: confirmedAt !== null, confirmedAt, recoveryCodesLeft: left };
  });
}

export const Begin = z.strictObject({ password });
export const Begun = z.object({ secret: z.string().max(64), uri: z.string().max(2048) });

const already = () =>
  conflict("second_factor.already_confirmed", "You have a second factor: disable it first");

/** Makes a secret for an authenticator. It is asked for only once a code of it was confirmed. */
export async function begin(ctx: TenantCtx, { password }: z.infer<typeof Begin>) {
  const who = ownWho(ctx);
  await proveAgain(ctx, who, { password });
  await ctx.secrets.ready(ctx);
  const secret = newTotpSecret();
  return await transact(ctx, async (ctx) => {
    const sealed = await ctx.secrets.seal(ctx, at(userSecurity.totpSecret, who.userId), secret);
    const done = await ctx.db.update(userSecurity).set({ totpSecret: sealed, totpStep: null })
      .where(and(own(who), isNull(userSecurity.totpConfirmedAt))).returning({
        id: userSecurity.id,
      });
    if (done.length === 0) throw already();
    await note(ctx, "second_factor.begun", who.userId);
    return { secret, uri: totpUri(secret, ISSUER, await labelOf(ctx, who)) };
  });
}

async function labelOf(ctx: TxCtx, { tenantId, userId }: Who): Promise<string> {
  const rows = await ctx.db.select({ email: users.email, name: users.displayName }).from(users)
    .where(and(eq(users.tenantId, tenantId), eq(users.id, userId)));
  const { email, name } = found(rows, "user");
  return email ?? name;
}

export const Confirm = z.strictObject({ code: totp });
export const Codes = z.object({
  recoveryCodes: z.array(z.string().max(32)).max(RECOVERY_CODES),
  warning: z.string().max(255),
});
const warning = "Save these codes. Each works once; they will not be shown again.";

/** Takes the authenticator into use: it has shown a code. Answers the recovery codes. */
export async function confirm(ctx: TenantCtx, { code }: z.infer<typeof Confirm>) {
  const who = ownWho(ctx);
  return await transact(ctx, async (ctx) => {
    const [held] = await ctx.db
      .select({ sealed: userSecurity.totpSecret, confirmedAt: userSecurity.totpConfirmedAt })
      .from(userSecurity).where(own(who)).for("update");
    if (held?.confirmedAt) throw already();
    if (!held?.sealed) throw conflict("second_factor.not_begun", "Begin a second factor first");
    const totpStep = await stepOfSealed(ctx, who.userId, held.sealed, code);
    if (totpStep === null) throw wrongCode();
    await ctx.db.update(userSecurity).set({ totpConfirmedAt: ctx.now(), totpStep }).where(own(who));
    const fresh = await replaceCodes(ctx, who);
    await note(ctx, "second_factor.confirmed", who.userId);
    return { recoveryCodes: fresh, warning };
  });
}

async function replaceCodes(ctx: TxCtx, { tenantId, userId }: Who): Promise<string[]> {
  await ctx.db.delete(recoveryCodes).where(codesOf({ tenantId, userId }));
  const fresh = Array.from({ length: RECOVERY_CODES }, newRecoveryCode);
  await ctx.db.insert(recoveryCodes).values(
    fresh.map((code) => ({ tenantId, ownerUserId: userId, codeHash: hashRecoveryCode(code) })),
  );
  return fresh;
}

/** Spends a code on a change of one's own second factor, in the transaction of the change. */
async function spendOn(ctx: TxCtx, { userId }: Who, proof: Proof | null) {
  if (!proof || !await spend(ctx, userId, proof)) throw wrongCode();
}

const unused = () => conflict("second_factor.not_confirmed", "You have no second factor");

/** Throws Conflict where there is no second factor, before any code is looked at. */
async function requireConfirmed(ctx: TenantCtx, who: Who) {
  const rows = await read(ctx, ({ db }) =>
    db.select({ id: userSecurity.id }).from(userSecurity)
      .where(and(own(who), isNotNull(userSecurity.totpConfirmedAt))));
  if (rows.length === 0) throw unused();
}

export const Disable = z.strictObject({ password, code });

/** Takes the second factor out of use. A recovery code does for a lost authenticator. */
export async function disable(ctx: TenantCtx, { password, code }: z.infer<typeof Disable>) {
  const who = ownWho(ctx);
  await requireConfirmed(ctx, who);
  const proof = await proveAgain(ctx, who, { password, code });
  await transact(ctx, async (ctx) => {
    await spendOn(ctx, who, proof);
    await clear(ctx, who);
    await note(ctx, "second_factor.disabled", who.userId);
  });
}

async function clear(ctx: TxCtx, who: Who) {
  await ctx.db.update(userSecurity)
    .set({ totpSecret: null, totpConfirmedAt: null, totpStep: null }).where(own(who));
  await ctx.db.delete(recoveryCodes).where(codesOf(who));
}

export const RecoveryCodes = z.strictObject({ code });

/** A new set of recovery codes; the old ones work no longer. */
export async function renewCodes(ctx: TenantCtx, { code }: z.infer<typeof RecoveryCodes>) {
  const who = ownWho(ctx);
  await requireConfirmed(ctx, who);
  const proof = await proveAgain(ctx, who, { code });
  return await transact(ctx, async (ctx) => {
    await spendOn(ctx, who, proof);
    const fresh = await replaceCodes(ctx, who);
    await note(ctx, "recovery_codes.renewed", who.userId);
    return { recoveryCodes: fresh, warning };
  });
}

export const Reset = z.strictObject({ userId: z.uuid("Give the user's id") });

const onesOwn = () =>
  new Fault("Forbidden", "second_factor.own", "Disable your own with your password and a code");

/**
 * Takes another's second factor out of use, by whoever holds all that they hold: they lost it. What
 * it guarded is closed.
 */
export function reset(ctx: TenantCtx, { userId }: z.infer<typeof Reset>) {
  if (ctx.reach === "self") throw notFound("user");
  if (userId === ctx.userId) throw onesOwn();
  const who = { tenantId: ctx.tenantId, userId };
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const rows = await ctx.db
      .select({ sealed: userSecurity.totpSecret, confirmedAt: userSecurity.totpConfirmedAt })
      .from(userSecurity).where(own(who)).for("update");
    const { sealed, confirmedAt } = found(rows, "user");
    await requireHeld(ctx, await rightsOfUser(ctx, userId), "user_id");
    if (sealed === null) return;
    await clear(ctx, who);
    const ended = confirmedAt ? await closeAccounts(ctx, userId) : null;
    await note(ctx, "second_factor.reset", userId, ended);
    if (ended) await tell(ctx, who);
  });
}

async function tell(ctx: TxCtx, { tenantId, userId }: Who) {
  const [user] = await ctx.db.select({ email: users.email }).from(users)
    .where(and(eq(users.tenantId, tenantId), eq(users.id, userId)));
  if (!user?.email) return;
  post(ctx, {
    to: user.email,
    subject: "Your second factor was taken off",
    text: "An administrator took your second factor off: your password alone lets you in now.\n" +
      "You were signed out everywhere, and the accounts you connected stay closed until you " +
      "connect them again.\n\nIf you did not ask for this, set a new password at once.\n",
  });
}

async function note(ctx: TxCtx, action: string, userId: string, ended: Ended | null = null) {
  const data = { userId, ...ended };
  await record(ctx, {
    action,
    subjectType: "user",
    subjectId: userId,
    before: null,
    after: data,
  });
  await publish(ctx, { type: action, source: "/users", subjectId: userId, data });
}
