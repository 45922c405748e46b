/** Signing in: one answer for whoever is not let in, choices only for whose password is right. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { hashPassword, passwordFits } from "../../src/access/passwords.ts";
import { type Answer, cheapHash, elsewhere, home } from "./house.ts";

const h = await home();
const signIn = (body: Record<string, unknown>, address = elsewhere()) =>
  h.send("/auth/sign-in", body, { address });
const set = (table: "users" | "tenants", id: string, status: string) =>
  h.sql(`update ${table} set status = $2 where id = $1`, [id, status]);

/** All of an answer but what names this one request. */
function told({ status, headers, body }: Answer) {
  const { request_id: _, ...rest } = body;
  const own = ["x-request-id", "ratelimit", "ratelimit-policy"];
  return { status, body: rest, headers: [...headers].filter(([name]) => !own.includes(name)) };
}

async function strangers() {
  const tenantId = await h.tenantBelow();
  const [right, suspended, closed, locked, without] = await Promise.all(
    Array.from({ length: 5 }, () => h.login(tenantId)),
  );
  assert.ok(right && suspended && closed && locked && without);
  await set("users", suspended.userId, "suspended");
  await set("users", closed.userId, "closed");
  await h.sql(
    "update user_security set failed_sign_ins = 10, locked_until = $2 where id = $1",
    [locked.userId, new Date(h.clock.ms + 60_000)],
  );
  await h.sql("update user_security set password_hash = null where id = $1", [without.userId]);
  const inTenant = async (status: string, depth: number) => {
    const top = await h.tenantBelow();
    let at = top;
    for (let i = 0; i < depth; i++) at = await h.tenantBelow(at);
    const login = await h.login(at);
    await set("tenants", top, status);
    return login;
  };
  return {
    "an unknown e-mail": { email: "nobody@people.example", password: right.password },
    "a wrong password": { ...right, password: "wrong" },
    "another person's password": { ...right, password: suspended.password },
    "another tenant": { ...right, tenant: v7() },
    "a suspended user": suspended,
    "a closed user": closed,
    "a locked user": locked,
    "a user without a password": without,
    "a suspended tenant": await inTenant("suspended", 0),
    "a closed tenant": await inTenant("closed", 0),
    "a tenant under a suspended one": await inTenant("suspended", 3),
    "a tenant under a closed one": await inTenant("closed", 1),
  };
}

Deno.test("signIn answers alike for whoever is not let in", async () => {
  const answers: Answer[] = [];
  for (const [what, who] of Object.entries(await strangers())) {
    const { email, password } = who;
    const tenant = "tenant" in who ? { tenant: who.tenant } : {};
    const answer = await signIn({ email, password, ...tenant });
    answers.push(answer);
    assert.equal(answer.status, 401, what);
    assert.equal(answer.body.reason, "sign_in.refused", what);
    assert.deepEqual(told(answer), told(answers[0] ?? answer), what);
  }
});

Deno.test("signIn lets in with the right password, however the e-mail is written", async () => {
  const who = await h.login(await h.tenantBelow(), { password: "p\u00e9ch\u00e9 ".repeat(100) });
  const { email, tenantId, userId } = who;
  for (const written of [email, ` ${email.toUpperCase()}\n`]) {
    const password = who.password.normalize("NFD");
    const { status, body } = await signIn({ email: written, password });
    assert.deepEqual([status, body.tenant_id, body.user_id], [200, tenantId, userId]);
    assert.equal(body.token_type, "Bearer");
    const me = await h.send("/auth/me", null, {
      method: "GET",
      headers: { authorization: `Bearer ${body.access_token}` },
    });
    assert.deepEqual([me.status, me.body.email], [200, email]);
  }
});

Deno.test("signIn refuses what is no e-mail or password, by field, before it looks anybody up", async () => {
  const odd: [Record<string, unknown>, string][] = [
    [{ email: "ada", password: "x" }, "email"],
    [{ email: `${"a".repeat(320)}@x.example`, password: "x" }, "email"],
    [{ email: "ada@people.example", password: "" }, "password"],
    [{ email: "ada@people.example", password: "x".repeat(1_025) }, "password"],
    [{ email: "ada@people.example", password: { $ne: "" } }, "password"],
    [{ email: "ada@people.example", password: "x", tenant: "bakery" }, "tenant"],
    [{ email: "ada@people.example", password: "x", user_id: v7() }, "user_id"],
    [{ email: "ada@people.example", password: "x", principal: {} }, "principal"],
  ];
  for (const [body, field] of odd) {
    const answer = await signIn(body);
    assert.equal(answer.status, 400);
    assert.match(JSON.stringify(answer.body.errors), new RegExp(`"field":"${field}"`));
  }
});

Deno.test("signIn names the tenants of an e-mail only once the password is right", async () => {
  const [one, two] = [await h.tenantBelow(undefined, "One"), await h.tenantBelow(undefined, "Two")];
  const email = `${v7()}@people.example`;
  const password = "the same in both";
  await h.login(one, { email, password });
  await h.login(two, { email, password });
  const wrong = await signIn({ email, password: "another" });
  assert.deepEqual([wrong.status, wrong.body.errors], [401, undefined]);
  for (let i = 0; i < 12; i++) { // More often than wrong tries are allowed.
    h.clock.ms += 60_000;
    const { status, body } = await signIn({ email, password });
    assert.deepEqual([status, body.reason], [409, "sign_in.several_tenants"]);
    assert.deepEqual(body.errors, [
      { field: "tenant", message: `${one} is One` },
      { field: "tenant", message: `${two} is Two` },
    ]);
  }
  for (const tenant of [one, two]) {
    const { status, body } = await signIn({ email, password, tenant });
    assert.deepEqual([status, body.tenant_id], [200, tenant]);
  }
  await set("tenants", two, "suspended");
  const left = await signIn({ email, password });
  assert.deepEqual([left.status, left.body.tenant_id], [200, one]);
});

Deno.test("signIn tells two accounts of one e-mail apart by their passwords", async () => {
  const [one, two] = [await h.tenantBelow(), await h.tenantBelow()];
  const email = `${v7()}@people.example`;
  await h.login(one, { email, password: "password of one" });
  await h.login(two, { email, password: "password of two" });
  const { status, body } = await signIn({ email, password: "password of two" });
  assert.deepEqual([status, body.tenant_id], [200, two]);
});

Deno.test("signIn writes who signed in where, and nothing of what did not work out", async () => {
  const [tenantId, other] = [await h.tenantBelow(), await h.tenantBelow()];
  const who = await h.login(tenantId);
  const before = [(await h.trail(tenantId)).length, (await h.eventTypes(tenantId)).length] as const;
  const untouched = await h.trail(other);
  await signIn({ ...pick(who), password: "wrong" });
  assert.equal((await h.trail(tenantId)).length, before[0]);
  await signIn(pick(who));
  const [session] = await h.sql("select id, address from sessions where tenant_id = $1", [
    tenantId,
  ]);
  assert.deepEqual((await h.trail(tenantId)).slice(before[0]), [{
    action: "session.opened",
    actor_type: "user",
    actor_id: who.userId,
    subject_id: session?.id,
  }]);
  assert.deepEqual((await h.eventTypes(tenantId)).slice(before[1]), ["session.opened"]);
  assert.deepEqual(await h.trail(other), untouched);
});

const pick = ({ email, password }: { email: string; password: string }) => ({ email, password });

Deno.test("signIn leaves no password, hash, key or token in a log, an audit entry or an event", async () => {
  const who = await h.login(await h.tenantBelow(), { password: `canary ${v7()}` });
  const hash = await cheapHash(who.password);
  await h.sql("update user_security set password_hash = $2 where id = $1", [who.userId, hash]);
  const wrong = `wrong canary ${v7()}`;
  const answers = [
    await signIn({ email: who.email, password: wrong }),
    await signIn({ email: who.email, password: wrong, tenant: "no tenant" }),
    await signIn({ email: `${wrong}@`, password: wrong }),
  ];
  const { body } = await signIn(pick(who));
  const [kept] = await h.sql("select refresh_key from sessions where owner_user_id = $1", [
    who.userId,
  ]);
  const secrets = [
    who.password,
    hash,
    wrong,
    body.access_token,
    body.refresh_token,
    kept?.refresh_key,
  ];
  const rows = await h.sql(
    "select a.diff::text as text from audit_entries a union all select e.data::text from events e",
  );
  const said = [
    ...h.lines,
    ...rows.map(({ text }) => String(text)),
    ...answers.map((a) => JSON.stringify(a.body)),
  ];
  for (const secret of secrets) {
    assert.ok(String(secret).length > 20);
    assert.ok(!said.some((text) => text.includes(String(secret))), String(secret).slice(0, 20));
  }
});

Deno.test("signIn costs a stranger about what it costs somebody known", async () => {
  const hash = await hashPassword("right");
  const who = await h.login(await h.tenantBelow());
  await h.sql("update user_security set password_hash = $2 where id = $1", [who.userId, hash]);
  await passwordFits("warm", null);
  const times = async (email: string) => {
    const all: number[] = [];
    for (let i = 0; i < 7; i++) {
      const began = performance.now();
      await signIn({ email, password: "wrong" });
      all.push(performance.now() - began);
    }
    return all.sort((a, b) => a - b)[3] ?? 0;
  };
  const [known, unknown] = [await times(who.email), await times(`${v7()}@people.example`)];
  console.log(`median ms: known ${known.toFixed(1)}, unknown ${unknown.toFixed(1)}`);
  assert.ok(known > 20 && unknown > 20, "a password check is missing");
});

Deno.test.afterAll(() => h.w.close());
