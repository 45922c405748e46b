/** A team's keys chat and do nothing else; they are shown once, rotate with overlap and end. */
import assert from "node:assert/strict";
import { KEY_TTL_MS } from "../../src/access/known_keys.ts";
import { procedures } from "../kit.ts";
import { errorOf, hello, type House, house } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => h.upstream.resetCounts());
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const statusOf = async (key: string, user?: string) => {
  const headers: Record<string, string> = user ? { "x-session-user": user } : {};
  const response = await h.post(key, hello, { headers });
  await response.body?.cancel();
  return response.status;
};

Deno.test("a team's keys are shown once, with S3's warning, and say who made them", async () => {
  const { admin, id, key, made, tenantId } = await h.team({ displayName: "Shown once" });
  assert.equal(made.warning, "Save this API key securely. It will not be shown again.");
  const keys = h.w.as(admin).teams.teamKeys;
  const { teamKeys: [first] } = await keys.list({ teamId: id });
  assert.deepEqual([first?.id, first?.name], [made.apiKeyId, "Auto-generated for Shown once"]);
  assert.equal(first?.createdBy, admin.userId);
  const other = await keys.create({ teamId: id, name: "The app's" });
  assert.equal(other.warning, made.warning);
  assert.equal(await statusOf(other.key), 200);
  const told = JSON.stringify([
    await keys.list({ teamId: id }),
    await h.sql("select diff from audit_entries where tenant_id = $1", [tenantId]),
    await h.sql("select data from events where tenant_id = $1", [tenantId]),
    h.lines,
  ]);
  for (const secret of [key, other.key].map((text) => text.split("_").at(-1) ?? "")) {
    assert.ok(secret.length > 20 && !told.includes(secret));
  }
});

Deno.test("a team's key is refused everywhere but chat, whatever it asks", async () => {
  const { key, admin } = await h.team();
  const may = new Set(["chat.send", "chat.read"]);
  const refused: string[] = [];
  for (const { path, permission, type } of procedures()) {
    if (!permission || may.has(permission) || type === "subscription") continue;
    const method = type === "mutation" ? "POST" : "GET";
    const response = await h.w.hono.fetch(
      new Request(`${h.w.env.PUBLIC_URL}/trpc/${path}`, {
        method,
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        ...method === "POST" ? { body: "{}" } : {},
      }),
    );
    assert.equal(response.status, 403, `${path}: ${await response.text()}`);
    refused.push(path);
  }
  assert.ok(refused.length > 100 && refused.includes("teams.teamKeys.list"));
  const models = await h.get(key, "/v1/models");
  assert.equal(models.status, 200);
  // And the other way round: a person's key is no team's.
  const { key: own } = await h.w.as(admin).identity.apiKeys.create({
    name: "Mine",
    scopes: ["chat.send"],
  });
  const { status, code } = await errorOf(await h.post(own, hello));
  assert.deepEqual([status, code], [403, "forbidden"]);
});

Deno.test("team_keys.rotate lets the next key take over the conversations, with an overlap", async () => {
  const { admin, id, key, made } = await h.team();
  const { teamKeys } = h.w.as(admin).teams;
  assert.equal(await statusOf(key, "ada"), 200);
  const next = await teamKeys.rotate({ teamId: id, id: made.apiKeyId, overlapSeconds: 3_600 });
  assert.deepEqual([next.teamKey.rotatedFromId, next.teamKey.name], [
    made.apiKeyId,
    `Auto-generated for ${made.displayName}`,
  ]);
  assert.deepEqual([await statusOf(key, "ada"), await statusOf(next.key, "ada")], [200, 200]);
  const rotate = () => teamKeys.rotate({ teamId: id, id: made.apiKeyId });
  await assert.rejects(rotate, /Another key took over/);
  // The third of the line inherits from the first as well.
  const third = await teamKeys.rotate({ teamId: id, id: next.teamKey.id, overlapSeconds: 0 });
  assert.equal(await statusOf(third.key, "ada"), 200);
  assert.equal(await statusOf(next.key, "ada"), 401);
  h.clock.aheadMs += 3_601_000;
  assert.equal(await statusOf(key, "ada"), 401);
  h.clock.aheadMs = 0;
  // A key that was made beside it inherits nothing.
  const other = await teamKeys.create({ teamId: id, name: "Beside" });
  assert.equal(await statusOf(other.key, "ada"), 403);
});

Deno.test("team_keys.revoke ends a key at once here, and lets no request through after it", async () => {
  const { admin, id, key, made } = await h.team();
  const { teamKeys } = h.w.as(admin).teams;
  assert.equal(await statusOf(key), 200);
  const revoked = await teamKeys.revoke({ teamId: id, id: made.apiKeyId });
  assert.ok(revoked.revokedAt);
  h.upstream.resetCounts();
  const response = await h.post(key, hello);
  const { status, code, retry } = await errorOf(response);
  assert.deepEqual([status, code, retry], [401, "invalid_api_key", "false"]);
  h.clock.aheadMs += KEY_TTL_MS + 1;
  assert.equal(await statusOf(key), 401);
  h.clock.aheadMs = 0;
  assert.equal(h.upstream.calls.length, 0);
  // Its last use is written behind the answer, by now or later.
  const again = await teamKeys.revoke({ teamId: id, id: made.apiKeyId });
  assert.deepEqual({ ...again, lastUsedAt: null }, { ...revoked, lastUsedAt: null });
  await assert.rejects(
    () => teamKeys.rotate({ teamId: id, id: made.apiKeyId }),
    /stays revoked/,
  );
});

Deno.test("team_keys end when they say so, and are found under their own team alone", async () => {
  const [one, other] = [await h.team(), await h.team()];
  const { teamKeys } = h.w.as(one.admin).teams;
  const past = new Date(Date.now() - 1_000);
  await assert.rejects(
    () => teamKeys.create({ teamId: one.id, name: "Late", expiresAt: past }),
    /time to come/,
  );
  const expiresAt = new Date(Date.now() + 60_000);
  const short = await teamKeys.create({ teamId: one.id, name: "Short", expiresAt });
  assert.equal(await statusOf(short.key), 200);
  h.clock.aheadMs = 61_000;
  assert.equal(await statusOf(short.key), 401);
  h.clock.aheadMs = 0;
  const sibling = await h.team({}, one.admin);
  for (const teamId of [sibling.id, other.id]) {
    await assert.rejects(() => teamKeys.revoke({ teamId, id: one.made.apiKeyId }), /No such/);
    await assert.rejects(() => teamKeys.rotate({ teamId, id: one.made.apiKeyId }), /No such/);
  }
  await assert.rejects(() => teamKeys.create({ teamId: other.id, name: "Theirs" }), /No such team/);
  await assert.rejects(() => teamKeys.list({ teamId: other.id }), /No such team/);
});
