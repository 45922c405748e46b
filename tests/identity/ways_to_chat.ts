/** Ways by which one comes to speak as a team. */
import { v7 } from "uuid";
import type { Scene, Ways, Workshop } from "./ways_to_give.ts";

/** Ways that give whoever has the key a team's voice, whatever else is asked of them. */
export const withTeams = ({ h }: Workshop): Ways => {
  const { w: { as } } = h;
  const named = () => ({ displayName: v7(), platformName: v7() });
  const made = ({ owner }: Scene) => as(owner).teams.teams.create(named());
  const channel = async (scene: Scene, isActive: boolean) => {
    const { id: teamId } = await made(scene);
    const { channels } = as(scene.owner).teams;
    const hook = { teamId, kind: "webhook", name: "w", apiRoot: "https://a.example/h" } as const;
    const { channel: { id } } = await channels.create(hook);
    if (!isActive) await channels.deactivate({ id });
    return { id, hook };
  };
  const closed = async (scene: Scene) => {
    const { id } = await made(scene);
    await as(scene.owner).teams.teams.deactivate({ id });
    return id;
  };
  return {
    "teams.teams.create": {
      "with its first key": () => Promise.resolve((who) => as(who).teams.teams.create(named())),
    },
    "teams.teams.update": {
      "back into use": async (scene) => {
        const id = await closed(scene);
        return (who) => as(who).teams.teams.update({ id, isActive: true });
      },
    },
    "teams.teams.activate": {
      "with the keys it has": async (scene) => {
        const id = await closed(scene);
        return (who) => as(who).teams.teams.activate({ id });
      },
    },
    "teams.teamKeys.create": {
      "of a team": async (scene) => {
        const { id: teamId } = await made(scene);
        return (who) => as(who).teams.teamKeys.create({ teamId, name: "k" });
      },
    },
    "teams.channels.create": {
      "with its secret": async (scene) => {
        const { hook } = await channel(scene, true);
        return (who) => as(who).teams.channels.create(hook);
      },
    },
    "teams.channels.update": {
      "back into use": async (scene) => {
        const { id } = await channel(scene, false);
        return (who) => as(who).teams.channels.update({ id, isActive: true });
      },
    },
    "teams.channels.rotateSecret": {
      "of a webhook": async (scene) => {
        const { id } = await channel(scene, true);
        return (who) => as(who).teams.channels.rotateSecret({ id });
      },
    },
    "teams.teamKeys.rotate": {
      "of a team": async (scene) => {
        const { id: teamId, apiKeyId: id } = await made(scene);
        return (who) => as(who).teams.teamKeys.rotate({ teamId, id });
      },
    },
  };
};
