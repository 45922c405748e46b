/**
 * What a provider's group claim stands for here: words of the claim mapped to groups. At a sign-in a
 * user's memberships of the mapped groups are made to equal the claim; no other group is touched.
 */
import { and, asc, eq, inArray } from "drizzle-orm";
import { z } from "zod";
import { groupMembers, groups } from "../../db/schema/access.ts";
import { identityProviderGroups as table } from "../../db/schema/sign_in.ts";
import type { TxCtx } from "../context.ts";
import { invalid } from "../errors.ts";
import { one } from "../rows.ts";
import { memberView, noteMember } from "./group_members.ts";

export const Mappings = z.array(z.strictObject({
  claimValue: z.string().min(1, "Give a word of the claim").max(255, "Give at most 255 characters"),
  groupId: z.uuid("Give a group's id").toLowerCase(),
})).max(100, "Give at most 100 mappings");
export type Mapping = z.infer<typeof Mappings>[number];

/** The mappings of each provider, in one order for all. */
export async function mappingsOf(ctx: TxCtx, ids: string[]): Promise<Map<string, Mapping[]>> {
  if (ids.length === 0) return new Map();
  const rows = await ctx.db.select({
    providerId: table.identityProviderId,
    claimValue: table.claimValue,
    groupId: table.groupId,
  }).from(table)
    .where(and(eq(table.tenantId, ctx.tenantId), inArray(table.identityProviderId, ids)))
    .orderBy(asc(table.claimValue), asc(table.groupId));
  const byProvider = Map.groupBy(rows, ({ providerId }) => providerId);
  return new Map(
    [...byProvider].map(([id, rows]) => [id, rows.map(({ providerId: _, ...mapping }) => mapping)]),
  );
}

const wordOf = ({ claimValue, groupId }: Mapping) => `${groupId} ${claimValue}`;

/** Puts `wanted` in the place of a provider's mappings and answers what is there then. */
export async function replaceMappings(
  ctx: TxCtx,
  providerId: string,
  wanted: Mapping[],
): Promise<Mapping[]> {
  const { tenantId } = ctx;
  const mappings = [...new Map(wanted.map((one) => [wordOf(one), one])).values()];
  await requireGroups(ctx, mappings);
  await ctx.db.delete(table)
    .where(and(eq(table.tenantId, tenantId), eq(table.identityProviderId, providerId)));
  if (mappings.length === 0) return [];
  await ctx.db.insert(table).values(
    mappings.map(({ claimValue, groupId }) => ({
      tenantId,
      identityProviderId: providerId,
      claimValue,
      groupId,
    })),
  );
  return (await mappingsOf(ctx, [providerId])).get(providerId) ?? [];
}

async function requireGroups(ctx: TxCtx, mappings: Mapping[]) {
  const ids = [...new Set(mappings.map(({ groupId }) => groupId))];
  if (ids.length === 0) return;
  const there = await ctx.db.select({ id: groups.id }).from(groups)
    .where(and(
      eq(groups.tenantId, ctx.tenantId),
      inArray(groups.id, ids),
      eq(groups.isActive, true),
    ));
  if (there.length < ids.length) throw invalid("mappings", "Give groups of this tenant only");
}

/** The words of a claim: a list, or one word alone as some providers write it. */
export function wordsIn(claims: object, name: string | null): Set<string> {
  const value: unknown = name !== null && Object.hasOwn(claims, name)
    ? Reflect.get(claims, name)
    : [];
  const words: unknown[] = Array.isArray(value) ? value : [value];
  return new Set(words.filter((word) => typeof word === "string"));
}

/** `renewed` are memberships for a time that become lasting. */
export type Change = { added: string[]; removed: string[]; renewed: string[] };
const nothing: Change = { added: [], removed: [], renewed: [] };
export const isNothing = ({ added, removed, renewed }: Change) =>
  added.length + removed.length + renewed.length === 0;

/**
 * What must happen so that a user is in exactly those mapped groups that `words` name. A claim that
 * is absent names none: providers leave an empty list out.
 */
export async function changeOf(
  ctx: TxCtx,
  { id: providerId, groupClaim }: { id: string; groupClaim: string | null },
  userId: string,
  words: ReadonlySet<string>,
): Promise<Change> {
  if (groupClaim === null) return nothing;
  const mappings = await ctx.db.select({
    claimValue: table.claimValue,
    groupId: table.groupId,
    isActive: groups.isActive,
  }).from(table)
    .innerJoin(groups, and(eq(groups.tenantId, table.tenantId), eq(groups.id, table.groupId)))
    .where(and(eq(table.tenantId, ctx.tenantId), eq(table.identityProviderId, providerId)));
  if (mappings.length === 0) return nothing;
  const wanted = new Set(
    mappings.filter(({ claimValue, isActive }) => isActive && words.has(claimValue))
      .map(({ groupId }) => groupId),
  );
  const there = await ctx.db.select(memberView).from(groupMembers)
    .where(membership(ctx, userId, mappings.map(({ groupId }) => groupId)));
  const present = new Set(there.map(({ groupId }) => groupId));
  return {
    added: [...wanted].filter((groupId) => !present.has(groupId)),
    removed: [...present].filter((groupId) => !wanted.has(groupId)),
    renewed: there.filter((one) => wanted.has(one.groupId) && (one.startsAt ?? one.endsAt))
      .map(({ groupId }) => groupId),
  };
}

const membership = (ctx: TxCtx, userId: string, groupIds: string[]) =>
  and(
    eq(groupMembers.tenantId, ctx.tenantId),
    eq(groupMembers.ownerUserId, userId),
    inArray(groupMembers.groupId, groupIds),
  );

/** Writes a change, under `changingAccess`. Whoever made the mappings held what the groups give. */
export async function applyChange(ctx: TxCtx, userId: string, change: Change) {
  const { tenantId } = ctx;
  const asSystem = { ...ctx, actor: { type: "system", tenantId, id: null } } as const;
  for (const groupId of change.removed) {
    const [before] = await ctx.db.delete(groupMembers)
      .where(membership(ctx, userId, [groupId])).returning(memberView);
    if (!before) continue;
    await noteMember(asSystem, "group.member_removed", { before, after: null }, before);
  }
  for (const groupId of change.renewed) {
    const mine = membership(ctx, userId, [groupId]);
    const before = one(await ctx.db.select(memberView).from(groupMembers).where(mine));
    const after = one(
      await ctx.db.update(groupMembers).set({ startsAt: null, endsAt: null }).where(mine)
        .returning(memberView),
    );
    await noteMember(asSystem, "group.member_updated", { before, after }, after);
  }
  for (const groupId of change.added) {
    const after = one(
      await ctx.db.insert(groupMembers).values({ tenantId, groupId, ownerUserId: userId })
        .returning(memberView),
    );
    await noteMember(asSystem, "group.member_added", { before: null, after }, after);
  }
}
