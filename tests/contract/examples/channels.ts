/** One good call of each procedure of channels: a bot's, and a webhook's. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";
import { team } from "./teams.ts";

/** As BotFather gives them. */
const botToken = () => `7000000001:${crypto.randomUUID().replaceAll("-", "")}`;

async function opened(house: House, side: Side) {
  const { id: teamId, apiKey } = await team(house, side);
  const token = botToken();
  const { channel, secret } = await house.w.as(side.boss).teams.channels
    .create({ teamId, kind: "telegram", name: `Bot ${fresh()}`, token });
  return { teamId, id: channel.id, secrets: [apiKey, token, secret] };
}

const ofChannel = (more: () => Record<string, unknown> = () => ({})): Make => async (...at) => {
  const { id, secrets } = await opened(...at);
  return { input: { id, ...more() }, secrets };
};

export const channels: Record<string, Make> = {
  "teams.channels.create": async (...at) => {
    const { id: teamId, apiKey } = await team(...at);
    const apiRoot = "https://answers.example/hook";
    const input = { teamId, kind: "webhook", name: `Hook ${fresh()}`, apiRoot };
    return { input, secrets: [apiKey] };
  },
  "teams.channels.get": ofChannel(),
  "teams.channels.update": async (...at) => {
    const { id, secrets } = await opened(...at);
    const token = botToken();
    return {
      input: { id, name: `Bot ${fresh()}`, token, isActive: false },
      secrets: [...secrets, token],
    };
  },
  "teams.channels.connect": ofChannel(),
  "teams.channels.rotateSecret": ofChannel(() => ({ overlapSeconds: 60 })),
  "teams.channels.deactivate": ofChannel(),
  "teams.channels.list": async (...at) => {
    const { teamId, secrets } = await opened(...at);
    return { input: { teamId, limit: 5 }, secrets };
  },
  "teams.channelUpdates.list": async (...at) => {
    const { id: channelId, secrets } = await opened(...at);
    return { input: { channelId, state: "received", limit: 5 }, secrets };
  },
};
