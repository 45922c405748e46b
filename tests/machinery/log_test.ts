/** A log line is one JSON object, whatever is put in, and tells no value of a query. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { asSystem, transact } from "../../src/context.ts";
import { log, told } from "../../src/log.ts";
import { Secret } from "../../src/secrets/secret.ts";
import { world } from "../kit.ts";

function written(least: Parameters<typeof log>[0]) {
  const lines: string[] = [];
  const write = log(least, (line) => void lines.push(line));
  return { write, lines, parsed: () => lines.map((line) => JSON.parse(line)) };
}

Deno.test("log writes one line of JSON at its level and above", () => {
  const { write, lines, parsed } = written("warn");
  for (const level of ["debug", "info", "warn", "error"] as const) write(level, `a\n${level}`);
  assert.deepEqual(parsed().map(({ level, message }) => [level, message]), [
    ["warn", "a\nwarn"],
    ["error", "a\nerror"],
  ]);
  assert.ok(lines.every((line) => !line.includes("\n")));
  assert.ok(Math.abs(Date.parse(parsed()[0].time) - Date.now()) < 5_000);
});

Deno.test("log lets no field stand for its level, its message or its time", () => {
  const { write, parsed } = written("info");
  write("error", "true", { level: "debug", message: "false", time: "never", requestId: "r" });
  const [{ level, message, time, requestId }] = parsed();
  assert.deepEqual([level, message, requestId], ["error", "true", "r"]);
  assert.notEqual(time, "never");
});

Deno.test("log writes what JSON cannot, and hides secrets", () => {
  const { write, lines, parsed } = written("info");
  const round: Record<string, unknown> = {};
  round.round = round;
  write("info", "odd", { big: 10n, round });
  write("info", "big", { big: 10n, not: undefined, secret: new Secret("hunter2") });
  assert.deepEqual(parsed().map(({ message }) => message), ["odd", "big"]);
  assert.deepEqual([parsed()[1].big, parsed()[1].secret], ["10", "[secret]"]);
  assert.ok(!lines.join().includes("hunter2"));
});

Deno.test("told gives an error with its causes and without the values of a query", async () => {
  const w = await world();
  const ctx = asSystem(w.process, (await w.tenant()).tenantId);
  const failing = transact(
    ctx,
    ({ db }) => db.execute(sql`select ${"canary\n    line"}::text, 1 / ${0}::int`),
  );
  const error = await failing.catch((error) => error);
  const text = told(error);
  assert.ok(text.includes("Failed query") && text.includes("division by zero"), text);
  assert.ok(!text.includes("canary"), text);
  assert.match(text, /\n +at /);
  assert.equal(told("words"), "words");
  await w.close();
});
