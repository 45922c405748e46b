/** Where somebody is signed in: seen by them and by whoever runs the tenant, ended one by one or all at once. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { principals } from "../../src/access/principals.ts";
import { services } from "../../src/services.ts";
import { elsewhere, home, type Login } from "./house.ts";

const h = await home();
const BOUND_MS = 5_000;

type Device = { access: string; refresh: string; sessionId: string };
const bearer = ({ access }: Device) => ({ headers: { authorization: `Bearer ${access}` } });

async function signIn({ email, password, tenantId }: Login, userAgent = "a browser") {
  const address = elsewhere();
  const { status, body } = await h.send("/auth/sign-in", { email, password, tenant: tenantId }, {
    address,
    headers: { "user-agent": userAgent },
  });
  assert.equal(status, 200, JSON.stringify(body));
  const [row] = await h.sql(
    "select id from sessions where owner_user_id = (select id from users where email = $1) order by id desc limit 1",
    [email],
  );
  const device: Device = {
    access: String(body.access_token),
    refresh: String(body.refresh_token),
    sessionId: String(row?.id),
  };
  return { ...device, address };
}
const get = (path: string, device: Device) =>
  h.send(path, null, { method: "GET", ...bearer(device) });
const post = (path: string, device: Device, body: unknown = {}) =>
  h.send(path, body, bearer(device));
const isIn = async (device: Device) => (await get("/auth/me", device)).status === 200;
const refreshes = async ({ refresh }: Device) =>
  (await h.send("/auth/refresh", { refresh_token: refresh })).status === 200;

type Shown = Record<string, unknown>;
const sessionsOf = (body: Record<string, unknown>): Shown[] =>
  body.sessions instanceof Array ? body.sessions : assert.fail(JSON.stringify(body));

/** Two people of one tenant and its admin, each signed in. */
async function stage() {
  const tenantId = await h.tenantBelow();
  const [ada, ben, boss] = [
    await h.login(tenantId),
    await h.login(tenantId),
    await h.login(tenantId, { role: "admin" }),
  ];
  const [laptop, phone] = [await signIn(ada, "a laptop"), await signIn(ada, "a phone")];
  const trail = async () => (await h.trail(tenantId)).map(({ action }) => action);
  const from = (await trail()).length + 2; // The two below sign in still.
  return {
    ...{ tenantId, ada, ben, boss, laptop, phone },
    bens: await signIn(ben),
    bosses: await signIn(boss),
    since: async () => (await trail()).slice(from),
  };
}

Deno.test("sessions.list shows one's own, the newest first, without anything secret", async () => {
  const { ada, laptop, phone } = await stage();
  h.clock.ms += 1_000;
  await refreshes(laptop);
  const { status, body } = await get("/sessions", laptop);
  assert.equal(status, 200);
  const shown = sessionsOf(body);
  assert.deepEqual(shown.map(({ id }) => id), [phone.sessionId, laptop.sessionId]);
  assert.deepEqual(shown.map((one) => one.is_current), [false, true]);
  const [row] = await h.sql("select * from sessions where id = $1", [laptop.sessionId]);
  const text = (at: unknown) => at instanceof Date ? at.toISOString() : at;
  assert.deepEqual(shown[1], {
    id: laptop.sessionId,
    owner_user_id: ada.userId,
    user_agent: "a laptop",
    address: laptop.address,
    created_at: text(row?.created_at),
    last_used_at: new Date(h.clock.ms).toISOString(),
    expires_at: text(row?.expires_at),
    revoked_at: null,
    revoked_for: null,
    is_current: true,
  });
});

Deno.test("sessions.list shows whoever runs the tenant everybody's, one person's when asked", async () => {
  const { ada, ben, laptop, phone, bens, bosses } = await stage();
  const all = sessionsOf((await get("/sessions", bosses)).body);
  assert.deepEqual(all.map(({ id }) => id), [bosses, bens, phone, laptop].map((d) => d.sessionId));
  const adas = sessionsOf((await get(`/sessions?user_id=${ada.userId}`, bosses)).body);
  assert.deepEqual(adas.map(({ id }) => id), [phone, laptop].map((d) => d.sessionId));
  assert.deepEqual(sessionsOf((await get(`/sessions?user_id=${ben.userId}`, laptop)).body), []);
  const other = await h.login(await h.tenantBelow(), { role: "admin" });
  const theirs = await get(`/sessions?user_id=${ada.userId}`, await signIn(other));
  assert.deepEqual(sessionsOf(theirs.body), [], "another tenant's admin");
});

Deno.test("sessions.list goes page by page, and leaves out what has ended when asked", async () => {
  const { laptop, phone, ada } = await stage();
  const last = await signIn(ada);
  await post(`/sessions/${phone.sessionId}/revoke`, laptop);
  const first = (await get("/sessions?limit=2", laptop)).body;
  assert.deepEqual(sessionsOf(first).map(({ id }) => id), [last.sessionId, phone.sessionId]);
  const rest = (await get(`/sessions?limit=2&cursor=${first.next_cursor}`, laptop)).body;
  assert.deepEqual(sessionsOf(rest).map(({ id }) => id), [laptop.sessionId]);
  assert.equal(rest.next_cursor, null);
  const ids = async (asked: string) =>
    sessionsOf((await get(`/sessions?is_active=${asked}`, laptop)).body).map(({ id }) => id);
  assert.deepEqual(await ids("true"), [last.sessionId, laptop.sessionId]);
  assert.deepEqual(await ids("false"), [phone.sessionId]);
  await h.sql("update sessions set expires_at = $2 where id = $1", [
    last.sessionId,
    new Date(h.clock.ms),
  ]);
  assert.deepEqual(await ids("true"), [laptop.sessionId]);
  assert.deepEqual(await ids("false"), [last.sessionId, phone.sessionId]);
});

Deno.test("sessions.revoke ends one of one's own and its tokens, once, and no other", async () => {
  const { ada, laptop, phone, since } = await stage();
  const { status, body } = await post(`/sessions/${phone.sessionId}/revoke`, laptop);
  assert.equal(status, 200);
  assert.deepEqual(
    [body.id, body.revoked_at, body.revoked_for, body.is_current],
    [phone.sessionId, new Date(h.clock.ms).toISOString(), "revoked", false],
  );
  assert.deepEqual([await isIn(phone), await refreshes(phone)], [false, false]);
  assert.deepEqual([await isIn(laptop), await refreshes(laptop)], [true, true]);
  h.clock.ms += 1_000;
  assert.deepEqual((await post(`/sessions/${phone.sessionId}/revoke`, laptop)).body, body);
  assert.deepEqual(await since(), ["session.ended"]);
  const [entry] = (await h.trail(ada.tenantId)).slice(-1);
  assert.deepEqual([entry?.actor_id, entry?.subject_id], [ada.userId, phone.sessionId]);
});

Deno.test("sessions.revoke of another's is for whoever runs their tenant", async () => {
  const { laptop, bens, bosses, since } = await stage();
  const other = await signIn(await h.login(await h.tenantBelow(), { role: "owner" }));
  const path = `/sessions/${laptop.sessionId}/revoke`;
  const nobody = await post(`/sessions/${v7()}/revoke`, bens);
  assert.deepEqual([nobody.status, nobody.body.reason], [404, "session.not_found"]);
  for (const device of [bens, other]) {
    const { status, body } = await post(path, device);
    assert.deepEqual([status, body.detail], [404, nobody.body.detail]);
  }
  assert.ok(await isIn(laptop));
  assert.equal((await post(path, bosses)).status, 200);
  assert.ok(!await isIn(laptop));
  assert.deepEqual(await since(), ["session.ended"]);
});

Deno.test("signOutEverywhere ends all of one's own, or all but the one that asks", async () => {
  const { ada, laptop, phone, bens, since } = await stage();
  const others = await post("/auth/sign-out-everywhere", laptop, { except_current: true });
  assert.deepEqual([others.status, others.body], [200, { ended: 1 }]);
  assert.deepEqual([await isIn(laptop), await isIn(phone)], [true, false]);
  const again = await post("/auth/sign-out-everywhere", laptop, { except_current: true });
  assert.deepEqual(again.body, { ended: 0 });
  assert.deepEqual(await since(), ["user.signed_out"], "nothing is written of nothing");
  const tablet = await signIn(ada);
  assert.deepEqual((await post("/auth/sign-out-everywhere", tablet)).body, { ended: 2 });
  assert.deepEqual([await isIn(laptop), await isIn(tablet), await refreshes(tablet)], [
    false,
    false,
    false,
  ]);
  assert.ok(await isIn(bens));
  assert.deepEqual(await since(), ["user.signed_out", "session.opened", "user.signed_out"]);
  assert.equal((await h.eventTypes(ada.tenantId)).at(-1), "user.signed_out");
});

Deno.test("sessions.revokeAll signs a user out everywhere, for whoever runs their tenant and themselves", async () => {
  const { ada, ben, laptop, phone, bens, bosses, since } = await stage();
  const path = `/users/${ada.userId}/sessions/revoke`;
  const other = await signIn(await h.login(await h.tenantBelow(), { role: "owner" }));
  for (const device of [bens, other]) {
    const { status, body } = await post(path, device);
    assert.deepEqual([status, body.reason], [404, "user.not_found"]);
  }
  assert.equal((await post(`/users/${v7()}/sessions/revoke`, bosses)).status, 404);
  assert.deepEqual((await post(path, bosses)).body, { ended: 2 });
  assert.deepEqual([await isIn(laptop), await isIn(phone), await isIn(bens)], [false, false, true]);
  assert.deepEqual((await post(path, bosses)).body, { ended: 0 });
  assert.deepEqual((await post(`/users/${ben.userId}/sessions/revoke`, bens)).body, { ended: 1 });
  assert.deepEqual(await since(), ["user.signed_out", "user.signed_out"]);
});

Deno.test("auth.revoke ends one access token by itself, once, and its session goes on", async () => {
  const { ada, laptop, phone, since } = await stage();
  const { body } = await h.send("/auth/refresh", { refresh_token: laptop.refresh });
  const second = { ...laptop, access: String(body.access_token) };
  const revoke = () => post("/auth/revoke", second, { token: laptop.access });
  assert.deepEqual([(await revoke()).status, await isIn(laptop), await isIn(second)], [
    204,
    false,
    true,
  ]);
  assert.equal((await revoke()).status, 204);
  assert.deepEqual(await since(), ["access_token.revoked"]);
  assert.ok(await isIn(phone));
  const [row] = await h.sql("select expires_at from revoked_tokens where owner_user_id = $1", [
    ada.userId,
  ]);
  const issued = await h.w.process.tokens.read(laptop.access, new Date(h.clock.ms));
  // Whichever clock runs ahead, it is remembered longer than the token holds.
  const keptUntil = new Date(String(row?.expires_at)).getTime();
  assert.ok(keptUntil >= Number(issued?.expiresAt) * 1_000 + 60_000);
  await post("/auth/revoke", second, { token: second.access });
  assert.ok(!await isIn(second), "also the one that asks");
});

Deno.test("auth.revoke ends a session by any refresh token it ever gave", async () => {
  const { laptop, phone, since } = await stage();
  const old = laptop.refresh;
  const { body } = await h.send("/auth/refresh", { refresh_token: old });
  assert.equal((await post("/auth/revoke", phone, { token: old })).status, 204);
  assert.deepEqual([await isIn(laptop), await isIn(phone)], [false, true]);
  assert.ok(!await refreshes({ ...laptop, refresh: String(body.refresh_token) }));
  assert.deepEqual(await since(), ["session.ended"]);
});

Deno.test("auth.revoke passes over what is not the caller's token, whoever knows it", async () => {
  const { laptop, phone, bens, bosses, since } = await stage();
  const other = await signIn(await h.login(await h.tenantBelow(), { role: "owner" }));
  const forged = laptop.refresh.replace(/.$/, (last) => last === "A" ? "B" : "A");
  for (const device of [bens, bosses, other]) {
    for (const token of [laptop.access, laptop.refresh, forged, "rubbish", "a.b.c"]) {
      assert.equal((await post("/auth/revoke", device, { token })).status, 204);
    }
  }
  await post("/auth/revoke", laptop, { token: forged });
  assert.deepEqual([await isIn(laptop), await refreshes(laptop), await isIn(phone)], [
    true,
    true,
    true,
  ]);
  assert.deepEqual(await since(), []);
  const key = await post("/auth/revoke", laptop, { token: "sb_test_x" });
  assert.deepEqual([key.status, key.body.reason], [400, "token.invalid"]);
});

const endings: Record<string, (s: Awaited<ReturnType<typeof stage>>) => Promise<unknown>> = {
  "sessions.revoke": ({ laptop, phone }) => post(`/sessions/${phone.sessionId}/revoke`, laptop),
  "sessions.revokeAll": ({ ada, bosses }) => post(`/users/${ada.userId}/sessions/revoke`, bosses),
  "auth.signOutEverywhere": ({ laptop }) => post("/auth/sign-out-everywhere", laptop),
  "auth.signOut": ({ phone }) => post("/auth/sign-out", phone),
  "auth.revoke of an access token": ({ laptop, phone }) =>
    post("/auth/revoke", laptop, { token: phone.access }),
  "auth.revoke of a refresh token": ({ laptop, phone }) =>
    post("/auth/revoke", laptop, { token: phone.refresh }),
  "a refresh token used again": async ({ phone }) => {
    const { body } = await h.send("/auth/refresh", { refresh_token: phone.refresh });
    await h.send("/auth/refresh", { refresh_token: body.refresh_token });
    await h.send("/auth/refresh", { refresh_token: phone.refresh });
  },
};
for (const [what, end] of Object.entries(endings)) {
  Deno.test(`${what} is felt within the bound by a process that has just taken the token`, async () => {
    const s = await stage();
    const { database, env } = h.w;
    const other = principals(await services({ env, database, now: () => new Date(h.clock.ms) }));
    const find = async () => await other.find(`Bearer ${s.phone.access}`, null);
    assert.equal((await find())?.userId, s.ada.userId);
    await end(s);
    assert.ok(!await isIn(s.phone), "in its own process at once");
    h.clock.ms += BOUND_MS;
    assert.equal(await find(), null);
  });
}

Deno.test.afterAll(() => h.w.close());
