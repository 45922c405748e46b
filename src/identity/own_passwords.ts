/** One's own password: changed by whoever knows the one before, and the end of what was opened with it. */
import { and, eq } from "drizzle-orm";
import { z } from "zod";
import { userSecurity } from "../../db/schema/identity.ts";
import { hashPassword } from "../access/passwords.ts";
import { type TenantCtx, transact } from "../context.ts";
import { invalid } from "../errors.ts";
import { publish, record } from "../trail.ts";
import { ownWho, proveAgain } from "./proofs.ts";
import { endSessionsOf } from "./sessions.ts";

export const Change = z.strictObject({
  currentPassword: z.string().min(1, "Give your password as it is now").max(1024),
  newPassword: z.string().min(12, "Give at least 12 characters").max(1024),
  exceptCurrent: z.boolean().default(true),
});
export const Changed = z.object({ ended: z.int().min(0) });

/** Changes it and ends one's sessions: the others, or with `exceptCurrent` false this one too. */
export async function change(ctx: TenantCtx, input: z.infer<typeof Change>) {
  const { currentPassword, newPassword, exceptCurrent } = input;
  const who = ownWho(ctx);
  const { tenantId, userId } = who;
  await proveAgain(ctx, who, { password: currentPassword }, "current_password");
  if (newPassword.normalize("NFKC") === currentPassword.normalize("NFKC")) {
    throw invalid("new_password", "Give another password than the one you have");
  }
  const passwordHash = await hashPassword(newPassword);
  const but = exceptCurrent ? ctx.principal?.sessionId : null;
  return await transact(ctx, async (ctx) => {
    // First: a sign-in with the old one that is under way waits here, and is ended or refused.
    await ctx.db.update(userSecurity).set({ passwordHash, passwordChangedAt: ctx.now() })
      .where(and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId)));
    const ended = await endSessionsOf(ctx, userId, "password_changed", but);
    const after = { userId, ended };
    await record(ctx, {
      action: "password.changed",
      subjectType: "user",
      subjectId: userId,
      before: null,
      after,
    });
    await publish(ctx, {
      type: "password.changed",
      source: "/users",
      subjectId: userId,
      data: after,
    });
    return { ended };
  });
}
