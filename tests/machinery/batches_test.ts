/** Questions go together, and one that cannot be answered takes no other with it. */
import assert from "node:assert/strict";
import { batcher } from "../../src/batches.ts";

const never = () => false;

/** Answers each number with its double when it is let; notes what it was asked. */
function calculator(isBad: (n: number) => boolean = never, isEverybodys: () => boolean = never) {
  const asked: number[][] = [];
  const askedAgain: number[][] = [];
  const open = Promise.withResolvers<void>();
  const run = async (items: number[], again: boolean) => {
    asked.push(items);
    if (again) askedAgain.push(items);
    await open.promise;
    if (items.some(isBad)) throw new Error(`Not ${items}`);
    return items.map((n) => 2 * n);
  };
  const { ask } = batcher(run, { most: 8, lanes: 1, isEverybodys });
  const all = (numbers: number[]) => Promise.allSettled(numbers.map((n) => ask(n)));
  const told = async (answers: ReturnType<typeof all>) =>
    (await answers).map((one) => one.status === "fulfilled" ? one.value : "refused");
  return {
    asked,
    askedAgain,
    ask,
    all,
    told,
    go: () => open.resolve(),
  };
}
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

Deno.test("batcher.ask asks for who comes alone at once, and then for all who waited", async () => {
  const { asked, all, told, go } = calculator();
  const answers = all(upTo(12));
  assert.deepEqual(asked, [[0]]);
  go();
  assert.deepEqual(await told(answers), upTo(12).map((n) => 2 * n));
  assert.deepEqual(asked, [[0], [1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11]]);
});

Deno.test("batcher.ask answers everybody but the one that fails, in few questions", async () => {
  const { asked, askedAgain, all, told, go } = calculator((n) => n === 5);
  const answers = all(upTo(9));
  go();
  assert.deepEqual(await told(answers), upTo(9).map((n) => n === 5 ? "refused" : 2 * n));
  assert.deepEqual(askedAgain, asked.slice(2));
  assert.deepEqual(asked, [[0], upTo(9).slice(1), [1, 2, 3, 4], [5, 6, 7, 8], [5, 6], [5], [6], [
    7,
    8,
  ]]);
});

Deno.test("batcher.ask asks nobody again where the failure is everybody's", async () => {
  const { asked, all, told, go } = calculator((n) => n === 5, () => true);
  const answers = all(upTo(9));
  go();
  assert.deepEqual(await told(answers), [0, ...upTo(8).map(() => "refused")]);
  assert.equal(asked.length, 2);
});

Deno.test("batcher.ask goes on after a failure", async () => {
  const { ask, all, told, go } = calculator((n) => n === 0);
  go();
  assert.deepEqual(await told(all([0])), ["refused"]);
  assert.equal(await ask(3), 6);
});
