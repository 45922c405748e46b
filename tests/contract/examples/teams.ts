/** One good call of each procedure of teams and their keys. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";

const named = () => ({ displayName: `Team ${fresh()}`, platformName: `team-${fresh()}` });

/** A team with its first key. */
export const team = ({ w }: House, { boss }: Side, more: { dailyQuota?: number } = {}) =>
  w.as(boss).teams.teams.create({ ...named(), ...more });

const ofTeam = (more: () => Record<string, unknown> = () => ({})): Make => async (...at) => {
  const { id, apiKey } = await team(...at);
  return { input: { id, ...more() }, secrets: [apiKey] };
};

const ofKey = (more: () => Record<string, unknown> = () => ({})): Make => async (...at) => {
  const { id: teamId, apiKeyId: id, apiKey } = await team(...at);
  return { input: { teamId, id, ...more() }, secrets: [apiKey] };
};

export const teams: Record<string, Make> = {
  "teams.teams.create": () => ({
    input: {
      ...named(),
      platformType: "public",
      monthlyQuota: 500_000,
      dailyQuota: 20_000,
      rateLimit: 120,
      maxHistory: 50,
      defaultModel: "openai/gpt-4",
      availableModels: ["openai/gpt-4", "anthropic/claude-sonnet-4"],
      allowModelSwitch: false,
      metadata: { floor: fresh() },
    },
  }),
  "teams.teams.get": ofTeam(),
  "teams.teams.update": ofTeam(() => ({
    displayName: `Team ${fresh()}`,
    rateLimit: null,
    dailyQuota: 10,
    metadata: { floor: fresh() },
  })),
  "teams.teams.deactivate": ofTeam(),
  "teams.teams.activate": async (house, side) => {
    const { id, apiKey } = await team(house, side);
    await house.w.as(side.boss).teams.teams.deactivate({ id });
    return { input: { id }, secrets: [apiKey] };
  },
  "teams.teams.list": async (...at) => {
    const { apiKey } = await team(...at);
    return { input: { platformType: "private", isActive: true, limit: 5 }, secrets: [apiKey] };
  },
  "teams.teams.effective": ofTeam(),
  "teams.teamKeys.create": async (...at) => {
    const { id: teamId, apiKey } = await team(...at);
    const expiresAt = new Date(Date.now() + 24 * 3600_000);
    return { input: { teamId, name: `key ${fresh()}`, expiresAt }, secrets: [apiKey] };
  },
  "teams.teamKeys.rotate": ofKey(() => ({ overlapSeconds: 60 })),
  "teams.teamKeys.revoke": ofKey(),
  "teams.teamKeys.list": async (...at) => {
    const { id: teamId, apiKey } = await team(...at);
    return { input: { teamId, limit: 5 }, secrets: [apiKey] };
  },
};
