/**
 * Groups: people and other groups under one name, so that a role is given once. What a group gives,
 * it gives to everybody in it and in the groups it holds, however deep they lie.
 */
import { and, count, desc, eq, isNull, lt, ne, or, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { groupClosure, groupMembers, groups, roleBindings } from "../../db/schema/access.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { changesOf, publish, record } from "../trail.ts";
import { metadata, name } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireMoreThanSelf, requireToTake } from "./giving.ts";
import { rightsOfGroup } from "./rights.ts";

export const Group = z.object({
  id: z.uuid(),
  name: z.string().max(255),
  description: z.string().max(2000).nullable(),
  metadata: z.record(z.string(), z.unknown()),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Group" });
export type Group = z.infer<typeof Group>;
const view = columnsOf(groups, Group);

/** A membership that has begun and not ended. */
export const isCurrent = sql`(coalesce(${groupMembers.startsAt} <= now(), true)
  and coalesce(${groupMembers.endsAt} > now(), true))`;

/** The ids of the groups a user lies in now: directly, or also those around them. */
export const groupsOf = ({ tenantId }: TenantCtx, userId: string | null, isTransitive = true) =>
  isTransitive
    ? sql`(select ${groupClosure.ancestorId} from ${groupMembers} join ${groupClosure}
        on ${groupClosure.tenantId} = ${groupMembers.tenantId}
        and ${groupClosure.groupId} = ${groupMembers.groupId}
        where ${groupMembers.tenantId} = ${tenantId} and ${groupMembers.ownerUserId} = ${userId}
        and ${isCurrent})`
    : sql`(select ${groupMembers.groupId} from ${groupMembers}
        where ${groupMembers.tenantId} = ${tenantId} and ${groupMembers.ownerUserId} = ${userId}
        and ${isCurrent})`;

/** With `self` reach only the groups one lies in. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(groups.tenantId, ctx.tenantId),
    eq(groups.isActive, true),
    id === undefined ? undefined : eq(groups.id, id),
    ctx.reach === "self" ? sql`${groups.id} in ${groupsOf(ctx, ctx.userId)}` : undefined,
  );

/** A group the caller may see. Throws NotFound. */
export const groupOf = async (ctx: TxCtx, id: string): Promise<Group> =>
  found(await ctx.db.select(view).from(groups).where(own(ctx, id)), "group");

const fields = { description: z.string().max(2000).nullish(), metadata: metadata.nullish() };
const groupName = name("the group's name");

export const Create = z.strictObject({ name: groupName, ...fields });

/** Makes an empty group. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireMoreThanSelf(ctx);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const [group] = await ctx.db.insert(groups).values({
      tenantId: ctx.tenantId,
      name: input.name,
      description: input.description ?? null,
      metadata: input.metadata ?? {},
    }).onConflictDoNothing().returning(view);
    if (!group) throw taken(input.name);
    await note(ctx, "group.created", { before: null, after: group }, { name: group.name });
    return group;
  });
}

const taken = (name: string) =>
  conflict("group.already_exists", `A group is named ${name} already: give another name`);

export const Get = z.strictObject({ id: z.uuid() });
export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>) =>
  read(ctx, (ctx) => groupOf(ctx, id));

export const Update = z.strictObject({ id: z.uuid(), name: groupName.optional(), ...fields });

/** Changes the fields given; null clears one. */
export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  requireMoreThanSelf(ctx);
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const wanted = given({
      name: input.name,
      description: input.description,
      metadata: input.metadata === null ? {} : input.metadata,
    });
    if (Object.keys(changesOf(before, { ...before, ...wanted })).length === 0) return before;
    if (input.name !== undefined) await refuseTaken(ctx, id, input.name);
    const after = one(
      await ctx.db.update(groups).set({
        ...wanted,
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(own(ctx, id)).returning(view),
    );
    await note(ctx, "group.updated", { before, after }, { changes: changesOf(before, after) });
    return after;
  });
}

async function refuseTaken(ctx: TxCtx, id: string, name: string) {
  const same = sql`lower(${groups.name}) = lower(${name})`;
  const [other] = await ctx.db.select({ id: groups.id }).from(groups)
    .where(and(own(ctx), same, ne(groups.id, id)));
  if (other) throw taken(name);
}

async function locked(ctx: TxCtx, id: string): Promise<Group> {
  return found(await ctx.db.select(view).from(groups).where(own(ctx, id)).for("update"), "group");
}

export const Delete = z.strictObject({ id: z.uuid() });

/**
 * Takes a group out of use with its memberships, in it and of it, and the roles it gives. Its row
 * stays; its name is free again.
 */
export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>) {
  requireMoreThanSelf(ctx);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    await requireToTake(ctx, await rightsOfGroup(ctx, id));
    const members = await countOf(ctx, eq(groupMembers.groupId, id));
    const around = await countOf(ctx, eq(groupMembers.memberGroupId, id));
    await ctx.db.delete(groupMembers).where(and(
      eq(groupMembers.tenantId, ctx.tenantId),
      or(eq(groupMembers.groupId, id), eq(groupMembers.memberGroupId, id)),
    ));
    const revoked = await ctx.db.update(roleBindings).set({ revokedAt: ctx.now() }).where(and(
      eq(roleBindings.tenantId, ctx.tenantId),
      eq(roleBindings.groupId, id),
      isNull(roleBindings.revokedAt),
    )).returning({ id: roleBindings.id });
    await ctx.db.update(groups).set({ isActive: false }).where(own(ctx, id));
    const counts = {
      membersRemoved: members,
      leftGroups: around,
      roleBindingsRevoked: revoked.length,
    };
    const after = { ...before, isActive: false, ...counts };
    const change = { before: { ...before, isActive: true }, after };
    await note(ctx, "group.deleted", change, { name: before.name, ...counts });
  });
}

async function countOf(ctx: TxCtx, which: SQL) {
  const rows = await ctx.db.select({ n: count() }).from(groupMembers)
    .where(and(eq(groupMembers.tenantId, ctx.tenantId), which));
  return one(rows).n;
}

export const List = z.strictObject({
  userId: z.uuid().optional().describe("Only groups this user is in now."),
  parentId: z.uuid().optional().describe("Only groups that lie in this one."),
  transitive: z.boolean().default(false)
    .describe("With `user_id` or `parent_id`: through other groups too, however deep."),
  ...page,
});
export const Listed = z.object({ groups: z.array(Group).max(100), nextCursor });

/** The tenant's groups, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const { userId, parentId, transitive } = input;
    const rows = await ctx.db.select(view).from(groups).where(and(
      own(ctx),
      userId ? sql`${groups.id} in ${groupsOf(ctx, userId, transitive)}` : undefined,
      userId && ctx.reach === "self" && userId !== ctx.userId ? sql`false` : undefined,
      parentId ? sql`${groups.id} in ${groupsIn(ctx, parentId, transitive)}` : undefined,
      input.cursor ? lt(groups.id, input.cursor) : undefined,
    )).orderBy(desc(groups.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { groups: items, nextCursor };
  });
}

const groupsIn = ({ tenantId }: TenantCtx, id: string, isTransitive: boolean) =>
  isTransitive
    ? sql`(select ${groupClosure.groupId} from ${groupClosure}
        where ${groupClosure.tenantId} = ${tenantId} and ${groupClosure.ancestorId} = ${id}
        and ${groupClosure.groupId} <> ${id})`
    : sql`(select ${groupMembers.memberGroupId} from ${groupMembers}
        where ${groupMembers.tenantId} = ${tenantId} and ${groupMembers.groupId} = ${id}
        and ${groupMembers.memberGroupId} is not null)`;

type Change = { before: Group | null; after: Group };

async function note(
  ctx: TxCtx,
  action: string,
  { before, after }: Change,
  data: Record<string, unknown>,
) {
  const { id: subjectId } = after;
  await record(ctx, { action, subjectType: "group", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/groups",
    subjectId,
    data: { groupId: subjectId, tenantId: ctx.tenantId, ...data },
  });
}
