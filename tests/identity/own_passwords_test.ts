/** One's own password: changed by whoever knows it, an end to what was opened with it, and kept at today's cost. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { elsewhere, home, type Login } from "./house.ts";

const h = await home();

type Device = { access: string };
const bearer = ({ access }: Device) => ({ headers: { authorization: `Bearer ${access}` } });
const post = (path: string, device: Device, body: unknown = {}) =>
  h.send(path, body, bearer(device));
const isIn = async (device: Device) =>
  (await h.send("/auth/me", null, { method: "GET", ...bearer(device) })).status === 200;

async function signIn({ email, password, tenantId }: Login): Promise<Device> {
  const input = { email, password, tenant: tenantId };
  const { status, body } = await h.send("/auth/sign-in", input, { address: elsewhere() });
  assert.equal(status, 200, JSON.stringify(body));
  return { access: String(body.access_token) };
}

/** Somebody with two devices, and another of their tenant. */
async function stage() {
  const tenantId = await h.tenantBelow();
  const [ada, ben] = [await h.login(tenantId), await h.login(tenantId)];
  const [laptop, phone, bens] = [await signIn(ada), await signIn(ada), await signIn(ben)];
  const from = (await h.trail(tenantId)).length;
  const since = async () => (await h.trail(tenantId)).slice(from).map(({ action }) => action);
  return { ada, laptop, phone, bens, since };
}

Deno.test("changePassword takes the old for the new, and ends one's other sessions", async () => {
  const { ada, laptop, phone, bens, since } = await stage();
  const body = { current_password: ada.password, new_password: "a new password, longer" };
  const { status, body: answer } = await post("/auth/password", laptop, body);
  assert.deepEqual([status, answer], [200, { ended: 1 }]);
  assert.deepEqual([await isIn(laptop), await isIn(phone), await isIn(bens)], [true, false, true]);
  assert.deepEqual(await since(), ["password.changed"]);
  const old = await h.send("/auth/sign-in", { email: ada.email, password: ada.password });
  assert.equal(old.status, 401);
  const again = { ...ada, password: body.new_password };
  const tablet = await signIn(again);
  const back = { current_password: again.password, new_password: "another password again" };
  const all = await post("/auth/password", tablet, { ...back, except_current: false });
  assert.deepEqual(all.body, { ended: 2 });
  assert.ok(!await isIn(tablet));
});

Deno.test("changePassword refuses a wrong, a short and the same password by field, and changes nothing", async () => {
  const { ada, laptop, phone, since } = await stage();
  const right = { current_password: ada.password, new_password: "a new password, longer" };
  const odd: [Record<string, unknown>, string][] = [
    [{ ...right, current_password: "wrong" }, "current_password"],
    [{ ...right, new_password: "short" }, "new_password"],
    [{ ...right, new_password: "x".repeat(1_025) }, "new_password"],
    [{ ...right, new_password: ada.password }, "new_password"],
  ];
  for (const [body, field] of odd) {
    const { status, body: { errors } } = await post("/auth/password", laptop, body);
    assert.equal(status, 400, field);
    assert.match(JSON.stringify(errors), new RegExp(`"field":"${field}"`));
  }
  assert.deepEqual([await isIn(phone), await since()], [true, []]);
  assert.equal((await post("/auth/password", laptop, right)).status, 200);
});

Deno.test("changePassword counts wrong tries like those at the door, and wipes none of them out", async () => {
  const { ada, laptop } = await stage();
  const state = async () => {
    const [row] = await h.sql("select * from user_security where id = $1", [ada.userId]);
    return [row?.failed_sign_ins, row?.locked_until];
  };
  const fresh = `a longer one ${v7()}`;
  const guess = (password: string) => {
    h.clock.ms += 7_000;
    return post("/auth/password", laptop, { current_password: password, new_password: fresh });
  };
  for (let i = 0; i < 9; i++) assert.equal((await guess("wrong")).status, 400);
  assert.equal((await guess(ada.password)).status, 200);
  assert.deepEqual(await state(), [9, null], "the right one is no tenth, and forgives nothing");
  assert.equal((await guess("wrong")).status, 400);
  assert.deepEqual(await state(), [10, new Date(h.clock.ms + 30_000)]);
  const strange = await h.send("/auth/sign-in", { email: ada.email, password: fresh });
  assert.equal(strange.status, 401, "nor at the door");
  await h.sql("update user_security set locked_until = $2 where id = $1", [
    ada.userId,
    new Date(h.clock.ms + 600_000),
  ]);
  // Whoever is signed in goes on for five tries, or strangers could keep them from it.
  for (let i = 0; i < 5; i++) assert.equal((await guess("wrong")).status, 400);
  const { status, body, headers } = await guess(fresh);
  assert.deepEqual([status, body.reason], [429, "sign_in.too_often"]);
  assert.ok(Number(headers.get("retry-after")) > 0);
});

Deno.test("changePassword is for a person at home: no key, and nobody from another tenant", async () => {
  const { ada, laptop } = await stage();
  const input = { current_password: ada.password, new_password: "a new password, longer" };
  const scopes = ["sign_in.update" as const];
  const { key } = await h.w.as({
    ...ada,
    grants: { "api_keys.create": "self", "sign_in.update": "self" },
  })
    .identity.apiKeys.create({ name: "k", scopes });
  const byKey = await h.send("/auth/password", input, { headers: { "x-api-key": key } });
  assert.deepEqual([byKey.status, byKey.body.reason], [403, "sign_in.needs_user"]);
  const away = await h.w.token({
    ...ada,
    tenantId: await h.tenantBelow(ada.tenantId),
    userId: null,
    grants: { "sign_in.update": "subtree" },
  });
  const there = await post("/auth/password", { ...laptop, access: away }, input);
  assert.deepEqual([there.status, there.body.reason], [403, "session.elsewhere"]);
  assert.equal((await post("/auth/password", laptop, input)).status, 200);
});

Deno.test("signIn hashes a password anew when today's cost is higher, and leaves it alone after", async () => {
  const ada = await h.login(await h.tenantBelow());
  const hash = async () =>
    (await h.sql("select password_hash from user_security where id = $1", [ada.userId]))[0]
      ?.password_hash;
  const weak = await hash();
  await h.send("/auth/sign-in", { email: ada.email, password: "wrong" });
  assert.equal(await hash(), weak);
  await signIn(ada);
  const strong = String(await hash());
  assert.match(strong, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  await signIn(ada);
  assert.equal(await hash(), strong);
});

Deno.test.afterAll(() => h.w.close());
