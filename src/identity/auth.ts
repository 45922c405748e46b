/** Signing in with e-mail and password, and who one is then. */
import { and, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { users } from "../../db/schema/identity.ts";
import { passwordFits } from "../access/passwords.ts";
import { asSystem, type Ctx, read, type TenantCtx, transact } from "../context.ts";
import { Fault, notFound } from "../errors.ts";
import { found } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { forget, isKnownHere, slowDown, slowStrangersDown, takeTry } from "./attempts.ts";
import { openSession } from "./sessions.ts";

export const SignIn = z.strictObject({
  email: z.string().trim().toLowerCase().max(320)
    .pipe(z.email("Give an e-mail address, like ada@example.com")),
  password: z.string().min(1, "Give the password").max(1024),
  tenant: z.uuid("Give the tenant's id").optional(),
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
  isKnown: false,
});

/** Opens a session. An unknown e-mail and a wrong password cost the same and answer the same. */
export async function signIn(ctx: Ctx, { email, password, tenant }: z.infer<typeof SignIn>) {
  slowDown(ctx, email);
  const named = await candidates(ctx, email, tenant);
  if (!named.some(({ isKnown }) => isKnown)) slowStrangersDown(ctx, email);
  const fitting: Candidate[] = [];
  for (const candidate of named.length > 0 ? named : [nobody()]) {
    const mayTry = await takeTry(ctx, candidate);
    const fits = await passwordFits(password, mayTry ? candidate.passwordHash : null);
    if (fits && candidate.maySignIn) fitting.push(candidate);
  }
  const [chosen] = fitting;
  if (!chosen) throw refused();
  if (fitting.length === 1) return await openSession(ctx, chosen);
  for (const { tenantId, userId } of fitting) {
    await transact(asSystem(ctx, tenantId), (tx) => forget(tx, userId));
  }
  throw severalTenants(fitting);
}

const severalTenants = (fitting: Candidate[]) =>
  new Fault("Conflict", "sign_in.several_tenants", "Say which tenant: send its id as tenant", {
    fields: fitting.map(({ tenantId, tenantName }) => ({
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

/** Who asks, where, and what they may do here. */
export async function me(ctx: TenantCtx, _: z.infer<typeof Myself>): Promise<z.infer<typeof Me>> {
  const { userId, tenantId, principal } = ctx;
  if (userId === null) throw notFound("user"); // Of another tenant: their row is not in this one.
  return await read(ctx, async (ctx) => {
    const rows = await ctx.db.select({ email: users.email, displayName: users.displayName })
      .from(users).where(and(eq(users.tenantId, tenantId), eq(users.id, userId)));
    return { userId, tenantId, permissions: { ...principal?.grants }, ...found(rows, "user") };
  });
}
