/** One good call of each procedure of chat, in a conversation that has begun. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";
import { team } from "./teams.ts";

const said = () => ({ userId: `user-${fresh()}`, content: `Hello ${fresh()}` });

/** Something was said to a team, and answered. */
export async function talked(house: House, side: Side) {
  const { id: teamId, apiKey } = await team(house, side);
  const { sessionId } = await house.w.as(side.boss).chat.send({ teamId, ...said() });
  return { teamId, sessionId, secrets: [apiKey] };
}

export const chat: Record<string, Make> = {
  "chat.send": async (...at) => {
    const { id: teamId, apiKey } = await team(...at);
    return { input: { teamId, platform: "shop", ...said() }, secrets: [apiKey] };
  },
  "chat.sessions.get": async (...at) => {
    const { sessionId: id, secrets } = await talked(...at);
    return { input: { id }, secrets };
  },
  "chat.sessions.clear": async (...at) => {
    const { sessionId: id, secrets } = await talked(...at);
    return { input: { id }, secrets };
  },
  "chat.sessions.list": async (...at) => {
    const { teamId, secrets } = await talked(...at);
    return { input: { teamId, limit: 5 }, secrets };
  },
  "chat.messages.list": async (...at) => {
    const { sessionId, secrets } = await talked(...at);
    return { input: { sessionId, limit: 5 }, secrets };
  },
};
