/** Signing in with a second factor: each code good once, and no way around or back to guessing. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { type Answer, home } from "./house.ts";
import { missing, reasonOf, refused, secondFactorHouse, STEP_MS } from "./second_factor_house.ts";

const h = await home();
const { signIn, stateOf, codeOf, wrongFor, accessOf, guarded, failures } = secondFactorHouse(h);

Deno.test("signIn looks at a code only when the password is right, and says so to nobody else", async () => {
  const g = await guarded();
  const plain = await h.login(await h.tenantBelow());
  const right = { totp: codeOf(g.secret) };
  const told = ({ status, body: { request_id: _, ...rest } }: Answer) => ({ status, ...rest });
  const stranger = told(await signIn({ email: `${v7()}@people.example`, password: "x" }));
  for (const more of [{}, right, { recovery_code: g.recoveryCodes[0] }]) {
    const wrong = { ...g.who, password: "wrong" };
    assert.deepEqual(told(await signIn(wrong, more)), stranger);
  }
  assert.deepEqual(told(await signIn({ ...plain, password: "wrong" })), stranger);
  assert.deepEqual(reasonOf(await signIn(g.who)), missing);
  assert.deepEqual(reasonOf(await signIn(g.who, { totp: wrongFor(g.secret) })), refused);
  const rows = await h.sql("select id from sessions where owner_user_id = $1", [g.who.userId]);
  assert.equal(rows.length, 1, "none was opened");
  await accessOf(g.who, right);
  assert.deepEqual(await g.since(), ["session.opened"]);
  await accessOf(plain, { totp: "123456" }); // Whoever has none may send what they like.
});

Deno.test("signIn takes the code of each time step once, and none that is older", async () => {
  const g = await guarded();
  const tries: [number, boolean][] = [[-2, false], [2, false], [-1, false], [0, true], [0, false]];
  for (const [steps, isRight] of tries) { // One step back is what confirmed it.
    const answer = await signIn(g.who, { totp: codeOf(g.secret, steps) });
    assert.equal(answer.status, isRight ? 200 : 401, `${steps} steps`);
  }
  await accessOf(g.who, { totp: codeOf(g.secret, 1) }); // A clock that runs ahead.
  h.clock.ms += STEP_MS;
  assert.deepEqual(reasonOf(await signIn(g.who, { totp: codeOf(g.secret) })), refused);
  h.clock.ms += 2 * STEP_MS;
  await accessOf(g.who, { totp: codeOf(g.secret, -1) }); // One that lags.
  await accessOf(g.who, { totp: codeOf(g.secret) });
  assert.deepEqual(reasonOf(await signIn(g.who, { totp: codeOf(g.secret, -1) })), refused);
});

Deno.test("signIn takes each recovery code once, however it is written, and no other's", async () => {
  const [g, other] = [await guarded(), await guarded()];
  const [first = "", second = "", third = ""] = g.recoveryCodes;
  const written = [
    first,
    second.toUpperCase().replaceAll("-", " "),
    third.replaceAll("-", "").replaceAll("0", "O").replaceAll("1", "l"),
  ];
  for (const recovery_code of written) {
    await accessOf(g.who, { recovery_code });
    assert.deepEqual(reasonOf(await signIn(g.who, { recovery_code })), refused);
  }
  const [theirs] = other.recoveryCodes;
  assert.deepEqual(reasonOf(await signIn(g.who, { recovery_code: theirs })), refused);
  assert.equal((await stateOf(g.access)).recovery_codes_left, 7);
  await accessOf(other.who, { recovery_code: theirs });
  const bad = await signIn(g.who, { recovery_code: "short" });
  assert.deepEqual(reasonOf(bad), [400, "input.invalid"]);
});

Deno.test("wrong codes close an account like wrong passwords, and the password alone wipes none out", async () => {
  const g = await guarded();
  const guess = (more: Record<string, unknown> = {}) => {
    h.clock.ms += 6_001;
    return signIn(g.who, more);
  };
  for (let i = 0; i < 9; i++) {
    assert.deepEqual(reasonOf(await guess({ totp: wrongFor(g.secret) })), refused);
    assert.deepEqual(reasonOf(await guess()), missing, "neither counts nor forgives");
    assert.deepEqual({ ...await failures(g) }, { failed_sign_ins: i + 1, locked_until: null });
    h.clock.ms += STEP_MS;
  }
  assert.deepEqual(reasonOf(await guess({ totp: wrongFor(g.secret) })), refused);
  const closed = await failures(g);
  assert.deepEqual(closed?.locked_until, new Date(h.clock.ms + 30_000));
  for (const more of [{ totp: codeOf(g.secret) }, { recovery_code: g.recoveryCodes[0] }, {}]) {
    assert.deepEqual(reasonOf(await signIn(g.who, more)), [401, "sign_in.refused"]);
  }
  assert.deepEqual(await failures(g), closed);
  h.clock.ms += 30_000;
  assert.deepEqual(reasonOf(await guess()), missing, "open again, and still open after it");
  await accessOf(g.who, { totp: codeOf(g.secret) });
  assert.deepEqual({ ...await failures(g) }, { failed_sign_ins: 0, locked_until: null });
});

/** One e-mail and one password in two tenants, with a second factor in those named. */
async function twice(...guardedIn: ("one" | "two")[]) {
  const [email, password] = [`${v7()}@people.example`, `the same in both ${v7()}`];
  const side = async (name: "one" | "two") => {
    const tenantId = await h.tenantBelow(undefined, name);
    const login = { tenantId, email, password };
    return guardedIn.includes(name)
      ? await guarded(login)
      : { who: await h.login(tenantId, login), secret: "", recoveryCodes: [] };
  };
  return { one: await side("one"), two: await side("two"), who: { email, password } };
}
const namedIn = ({ body }: Answer) => JSON.stringify(body.errors ?? []);

Deno.test("signIn names to whoever has the password alone no tenant that asks for more", async () => {
  const both = await twice("one", "two");
  const alone = await signIn(both.who);
  assert.deepEqual([...reasonOf(alone), namedIn(alone)], [...missing, "[]"]);
  const wrong = await signIn(both.who, { totp: "000000" });
  assert.deepEqual([...reasonOf(wrong), namedIn(wrong)], [...refused, "[]"]);
  const code = { totp: codeOf(both.two.secret) };
  const { status, body } = await signIn(both.who, code);
  assert.deepEqual([status, body.tenant_id], [200, both.two.who.tenantId], "its code names it");

  const mixed = await twice("two");
  const [one, two] = [mixed.one.who.tenantId, mixed.two.who.tenantId];
  for (const more of [{}, { totp: "000000" }]) {
    const answer = await signIn(mixed.who, more);
    assert.deepEqual(
      [answer.status, answer.body.tenant_id],
      [200, one],
      "as if two were not there",
    );
  }
  assert.deepEqual(reasonOf(await signIn(mixed.who, { tenant: two })), missing);
});

Deno.test("signIn lets whoever has proved all choose, and spends no code on the question", async () => {
  const { one, two, who } = await twice("two");
  const more = [{ totp: codeOf(two.secret) }, { recovery_code: two.recoveryCodes[0] }];
  for (const proof of more) {
    const asked = await signIn(who, proof);
    assert.deepEqual(reasonOf(asked), [409, "sign_in.several_tenants"]);
    assert.deepEqual(asked.body.errors, [
      { field: "tenant", message: `${one.who.tenantId} is one` },
      { field: "tenant", message: `${two.who.tenantId} is two` },
    ]);
    const { status, body } = await signIn(who, { ...proof, tenant: two.who.tenantId });
    assert.deepEqual([status, body.tenant_id], [200, two.who.tenantId]);
    assert.equal(
      (await signIn(who, proof)).body.tenant_id,
      one.who.tenantId,
      "a spent code proves nothing",
    );
  }
});

Deno.test("signIn without naming a tenant forgives no wrong code in the tenant that asks for one", async () => {
  const { one, two, who } = await twice("two");
  for (let i = 1; i <= 9; i++) {
    h.clock.ms += 6_001;
    await signIn(who, { totp: wrongFor(two.secret) });
    h.clock.ms += 6_001;
    assert.equal((await signIn(who)).body.tenant_id, one.who.tenantId);
    assert.equal((await failures(two))?.failed_sign_ins, i);
    h.clock.ms += STEP_MS;
  }
});

Deno.test.afterAll(() => h.w.close());
