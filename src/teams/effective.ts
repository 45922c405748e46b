/**
 * What a team is allowed in the end: its own words over its platform type's (S3's PlatformConfig). The
 * one place that decides; admission, the model list, commands and fallbacks all ask here.
 */
import { z } from "zod";
import { platformTypes } from "../../db/schema/teams.ts";
import type { TenantCtx } from "../context.ts";
import { invalid, notFound } from "../errors.ts";
import { configOf, type PlatformConfig } from "./platform_configs.ts";
import { isTheirs, type Team, teamOf } from "./team_rows.ts";
import { commands, words } from "./words.ts";

/** Where a value comes from: the team says so, its type does, or it is the first model of the list. */
const Origin = z.enum(["team", "platform_type", "available_models"]);
type Origin = z.infer<typeof Origin>;

export const Effective = z.object({
  teamId: z.uuid().nullable(),
  platformName: z.string().max(255),
  type: z.enum(platformTypes),
  model: z.string().max(255),
  availableModels: z.array(z.string().max(255)).max(200),
  rateLimit: z.int(),
  commands: z.array(z.string().max(32)).max(commands.length),
  allowModelSwitch: z.boolean(),
  requiresAuth: z.boolean(),
  maxHistory: z.int(),
  dailyQuota: z.int().nullable(),
  monthlyQuota: z.int().nullable(),
  origins: z.object({
    type: Origin,
    model: Origin,
    availableModels: Origin,
    rateLimit: Origin,
    commands: Origin,
    allowModelSwitch: Origin,
    requiresAuth: Origin,
    maxHistory: Origin,
    dailyQuota: Origin,
    monthlyQuota: Origin,
  }),
}).meta({ id: "EffectiveConfig" });
export type Effective = z.infer<typeof Effective>;

type Overrides = Pick<
  Team,
  "rateLimit" | "maxHistory" | "defaultModel" | "availableModels" | "allowModelSwitch"
>;

function chosen<T>(own: T | null, given: T): { value: T; origin: Origin } {
  return own === null ? { value: given, origin: "platform_type" } : { value: own, origin: "team" };
}

/** A default outside the list gives way to the first of the list. */
function modelOf(overrides: Overrides, config: PlatformConfig, models: readonly string[]) {
  const { value, origin } = chosen(overrides.defaultModel, config.defaultModel);
  const [first = value] = models;
  return models.includes(value)
    ? { value, origin }
    : { value: first, origin: "available_models" as const };
}

/** The resolver: pure, and the same for everybody who asks. */
export function resolve(
  team: Team | null,
  platformName: string,
  config: PlatformConfig,
): Effective {
  const none = {
    rateLimit: null,
    maxHistory: null,
    defaultModel: null,
    availableModels: null,
    allowModelSwitch: null,
  };
  const own: Overrides = team ?? none;
  const models = chosen(own.availableModels, config.availableModels);
  const model = modelOf(own, config, models.value);
  const rateLimit = chosen(own.rateLimit, config.rateLimit);
  const maxHistory = chosen(own.maxHistory, config.maxHistory);
  const switches = chosen(own.allowModelSwitch, config.allowModelSwitch);
  return {
    teamId: team?.id ?? null,
    platformName: team?.platformName ?? platformName,
    type: config.platformType,
    model: model.value,
    availableModels: models.value,
    rateLimit: rateLimit.value,
    commands: config.commands,
    allowModelSwitch: switches.value,
    requiresAuth: config.requiresAuth,
    maxHistory: maxHistory.value,
    dailyQuota: team?.dailyQuota ?? null,
    monthlyQuota: team?.monthlyQuota ?? null,
    origins: {
      type: team ? "team" : "platform_type",
      model: model.origin,
      availableModels: models.origin,
      rateLimit: rateLimit.origin,
      commands: "platform_type",
      allowModelSwitch: switches.origin,
      requiresAuth: "platform_type",
      maxHistory: maxHistory.origin,
      dailyQuota: team ? "team" : "platform_type",
      monthlyQuota: team ? "team" : "platform_type",
    },
  };
}

/** The type of a name that no team has: `telegram` is public, whatever else private (S3). */
export const typeOfName = (platformName: string): PlatformConfig["platformType"] =>
  platformName.toLowerCase() === "telegram" ? "public" : "private";

/** Throws ValidationError for a default model the team could not use. */
export function requireUsable(team: Overrides, config: PlatformConfig): void {
  const models = team.availableModels ?? config.availableModels;
  if (team.defaultModel === null || models.includes(team.defaultModel)) return;
  throw invalid(
    "default_model",
    `Give one of the available models: ${models.slice(0, 10).join(", ")}`,
  );
}

/** What was resolved, with the rows it was resolved from. */
const resolved = new WeakMap<Team, { config: PlatformConfig; effective: Effective }>();

/** A team with what counts for it; from the cache when warm. */
export async function effectiveOf(ctx: TenantCtx, teamId: string) {
  const team = await teamOf(ctx, { id: teamId });
  if (!team) throw notFound("team");
  const config = await configOf(ctx, team.platformType);
  const known = resolved.get(team);
  if (known?.config === config) return { team, effective: known.effective };
  const effective = resolve(team, team.platformName, config);
  resolved.set(team, { config, effective });
  return { team, effective };
}

export const Get = z.strictObject({
  id: z.uuid().optional(),
  platformName: words.platformName.optional(),
});

/** What counts for a team, each value with its origin; for a name nobody has, its type's defaults. */
export async function get(ctx: TenantCtx, { id, platformName }: z.infer<typeof Get>) {
  if (id !== undefined) {
    if (!isTheirs(ctx, id)) throw notFound("team");
    return (await effectiveOf(ctx, id)).effective;
  }
  if (platformName === undefined) throw invalid("platform_name", "Give a team's id or its name");
  const known = await teamOf(ctx, { platformName });
  const team = known && isTheirs(ctx, known.id) ? known : null;
  const type = team?.platformType ?? typeOfName(platformName);
  return resolve(team, platformName, await configOf(ctx, type));
}
