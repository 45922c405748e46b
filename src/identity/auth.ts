/** Signing in with e-mail, password and second factor, and who one is then. */
import { and, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { users, userSecurity } from "../../db/schema/identity.ts";
import { hashPassword, isOutdated, passwordFits } from "../access/passwords.ts";
import { asSystem, type Ctx, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault, notFound } from "../errors.ts";
import { told } from "../log.ts";
import { found } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import {
  forget,
  isKnownHere,
  slowDown,
  slowStrangersDown,
  takeBack,
  takeTry,
  type Try,
} from "./attempts.ts";
import {
  needsSecondFactor,
  type Proof,
  proofOf,
  recoveryCode,
  spend,
  totp,
  wrongSecondFactor,
} from "./proofs.ts";
import { openSession } from "./sessions.ts";

export const SignIn = z.strictObject({
  email: z.string().trim().toLowerCase().max(320)
    .pipe(z.email("Give an e-mail address, like ada@example.com")),
  password: z.string().min(1, "Give the password").max(1024),
  tenant: z.uuid("Give the tenant's id").optional(),
  totp: totp.optional(),
  recoveryCode: recoveryCode.optional(),
});

const refused = () =>
  new Fault("Unauthorized", "sign_in.refused", "E-mail and password do not fit together");

type Candidate = {
  tenantId: string;
  userId: string;
  tenantName: string;
  passwordHash: string | null;
  /** The user is active, and so is every tenant from theirs up. */
  maySignIn: boolean;
  hasSecondFactor: boolean;
  isKnown: boolean;
};

async function candidates(ctx: Ctx, email: string, tenant?: string): Promise<Candidate[]> {
  const rows = await ctx.database.query(
    sql`select * from sign_in_candidates(${email}, ${tenant ?? null}::uuid)`,
  );
  return rows.map((row) => ({
    tenantId: String(row.tenant_id),
    userId: String(row.user_id),
    tenantName: String(row.tenant_name),
    passwordHash: typeof row.password_hash === "string" ? row.password_hash : null,
    maySignIn: row.may_sign_in === true,
    hasSecondFactor: row.has_second_factor === true,
    isKnown: isKnownHere(ctx, Array.isArray(row.addresses) ? row.addresses.map(String) : []),
  }));
}

/** Who an unknown e-mail is taken for, so that it costs what a known one costs. */
const nobody = (): Candidate => ({
  tenantId: ROOT_TENANT,
  userId: crypto.randomUUID(),
  tenantName: "",
  passwordHash: null,
  maySignIn: false,
  hasSecondFactor: false,
  isKnown: false,
});

/** One whose password was right. `proof`: their second factor, null when it is missing or wrong. */
type Fitting = Candidate & { taken: Try; proof: Proof | null };

/** Those whose password it is. Each one looked at costs the same, whether it fits or not. */
async function fittingOf(ctx: Ctx, named: Candidate[], password: string, code?: string) {
  const fitting: Fitting[] = [];
  for (const candidate of named.length > 0 ? named : [nobody()]) {
    const taken = await takeTry(ctx, candidate);
    const fits = await passwordFits(password, taken ? candidate.passwordHash : null);
    if (!fits || !taken || !candidate.maySignIn) continue;
    const isAsked = candidate.hasSecondFactor && code !== undefined;
    const proof = isAsked ? await proofOf(ctx, candidate, code) : null;
    fitting.push({ ...candidate, taken, proof });
  }
  return fitting;
}

/**
 * Opens a session. An unknown e-mail and a wrong password cost the same and answer the same. Only
 * whoever has the password learns that a second factor is asked for, and only who has that too
 * learns which tenants there are: an account that asks for more than was given is passed over.
 */
export async function signIn(ctx: Ctx, input: z.infer<typeof SignIn>) {
  const { email, password, tenant } = input;
  const code = input.totp ?? input.recoveryCode;
  slowDown(ctx, email);
  const named = await candidates(ctx, email, tenant);
  if (!named.some(({ isKnown }) => isKnown)) slowStrangersDown(ctx, email);
  const fitting = await fittingOf(ctx, named, password, code);
  const proven = fitting.filter(({ hasSecondFactor, proof }) => !hasSecondFactor || proof);
  if (code === undefined) {
    for (const { taken, hasSecondFactor } of fitting) {
      if (hasSecondFactor) await takeBack(ctx, taken);
    }
  }
  const [chosen] = proven;
  if (!chosen) {
    if (fitting.length === 0) throw refused();
    throw code === undefined ? needsSecondFactor() : wrongSecondFactor();
  }
  if (proven.length === 1) return await open(ctx, chosen, password);
  for (const { tenantId, userId } of proven) {
    await transact(asSystem(ctx, tenantId), (tx) => forget(tx, userId));
  }
  throw severalTenants(proven);
}

/** Takes the second factor and opens the session in one transaction: neither without the other. */
async function open(ctx: Ctx, chosen: Fitting, password: string) {
  const { userId, proof, passwordHash } = chosen;
  const opened = await openSession(ctx, chosen, async (tx) => {
    if (!await stillFits(tx, chosen, password)) throw refused();
    if (proof && !await spend(tx, userId, proof)) throw wrongSecondFactor();
  });
  if (isOutdated(passwordHash)) {
    await strengthen(ctx, chosen, password)
      .catch((error) => ctx.log("warn", "a password keeps its old cost", { error: told(error) }));
  }
  return opened;
}

/** Whether what was proved is still what is asked for: it may have been changed while it was looked at. */
async function stillFits(ctx: TxCtx, { userId, passwordHash, proof }: Fitting, password: string) {
  const [now] = await ctx.db.select({
    passwordHash: userSecurity.passwordHash,
    confirmedAt: userSecurity.totpConfirmedAt,
  }).from(userSecurity)
    .where(and(eq(userSecurity.tenantId, ctx.tenantId), eq(userSecurity.id, userId)))
    .for("update");
  const [user] = await ctx.db.select({ status: users.status }).from(users)
    .where(and(eq(users.tenantId, ctx.tenantId), eq(users.id, userId))).for("share");
  if (!now || user?.status !== "active" || (now.confirmedAt !== null && !proof)) return false;
  return now.passwordHash === passwordHash || await passwordFits(password, now.passwordHash);
}

/** The same password at today's cost; unless it was changed meanwhile. */
async function strengthen(ctx: Ctx, { tenantId, userId, passwordHash }: Fitting, password: string) {
  const stronger = await hashPassword(password);
  await transact(
    asSystem(ctx, tenantId),
    ({ db }) =>
      db.update(userSecurity).set({ passwordHash: stronger }).where(and(
        eq(userSecurity.tenantId, tenantId),
        eq(userSecurity.id, userId),
        eq(userSecurity.passwordHash, passwordHash ?? ""),
      )),
  );
}

const severalTenants = (proven: Candidate[]) =>
  new Fault("Conflict", "sign_in.several_tenants", "Say which tenant: send its id as tenant", {
    fields: proven.map(({ tenantId, tenantName }) => ({
      field: "tenant",
      message: `${tenantId} is ${tenantName}`,
    })),
  });

export const Myself = z.strictObject({});
export const Me = z.object({
  userId: z.uuid(),
  tenantId: z.uuid(),
  email: z.string().max(320).nullable(),
  displayName: z.string().max(255),
  permissions: z.record(z.string(), z.string()),
});

/** Who asks, where, and what they may do here; also where one acts from another tenant. */
export async function me(ctx: TenantCtx, _: z.infer<typeof Myself>): Promise<z.infer<typeof Me>> {
  const { actor, tenantId, principal } = ctx;
  const userId = actor.type === "user" ? actor.id : ctx.userId;
  if (userId === null) throw notFound("user");
  const home = actor.tenantId;
  return await read(home === tenantId ? ctx : asSystem(ctx, home), async (ctx) => {
    const rows = await ctx.db.select({ email: users.email, displayName: users.displayName })
      .from(users).where(and(eq(users.tenantId, home), eq(users.id, userId)));
    return { userId, tenantId, permissions: { ...principal?.grants }, ...found(rows, "user") };
  });
}
