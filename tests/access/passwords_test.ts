/** Passwords: what counts as the same one, and how many are checked at a time. */
import assert from "node:assert/strict";
import { argon2id, argon2Verify } from "hash-wasm";
import { hashPassword, passwordFits } from "../../src/access/passwords.ts";
import { turns } from "../../src/access/turns.ts";
import { Fault } from "../../src/errors.ts";
import { cheapHash } from "../identity/house.ts";

const isBusy = (error: unknown) =>
  error instanceof Fault && error.code === "Unavailable" && error.more.retryAfterSeconds === 5;

Deno.test("hashPassword stores argon2id at OWASP's cost, salted anew each time", async () => {
  const [one, two] = await Promise.all([hashPassword("same"), hashPassword("same")]);
  assert.match(one, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/);
  assert.notEqual(one, two);
  assert.equal(await passwordFits("same", one), true);
});

Deno.test("hashPassword and passwordFits agree with another implementation, at any cost", async () => {
  const password = "p\u00e4ss \u{1f511}";
  assert.equal(await argon2Verify({ password, hash: await hashPassword(password) }), true);
  const costs: [number, number, number][] = [[8, 1, 1], [64, 3, 4], [19_456, 2, 1]];
  for (const [memorySize, iterations, parallelism] of costs) {
    for (const [saltLength, hashLength] of [[8, 4], [16, 32], [64, 64]] as const) {
      const salt = crypto.getRandomValues(new Uint8Array(saltLength));
      const options = { memorySize, iterations, parallelism, hashLength, salt };
      const stored = await argon2id({ ...options, password, outputType: "encoded" });
      assert.equal(await passwordFits(password, stored), true, stored);
      assert.equal(await passwordFits(`${password} `, stored), false, stored);
    }
  }
});

Deno.test("passwordFits leaves the thread to others while it looks", async () => {
  const stored = await hashPassword("right");
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 1);
  for (let i = 0; i < 3; i++) assert.equal(await passwordFits("right", stored), true);
  clearInterval(ticking);
  assert.ok(ticks > 9, `${ticks} ticks`); // Each turn ends with one, and it has but three.
});

Deno.test("passwordFits takes a password however a keyboard composes its letters", async () => {
  const stored = await cheapHash("pa\u00dfwort \u00e9t\u00e9 \ufb01 \uc704");
  assert.equal(await passwordFits("pa\u00dfwort e\u0301te\u0301 fi \u110b\u1171", stored), true);
  assert.equal(await passwordFits("passwort ete fi \uc704", stored), false);
});

Deno.test("passwordFits looks at all of 1,024 characters", async () => {
  const long = "\ufdfa".repeat(1_024); // The one that normalization makes longest.
  const stored = await cheapHash(long);
  assert.equal(await passwordFits(long, stored), true);
  assert.equal(await passwordFits(long.slice(0, -1), stored), false);
});

Deno.test("passwordFits says no for nobody, and for what is no argon2id hash", async () => {
  for (const stored of [null, "", "plain", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "$2b$10$abc"]) {
    assert.equal(await passwordFits("plain", stored), false, String(stored));
  }
  const options = { memorySize: 8, iterations: 1, parallelism: 1, hashLength: 32 };
  const salt = new Uint8Array(16);
  const other = await argon2id({ ...options, salt, password: "x", outputType: "encoded" });
  assert.equal(await passwordFits("x", other.replace("argon2id", "argon2i")), false);
});

Deno.test("passwordFits sends a crowd away instead of running out of memory", async () => {
  const stored = await cheapHash("right");
  const crowd = await Promise.allSettled(
    Array.from({ length: 200 }, () => passwordFits("right", stored)),
  );
  const served = crowd.filter((one) => one.status === "fulfilled" && one.value);
  const sent = crowd.filter((one) => one.status === "rejected" && isBusy(one.reason));
  assert.deepEqual([served.length, sent.length], [101, 99]);
  assert.equal(await passwordFits("right", stored), true);
});

Deno.test("turns.take runs no more at once than it may, in the order they came", async () => {
  const { take } = turns({ atOnce: 3, waiting: 1_000, retryAfterSeconds: 1 });
  let [running, most] = [0, 0];
  const order: number[] = [];
  await Promise.all(Array.from({ length: 100 }, (_, i) =>
    take(async () => {
      order.push(i);
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, i % 3));
      running--;
    })));
  assert.equal(most, 3);
  assert.deepEqual(order, Array.from({ length: 100 }, (_, i) => i));
});

Deno.test("turns.take gives the place on when work fails", async () => {
  const { take } = turns({ atOnce: 1, waiting: 10, retryAfterSeconds: 1 });
  const fail = () => Promise.reject(new Error("it failed"));
  const all = await Promise.allSettled([take(fail), take(fail), take(() => Promise.resolve(1))]);
  assert.deepEqual(all.map(({ status }) => status), ["rejected", "rejected", "fulfilled"]);
  assert.equal(await take(() => Promise.resolve(2)), 2);
});

Deno.test("turns.take lets other work run between two that hold the thread", async () => {
  const { take } = turns({ atOnce: 1, waiting: 100, retryAfterSeconds: 1 });
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 0);
  const busy = () => {
    for (const until = performance.now() + 3; performance.now() < until;);
    return Promise.resolve();
  };
  await Promise.all(Array.from({ length: 30 }, () => take(busy)));
  clearInterval(ticking);
  assert.ok(ticks >= 10, `${ticks} ticks`);
});
