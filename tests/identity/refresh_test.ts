/** Staying signed in: one step a time for honest clients, an end for thieves, and out when one says so. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { openSession } from "../../src/identity/sessions.ts";
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

Deno.test("refresh takes a token back after the grace: its answer was lost, and that token is void", async () => {
  const who = await signedIn();
  const lost = await next(who.first);
  h.clock.ms += 30 * SECOND;
  const found = await next(who.first);
  assert.equal(counterOf(found), 2);
  assert.equal(await next(who.first), found, "asked twice at once, it is one step");
  const { counter, previous_counter: previous } = await session(who.sessionId);
  assert.deepEqual([counter, previous], [2, 0]);
  assert.deepEqual(await who.since(), []);
  assert.equal(counterOf(await next(found)), 3);
  await assertOver(lost, "who has the lost token is a thief");
  const { revoked_for: why, revoked_at: at } = await session(who.sessionId);
  assert.deepEqual([why, at], ["reused", new Date(h.clock.ms)]);
  assert.deepEqual(await who.since(), ["session.ended"]);
  assert.equal((await h.eventTypes(who.tenantId)).at(-1), "session.ended");
});

Deno.test("refresh finds an answer lost again and again, each time by one step", async () => {
  const who = await signedIn();
  for (let step = 1; step <= 4; step++) {
    assert.equal(counterOf(await next(who.first)), step);
    h.clock.ms += 31 * SECOND;
  }
  assert.equal((await session(who.sessionId)).previous_counter, 0);
});

/** Whether the thief or the victim comes first with the stolen token, and how soon the other does. */
for (const first of ["thief", "victim"] as const) {
  for (const seconds of [1, 29, 30, 3_600]) {
    Deno.test(`refresh ends a stolen session when the ${first} is first by ${seconds} s and both go on`, async () => {
      const who = await signedIn();
      const second = first === "thief" ? "victim" : "thief";
      const held = { thief: who.first, victim: who.first };
      const turns: ("thief" | "victim")[] = [first, second, first, second, first, second];
      let served = 0;
      for (const turn of turns) {
        const { status, body } = await refresh(held[turn]);
        if (status !== 200) break;
        held[turn] = String(body.refresh_token);
        served++;
        // Within the grace they cannot be told from two tabs: they are once it is over.
        h.clock.ms += served === 1 ? seconds * SECOND : 60 * SECOND;
      }
      assert.ok(served <= 4, `${served} were served`);
      for (const token of Object.values(held)) await assertOver(token);
      assert.equal((await session(who.sessionId)).revoked_for, "reused");
      assert.deepEqual(await who.since(), ["session.ended"]);
    });
  }
}

Deno.test("refresh goes on with a session from before its steps were kept", async () => {
  const who = await signedIn();
  const token = await next(who.first);
  await h.sql("update sessions set previous_counter = null where id = $1", [who.sessionId]);
  assert.equal(await next(who.first), token);
  h.clock.ms += 31 * SECOND;
  assert.equal(counterOf(await next(who.first)), 2);
  await assertOver(token);
});

Deno.test("refresh tells the log which case it was, and no token", async () => {
  const who = await signedIn();
  const from = h.lines.length;
  const lost = await next(who.first);
  await next(who.first);
  h.clock.ms += 31 * SECOND;
  await next(who.first);
  await assertOver(lost);
  const told = h.lines.slice(from).map((line) => JSON.parse(line)).filter(({ step }) => step);
  assert.deepEqual(told.map(({ step }) => step), ["next", "concurrent", "recovered", "reused"]);
  assert.deepEqual(
    new Set(told.map(({ level, sessionId }) => `${level} ${sessionId}`)),
    new Set([`info ${who.sessionId}`]),
  );
  for (const token of [who.first, lost]) {
    assert.ok(!h.lines.some((line) => line.includes(token.slice(-43))));
  }
});

Deno.test("refresh ends the session at once for a token older than the last", async () => {
  const who = await signedIn();
  const last = await next(await next(who.first));
  await assertOver(who.first);
  await assertOver(last);
  assert.equal((await session(who.sessionId)).revoked_for, "reused");
});

/** What a session takes, told by its tokens and not by counting: the model of the test below. */
type Model = { current: string; before: string | null; atMs: number; isOver: boolean };

/** What the model says of a token; `made` is what the service answered. */
function foretold(model: Model, token: string): "step" | "same" | "over" {
  if (model.isOver) return "over";
  if (token === model.current) return "step";
  if (token !== model.before) return "over";
  return h.clock.ms - model.atMs < 30 * SECOND ? "same" : "step";
}

const somebody = await h.login(await h.tenantBelow());

/** A session without the cost of a password. */
async function opened() {
  const { refreshToken: first } = await openSession(h.w.ctx(null), somebody);
  const trail = (await h.trail(somebody.tenantId)).length;
  const since = async () =>
    (await h.trail(somebody.tenantId)).slice(trail).map(({ action }) => action);
  return { first, since };
}

const PROPERTY = { numRuns: Deno.env.get("PROVE") === "1" ? 500 : 20 };

Deno.test("refresh does what the model says, whoever presents which token when", async () => {
  const seed = Date.now() % 1_000_000;
  console.log(`seed ${seed}`);
  let presented = 0;
  const turn = fc.record({
    back: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0) },
      { weight: 3, arbitrary: fc.constant(1) },
      { weight: 1, arbitrary: fc.nat(4) },
    ),
    waitSeconds: fc.constantFrom(0, 0, 1, 29, 30, 31, 500),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(turn, { minLength: 1, maxLength: 20, size: "max" }),
      async (turns) => {
        const who = await opened();
        const known = [who.first];
        const model: Model = { current: who.first, before: null, atMs: 0, isOver: false };
        for (const { back, waitSeconds } of turns) {
          h.clock.ms += waitSeconds * SECOND;
          const token = known.at(-1 - back) ?? who.first;
          const expected = foretold(model, token);
          const { status, body } = await refresh(token);
          presented++;
          const made = String(body.refresh_token);
          const did = status !== 200
            ? "over"
            : made === model.current && token !== made
            ? "same"
            : "step";
          assert.equal(did, expected);
          if (did === "over") model.isOver = true;
          if (did === "step") {
            assert.ok(!known.includes(made), "a token is never made twice");
            known.push(made);
            Object.assign(model, { current: made, before: token, atMs: h.clock.ms });
          }
        }
        assert.deepEqual(await who.since(), model.isOver ? ["session.ended"] : []);
      },
    ),
    { ...PROPERTY, seed },
  );
  console.log(`${presented} tokens presented`);
});

Deno.test("refresh never ends the session of an honest client, however its answers are lost", async () => {
  const seed = Date.now() % 1_000_000;
  console.log(`seed ${seed}`);
  const turn = fc.record({
    isLost: fc.boolean(),
    tabs: fc.integer({ min: 1, max: 3 }),
    waitSeconds: fc.constantFrom(0, 10, 30, 4_000),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(turn, { minLength: 1, maxLength: 12, size: "max" }),
      async (turns) => {
        const who = await opened();
        let held = who.first;
        for (const { isLost, tabs, waitSeconds } of turns) {
          const made = await Promise.all(Array.from({ length: tabs }, () => next(held)));
          assert.equal(new Set(made).size, 1);
          if (!isLost) held = made[0] ?? held;
          h.clock.ms += waitSeconds * SECOND;
        }
        assert.deepEqual(await who.since(), []);
      },
    ),
    { ...PROPERTY, seed },
  );
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
