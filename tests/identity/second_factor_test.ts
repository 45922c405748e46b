/** One's own second factor: begun, confirmed, renewed and given up with proof, and taken away by who may. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { home } from "./house.ts";
import {
  bearer,
  type Guarded,
  missing,
  reasonOf,
  refused,
  secondFactorHouse,
  STEP_MS,
  texts,
} from "./second_factor_house.ts";

const h = await home();
const { signIn, post, stateOf, codeOf, wrongFor, accessOf, guarded, failures } = secondFactorHouse(
  h,
);

Deno.test("secondFactor.begin and confirm: asked for from then on, and kept sealed", async () => {
  const who = await h.login(await h.tenantBelow());
  const access = await accessOf(who);
  assert.deepEqual(await stateOf(access), {
    is_confirmed: false,
    confirmed_at: null,
    recovery_codes_left: 0,
  });
  const { status, body } = await post("", access, { password: who.password });
  assert.equal(status, 200);
  const [secret, uri] = [String(body.secret), new URL(String(body.uri))];
  assert.match(secret, /^[A-Z2-7]{32}$/);
  assert.equal(decodeURIComponent(uri.pathname), `/Switchboard:${who.email}`);
  assert.deepEqual(Object.fromEntries(uri.searchParams), {
    ...{ issuer: "Switchboard", secret, algorithm: "SHA1", digits: "6", period: "30" },
  });
  await accessOf(who); // Nothing is asked for before it was seen to work.
  const confirmed = await post("/confirm", access, { code: codeOf(secret) });
  const codes = texts(confirmed.body.recovery_codes);
  assert.deepEqual([codes.length, new Set(codes).size], [10, 10]);
  for (const code of codes) {
    assert.match(code, /^(?:[0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}$/);
  }
  assert.deepEqual(reasonOf(await signIn(who)), missing);
  assert.deepEqual(
    reasonOf(await signIn(who, { totp: codeOf(secret) })),
    refused,
    "taken to confirm",
  );
  h.clock.ms += STEP_MS;
  await accessOf(who, { totp: codeOf(secret) });
  assert.deepEqual((await stateOf(access)).recovery_codes_left, 10);
  const [row] = await h.sql(
    "select s::text as security, (select string_agg(r::text, ' ') from recovery_codes r where owner_user_id = s.id) as codes from user_security s where id = $1",
    [who.userId],
  );
  for (const text of [secret, ...codes]) {
    assert.ok(!`${row?.security}${row?.codes}`.includes(text), "it stands in the table as it is");
  }
  const actions = (await h.trail(who.tenantId)).map(({ action }) => String(action));
  assert.deepEqual(actions.filter((action) => action.startsWith("second")), [
    "second_factor.begun",
    "second_factor.confirmed",
  ]);
});

Deno.test("secondFactor.begin asks for the password, and begins anew until it was confirmed", async () => {
  const who = await h.login(await h.tenantBelow());
  const access = await accessOf(who);
  assert.deepEqual(reasonOf(await post("/confirm", access, { code: "123456" })), [
    409,
    "second_factor.not_begun",
  ]);
  const wrong = await post("", access, { password: "wrong" });
  assert.deepEqual(reasonOf(wrong), [400, "password.invalid"]);
  const begin = async () =>
    String((await post("", access, { password: who.password })).body.secret);
  const [first, second] = [await begin(), await begin()];
  assert.notEqual(first, second);
  for (const code of [codeOf(first), wrongFor(second)]) {
    assert.deepEqual(reasonOf(await post("/confirm", access, { code })), [400, "code.invalid"]);
  }
  const code = codeOf(second);
  const spaced = `${code.slice(0, 3)} ${code.slice(3)}`;
  assert.equal((await post("/confirm", access, { code: spaced })).status, 200);
  for (const [path, body] of [["", { password: who.password }], ["/confirm", { code }]] as const) {
    assert.deepEqual(reasonOf(await post(path, access, body)), [
      409,
      "second_factor.already_confirmed",
    ]);
  }
});

Deno.test("secondFactor.recoveryCodes makes ten new ones, and the old ones are void", async () => {
  const g = await guarded();
  const renew = (code: string) => post("/recovery-codes", g.access, { code });
  assert.deepEqual(reasonOf(await renew(wrongFor(g.secret))), [400, "code.invalid"]);
  assert.equal((await failures(g))?.failed_sign_ins, 1);
  const code = codeOf(g.secret);
  const fresh = texts((await renew(code)).body.recovery_codes);
  assert.equal(new Set([...fresh, ...g.recoveryCodes]).size, 20);
  assert.deepEqual(reasonOf(await renew(code)), [400, "code.invalid"], "a code is good once");
  assert.deepEqual(reasonOf(await signIn(g.who, { totp: code })), refused, "here or there");
  assert.deepEqual(reasonOf(await signIn(g.who, { recovery_code: g.recoveryCodes[5] })), refused);
  await accessOf(g.who, { recovery_code: fresh[5] });
  assert.equal((await renew(fresh[6] ?? "")).status, 200, "a recovery code does as well");
  assert.deepEqual(reasonOf(await signIn(g.who, { recovery_code: fresh[7] })), refused);
});

Deno.test("secondFactor.disable takes the password and a code, and then the password is enough", async () => {
  const g = await guarded();
  const { password } = g.who;
  const right = { password, code: codeOf(g.secret) };
  const odd: [Record<string, unknown>, string][] = [
    [{ ...right, password: "wrong" }, "password.invalid"],
    [{ ...right, code: wrongFor(g.secret) }, "code.invalid"],
  ];
  for (const [body, reason] of odd) {
    assert.deepEqual(reasonOf(await post("/disable", g.access, body)), [400, reason]);
  }
  assert.deepEqual(reasonOf(await signIn(g.who)), missing);
  assert.equal((await post("/disable", g.access, right)).status, 204);
  await accessOf(g.who);
  for (
    const [path, body] of [["/disable", right], ["/recovery-codes", { code: "123456" }]] as const
  ) {
    assert.deepEqual(reasonOf(await post(path, g.access, body)), [
      409,
      "second_factor.not_confirmed",
    ]);
  }
  const rows = await h.sql("select id from recovery_codes where owner_user_id = $1", [
    g.who.userId,
  ]);
  assert.deepEqual([rows, await g.since()], [[], ["second_factor.disabled", "session.opened"]]);
  const lost = await guarded();
  const body = { password: lost.who.password, code: lost.recoveryCodes[9] };
  assert.equal(
    (await post("/disable", lost.access, body)).status,
    204,
    "its authenticator is lost",
  );
});

const reset = (access: string, userId: string) =>
  h.send(`/users/${userId}/second-factor/reset`, {}, bearer(access));

Deno.test("secondFactor.reset is for whoever holds all that the user holds, in their tenant", async () => {
  const tenantId = await h.tenantBelow();
  const member = await guarded({ tenantId });
  const owner = await guarded({ tenantId, role: "owner" });
  const admin = await h.login(tenantId, { role: "admin" });
  const adminToken = await accessOf(admin);
  const stranger = await accessOf(await h.login(await h.tenantBelow(), { role: "owner" }));
  assert.equal((await reset(member.access, owner.who.userId)).status, 403);
  assert.deepEqual(reasonOf(await reset(stranger, member.who.userId)), [404, "user.not_found"]);
  assert.deepEqual(reasonOf(await reset(adminToken, v7())), [404, "user.not_found"]);
  assert.deepEqual(reasonOf(await reset(adminToken, owner.who.userId)), [403, "grant.beyond"]);
  assert.deepEqual(reasonOf(await reset(owner.access, owner.who.userId)), [
    403,
    "second_factor.own",
  ]);
  const self = { ...admin, grants: { "users.reset": "self" as const } };
  for (const userId of [admin.userId, member.who.userId]) {
    await assert.rejects(
      h.w.as(self).identity.secondFactor.reset({ userId }),
      (error) => /No such user/.test(String(error)),
    );
  }
  for (const g of [member, owner]) assert.deepEqual(reasonOf(await signIn(g.who)), missing);
  const from = (await h.trail(tenantId)).length;
  assert.equal((await reset(adminToken, member.who.userId)).status, 204);
  assert.equal((await reset(adminToken, member.who.userId)).status, 204);
  const written = (await h.trail(tenantId)).slice(from);
  assert.deepEqual(
    written.map(({ action, actor_id: actor, subject_id: of }) => [action, actor, of]),
    [["second_factor.reset", admin.userId, member.who.userId]],
  );
  await accessOf(member.who);
  const rows = await h.sql("select totp_secret, totp_step from user_security where id = $1", [
    member.who.userId,
  ]);
  assert.deepEqual({ ...rows[0] }, { totp_secret: null, totp_step: null });
});

const verbs: Record<string, (g: Guarded) => unknown> = {
  "": ({ who }) => ({ password: who.password }),
  "/confirm": ({ secret }) => ({ code: codeOf(secret) }),
  "/disable": ({ who, secret }) => ({ password: who.password, code: codeOf(secret) }),
  "/recovery-codes": ({ secret }) => ({ code: codeOf(secret) }),
};
Deno.test("a key, and a token of another tenant, change nobody's second factor", async () => {
  const g = await guarded();
  const grants = { "api_keys.create": "self", "sign_in.update": "self" } as const;
  const scopes = ["sign_in.update" as const];
  const { key } = await h.w.as({ ...g.who, grants }).identity.apiKeys.create({ name: "k", scopes });
  const there = { tenantId: await h.tenantBelow(g.who.tenantId), userId: null, grants };
  const away = await h.w.token({ ...g.who, ...there });
  const before = await failures(g);
  for (const [path, body] of Object.entries(verbs)) {
    const byKey = await h.send(`/auth/second-factor${path}`, body(g), {
      headers: { "x-api-key": key },
    });
    assert.deepEqual(reasonOf(byKey), [403, "sign_in.needs_user"], path);
    assert.deepEqual(reasonOf(await post(path, away, body(g))), [403, "session.elsewhere"], path);
  }
  assert.deepEqual([await failures(g), (await stateOf(g.access)).is_confirmed], [before, true]);
});

Deno.test("no secret and no code of a second factor is in a log, an audit entry or an event", async () => {
  const g = await guarded();
  const code = codeOf(g.secret);
  const tries = [{ totp: code }, { totp: code }, { recovery_code: g.recoveryCodes[0] }];
  for (const more of tries) await signIn(g.who, more);
  h.clock.ms += STEP_MS;
  const renewed = await post("/recovery-codes", g.access, { code: codeOf(g.secret) });
  const rows = await h.sql(
    "select a.diff::text as text from audit_entries a union all select e.data::text from events e",
  );
  const said = [...h.lines, ...rows.map(({ text }) => String(text))];
  const secrets = [g.secret, ...g.recoveryCodes, ...texts(renewed.body.recovery_codes)];
  for (const secret of [...secrets, ...secrets.map((text) => text.replaceAll("-", ""))]) {
    assert.ok(secret.length >= 16);
    assert.ok(!said.some((text) => text.includes(secret)), "it is written down");
  }
});

Deno.test.afterAll(() => h.w.close());
