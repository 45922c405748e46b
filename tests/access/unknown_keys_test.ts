/** What asking about made-up keys may cost, and that it costs nobody else anything. */
import assert from "node:assert/strict";
import { UNKNOWN_KEYS_PER_MINUTE, unknownKeys } from "../../src/access/unknown_keys.ts";
import { limiter } from "../../src/limits/limiter.ts";

const MOST = UNKNOWN_KEYS_PER_MINUTE;
const HERE = "203.0.113.7";

function process() {
  const clock = { ms: 0 };
  const { ask } = unknownKeys(limiter({ redis: null, now: () => clock.ms }));
  const count = { asked: 0, atOnce: 0, most: 0 };
  /** A question that takes a while and is answered so. */
  const question = <T>(answer: T) => async (): Promise<T> => {
    count.asked++;
    count.most = Math.max(count.most, ++count.atOnce);
    await new Promise((resolve) => setTimeout(resolve, 1));
    count.atOnce--;
    return answer;
  };
  const madeUp = (times: number, address = HERE) =>
    Promise.allSettled(Array.from({ length: times }, () => ask(address, question(null))));
  return { ask, question, madeUp, count, clock };
}

const tooMany = { code: "RateLimited", reason: "api_key.too_many_unknown" };

Deno.test("unknownKeys.ask asks about so many that do not hold in a minute, at once or in turn", async () => {
  const [burst, row] = [process(), process()];
  await burst.madeUp(5 * MOST);
  assert.equal(burst.count.asked, MOST);
  for (let i = 0; i < 5 * MOST; i++) await row.madeUp(1);
  assert.equal(row.count.asked, MOST);
  await assert.rejects(row.ask(HERE, row.question("holds")), tooMany);
  assert.equal(row.count.asked, MOST);
});

Deno.test("unknownKeys.ask says when to come back, and asks again then", async () => {
  const { ask, question, madeUp, count, clock } = process();
  await madeUp(MOST);
  const refusal = await ask(HERE, question("holds")).then(() => null, (error) => error);
  const { retryAfterSeconds } = refusal.more;
  assert.ok(retryAfterSeconds >= 60 && retryAfterSeconds <= 72, retryAfterSeconds);
  clock.ms += retryAfterSeconds * 1_000;
  assert.equal(await ask(HERE, question("holds")), "holds");
  assert.equal(count.asked, MOST + 1);
});

Deno.test("unknownKeys.ask lets any number of keys that hold in, a network's share of them at once", async () => {
  const { ask, question, count } = process();
  const answers = await Promise.all(
    Array.from({ length: 10 * MOST }, () => ask(HERE, question("holds"))),
  );
  assert.ok(answers.every((answer) => answer === "holds"));
  assert.deepEqual([count.asked, count.most], [10 * MOST, MOST]);
});

Deno.test("unknownKeys.ask counts a network's addresses together, and no two networks", async () => {
  const { ask, question, madeUp, count } = process();
  for (let i = 0; i < 2 * MOST; i++) await madeUp(1, `2001:db8:1:2::${i.toString(16)}`);
  assert.equal(count.asked, MOST);
  await assert.rejects(ask("2001:db8:1:2:ffff::1", question("holds")), tooMany);
  assert.equal(await ask("2001:db8:1:3::1", question("holds")), "holds");
  assert.equal(await ask(HERE, question("holds")), "holds");
});

Deno.test("unknownKeys.ask counts no question that failed, and frees its place", async () => {
  const { ask, question } = process();
  const fail = () => Promise.reject(new Error("away"));
  for (let i = 0; i < 3; i++) {
    const all = await Promise.allSettled(Array.from({ length: MOST }, () => ask(HERE, fail)));
    assert.ok(all.every((it) => it.status === "rejected" && /away/.test(it.reason.message)));
  }
  assert.equal(await ask(HERE, question("holds")), "holds");
});
