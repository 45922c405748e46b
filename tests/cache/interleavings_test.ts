import assert from "node:assert/strict";
import fc from "fast-check";
import { cache } from "../../src/cache/cache.ts";
import { redis } from "../../src/redis.ts";
import { smallRedis } from "./small_redis.ts";

const TTL_MS = 4_000;
const PLACE = { tenantId: "ada", topic: "access", key: "key 1" };

type Step =
  | { do: "get"; by: 0 | 1 }
  | { do: "change"; by: 0 | 1 }
  | { do: "wait"; ms: number };

const by = fc.constantFrom<0 | 1>(0, 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("get"), by }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("change"), by }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("wait"), ms: fc.constantFrom(1, 2_000, 4_000) }),
  },
);

/** Every query, fill, Redis request and commit waits until the scheduler lets it happen. */
function world(s: fc.Scheduler) {
  const clock = { ms: 1_000_000 };
  const truth = { version: 0, epoch: 0 };
  const small = smallRedis();
  const later = <T>(label: string, happen: () => T | Promise<T>): Promise<T> =>
    s.schedule(Promise.resolve(), label).then(happen);
  /** Read at one moment, answered at another. */
  const ask = <T>(label: string, read: () => T) =>
    later(label, read).then((value) => later(`${label} answered`, () => value));
  const processes = [0, 1].map((n) =>
    cache({
      redis: redis({
        url: "https://redis.example",
        token: "t",
        fetch: (address, init) => later(`redis ${n}`, () => small.fetch(address, init)),
        timeoutMs: 60_000,
        now: () => clock.ms,
      }),
      epochsOf: () => ask(`epochs ${n}`, () => ({ [PLACE.topic]: truth.epoch })),
      now: () => clock.ms,
      epochTtlMs: TTL_MS,
      random: () => 0.5,
    })
  );
  return { clock, truth, processes, later, ask };
}

Deno.test("cache.get is never staler than promised, in whatever order things happen", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.array(step, { minLength: 3, maxLength: 25 }), check),
    { numRuns: 400 },
  );
});

async function check(s: fc.Scheduler, steps: Step[]) {
  const { clock, truth, processes, later, ask } = world(s);
  const commits: { version: number; atMs: number }[] = [];
  /** The version each process has been told of by its own `moved`. */
  const told = [0, 0];

  /** The oldest version a `get` that begins now may answer. */
  const floor = (reader: number) =>
    Math.max(
      told[reader] ?? 0,
      ...commits.filter(({ atMs }) => clock.ms - atMs >= TTL_MS).map(({ version }) => version),
    );

  const run = async (step: Step) => {
    if (step.do === "wait") {
      clock.ms += step.ms;
    } else if (step.do === "change") {
      await later("commit", () => {
        truth.version++;
        truth.epoch++;
        commits.push({ version: truth.version, atMs: clock.ms });
      });
      processes[step.by]?.moved(PLACE.tenantId, PLACE.topic);
      told[step.by] = truth.version;
    } else {
      const least = floor(step.by);
      const got = await processes[step.by]?.get(PLACE, () => ask("fill", () => truth.version));
      assert.ok(got !== undefined && got >= least, `got version ${got}, promised ${least}`);
    }
  };

  const sequence = steps.map((step) => later(step.do, () => run(step)));
  await s.waitFor(Promise.all(sequence));
}
