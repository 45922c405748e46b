/**
 * Teams: who chats, under which name, with which models and limits (S3). What a team says itself goes
 * before what its platform type gives; null leaves it to the type. A team's first key is made with it.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { teams } from "../../db/schema/teams.ts";
import { cached, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { requireScopes } from "../identity/api_keys.ts";
import { changingAccess } from "../identity/authority.ts";
import { requireMoreThanSelf } from "../identity/giving.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { found, given, one } from "../rows.ts";
import { changesOf, moved, publish, record } from "../trail.ts";
import { metadata } from "../words.ts";
import { requireUsable, typeOfName } from "./effective.ts";
import { configOf } from "./platform_configs.ts";
import { insertKey, requireToRevive, teamScopes } from "./team_keys.ts";
import { heldTeam, isTheirs, ownTeam, Team, teamView } from "./team_rows.ts";
import { modelList, modelName, words } from "./words.ts";

const overrides = {
  monthlyQuota: words.quota.nullish(),
  dailyQuota: words.quota.nullish(),
  rateLimit: words.rateLimit.nullish(),
  maxHistory: words.maxHistory.nullish(),
  defaultModel: modelName.nullish(),
  availableModels: modelList.nullish(),
  allowModelSwitch: words.allowModelSwitch.nullish(),
};

export const Create = z.strictObject({
  displayName: words.displayName,
  platformName: words.platformName,
  platformType: words.platformType.optional(),
  ...overrides,
  metadata: metadata.optional(),
});
/** S3's answer: the team's fields, and its first key, which is never shown again. */
export const Created = Team.extend({
  apiKeyId: z.uuid(),
  apiKey: z.string().max(128),
  warning: z.string().max(255),
}).meta({ id: "CreatedTeam" });

/** Makes a team and its first key. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireMoreThanSelf(ctx);
  requireScopes(ctx, teamScopes);
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx); // A key is made: first of all locks, as where any is.
    const platformType = input.platformType ?? typeOfName(input.platformName);
    const own = {
      monthlyQuota: input.monthlyQuota ?? null,
      dailyQuota: input.dailyQuota ?? null,
      rateLimit: input.rateLimit ?? null,
      maxHistory: input.maxHistory ?? null,
      defaultModel: input.defaultModel ?? null,
      availableModels: input.availableModels ?? null,
      allowModelSwitch: input.allowModelSwitch ?? null,
    };
    requireUsable(own, await configOf(ctx, platformType));
    const [team] = await ctx.db.insert(teams).values({
      tenantId: ctx.tenantId,
      displayName: input.displayName,
      platformName: input.platformName,
      platformType,
      metadata: input.metadata ?? {},
      monthlyQuota: own.monthlyQuota,
      dailyQuota: own.dailyQuota,
      rateLimit: own.rateLimit,
      maxHistory: own.maxHistory,
      defaultModel: own.defaultModel,
      availableModels: own.availableModels,
      allowModelSwitch: own.allowModelSwitch,
    }).onConflictDoNothing().returning(teamView);
    if (!team) throw await taken(ctx, input.displayName);
    const made = { name: `Auto-generated for ${team.displayName}`.slice(0, 255), expiresAt: null };
    const { teamKey, key, warning } = await insertKey(ctx, team, made);
    await note(ctx, "team.created", null, team, { apiKeyId: teamKey.id });
    return { ...team, apiKeyId: teamKey.id, apiKey: key, warning };
  });
}

/** Which of the two names it was: platform names are one tenant's each, so that channels find them. */
async function taken(ctx: TxCtx, displayName: string) {
  const [other] = await ctx.db.select({ id: teams.id }).from(teams)
    .where(and(eq(teams.tenantId, ctx.tenantId), eq(teams.displayName, displayName)));
  return other
    ? conflict("team.display_name_taken", `There is a team called ${displayName} already`)
    : conflict("team.platform_name_taken", "This platform name is taken: choose another");
}

export const Get = z.strictObject({ id: z.uuid() });

/** One team, from the cache when it is there. */
export async function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<Team> {
  const { tenantId } = ctx;
  const place = { tenantId, topic: "teams", key: `get:${id}` };
  const rows = isTheirs(ctx, id)
    ? await cached(ctx, place, () =>
      read(
        ctx,
        (ctx) =>
          ctx.db.select(teamView).from(teams)
            .where(and(eq(teams.tenantId, tenantId), eq(teams.id, id))),
      ))
    : [];
  return found([...rows], "team");
}

export const Update = z.strictObject({
  id: z.uuid(),
  displayName: words.displayName.optional(),
  platformType: words.platformType.optional(),
  ...overrides,
  isActive: z.boolean().optional(),
  metadata: metadata.nullish(),
});

/** Changes the fields given; null leaves a value to the platform type, or lifts a quota. */
export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  return transact(ctx, async (ctx) => {
    // Its keys hold or not with it.
    if (input.isActive !== undefined) await changingAccess(ctx);
    const before = await heldTeam(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const { metadata, ...rest } = input;
    const set = given({ ...rest, metadata: metadata === null ? {} : metadata });
    if (Object.keys(set).length === 0) return before;
    if (input.isActive === true && !before.isActive) await requireToRevive(ctx);
    const { displayName = before.displayName, platformType = before.platformType } = input;
    const { defaultModel = before.defaultModel, availableModels = before.availableModels } = input;
    if (touchesModels(input)) {
      const wanted = { ...before, defaultModel, availableModels };
      requireUsable(wanted, await configOf(ctx, platformType));
    }
    if (displayName !== before.displayName) await refuseRename(ctx, id, displayName);
    const after = one(
      await ctx.db.update(teams).set({
        ...set,
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(ownTeam(ctx, id)).returning(teamView),
    );
    await note(ctx, "team.updated", before, after, { changes: changesOf(before, after) });
    return after;
  });
}

/** What was right under an older list is not held against a change of something else. */
const touchesModels = (input: Omit<z.infer<typeof Update>, "id">) =>
  input.defaultModel !== undefined || input.availableModels !== undefined ||
  input.platformType !== undefined;

async function refuseRename(ctx: TxCtx, id: string, displayName: string) {
  const [other] = await ctx.db.select({ id: teams.id }).from(teams)
    .where(and(eq(teams.tenantId, ctx.tenantId), eq(teams.displayName, displayName)));
  if (!other || other.id === id) return;
  throw conflict("team.display_name_taken", `There is a team called ${displayName} already`);
}

export const Deactivate = Get;

/** Takes a team out of use: within seconds no key of it is accepted. What it said and used stays. */
export const deactivate = (ctx: TenantCtx, { id }: z.infer<typeof Deactivate>) =>
  setActive(ctx, id, false);

/** Puts a team into use again, with the keys it has. */
export const activate = (ctx: TenantCtx, { id }: z.infer<typeof Deactivate>) =>
  setActive(ctx, id, true);

function setActive(ctx: TenantCtx, id: string, isActive: boolean) {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await heldTeam(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (before.isActive === isActive) return before;
    if (isActive) await requireToRevive(ctx);
    const after = one(
      await ctx.db.update(teams).set({ isActive }).where(ownTeam(ctx, id)).returning(teamView),
    );
    await note(ctx, isActive ? "team.activated" : "team.deactivated", before, after);
    return after;
  });
}

export const List = z.strictObject({
  platformType: words.platformType.optional(),
  isActive: z.boolean().optional(),
  ...page,
});
export const Listed = z.object({ teams: z.array(Team).max(100), nextCursor });

export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(teamView).from(teams).where(and(
      ownTeam(ctx),
      input.platformType ? eq(teams.platformType, input.platformType) : undefined,
      input.isActive === undefined ? undefined : eq(teams.isActive, input.isActive),
      input.cursor ? lt(teams.id, input.cursor) : undefined,
    )).orderBy(desc(teams.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { teams: items, nextCursor };
  });
}

async function note(
  ctx: TxCtx,
  action: string,
  before: Team | null,
  after: Team,
  more: Record<string, unknown> = {},
) {
  const { id: subjectId, platformName, platformType, displayName } = after;
  await record(ctx, { action, subjectType: "team", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/teams",
    subjectId,
    data: { platformName, platformType, displayName, tenantId: ctx.tenantId, ...more },
  });
  await moved(ctx, "teams");
}
