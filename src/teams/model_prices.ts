/**
 * What models cost, from a day on. In millionths of the currency for a million tokens, so that a
 * request's cost is exact. Operators write them, every tenant reads them; a model without one costs
 * nobody knows what, which is null and never 0.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { modelPrices } from "../../db/schema/teams.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { moment } from "../words.ts";
import { requireRoot } from "./platform_configs.ts";
import { modelName } from "./words.ts";

export const ModelPrice = z.object({
  id: z.uuid(),
  model: z.string().max(255),
  inputMicros: z.int(),
  outputMicros: z.int(),
  currency: z.string().max(3),
  startsAt: z.date(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ModelPrice" });
type ModelPrice = z.infer<typeof ModelPrice>;
const view = columnsOf(modelPrices, ModelPrice);

const micros = z.int("Give whole millionths for a million tokens").min(0, "Give 0 or more")
  .max(1_000_000_000_000, "Give a smaller price");

export const Create = z.strictObject({
  model: modelName,
  inputMicros: micros,
  outputMicros: micros,
  currency: z.string().regex(/^[A-Z]{3}$/, "Give an ISO 4217 code, like USD").optional()
    .describe("That of the prices there are, since costs are added up; at first USD."),
  startsAt: moment,
});

/** Costs are added up, so all prices are in one currency. Throws ValidationError for another. */
async function currencyOf(ctx: TxCtx, wanted: string | undefined): Promise<string> {
  await ctx.db.execute(sql`select pg_advisory_xact_lock(hashtext('switchboard.currency'))`);
  const { currency } = modelPrices;
  const [known] = await ctx.db.select({ currency }).from(modelPrices).limit(1);
  if (known && wanted && wanted !== known.currency) {
    throw invalid("currency", `Prices here are in ${known.currency}: give this one in it too`);
  }
  return known?.currency ?? wanted ?? "USD";
}

/** Says what a model costs from a moment on; what was used before keeps its cost. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireRoot(ctx);
  return transact(ctx, async (ctx) => {
    const [made] = await ctx.db.insert(modelPrices).values({
      model: input.model,
      inputMicros: input.inputMicros,
      outputMicros: input.outputMicros,
      currency: await currencyOf(ctx, input.currency),
      startsAt: input.startsAt,
    }).onConflictDoNothing().returning(view);
    if (!made) {
      throw conflict("model_price.already_exists", "There is a price from that moment on already");
    }
    await note(ctx, "model_price.created", null, made);
    return made;
  });
}

export const Delete = z.strictObject({ id: z.uuid() });

/** Takes a price back; what was settled with it stays. */
export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>): Promise<void> {
  requireRoot(ctx);
  return transact(ctx, async (ctx) => {
    const own = eq(modelPrices.id, id);
    const rows = await ctx.db.select(view).from(modelPrices).where(own).for("update");
    const before = found(rows, "model_price");
    requireMatch(ctx.ifMatch, before);
    await ctx.db.delete(modelPrices).where(own);
    await note(ctx, "model_price.deleted", before, null);
  });
}

export const List = z.strictObject({ model: modelName.optional(), ...page });
export const Listed = z.object({ modelPrices: z.array(ModelPrice).max(100), nextCursor });

export function list(ctx: TenantCtx, { model, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(modelPrices).where(and(
      model ? eq(modelPrices.model, model) : undefined,
      cursor ? lt(modelPrices.id, cursor) : undefined,
    )).orderBy(desc(modelPrices.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { modelPrices: items, nextCursor };
  });
}

async function note(
  ctx: TxCtx,
  action: string,
  before: ModelPrice | null,
  after: ModelPrice | null,
) {
  const it = after ?? before;
  if (!it) return;
  const { id: subjectId, model, startsAt } = it;
  await record(ctx, { action, subjectType: "model_price", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/model-prices",
    subjectId,
    data: { model, startsAt },
  });
}
