/**
 * Accepting an invitation: its token makes one user, once, and only while whoever invited them could
 * still give what it gives.
 */
import { and, eq, gt, isNull, sql } from "drizzle-orm";
import { z } from "zod";
import { apiKeys, groupMembers } from "../../db/schema/access.ts";
import { invitations } from "../../db/schema/sign_in.ts";
import { type LinkPlace, readLinkToken } from "../access/link_tokens.ts";
import { hashPassword } from "../access/passwords.ts";
import { isPermission } from "../access/permissions.ts";
import {
  type Actor,
  asSystem,
  type Ctx,
  type Principal,
  transact,
  type TxCtx,
} from "../context.ts";
import { conflict, Fault } from "../errors.ts";
import { columnsOf, one } from "../rows.ts";
import { name } from "../words.ts";
import { changingAccess, requireHeld } from "./authority.ts";
import { memberView, noteMember } from "./group_members.ts";
import { type Gift, Invitation, note, requireGivable } from "./invitations.ts";
import { slowRedeeming } from "./message_limits.ts";
import { admit, password, type User } from "./users.ts";

export const Accept = z.strictObject({
  token: z.string().min(1, "Give the token of the message").max(256),
  displayName: name("your name"),
  password,
});

/** Unknown, used, revoked and expired are one answer. */
const refused = () =>
  new Fault(
    "Unauthorized",
    "invitation.refused",
    "This invitation does not hold: ask for a new one",
  );
const stale = () =>
  conflict("invitation.stale", "Whoever invited you can no longer do so: ask for a new invitation");

type Token = LinkPlace & { hash: string };
const columns = {
  ...columnsOf(invitations, Invitation),
  inviterTenantId: invitations.inviterTenantId,
};

const open = (ctx: TxCtx, { id, hash }: Token) =>
  and(
    eq(invitations.tenantId, ctx.tenantId),
    eq(invitations.id, id),
    eq(invitations.tokenHash, hash),
    isNull(invitations.acceptedAt),
    isNull(invitations.revokedAt),
    gt(invitations.expiresAt, ctx.now()),
    sql`tenant_is_open(${ctx.tenantId}::uuid)`,
  );

type Inviter = { inviterType: Actor["type"]; inviterTenantId: string; inviterId: string | null };
const actorOf = ({ inviterType, inviterTenantId, inviterId }: Inviter): Actor => ({
  type: inviterType,
  tenantId: inviterTenantId,
  id: inviterId,
});

/** Makes a user of whoever holds the token, with the role and in the group it was sent for. */
export async function accept(ctx: Ctx, input: z.infer<typeof Accept>): Promise<User> {
  slowRedeeming(ctx);
  const token = await readLinkToken("invitation", input.token);
  if (!token) throw refused();
  const { tenantId } = token;
  const stranger = {
    ...asSystem(ctx, tenantId),
    actor: { type: "anonymous" as const, tenantId, id: null },
  };
  return await transact(stranger, async (ctx) => {
    // First of all: of many who try at once one goes on, and made-up tokens cost no hash.
    const [claimed] = await ctx.db.update(invitations).set({ acceptedAt: ctx.now() })
      .where(open(ctx, token)).returning(columns);
    if (!claimed) throw refused();
    const passwordHash = await hashPassword(input.password);
    await changingAccess({ ...ctx, actor: actorOf(claimed) });
    await requireStanding(ctx, claimed);
    const { email, systemRole, roleId, groupId } = claimed;
    const { displayName } = input;
    const user = await admit(ctx, {
      ...{ email, displayName, passwordHash, systemRole, roleId },
      isEmailShown: true, // The token came to it.
    });
    if (groupId) {
      const member = one(
        await ctx.db.insert(groupMembers).values({ tenantId, groupId, ownerUserId: user.id })
          .returning(memberView),
      );
      await noteMember(ctx, "group.member_added", { before: null, after: member }, member);
    }
    const after = one(
      await ctx.db.update(invitations).set({ ownerUserId: user.id })
        .where(and(eq(invitations.tenantId, tenantId), eq(invitations.id, claimed.id)))
        .returning(columnsOf(invitations, Invitation)),
    );
    const before = { ...after, acceptedAt: null, ownerUserId: null };
    await note(ctx, "invitation.accepted", before, after);
    return user;
  });
}

/** Throws Conflict when the inviter could not send this invitation now. */
async function requireStanding(ctx: TxCtx, invitation: Inviter & Gift) {
  const inviter = actorOf(invitation);
  const principal = inviter.type === "key" ? await keyPrincipal(ctx, inviter) : null;
  if (inviter.type === "key" && !principal) throw stale();
  const asInviter = { ...ctx, actor: inviter, principal };
  const inviting = { tenantId: ctx.tenantId, grants: { "invitations.create": "self" as const } };
  try {
    await requireHeld(asInviter, [inviting], "token");
    await requireGivable(asInviter, invitation);
  } catch (error) {
    throw error instanceof Fault ? stale() : error;
  }
}

/** Who a key acts for and with what, if it still holds. Keys act in their own tenant alone. */
async function keyPrincipal(ctx: TxCtx, actor: Actor): Promise<Principal | null> {
  const { tenantId } = ctx;
  if (actor.tenantId !== tenantId || actor.id === null) return null;
  const [key] = await ctx.db.select({ userId: apiKeys.ownerUserId, scopes: apiKeys.scopes })
    .from(apiKeys)
    .where(and(
      eq(apiKeys.tenantId, tenantId),
      eq(apiKeys.id, actor.id),
      isNull(apiKeys.revokedAt),
      sql`(${apiKeys.expiresAt} is null or ${apiKeys.expiresAt} > ${ctx.now().toISOString()}::timestamptz)`,
    ));
  if (!key) return null;
  const grants = Object.fromEntries(
    key.scopes.filter(isPermission).map((scope) => [scope, "tenant" as const]),
  );
  return { actor, tenantId, userId: key.userId, sessionId: null, grants };
}
