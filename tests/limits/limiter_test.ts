import assert from "node:assert/strict";
import fc from "fast-check";
import { type Limit, limiter } from "../../src/limits/limiter.ts";

const START_MS = 1_700_000_000_123;
const MINUTE: Limit = { name: "requests", max: 3, windowSeconds: 60 };

function alone() {
  const clock = { ms: START_MS };
  const ours = limiter({ redis: null, now: () => clock.ms, maxKeys: 100 });
  return { clock, take: ours.take };
}

const limits = fc.record({
  name: fc.constant("any"),
  max: fc.nat({ max: 20 }),
  windowSeconds: fc.constantFrom(1, 2, 7, 60, 3_600),
});
/** Pauses in thousandths of a window, so that every length meets its borders. */
const takes = fc.array(
  fc.record({
    pause: fc.oneof(fc.constant(0), fc.nat({ max: 50 }), fc.nat({ max: 1_300 })),
    cost: fc.nat({ max: 5 }),
  }),
  { maxLength: 80 },
);

Deno.test("limiter.take lets no more than max through any window, wherever it begins", () => {
  fc.assert(
    fc.property(limits, takes, (limit, takes) => {
      const { clock, take } = alone();
      const windowMs = limit.windowSeconds * 1_000;
      const through: { atMs: number; cost: number }[] = [];
      for (const { pause, cost } of takes) {
        clock.ms += pause * limit.windowSeconds;
        if (take(limit, "ada", cost).allowed) through.push({ atMs: clock.ms, cost });
        const recent = through.filter(({ atMs }) => atMs > clock.ms - windowMs);
        const units = recent.reduce((sum, { cost }) => sum + cost, 0);
        assert.ok(units <= limit.max, `${units} units in one window of ${limit.max}`);
      }
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("limiter.take lets a refused take through when resetSeconds are over", () => {
  fc.assert(
    fc.property(limits, takes, (limit, takes) => {
      const { clock, take } = alone();
      for (const { pause, cost } of takes) {
        clock.ms += pause * limit.windowSeconds;
        const { allowed, resetSeconds } = take(limit, "ada", cost);
        assert.ok(resetSeconds >= 1 && resetSeconds <= Math.ceil(limit.windowSeconds * 1.1));
        if (allowed || cost > limit.max) continue;
        clock.ms += resetSeconds * 1_000;
        assert.equal(take(limit, "ada", cost).allowed, true);
      }
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("limiter.take refuses nobody who has used less than max in the last 1.1 windows", () => {
  fc.assert(
    fc.property(limits, takes, (limit, takes) => {
      const { clock, take } = alone();
      const windowMs = limit.windowSeconds * 1_100;
      const through: { atMs: number; cost: number }[] = [];
      for (const { pause, cost } of takes) {
        clock.ms += pause * limit.windowSeconds;
        const recent = through.filter(({ atMs }) => atMs > clock.ms - windowMs);
        const units = recent.reduce((sum, { cost }) => sum + cost, 0);
        const verdict = take(limit, "ada", cost);
        if (units + cost <= limit.max) assert.equal(verdict.allowed, true);
        if (verdict.allowed) through.push({ atMs: clock.ms, cost });
      }
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("limiter.take counts down, refuses, and says when all or one is back", () => {
  const { clock, take } = alone();
  clock.ms = 6_000_000;
  assert.deepEqual(take(MINUTE, "ada"), {
    allowed: true,
    limit: 3,
    remaining: 2,
    resetSeconds: 66,
  });
  clock.ms += 30_000;
  assert.equal(take(MINUTE, "ada", 2).remaining, 0);
  const refused = { allowed: false, limit: 3, remaining: 0, resetSeconds: 36 };
  assert.deepEqual(take(MINUTE, "ada"), refused);
  assert.deepEqual(take(MINUTE, "ada"), refused, "to be refused costs nothing");
  assert.equal(take(MINUTE, "ada", 2).resetSeconds, 66, "two are back only with the second take");
  clock.ms += 36_000;
  assert.equal(take(MINUTE, "ada").allowed, true);
});

Deno.test("limiter.take with cost 0 looks and takes nothing", () => {
  const { take } = alone();
  const untouched = { allowed: true, limit: 3, remaining: 3, resetSeconds: 60 };
  for (let i = 0; i < 10; i++) assert.deepEqual(take(MINUTE, "ada", 0), untouched);
});

Deno.test("limiter.take keeps keys, names and windows apart, but not values of max", () => {
  const { take } = alone();
  take(MINUTE, "ada", 3);
  assert.equal(take(MINUTE, "bob").allowed, true);
  assert.equal(take({ ...MINUTE, name: "sign-ins" }, "ada").allowed, true);
  assert.equal(take({ ...MINUTE, windowSeconds: 3_600 }, "ada").allowed, true);
  take({ ...MINUTE, name: "requests:60" }, "bob", 3);
  assert.equal(take(MINUTE, "60:bob").allowed, true);
  assert.equal(take({ ...MINUTE, max: 5 }, "ada").remaining, 1);
  assert.equal(take({ ...MINUTE, max: 2 }, "ada").allowed, false);
});

Deno.test("limiter.take throws for a cost or limit that means nothing", () => {
  const { take } = alone();
  for (const cost of [-1, 0.5, NaN, Infinity]) {
    assert.throws(() => take(MINUTE, "ada", cost), RangeError);
  }
  for (const max of [-1, 0.5, NaN, 1e15]) {
    assert.throws(() => take({ ...MINUTE, max }, "ada"), RangeError);
  }
  for (const windowSeconds of [0, -60, 0.5, NaN]) {
    assert.throws(() => take({ ...MINUTE, windowSeconds }, "ada"), RangeError);
  }
});

Deno.test("limiter.take forgets the least recently used key only, after maxKeys others", () => {
  const { take } = alone();
  take(MINUTE, "ada", 3);
  take(MINUTE, "bob", 3);
  for (let i = 0; i < 98; i++) take(MINUTE, `other ${i}`);
  assert.equal(take(MINUTE, "ada").allowed, false, "being refused is being used");
  take(MINUTE, "one more");
  assert.equal(take(MINUTE, "ada").allowed, false);
  assert.equal(take(MINUTE, "bob").allowed, true, "forgotten: 99 others were touched since");
});

Deno.test("limiter.take recovers from a clock that ran ahead and was set back", () => {
  const { clock, take } = alone();
  clock.ms += 86_400_000;
  assert.equal(take(MINUTE, "ada", 3).allowed, true);
  clock.ms -= 86_400_000;
  assert.equal(take(MINUTE, "ada").allowed, true);
});
