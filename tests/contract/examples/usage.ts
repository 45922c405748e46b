/** One good call of each procedure of usage, of a team that has used something. */
import { asSystem } from "../../../src/context.ts";
import { admit, settle, settled } from "../../../src/teams/admission.ts";
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";

async function used({ w }: House, { tenantId, boss }: Side) {
  const { id: teamId, apiKeyId } = await w.as(boss).teams.teams.create({
    displayName: `Users ${fresh()}`,
    platformName: `users-${crypto.randomUUID()}`,
  });
  const ctx = asSystem(w.process, tenantId);
  const [model, userId] = [`model-${fresh()}`, `user-${fresh()}`];
  const lease = await admit(ctx, {
    teamId,
    apiKeyId,
    userId,
    sessionId: null,
    endpoint: "embeddings",
    model,
    inputTokens: 7,
    leaseSeconds: 60,
  });
  settle(ctx, lease, {
    model,
    outcome: "answered",
    status: 200,
    attempts: 1,
    inputTokens: 8,
    outputTokens: 0,
    source: "provider",
    latencyMs: 5,
    firstByteMs: null,
    isStreamed: false,
  });
  await settled(w.process);
  return { teamId, apiKeyId, model, userId };
}

export const usage: Record<string, Make> = {
  "teams.usage.list": async (...at) => {
    const { teamId, apiKeyId } = await used(...at);
    return { input: { teamId, apiKeyId, groupBy: ["team", "key", "user"], limit: 5 } };
  },
  "teams.usage.logs": async (...at) => ({
    input: { teamId: (await used(...at)).teamId, outcome: "answered", limit: 5 },
  }),
  "teams.usage.quota": async (...at) => ({ input: { id: (await used(...at)).teamId } }),
};
