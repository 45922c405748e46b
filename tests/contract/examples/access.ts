/** One good call of each procedure of access. */
import type { Make } from "./shape.ts";

export const access: Record<string, Make> = {
  "identity.access.check": (_, { boss }) => ({
    input: { permission: "users.read", userId: boss.userId },
  }),
  "identity.access.list": (_, { boss }) => ({ input: { userId: boss.userId, limit: 5 } }),
  "identity.access.explain": (_, { boss }) => ({
    input: { permission: "users.read", userId: boss.userId },
  }),
};
