/** Our gateway as it ships, with teams enough that none of them is too fast for its rate. */
import { asSystem } from "../../src/context.ts";
import * as configs from "../../src/teams/platform_configs.ts";
import * as teams from "../../src/teams/teams.ts";
import * as upstreams from "../../src/teams/upstreams.ts";
import type { OpenOurs } from "./gateway.ts";
import { serveOurs, type Stage } from "./stage.ts";

const TEAMS = 200;
const MODEL = "gpt-4o-mini";

async function keysOf({ process, tenantId }: Stage): Promise<string[]> {
  const keys: string[] = [];
  for (let n = 0; n < TEAMS; n++) {
    const { apiKey } = await teams.create(asSystem(process, tenantId), {
      displayName: `Team ${n}`,
      platformName: `bench-${crypto.randomUUID()}`,
      rateLimit: 1_000,
      dailyQuota: 10_000_000,
      monthlyQuota: 100_000_000,
    });
    keys.push(apiKey);
  }
  return keys;
}

/** Everything on: keys, quotas leased, usage rows written, rates counted. */
export const ourGateway = (on: Stage): OpenOurs => async (baseUrl) => {
  await upstreams.create(on.root(), {
    name: "fake",
    baseUrl,
    apiKey: "sk-bench",
    modelPrefix: "",
    stripsPrefix: false,
    timeoutMs: 60_000,
    idleMs: 60_000,
    maxAttempts: 2,
    fallbackModels: [],
  });
  await configs.update(on.root(), {
    platformType: "private",
    defaultModel: MODEL,
    availableModels: [MODEL],
  });
  const keys = await keysOf(on);
  const server = await serveOurs({ ...on.env, ALLOW_PRIVATE_HOSTS: "1" });
  const target = {
    host: "127.0.0.1",
    port: server.port,
    path: "/v1/chat/completions",
    variants: keys.length,
    headersOf: (i: number) => ({ authorization: `Bearer ${keys[i % keys.length]}` }),
    body: JSON.stringify({
      model: MODEL,
      messages: [{ role: "user", content: "Say a few words." }],
    }),
  };
  return { target, stop: server.stop };
};
