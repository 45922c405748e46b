/** Staying signed in: one step a time for honest clients, an end for thieves, and out when one says so. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { ROOT_TENANT } from "../../src/topics.ts";
import { elsewhere, home, minutes } from "./house.ts";

const h = await home();
const SECOND = 1_000;

async function signedIn(role = "member") {
  const who = await h.login(await h.tenantBelow(), { role });
  const { email, password, tenantId } = who;
  const { body } = await h.send("/auth/sign-in", { email, password }, { address: elsewhere() });
  const [row] = await h.sql("select id from sessions where owner_user_id = $1", [who.userId]);
  const trail = (await h.trail(tenantId)).length;
  return {
    ...who,
    sessionId: String(row?.id),
    first: String(body.refresh_token),
    access: String(body.access_token),
    /** What was written since the sign-in. */
    since: async () => (await h.trail(tenantId)).slice(trail).map(({ action }) => action),
  };
}
const refresh = (token: string) => h.send("/auth/refresh", { refresh_token: token });
const session = async (id: string) =>
  (await h.sql("select * from sessions where id = $1", [id]))[0] ?? {};
const counterOf = (token: unknown) => Number(String(token).split("_")[3]);
const permissionsOf = async (access: unknown) => {
  const headers = { authorization: `Bearer ${access}` };
  return (await h.send("/auth/me", null, { method: "GET", headers })).body.permissions;
};

/** Trades a token; fails unless it holds. Answers the next. */
async function next(token: string): Promise<string> {
  const { status, body } = await refresh(token);
  assert.equal(status, 200, JSON.stringify(body));
  return String(body.refresh_token);
}
async function assertOver(token: string, what?: string) {
  const { status, body, headers } = await refresh(token);
  assert.deepEqual([status, body.reason], [401, "refresh_token.refused"], what);
  assert.equal(headers.get("www-authenticate"), "Bearer");
}

Deno.test("refresh trades a token for the next, and each access token is the same person's", async () => {
  const who = await signedIn();
  let token = who.first;
  for (let step = 1; step <= 5; step++) {
    h.clock.ms += minutes(5);
    const { status, body } = await refresh(token);
    assert.deepEqual([status, body.user_id, body.tenant_id], [200, who.userId, who.tenantId]);
    token = String(body.refresh_token);
    assert.equal(counterOf(token), step);
    assert.ok(await permissionsOf(body.access_token));
  }
  assert.deepEqual(await who.since(), []);
});

Deno.test("refresh serves twenty at once with one step", async () => {
  const who = await signedIn();
  const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(who.first)));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  assert.equal(new Set(answers.map(({ body }) => body.refresh_token)).size, 1);
  assert.equal((await session(who.sessionId)).counter, 1);
  await next(String(answers[7]?.body.refresh_token));
});

Deno.test("refresh answers again within the grace when its answer was lost", async () => {
  const who = await signedIn();
  const lost = await next(who.first);
  h.clock.ms += 29 * SECOND;
  assert.equal(await next(who.first), lost);
  assert.equal(counterOf(await next(lost)), 2);
});

Deno.test("refresh ends the session when the last token comes back after the grace", async () => {
  const who = await signedIn();
  const token = await next(who.first);
  h.clock.ms += 30 * SECOND;
  await assertOver(who.first);
  await assertOver(token, "the thief's or the victim's: nobody can tell");
  const { revoked_for: why, revoked_at: at } = await session(who.sessionId);
  assert.deepEqual([why, at], ["reused", new Date(h.clock.ms)]);
  assert.deepEqual(await who.since(), ["session.ended"]);
  assert.equal((await h.eventTypes(who.tenantId)).at(-1), "session.ended");
});

Deno.test("refresh ends the session at once for a token older than the last", async () => {
  const who = await signedIn();
  const last = await next(await next(who.first));
  await assertOver(who.first);
  await assertOver(last);
  assert.equal((await session(who.sessionId)).revoked_for, "reused");
});

Deno.test("refresh refuses forged tokens and changes nothing", async () => {
  const [who, other] = [await signedIn(), await signedIn()];
  const [kind = "", tenant = "", id = "", count = "", mac = ""] = who.first.split("_");
  const [, otherTenant = "", otherId = ""] = other.first.split("_");
  const guessed = (key: string) =>
    createHmac("sha256", key).update([kind, tenant, id, count].join("_")).digest("base64url");
  const forged: Record<string, string[]> = {
    "another MAC": [kind, tenant, id, count, `${mac.slice(0, -2)}AA`],
    "a MAC under nothing": [kind, tenant, id, count, guessed("")],
    "a MAC under the session's id": [kind, tenant, id, count, guessed(who.sessionId)],
    "another tenant": [kind, otherTenant, id, count, mac],
    "the root tenant": [kind, ROOT_TENANT.replaceAll("-", ""), id, count, mac],
    "another session": [kind, tenant, otherId, count, mac],
    "another's both": [kind, otherTenant, otherId, count, mac],
    "no tenant there is": [kind, "f".repeat(32), id, count, mac],
    "the next counter": [kind, tenant, id, "1", mac],
    "a negative counter": [kind, tenant, id, "-1", mac],
    "a leading zero": [kind, tenant, id, "00", mac],
    "a huge counter": [kind, tenant, id, "9".repeat(30), mac],
    "a counter past an integer": [kind, tenant, id, "999999999", mac],
    "a counter with a point": [kind, tenant, id, "0.0", mac],
    "no counter": [kind, tenant, id, "", mac],
    "capitals": [kind, tenant.toUpperCase(), id, count, mac],
    "another kind": ["sbx", tenant, id, count, mac],
    "more behind it": [kind, tenant, id, count, `${mac}A`],
    "a line more": [kind, tenant, id, count, `${mac}\n`],
    "an access token": [who.access.slice(0, 512)],
    "rubbish": ["x"],
  };
  const before = [await session(who.sessionId), await session(other.sessionId)];
  for (const [what, parts] of Object.entries(forged)) {
    if (parts.join("_") === who.first) continue;
    await assertOver(parts.join("_"), what);
  }
  assert.deepEqual([await session(who.sessionId), await session(other.sessionId)], before);
  assert.deepEqual([await who.since(), await other.since()], [[], []]);
  await next(who.first);
});

Deno.test("refresh refuses and keeps the session when user or tenants are suspended, until they are not", async () => {
  const who = await signedIn();
  const set = (table: string, id: string, status: string) =>
    h.sql(`update ${table} set status = $2 where id = $1`, [id, status]);
  for (
    const [table, id] of [["users", who.userId], ["tenants", who.tenantId], [
      "tenants",
      ROOT_TENANT,
    ]]
  ) {
    for (const status of ["suspended", "closed"]) {
      await set(String(table), String(id), status);
      await assertOver(who.first, `${table} ${status}`);
      await set(String(table), String(id), "active");
    }
  }
  assert.equal((await session(who.sessionId)).counter, 0);
  await next(who.first);
});

Deno.test("refresh refuses a session that is past its thirty days", async () => {
  const who = await signedIn();
  h.clock.ms += 30 * 24 * minutes(60) - 1;
  const token = await next(who.first);
  h.clock.ms += 1;
  await assertOver(token);
});

Deno.test("refresh puts changed roles into the new token", async () => {
  const who = await signedIn("auditor");
  const given = await permissionsOf(who.access);
  await h.sql("update role_bindings set system_role = 'admin' where owner_user_id = $1", [
    who.userId,
  ]);
  assert.deepEqual(await permissionsOf(who.access), given);
  const { body } = await refresh(who.first);
  const gained = await permissionsOf(body.access_token);
  assert.match(JSON.stringify(gained), /"credentials.create":"tenant"/);
});

for (const role of ["member", "auditor", "none"]) {
  Deno.test(`signOut ends the session of one with the role ${role}, and with it the token that asked`, async () => {
    const who = await signedIn();
    await h.sql("update role_bindings set system_role = $2 where owner_user_id = $1", [
      who.userId,
      role,
    ]);
    const { body } = await refresh(who.first);
    const token = String(body.refresh_token);
    const headers = { authorization: `Bearer ${body.access_token}` };
    assert.equal((await h.send("/auth/sign-out", {}, { headers })).status, 204);
    // Its access token ended with the session, in this process at once.
    assert.equal((await h.send("/auth/sign-out", {}, { headers })).status, 401);
    await assertOver(token);
    assert.equal((await session(who.sessionId)).revoked_for, "signed_out");
    assert.deepEqual(await who.since(), ["session.ended"]);
    const [last] = (await h.trail(who.tenantId)).slice(-1);
    assert.deepEqual([last?.actor_type, last?.actor_id], ["user", who.userId]);
  });
}

Deno.test("signOut with an API key ends nobody's session", async () => {
  const who = await signedIn();
  const scopes = ["sessions.revoke" as const];
  const { key } = await h.w.as(who).identity.apiKeys.create({ name: "k", scopes });
  assert.equal((await h.send("/auth/sign-out", {}, { headers: { "x-api-key": key } })).status, 204);
  await next(who.first);
});

Deno.test.afterAll(() => h.w.close());
