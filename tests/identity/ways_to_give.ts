/** Every way by which one comes to hold a permission through somebody else, as calls to try. */
import { v7 } from "uuid";
import { isPermission, ladder, type Permission } from "../../src/access/permissions.ts";
import type { Principal, Reach } from "../../src/context.ts";
import { teamScopes } from "../../src/teams/team_keys.ts";
import type { Person } from "../kit.ts";
import { bind, roleOf } from "./givers.ts";
import type { Home } from "./house.ts";
import { withTeams } from "./ways_to_chat.ts";

/** A tenant and somebody who may do everything there. */
export type Scene = { tenantId: string; owner: Person };
export type Gift = { permission: Permission; reach: Reach };
/** Readies a way, and answers the call that gives by it. */
type Way = (scene: Scene, gift: Gift) => Promise<(giver: Principal) => Promise<unknown>>;
export type Ways = Record<string, Record<string, Way>>;

const email = () => `${v7()}@people.example`;
const roleFor = (scene: { tenantId: string }, { permission, reach }: Gift, h: Home) =>
  roleOf(h, scene.tenantId, { [permission]: reach });

/** Things to give with, each as rows, past every check. */
function workshop(h: Home) {
  const identity = (who: Principal) => h.w.as(who).identity;
  const group = async ({ owner }: Scene) =>
    (await identity(owner).groups.create({ name: `g ${v7()}` })).id;
  const user = async ({ tenantId }: Scene) => {
    const { userId } = await h.w.person(tenantId, "member");
    await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [userId]);
    return userId;
  };
  const role = (scene: Scene, gift: Gift) => roleFor(scene, gift, h);
  /** A group that gives to whoever lies in it. */
  const boundGroup = async (scene: Scene, gift: Gift) => {
    const groupId = await group(scene);
    await bind(h, scene.tenantId, { groupId }, await role(scene, gift));
    return groupId;
  };
  /** A group in such a group. */
  const groupWithin = async (scene: Scene, gift: Gift) => {
    const [outer, inner] = [await boundGroup(scene, gift), await group(scene)];
    await h.sql(
      `insert into group_members (tenant_id, id, group_id, member_group_id)
       values ($1, $2, $3, $4)`,
      [scene.tenantId, v7(), outer, inner],
    );
    return inner;
  };
  /** Somebody who holds what is to be given. */
  const endowed = async (scene: Scene, gift: Gift, kind: "person" | "service" = "person") => {
    const userId = await user(scene);
    await h.sql("update users set kind = $1 where id = $2", [kind, userId]);
    await bind(h, scene.tenantId, { userId }, await role(scene, gift));
    return userId;
  };
  return { h, identity, group, user, role, boundGroup, groupWithin, endowed };
}
export type Workshop = ReturnType<typeof workshop>;

const withRoles = ({ h, identity, user, group, role }: Workshop): Ways => ({
  "identity.roles.create": {
    "a role": (_, gift) =>
      Promise.resolve((who) =>
        identity(who).roles.create({ name: `r ${v7()}`, permissions: [gift] })
      ),
  },
  "identity.roles.update": {
    "a permission more": async ({ tenantId }, gift) => {
      const id = await roleOf(h, tenantId, {});
      return (who) => identity(who).roles.update({ id, permissions: [gift] });
    },
    "more of a permission": async (scene, gift) => {
      const less = ladder[ladder.indexOf(gift.reach) - 1];
      const id = less
        ? await role(scene, { ...gift, reach: less })
        : await roleOf(h, scene.tenantId, {});
      return (who) => identity(who).roles.update({ id, permissions: [gift] });
    },
  },
  "identity.roleBindings.create": {
    "to a user": async (scene, gift) => {
      const [userId, roleId] = [await user(scene), await role(scene, gift)];
      return (who) => identity(who).roleBindings.create({ userId, roleId });
    },
    "to oneself": async (scene, gift) => {
      const roleId = await role(scene, gift);
      return (who) => identity(who).roleBindings.create({ userId: who.userId, roleId });
    },
    "to a group": async (scene, gift) => {
      const [groupId, roleId] = [await group(scene), await role(scene, gift)];
      return (who) => identity(who).roleBindings.create({ groupId, roleId });
    },
    "for a time to come": async (scene, gift) => {
      const [userId, roleId] = [await user(scene), await role(scene, gift)];
      const startsAt = new Date(h.clock.ms + 3_600_000);
      return (who) => identity(who).roleBindings.create({ userId, roleId, startsAt });
    },
  },
});

const withGroups = ({ h, identity, ...make }: Workshop): Ways => ({
  "identity.groupMembers.add": {
    "a user": async (scene, gift) => {
      const [groupId, userId] = [await make.boundGroup(scene, gift), await make.user(scene)];
      return (who) => identity(who).groupMembers.add({ groupId, userId });
    },
    "oneself": async (scene, gift) => {
      const groupId = await make.boundGroup(scene, gift);
      return (who) => identity(who).groupMembers.add({ groupId, userId: who.userId });
    },
    "a user to a group within": async (scene, gift) => {
      const [groupId, userId] = [await make.groupWithin(scene, gift), await make.user(scene)];
      return (who) => identity(who).groupMembers.add({ groupId, userId });
    },
    "a group": async (scene, gift) => {
      const [groupId, memberGroupId] = [
        await make.boundGroup(scene, gift),
        await make.group(scene),
      ];
      return (who) => identity(who).groupMembers.add({ groupId, memberGroupId });
    },
    "a group to a group within": async (scene, gift) => {
      const [groupId, memberGroupId] = [
        await make.groupWithin(scene, gift),
        await make.group(scene),
      ];
      return (who) => identity(who).groupMembers.add({ groupId, memberGroupId });
    },
  },
  "identity.groupMembers.update": {
    "a longer time": async (scene, gift) => {
      const [groupId, userId] = [await make.group(scene), await make.user(scene)];
      const endsAt = new Date(h.clock.ms + 3_600_000);
      await identity(scene.owner).groupMembers.add({ groupId, userId, endsAt });
      await bind(h, scene.tenantId, { groupId }, await make.role(scene, gift));
      return (who) => identity(who).groupMembers.update({ groupId, userId, endsAt: null });
    },
  },
});

const withPeople = ({ h, identity, ...make }: Workshop): Ways => ({
  "identity.users.create": {
    "with a role": async (scene, gift) => {
      const roleId = await make.role(scene, gift);
      return (who) => identity(who).users.create({ email: email(), displayName: "A", roleId });
    },
  },
  "identity.users.update": {
    "another's e-mail": async (scene, gift) => {
      const id = await make.endowed(scene, gift);
      return (who) => identity(who).users.update({ id, email: email() });
    },
  },
  "identity.users.activate": {
    "one who was deactivated": async (scene, gift) => {
      const id = await make.endowed(scene, gift);
      await h.sql("update users set status = 'suspended' where id = $1", [id]);
      return (who) => identity(who).users.activate({ id });
    },
  },
  "identity.secondFactor.reset": {
    "another's": async (scene, gift) => {
      const userId = await make.endowed(scene, gift);
      return (who) => identity(who).secondFactor.reset({ userId });
    },
  },
  "identity.invitations.create": {
    "with a role": async (scene, gift) => {
      const roleId = await make.role(scene, gift);
      return (who) => identity(who).invitations.create({ email: email(), roleId });
    },
    "into a group": async (scene, gift) => {
      const groupId = await make.groupWithin(scene, gift);
      return (who) => identity(who).invitations.create({ email: email(), groupId });
    },
  },
  "identity.invitations.resend": {
    "another's": async (scene, gift) => {
      const { invitations } = identity(scene.owner);
      const { id } = await invitations.create({ email: email() });
      await h.sql("update invitations set role_id = $1 where id = $2", [
        await make.role(scene, gift),
        id,
      ]);
      return (who) => identity(who).invitations.resend({ id });
    },
  },
});

const provider = () => ({
  name: `p ${v7()}`,
  issuer: `https://${v7()}.example`,
  clientId: "c",
  clientSecret: "a secret of theirs",
  groupClaim: "groups",
});

const withPrograms = ({ identity, ...make }: Workshop): Ways => ({
  "identity.serviceAccounts.create": {
    "with a role": async (scene, gift) => {
      const roleId = await make.role(scene, gift);
      return (who) => identity(who).serviceAccounts.create({ displayName: "Robot", roleId });
    },
  },
  "identity.apiKeys.create": {
    "of a service account": async (scene, gift) => {
      const ownerUserId = await make.endowed(scene, gift, "service");
      const scopes = [gift.permission];
      return (who) => identity(who).apiKeys.create({ name: "k", scopes, ownerUserId });
    },
  },
  "identity.apiKeys.rotate": {
    "of a service account": async (scene, gift) => {
      const [id, owner] = [v7(), await make.endowed(scene, gift, "service")];
      await make.h.sql(
        `insert into api_keys (tenant_id, id, owner_user_id, name, secret_hash, hint, scopes)
         values ($1, $2, $3, 'k', 'hash', 'hint', array[$4])`,
        [scene.tenantId, id, owner, gift.permission],
      );
      return (who) => identity(who).apiKeys.rotate({ id });
    },
  },
  "identity.identityProviders.create": {
    "with a mapped group": async (scene, gift) => {
      const mappings = [{ claimValue: "bakers", groupId: await make.groupWithin(scene, gift) }];
      return (who) => identity(who).identityProviders.create({ ...provider(), mappings });
    },
  },
  "identity.identityProviders.update": {
    "with another mapped group": async (scene, gift) => {
      const mappings = [{ claimValue: "bakers", groupId: await make.groupWithin(scene, gift) }];
      const { id } = await identity(scene.owner).identityProviders.create(provider());
      return (who) => identity(who).identityProviders.update({ id, mappings });
    },
  },
  "identity.identityProviders.activate": {
    "with a mapped group": async (scene, gift) => {
      const groupId = await make.group(scene);
      const { identityProviders } = identity(scene.owner);
      const mappings = [{ claimValue: "bakers", groupId }];
      const { id } = await identityProviders.create({ ...provider(), mappings });
      await identityProviders.delete({ id });
      await bind(make.h, scene.tenantId, { groupId }, await make.role(scene, gift));
      return (who) => identity(who).identityProviders.activate({ id });
    },
  },
});

const named = (all: Ways) =>
  Object.entries(all).flatMap(([path, those]) =>
    Object.entries(those).map(([what, way]) => ({ path, way, label: `${path}, ${what}` }))
  );

/** The ways there are to give any permission at any reach, by the procedure that gives. */
export const ways = (h: Home) =>
  [withRoles, withGroups, withPeople, withPrograms].flatMap((some) => named(some(workshop(h))));

/** Ways that always give the same: a team's voice, in the whole tenant. */
export const voices = (h: Home) => named(withTeams(workshop(h)));
export const voice = teamScopes.filter(isPermission);

/** What changes identity or teams and gives nobody anything, and why. */
export const gifts: Readonly<Record<string, readonly string[]>> = {
  "It shows who somebody is, who then has what is theirs": [
    "identity.auth.signIn",
    "identity.auth.refresh",
    "identity.auth.exchange",
    "identity.auth.changePassword",
    "identity.passwordResets.request",
    "identity.passwordResets.confirm",
    "identity.secondFactor.begin",
    "identity.secondFactor.confirm",
    "identity.secondFactor.disable",
    "identity.secondFactor.recoveryCodes",
    "identity.sso.start",
    "identity.sso.complete",
  ],
  "What it gives was weighed when somebody was invited, and is again": [
    "identity.invitations.accept",
  ],
  "It goes to the mailbox of the person it is about": ["identity.users.resetPassword"],
  "It only takes away": [
    "identity.auth.signOut",
    "identity.auth.signOutEverywhere",
    "identity.auth.revoke",
    "identity.sessions.revoke",
    "identity.sessions.revokeAll",
    "identity.apiKeys.revoke",
    "identity.users.deactivate",
    "identity.invitations.revoke",
    "identity.groups.delete",
    "identity.groupMembers.remove",
    "identity.roles.delete",
    "identity.roleBindings.revoke",
    "identity.identityProviders.delete",
    "identity.clientAccess.delete",
    "identity.tenants.suspend",
    "identity.tenants.close",
    "teams.teams.deactivate",
    "teams.teamKeys.revoke",
    "teams.channels.deactivate",
  ],
  "It names or describes": [
    "identity.apiKeys.update",
    "identity.groups.create",
    "identity.groups.update",
    "identity.foreignIdTypes.create",
    "identity.foreignIdTypes.delete",
    "identity.foreignIds.create",
    "identity.foreignIds.delete",
    "identity.tenantAddresses.create",
    "identity.tenantAddresses.update",
    "identity.tenantAddresses.delete",
    "identity.domains.create",
    "identity.domains.verify",
    "identity.domains.delete",
    "identity.identityProviders.test",
  ],
  "It says from where, not what": ["identity.clientAccess.create"],
  "It tells a platform what it was told before, or will be once it holds": [
    "teams.channels.connect",
  ],
  "It says what everybody's chats are made with": [
    "teams.platformConfigs.update",
    "teams.upstreams.create",
    "teams.upstreams.update",
    "teams.upstreams.deactivate",
    "teams.modelPrices.create",
    "teams.modelPrices.delete",
  ],
  "It moves rights down the tree: its own tests try that": [
    "identity.tenants.create",
    "identity.tenants.update",
    "identity.tenants.activate",
    "identity.tenants.move",
  ],
};
