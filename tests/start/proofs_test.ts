/** The runs of the test runner are counted together, and none hides another. */
import assert from "node:assert/strict";
import { alone, failuresOf, races, summaryOf, summed } from "../../scripts/proofs.ts";
import { exists } from "../contract/sources.ts";

const said = (line: string) => `a test ... ok (5ms)\n\n\x1b[0m\x1b[32m${line}\x1b[0m (2m3s)\n\n`;

Deno.test("summaryOf reads the runner's own last line, and nothing a test has printed", () => {
  const line = "FAILED | 1203 passed (3 steps) | 2 failed (1 step) | 4 ignored";
  assert.deepEqual(summaryOf(said(line)), { passed: 1203, failed: 2, ignored: 4 });
  const printed = "ok | 9 passed | 0 failed (1s)\n" + said("ok | 12 passed | 0 failed");
  assert.deepEqual(summaryOf(printed), { passed: 12, failed: 0, ignored: 0 });
  assert.equal(summaryOf("error: Module not found\n"), null);
});

Deno.test("summed adds the parts up, and a part that failed or broke off shows", () => {
  const good = { summary: { passed: 10, failed: 0, ignored: 1 }, success: true };
  assert.equal(summed([good, good]), "ok | 20 passed | 0 failed | 2 ignored");
  const bad = { summary: { passed: 3, failed: 2, ignored: 0 }, success: false };
  assert.equal(summed([bad, good]), "FAILED | 13 passed | 2 failed | 1 ignored");
  assert.equal(summed([good, bad]), "FAILED | 13 passed | 2 failed | 1 ignored");
  const gone = { summary: null, success: false };
  assert.equal(summed([gone, good]), "FAILED | 10 passed | 1 failed | 1 ignored");
  const odd = { summary: { passed: 5, failed: 0, ignored: 0 }, success: false };
  assert.equal(summed([good, odd]), "FAILED | 15 passed | 1 failed | 1 ignored");
  const silent = { summary: null, success: true };
  assert.equal(summed([good, silent]), "FAILED | 10 passed | 1 failed | 1 ignored");
});

Deno.test("failuresOf names what failed with the beginning of what it said, a test's own print aside", () => {
  const output = [
    "------- output -------",
    "mine => ./no_test.ts:1:1",
    "error: printed by a test",
    "----- output end -----",
    "",
    " ERRORS ",
    "",
    "\x1b[1mone ... inner => ./a_test.ts:1:6\x1b[0m",
    "error: Error: what was",
    "said",
    "    at file:///a_test.ts:1:38",
    "",
    "./b_test.ts (uncaught error)",
    "error: (in promise) Error: uncaught",
    "    at file:///b_test.ts:1:7",
    "",
    " FAILURES ",
    "",
    "one ... inner => ./a_test.ts:1:6",
    "",
  ].join("\n");
  assert.deepEqual(failuresOf(output), [
    "one ... inner => ./a_test.ts:1:6: Error: what was\nsaid",
    "./b_test.ts (uncaught error): (in promise) Error: uncaught",
  ]);
  assert.deepEqual(failuresOf(said("ok | 12 passed | 0 failed")), []);
});

Deno.test("what runs apart is there", async () => {
  for (const path of [...races, ...alone]) assert.ok(await exists(path), path);
});
