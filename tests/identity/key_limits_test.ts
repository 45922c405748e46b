/** What a key, or a power over other people's keys, does not reach: other networks, those above, those shut out. */
import assert from "node:assert/strict";
import type { Permission } from "../../src/access/permissions.ts";
import type { Principal } from "../../src/context.ts";
import { home } from "./house.ts";

const h = await home();
const stage = async (role = "admin") => await h.login(await h.tenantBelow(), { role });
const keys = (who: Principal) => h.w.as(who).identity.apiKeys;
const mint = (who: Principal, scopes: Permission[], ownerUserId?: string) =>
  keys(who).create({ name: "k", scopes, ownerUserId });
const reason = (reason: string) => (error: unknown) => {
  assert.equal(Reflect.get(Object(Reflect.get(Object(error), "cause")), "reason"), reason);
  return true;
};

const [INSIDE, OUTSIDE] = ["10.1.1.1", "203.0.113.77"];
const withKey = (key: string, address: string, path: string, body?: unknown) =>
  h.send(path, body, {
    address,
    method: body ? "POST" : "GET",
    headers: { "x-api-key": key },
  });
const reachOf = async (key: unknown) => [
  (await withKey(String(key), INSIDE, "/users")).status,
  (await withKey(String(key), OUTSIDE, "/users")).status,
];

/** A key that is used from `10.0.0.0/8` alone. */
async function bound(who: Principal, scopes: Permission[]) {
  const made = await mint(who, scopes);
  const network = { apiKeyId: made.apiKey.id, network: "10.0.0.0/8" };
  await h.w.as(who).identity.clientAccess.create(network);
  return made;
}

Deno.test("a key bound to networks makes a key bound to them", async () => {
  const who = await stage();
  const { key } = await bound(who, ["api_keys.create", "users.read"]);
  const make = (key: string) =>
    withKey(key, INSIDE, "/api-keys", { name: "n", scopes: ["users.read"] });
  const { status, body } = await make(key);
  assert.equal(status, 201);
  assert.deepEqual(await reachOf(body.key), [200, 403]);
  const free = await mint(who, ["api_keys.create", "users.read"]);
  assert.deepEqual(await reachOf((await make(free.key)).body.key), [200, 200]);
});

Deno.test("a key bound to networks hands them on to the key it rotates, itself or another", async () => {
  const who = await stage();
  const rotate = (key: string, id: string) =>
    withKey(key, INSIDE, `/api-keys/${id}/rotate`, { overlap_seconds: 60 });
  const { key, apiKey } = await bound(who, ["api_keys.rotate", "users.read"]);
  const [first, second] = [await mint(who, ["users.read"]), await mint(who, ["users.read"])];
  assert.deepEqual(await reachOf((await rotate(key, first.apiKey.id)).body.key), [200, 403]);
  assert.deepEqual(await reachOf((await rotate(key, apiKey.id)).body.key), [200, 403]);
  const free = await mint(who, ["api_keys.rotate", "users.read"]);
  assert.deepEqual(await reachOf((await rotate(free.key, second.apiKey.id)).body.key), [200, 200]);
});

Deno.test("apiKeys.revoke and update leave the keys of those who hold more alone", async () => {
  const owner = await stage("owner");
  const admin = await h.login(owner.tenantId, { role: "admin" });
  const member = await h.login(owner.tenantId);
  const { id: account } = await h.w.as(owner).identity.serviceAccounts
    .create({ displayName: "Import", systemRole: "owner" });
  const theirs = [await mint(owner, ["users.read"]), await mint(owner, ["users.read"], account)];
  for (const { apiKey: { id, updatedAt } } of theirs) {
    await assert.rejects(keys(admin).revoke({ id }), reason("grant.beyond"));
    await assert.rejects(keys(admin).update({ id, name: "mine" }), reason("grant.beyond"));
    const kept = await keys(owner).get({ id });
    assert.deepEqual([kept.revokedAt, kept.updatedAt], [null, updatedAt]);
    assert.equal((await keys(owner).update({ id, name: "ours" })).name, "ours");
    assert.ok((await keys(owner).revoke({ id })).revokedAt);
  }
  const { apiKey: { id } } = await mint(member, ["platforms.read"]);
  assert.equal((await keys(admin).update({ id, name: "theirs" })).name, "theirs");
  assert.ok((await keys(admin).revoke({ id })).revokedAt);
});

Deno.test("apiKeys.rotate ends no key of a service account that holds more, however small the key", async () => {
  const owner = await stage("owner");
  const admin = await h.login(owner.tenantId, { role: "admin" });
  const { id: account } = await h.w.as(owner).identity.serviceAccounts
    .create({ displayName: "Import", systemRole: "owner" });
  const { apiKey: { id } } = await mint(owner, ["sign_in.update"], account);
  await assert.rejects(keys(admin).rotate({ id, overlapSeconds: 0 }), reason("grant.beyond"));
  assert.ok(await keys(owner).rotate({ id, overlapSeconds: 0 }));
});

Deno.test("apiKeys.create gives no key to a user who is deactivated, whatever their token says", async () => {
  const owner = await stage("owner");
  const member = await h.login(owner.tenantId);
  const { users } = h.w.as(owner).identity;
  assert.ok(await mint(member, ["users.read"]));
  await users.deactivate({ id: member.userId });
  await assert.rejects(mint(member, ["users.read"]), reason("user.not_active"));
  const left = await h.sql(
    "select 1 from api_keys where owner_user_id = $1 and revoked_at is null",
    [member.userId],
  );
  assert.equal(left.length, 0);
  await users.activate({ id: member.userId });
  assert.ok(await mint(member, ["users.read"]));
});

Deno.test.afterAll(() => h.w.close());
