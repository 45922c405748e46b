/** Rotating a key: two hold for a while, one of them for good, and nobody gains by it. */
import assert from "node:assert/strict";
import type { Permission } from "../../src/access/permissions.ts";
import type { Principal } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import { type Home, home, minutes } from "./house.ts";
import { onServer } from "./on_server.ts";

const h = await home();
const DAY = minutes(24 * 60);
const stage = async (role = "admin") => await h.login(await h.tenantBelow(), { role });
const keys = (who: Principal) => h.w.as(who).identity.apiKeys;
const mint = (
  who: Principal,
  scopes: Permission[] = ["audit.read"],
  more: { expiresAt?: Date; ownerUserId?: string } = {},
) => keys(who).create({ name: "k", scopes, ...more });
const rotate = (who: Principal, id: string, overlapSeconds?: number) =>
  keys(who).rotate({ id, overlapSeconds });
const account = async (who: Principal, systemRole: string) =>
  (await h.w.as(who).identity.serviceAccounts.create({ displayName: "Import", systemRole })).id;

const statusOf = async (key: string, path = "/audit-entries") =>
  (await h.send(path, null, { method: "GET", headers: { "x-api-key": key } })).status;
const rotateWith = (key: string, id: string, body: Record<string, unknown> = {}) =>
  h.send(`/api-keys/${id}/rotate`, body, { headers: { "x-api-key": key } });
const reason = (reason: string) => (error: unknown) => {
  assert.equal(Reflect.get(Object(Reflect.get(Object(error), "cause")), "reason"), reason);
  return true;
};

Deno.test("apiKeys.rotate makes a key like the one before, and both hold for the overlap", async () => {
  const who = await stage();
  const first = await mint(who, ["audit.read", "events.read"]);
  const second = await rotate(who, first.apiKey.id, 60);
  const { ownerUserId, name, scopes } = first.apiKey;
  assert.deepEqual(
    { ...second.apiKey, id: "", hint: "", createdAt: "", updatedAt: "" },
    {
      ...{ ...first.apiKey, id: "", hint: "", createdAt: "", updatedAt: "" },
      ...{ ownerUserId, name, scopes, rotatedFromId: first.apiKey.id },
    },
  );
  assert.notEqual(second.key, first.key);
  assert.equal(second.previousExpiresAt.getTime(), h.clock.ms + 60_000);
  assert.deepEqual([await statusOf(first.key), await statusOf(second.key)], [200, 200]);
  h.clock.ms += 60_000 - 1;
  assert.deepEqual([await statusOf(first.key), await statusOf(second.key)], [200, 200]);
  h.clock.ms++;
  assert.deepEqual([await statusOf(first.key), await statusOf(second.key)], [401, 200]);
});

Deno.test("apiKeys.rotate leaves the old key a day unless told, at most seven, and none for 0", async () => {
  const who = await stage();
  const ends = async (overlapSeconds?: number) => {
    const { apiKey, key } = await mint(who);
    assert.equal(await statusOf(key), 200);
    const { previousExpiresAt } = await rotate(who, apiKey.id, overlapSeconds);
    assert.deepEqual((await keys(who).get({ id: apiKey.id })).expiresAt, previousExpiresAt);
    return [previousExpiresAt.getTime() - h.clock.ms, await statusOf(key)];
  };
  assert.deepEqual(await ends(), [DAY, 200]);
  assert.deepEqual(await ends(7 * 86_400), [7 * DAY, 200]);
  assert.deepEqual(await ends(0), [0, 401]);
  for (const odd of [7 * 86_400 + 1, -1, 1.5]) {
    await assert.rejects(ends(odd), { code: "BAD_REQUEST" });
  }
});

Deno.test("apiKeys.rotate gives the new key the end of the old, and lengthens neither", async () => {
  const who = await stage();
  const far = new Date(h.clock.ms + 30 * DAY);
  const one = await mint(who, ["audit.read"], { expiresAt: far });
  const two = await rotate(who, one.apiKey.id, 60);
  assert.deepEqual(two.apiKey.expiresAt, far);
  const near = new Date(h.clock.ms + 1_000);
  const brief = await mint(who, ["audit.read"], { expiresAt: near });
  const { apiKey, previousExpiresAt } = await rotate(who, brief.apiKey.id);
  assert.deepEqual([apiKey.expiresAt, previousExpiresAt], [near, near]);
});

Deno.test("apiKeys.rotate refuses a key that is revoked or has expired", async () => {
  const who = await stage();
  const expiresAt = new Date(h.clock.ms + 1_000);
  const [gone, late] = [await mint(who), await mint(who, ["audit.read"], { expiresAt })];
  await keys(who).revoke({ id: gone.apiKey.id });
  await assert.rejects(rotate(who, gone.apiKey.id), reason("api_key.revoked"));
  h.clock.ms = expiresAt.getTime();
  await assert.rejects(rotate(who, late.apiKey.id), reason("api_key.expired"));
});

Deno.test("apiKeys.rotate gives one successor, and another in its place only if it is revoked unfollowed", async () => {
  const who = await stage();
  const expiresAt = new Date(h.clock.ms + 30 * DAY);
  const { apiKey: { id } } = await mint(who, ["audit.read"], { expiresAt });
  const lost = await rotate(who, id);
  await assert.rejects(rotate(who, id), reason("api_key.already_rotated"));
  await keys(who).revoke({ id: lost.apiKey.id });
  const second = await rotate(who, id);
  assert.deepEqual(second.apiKey.expiresAt, expiresAt); // Not the day that was left to the old one.
  assert.equal(second.apiKey.rotatedFromId, id);
  await rotate(who, second.apiKey.id);
  await keys(who).revoke({ id: second.apiKey.id });
  await assert.rejects(rotate(who, id), reason("api_key.already_rotated"));
});

Deno.test("apiKeys.rotate takes the key's networks along", async () => {
  const who = await stage();
  const first = await mint(who);
  const { clientAccess } = h.w.as(who).identity;
  for (const network of ["198.51.100.0/24", "2001:db8::/32"]) {
    await clientAccess.create({ network, apiKeyId: first.apiKey.id, description: network });
  }
  const { apiKey, key } = await rotate(who, first.apiKey.id);
  const { clientAccess: copied } = await clientAccess.list({ apiKeyId: apiKey.id });
  assert.deepEqual(
    copied.map(({ network, description }) => [network, description]).sort(),
    [["198.51.100.0/24", "198.51.100.0/24"], ["2001:db8::/32", "2001:db8::/32"]],
  );
  const from = async (address: string) =>
    (await h.send("/audit-entries", null, {
      method: "GET",
      headers: { "x-api-key": key },
      address,
    })).status;
  assert.deepEqual([await from("198.51.100.9"), await from("203.0.113.9")], [200, 403]);
});

Deno.test("apiKeys.rotate shows nobody a key of somebody else's", async () => {
  const owner = await stage("owner");
  const [admin, member] = [
    await h.login(owner.tenantId, { role: "admin" }),
    await h.login(owner.tenantId, { role: "member" }),
  ];
  const personal = await mint(member, ["platforms.read"]);
  await assert.rejects(rotate(owner, personal.apiKey.id), reason("api_key.personal"));
  const [weak, strong] = [await account(owner, "member"), await account(owner, "owner")];
  const ofWeak = await mint(owner, ["platforms.read"], { ownerUserId: weak });
  const ofStrong = await mint(owner, ["users.read"], { ownerUserId: strong });
  await assert.rejects(rotate(member, ofWeak.apiKey.id), { code: "NOT_FOUND" });
  await assert.rejects(rotate(admin, ofStrong.apiKey.id), reason("grant.beyond"));
  assert.ok(await rotate(admin, ofWeak.apiKey.id));
  assert.ok(await rotate(owner, ofStrong.apiKey.id));
  assert.ok(await rotate(member, personal.apiKey.id));
});

Deno.test("a key rotates itself when its scopes say so, whatever its owner has lost since", async () => {
  const who = await stage();
  const { key, apiKey } = await mint(who, ["api_keys.rotate", "audit.read", "credentials.create"]);
  await h.sql("update role_bindings set system_role = 'member' where owner_user_id = $1", [
    who.userId,
  ]);
  await h.sql("update cache_epochs set epoch = epoch + 1 where tenant_id = $1", [who.tenantId]);
  const { status, body } = await rotateWith(key, apiKey.id, { overlap_seconds: 0 });
  assert.equal(status, 201, JSON.stringify(body));
  assert.deepEqual(Object(body.api_key).scopes, apiKey.scopes);
  assert.equal(await statusOf(key, "/platforms"), 401);
  assert.equal(await statusOf(String(body.key)), 403);
  const without = await mint(who, ["platforms.read"]);
  assert.equal((await rotateWith(without.key, without.apiKey.id)).status, 403);
});

Deno.test("a key rotates no other that can do more, or lives longer, than it does", async () => {
  const who = await stage();
  const expiresAt = new Date(h.clock.ms + DAY);
  const { key } = await mint(who, ["api_keys.rotate", "audit.read"], { expiresAt });
  const wider = await mint(who, ["audit.read", "events.read"], { expiresAt });
  const longer = await mint(who, ["audit.read"]);
  const same = await mint(who, ["audit.read"], { expiresAt });
  for (const { apiKey } of [wider, longer]) {
    const { status, body } = await rotateWith(key, apiKey.id);
    assert.deepEqual([status, body.reason], [403, "api_key.beyond"]);
  }
  assert.equal((await rotateWith(key, same.apiKey.id)).status, 201);
});

Deno.test("apiKeys.rotate heeds If-Match, and is written once without a secret", async () => {
  const who = await stage();
  const { apiKey: { id, updatedAt } } = await mint(who);
  const under = (at: Date) => h.w.as(who, { ifMatch: etagOf(id, at) }).identity.apiKeys;
  await assert.rejects(under(new Date(updatedAt.getTime() - 1)).rotate({ id }), /changed since/);
  const before = (await h.trail(who.tenantId)).length;
  const { key, apiKey } = await under(updatedAt).rotate({ id });
  const written = (await h.trail(who.tenantId)).slice(before);
  assert.deepEqual(written.map(({ action, subject_id }) => [action, subject_id]), [
    ["api_key.rotated", id],
  ]);
  const said = (await h.sql(`select diff::text as text from audit_entries
    union all select data::text from events`)).map(({ text }) => String(text)).join();
  assert.ok(said.includes(apiKey.id) && !said.includes(key.slice(-38)));
});

async function onPostgres(work: (h: Home) => Promise<void>) {
  const server = await onServer();
  const h = await home(server.ground());
  await work(h).finally(async () => {
    await h.w.close();
    await server.close();
  });
}

Deno.test("apiKeys.rotate gives twenty at once one successor, and none to a key that is revoked meanwhile", () =>
  onPostgres(async (h) => {
    const who = await h.login(await h.tenantBelow(), { role: "admin" });
    const { apiKeys } = h.w.as(who).identity;
    for (let round = 0; round < 5; round++) {
      const { apiKey: { id } } = await apiKeys.create({ name: "k", scopes: ["audit.read"] });
      const all = await Promise.allSettled(
        Array.from({ length: 20 }, () => h.w.as(who).identity.apiKeys.rotate({ id })),
      );
      assert.equal(all.filter(({ status }) => status === "fulfilled").length, 1);
      for (const one of all) {
        if (one.status === "rejected") reason("api_key.already_rotated")(one.reason);
      }
      const { apiKey: { id: other } } = await apiKeys.create({ name: "k", scopes: ["audit.read"] });
      const [ended, rotated] = await Promise.allSettled([
        h.w.as(who).identity.apiKeys.revoke({ id: other }),
        h.w.as(who).identity.apiKeys.rotate({ id: other }),
      ]);
      assert.equal(ended.status, "fulfilled");
      if (rotated.status === "rejected") reason("api_key.revoked")(rotated.reason);
    }
    const rows = await h.sql(`select rotated_from_id from api_keys
      where rotated_from_id is not null group by rotated_from_id having count(*) > 1`);
    assert.equal(rows.length, 0);
  }));

Deno.test.afterAll(() => h.w.close());
