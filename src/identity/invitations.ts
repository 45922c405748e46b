/** Invitations: somebody is asked to join, with a role and into a group that whoever asks holds. */
import { and, desc, eq, gt, isNotNull, isNull, lt, lte, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { groups } from "../../db/schema/access.ts";
import { tenants, users } from "../../db/schema/identity.ts";
import { invitations } from "../../db/schema/sign_in.ts";
import { actorTypes } from "../../db/schema/trail.ts";
import { newLinkToken } from "../access/link_tokens.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { post } from "../mailer.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { requireNow, requireToGive } from "./giving.ts";
import { slowSending } from "./message_limits.ts";
import { grantsOfRole, rightsOfGroup } from "./rights.ts";
import { email, role } from "./users.ts";

const invitationStates = ["open", "accepted", "revoked", "expired"] as const;

export const Invitation = z.object({
  id: z.uuid(),
  email: z.string().max(320),
  systemRole: z.string().max(64).nullable(),
  roleId: z.uuid().nullable(),
  groupId: z.uuid().nullable(),
  inviterType: z.enum(actorTypes),
  inviterId: z.uuid().nullable(),
  status: z.enum(invitationStates),
  expiresAt: z.date(),
  acceptedAt: z.date().nullable(),
  revokedAt: z.date().nullable(),
  /** Who it became. */
  ownerUserId: z.uuid().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Invitation" });
type Invitation = z.infer<typeof Invitation>;
const columns = columnsOf(invitations, Invitation);
type Row = Omit<Invitation, "status">;

function shown(ctx: TenantCtx, row: Row): Invitation {
  const status = row.acceptedAt
    ? "accepted"
    : row.revokedAt
    ? "revoked"
    : row.expiresAt <= ctx.now()
    ? "expired"
    : "open";
  return { ...row, status };
}

/** With `self` reach only those one sent oneself. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(invitations.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(invitations.id, id),
    ctx.reach !== "self"
      ? undefined
      : ctx.userId
      ? and(eq(invitations.inviterType, "user"), eq(invitations.inviterId, ctx.userId))
      : sql`false`,
  );

const DAY_SECONDS = 86_400;
const expiresInSeconds = z.int("Give whole seconds").min(3_600, "Give at least an hour")
  .max(30 * DAY_SECONDS, "Give at most 30 days").default(7 * DAY_SECONDS);

export const Create = z.strictObject({
  email,
  ...role,
  groupId: z.uuid("Give a group's id").nullish(),
  expiresInSeconds,
});

/** Invites somebody. The token goes to their mailbox and nowhere else. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>): Promise<Invitation> {
  const { email, systemRole = null, roleId = null, groupId = null } = input;
  const { tenantId, actor } = ctx;
  slowSending(ctx, email);
  const id = v7();
  const token = await newLinkToken("invitation", { tenantId, id });
  return await transact(ctx, async (ctx) => {
    await requireGivable(ctx, { systemRole, roleId, groupId });
    const [user] = await ctx.db.select({ id: users.id }).from(users)
      .where(and(eq(users.tenantId, tenantId), eq(users.email, email)));
    if (user) throw conflict("user.already_exists", `${email} is a user of this tenant already`);
    const [row] = await ctx.db.insert(invitations).values({
      id,
      tenantId,
      email,
      systemRole,
      roleId,
      groupId,
      inviterType: actor.type,
      inviterTenantId: actor.tenantId,
      inviterId: actor.id,
      tokenHash: token.hash,
      expiresAt: new Date(ctx.now().getTime() + input.expiresInSeconds * 1000),
    }).onConflictDoNothing().returning(columns);
    if (!row) {
      const sentence = `${email} is invited already: resend that invitation, or revoke it first`;
      throw conflict("invitation.already_exists", sentence);
    }
    await send(ctx, row, token.text);
    return await note(ctx, "invitation.created", null, row);
  });
}

export type Gift = Pick<Invitation, "systemRole" | "roleId" | "groupId">;

/** Throws unless the actor holds what the role and the group give, and may put people into groups. */
export async function requireGivable(ctx: TxCtx, { systemRole, roleId, groupId }: Gift) {
  const { tenantId } = ctx;
  if (systemRole && roleId) {
    throw invalid("role_id", "Give a system role or a role of this tenant, not both");
  }
  if (systemRole || roleId) {
    const grants = await grantsOfRole(ctx, { systemRole, roleId });
    await requireToGive(ctx, [{ tenantId, grants }], systemRole ? "system_role" : "role_id");
  }
  if (!groupId) return;
  const [group] = await ctx.db.select({ id: groups.id }).from(groups)
    .where(and(eq(groups.tenantId, tenantId), eq(groups.id, groupId), eq(groups.isActive, true)))
    .for("share");
  if (!group) throw notFound("group");
  const adding = { tenantId, grants: { "group_members.add": "tenant" as const } };
  await requireNow(ctx, [adding], "group_id");
  await requireToGive(ctx, await rightsOfGroup(ctx, groupId), "group_id");
}

async function send(ctx: TxCtx, { email, expiresAt }: Row, token: string) {
  const tenant = one(
    await ctx.db.select({ name: tenants.name }).from(tenants).where(eq(tenants.id, ctx.tenantId)),
  );
  post(ctx, {
    to: email,
    subject: `You are invited to ${tenant.name}`,
    text: `You are invited to join ${tenant.name}.

To accept, send this token with your name and a password of your choice:

${token}

  POST ${ctx.publicUrl}/api/v1/invitations/accept
  {"token": "…", "display_name": "…", "password": "…"}

It works once, until ${expiresAt.toISOString()}. If you did not expect this message, do nothing.
`,
  });
}

export const Get = z.strictObject({ id: z.uuid() });

export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<Invitation> {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(columns).from(invitations).where(own(ctx, id));
    return shown(ctx, found(rows, "invitation"));
  });
}

export const List = z.strictObject({
  status: z.enum(invitationStates).optional(),
  email: email.optional(),
  ...page,
});
export const Listed = z.object({ invitations: z.array(Invitation).max(100), nextCursor });

const isUnused = and(isNull(invitations.acceptedAt), isNull(invitations.revokedAt));

export function list(ctx: TenantCtx, { status, email, cursor, limit }: z.infer<typeof List>) {
  const inState = {
    open: and(isUnused, gt(invitations.expiresAt, ctx.now())),
    expired: and(isUnused, lte(invitations.expiresAt, ctx.now())),
    accepted: isNotNull(invitations.acceptedAt),
    revoked: isNotNull(invitations.revokedAt),
  };
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(columns).from(invitations).where(and(
      own(ctx),
      status ? inState[status] : undefined,
      email ? eq(invitations.email, email) : undefined,
      cursor ? lt(invitations.id, cursor) : undefined,
    )).orderBy(desc(invitations.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { invitations: items.map((row) => shown(ctx, row)), nextCursor };
  });
}

async function held(ctx: TxCtx, id: string): Promise<Row> {
  const rows = await ctx.db.select(columns).from(invitations).where(own(ctx, id)).for("update");
  const before = found(rows, "invitation");
  requireMatch(ctx.ifMatch, before);
  return before;
}

const accepted = () => conflict("invitation.accepted", "It was accepted: they are a user now");

export const Revoke = z.strictObject({ id: z.uuid() });

/** Takes an invitation back: its token works no more. */
export function revoke(ctx: TenantCtx, { id }: z.infer<typeof Revoke>): Promise<Invitation> {
  return transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    if (before.acceptedAt) throw accepted();
    if (before.revokedAt) return shown(ctx, before);
    const after = one(
      await ctx.db.update(invitations).set({ revokedAt: ctx.now() }).where(own(ctx, id))
        .returning(columns),
    );
    return await note(ctx, "invitation.revoked", before, after);
  });
}

export const Resend = z.strictObject({ id: z.uuid(), expiresInSeconds });

/** Sends a new token, as the caller's own invitation from then on; the one before it works no more. */
export async function resend(ctx: TenantCtx, input: z.infer<typeof Resend>): Promise<Invitation> {
  const { id, expiresInSeconds } = input;
  const { tenantId, actor } = ctx;
  const token = await newLinkToken("invitation", { tenantId, id });
  return await transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    if (before.acceptedAt) throw accepted();
    if (before.revokedAt) throw conflict("invitation.revoked", "It was revoked: make a new one");
    slowSending(ctx, before.email);
    await requireGivable(ctx, before);
    const after = one(
      await ctx.db.update(invitations).set({
        tokenHash: token.hash,
        inviterType: actor.type,
        inviterTenantId: actor.tenantId,
        inviterId: actor.id,
        expiresAt: new Date(ctx.now().getTime() + expiresInSeconds * 1000),
      }).where(own(ctx, id)).returning(columns),
    );
    await send(ctx, after, token.text);
    return await note(ctx, "invitation.resent", before, after);
  });
}

export async function note(ctx: TxCtx, action: string, before: Row | null, after: Row) {
  const { id: subjectId, email, systemRole, roleId, groupId, expiresAt } = after;
  await record(ctx, { action, subjectType: "invitation", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/invitations",
    subjectId,
    data: {
      invitationId: subjectId,
      tenantId: ctx.tenantId,
      email,
      systemRole,
      roleId,
      groupId,
      expiresAt: expiresAt.toISOString(),
      userId: after.ownerUserId,
    },
  });
  return shown(ctx, after);
}
