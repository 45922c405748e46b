/** People with tokens and a key, all by real verbs, and every way in which they lose what these give. */
import { v7 } from "uuid";
import { asSystem, type Principal } from "../../src/context.ts";
import * as tenants from "../../src/identity/tenants.ts";
import { cheapHash } from "../identity/house.ts";
import type { Person, world } from "../kit.ts";

type World = Awaited<ReturnType<typeof world>>;
type Row = Record<string, unknown>;
/** A world, and a way past every policy. */
export type Ground = { w: World; admin: (text: string) => Promise<Row[]> };

/** Somebody who reads platforms through a group that has a role, and who runs the tenants around them. */
export type Loser = {
  top: string;
  home: string;
  below: string;
  beside: string;
  bosses: { top: Person; home: Person; below: Person };
  userId: string;
  sessionId: string;
  password: string;
  groupId: string;
  roleId: string;
  bindingId: string;
  keyId: string;
  /** What they use: their token, one for acting in `below`, and a key. */
  proofs: Record<Proof, string>;
};
export type Proof = "token" | "acting" | "key";

const NAME = "Harbour Bakery";
const PASSWORD = "correct horse battery staple";

export async function loser({ w, admin }: Ground): Promise<Loser> {
  const under = async (parent: string) =>
    (await tenants.create(asSystem(w.process, parent), { name: `${NAME} ${v7()}` })).id;
  const top = await under(w.operator.tenantId);
  const [home, beside] = [await under(top), await under(top)];
  const below = await under(home);
  const bosses = {
    top: await w.person(top, "owner"),
    home: await w.person(home, "owner"),
    below: await w.person(below, "owner"),
  };
  const email = `${v7()}@people.example`;
  const { userId } = await w.person(home, "member", { email });
  await admin(`update user_security set password_hash = '${await cheapHash(PASSWORD)}'
    where id = '${userId}'`);
  const rights = await giveByGroup(w, bosses.home, userId);
  const signedIn = await said(w, "/auth/sign-in", { email, password: PASSWORD });
  const token = String(signedIn.access_token);
  const { access_token } = await said(w, "/auth/exchange", { tenant_id: below }, token);
  const made = await said(w, "/api-keys", { name: "robot", scopes: ["platforms.read"] }, token);
  const issued = await w.process.tokens.read(token, w.process.now());
  return {
    ...{ top, home, below, beside, bosses, userId, password: PASSWORD, ...rights },
    sessionId: issued?.whose.session ?? "",
    keyId: String(Reflect.get(Object(made.api_key), "id")),
    proofs: { token, acting: String(access_token), key: String(made.key) },
  };
}

/** Takes the role they came with, and gives them another through a group. */
async function giveByGroup(w: World, boss: Person, userId: string) {
  const { groups, groupMembers, roles, roleBindings } = w.as(boss).identity;
  const { roleBindings: [first] } = await roleBindings.list({ userId });
  const { id: groupId } = await groups.create({ name: "Bakers" });
  const { id: roleId } = await roles.create({
    name: "Reader",
    permissions: [
      { permission: "platforms.read", reach: "subtree" },
      { permission: "api_keys.create", reach: "self" },
    ],
  });
  await groupMembers.add({ groupId, userId });
  const { id: bindingId } = await roleBindings.create({ groupId, roleId });
  await roleBindings.revoke({ id: first?.id ?? "" });
  return { groupId, roleId, bindingId };
}

/** Through the front door; fails unless it is done. */
export async function said(w: World, path: string, body: unknown, token?: string): Promise<Row> {
  const headers: HeadersInit = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await w.request(`/api/v1${path}`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${text}`);
  return text === "" ? {} : JSON.parse(text);
}

export type Loss = {
  status: 401 | 403;
  of: Proof[];
  change: (w: World, loser: Loser) => Promise<unknown>;
};

const inside = "203.0.113.0/24";
const insider = { address: "203.0.113.7" };
const all: Proof[] = ["token", "acting", "key"];
const by = (w: World, who: Principal) => w.as(who, insider).identity;

/** Everything that shuts somebody out. */
const ends: Record<string, Loss> = {
  "session revoked": {
    status: 401,
    of: ["token", "acting"],
    change: (w, { bosses, sessionId }) => by(w, bosses.home).sessions.revoke({ id: sessionId }),
  },
  "all sessions revoked": {
    status: 401,
    of: ["token", "acting"],
    change: (w, { bosses, userId }) => by(w, bosses.home).sessions.revokeAll({ userId }),
  },
  "signed out": {
    status: 401,
    of: ["token", "acting"],
    change: (w, { proofs }) => said(w, "/auth/sign-out", {}, proofs.token),
  },
  "one token ended": {
    status: 401,
    of: ["token"],
    change: (w, { proofs }) => said(w, "/auth/revoke", { token: proofs.token }, proofs.token),
  },
  "a token for below ended": {
    status: 401,
    of: ["acting"],
    change: (w, { proofs }) => said(w, "/auth/revoke", { token: proofs.acting }, proofs.token),
  },
  "password changed": {
    status: 401,
    of: ["token", "acting"],
    change: (w, { proofs, password }) => {
      const body = { current_password: password, new_password: `new ${password}` };
      return said(w, "/auth/password", { ...body, except_current: false }, proofs.token);
    },
  },
  "user deactivated": {
    status: 401,
    of: all,
    change: (w, { bosses, userId }) => by(w, bosses.home).users.deactivate({ id: userId }),
  },
  "key revoked": {
    status: 401,
    of: ["key"],
    change: (w, { bosses, keyId }) => by(w, bosses.home).apiKeys.revoke({ id: keyId }),
  },
  "tenant suspended": {
    status: 401,
    of: all,
    change: (w, { bosses, home }) => by(w, bosses.top).tenants.suspend({ id: home }),
  },
  "tenant closed": {
    status: 401,
    of: all,
    change: async (w, { bosses, home: id }) => {
      const { tenants } = by(w, bosses.top);
      return tenants.close({ id, confirm: (await tenants.get({ id })).name });
    },
  },
  "ancestor suspended": {
    status: 401,
    of: all,
    change: (w, { top }) => by(w, w.operator).tenants.suspend({ id: top }),
  },
  "tenant below suspended": {
    status: 401,
    of: ["acting"],
    change: (w, { bosses, below }) => by(w, bosses.home).tenants.suspend({ id: below }),
  },
  "tenant below moved away": {
    status: 401,
    of: ["acting"],
    change: (w, { bosses, below, beside }) =>
      by(w, bosses.top).tenants.move({ id: below, parentId: beside }),
  },
};

/** Everything that leaves somebody in, with less. */
const cuts: Record<string, Loss> = {
  "role binding revoked": {
    status: 403,
    of: all,
    change: (w, { bosses, bindingId }) => by(w, bosses.home).roleBindings.revoke({ id: bindingId }),
  },
  "role changed": {
    status: 403,
    of: all,
    change: (w, { bosses, roleId }) =>
      by(w, bosses.home).roles.update({
        id: roleId,
        permissions: [{ permission: "groups.read", reach: "tenant" }],
      }),
  },
  "role narrowed to its tenant": {
    status: 403,
    of: ["acting"],
    change: (w, { bosses, roleId }) =>
      by(w, bosses.home).roles.update({
        id: roleId,
        permissions: [{ permission: "platforms.read", reach: "tenant" }],
      }),
  },
  "group membership removed": {
    status: 403,
    of: all,
    change: (w, { bosses, groupId, userId }) =>
      by(w, bosses.home).groupMembers.remove({ groupId, userId }),
  },
  "group deleted": {
    status: 403,
    of: all,
    change: (w, { bosses, groupId }) => by(w, bosses.home).groups.delete({ id: groupId }),
  },
  "inheritance stopped": {
    status: 403,
    of: ["acting"],
    change: (w, { bosses, below }) =>
      by(w, bosses.home).tenants.update({ id: below, inheritsAccess: false }),
  },
  "networks listed": {
    status: 403,
    of: ["token", "key"],
    change: (w, { bosses }) => by(w, bosses.home).clientAccess.create({ network: inside }),
  },
  "networks listed below": {
    status: 403,
    of: ["acting"],
    change: (w, { bosses }) => by(w, bosses.below).clientAccess.create({ network: inside }),
  },
  "a key's networks listed": {
    status: 403,
    of: ["key"],
    change: (w, { bosses, keyId }) =>
      by(w, bosses.home).clientAccess.create({ network: inside, apiKeyId: keyId }),
  },
};

export const losses: Readonly<Record<string, Loss>> = { ...ends, ...cuts };
