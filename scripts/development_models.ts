/**
 * Models for a laptop: of a provider whose key is in the environment, else of the development upstream,
 * a program of this project that speaks OpenAI's API and has no model behind it.
 */
import { and, eq } from "drizzle-orm";
import { upstreams } from "../db/schema/teams.ts";
import { asSystem, read, type Services } from "../src/context.ts";
import * as prices from "../src/teams/model_prices.ts";
import * as configs from "../src/teams/platform_configs.ts";
import * as models from "../src/teams/upstreams.ts";
import { ROOT_TENANT } from "../src/topics.ts";
import { openaiUpstream } from "../tests/stand_ins/openai.ts";

/** Where a provider's key is looked for, and what it opens. */
const providers = [
  {
    variable: "OPENROUTER_API_KEY",
    name: "OpenRouter",
    baseUrl: "https://openrouter.ai/api/v1",
    stripsPrefix: false,
    models: ["openai/gpt-4o-mini", "openai/gpt-4", "anthropic/claude-sonnet-4"],
  },
  {
    variable: "OPENAI_API_KEY",
    name: "OpenAI",
    baseUrl: "https://api.openai.com/v1",
    stripsPrefix: true,
    models: ["openai/gpt-4o-mini", "openai/gpt-4"],
  },
] as const;

const DEVELOPMENT = "development upstream: no real model";
const developmentModels = ["dev/echo", "dev/long", "dev/slow"];

type Served = {
  name: string;
  baseUrl: string;
  apiKey: string;
  modelPrefix: string;
  stripsPrefix: boolean;
  models: readonly string[];
};

const root = (services: Services) => asSystem(services, ROOT_TENANT);

/** Puts one upstream into the place of whatever served the root tenant's models of the same prefix. */
async function serve(services: Services, served: Served): Promise<void> {
  const { name, baseUrl, apiKey, modelPrefix, stripsPrefix, models: names } = served;
  const active = await read(
    root(services),
    (ctx) =>
      ctx.db.select({ id: upstreams.id, modelPrefix: upstreams.modelPrefix }).from(upstreams)
        .where(and(eq(upstreams.tenantId, ROOT_TENANT), eq(upstreams.isActive, true))),
  );
  const [known] = active.filter((row) => row.modelPrefix === modelPrefix);
  const fields = { name, baseUrl, apiKey, stripsPrefix };
  if (known) await models.update(root(services), { id: known.id, ...fields });
  else {
    const rest = { timeoutMs: 60_000, idleMs: 60_000, maxAttempts: 2, fallbackModels: [] };
    await models.create(root(services), { ...fields, ...rest, modelPrefix });
  }
  const [first = ""] = names;
  for (const platformType of ["public", "private"] as const) {
    await configs.update(root(services), {
      platformType,
      defaultModel: first,
      availableModels: [...names],
    });
  }
}

/** What the development upstream's models cost, so that there is something to see. */
async function price(services: Services): Promise<void> {
  for (const model of developmentModels) {
    const { modelPrices } = await prices.list(root(services), { model, limit: 1 });
    if (modelPrices.length > 0) continue;
    await prices.create(root(services), {
      model,
      inputMicros: 150_000,
      outputMicros: 600_000,
      currency: "USD",
      startsAt: new Date("2026-01-01T00:00:00Z"),
    });
  }
}

export type DevelopmentModels = {
  models: readonly string[];
  /** Who answers. */
  by: string;
  /** Lets the root tenant, and so everybody, use them. It must have been founded. */
  register(services: Services): Promise<void>;
  stop(): Promise<void>;
};

/** Finds a provider's key among the variables, or starts the development upstream. */
export async function developmentUpstream(
  variables: Record<string, string | undefined>,
): Promise<DevelopmentModels> {
  const provider = providers.find(({ variable }) => variables[variable]);
  if (provider) {
    const { name, baseUrl, stripsPrefix, models, variable } = provider;
    const apiKey = variables[variable] ?? "";
    const modelPrefix = stripsPrefix ? "openai/" : "";
    const served = { name, baseUrl, apiKey, stripsPrefix, modelPrefix, models };
    const register = (services: Services) => serve(services, served);
    return { models, by: name, register, stop: () => Promise.resolve() };
  }
  const upstream = await openaiUpstream();
  const served = {
    name: DEVELOPMENT,
    baseUrl: upstream.url,
    apiKey: upstream.keys[0] ?? "",
    modelPrefix: "dev/",
    stripsPrefix: false,
    models: developmentModels,
  };
  const register = async (services: Services) => {
    await price(services);
    await serve(services, served);
  };
  return { models: developmentModels, by: DEVELOPMENT, register, stop: () => upstream.stop() };
}
