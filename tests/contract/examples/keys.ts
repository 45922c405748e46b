/** One good call of each procedure of keys. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";

const minted = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.apiKeys.create({ name: `key ${fresh()}`, scopes: ["platforms.read"] });

const account = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.serviceAccounts.create({ displayName: `program ${fresh()}` });

/** A key's list: whoever calls need not come from within it. */
const listed = async (house: House, side: Side) => {
  const { apiKey, key } = await minted(house, side);
  const { id } = await house.w.as(side.boss).identity.clientAccess
    .create({ network: "203.0.113.0/24", apiKeyId: apiKey.id });
  return { id, apiKeyId: apiKey.id, secrets: [key] };
};

const ofKey = (more: () => Record<string, unknown> = () => ({})): Make => async (...at) => {
  const { apiKey, key } = await minted(...at);
  return { input: { id: apiKey.id, ...more() }, secrets: [key] };
};

export const keys: Record<string, Make> = {
  "identity.apiKeys.create": async (...at) => ({
    input: {
      name: `key ${fresh()}`,
      scopes: ["platforms.read", "service_platforms.read"],
      ownerUserId: (await account(...at)).id,
    },
  }),
  "identity.apiKeys.get": ofKey(),
  "identity.apiKeys.update": ofKey(() => ({ name: `key ${fresh()}` })),
  "identity.apiKeys.rotate": ofKey(() => ({ overlapSeconds: 60 })),
  "identity.apiKeys.revoke": ofKey(),
  "identity.apiKeys.list": () => ({ input: { limit: 5 } }),
  "identity.serviceAccounts.create": () => ({
    input: { displayName: `program ${fresh()}`, systemRole: "member" },
  }),
  "identity.serviceAccounts.get": async (...at) => ({ input: { id: (await account(...at)).id } }),
  "identity.serviceAccounts.list": () => ({ input: { limit: 5 } }),
  "identity.clientAccess.create": async (...at) => {
    const { apiKey, key } = await minted(...at);
    const input = { network: "2001:db8::/32", apiKeyId: apiKey.id, description: fresh() };
    return { input, secrets: [key] };
  },
  "identity.clientAccess.delete": async (...at) => {
    const { id, secrets } = await listed(...at);
    return { input: { id }, secrets };
  },
  "identity.clientAccess.list": async (...at) => {
    const { apiKeyId, secrets } = await listed(...at);
    return { input: { apiKeyId, limit: 5 }, secrets };
  },
};
