/**
 * What each platform type gives its teams where they say nothing themselves (S3's defaults). Operators
 * edit them; every tenant reads them.
 */
import { asc, eq } from "drizzle-orm";
import { z } from "zod";
import { platformConfigs, platformTypes } from "../../db/schema/teams.ts";
import { cached, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault, invalid, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { changesOf, moved, publish, record } from "../trail.ts";
import { commands, modelList, modelName, words } from "./words.ts";

export const PlatformConfig = z.object({
  id: z.uuid(),
  platformType: z.enum(platformTypes),
  defaultModel: z.string().max(255),
  availableModels: z.array(z.string().max(255)).max(200),
  rateLimit: z.int(),
  maxHistory: z.int(),
  allowModelSwitch: z.boolean(),
  requiresAuth: z.boolean(),
  commands: z.array(z.string().max(32)).max(commands.length),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "PlatformConfig" });
export type PlatformConfig = z.infer<typeof PlatformConfig>;
const view = columnsOf(platformConfigs, PlatformConfig);

export const List = z.strictObject({});
export const Listed = z.object({ platformConfigs: z.array(PlatformConfig).max(2) });

/** Both types' defaults; kept, since every chat asks for them. */
export const list = (ctx: TenantCtx): Promise<z.infer<typeof Listed>> =>
  cached(
    ctx,
    { tenantId: ROOT_TENANT, topic: "platform_configs", key: "all" },
    () =>
      read(ctx, async (ctx) => ({
        platformConfigs: await ctx.db.select(view).from(platformConfigs)
          .orderBy(asc(platformConfigs.platformType)),
      })),
  );

/** One type's defaults. */
export async function configOf(ctx: TenantCtx, type: PlatformConfig["platformType"]) {
  const { platformConfigs } = await list(ctx);
  for (const config of platformConfigs) if (config.platformType === type) return config;
  throw notFound("platform_type");
}

export const Update = z.strictObject({
  platformType: words.platformType,
  defaultModel: modelName.optional(),
  availableModels: modelList.optional(),
  rateLimit: words.rateLimit.optional(),
  maxHistory: words.maxHistory.optional(),
  allowModelSwitch: words.allowModelSwitch.optional(),
  requiresAuth: z.boolean().optional(),
  commands: z.array(z.enum(commands, `Give of: ${commands.join(", ")}`)).min(1)
    .max(commands.length).optional(),
});

/** Changes the fields given, for every team of the type that says nothing itself. */
export function update(ctx: TenantCtx, { platformType, ...input }: z.infer<typeof Update>) {
  requireRoot(ctx);
  return transact(ctx, async (ctx) => {
    const own = eq(platformConfigs.platformType, platformType);
    const rows = await ctx.db.select(view).from(platformConfigs).where(own).for("update");
    const before = found(rows, "platform_type");
    requireMatch(ctx.ifMatch, before);
    const { defaultModel = before.defaultModel, availableModels = before.availableModels } = input;
    if (!availableModels.includes(defaultModel)) {
      throw invalid("default_model", "Give one of the available models");
    }
    const set = given(input);
    if (Object.keys(set).length === 0) return before;
    const after = one(
      await ctx.db.update(platformConfigs).set(set).where(own).returning(view),
    );
    await note(ctx, before, after);
    return after;
  });
}

/** The catalogue is the installation's: nobody edits it from within a customer's tenant. */
export function requireRoot({ tenantId }: TenantCtx): void {
  if (tenantId === ROOT_TENANT) return;
  throw new Fault("Forbidden", "permission.only_root", "Only operators change this");
}

async function note(ctx: TxCtx, before: PlatformConfig, after: PlatformConfig) {
  const { id: subjectId, platformType } = after;
  const action = "platform_config.updated";
  await record(ctx, { action, subjectType: "platform_config", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/platform-configs",
    subjectId,
    data: { platformType, changes: changesOf(before, after) },
  });
  await moved(ctx, "platform_configs");
}
