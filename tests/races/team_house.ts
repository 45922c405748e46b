/** Teams on a real Postgres, and a model that answers them. */
import { v7 } from "uuid";
import { open } from "../../db/client.ts";
import type { Env } from "../../src/env.ts";
import { house } from "../db/house.ts";
import { environment, world } from "../kit.ts";
import { noonZone } from "../teams/noon.ts";
import { upstream } from "./upstream.ts";

export const MODEL = "house/talker";

export type Quotas = {
  dailyQuota?: number | null;
  monthlyQuota?: number | null;
  platformType?: "public" | "private";
  rateLimit?: number;
  availableModels?: string[];
};

/** The variables another process needs to be of this installation. */
export const variablesOf = (env: Env): Record<string, string> => ({
  ...Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      typeof value === "string" || typeof value === "number" ? [[name, String(value)]] : []
    ),
  ),
  SIGNING_KEYS: JSON.stringify(env.SIGNING_KEYS),
  ALLOW_PRIVATE_HOSTS: "1",
});

export async function teamHouse(more: Record<string, string> = {}) {
  const server = await house();
  const model = upstream();
  const env = await environment({
    DATABASE_URL: server.url,
    REQUESTS_PER_MINUTE: "1000000",
    TENANT_REQUESTS_PER_MINUTE: "1000000",
    ...more,
  });
  const lines: string[] = [];
  const w = await world({
    database: open(server.url, { poolSize: 10 }),
    env,
    write: (line) => void lines.push(line),
  });
  const { tenantId, admin } = await w.tenant();
  await server.admin(`update tenants set time_zone = '${noonZone()}' where id = '${tenantId}'`);
  await w.as(w.operator).teams.upstreams.create({
    name: "House",
    modelPrefix: "house/",
    baseUrl: model.url,
    timeoutMs: 10_000,
    idleMs: 10_000,
    maxAttempts: 1,
  });
  await w.as(w.operator).teams.modelPrices.create({
    model: MODEL,
    inputMicros: 150_001,
    outputMicros: 600_007,
    startsAt: new Date("2026-01-01T00:00:00Z"),
  });
  const team = async (quotas: Quotas = {}, by = admin) => {
    const { id, apiKey, apiKeyId } = await w.as(by).teams.teams.create({
      displayName: `Bakers ${v7()}`,
      platformName: `bakers-${v7()}`,
      availableModels: [MODEL],
      rateLimit: 1_000,
      ...quotas,
    });
    return { id, apiKey, apiKeyId };
  };
  const close = async () => {
    await w.close();
    await model.stop();
    await server[Symbol.asyncDispose]();
  };
  return { server, model, env, w, tenantId, admin, team, lines, close };
}
export type TeamHouse = Awaited<ReturnType<typeof teamHouse>>;

/** A request as an OpenAI client sends it. */
export const chat = (apiKey: string, more: Record<string, unknown> = {}, said = "Hello") => ({
  method: "POST",
  headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
  body: JSON.stringify({ model: MODEL, messages: [{ role: "user", content: said }], ...more }),
});
