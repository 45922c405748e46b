/** One good call of each procedure of groups and roles. */
import type { House, Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";

const group = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.groups.create({ name: `group ${fresh()}`, metadata: { floor: 2 } });
const role = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.roles.create({
    name: `role ${fresh()}`,
    permissions: [{ permission: "platforms.read", reach: "tenant" }],
  });
const user = async ({ w }: House, { tenantId }: Side) =>
  (await w.person(tenantId, "member")).userId;

async function membership(house: House, side: Side) {
  const [{ id: groupId }, userId] = [await group(house, side), await user(house, side)];
  await house.w.as(side.boss).identity.groupMembers.add({ groupId, userId });
  return { groupId, userId };
}

async function binding(house: House, side: Side) {
  return await house.w.as(side.boss).identity.roleBindings.create({
    groupId: (await group(house, side)).id,
    roleId: (await role(house, side)).id,
  });
}

export const groups: Record<string, Make> = {
  "identity.groups.create": () => ({
    input: { name: `group ${fresh()}`, description: "Who bakes", metadata: { floor: 1 } },
  }),
  "identity.groups.get": async (...at) => ({ input: { id: (await group(...at)).id } }),
  "identity.groups.update": async (...at) => ({
    input: { id: (await group(...at)).id, name: `group ${fresh()}`, description: null },
  }),
  "identity.groups.delete": async (...at) => ({
    input: { id: (await membership(...at)).groupId },
  }),
  "identity.groups.list": async (...at) => {
    const { userId } = await membership(...at);
    return { input: { userId, transitive: true, limit: 5 } };
  },
  "identity.groupMembers.add": async (...at) => ({
    input: {
      groupId: (await group(...at)).id,
      userId: await user(...at),
      isHolding: true,
      endsAt: new Date(Date.now() + 3_600_000),
    },
  }),
  "identity.groupMembers.update": async (...at) => ({
    input: { ...await membership(...at), isHolding: true },
  }),
  "identity.groupMembers.remove": async (...at) => ({ input: await membership(...at) }),
  "identity.groupMembers.list": async (...at) => ({
    input: { groupId: (await membership(...at)).groupId, limit: 5 },
  }),
  "identity.roles.create": () => ({
    input: {
      name: `role ${fresh()}`,
      permissions: [{ permission: "audit.read", reach: "tenant" }],
    },
  }),
  "identity.roles.get": async (...at) => ({ input: { id: (await role(...at)).id } }),
  "identity.roles.update": async (...at) => ({
    input: {
      id: (await role(...at)).id,
      permissions: [{ permission: "events.read", reach: "tenant" }],
    },
  }),
  "identity.roles.delete": async (...at) => ({ input: { id: (await role(...at)).id } }),
  "identity.roles.list": async (...at) => {
    await role(...at);
    return { input: { limit: 5 } };
  },
  "identity.systemRoles.list": () => ({ input: {} }),
  "identity.roleBindings.create": async (house, side) => ({
    input: {
      userId: await user(house, side),
      roleId: (await role(house, side)).id,
      appliesToTenantId: side.tenantId,
      endsAt: new Date(Date.now() + 3_600_000),
    },
  }),
  "identity.roleBindings.get": async (...at) => ({ input: { id: (await binding(...at)).id } }),
  "identity.roleBindings.revoke": async (...at) => ({ input: { id: (await binding(...at)).id } }),
  "identity.roleBindings.list": async (...at) => {
    const { groupId } = await binding(...at);
    return { input: { groupId, limit: 5 } };
  },
};
