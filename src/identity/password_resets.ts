/** Forgotten passwords: whoever reads a user's mailbox may set a new one, once, within the hour. */
import { and, eq, gt, isNull, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { users, userSecurity } from "../../db/schema/identity.ts";
import { passwordResets } from "../../db/schema/sign_in.ts";
import { type LinkPlace, newLinkToken, readLinkToken } from "../access/link_tokens.ts";
import { hashPassword } from "../access/passwords.ts";
import { asSystem, type Ctx, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault } from "../errors.ts";
import { post } from "../mailer.ts";
import { found } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { moved, publish, record } from "../trail.ts";
import { showEmail } from "./holders.ts";
import { slowAsking, slowRedeeming, slowSending } from "./message_limits.ts";
import { endSessions } from "./user_states.ts";
import { closeResets, email, ownUser, password } from "./users.ts";

const HOUR_MS = 3600_000;
/** No request answers sooner, so that what an e-mail leads to does not show in the time it takes. */
const ANSWER_AFTER_MS = 400;

export const Request = z.strictObject({
  email,
  tenant: z.uuid("Give the tenant's id").optional(),
});
export const Requested = z.object({ message: z.string().max(255) });

/** Sends a token to whoever is meant; the answer is the same when that is nobody. */
export async function request(ctx: Ctx, { email, tenant }: z.infer<typeof Request>) {
  slowAsking(ctx, email);
  await Promise.all([
    sendToAll(ctx, email, tenant),
    new Promise((resolve) => setTimeout(resolve, ANSWER_AFTER_MS)),
  ]);
  return { message: "If this is a user's e-mail, a message is on its way to it" };
}

async function sendToAll(ctx: Ctx, email: string, tenant: string | undefined) {
  const rows = await ctx.database.query(
    sql`select * from password_reset_candidates(${email}, ${tenant ?? null}::uuid)`,
  );
  const meant = rows.map((row) => ({
    tenantId: String(row.tenant_id),
    userId: String(row.user_id),
  }));
  const nobody = { tenantId: ROOT_TENANT, userId: crypto.randomUUID() };
  for (const { tenantId, userId } of meant.length > 0 ? meant : [nobody]) {
    const actor = { type: "anonymous" as const, tenantId, id: null };
    await transact({ ...asSystem(ctx, tenantId), actor }, (ctx) => begin(ctx, userId));
  }
}

/** Makes a token and sends it. Null: there is nobody who could use it. */
async function begin(ctx: TxCtx, userId: string): Promise<{ expiresAt: Date } | null> {
  const { tenantId } = ctx;
  const id = v7();
  const token = await newLinkToken("passwordReset", { tenantId, id });
  const [user] = await ctx.db.select({ email: users.email }).from(users).where(and(
    eq(users.tenantId, tenantId),
    eq(users.id, userId),
    eq(users.status, "active"),
    eq(users.kind, "person"),
  )).for("share");
  if (!user?.email) return null;
  const expiresAt = new Date(ctx.now().getTime() + HOUR_MS);
  await ctx.db.insert(passwordResets)
    .values({ id, tenantId, ownerUserId: userId, tokenHash: token.hash, expiresAt });
  await note(ctx, "password_reset.requested", id, { userId, expiresAt: expiresAt.toISOString() });
  post(ctx, {
    to: user.email,
    subject: "A new password",
    text: `Somebody asked for a new password for this address.

To set one, send this token with the password:

${token.text}

  POST ${ctx.publicUrl}/api/v1/auth/password-reset/confirm
  {"token": "…", "password": "…"}

It works once, until ${expiresAt.toISOString()}. If it was not you, do nothing: your password stays.
`,
  });
  return { expiresAt };
}

export const ResetPassword = z.strictObject({ id: z.uuid() });
export const Sent = z.object({ expiresAt: z.date() });

/** Has a token sent to a user. Whoever asks for it never sees it. */
export function resetPassword(ctx: TenantCtx, { id }: z.infer<typeof ResetPassword>) {
  return transact(ctx, async (ctx) => {
    const rows = await ctx.db.select({ email: users.email }).from(users).where(ownUser(ctx, id));
    slowSending(ctx, found(rows, "user").email ?? id);
    const begun = await begin(ctx, id);
    if (begun) return begun;
    throw conflict("user.no_password", "Only an active person with an e-mail has a password");
  });
}

export const Confirm = z.strictObject({
  token: z.string().min(1, "Give the token of the message").max(256),
  password,
});
export const Confirmed = z.object({ tenantId: z.uuid(), userId: z.uuid() });

/** Unknown, used and expired are one answer. */
const refused = () =>
  new Fault(
    "Unauthorized",
    "password_reset.refused",
    "This token does not hold: ask for a new one",
  );

const open = (ctx: TxCtx, { id, hash }: LinkPlace & { hash: string }) =>
  and(
    eq(passwordResets.tenantId, ctx.tenantId),
    eq(passwordResets.id, id),
    eq(passwordResets.tokenHash, hash),
    isNull(passwordResets.usedAt),
    gt(passwordResets.expiresAt, ctx.now()),
    sql`tenant_is_open(${ctx.tenantId}::uuid)`,
  );

/** Sets a new password and ends every session. A second factor stays: a mailbox is not both. */
export async function confirm(
  ctx: Ctx,
  { token: text, password }: z.infer<typeof Confirm>,
): Promise<z.infer<typeof Confirmed>> {
  slowRedeeming(ctx);
  const token = await readLinkToken("passwordReset", text);
  if (!token) throw refused();
  const { tenantId } = token;
  return await transact(asSystem(ctx, tenantId), async (system) => {
    // First of all: of many who try at once one goes on, and made-up tokens cost no hash.
    const [used] = await system.db.update(passwordResets).set({ usedAt: system.now() })
      .where(open(system, token))
      .returning({ id: passwordResets.id, userId: passwordResets.ownerUserId });
    if (!used) throw refused();
    const { userId } = used;
    const ctx: TxCtx = { ...system, actor: { type: "user", tenantId, id: userId } };
    const [user] = await ctx.db.select({ email: users.email }).from(users).where(and(
      eq(users.tenantId, tenantId),
      eq(users.id, userId),
      eq(users.status, "active"),
    ));
    if (!user) throw refused();
    await setPassword(ctx, userId, await hashPassword(password));
    await closeResets(ctx, userId);
    const sessionsEnded = await endSessions(ctx, userId, "password_reset");
    await moved(ctx, "access");
    const shown = await showEmail(ctx, userId);
    await note(ctx, "password_reset.confirmed", used.id, { userId, ...shown, sessionsEnded });
    if (user.email) {
      post(ctx, {
        to: user.email,
        subject: "Your password was changed",
        text: "Your password was changed and you were signed out everywhere.\n\n" +
          "If it was not you, ask for a new password at once.\n",
      });
    }
    return { tenantId, userId };
  });
}

/** The account that was shut by wrong tries opens with it. */
async function setPassword(ctx: TxCtx, userId: string, passwordHash: string) {
  const { tenantId } = ctx;
  const proof = {
    passwordHash,
    passwordChangedAt: ctx.now(),
    failedSignIns: 0,
    lockedUntil: null,
  };
  const [kept] = await ctx.db.update(userSecurity).set(proof)
    .where(and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId)))
    .returning({ id: userSecurity.id });
  if (!kept) await ctx.db.insert(userSecurity).values({ tenantId, id: userId, ...proof });
}

async function note(
  ctx: TxCtx,
  action: string,
  subjectId: string,
  after: Record<string, unknown> & { userId: string },
) {
  await record(ctx, { action, subjectType: "password_reset", subjectId, before: null, after });
  await publish(ctx, { type: action, source: "/password-resets", subjectId, data: after });
}
