/** One good call of each procedure of channels. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";
import { team } from "./teams.ts";

const BOT = 4_242;
/** Of one bot: another is another channel. */
const botToken = () => `${BOT}:${crypto.randomUUID()}`;

async function bot(house: House, side: Side) {
  const { id: teamId, apiKey } = await team(house, side);
  const token = botToken();
  const { channel, secret } = await house.w.as(side.boss).teams.channels
    .create({ teamId, kind: "telegram", name: `Bot ${fresh()}`, token });
  return { id: channel.id, secrets: [apiKey, token, secret] };
}

const ofBot = (more: () => Record<string, unknown> = () => ({})): Make => async (...at) => {
  const { id, secrets } = await bot(...at);
  return { input: { id, ...more() }, secrets };
};

export const channels: Record<string, Make> = {
  "teams.channels.create": async (...at) => {
    const { id: teamId, apiKey } = await team(...at);
    const token = botToken();
    const input = {
      teamId,
      kind: "telegram",
      name: `Bot ${fresh()}`,
      token,
      apiRoot: "https://telegram.example",
    };
    return { input, secrets: [apiKey, token] };
  },
  "teams.channels.get": ofBot(),
  "teams.channels.update": async (...at) => {
    const { id, secrets } = await bot(...at);
    const token = botToken();
    return { input: { id, name: `Bot ${fresh()}`, token }, secrets: [...secrets, token] };
  },
  "teams.channels.connect": ofBot(),
  "teams.channels.rotateSecret": ofBot(() => ({ overlapSeconds: 60 })),
  "teams.channels.deactivate": ofBot(),
  "teams.channels.list": async (...at) => {
    const { id: teamId, apiKey } = await team(...at);
    return { input: { teamId, limit: 5 }, secrets: [apiKey] };
  },
  "teams.channelUpdates.list": async (...at) => {
    const { id: channelId, secrets } = await bot(...at);
    return { input: { channelId, state: "failed", limit: 5 }, secrets };
  },
};
