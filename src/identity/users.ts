/** Users: the people of a tenant. One belongs to one tenant and holds roles there. */
import { z } from "zod";
import { roleBindings } from "../../db/schema/access.ts";
import { userKinds, users, userSecurity } from "../../db/schema/identity.ts";
import { hashPassword } from "../access/passwords.ts";
import { systemRole as roleOf, systemRoles } from "../access/roles.ts";
import { type TenantCtx, transact } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { columnsOf } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { publish, record } from "../trail.ts";
import { name } from "../words.ts";

export const User = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  kind: z.enum(userKinds),
  email: z.string().max(320).nullable(),
  displayName: z.string().max(255),
  status: z.enum(["active", "suspended", "closed"]),
  createdAt: z.date(),
  updatedAt: z.date(),
});
const view = columnsOf(users, User);

export const Create = z.strictObject({
  email: z.string().trim().toLowerCase().max(320)
    .pipe(z.email("Give an e-mail address, like ada@example.com")),
  displayName: name("the person's name"),
  password: z.string().min(12, "Give at least 12 characters").max(1024).nullish(),
  systemRole: z.string().max(64),
});

/** Makes a user with one system role in their tenant. Without a password they cannot sign in yet. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  const { email, displayName, password, systemRole } = input;
  if (!roleOf(systemRole)) {
    throw invalid("system_role", `Give one of ${Object.keys(systemRoles).join(", ")}`);
  }
  if (systemRole === "operator" && ctx.tenantId !== ROOT_TENANT) {
    throw invalid("system_role", "Operators live in the root tenant");
  }
  const passwordHash = password ? await hashPassword(password) : null;
  return await transact(ctx, async (ctx) => {
    const { tenantId } = ctx;
    const [user] = await ctx.db.insert(users).values({ tenantId, email, displayName })
      .onConflictDoNothing().returning(view);
    if (!user) throw conflict("user.already_exists", `${email} is a user of this tenant already`);
    await ctx.db.insert(userSecurity)
      .values({ tenantId, id: user.id, passwordHash, passwordChangedAt: ctx.now() });
    await ctx.db.insert(roleBindings)
      .values({ tenantId, ownerUserId: user.id, appliesToTenantId: tenantId, systemRole });
    const after = { ...user, systemRole };
    const subjectId = user.id;
    await record(ctx, {
      action: "user.created",
      subjectType: "user",
      subjectId,
      before: null,
      after,
    });
    await publish(ctx, {
      type: "user.created",
      source: "/users",
      subjectId,
      data: { userId: user.id, tenantId, email, displayName },
    });
    return user;
  });
}
