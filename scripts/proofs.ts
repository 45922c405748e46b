/** Runs the tests: those that stand company several files at a time, then races, then what measures time. */
import { availableParallelism } from "node:os";
import { stripVTControlCharacters } from "node:util";
import { template } from "../tests/databases.ts";
import { postgres } from "../tests/stand_ins/postgres.ts";

const help = `deno task test [paths and options of deno test]

Runs every test there is: several files at a time, then those of races two at a time, then, alone,
those that measure time. Types are checked beside the first of them. With arguments it is deno test
with these. DENO_JOBS says how many files run at a time at first.

Databases of tests are on one real Postgres, started for the run: TEST_DATABASE_URL names another.
Without either, as when deno test is called by itself, most of them are embedded ones.`;

/** What measures time: another test beside it would be felt. */
export const alone = ["tests/machinery/redis_test.ts", "tests/identity/sign_in_test.ts"];
/** What has several processes race within bounds of time: more than two at once would be felt. */
export const races = [
  "tests/races/channels_test.ts",
  "tests/races/idempotency_test.ts",
  "tests/races/outage_test.ts",
  "tests/races/quota_test.ts",
  "tests/races/refresh_test.ts",
  "tests/races/revocation_test.ts",
  "tests/races/rotation_test.ts",
  "tests/races/sessions_test.ts",
  "tests/races/settlement_test.ts",
  "tests/races/single_use_test.ts",
  "tests/races/team_rates_test.ts",
  "tests/races/team_revocation_test.ts",
];

export type Summary = { passed: number; failed: number; ignored: number };

/** What a run of the test runner came to, by its own last line; null when it did not come to one. */
export function summaryOf(output: string): Summary | null {
  const lines = stripVTControlCharacters(output).split("\n");
  const last = lines.findLast((line) => /^(?:ok|FAILED) \| \d+ passed/.test(line));
  if (last === undefined) return null;
  const count = (what: string) => Number(new RegExp(`(\\d+) ${what}`).exec(last)?.[1] ?? 0);
  return { passed: count("passed"), failed: count("failed"), ignored: count("ignored") };
}

/** All of them as one, in the runner's words. A part that broke off counts as a failure. */
export function summed(parts: { summary: Summary | null; success: boolean }[]): string {
  const sum = { passed: 0, failed: 0, ignored: 0 };
  for (const { summary, success } of parts) {
    sum.passed += summary?.passed ?? 0;
    sum.ignored += summary?.ignored ?? 0;
    sum.failed += success && summary ? 0 : Math.max(1, summary?.failed ?? 0);
  }
  const { passed, failed, ignored } = sum;
  const word = failed > 0 ? "FAILED" : "ok";
  return `${word} | ${passed} passed | ${failed} failed | ${ignored} ignored`;
}

/** Which tests failed, by the runner's own list, each with the first lines of what it said. */
export function failuresOf(output: string): string[] {
  const plain = stripVTControlCharacters(output);
  const from = plain.lastIndexOf("\n ERRORS \n");
  const to = plain.lastIndexOf("\n FAILURES \n");
  if (from < 0 || to < from) return [];
  const said = plain.slice(from, to).matchAll(/^(.+)\nerror: ((?:(?! {4}at ).*\n){1,4})/gm);
  return [...said].map(([, test, error]) => `${test}: ${error?.trim()}`);
}

/** Runs `deno test` and passes on what it prints as it comes. */
async function run(args: string[], jobs = 1) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", ...jobs > 1 ? ["--parallel"] : [], ...args],
    env: { DENO_JOBS: String(jobs) },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const decoder = new TextDecoder();
  let output = "";
  for await (const chunk of child.stdout) {
    for (let left = chunk; left.length > 0;) left = left.subarray(await Deno.stdout.write(left));
    output += decoder.decode(chunk, { stream: true });
  }
  const { success } = await child.status;
  return { summary: summaryOf(output), failures: failuresOf(output), success };
}

/** The types of all there is, on the core the tests leave: as a part that failed or that says nothing. */
async function checkTypes() {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--quiet", "."],
    stdin: "null",
  }).output();
  const failures = success ? [] : [new TextDecoder().decode(stderr)];
  return { summary: { passed: 0, failed: failures.length, ignored: 0 }, failures, success };
}

async function main() {
  if (Deno.args.includes("--help")) return console.log(help);
  await using server = await postgres();
  await template(server);
  Deno.env.set("TEST_DATABASE_URL", server.url);
  Deno.exitCode = Deno.args.length > 0
    ? (await run(Deno.args)).success ? 0 : 1
    : await everything();
}

/** The exit code. */
async function everything(): Promise<number> {
  const startedMs = performance.now();
  const types = checkTypes();
  const jobs = Number(Deno.env.get("DENO_JOBS")) || availableParallelism() + 1;
  const others = `--ignore=${[...races, ...alone].join(",")}`;
  const parts = [
    await run(["--no-check", others], jobs),
    await run(["--no-check", ...races], 2),
    await run(["--no-check", ...alone]),
    await types,
  ];
  for (const failure of parts.flatMap(({ failures }) => failures)) console.log(`\n${failure}`);
  const line = summed(parts);
  console.log(`${line} (${Math.round((performance.now() - startedMs) / 1000)}s)`);
  return line.startsWith("ok") ? 0 : 1;
}

if (import.meta.main) await main();
