/** Which upstream serves a model, and what is tried in which order when it does not. */
import { and, eq } from "drizzle-orm";
import { upstreams } from "../../../db/schema/teams.ts";
import { asSystem, cached, read, type TenantCtx } from "../../context.ts";
import { Fault, invalid } from "../../errors.ts";
import { at } from "../../secrets/places.ts";
import type { Secret } from "../../secrets/secret.ts";
import { ROOT_TENANT } from "../../topics.ts";
import type { Effective } from "../effective.ts";
import type { ChatRequest, Spelled } from "./requests.ts";

type Row = {
  id: string;
  name: string;
  tenantId: string;
  modelPrefix: string;
  stripsPrefix: boolean;
  baseUrl: string;
  apiKey: string | null;
  timeoutMs: number;
  idleMs: number;
  maxAttempts: number;
  fallbackModels: string[];
};

/** One model at one upstream, under the names it knows it by. */
export type Route = Spelled & { model: string; upstream: Row };

/** A tenant's active upstreams, their keys sealed; kept. */
function activeOf(ctx: TenantCtx, tenantId: string): Promise<readonly Row[]> {
  const place = { tenantId, topic: "upstreams", key: "active" };
  return tenantId === ctx.tenantId
    ? cached(ctx, place, () => readActive(ctx))
    : ctx.cache.get(place, () => readActive(asSystem(ctx, tenantId)));
}

const readActive = (ctx: TenantCtx): Promise<readonly Row[]> =>
  read(ctx, (ctx) =>
    ctx.db.select({
      id: upstreams.id,
      name: upstreams.name,
      tenantId: upstreams.tenantId,
      modelPrefix: upstreams.modelPrefix,
      stripsPrefix: upstreams.stripsPrefix,
      baseUrl: upstreams.baseUrl,
      apiKey: upstreams.apiKey,
      timeoutMs: upstreams.timeoutMs,
      idleMs: upstreams.idleMs,
      maxAttempts: upstreams.maxAttempts,
      fallbackModels: upstreams.fallbackModels,
    }).from(upstreams)
      .where(and(eq(upstreams.tenantId, ctx.tenantId), eq(upstreams.isActive, true)))
      .limit(1_000));

function longest(rows: readonly Row[], model: string): Row | null {
  let best: Row | null = null;
  for (const row of rows) {
    if (!model.startsWith(row.modelPrefix)) continue;
    if (!best || row.modelPrefix.length > best.modelPrefix.length) best = row;
  }
  return best;
}

/** The tenant's own go before the root tenant's, so that what is theirs goes nowhere else. */
async function routeOf(ctx: TenantCtx, model: string): Promise<Route | null> {
  const own = longest(await activeOf(ctx, ctx.tenantId), model);
  const upstream = own ?? longest(await activeOf(ctx, ROOT_TENANT), model);
  if (!upstream) return null;
  const { stripsPrefix, modelPrefix } = upstream;
  const name = stripsPrefix ? model.slice(modelPrefix.length) : model;
  return { model, name, names: null, upstream };
}

/** What the upstream is to choose from itself, under its own names; null where nobody asked for that. */
async function namesAt(ctx: TenantCtx, { upstream }: Route, models: ChatRequest["models"]) {
  if (models === null) return null;
  const names: string[] = [];
  for (const model of models) {
    const route = await routeOf(ctx, model);
    if (route?.upstream.id !== upstream.id) {
      throw invalid("models", `Give models of one provider: ${model} is served elsewhere`);
    }
    names.push(route.name);
  }
  return names;
}

/**
 * The request's route, then those of its fallbacks that the team may use, each model once. Throws
 * Unavailable, and ValidationError for further models the upstream would take for others.
 */
export async function routesOf(
  ctx: TenantCtx,
  { model, models, isSteered }: Pick<ChatRequest, "model" | "models" | "isSteered">,
  { availableModels }: Effective,
): Promise<[Route, ...Route[]]> {
  const first = await routeOf(ctx, model);
  if (!first) {
    throw new Fault("Unavailable", "upstream.none", "Nobody serves this model here at present");
  }
  if (isSteered && first.upstream.stripsPrefix) {
    throw invalid("models", "Name further models here: this provider knows them by other names");
  }
  const names = await namesAt(ctx, first, models);
  const others = first.upstream.fallbackModels.filter((other) =>
    other !== model && availableModels.includes(other)
  );
  const rest: Route[] = [];
  for (const other of new Set(others)) {
    const route = await routeOf(ctx, other);
    if (!route || (isSteered && route.upstream.stripsPrefix)) continue;
    rest.push({ ...route, names: names && [route.name] });
  }
  return [{ ...first, names }, ...rest];
}

/** Who serves each of these models; those that nobody serves are left out. */
export async function ownersOf(ctx: TenantCtx, models: readonly string[]) {
  const owners = new Map<string, string>();
  for (const model of models) {
    const route = await routeOf(ctx, model);
    if (route) owners.set(model, route.upstream.name);
  }
  return owners;
}

/** Opening one is a trip to another thread. What is opened goes with the row it stands in. */
const opened = new WeakMap<Row, Promise<Secret>>();

/** The upstream's key; null where it needs none. */
export function keyOf(ctx: TenantCtx, upstream: Row): Promise<Secret> | null {
  const { id, tenantId, apiKey } = upstream;
  if (apiKey === null) return null;
  const known = opened.get(upstream);
  if (known) return known;
  const key = ctx.secrets.open(asSystem(ctx, tenantId), at(upstreams.apiKey, id), apiKey);
  opened.set(upstream, key);
  key.catch(() => opened.delete(upstream));
  return key;
}
