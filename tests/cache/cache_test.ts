import assert from "node:assert/strict";
import fc from "fast-check";
import { keyOf } from "../../src/cache/cache.ts";
import { ADA, gate, house, PLACE } from "./house.ts";
import { type Illness, settled } from "./small_redis.ts";

Deno.test("cache.get fills once for a thousand that ask at once", async () => {
  const { process, truth, fill } = house();
  const ours = process();
  const all = await Promise.all(Array.from({ length: 1_000 }, () => ours.get(PLACE, fill)));
  assert.deepEqual(new Set(all), new Set(["v0"]));
  assert.deepEqual([truth.fills, truth.epochReads], [1, 1]);
  await ours.get(PLACE, fill);
  assert.equal(truth.fills, 1);
});

Deno.test("cache.get fills once over two processes, one after the other", async () => {
  const { process, shared, truth, fill } = house();
  const [one, two] = [process({ redis: shared() }), process({ redis: shared() })];
  await one.get(PLACE, fill);
  await settled();
  assert.equal(await two.get(PLACE, fill), "v0");
  assert.equal(truth.fills, 1);
  assert.equal(two.stats().sharedHits, 1);
});

Deno.test("cache.get tells every waiter of a failed fill and asks again next time", async () => {
  const { process } = house();
  const ours = process();
  const { ask, fail, calls } = gate<string>();
  const waiting = Promise.allSettled([ours.get(PLACE, ask), ours.get(PLACE, ask)]);
  await settled();
  fail(new Error("no such table"));
  for (const outcome of await waiting) {
    assert.equal(outcome.status, "rejected");
    assert.match(String(outcome.reason), /no such table/);
  }
  assert.equal(calls(), 1);
  assert.equal(await ours.get(PLACE, () => Promise.resolve("well")), "well");
});

Deno.test("cache.get tells of a fill that throws before it returns a promise", async () => {
  const { process } = house();
  const ours = process();
  const broken = () => {
    throw new Error("broken");
  };
  await assert.rejects(ours.get(PLACE, broken), /broken/);
  await assert.rejects(ours.get(PLACE, broken), /broken/);
});

const RICH = () => ({
  at: new Date("2026-11-22T10:00:00.000Z"),
  none: undefined,
  nothing: null,
  amountMicros: 12345678901234567890n,
  names: new Set(["a"]),
  byId: new Map([["a", new Date(0)]]),
  list: [{ at: new Date(1) }],
  bytes: new Uint8Array([1, 2, 3]),
});

Deno.test("cache.get gives dates, bigints, sets and maps as such from either level", async () => {
  const { process, shared } = house();
  const fill = () => Promise.resolve(RICH());
  const [one, two] = [process({ redis: shared() }), process({ redis: shared() })];
  assert.deepEqual(await one.get(PLACE, fill), RICH());
  assert.deepEqual(await one.get(PLACE, fill), RICH());
  await settled();
  assert.deepEqual(await two.get(PLACE, () => Promise.reject(new Error("not asked"))), RICH());
});

Deno.test("cache.get gives nothing a caller could change for the next", async () => {
  const { process } = house();
  const ours = process();
  const fill = () => Promise.resolve({ rows: [{ name: "Gmail" }] });
  const first = await ours.get(PLACE, fill);
  assert.throws(() => first.rows.push({ name: "mine" }), TypeError);
  assert.throws(() => Object.assign(first.rows[0] ?? {}, { name: "mine" }), TypeError);
  assert.deepEqual(await ours.get(PLACE, fill), { rows: [{ name: "Gmail" }] });
});

Deno.test("cache.get keeps null and undefined like any value", async () => {
  const { process } = house();
  const ours = process();
  for (const value of [null, undefined]) {
    const place = { ...PLACE, key: String(value) };
    const { ask, open, calls } = gate<typeof value>();
    open(value);
    assert.equal(await ours.get(place, ask), value);
    assert.equal(await ours.get(place, ask), value);
    assert.equal(calls(), 1);
  }
});

Deno.test("cache.get answers what superjson refuses and does not keep it", async () => {
  const { process } = house();
  const ours = process();
  const fill = () => Promise.resolve({ metadata: { constructor: "ACME" } });
  assert.deepEqual(await ours.get(PLACE, fill), { metadata: { constructor: "ACME" } });
  assert.deepEqual([ours.stats().unkept, ours.stats().entries], [1, 0]);
});

Deno.test("cache.get keeps an entry for ttlSeconds over both levels together", async () => {
  const { process, shared, clock, truth, fill } = house();
  const [one, two] = [process({ redis: shared() }), process({ redis: shared() })];
  await one.get(PLACE, fill);
  await settled();
  clock.ms += 3_000_000;
  await two.get(PLACE, fill);
  assert.equal(truth.fills, 1, "50 minutes old, taken from Redis");
  clock.ms += 599_999;
  await two.get(PLACE, fill);
  assert.equal(truth.fills, 1, "a millisecond before its hour is over");
  clock.ms += 1;
  await two.get(PLACE, fill);
  assert.equal(truth.fills, 2, "and not another hour from when it was taken");
});

Deno.test("cache.get sets Redis' own expiry, and the build stands in the key", async () => {
  const { process, shared, small, fill } = house();
  await process({ redis: shared(), ttlSeconds: 77, build: "b2" }).get(PLACE, fill);
  await settled();
  const [name, key, , ...expiry] = small.seen.find(([name]) => name === "set") ?? [];
  assert.deepEqual([name, key, expiry], ["set", keyOf("b2", PLACE, 0), ["ex", "77"]]);
  assert.match(String(key), new RegExp(ADA));
});

const RUBBISH: Record<string, string | Map<string, number>> = {
  "nothing": "",
  "no JSON": "{",
  "another's JSON": '{"json":{"rows":[]}}',
  "no object": '{"json":7}',
  "no time": '{"json":{"filledAtMs":"now","value":1}}',
  "a poisoned path":
    '{"json":{"filledAtMs":1,"value":1},"meta":{"values":{"__proto__.x":["Date"]}}}',
  "a hash": new Map([["a", 1]]),
};

for (const [name, rubbish] of Object.entries(RUBBISH)) {
  Deno.test(`cache.get takes ${name} in Redis for a miss and mends it`, async () => {
    const { process, shared, small, fill } = house();
    small.values.set(keyOf("1", PLACE, 0), rubbish);
    assert.equal(await process({ redis: shared() }).get(PLACE, fill), "v0");
    await settled();
    assert.equal(await process({ redis: shared() }).get(PLACE, fill), "v0");
    assert.match(String(small.values.get(keyOf("1", PLACE, 0))), /v0/);
  });
}

const ILLNESSES: Illness[] = ["hangs", "is deaf", "refuses", "talks nonsense"];
for (const illness of ILLNESSES) {
  Deno.test(`cache.get answers from its fill when Redis ${illness}`, async () => {
    const { process, shared, small, fill } = house();
    small.illness = illness;
    const ours = process({ redis: shared() });
    const keys = ["a", "b", "c", "d", "e"];
    for (const key of keys) assert.equal(await ours.get({ ...PLACE, key }, fill), "v0");
    await settled();
    assert.ok(small.requests <= 4, `${small.requests} requests: the breaker is open by then`);
  });
}

Deno.test("cache.get holds no more entries and no more text than it may", async () => {
  const { process } = house();
  const few = process({ maxEntries: 10 });
  const short = process({ maxChars: 20_000 });
  for (let i = 0; i < 200; i++) {
    const place = { ...PLACE, key: "k".repeat(50 + i) };
    for (const ours of [few, short]) await ours.get(place, () => Promise.resolve(""));
    assert.ok(few.stats().entries <= 10);
    assert.ok(short.stats().chars <= 20_000, `${short.stats().chars} characters`);
  }
  assert.ok(short.stats().chars > 15_000, "and makes use of what it may");
});

Deno.test("cache.get takes a key for the same only when every part is", () => {
  const part = fc.oneof(
    { weight: 1, arbitrary: fc.string({ unit: "binary" }) },
    { weight: 4, arbitrary: fc.string({ unit: fc.constantFrom(...'a1:,"\\'), maxLength: 2 }) },
    { weight: 1, arbitrary: fc.constantFrom("__proto__", "\ud800", "\ud801") },
  );
  const place = fc.record({ tenantId: part, topic: part, key: part });
  const keyed = fc.record({ place, epoch: fc.nat({ max: 1 }), build: fc.constantFrom("", "1") });
  fc.assert(
    fc.property(keyed, keyed, (a, b) => {
      const [x, y] = [a, b].map(({ build, place, epoch }) => {
        // As it arrives at Redis: UTF-8 has no lone surrogates.
        return new TextDecoder().decode(new TextEncoder().encode(keyOf(build, place, epoch)));
      });
      const isSame = JSON.stringify([a.build, a.place, a.epoch]) ===
        JSON.stringify([b.build, b.place, b.epoch]);
      assert.equal(x === y, isSame);
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("cache.get keeps tenants, topics and keys with odd names apart", async () => {
  const { process } = house();
  const ours = process({ epochsOf: () => Promise.resolve({}) });
  const odd = ["__proto__", "constructor", "toString", "a", "a,b", '"'];
  const places = odd.flatMap((tenantId) =>
    odd.flatMap((topic) => odd.map((key) => ({ tenantId, topic, key })))
  );
  for (const round of [1, 2]) {
    for (const place of places) {
      const text = JSON.stringify(place);
      assert.equal(await ours.get(place, () => Promise.resolve(text)), text, `round ${round}`);
    }
  }
  assert.equal(ours.stats().fills, places.length);
});

Deno.test("cache refuses bounds that would break what is published", () => {
  const { process } = house();
  for (const epochTtlMs of [0, -1, 5_001, NaN, 0.5]) {
    assert.throws(() => process({ epochTtlMs }), RangeError);
  }
  for (const ttlSeconds of [0, -1, Infinity]) {
    assert.throws(() => process({ ttlSeconds }), RangeError);
  }
});
