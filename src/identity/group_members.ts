/**
 * Members of groups: users, for a time or without end, and other groups, which never come to lie in
 * themselves. One of a user's groups may be the one that holds them, where they are placed.
 */
import { and, eq, ne, sql } from "drizzle-orm";
import { z } from "zod";
import { groupClosure, groupMembers } from "../../db/schema/access.ts";
import { users } from "../../db/schema/identity.ts";
import { type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { moment } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireNow, requireToGive, requireToTake } from "./giving.ts";
import { groupOf } from "./groups.ts";
import { rightsOfGroup } from "./rights.ts";

export const GroupMember = z.object({
  id: z.uuid(),
  groupId: z.uuid(),
  userId: z.uuid().nullable(),
  memberGroupId: z.uuid().nullable(),
  isHolding: z.boolean(),
  startsAt: z.date().nullable(),
  endsAt: z.date().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "GroupMember" });
type GroupMember = z.infer<typeof GroupMember>;
export const memberView = {
  ...columnsOf(groupMembers, GroupMember),
  userId: groupMembers.ownerUserId,
};

const member = {
  userId: z.uuid().nullish(),
  memberGroupId: z.uuid().nullish(),
};
type Member = { userId: string } | { memberGroupId: string };

/** The one member a request names. With `self` reach nobody moves but oneself. */
function memberOf(
  ctx: TenantCtx,
  { userId, memberGroupId }: { [K in keyof typeof member]?: string | null | undefined },
): Member {
  if (userId && memberGroupId) {
    throw invalid("member_group_id", "Give either a user or a group, not both");
  }
  if (userId) {
    if (ctx.reach === "self" && userId !== ctx.userId) throw notFound("user");
    return { userId };
  }
  if (!memberGroupId) throw invalid("user_id", "Give a user, or a group as member_group_id");
  if (ctx.reach === "self") throw notFound("group");
  return { memberGroupId };
}

const own = (ctx: TxCtx, groupId: string, member: Member) =>
  and(
    eq(groupMembers.tenantId, ctx.tenantId),
    eq(groupMembers.groupId, groupId),
    "userId" in member
      ? eq(groupMembers.ownerUserId, member.userId)
      : eq(groupMembers.memberGroupId, member.memberGroupId),
  );

/** The group joined or left: with `self` reach one need not be in it yet. */
const openGroup = (ctx: TxCtx, groupId: string) => groupOf({ ...ctx, reach: "tenant" }, groupId);

export const Add = z.strictObject({
  groupId: z.uuid(),
  ...member,
  isHolding: z.boolean().nullish().describe("Of a user's groups at most one holds them."),
  startsAt: moment.nullish(),
  endsAt: moment.nullish(),
});

/** Puts a user or a group into a group. What the group gives, they have from then on. */
export function add(ctx: TenantCtx, { groupId, ...input }: z.infer<typeof Add>) {
  const member = memberOf(ctx, input);
  const { startsAt = null, endsAt = null } = input;
  requirePeriod(ctx, { startsAt, endsAt });
  if ("memberGroupId" in member) requireForever(input);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    await openGroup(ctx, groupId);
    if ("userId" in member) await requireUser(ctx, member.userId);
    else await requireNoCycle(ctx, groupId, member.memberGroupId);
    await requireToGive(ctx, await rightsOfGroup(ctx, groupId), "group_id", endsAt);
    await refuseSecond(ctx, groupId, member);
    const isHolding = input.isHolding ?? false;
    const heldBy = isHolding && "userId" in member ? await release(ctx, member.userId) : null;
    const made = one(
      await ctx.db.insert(groupMembers).values({
        tenantId: ctx.tenantId,
        groupId,
        ownerUserId: "userId" in member ? member.userId : null,
        memberGroupId: "userId" in member ? null : member.memberGroupId,
        isHolding,
        startsAt,
        endsAt,
      }).returning(memberView),
    );
    await noteMember(ctx, "group.member_added", { before: null, after: made }, made, heldBy);
    return made;
  });
}

type Period = { startsAt: Date | null; endsAt: Date | null };

/** Throws ValidationError for a time that is over before it begins or now. */
export function requirePeriod(ctx: TenantCtx, { startsAt, endsAt }: Period) {
  if (endsAt && endsAt <= ctx.now()) throw invalid("ends_at", "Give a time to come");
  if (startsAt && endsAt && endsAt <= startsAt) {
    throw invalid("ends_at", "Give a time after starts_at");
  }
}

const isMore = (after: Period, before: Period) =>
  (after.endsAt?.getTime() ?? Infinity) > (before.endsAt?.getTime() ?? Infinity) ||
  (after.startsAt?.getTime() ?? -Infinity) < (before.startsAt?.getTime() ?? -Infinity);

function requireForever({ isHolding, startsAt, endsAt }: Omit<z.infer<typeof Add>, "groupId">) {
  if (isHolding) throw invalid("is_holding", "Only a user is held by a group");
  const message = "A group lies in another without end: give times for users only";
  if (startsAt) throw invalid("starts_at", message);
  if (endsAt) throw invalid("ends_at", message);
}

/** Throws NotFound unless the user lives in this tenant. */
export async function requireUser(ctx: TxCtx, userId: string) {
  const [user] = await ctx.db.select({ id: users.id }).from(users)
    .where(and(eq(users.tenantId, ctx.tenantId), eq(users.id, userId)));
  if (!user) throw notFound("user");
}

async function requireNoCycle(ctx: TxCtx, groupId: string, memberGroupId: string) {
  await openGroup(ctx, memberGroupId);
  const [around] = await ctx.db.select({ groupId: groupClosure.groupId }).from(groupClosure)
    .where(and(
      eq(groupClosure.tenantId, ctx.tenantId),
      eq(groupClosure.groupId, groupId),
      eq(groupClosure.ancestorId, memberGroupId),
    ));
  if (!around) return;
  const message = "The group lies in this one already, or is this one: no group lies in itself";
  throw new Fault("Conflict", "group.cycle", message, {
    fields: [{ field: "member_group_id", message }],
  });
}

/** A membership that is over makes way for the next. */
async function refuseSecond(ctx: TxCtx, groupId: string, member: Member) {
  const isOver = sql`${groupMembers.endsAt} <= now()`;
  await ctx.db.delete(groupMembers).where(and(own(ctx, groupId, member), isOver));
  const [there] = await ctx.db.select({ id: groupMembers.id }).from(groupMembers)
    .where(own(ctx, groupId, member));
  if (there) throw conflict("group_member.already_exists", "It is a member of this group already");
}

/** Nothing holds the user any more. Answers what did. */
async function release(ctx: TxCtx, userId: string, but?: string): Promise<string | null> {
  const [before] = await ctx.db.update(groupMembers).set({ isHolding: false }).where(and(
    eq(groupMembers.tenantId, ctx.tenantId),
    eq(groupMembers.ownerUserId, userId),
    eq(groupMembers.isHolding, true),
    but === undefined ? undefined : ne(groupMembers.groupId, but),
  )).returning({ groupId: groupMembers.groupId });
  return before?.groupId ?? null;
}

export const Update = z.strictObject({
  groupId: z.uuid(),
  userId: z.uuid(),
  isHolding: z.boolean().optional(),
  startsAt: moment.nullish(),
  endsAt: moment.nullish(),
});

/** Changes when a user is in a group, and whether it is the one that holds them. */
export function update(ctx: TenantCtx, { groupId, userId, ...input }: z.infer<typeof Update>) {
  const member = memberOf(ctx, { userId });
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, groupId, member);
    if (input.startsAt !== undefined || input.endsAt !== undefined) {
      const { startsAt = before.startsAt, endsAt = before.endsAt } = input;
      requirePeriod(ctx, { startsAt, endsAt });
      const rights = await rightsOfGroup(ctx, groupId);
      if (isMore({ startsAt, endsAt }, before)) {
        await requireToGive(ctx, rights, "group_id", endsAt);
      } else await requireNow(ctx, rights, "group_id");
    }
    const heldBy = input.isHolding ? await release(ctx, userId, groupId) : null;
    const after = one(
      await ctx.db.update(groupMembers).set({
        ...given({ isHolding: input.isHolding, startsAt: input.startsAt, endsAt: input.endsAt }),
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(own(ctx, groupId, member)).returning(memberView),
    );
    await noteMember(ctx, "group.member_updated", { before, after }, after, heldBy);
    return after;
  });
}

async function locked(ctx: TxCtx, groupId: string, member: Member): Promise<GroupMember> {
  await openGroup(ctx, groupId);
  const rows = await ctx.db.select(memberView).from(groupMembers).where(own(ctx, groupId, member))
    .for("update");
  return found(rows, "group_member");
}

export const Remove = z.strictObject({
  groupId: z.uuid(),
  userId: z.uuid().optional(),
  memberGroupId: z.uuid().optional(),
});

/** Takes a user or a group out of a group. */
export function remove(ctx: TenantCtx, { groupId, ...input }: z.infer<typeof Remove>) {
  const member = memberOf(ctx, input);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, groupId, member);
    requireMatch(ctx.ifMatch, before);
    const isOneself = "userId" in member && member.userId === ctx.userId;
    if (!isOneself) await requireToTake(ctx, await rightsOfGroup(ctx, groupId));
    await ctx.db.delete(groupMembers).where(own(ctx, groupId, member));
    await noteMember(ctx, "group.member_removed", { before, after: null }, before);
  });
}

/** The entry is the group's, so that its trail tells who came and went. */
export async function noteMember(
  ctx: TxCtx,
  action: string,
  { before, after }: { before: GroupMember | null; after: GroupMember | null },
  member: GroupMember,
  /** The group that held the user until now. */
  heldBy: string | null = null,
) {
  const { groupId: subjectId, userId, memberGroupId, isHolding, startsAt, endsAt } = member;
  const moved = heldBy === null ? null : { heldBy };
  await record(ctx, {
    action,
    subjectType: "group",
    subjectId,
    before: before || moved ? { ...before, ...moved } : null,
    after: after && { ...after, ...(moved ? { heldBy: subjectId } : {}) },
  });
  await publish(ctx, {
    type: action,
    source: "/groups",
    subjectId,
    data: {
      groupId: subjectId,
      tenantId: ctx.tenantId,
      ...{ userId, memberGroupId, isHolding, startsAt, endsAt },
    },
  });
}
