/** One good call of each procedure of what stands behind teams: defaults, upstreams, prices. */
import type { House, Side } from "../house.ts";
import { fresh, type Make, secret } from "./shape.ts";

const upstream = (apiKey: string) => ({
  name: `Models ${fresh()}`,
  modelPrefix: `${fresh()}/`,
  stripsPrefix: true,
  baseUrl: "https://models.example/v1",
  apiKey,
  timeoutMs: 5_000,
  fallbackModels: ["openai/gpt-4"],
});

async function added({ w }: House, { boss }: Side) {
  const apiKey = secret();
  const { id } = await w.as(boss).teams.upstreams.create(upstream(apiKey));
  return { id, secrets: [apiKey] };
}

const ofUpstream: Make = async (...at) => {
  const { id, secrets } = await added(...at);
  return { input: { id }, secrets };
};

/** Nobody else's price begins in the same moment. */
const price = () => ({
  model: `openai/${fresh()}`,
  inputMicros: 2_500_000,
  outputMicros: 10_000_000,
  startsAt: new Date(),
});

export const settings: Record<string, Make> = {
  "teams.platformConfigs.update": ({ w }) => ({
    input: { platformType: "public", maxHistory: 1 + Math.floor(Math.random() * 100) },
    as: w.operator,
  }),
  "teams.platformConfigs.list": () => ({ input: {} }),
  "teams.upstreams.create": () => {
    const apiKey = secret();
    return { input: upstream(apiKey), secrets: [apiKey] };
  },
  "teams.upstreams.get": ofUpstream,
  "teams.upstreams.update": async (...at) => {
    const { id, secrets } = await added(...at);
    const apiKey = secret();
    const baseUrl = "https://others.example/v1";
    return { input: { id, baseUrl, apiKey }, secrets: [...secrets, apiKey] };
  },
  "teams.upstreams.deactivate": ofUpstream,
  "teams.upstreams.list": async (...at) => {
    const { secrets } = await added(...at);
    return { input: { isActive: true, limit: 5 }, secrets };
  },
  "teams.modelPrices.create": ({ w }) => ({ input: price(), as: w.operator }),
  "teams.modelPrices.delete": async ({ w }) => {
    const { id } = await w.as(w.operator).teams.modelPrices.create(price());
    return { input: { id }, as: w.operator };
  },
  "teams.modelPrices.list": async ({ w }) => {
    const { model } = await w.as(w.operator).teams.modelPrices.create(price());
    return { input: { model, limit: 5 } };
  },
};
