import assert from "node:assert/strict";
import fc from "fast-check";
import { Fault } from "../../src/errors.ts";
import { checkJson, maxDepth, readBytes, readJson } from "../../routers/json.ts";

/** The field a refusal names. */
function refused(value: unknown): string | undefined {
  try {
    checkJson(value);
  } catch (error) {
    assert.ok(error instanceof Fault);
    return error.more.fields?.[0]?.field ?? "";
  }
}
const nested = (depth: number): unknown => depth === 0 ? 1 : [nested(depth - 1)];

Deno.test("checkJson names the place of what cannot be stored", () => {
  assert.equal(refused({ a: [{ b: "x\0" }] }), "a.0.b");
  assert.equal(refused({ a: "\ud800" }), "a");
  assert.equal(refused({ a: { "b\0": 1 } }), "a.b\\0");
  assert.equal(refused({ a: Infinity }), "a");
  assert.equal(refused({ a: 2 ** 53 }), "a");
  assert.equal(refused({ a: 2 ** 53 - 1, b: 0.1, c: "👍", d: null, e: new Date() }), undefined);
  for (const key of ["__proto__", "constructor", "prototype"]) {
    assert.equal(refused(JSON.parse(`{"a":{"${key}":1}}`)), `a.${key}`);
  }
});

Deno.test("checkJson refuses what only superjson can carry", () => {
  assert.equal(refused({ a: new Map() }), "a");
  assert.equal(refused({ a: new Date(NaN) }), "a");
  assert.equal(refused({ a: new (class Odd {})() }), "a");
});

Deno.test("checkJson bounds depth and the number of values", () => {
  assert.equal(refused(nested(maxDepth)), undefined);
  assert.notEqual(refused(nested(maxDepth + 1)), undefined);
  assert.notEqual(refused(JSON.parse(`${"[".repeat(2e5)}${"]".repeat(2e5)}`)), undefined);
  let unfolds: unknown = [1];
  for (let i = 0; i < 30; i++) unfolds = [unfolds, unfolds];
  assert.notEqual(refused(unfolds), undefined);
  const circle: unknown[] = [];
  circle.push(circle, circle);
  assert.notEqual(refused(circle), undefined);
});

Deno.test("checkJson accepts all JSON of ordinary depth", () => {
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
    const text = JSON.stringify(value);
    const isOdd = /"(__proto__|constructor|prototype)":|\\u0000/.test(text);
    fc.pre(!/\d{16}|e\+/.test(text) && !isOdd && text.isWellFormed() && !/\\ud[89a-f]/.test(text));
    assert.equal(refused(JSON.parse(text)), undefined);
  }));
});

const ask = (body: BodyInit | null, headers = { "content-type": "application/json" }) =>
  new Request("http://x", { method: "POST", body, headers });

Deno.test("readBytes leaves a body that pauses, and tells of each piece that came", async () => {
  let isLeft = false;
  const stalled = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new Uint8Array(5)),
    cancel: () => void (isLeft = true),
  });
  const request = new Request("http://localhost/", { method: "POST", body: stalled });
  const came: number[] = [];
  const read = readBytes(request, 10_000, (bytes) => came.push(bytes), 50);
  await assert.rejects(read, { reason: "body.paused" });
  assert.deepEqual([came, isLeft], [[5], true]);
});

Deno.test("readBytes stops at the limit, whatever the length header says", async () => {
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(1000).fill(sent++)),
  });
  await assert.rejects(readBytes(ask(endless), 10_000), { code: "PayloadTooLarge" });
  assert.ok(sent < 20);
  const claimed = new Request("http://x", {
    method: "POST",
    body: "{}",
    headers: { "content-length": "99999" },
  });
  await assert.rejects(readBytes(claimed, 10_000), { code: "PayloadTooLarge" });
  const parts = ReadableStream.from([new Uint8Array([1]), new Uint8Array([2, 3])]);
  assert.deepEqual(await readBytes(ask(parts), 3), new Uint8Array([1, 2, 3]));
});

Deno.test("readJson never repeats the body in its refusal", async () => {
  await assert.rejects(readJson(ask('{"secret": hunter2}'), 1000), (error: Error) => {
    assert.doesNotMatch(error.message, /hunter2|secret/);
    return error instanceof Fault && error.reason === "body.malformed";
  });
});

Deno.test("readJson takes no body, an empty one and a byte order mark", async () => {
  assert.equal(await readJson(ask(null), 10), undefined);
  assert.equal(await readJson(ask("", { "content-type": "text/plain" }), 10), undefined);
  assert.deepEqual(await readJson(ask("\ufeff{}"), 10), {});
});
