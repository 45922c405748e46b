/** Guessing: slowed down by e-mail and by address, stopped after ten, and no way to shut others out. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import type { Ctx } from "../../src/context.ts";
import { Fault } from "../../src/errors.ts";
import { TRPCError } from "@trpc/server";
import { elsewhere, home, type Login, minutes, patience } from "./house.ts";

const h = await home();

/** Signs in without REST, so that ctx can be bent. Answers "in" or the reason why not. */
async function attempt(who: { email: string; password: string }, more: Partial<Ctx> = {}) {
  const { email, password } = who;
  try {
    await h.w.as(null, { address: elsewhere(), ...more }).identity.auth.signIn({ email, password });
    return "in";
  } catch (error) {
    if (error instanceof TRPCError && error.cause instanceof Fault) return error.cause.reason;
    throw error;
  }
}
const wrong = ({ email }: { email: string }) => ({ email, password: "wrong" });

async function state({ userId }: Login) {
  const [row] = await h.sql(
    "select failed_sign_ins, locked_until from user_security where id = $1",
    [userId],
  );
  const until = row?.locked_until;
  return {
    failed: Number(row?.failed_sign_ins),
    lockedMs: until instanceof Date ? until.getTime() - h.clock.ms : null,
  };
}

/** So many wrong tries, each from another address and in another minute. */
async function guess(who: Login, times: number) {
  for (let i = 0; i < times; i++) {
    h.clock.ms += 6_001;
    assert.equal(await attempt(wrong(who), { limiter: patience }), "sign_in.refused");
  }
}
const someone = async () => await h.login(await h.tenantBelow());

Deno.test("signIn slows down who tries one e-mail again and again, and says for how long", async () => {
  for (const email of [(await someone()).email, `${v7()}@people.example`]) {
    const address = elsewhere();
    const tries = [];
    for (let i = 0; i < 12; i++) {
      tries.push(await h.send("/auth/sign-in", { email, password: "wrong" }, { address }));
    }
    assert.deepEqual(tries.map(({ status }) => status), [...Array(10).fill(401), 429, 429]);
    const last = tries.at(-1);
    assert.deepEqual([last?.body.code, last?.body.reason], ["RateLimited", "sign_in.too_often"]);
    const wait = Number(last?.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 72, `${wait} seconds`);
    const apart = await h.send("/auth/sign-in", { email, password: "wrong" }, {
      address: elsewhere(),
    });
    assert.equal(apart.status, 429, "nor from elsewhere, for a stranger");
    h.clock.ms += wait * 1_000 + 6_001;
    const again = await h.send("/auth/sign-in", { email, password: "wrong" }, { address });
    assert.equal(again.status, 401);
  }
});

Deno.test("signIn slows down who tries many e-mails from one network", async () => {
  const reasons = [];
  for (let i = 0; i < 32; i++) {
    const address = `2001:db8:9:9::${i.toString(16)}`;
    reasons.push(await attempt({ email: `${v7()}@people.example`, password: "x" }, { address }));
  }
  const expected = [...Array(30).fill("sign_in.refused"), ...Array(2).fill("sign_in.too_often")];
  assert.deepEqual(reasons, expected);
  assert.equal(
    await attempt(wrong(await someone()), { address: "2001:db8:9:a::1" }),
    "sign_in.refused",
  );
});

Deno.test("signIn hands the limiter digests of bounded length, no e-mail and no address", async () => {
  const keys: string[] = [];
  const limiter: Ctx["limiter"] = {
    ...patience,
    take: (limit, key) => (keys.push(key), patience.take(limit, key)),
  };
  const email = `${"a".repeat(60)}@${"b".repeat(60)}.${"c".repeat(60)}.example`;
  await attempt({ email, password: "x" }, { limiter, address: "203.0.113.99" });
  assert.equal(keys.length, 3);
  for (const key of keys) assert.match(key, /^[\w-]{43}$/);
  assert.equal(new Set(keys).size, 3);
});

Deno.test("signIn closes an account after ten wrong tries, each time for longer, and opens it by itself", async () => {
  const who = await someone();
  await guess(who, 9);
  assert.deepEqual(await state(who), { failed: 9, lockedMs: null });
  await guess(who, 1);
  assert.deepEqual(await state(who), { failed: 10, lockedMs: 30_000 });
  assert.equal(await attempt(who), "sign_in.refused", "the right password is no help now");
  for (const [failed, lockMs] of [[11, 60_000], [12, 120_000], [13, 240_000]] as const) {
    h.clock.ms += (await state(who)).lockedMs ?? 0;
    assert.equal(await attempt(wrong(who), { limiter: patience }), "sign_in.refused");
    assert.deepEqual(await state(who), { failed, lockedMs: lockMs });
  }
  await h.sql("update user_security set failed_sign_ins = 2000000000 where id = $1", [who.userId]);
  h.clock.ms += 240_000;
  assert.equal(await attempt(wrong(who)), "sign_in.refused");
  assert.deepEqual(await state(who), { failed: 1_000, lockedMs: 3_600_000 });
  h.clock.ms += 3_600_000;
  assert.equal(await attempt(who), "in");
  assert.deepEqual(await state(who), { failed: 0, lockedMs: null });
});

Deno.test("signIn forgets wrong tries when the right password comes, and after a day", async () => {
  const who = await someone();
  for (let round = 0; round < 3; round++) {
    await guess(who, 9);
    assert.equal(await attempt(who), "in");
  }
  await guess(who, 9);
  await h.sql("update user_security set updated_at = $2 where id = $1", [
    who.userId,
    new Date(h.clock.ms - 24 * minutes(60) - 1),
  ]);
  assert.equal(await attempt(wrong(who)), "sign_in.refused");
  assert.deepEqual(await state(who), { failed: 1, lockedMs: null });
});

Deno.test("signIn is not stretched by what is tried while an account is closed", async () => {
  const who = await someone();
  await guess(who, 10);
  const closed = await state(who);
  for (let i = 0; i < 5; i++) {
    assert.equal(await attempt(wrong(who), { limiter: patience }), "sign_in.refused");
  }
  assert.deepEqual(await state(who), closed);
  h.clock.ms += 30_000;
  assert.equal(await attempt(who), "in");
});

Deno.test("signIn cannot be used to shut somebody out: they come in from where they were before", async () => {
  const who = await someone();
  const [home, phone] = ["203.0.113.7", "2001:db8:7:7::1"];
  for (const address of [home, phone]) assert.equal(await attempt(who, { address }), "in");
  for (let i = 0; i < 15; i++) await attempt(wrong(who));
  assert.equal(await attempt(who), "sign_in.too_often", "a stranger waits");
  h.clock.ms += minutes(2);
  await guess(who, 12);
  assert.ok(Number((await state(who)).lockedMs) > 0);
  assert.equal(await attempt(who), "sign_in.refused", "a stranger with the password waits");
  assert.equal(await attempt(who, { address: "2001:db8:7:7:ffff::9" }), "in");
  await guess(who, 10);
  assert.equal(await attempt(who, { address: home }), "in");
  await guess(who, 10);
  const there = { address: home };
  for (let i = 0; i < 5; i++) await attempt(wrong(who), there);
  assert.equal(await attempt(who, there), "sign_in.refused", "guessing from there has its end too");
});

Deno.test("signIn knows nobody by an address it does not know", async () => {
  const who = await someone();
  assert.equal(await attempt(who, { address: "unknown" }), "in");
  await guess(who, 10);
  assert.equal(await attempt(who, { address: "unknown" }), "sign_in.refused");
});

Deno.test("signIn lets no guess slip through among a hundred sent at once", async () => {
  const who = await someone();
  const open = { limiter: patience };
  const guesses = Array.from({ length: 100 }, () => attempt(wrong(who), open));
  const right = attempt(who, open);
  const answers = await Promise.all(guesses);
  assert.deepEqual(new Set(answers), new Set(["sign_in.refused"]));
  assert.equal(await right, "sign_in.refused");
  assert.deepEqual(await state(who), { failed: 10, lockedMs: 30_000 });
});

Deno.test("signIn writes down every lock, in the tenant of the account, once", async () => {
  const who = await someone();
  const [trail, events] = [await h.trail(who.tenantId), await h.eventTypes(who.tenantId)];
  await guess(who, 10);
  for (let i = 0; i < 3; i++) await attempt(wrong(who), { limiter: patience });
  assert.deepEqual((await h.trail(who.tenantId)).slice(trail.length), [{
    action: "user.locked",
    actor_type: "system",
    actor_id: null,
    subject_id: who.userId,
  }]);
  assert.deepEqual((await h.eventTypes(who.tenantId)).slice(events.length), ["user.locked"]);
});

Deno.test.afterAll(() => h.w.close());
