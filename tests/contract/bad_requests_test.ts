/** Broken bodies, headers, addresses and batches are refused like any bad input, and break nothing. */
import assert from "node:assert/strict";
import {
  batch,
  type Call,
  placeOf,
  rest,
  spotsOf,
  trpcPost,
  wirePath,
  withHeaders,
} from "./doors.ts";
import { example } from "./examples.ts";
import { entries } from "./house.ts";
import { desk, fieldsOf, insides } from "./refusals.ts";

const isProof = Deno.env.get("PROVE") === "1";
const { field, side, madeOf, refused } = await desk();

const raw = (call: Call, body: BodyInit | null, type = "application/json"): Call =>
  withHeaders({ url: call.url, init: { ...call.init, body } }, { "content-type": type });

const bodies: Readonly<Record<string, BodyInit>> = {
  "half of an object": '{"id":',
  "a bare word": "hello",
  "a number": "1",
  "null in brackets": "[null]",
  "single quotes": "{'a':1}",
  "a reach for the prototype": '{"__proto__":{"isAdmin":true}}',
  "a constructor": '{"constructor":{"prototype":{"isAdmin":true}}}',
  "superjson's own shape": '{"json":{"a":1},"meta":{"values":{"__proto__.x":["Date"]}}}',
  "superjson's classes": '{"json":{"a":1},"meta":{"values":{"a":[["class","Function"]]}}}',
  "lists in lists": "[".repeat(200_000),
  "objects in objects": '{"a":'.repeat(50_000),
  "ten megabytes of brackets": "[".repeat(10 * 1024 * 1024),
  "bytes that are no text": new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]),
  "half of a letter": new Uint8Array([0x22, 0xc3]),
  "a huge number": '{"limit":1e999}',
  "a number beyond 2^53": '{"limit":9007199254740993}',
  "a NUL": '{"a":"\\u0000"}',
  "half of a pair": '{"a":"\\ud800"}',
  "a key of half a pair": '{"\\ud800":1}',
};

Deno.test("a body that is not the JSON we want is refused", async () => {
  for (const entry of entries.filter(({ type }) => type === "mutation")) {
    const call = rest(entry, madeOf(entry).input);
    const hasBody = call && call.init.method !== "DELETE";
    for (const [what, body] of Object.entries(bodies)) {
      await refused(raw(trpcPost(entry.path, {}), body), entry, what);
      if (hasBody) await refused(raw(call, body), entry, what);
    }
  }
});

Deno.test("a body of another type is refused with 415", async () => {
  for (const entry of entries.filter(({ type }) => type === "mutation")) {
    const types = [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data",
      "",
      "a/b;c",
    ];
    for (const type of types) {
      const call = rest(entry, madeOf(entry).input);
      const isOpenToBodies = call && call.init.method !== "DELETE" && entry.input;
      const targets = [trpcPost(entry.path, {}), ...isOpenToBodies ? [call] : []];
      for (const target of targets) {
        const wanted = raw(target, '{"a":1}', type);
        const answer = await field.w.request(wanted.url, wanted.init, madeOf(entry).as);
        assert.equal(answer.status, 415, `${wanted.url} took ${type}: ${await answer.text()}`);
        await answer.body?.cancel().catch(() => {});
      }
    }
  }
});

Deno.test("a query parameter given twice with two values is refused and named", async () => {
  for (const entry of entries.filter((entry) => placeOf(entry)?.method === "GET")) {
    for (const { path: [key = ""] } of spotsOf(entry).filter(({ path }) => path.length === 1)) {
      const call = rest(entry, {});
      if (!call) continue;
      const name = wirePath([key]);
      const url = `${call.url}?${name}=1&${name}=2`;
      const body = await refused({ url, init: { method: "GET" } }, entry, "given twice");
      assert.ok(
        fieldsOf(body).some((field) => field.startsWith(name)),
        `${url} names ${fieldsOf(body)}`,
      );
    }
  }
});

Deno.test("headers of any length and content are refused or not heeded, and nothing breaks", async () => {
  const long = "a".repeat(64 * 1024);
  const names = [
    "if-match",
    "idempotency-key",
    "prefer",
    "authorization",
    "x-api-key",
    "x-request-id",
  ];
  const all = [...names, "accept", "content-length", "x-forwarded-for"];
  for (const [place, entry] of entries.filter(placeOf).entries()) {
    const { input, as } = await example(field, side, entry.path);
    // Each place meets some of them, the others are the next one's; on PROVE all meet all.
    for (const name of all.filter((_, n) => isProof || n % 3 === place % 3)) {
      for (const value of [long, '"', ...isProof ? ["\u00ff\u00fe", ",,,,", "-1"] : []]) {
        const call = rest(entry, input);
        if (!call) continue;
        const own = name === "authorization" || name === "x-api-key" ? null : as;
        const dressed = withHeaders(call, { [name]: value });
        const answer = await field.w.request(dressed.url, dressed.init, own);
        const text = await answer.text();
        const label = `${call.url} with ${name}: ${value.slice(0, 10)}`;
        assert.ok(answer.status < 500, `${label}: ${answer.status} ${text.slice(0, 300)}`);
        assert.ok(answer.ok || !insides.test(text), `${label}: ${text.slice(0, 300)}`);
        assert.ok(!text.includes(long), `${label} comes back`);
      }
    }
  }
});

Deno.test("addresses nobody meant are refused", async () => {
  const odd = [
    "%",
    "%ff",
    "%00",
    "..%2f",
    "'",
    "\u{1f600}",
    "x".repeat(20_000),
    "a/b",
    "{}",
    "*",
    " ",
  ];
  for (const entry of entries.filter((entry) => placeOf(entry)?.path.includes("{"))) {
    const place = placeOf(entry);
    for (const value of odd) {
      const url = (place?.path ?? "").replaceAll(/\{[^}]*\}/g, () => value);
      await refused(
        { url, init: { method: place?.method ?? "GET" } },
        entry,
        `path with ${value.slice(0, 9)}`,
      );
    }
  }
});

Deno.test("batches too long, of unknown procedures and of broken inputs are refused", async () => {
  for (const entry of entries) {
    const mine = { path: entry.path, input: madeOf(entry).input };
    await refused(batch(entry.type, Array(21).fill(mine)), entry, "21 calls");
    await refused(
      batch(entry.type, Array(3).fill({ path: `${entry.path}s`, input: {} })),
      entry,
      "unknown",
    );
    const url = `/trpc/${entry.path}?batch=1&input=${encodeURIComponent("[1,")}`;
    await refused({ url, init: { method: "GET" } }, entry, "broken batch");
  }
});

Deno.test("the desk of this test is closed", () => field.close());
