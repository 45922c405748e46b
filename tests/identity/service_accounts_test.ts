/** Service accounts: users that are programs. Neither they nor their keys do more than who makes them. */
import assert from "node:assert/strict";
import type { Permission } from "../../src/access/permissions.ts";
import type { Principal } from "../../src/context.ts";
import { home } from "./house.ts";

const h = await home();
const stage = async (role = "admin") => await h.login(await h.tenantBelow(), { role });
const accounts = (who: Principal) => h.w.as(who).identity.serviceAccounts;
const reason = (reason: string) => (error: unknown) => {
  assert.equal(Reflect.get(Object(Reflect.get(Object(error), "cause")), "reason"), reason);
  return true;
};

Deno.test("serviceAccounts.create makes a user of the tenant without e-mail, password or role", async () => {
  const who = await stage();
  const made = await accounts(who).create({ displayName: " Nightly import " });
  assert.deepEqual(
    { ...made, id: "", createdAt: 0, updatedAt: 0 },
    {
      id: "",
      displayName: "Nightly import",
      status: "active",
      isActive: true,
      createdAt: 0,
      updatedAt: 0,
    },
  );
  const [row] = await h.sql(
    `select tenant_id, kind, email, (select count(*)::int from role_bindings b where b.owner_user_id = u.id) as roles,
      (select count(*)::int from user_security s where s.id = u.id and s.password_hash is not null) as passwords
      from users u where id = $1`,
    [made.id],
  );
  assert.deepEqual({ ...row }, {
    tenant_id: who.tenantId,
    kind: "service",
    email: null,
    roles: 0,
    passwords: 0,
  });
  assert.deepEqual(await accounts(who).get({ id: made.id }), made);
  const [last] = (await h.trail(who.tenantId)).slice(-1);
  assert.deepEqual([last?.action, last?.subject_id], ["user.created", made.id]);
  assert.equal((await h.eventTypes(who.tenantId)).at(-1), "user.created");
});

Deno.test("serviceAccounts.create gives a role, and never one above the caller's own", async () => {
  const admin = await stage();
  const { id } = await accounts(admin).create({ displayName: "Import", systemRole: "auditor" });
  const bound = await h.sql(
    "select system_role, applies_to_tenant_id from role_bindings where owner_user_id = $1",
    [id],
  );
  assert.deepEqual(bound.map((row) => ({ ...row })), [
    { system_role: "auditor", applies_to_tenant_id: admin.tenantId },
  ]);
  const before = (await h.sql("select 1 from users")).length;
  await assert.rejects(
    accounts(admin).create({ displayName: "Import", systemRole: "owner" }),
    reason("grant.beyond"),
  );
  const odd: [Record<string, string>, string][] = [
    [{ systemRole: "emperor" }, "BAD_REQUEST"],
    [{ systemRole: "operator" }, "BAD_REQUEST"],
    [{ roleId: crypto.randomUUID() }, "NOT_FOUND"],
    [{ systemRole: "member", roleId: crypto.randomUUID() }, "BAD_REQUEST"],
  ];
  for (const [role, code] of odd) {
    await assert.rejects(accounts(admin).create({ displayName: "Import", ...role }), { code });
  }
  assert.equal((await h.sql("select 1 from users")).length, before);
});

Deno.test("serviceAccounts.create takes a role of the tenant, and none of another", async () => {
  const [owner, far] = [await stage("owner"), await stage("owner")];
  const [role] = await h.sql(
    "insert into roles (tenant_id, id, name) values ($1, gen_random_uuid(), 'Importer') returning id",
    [owner.tenantId],
  );
  const roleId = String(role?.id);
  await h.sql(
    `insert into permission_bindings (tenant_id, id, role_id, permission, reach)
      values ($1, gen_random_uuid(), $2, 'audit.read', 'tenant')`,
    [owner.tenantId, roleId],
  );
  const { id } = await accounts(owner).create({ displayName: "Import", roleId });
  const { key } = await h.w.as(owner).identity.apiKeys
    .create({ name: "k", scopes: ["audit.read", "events.read"], ownerUserId: id });
  const status = async (path: string) =>
    (await h.send(path, null, { method: "GET", headers: { "x-api-key": key } })).status;
  assert.deepEqual([await status("/audit-entries"), await status("/events")], [200, 403]);
  await assert.rejects(accounts(far).create({ displayName: "Import", roleId }), {
    code: "NOT_FOUND",
  });
});

Deno.test("a service account cannot sign in, whatever its name and with any password", async () => {
  const who = await stage();
  const email = "import@people.example";
  const { id } = await accounts(who).create({ displayName: email, systemRole: "member" });
  for (const name of [email, id, `${id}@people.example`, ""]) {
    const answer = await h.send("/auth/sign-in", { email: name, password: "password 1234567" });
    assert.ok([400, 401].includes(answer.status), `${name}: ${answer.status}`);
  }
  const person = { email: who.email, password: who.password };
  assert.equal((await h.send("/auth/sign-in", person)).status, 200);
});

Deno.test("serviceAccounts.get and list show service accounts alone, and with self reach one's own", async () => {
  const who = await stage();
  const made = [];
  for (let i = 0; i < 3; i++) made.push(await accounts(who).create({ displayName: `Import ${i}` }));
  made.reverse();
  const first = await accounts(who).list({ limit: 2 });
  assert.deepEqual(first.serviceAccounts, made.slice(0, 2));
  const rest = await accounts(who).list({ limit: 2, cursor: first.nextCursor ?? undefined });
  assert.deepEqual([rest.serviceAccounts, rest.nextCursor], [made.slice(2), null]);
  const missing = { code: "NOT_FOUND" };
  await assert.rejects(accounts(who).get({ id: who.userId }), missing); // A person.
  await assert.rejects(accounts(await stage()).get({ id: made[0]?.id ?? "" }), missing);
  const member = await h.login(who.tenantId, { role: "member" });
  assert.deepEqual((await accounts(member).list({})).serviceAccounts, []);
  await assert.rejects(accounts(member).get({ id: made[0]?.id ?? "" }), missing);
  const { key } = await h.w.as(who).identity.apiKeys
    .create({ name: "k", scopes: ["users.read"], ownerUserId: made[0]?.id });
  const { body } = await h.send("/service-accounts", null, {
    method: "GET",
    headers: { "x-api-key": key },
  });
  assert.ok(Array.isArray(body.service_accounts));
  assert.deepEqual(body.service_accounts.map(({ id }) => id), [made[0]?.id]);
});

const keys = (who: Principal) => h.w.as(who).identity.apiKeys;
const mint = (who: Principal, scopes: Permission[]) => keys(who).create({ name: "k", scopes });
const withKey = (key: string, path: string, body?: unknown) =>
  h.send(path, body, { method: body ? "POST" : "GET", headers: { "x-api-key": key } });
const account = async (who: Principal, systemRole?: string) =>
  (await accounts(who).create({ displayName: "Nightly import", systemRole })).id;
/** Another role, given or taken as a verb would: every process is told. */
const bind = async (tenantId: string, userId: string, set: string) => {
  await h.sql(`update role_bindings set ${set} where owner_user_id = $1`, [userId]);
  await h.sql("update cache_epochs set epoch = epoch + 1 where tenant_id = $1", [tenantId]);
};
const forAccount = (who: Principal, ownerUserId: string, scopes: Permission[]) =>
  keys(who).create({ name: "k", scopes, ownerUserId });
Deno.test("apiKeys.create makes a service account's key that acts with the account's own rights", async () => {
  const who = await stage();
  const id = await account(who, "auditor");
  const { apiKey, key } = await forAccount(who, id, ["audit.read", "credentials.create"]);
  assert.equal(apiKey.ownerUserId, id);
  await mint(who, ["audit.read"]);
  assert.deepEqual((await keys(who).list({ ownerUserId: id })).apiKeys, [apiKey]);
  assert.equal((await withKey(key, "/audit-entries")).status, 200);
  assert.equal((await withKey(key, "/credentials", {})).status, 403); // The account may not.
});

Deno.test("apiKeys.create refuses a key of another person, and names the way", async () => {
  const who = await stage("owner");
  const other = await h.login(who.tenantId, { role: "member" });
  await assert.rejects(
    forAccount(who, other.userId, ["platforms.read"]),
    reason("api_key.personal"),
  );
  assert.ok(await forAccount(who, who.userId, ["platforms.read"])); // One's own, by name.
  assert.ok(await forAccount(who, await account(who, "member"), ["platforms.read"]));
});

Deno.test("apiKeys.create refuses owners who are not there, not active or somebody else's", async () => {
  const [who, far] = [await stage(), await stage()];
  const missing = { code: "NOT_FOUND" };
  await assert.rejects(forAccount(who, crypto.randomUUID(), ["audit.read"]), missing);
  await assert.rejects(forAccount(who, await account(far), ["audit.read"]), missing);
  await assert.rejects(forAccount(who, far.userId, ["audit.read"]), missing);
  const id = await account(who);
  await h.sql("update users set status = 'suspended' where id = $1", [id]);
  await assert.rejects(forAccount(who, id, ["audit.read"]), reason("user.not_active"));
  await h.sql("update users set status = 'active' where id = $1", [id]);
  assert.ok(await forAccount(who, id, ["audit.read"]));
});

Deno.test("apiKeys.create with self reach makes keys of one's own only", async () => {
  const admin = await stage();
  const member = await h.login(admin.tenantId, { role: "member" });
  const id = await account(admin, "member");
  await assert.rejects(forAccount(member, id, ["platforms.read"]), reason("api_key.not_yours"));
  const unknown = forAccount(member, crypto.randomUUID(), ["platforms.read"]);
  await assert.rejects(unknown, reason("api_key.not_yours"));
  assert.ok(await forAccount(member, member.userId, ["platforms.read"]));
});

Deno.test("apiKeys.create gives nobody the rights of a service account above them", async () => {
  const owner = await stage("owner");
  const admin = await h.login(owner.tenantId, { role: "admin" });
  const [strong, weak] = [await account(owner, "owner"), await account(owner, "admin")];
  const scopes: Permission[] = ["audit.read", "users.read"];
  await assert.rejects(forAccount(admin, strong, scopes), reason("grant.beyond"));
  assert.ok(await forAccount(admin, weak, scopes));
  assert.ok(await forAccount(owner, strong, scopes));
  // What the account will hold counts, and what it would be given some day as well.
  await bind(owner.tenantId, weak, "system_role = 'owner', starts_at = now() + interval '1 year'");
  await assert.rejects(forAccount(admin, weak, scopes), reason("grant.beyond"));
  const auditor = await h.login(owner.tenantId, { role: "auditor" });
  const maker: Principal = {
    ...auditor,
    grants: { "api_keys.create": "tenant", "audit.read": "tenant" },
  };
  const nothing = await account(owner);
  await assert.rejects(
    forAccount(maker, nothing, ["audit.read", "users.create"]),
    reason("api_key.beyond"),
  );
  assert.ok(await forAccount(maker, nothing, ["audit.read"]));
});

Deno.test("apiKeys.create asks a key for what the key holds, not for what its owner does", async () => {
  const owner = await stage("owner");
  const id = await account(owner, "owner");
  const { key } = await mint(owner, ["api_keys.create", "audit.read"]);
  const make = (scopes: string[]) =>
    withKey(key, "/api-keys", { name: "k", scopes, owner_user_id: id });
  const more = await make(["audit.read", "events.read"]);
  assert.deepEqual([more.status, more.body.reason], [403, "api_key.beyond"]);
  assert.equal((await make(["audit.read"])).status, 201);
});

Deno.test("apiKeys.create lets people of a tenant above make keys of service accounts, within what they hold below", async () => {
  const top = await h.tenantBelow();
  const [parent, admin] = [
    await h.login(top, { role: "owner" }),
    await h.login(top, {
      role: "admin",
    }),
  ];
  const tenantId = await h.tenantBelow(top);
  const below = (who: Principal): Principal => ({ ...who, tenantId, userId: null });
  const id = await account(await h.login(tenantId, { role: "owner" }), "admin");
  const { key } = await forAccount(below(parent), id, ["audit.read"]);
  assert.equal((await withKey(key, "/audit-entries")).status, 200);
  // Bound above with tenant reach, which does not count below, whatever their token says.
  await assert.rejects(forAccount(below(admin), id, ["audit.read"]), reason("grant.beyond"));
  await assert.rejects(mint(below(parent), ["audit.read"]), reason("api_key.no_owner"));
});

Deno.test("a key loses what its owner loses, and all of it with its owner", async () => {
  const who = await stage("owner");
  const id = await account(who, "admin");
  const { key } = await forAccount(who, id, ["audit.read"]);
  const status = async () => {
    h.clock.ms += 5_000;
    return (await withKey(key, "/audit-entries")).status;
  };
  assert.equal(await status(), 200);
  await bind(who.tenantId, id, "system_role = 'member'");
  assert.equal(await status(), 403);
  await bind(who.tenantId, id, "system_role = 'auditor'");
  assert.equal(await status(), 200);
  await bind(who.tenantId, id, "revoked_at = now()");
  assert.equal(await status(), 403);
  await bind(who.tenantId, id, "revoked_at = null");
  assert.equal(await status(), 200);
  await h.sql("update users set status = 'suspended' where id = $1", [id]);
  await bind(who.tenantId, id, "system_role = 'admin'");
  assert.equal(await status(), 401);
});

Deno.test.afterAll(() => h.w.close());
