/** People and keys that were let in everywhere, and what took that from them. */
import { v7 } from "uuid";
import { type Permission, permissions } from "../../src/access/permissions.ts";
import { everybodys } from "../../src/access/roles.ts";
import { asSystem, type Principal } from "../../src/context.ts";
import * as tenants from "../../src/identity/tenants.ts";
import { cheapHash } from "../identity/house.ts";
import { type House, withReach } from "./house.ts";
import { isJson } from "./doors.ts";

/** Somebody with every permission, in a tenant with one above and one below it. */
export type Person = {
  top: string;
  home: string;
  below: string;
  beside: string;
  userId: string;
  sessionId: string;
  /** The `jti` of `token`. */
  tokenId: string;
  token: string;
  refreshToken: string;
  /** Signed as an exchange signs it, for acting in `below`. */
  acting: string;
  key: string;
  keyId: string;
  /** Of a team they made, which is the team's and not theirs. */
  teamKey: string;
  teamKeyId: string;
  teamId: string;
};
export type Where = "token" | "acting" | "key" | "team";

/** What is refused from then on: by 401 whoever it is, by 403 whoever may not or comes from elsewhere. */
type Loss = {
  status: 401 | 403;
  of: Where[];
  /** They keep what everybody signed in may do at home. */
  leavesEverybodys?: boolean;
  sql: (person: Person) => string;
};

const setUser = (status: string) => ({ userId }: Person) =>
  `update users set status = '${status}' where id = '${userId}'`;
const setTenant = (which: "top" | "home" | "below", what: string) => ({ [which]: id }: Person) =>
  `update tenants set ${what} where id = '${id}'`;
const setBinding = (what: string) => ({ userId, home }: Person) =>
  `update role_bindings set ${what} where tenant_id = '${home}' and (owner_user_id = '${userId}'
    or group_id in (select group_id from group_members where owner_user_id = '${userId}'))`;
const list = (tenant: "home" | "below", keyId: (person: Person) => string) => (person: Person) =>
  `insert into client_access (tenant_id, id, network, api_key_id)
   values ('${person[tenant]}', '${v7()}', '203.0.113.0/24', ${keyId(person)})`;

const setKey = (which: "keyId" | "teamKeyId", what: string) => ({ [which]: id }: Person) =>
  `update api_keys set ${what} where id = '${id}'`;

const personal: Where[] = ["token", "acting", "key"];
const everywhere: Where[] = [...personal, "team"];
const signedIn: Where[] = ["token", "acting"];
const lost = (what: string): Loss => ({
  status: 403,
  of: personal,
  leavesEverybodys: true,
  sql: setBinding(what),
});

export const losses: Readonly<Record<string, Loss>> = {
  "a suspended user": { status: 401, of: personal, sql: setUser("suspended") },
  "a closed user": { status: 401, of: personal, sql: setUser("closed") },
  "a suspended tenant": {
    status: 401,
    of: everywhere,
    sql: setTenant("home", "status = 'suspended'"),
  },
  "a closed tenant": { status: 401, of: everywhere, sql: setTenant("home", "status = 'closed'") },
  "under a suspended tenant": {
    status: 401,
    of: everywhere,
    sql: setTenant("top", "status = 'suspended'"),
  },
  "under a closed tenant": {
    status: 401,
    of: everywhere,
    sql: setTenant("top", "status = 'closed'"),
  },
  "in a suspended tenant below": {
    status: 401,
    of: ["acting"],
    sql: setTenant("below", "status = 'suspended'"),
  },
  "in a tenant that was moved away": {
    status: 401,
    of: ["acting"],
    sql: ({ below, beside }) => `update tenants set parent_id = '${beside}' where id = '${below}'`,
  },
  "in a tenant that inherits nothing any more": {
    status: 403,
    of: ["acting"],
    sql: setTenant("below", "inherits_access = false"),
  },
  "a session that was ended": {
    status: 401,
    of: signedIn,
    sql: ({ sessionId }) => `update sessions set revoked_at = now() where id = '${sessionId}'`,
  },
  "a session that ran out": {
    status: 401,
    of: signedIn,
    sql: ({ sessionId }) => `update sessions set expires_at = now() where id = '${sessionId}'`,
  },
  "a token ended by its id": {
    status: 401,
    of: ["token"],
    sql: ({ home, userId, tokenId }) =>
      `insert into revoked_tokens (tenant_id, id, owner_user_id, expires_at)
       values ('${home}', '${tokenId}', '${userId}', now() + interval '1 hour')`,
  },
  "a binding that was taken back": lost("revoked_at = now()"),
  "a binding that has ended": lost("ends_at = now()"),
  "a binding that has not begun": lost("starts_at = now() + interval '1 day'"),
  "a role out of use": {
    ...lost(""),
    sql: ({ home }) => `update roles set is_active = false where tenant_id = '${home}'`,
  },
  "a role with nothing in it": {
    ...lost(""),
    sql: ({ home }) => `delete from permission_bindings where tenant_id = '${home}'`,
  },
  "a role that reaches less far": {
    ...lost(""),
    of: ["acting"],
    sql: ({ home }) =>
      `update permission_bindings set reach = 'tenant' where tenant_id = '${home}'`,
  },
  "out of the group": {
    ...lost(""),
    sql: ({ home }) => `delete from group_members where tenant_id = '${home}'`,
  },
  "from elsewhere": { status: 403, of: ["token", "key", "team"], sql: list("home", () => "null") },
  "from elsewhere, below": { status: 403, of: ["acting"], sql: list("below", () => "null") },
  "a key used from elsewhere": {
    status: 403,
    of: ["key"],
    sql: list("home", ({ keyId }) => `'${keyId}'`),
  },
  "a revoked key": {
    status: 401,
    of: ["key"],
    sql: setKey("keyId", "revoked_at = now()"),
  },
  "an expired key": {
    status: 401,
    of: ["key"],
    sql: setKey("keyId", "expires_at = now() - interval '1 hour'"),
  },
  "a key without scopes": { status: 403, of: ["key"], sql: setKey("keyId", "scopes = '{}'") },
  "a team out of use": {
    status: 401,
    of: ["team"],
    sql: ({ teamId }) => `update teams set is_active = false where id = '${teamId}'`,
  },
  "a team's key used from elsewhere": {
    status: 403,
    of: ["team"],
    sql: list("home", ({ teamKeyId }) => `'${teamKeyId}'`),
  },
  "a team's revoked key": {
    status: 401,
    of: ["team"],
    sql: setKey("teamKeyId", "revoked_at = now()"),
  },
  "a team's expired key": {
    status: 401,
    of: ["team"],
    sql: setKey("teamKeyId", "expires_at = now() - interval '1 hour'"),
  },
  "a team's key with a person's scopes": {
    status: 403,
    of: ["team"],
    sql: setKey("teamKeyId", "scopes = '{audit.read,teams.read}'"),
  },
};

/** Whether who lost this may still do that. */
export const isLeft = ({ leavesEverybodys }: Loss, at: Where, permission: Permission) =>
  leavesEverybodys === true && at !== "acting" && everybodys[permission] !== undefined;

/** Somebody who signed in by the front door, with real rights by a role of the tenant's own. */
export async function person(h: House): Promise<Person> {
  const { w, superuser } = h;
  const under = async (parent: string) =>
    (await tenants.create(asSystem(w.process, parent), { name: "Harbour Bakery" })).id;
  const top = await under(h.root.tenantId);
  const [home, beside] = [await under(top), await under(top)];
  const below = await under(home);
  const [email, password] = [`${v7()}@people.example`, "correct horse battery"];
  const { userId } = await w.person(home, "member", { email });
  await superuser("update user_security set password_hash = $1 where id = $2", [
    await cheapHash(password),
    userId,
  ]);
  await superuser("update role_bindings set revoked_at = now() where owner_user_id = $1", [userId]);
  await giveEverything(h, home, userId);
  const answer = await w.request("/api/v1/auth/sign-in", {
    method: "POST",
    body: JSON.stringify({ email, password }),
  });
  const said: unknown = await answer.json();
  if (!answer.ok || !isJson(said)) throw new Error(`Signing in answered ${answer.status}`);
  const token = String(said.access_token);
  const issued = await w.process.tokens.read(token, w.process.now());
  const sessionId = issued?.whose.session;
  if (!issued || !sessionId) throw new Error("Signing in gave no token of a session");
  const { identity, teams } = w.as({ ...withReach(issued.standee.principal, "tenant"), userId });
  const { apiKey, key } = await identity.apiKeys.create({ name: "all", scopes: [...permissions] });
  const team = await teams.teams.create({ displayName: v7(), platformName: v7() });
  const acting = await actingToken(h, issued.standee.principal, below);
  const refreshToken = String(said.refresh_token);
  const ids = { userId, sessionId, tokenId: issued.id, keyId: apiKey.id };
  const ofTeam = { teamId: team.id, teamKeyId: team.apiKeyId, teamKey: team.apiKey };
  return { top, home, below, beside, ...ids, token, refreshToken, acting, key, ...ofTeam };
}

/** By way of a group, as most rights are given. */
async function giveEverything({ superuser }: House, tenantId: string, userId: string) {
  const [role, group] = [v7(), v7()];
  await superuser("insert into roles (tenant_id, id, name) values ($1, $2, 'all')", [
    tenantId,
    role,
  ]);
  await superuser(
    `insert into permission_bindings (tenant_id, id, role_id, permission, reach)
     select $1, gen_random_uuid(), $2, p, 'subtree' from unnest($3::text[]) p`,
    [tenantId, role, [...permissions]],
  );
  await superuser("insert into groups (tenant_id, id, name) values ($1, $2, 'all')", [
    tenantId,
    group,
  ]);
  await superuser(
    "insert into group_members (tenant_id, id, group_id, owner_user_id) values ($1, $2, $3, $4)",
    [tenantId, v7(), group, userId],
  );
  await superuser(
    `insert into role_bindings (tenant_id, id, group_id, applies_to_tenant_id, role_id)
     values ($1, $2, $3, $1, $4)`,
    [tenantId, v7(), group, role],
  );
}

async function actingToken({ w: { process } }: House, principal: Principal, tenantId: string) {
  const { actor: { tenantId: home, id }, sessionId: session } = principal;
  const whose = { home, subject: id ?? "", session, acting: tenantId };
  const { grants, homeEpoch, actingEpoch, untilMs, networks } = await process.standings.of(whose);
  const acting: Principal = { ...principal, tenantId, userId: null, grants };
  const isListed = networks.length > 0;
  const { token } = await process.tokens.sign(acting, process.now(), {
    ...{ homeEpoch, actingEpoch, untilMs, isListed },
  });
  return token;
}

/** Takes it from them, and tells of it as a verb does: in the database, and in this process. */
export async function lose({ w, superuser }: House, person: Person, { sql }: Loss): Promise<void> {
  await superuser(sql(person));
  for (const tenantId of [person.top, person.home, person.below]) {
    await superuser(
      `insert into cache_epochs as e (tenant_id, topic) values ($1, 'access')
       on conflict (tenant_id, topic) do update set epoch = e.epoch + 1`,
      [tenantId],
    );
    w.process.cache.moved(tenantId, "access");
  }
}
