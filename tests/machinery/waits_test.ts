/** Waits on one timer: each rings once and in time, none that was called off, and no other is held up. */
import assert from "node:assert/strict";
import { waitFor } from "../../src/waits.ts";
import { until } from "../db/house.ts";

const passed = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** It may ring a quarter of a second late; so may this machine. */
const LATE_MS = 1_000;

Deno.test("a wait rings once, not before its time and soon after it, however many there are", async () => {
  const began = performance.now();
  const rang = new Map<number, number[]>();
  const all = [0, 5, 999, 1_000, 1_001, 1_100, 1_600].flatMap((ms) => Array(50).fill(ms));
  for (const ms of all) {
    waitFor(ms, () => rang.set(ms, [...rang.get(ms) ?? [], performance.now() - began]));
  }
  await until(() => [...rang.values()].flat().length >= all.length, "all of them rang");
  await passed(LATE_MS);
  assert.equal(rang.size, 7);
  for (const [ms, times] of rang) {
    assert.equal(times.length, 50, `${ms} ms`);
    for (const at of times) assert.ok(at >= ms - 2, `${ms} ms: ${at}`);
  }
});

Deno.test("a wait that was called off does not ring, by another that rings least of all", async () => {
  const rang: string[] = [];
  const off = [50, 1_000].map((ms) => waitFor(ms, () => rang.push(`off ${ms}`)));
  off.forEach((callOff) => callOff());
  const calls: (() => void)[] = [];
  for (const name of ["one", "other"]) {
    calls.push(waitFor(1_000, () => {
      rang.push(name);
      calls.forEach((callOff) => callOff()); // Both are due in the same moment.
    }));
  }
  await passed(1_000 + LATE_MS);
  assert.deepEqual(rang, ["one"]);
  off.forEach((callOff) => callOff());
});

Deno.test("a wait is kept for who comes after a time when there was none", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const alive = setInterval(() => {}, 1_000);
  await passed(600);
  waitFor(1_000, resolve);
  await promise;
  clearInterval(alive);
});

Deno.test("what one wait throws keeps no other from ringing, and keeps no process alive", async () => {
  const run = (code: string) =>
    new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        `import { waitFor } from "${new URL("../../src/waits.ts", import.meta.url)}";${code}`,
      ],
      stderr: "null",
    }).output();
  const began = performance.now();
  await run("waitFor(60_000, () => {})");
  assert.ok(performance.now() - began < 30_000);
  const { stdout } = await run(`
    globalThis.addEventListener("error", (event) => event.preventDefault());
    waitFor(1_000, () => { throw new Error("no") });
    waitFor(1_000, () => console.log("rang"));
    setTimeout(() => {}, 2_000);`);
  assert.equal(new TextDecoder().decode(stdout), "rang\n");
});
