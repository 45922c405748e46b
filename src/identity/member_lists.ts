/** Who is in a group, read along the indexes of who is in it, however many they are. */
import { and, desc, eq, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { groupClosure, groupMembers } from "../../db/schema/access.ts";
import { read, type TenantCtx } from "../context.ts";
import { nextCursor, page } from "../pages.ts";
import { GroupMember, memberView } from "./group_members.ts";
import { groupOf, groupsOf, isCurrent } from "./groups.ts";

export const List = z.strictObject({
  groupId: z.uuid(),
  transitive: z.boolean().default(false)
    .describe("All users who are in it now, through other groups too, each once."),
  ...page,
});
export const Listed = z.object({ members: z.array(GroupMember).max(100), nextCursor });

/**
 * Who is in a group, the newest user or group first. Transitive: a membership for each user, by
 * which they lie in it; it may be in a group below. With `self` reach only what leads to oneself.
 */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const { limit } = input;
    await groupOf(ctx, input.groupId);
    const rows = await ctx.db.select(memberView).from(groupMembers).where(and(
      eq(groupMembers.tenantId, ctx.tenantId),
      sql`${groupMembers.id} in (${input.transitive ? everyUser(ctx, input) : direct(ctx, input)})`,
    )).orderBy(desc(sql`coalesce(${groupMembers.ownerUserId}, ${groupMembers.memberGroupId})`));
    const last = rows.length > limit ? rows[limit - 1] : undefined;
    const nextCursor = last ? last.userId ?? last.memberGroupId : null;
    return { members: rows.slice(0, limit), nextCursor };
  });
}

type Page = z.infer<typeof List>;
type Who = "user" | "group";

/** The first `limit + 1` of one group's memberships, along the index of who is in it. */
function first(ctx: TenantCtx, { cursor, limit }: Page, group: SQL, who: Who, more?: SQL) {
  const key = who === "user" ? groupMembers.ownerUserId : groupMembers.memberGroupId;
  const isMine = who === "user"
    ? sql`${key} = ${ctx.userId}`
    : sql`${key} in ${groupsOf(ctx, ctx.userId)}`;
  const where = and(
    eq(groupMembers.tenantId, ctx.tenantId),
    sql`${groupMembers.groupId} = ${group}`,
    cursor ? sql`${key} < ${cursor}` : sql`${key} is not null`,
    ctx.reach === "self" ? isMine : undefined,
    more,
  );
  return sql`select ${groupMembers.id} as id, ${key} as member from ${groupMembers}
    where ${where} order by ${key} desc limit ${limit + 1}`;
}

const direct = (ctx: TenantCtx, page: Page) =>
  sql`select d.id from ((${first(ctx, page, sql`${page.groupId}`, "user")})
    union all (${first(ctx, page, sql`${page.groupId}`, "group")})) d
    order by d.member desc limit ${page.limit + 1}`;

function everyUser(ctx: TenantCtx, page: Page) {
  const { tenantId, groupId, ancestorId } = groupClosure;
  const below = and(eq(tenantId, ctx.tenantId), eq(ancestorId, page.groupId));
  return sql`select e.id from (
    select distinct on (m.member) m.id, m.member from ${groupClosure} cross join lateral (
      ${first(ctx, page, sql`${groupId}`, "user", isCurrent)}
    ) m where ${below} order by m.member desc, m.id limit ${page.limit + 1}) e`;
}
