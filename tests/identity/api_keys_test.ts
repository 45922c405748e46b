/** API keys: shown once, kept as a hash, and never worth more than who made them. */
import assert from "node:assert/strict";
import { hashSecret, readKey } from "../../src/access/key_text.ts";
import type { Permission } from "../../src/access/permissions.ts";
import { systemRoles } from "../../src/access/roles.ts";
import type { Principal } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import { entriesOf } from "../../routers/procedures.ts";
import { appRouter } from "../../routers/mod.ts";
import { home, minutes } from "./house.ts";

const h = await home();
const stage = async (role = "admin") => await h.login(await h.tenantBelow(), { role });
const keys = (who: Principal) => h.w.as(who).identity.apiKeys;
const mint = (who: Principal, scopes: Permission[], more: { expiresAt?: Date } = {}) =>
  keys(who).create({ name: "k", scopes, ...more });

/** Sends as REST does, with the key. */
const withKey = (key: string, path: string, body?: unknown) =>
  h.send(path, body, { method: body ? "POST" : "GET", headers: { "x-api-key": key } });

Deno.test("apiKeys.create shows the key once and keeps its hash alone", async () => {
  const who = await stage();
  const { apiKey, key, warning } = await mint(who, ["audit.read", "audit.read"]);
  const read = readKey(key);
  assert.equal(read?.id, apiKey.id);
  assert.match(key, /^sb_test_/);
  assert.match(warning, /not be shown again/);
  assert.deepEqual([apiKey.scopes, apiKey.hint], [["audit.read"], key.slice(-4)]);
  const [row] = await h.sql("select secret_hash from api_keys where id = $1", [apiKey.id]);
  assert.equal(row?.secret_hash, await hashSecret(read?.secret ?? ""));
  const everywhere = await h.sql(`select to_jsonb(k)::text as text from api_keys k
    union all select diff::text from audit_entries union all select data::text from events`);
  const said = [...everywhere.map(({ text }) => String(text)), ...h.lines];
  said.push(
    JSON.stringify(await keys(who).list({})),
    JSON.stringify(await keys(who).revoke({ id: apiKey.id })),
  );
  assert.ok(!said.some((text) => text.includes(key) || text.includes(read?.secret ?? "-")));
});

Deno.test("apiKeys.revoke ends nothing under a stale If-Match", async () => {
  const who = await stage();
  const { apiKey: { id, updatedAt } } = await mint(who, ["audit.read"]);
  const under = (at: Date) =>
    h.w.as(who, { ifMatch: etagOf(id, at) }).identity.apiKeys.revoke({ id });
  await assert.rejects(under(new Date(updatedAt.getTime() - 1)), /changed since/);
  assert.equal((await keys(who).list({})).apiKeys[0]?.revokedAt, null);
  assert.ok((await under(updatedAt)).revokedAt);
  await assert.rejects(under(updatedAt), /changed since/);
});

Deno.test("apiKeys.create refuses scopes beyond the creator's, and names the field", async () => {
  const who = await stage("member");
  const refused = await h.send(
    "/api-keys",
    { name: "k", scopes: ["audit.read", "platforms.read"] },
    {
      headers: { authorization: `Bearer ${await h.w.token(who)}` },
    },
  );
  assert.deepEqual([refused.status, refused.body.reason], [403, "api_key.beyond"]);
  assert.deepEqual(refused.body.errors, [{
    field: "scopes",
    message: "Give only permissions you hold",
  }]);
  assert.match(String(refused.body.detail), /audit\.read/);
  assert.equal(
    (await h.sql("select 1 from api_keys where owner_user_id = $1", [who.userId])).length,
    0,
  );
});

Deno.test("apiKeys.create refuses scopes, times and owners that make no sense", async () => {
  const who = await stage();
  const token = { authorization: `Bearer ${await h.w.token(who)}` };
  const post = (body: unknown) => h.send("/api-keys", body, { headers: token });
  const odd: [unknown, string][] = [
    [{ name: "k", scopes: [] }, "scopes"],
    [{ name: "k", scopes: ["no.such"] }, "scopes.0"],
    [{ name: "k", scopes: ["constructor"] }, "scopes.0"],
    [{ name: " ", scopes: ["audit.read"] }, "name"],
    [
      { name: "k", scopes: ["audit.read"], expires_at: new Date(h.clock.ms - 1).toISOString() },
      "expires_at",
    ],
    [{ name: "k", scopes: ["audit.read"], owner_user_id: "me" }, "owner_user_id"],
    [{ name: "k", scopes: ["audit.read"], tenant_id: who.tenantId }, "tenant_id"],
  ];
  for (const [body, field] of odd) {
    const answer = await post(body);
    assert.equal(answer.status, 400, field);
    assert.match(JSON.stringify(answer.body.errors), new RegExp(`"field":"${field}"`));
  }
});

Deno.test("a key keeps its owner's reach: self stays self", async () => {
  const member = await stage("member");
  const admin = await h.login(member.tenantId, { role: "admin" });
  const [mine, theirs] = [
    await mint(member, ["api_keys.read"]),
    await mint(admin, ["api_keys.read"]),
  ];
  const seen = async (key: string) => {
    const { body } = await withKey(key, "/api-keys");
    return Array.isArray(body.api_keys) ? body.api_keys.length : -1;
  };
  assert.deepEqual([await seen(mine.key), await seen(theirs.key)], [1, 2]);
  const other = await h.send(`/api-keys/${theirs.apiKey.id}/revoke`, {}, {
    headers: { authorization: `Bearer ${await h.w.token(member)}` },
  });
  assert.equal(other.status, 404);
});

Deno.test("a key makes no key that can do more, or lives longer, than it does", async () => {
  const who = await stage();
  const expiresAt = new Date(h.clock.ms + minutes(60));
  const { key, apiKey } = await mint(who, ["api_keys.create", "audit.read"], { expiresAt });
  const make = (body: Record<string, unknown>) => withKey(key, "/api-keys", { name: "k", ...body });
  const soon = { expires_at: new Date(h.clock.ms + minutes(59)).toISOString() };
  const more = await make({ scopes: ["audit.read", "credentials.create"], ...soon });
  assert.deepEqual([more.status, more.body.reason], [403, "api_key.beyond"]);
  for (
    const longer of [{}, { expires_at: null }, { expires_at: new Date(expiresAt.getTime() + 1) }]
  ) {
    const answer = await make({ scopes: ["audit.read"], ...longer });
    assert.deepEqual([answer.status, answer.body.reason], [403, "api_key.beyond"]);
    assert.match(JSON.stringify(answer.body.errors), /"field":"expires_at"/);
  }
  const made = await make({ scopes: ["audit.read"], ...soon });
  assert.equal(made.status, 201);
  assert.equal((await withKey(String(made.body.key), "/audit-entries")).status, 200);
  assert.equal((await withKey(key, "/audit-entries")).status, 200);
  // Not announced: this process still knows the key.
  await h.sql("update api_keys set revoked_at = now() where id = $1", [apiKey.id]);
  const late = await make({ scopes: ["audit.read"], ...soon });
  assert.deepEqual([late.status, late.body.reason], [401, "api_key.revoked"]);
});

Deno.test("apiKeys.revoke is written once, and the second time answers the same", async () => {
  const who = await stage();
  const { apiKey: { id } } = await mint(who, ["audit.read"]);
  const before = (await h.trail(who.tenantId)).length;
  const first = await keys(who).revoke({ id });
  h.clock.ms += 1_000;
  assert.deepEqual(await keys(who).revoke({ id }), first);
  const written = (await h.trail(who.tenantId)).slice(before);
  assert.deepEqual(written.map(({ action }) => action), ["api_key.revoked"]);
});

Deno.test("apiKeys answers nobody of another tenant, with self reach, as if there were none", async () => {
  const who = await stage();
  const { apiKey: { id } } = await mint(who, ["audit.read"]);
  const visitor: Principal = {
    actor: { type: "user", tenantId: h.w.operator.tenantId, id: h.w.operator.userId },
    tenantId: who.tenantId,
    userId: null,
    sessionId: null,
    grants: { ...systemRoles.member },
  };
  assert.deepEqual((await keys(visitor).list({})).apiKeys, []);
  await assert.rejects(keys(visitor).revoke({ id }), { code: "NOT_FOUND" });
  await assert.rejects(mint(visitor, ["platforms.read"]), { code: "FORBIDDEN" });
});

Deno.test("apiKeys.get answers with self reach one's own alone", async () => {
  const admin = await stage();
  const member = await h.login(admin.tenantId, { role: "member" });
  const [mine, theirs] = [
    await mint(member, ["platforms.read"]),
    await mint(admin, ["platforms.read"]),
  ];
  assert.deepEqual(await keys(member).get({ id: mine.apiKey.id }), mine.apiKey);
  assert.deepEqual(await keys(admin).get({ id: mine.apiKey.id }), mine.apiKey);
  const missing = { code: "NOT_FOUND" };
  await assert.rejects(keys(member).get({ id: theirs.apiKey.id }), missing);
  await assert.rejects(keys(await stage()).get({ id: mine.apiKey.id }), missing);
  await assert.rejects(keys(member).update({ id: theirs.apiKey.id, name: "n" }), missing);
});

Deno.test("apiKeys.update renames and changes nothing else, and nothing when nothing differs", async () => {
  const who = await stage();
  const { apiKey: { id, updatedAt, ...rest } } = await mint(who, ["audit.read"]);
  const before = (await h.trail(who.tenantId)).length;
  const renamed = await keys(who).update({ id, name: " Import " });
  assert.deepEqual(renamed, { ...rest, id, name: "Import", updatedAt: renamed.updatedAt });
  assert.ok(renamed.updatedAt > updatedAt);
  assert.deepEqual(await keys(who).update({ id, name: "Import" }), renamed);
  assert.deepEqual(await keys(who).update({ id }), renamed);
  const written = (await h.trail(who.tenantId)).slice(before);
  assert.deepEqual(written.map(({ action }) => action), ["api_key.updated"]);
  const stale = h.w.as(who, { ifMatch: etagOf(id, updatedAt) }).identity.apiKeys;
  await assert.rejects(stale.update({ id, name: "Export" }), /changed since/);
  const refused = await h.send(`/api-keys/${id}`, { scopes: ["users.read"] }, {
    method: "PUT",
    headers: { authorization: `Bearer ${await h.w.token(who)}` },
  });
  assert.equal(refused.status, 400);
});

Deno.test("no procedure takes from its input who is asking, or for which tenant", () => {
  // What is asked about, not who asks. Each verb checks that it is the caller's to name.
  const documented: Record<string, string[]> = {
    "platforms.services.register": ["tenantId"], // S1 sends it: it must be the token's.
    "platforms.services.get": ["tenantId"],
    "platforms.services.update": ["tenantId"],
    "platforms.services.deactivate": ["tenantId"],
    "platforms.services.activate": ["tenantId"],
    "platforms.services.list": ["tenantId"],
    "platforms.credentials.create": ["ownerUserId"], // Whose client it is.
    "platforms.bindings.list": ["userId"], // Filters, here and in every list.
    "identity.apiKeys.list": ["ownerUserId"],
    "identity.foreignIds.list": ["userId"],
    "identity.groups.list": ["userId"],
    "identity.roleBindings.list": ["userId"],
    "identity.sessions.list": ["userId"],
    "identity.apiKeys.create": ["ownerUserId"], // A service account's, within what the caller holds.
    "identity.auth.exchange": ["tenantId"], // Where to act: what the caller holds there is looked up.
    "identity.access.check": ["tenantId", "userId"], // Who and where the question is about.
    "identity.access.list": ["tenantId", "userId"],
    "identity.access.explain": ["tenantId", "userId"],
    "identity.groupMembers.add": ["userId"], // To whom something is done.
    "identity.groupMembers.update": ["userId"],
    "identity.groupMembers.remove": ["userId"],
    "identity.roleBindings.create": ["userId"],
    "identity.sessions.revokeAll": ["userId"],
    "identity.secondFactor.reset": ["userId"],
    "chat.send": ["userId"], // Whom it is said for, as the caller's own platform names them.
    "chat.sessions.list": ["userId"],
    "teams.usage.list": ["userId"],
  };
  for (const { path, input } of entriesOf(appRouter)) {
    if (!input) continue;
    for (
      const name of ["principal", "actor", "tenantId", "userId", "ownerUserId", "grants", "reach"]
    ) {
      const result = input.safeParse({ [name]: "x" });
      const issues = result.success ? [] : result.error.issues;
      const isUnknown = issues.some((issue) =>
        issue.code === "unrecognized_keys" && issue.keys.includes(name)
      );
      assert.ok(
        isUnknown || documented[path]?.includes(name),
        `${path} reads ${name} from its input`,
      );
    }
  }
});

Deno.test("headers count before everything else, and only those that are ours", async () => {
  const who = await stage();
  const { key } = await mint(who, ["users.read"]);
  const token = `Bearer ${await h.w.token(who)}`;
  const me = (headers: Record<string, string>) =>
    h.send("/auth/me", null, { method: "GET", headers });
  const cases: [Record<string, string>, number][] = [
    [{ authorization: token }, 200],
    [{ "x-api-key": key }, 200],
    [{ authorization: `Bearer ${key}` }, 200],
    [{ authorization: token, "x-api-key": "sb_rubbish" }, 200],
    [{ authorization: "Bearer rubbish", "x-api-key": key }, 401],
    [{ authorization: "Basic YTpi", "x-api-key": key }, 401],
    [{ authorization: "Bearer ", "x-api-key": key }, 401],
    [{ "x-api-key": token }, 401],
    [{ cookie: `access_token=${token}` }, 401],
    [{ "x-user-id": who.userId, "x-tenant-id": who.tenantId }, 401],
  ];
  for (const [headers, status] of cases) {
    assert.equal((await me(headers)).status, status, JSON.stringify(headers).slice(0, 60));
  }
});

Deno.test.afterAll(() => h.w.close());
