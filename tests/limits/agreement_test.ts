import assert from "node:assert/strict";
import fc from "fast-check";
import { type Limit, type Limiter, limiter } from "../../src/limits/limiter.ts";
import { redis } from "../../src/redis.ts";
import { type Illness, settled, smallRedis } from "../cache/small_redis.ts";

const SYNC_MS = 500;
const limit: Limit = { name: "requests", max: 30, windowSeconds: 600 };

/** So many processes with one Redis and one clock. */
function cluster(size: number, maxKeys = 200) {
  const small = smallRedis();
  const clock = { ms: 1_700_000_000_000 };
  const processes = Array.from({ length: size }, () =>
    limiter({
      redis: redis({
        url: "https://redis.example",
        token: "t",
        fetch: (address, init) => small.fetch(address, init),
        timeoutMs: 5,
        now: () => clock.ms,
        random: () => 0.5,
      }),
      now: () => clock.ms,
      syncMs: SYNC_MS,
      maxKeys,
    }));
  return { small, clock, processes };
}

/** How many of so many takes were let through. */
function takeMany(ours: Limiter | undefined, times: number, key = "ada") {
  let through = 0;
  for (let i = 0; i < times; i++) if (ours?.take(limit, key).allowed) through++;
  return through;
}

const bursts = fc.array(
  fc.record({ by: fc.nat({ max: 3 }), times: fc.integer({ min: 1, max: 5 }) }),
  { minLength: 40, maxLength: 120 },
);

Deno.test("limiter.take of N processes overshoots by no more than N exchanges' worth", async () => {
  const property = fc.asyncProperty(
    fc.integer({ min: 1, max: 4 }),
    bursts,
    async (size, bursts) => {
      const { clock, processes } = cluster(size);
      const most = Math.max(...bursts.map(({ times }) => times));
      let through = 0;
      for (const { by, times } of bursts) {
        through += takeMany(processes[by % size], times);
        await settled();
        clock.ms += SYNC_MS;
      }
      // From one exchange to the answer of the next a process is busy for two bursts here.
      const overshoot = size === 1 ? 0 : size * 2 * most;
      assert.ok(through <= limit.max + overshoot, `${through} of ${limit.max} + ${overshoot}`);
    },
  );
  await fc.assert(property, { numRuns: 20 });
});

Deno.test("limiter.take knows after one exchange what another process let through", async () => {
  const { processes: [one, two] } = cluster(2);
  assert.equal(one?.take(limit, "ada", 30).allowed, true);
  await settled();
  assert.equal(two?.take(limit, "ada", 0).remaining, 30, "it did not ask yet");
  await settled();
  assert.deepEqual(two?.take(limit, "ada"), {
    allowed: false,
    limit: 30,
    remaining: 0,
    resetSeconds: 640,
  });
});

Deno.test("limiter.take exchanges at most once in syncMs, all keys in one request", async () => {
  const { small, clock, processes: [one] } = cluster(1);
  one?.take(limit, "ada");
  await settled();
  for (let i = 0; i < 50; i++) one?.take(limit, `key ${i % 10}`);
  await settled();
  assert.equal(small.requests, 1);
  clock.ms += SYNC_MS - 1;
  one?.take(limit, "ada");
  await settled();
  assert.equal(small.requests, 1);
  clock.ms += 1;
  one?.take(limit, "ada");
  await settled();
  assert.equal(small.requests, 2);
  const told = small.seen.filter(([name]) => name === "hincrby").map(([, , , units]) => units);
  assert.deepEqual(told, ["1", ...Array(10).fill("5"), "2"]);
});

Deno.test("limiter.take tells more keys than fit one request with the next takes", async () => {
  const { small, clock, processes: [one] } = cluster(1, 1_000);
  for (let i = 0; i < 350; i++) one?.take(limit, `key ${i}`);
  await settled();
  clock.ms += SYNC_MS;
  for (let i = 0; i < 5; i++) {
    one?.take(limit, "key 0", 0);
    await settled();
  }
  await settled();
  const hashes = [...small.values.values()].filter((value) => value instanceof Map);
  assert.equal(hashes.length, 350);
});

Deno.test("limiter.take makes Redis forget what no window holds any more", async () => {
  const { small, processes: [one] } = cluster(1);
  one?.take(limit, "ada");
  await settled();
  const [, key, seconds] = small.seen.find(([name]) => name === "expire") ?? [];
  assert.ok(small.values.has(String(key)));
  assert.equal(seconds, "1320");
});

const ILLNESSES: Illness[] = ["hangs", "is deaf", "refuses", "talks nonsense"];
for (const illness of ILLNESSES) {
  Deno.test(`limiter.take decides alone when Redis ${illness} and agrees after`, async () => {
    const { small, clock, processes: [one, two] } = cluster(2);
    small.illness = illness;
    for (const ours of [one, two]) {
      let through = 0;
      for (let i = 0; i < 10; i++) {
        through += takeMany(ours, 4);
        await settled();
        clock.ms += SYNC_MS;
      }
      assert.equal(through, limit.max, "each its own max, never more");
    }
    small.illness = null;
    for (let i = 0; i < 80; i++) {
      clock.ms += SYNC_MS;
      one?.take(limit, "bob", i < 79 ? 0 : 30);
      two?.take(limit, "bob", 0);
      await settled();
    }
    clock.ms += SYNC_MS;
    two?.take(limit, "bob", 0);
    await settled();
    assert.equal(two?.take(limit, "bob").allowed, false);
  });
}

Deno.test("limiter.take never tells the same units twice when an answer is lost", async () => {
  const { small, clock, processes: [one, two] } = cluster(2);
  const well = small.fetch;
  small.fetch = async (address, init) => {
    await well(address, init);
    throw new TypeError("connection reset");
  };
  one?.take(limit, "ada", 20);
  await settled();
  small.fetch = well;
  clock.ms += SYNC_MS;
  one?.take(limit, "ada", 0);
  two?.take(limit, "ada", 0);
  await settled();
  assert.equal(one?.take(limit, "ada", 0).remaining, 10);
  assert.equal(two?.take(limit, "ada", 0).remaining, 10);
});

Deno.test("limiter.take keeps to its own count when Redis has lost it", async () => {
  const { small, clock, processes: [one] } = cluster(1);
  assert.equal(takeMany(one, 40), 30);
  await settled();
  small.values.clear();
  clock.ms += SYNC_MS;
  assert.equal(takeMany(one, 1), 0);
  await settled();
  assert.equal(takeMany(one, 1), 0);
});

Deno.test("limiter.take learns a forgotten key's count again from Redis", async () => {
  const { clock, processes: [one] } = cluster(1, 10);
  one?.take(limit, "ada", 30);
  await settled();
  for (let i = 0; i < 10; i++) one?.take(limit, `other ${i}`);
  clock.ms += SYNC_MS;
  assert.equal(one?.take(limit, "ada", 0).remaining, 30, "forgotten");
  await settled();
  assert.equal(one?.take(limit, "ada").allowed, false);
});

Deno.test("limiter.take tells what it let through while Redis was known to be away", async () => {
  const { small, clock, processes: [one, two] } = cluster(2);
  small.illness = "refuses";
  for (let i = 0; i < 3; i++) {
    one?.take(limit, "before");
    await settled();
    clock.ms += SYNC_MS;
  }
  assert.equal(takeMany(one, 10), 10);
  await settled();
  small.illness = null;
  for (let i = 0; i < 4; i++) {
    clock.ms += SYNC_MS;
    one?.take(limit, "other");
    await settled();
  }
  two?.take(limit, "ada", 0);
  await settled();
  assert.equal(two?.take(limit, "ada", 0).remaining, 20);
});

Deno.test("limiter.take learns what was let through in the calendar's last window", async () => {
  const { clock, processes: [one, two] } = cluster(2);
  clock.ms = 600_000 * 1_000_000 - 1;
  one?.take(limit, "ada", 30);
  await settled();
  clock.ms += 60_000;
  two?.take(limit, "ada", 0);
  await settled();
  assert.equal(two?.take(limit, "ada").allowed, false);
});

Deno.test("limiter.take says when a take fits, whichever of the counts it knew first", async () => {
  const { clock, processes: [one, two] } = cluster(2);
  clock.ms = 600_000 * 1_000_000;
  one?.take(limit, "ada", 10);
  await settled();
  clock.ms += 120_000;
  two?.take(limit, "ada", 20);
  await settled();
  assert.equal(two?.take(limit, "ada", 5).resetSeconds, 540, "11 slices after the first ten");
  assert.equal(two?.take(limit, "ada", 15).resetSeconds, 660);
});

const NOW = String(1_700_000_000_000 / 60_000 | 0);
const NONSENSE = [["x", "1"], [NOW], [NOW, "many"], [NOW, "1e999"], [NOW, null], "OK", { a: 1 }];
for (const result of NONSENSE) {
  Deno.test(`limiter.take learns nothing from ${JSON.stringify(result)}`, async () => {
    const { small, processes: [one] } = cluster(1);
    small.illness = "talks nonsense";
    small.nonsense = () => Response.json([{ result: 1 }, { result: 1 }, { result }, { result }]);
    one?.take(limit, "ada", 10);
    await settled();
    assert.equal(one?.take(limit, "ada", 0).remaining, 20);
  });
}
