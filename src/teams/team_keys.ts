/**
 * A team's keys: they belong to the team and not to who made them, chat as it and do nothing else. A
 * conversation stays with its key: whoever takes over from a key takes over its conversations.
 */
import { and, desc, eq, inArray, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { apiKeys } from "../../db/schema/access.ts";
import { teams } from "../../db/schema/teams.ts";
import { teamsKeys } from "../access/roles.ts";
import { type Grants, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { copyNetworks, newText, outlivesNot, requireScopes } from "../identity/api_keys.ts";
import { changingAccess, type End } from "../identity/authority.ts";
import { requireNow, requireToGive } from "../identity/giving.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { name } from "../words.ts";
import { ownTeam } from "./team_rows.ts";

/** What a team's key carries. */
export const teamScopes: readonly string[] = Object.keys(teamsKeys);

/** What who gives one must hold: a key speaks as a team, which is the tenant's and nobody's own. */
const teamsPower: Grants = Object.fromEntries(
  teamScopes.map((scope) => [scope, "tenant" as const]),
);

/** Throws Forbidden unless the actor may let somebody chat as a team, until then at least. */
export const requireToGiveVoice = (ctx: TxCtx, end: End = null) =>
  requireToGive(ctx, [{ tenantId: ctx.tenantId, grants: teamsPower }], "team_keys", end);

/** Throws Forbidden unless the actor may let what speaks as a team hold again. */
export const requireToRevive = (ctx: TxCtx) =>
  requireNow(ctx, [{ tenantId: ctx.tenantId, grants: teamsPower }], "team_keys");

export const TeamKey = z.object({
  id: z.uuid(),
  teamId: z.uuid().nullable(),
  name: z.string().max(255),
  hint: z.string().max(16),
  createdBy: z.uuid().nullable(),
  expiresAt: z.date().nullable(),
  lastUsedAt: z.date().nullable(),
  revokedAt: z.date().nullable(),
  rotatedFromId: z.uuid().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "TeamKey" });
export type TeamKey = z.infer<typeof TeamKey>;
const view = { ...columnsOf(apiKeys, TeamKey), familyId: apiKeys.familyId };

/** With `self` reach none: they are the team's. */
const own = ({ tenantId, reach }: TenantCtx, teamId: string, id?: string) =>
  and(
    eq(apiKeys.tenantId, tenantId),
    eq(apiKeys.teamId, teamId),
    id === undefined ? undefined : eq(apiKeys.id, id),
    reach === "self" ? sql`false` : undefined,
  );

type NewKey = {
  name: string;
  expiresAt: Date | null;
  successorOf?: { id: string; familyId: string | null };
};

/**
 * Stores a key of the team within the caller's transaction. One that a key makes is used from where
 * its maker is, and not longer than its maker.
 */
export async function insertKey(ctx: TxCtx, team: { id: string }, made: NewKey) {
  const { id, key, secretHash, hint } = await newText(ctx);
  const { name, expiresAt, successorOf } = made;
  await requireToGiveVoice(ctx, expiresAt);
  await outlivesNot(ctx, expiresAt);
  const { familyId: _, ...teamKey } = one(
    await ctx.db.insert(apiKeys).values({
      id,
      tenantId: ctx.tenantId,
      teamId: team.id,
      familyId: successorOf?.familyId ?? id,
      createdBy: ctx.actor.id,
      name,
      secretHash,
      hint,
      scopes: [...teamScopes],
      expiresAt,
      rotatedFromId: successorOf?.id ?? null,
    }).returning(view),
  );
  if (ctx.actor.type === "key" && ctx.actor.id) await copyNetworks(ctx, ctx.actor.id, id);
  const warning = "Save this API key securely. It will not be shown again.";
  return { teamKey, key, warning };
}

async function requireTeam(ctx: TxCtx, teamId: string) {
  return found(
    await ctx.db.select({ id: teams.id }).from(teams).where(ownTeam(ctx, teamId)),
    "team",
  );
}

export const Create = z.strictObject({
  teamId: z.uuid(),
  name: name("a name to tell the key by"),
  expiresAt: z.date().nullish(),
});
export const Created = z.object({
  teamKey: TeamKey,
  key: z.string().max(128),
  warning: z.string().max(255),
});

/** Makes another key of a team. */
export function create(ctx: TenantCtx, { teamId, name, expiresAt }: z.infer<typeof Create>) {
  requireScopes(ctx, teamScopes);
  if (expiresAt && expiresAt <= ctx.now()) throw invalid("expires_at", "Give a time to come");
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const team = await requireTeam(ctx, teamId);
    const created = await insertKey(ctx, team, { name, expiresAt: expiresAt ?? null });
    await note(ctx, "team_key.created", null, created.teamKey);
    return created;
  });
}

const DAY_SECONDS = 24 * 3600;
export const Rotate = z.strictObject({
  teamId: z.uuid(),
  id: z.uuid(),
  overlapSeconds: z.int("Give whole seconds").min(0, "Give 0 or more seconds")
    .max(7 * DAY_SECONDS, "Give at most 7 days, in seconds").default(DAY_SECONDS),
});
export const Rotated = Created.extend({ previousExpiresAt: z.date() });

/** Makes the key that takes over, with the same name, networks, end and conversations. */
export function rotate(ctx: TenantCtx, input: z.infer<typeof Rotate>) {
  const { teamId, id, overlapSeconds } = input;
  requireScopes(ctx, teamScopes);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await held(ctx, teamId, id);
    refuseDead(before, ctx.now());
    const { name, familyId } = before;
    const made = {
      name,
      expiresAt: await expiryToInherit(ctx, before),
      successorOf: { id, familyId },
    };
    const created = await insertKey(ctx, { id: teamId }, made);
    await copyNetworks(ctx, id, created.teamKey.id);
    const overlapEnds = new Date(ctx.now().getTime() + overlapSeconds * 1_000);
    const previousExpiresAt = before.expiresAt && before.expiresAt < overlapEnds
      ? before.expiresAt
      : overlapEnds;
    const after = one(
      await ctx.db.update(apiKeys).set({ expiresAt: previousExpiresAt })
        .where(own(ctx, teamId, id)).returning(view),
    );
    await note(ctx, "team_key.rotated", before, after, { successorId: created.teamKey.id });
    return { ...created, previousExpiresAt };
  });
}

function refuseDead({ revokedAt, expiresAt }: TeamKey, now: Date) {
  if (revokedAt) throw conflict("team_key.revoked", "A revoked key stays revoked: make another");
  if (expiresAt && expiresAt <= now) {
    throw conflict("team_key.expired", "This key has expired: make another");
  }
}

/** A key that was rotated before ends early; the successor that came to nothing tells when it would have. */
async function expiryToInherit(ctx: TxCtx, { id, teamId, expiresAt }: TeamKey) {
  const after = (ids: string[]) =>
    ctx.db.select({ id: apiKeys.id, expiresAt: apiKeys.expiresAt, revokedAt: apiKeys.revokedAt })
      .from(apiKeys).where(and(own(ctx, teamId ?? ""), inArray(apiKeys.rotatedFromId, ids)))
      .orderBy(desc(apiKeys.id));
  const successors = await after([id]);
  const [last] = successors;
  if (!last) return expiresAt;
  const isFollowed = (await after(successors.map(({ id }) => id))).length > 0;
  if (isFollowed || successors.some(({ revokedAt }) => !revokedAt)) {
    throw conflict("team_key.already_rotated", "Another key took over from this one: rotate that");
  }
  return last.expiresAt;
}

async function held(ctx: TxCtx, teamId: string, id: string) {
  const rows = await ctx.db.select(view).from(apiKeys).where(own(ctx, teamId, id)).for("update");
  const key = found(rows, "team_key");
  requireMatch(ctx.ifMatch, key);
  return key;
}

export const Revoke = z.strictObject({ teamId: z.uuid(), id: z.uuid() });

/** Ends a key: no request is admitted with it any more. */
export function revoke(ctx: TenantCtx, { teamId, id }: z.infer<typeof Revoke>) {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await held(ctx, teamId, id);
    if (before.revokedAt) return before;
    const after = one(
      await ctx.db.update(apiKeys).set({ revokedAt: ctx.now() }).where(own(ctx, teamId, id))
        .returning(view),
    );
    await note(ctx, "team_key.revoked", before, after);
    return after;
  });
}

export const List = z.strictObject({ teamId: z.uuid(), ...page });
export const Listed = z.object({ teamKeys: z.array(TeamKey).max(100), nextCursor });

/** A team's keys, without what they are. */
export function list(ctx: TenantCtx, { teamId, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    await requireTeam(ctx, teamId);
    const rows = await ctx.db.select(view).from(apiKeys)
      .where(and(own(ctx, teamId), cursor ? lt(apiKeys.id, cursor) : undefined))
      .orderBy(desc(apiKeys.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { teamKeys: items, nextCursor };
  });
}

async function note(
  ctx: TxCtx,
  action: string,
  before: TeamKey | null,
  after: TeamKey,
  more: Record<string, unknown> = {},
) {
  const { id: subjectId, name, teamId } = after;
  await record(ctx, { action, subjectType: "team_key", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/team-keys",
    subjectId,
    data: { name, teamId, tenantId: ctx.tenantId, ...more },
  });
}
