/** One good call of each procedure of keys. */
import { fresh, type Make } from "./shape.ts";

export const keys: Record<string, Make> = {
  "identity.apiKeys.create": () => ({
    input: { name: `key ${fresh()}`, scopes: ["platforms.read", "service_platforms.read"] },
  }),
  "identity.apiKeys.revoke": async ({ w }, { boss }) => {
    const made = await w.as(boss).identity.apiKeys.create({
      name: `key ${fresh()}`,
      scopes: ["platforms.read"],
    });
    return { input: { id: made.apiKey.id }, secrets: [made.key] };
  },
  "identity.apiKeys.list": () => ({ input: { limit: 5 } }),
};
