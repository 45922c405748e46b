/** One good call of each procedure of chat. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";

/** A team whose one model somebody serves. */
async function chatting({ w }: House, { boss }: Side) {
  const { upstreams, teams } = w.as(boss).teams;
  const modelPrefix = `c${fresh()}/`;
  const [baseUrl, apiKey] = ["https://models.example/v1", `sk-${crypto.randomUUID()}`];
  await upstreams.create({ name: "models", modelPrefix, baseUrl, apiKey });
  const team = await teams.create({
    displayName: `Team ${fresh()}`,
    platformName: `team-${fresh()}`,
    availableModels: [`${modelPrefix}a`],
  });
  return { team, secrets: [apiKey, team.apiKey] };
}

/** A conversation with something in it. */
async function conversation(house: House, side: Side) {
  const { team, secrets } = await chatting(house, side);
  const said = { teamId: team.id, userId: `user-${fresh()}`, content: "hello" };
  const { sessionId } = await house.w.as(side.boss).chat.send(said);
  return { sessionId, teamId: team.id, secrets };
}

export const chat: Record<string, Make> = {
  "chat.send": async (...at) => {
    const { team, secrets } = await chatting(...at);
    const input = { teamId: team.id, userId: `user-${fresh()}`, content: "hello" };
    return { input, secrets };
  },
  "chat.sessions.get": async (...at) => {
    const { sessionId: id, secrets } = await conversation(...at);
    return { input: { id }, secrets };
  },
  "chat.sessions.clear": async (...at) => {
    const { sessionId: id, secrets } = await conversation(...at);
    return { input: { id }, secrets };
  },
  "chat.sessions.list": async (...at) => {
    const { teamId, secrets } = await conversation(...at);
    return { input: { teamId, limit: 5 }, secrets };
  },
  "chat.messages.list": async (...at) => {
    const { sessionId, secrets } = await conversation(...at);
    return { input: { sessionId, limit: 5 }, secrets };
  },
};
