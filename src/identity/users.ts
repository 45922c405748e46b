/** Users: the people of a tenant. One belongs to one tenant and holds roles there. */
import { and, desc, eq, lt, ne, sql } from "drizzle-orm";
import { z } from "zod";
import { roleBindings } from "../../db/schema/access.ts";
import { statuses, userKinds, users, userSecurity } from "../../db/schema/identity.ts";
import { passwordResets } from "../../db/schema/sign_in.ts";
import { hashPassword } from "../access/passwords.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { post } from "../mailer.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { changesOf, publish, record } from "../trail.ts";
import { metadata, name } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireNow, requireToGive } from "./giving.ts";
import { type Ended, handOver } from "./holders.ts";
import { ownWho, proveAgain } from "./proofs.ts";
import { grantsOfRole, rightsOfUser, type RoleName } from "./rights.ts";

export const User = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  kind: z.enum(userKinds),
  email: z.string().max(320).nullable(),
  displayName: z.string().max(255),
  status: z.enum(statuses),
  isActive: z.boolean(),
  metadata: z.record(z.string(), z.unknown()),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "User" });
export type User = z.infer<typeof User>;
export const userView = {
  ...columnsOf(users, User),
  isActive: sql<boolean>`${users.status} = 'active'`,
};

/** As it is stored and compared. */
export const email = z.string().normalize("NFC").trim().toLowerCase()
  .max(320, "Give at most 320 characters")
  .pipe(z.email("Give an e-mail address, like ada@example.com"));
export const password = z.string().min(12, "Give at least 12 characters")
  .max(1024, "Give at most 1,024 characters");
/** A role as a request names it: a system role's key or the id of a role of the tenant. */
export const role = {
  systemRole: z.string().min(1, "Name a role, or leave it out").max(64).nullish(),
  roleId: z.uuid("Give a role's id").nullish(),
};

/** With `self` reach only oneself. */
export const ownUser = (ctx: TenantCtx, id?: string) =>
  and(
    eq(users.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(users.id, id),
    ctx.reach !== "self" ? undefined : ctx.userId ? eq(users.id, ctx.userId) : sql`false`,
  );

export const Create = z.strictObject({
  email,
  displayName: name("the person's name"),
  metadata: metadata.nullish(),
  password: password.nullish(),
  ...role,
});

/** Makes a user, with a role in their tenant if one is named. Without a password they cannot sign in yet. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>): Promise<User> {
  const { password, ...newcomer } = input;
  const passwordHash = password ? await hashPassword(password) : null;
  return await transact(ctx, async (ctx) => {
    await givingRole(ctx, newcomer);
    return await admit(ctx, {
      ...newcomer,
      passwordHash,
      isEmailShown: ctx.actor.type === "system",
    });
  });
}

/** First in a transaction that gives somebody a role here, if any. Throws Forbidden when it is more than the actor holds. */
export async function givingRole(ctx: TxCtx, { systemRole, roleId }: RoleName) {
  if (systemRole && roleId) {
    throw invalid("role_id", "Give a system role or a role of this tenant, not both");
  }
  if (systemRole === "") throw invalid("system_role", "Name a role, or leave it out");
  if (!systemRole && !roleId) return;
  await changingAccess(ctx);
  const grants = await grantsOfRole(ctx, { systemRole, roleId });
  const field = systemRole ? "system_role" : "role_id";
  await requireToGive(ctx, [{ tenantId: ctx.tenantId, grants }], field);
}

export type Newcomer = RoleName & {
  email: string;
  displayName: string;
  metadata?: Record<string, unknown> | null | undefined;
  passwordHash: string | null;
  /** Whether the person is known to read the e-mail, and whoever makes them does not know the password. */
  isEmailShown: boolean;
};

/** Puts somebody into the tenant. Whoever calls it has made sure that the role may be given. */
export async function admit(ctx: TxCtx, newcomer: Newcomer): Promise<User> {
  const { tenantId } = ctx;
  const { email, displayName, passwordHash, systemRole = null, roleId = null } = newcomer;
  const { isEmailShown } = newcomer;
  const [user] = await ctx.db.insert(users)
    .values({ tenantId, email, displayName, isEmailShown, metadata: newcomer.metadata ?? {} })
    .onConflictDoNothing().returning(userView);
  if (!user) throw taken(email);
  await ctx.db.insert(userSecurity)
    .values({ tenantId, id: user.id, passwordHash, passwordChangedAt: ctx.now() });
  if (systemRole || roleId) {
    await ctx.db.insert(roleBindings)
      .values({ tenantId, ownerUserId: user.id, appliesToTenantId: tenantId, systemRole, roleId });
  }
  await noteUser(ctx, "user.created", null, { ...user, systemRole, roleId }, {
    email,
    displayName,
    systemRole,
    roleId,
  });
  return user;
}

const taken = (email: string) =>
  conflict("user.already_exists", `${email} is a user of this tenant already`);

export const Get = z.strictObject({ id: z.uuid() });

export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<User> {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(userView).from(users).where(ownUser(ctx, id));
    return found(rows, "user");
  });
}

/** A user this ctx may change, held until the transaction ends. */
export async function heldUser(ctx: TxCtx, id: string): Promise<User> {
  const rows = await ctx.db.select(userView).from(users).where(ownUser(ctx, id)).for("update");
  return found(rows, "user");
}

/**
 * Whoever can become somebody, or keep them out, must hold all that they hold. Of oneself nothing is
 * asked; a key is not its owner.
 */
export async function requireAbove(ctx: TxCtx, id: string) {
  if (ctx.actor.type === "user" && ctx.actor.id === id) return;
  await requireNow(ctx, await rightsOfUser(ctx, id), "id");
}

export const Update = z.strictObject({
  id: z.uuid(),
  displayName: name("the person's name").optional(),
  email: email.optional(),
  /** With it a new e-mail is one's own doing. */
  currentPassword: z.string().min(1, "Give your password as it is now").max(1024).optional(),
  metadata: metadata.nullish(),
});

/**
 * Changes the fields given. A new e-mail is a new way in, so it takes all that the user holds, and
 * hands the account over unless the person themselves proves that they want it.
 */
export async function update(ctx: TenantCtx, input: z.infer<typeof Update>): Promise<User> {
  const { id, displayName, email, metadata } = input;
  if (email !== undefined && ctx.reach === "self") {
    throw new Fault("Forbidden", "user.email_kept", "Ask an administrator to change your e-mail", {
      fields: [{ field: "email", message: "Leave it as it is" }],
    });
  }
  const isOwnDoing = await provedOwn(ctx, input);
  return await transact(ctx, async (ctx) => {
    if (email !== undefined) await changingAccess(ctx);
    const before = await heldUser(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const wanted = given({ displayName, email, metadata: metadata === null ? {} : metadata });
    if (Object.keys(changesOf(before, { ...before, ...wanted })).length === 0) return before;
    const ended = email !== undefined && email !== before.email
      ? await readdress(ctx, before, email, isOwnDoing)
      : null;
    const after = one(
      await ctx.db.update(users).set({
        ...wanted,
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(ownUser(ctx, id)).returning(userView),
    );
    await noteUser(ctx, "user.updated", before, { ...after, ...ended }, {
      changes: changesOf(before, after),
      updatedBy: ctx.actor.id,
      ...ended,
    });
    return after;
  });
}

/** Whether somebody changes their own e-mail and has proved themselves once more for it. */
async function provedOwn(ctx: TenantCtx, input: z.infer<typeof Update>): Promise<boolean> {
  const { id, email, currentPassword: password } = input;
  if (password === undefined) return false;
  if (email === undefined || ctx.actor.type !== "user" || ctx.actor.id !== id) {
    throw invalid("current_password", "Leave it out: it goes with a new e-mail of your own");
  }
  await proveAgain(ctx, ownWho(ctx), { password }, "current_password");
  return true;
}

/** What was sent to the old address opens nothing any more. */
async function readdress(
  ctx: TxCtx,
  { id, kind, email: old }: User,
  email: string,
  isOwnDoing: boolean,
): Promise<Ended | null> {
  if (kind !== "person") throw invalid("email", "A service account has no e-mail");
  await requireAbove(ctx, id);
  const { tenantId } = ctx;
  const [other] = await ctx.db.select({ id: users.id }).from(users)
    .where(and(eq(users.tenantId, tenantId), eq(users.email, email), ne(users.id, id)));
  if (other) throw taken(email);
  await closeResets(ctx, id);
  if (isOwnDoing) await ctx.db.update(users).set({ isEmailShown: false }).where(ownUser(ctx, id));
  const ended = isOwnDoing ? null : await handOver(ctx, id);
  if (!old) return ended;
  const closed =
    "You were signed out everywhere, and the accounts you connected stay closed until " +
    "you connect them again.\n\n";
  post(ctx, {
    to: old,
    subject: "Your e-mail was changed",
    text: "From now on you sign in with another e-mail address, and messages go there.\n\n" +
      (ended ? closed : "") +
      "If you did not expect this, ask an administrator of your organisation.\n",
  });
  return ended;
}

/** No password reset that was asked for until now can be used. */
export async function closeResets(ctx: TxCtx, userId: string) {
  await ctx.db.update(passwordResets).set({ usedAt: ctx.now() }).where(and(
    eq(passwordResets.tenantId, ctx.tenantId),
    eq(passwordResets.ownerUserId, userId),
    sql`${passwordResets.usedAt} is null`,
  ));
}

export const List = z.strictObject({
  status: z.enum(statuses).optional(),
  kind: z.enum(userKinds).optional(),
  email: email.optional(),
  /** How the name begins. */
  namePrefix: z.string().normalize("NFC").min(1, "Give at least one letter").max(255).optional(),
  ...page,
});
export const Listed = z.object({ users: z.array(User).max(100), nextCursor });

const beginning = (text: string) => text.replaceAll(/[\\%_]/g, "\\$&") + "%";

export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  const { status, kind, email, namePrefix, cursor, limit } = input;
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(userView).from(users).where(and(
      ownUser(ctx),
      status ? eq(users.status, status) : undefined,
      kind ? eq(users.kind, kind) : undefined,
      email ? eq(users.email, email) : undefined,
      namePrefix
        ? sql`lower(${users.displayName}) like lower(${beginning(namePrefix)})`
        : undefined,
      cursor ? lt(users.id, cursor) : undefined,
    )).orderBy(desc(users.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { users: items, nextCursor };
  });
}

type Row = Record<string, unknown>;

/** One entry and one event about a user, who is named by the id all services share. */
export async function noteUser(
  ctx: TxCtx,
  action: string,
  before: Row | null,
  after: Row & { id: string },
  data: Row = {},
) {
  const subjectId = after.id;
  await record(ctx, { action, subjectType: "user", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/users",
    subjectId,
    data: { userId: subjectId, tenantId: ctx.tenantId, ...data },
  });
}
