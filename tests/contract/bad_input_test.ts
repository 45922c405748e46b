/** Bad input gets a clear answer that names the field; nothing breaks, nothing leaks, nothing is written. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Entry } from "../../routers/procedures.ts";
import { fingerprints } from "./catalogue.ts";
import {
  batch,
  type Call,
  isJson,
  type Json,
  placeOf,
  rest,
  type Spot,
  spotsOf,
  trpc,
  trpcPost,
  wirePath,
  withAt,
  withHeaders,
} from "./doors.ts";
import { type Example, example } from "./examples.ts";
import { entries, house } from "./house.ts";

const isProof = Deno.env.get("PROVE") === "1";
const RUNS = isProof ? 300 : 12;

const field = await house();
const side = await field.side(field.root.tenantId, "Harbour Bakery");
const made = new Map<string, Required<Example>>();
for (const { path } of entries) made.set(path, await example(field, side, path));
const madeOf = ({ path }: Entry) => made.get(path) ?? { input: {}, as: side.boss, secrets: [] };

/** Words that belong to our insides. */
const insides =
  /postgres|drizzle|pglite|\bsql\b|select |insert into|update .* set|relation "|column "|constraint|stack|node_modules|\.ts:\d|file:\/\/|\/src\/|at async|zod|superjson|TypeError|undefined is not/i;

/** Asks, and answers what came back; fails on anything a caller must not see. */
async function refused(call: Call, entry: Entry, what: string): Promise<Json> {
  const answer = await field.w.request(call.url, call.init, madeOf(entry).as);
  const text = await answer.text();
  const label = `${entry.path}, ${what} (${call.init.method} ${call.url.slice(0, 120)})`;
  assert.ok(answer.status < 500, `${label} broke: ${answer.status} ${text.slice(0, 300)}`);
  assert.ok(answer.status >= 400, `${label} was accepted: ${answer.status} ${text.slice(0, 300)}`);
  assert.ok(
    !insides.test(text),
    `${label} shows our insides: ${insides.exec(text)} in ${text.slice(0, 500)}`,
  );
  assert.ok(text.length < 64_000, `${label} answers ${text.length} characters`);
  assert.ok(answer.headers.get("x-request-id"), `${label} has no request id`);
  const body: unknown = text === "" ? {} : JSON.parse(text);
  return isJson(body) ? body : {};
}

/** The fields a refusal names, over REST and over tRPC. */
function fieldsOf(body: Json): string[] {
  const fields: unknown =
    isJson(body.error) && isJson(body.error.json) && isJson(body.error.json.data)
      ? isJson(body.error.json.data.fault) && body.error.json.data.fault.fields
      : body.errors;
  return Array.isArray(fields) ? fields.map((field) => String(field.field)) : [];
}

const hasInput = entries.filter((entry) => spotsOf(entry).length > 0);
const doors = (entry: Entry, input: unknown) =>
  [trpc(entry, input), rest(entry, input)].filter((call) => call !== null);

/** Whether REST takes this field from the path or the query. */
function isInAddress(entry: Entry, { path }: Spot, { url, init }: Call): boolean {
  if (url.startsWith("/trpc")) return url.length > 60_000;
  const isParameter = placeOf(entry)?.path.includes(`{${wirePath(path)}}`);
  return isParameter || init.method === "GET" || init.method === "DELETE";
}

/** The kinds of value a schema takes, null aside. */
const kindsOf = (schema: Json): unknown[] =>
  [schema, ...[schema.anyOf, schema.oneOf].flat().filter(isJson)].flatMap(({ type }) => type ?? [])
    .filter((type) => type !== "null");

/** Values no field of that schema takes. */
function wrong({ schema }: Spot): unknown[] {
  const [kind] = kindsOf(schema);
  const values: unknown[] = ["\u0000", "a\u0000b", "\ud800", { $ne: null }, [[]], 1e300, -1];
  if (kind === undefined) return ["\u0000", "\ud800"];
  if (kind === "string") return [...values, "x".repeat(500_000)];
  if (kind === "object") return ["text", 7, [], ["\u0000"], { a: "\ud800" }];
  if (kind === "array") return ["\u0000", 7, { a: 1 }, ["\u0000"], [{}]];
  return values;
}

Deno.test("a wrong value is refused and its field named, on tRPC and REST", async () => {
  for (const entry of hasInput) {
    for (const spot of spotsOf(entry)) {
      for (const value of wrong(spot)) {
        const input = withAt(madeOf(entry).input, spot.path, value);
        for (const call of doors(entry, input)) {
          // An address carries nothing but text, and not any text at all.
          const isText = typeof value === "string" && value.isWellFormed() && value.length < 9_000;
          if (!isText && isInAddress(entry, spot, call)) continue;
          const isRest = call.url.startsWith("/api") || call.url.startsWith("/v1");
          const what = `${spot.path.join(".")} = ${JSON.stringify(value)?.slice(0, 40)}`;
          const body = await refused(call, entry, what);
          if (isRest && placeOf(entry)?.path.includes(`{${wirePath(spot.path)}}`)) continue;
          const name = isRest ? wirePath(spot.path) : spot.path.join(".");
          const named = fieldsOf(body);
          const isNamed = named.some((field) =>
            field === name || field.startsWith(`${name}.`) ||
            field.endsWith(`.${name}`)
          );
          assert.ok(isNamed, `${entry.path}, ${what}: names ${named} and not ${name}`);
        }
      }
    }
  }
});

Deno.test("a missing field is refused and named", async () => {
  for (const entry of hasInput) {
    const needed = spotsOf(entry).filter(({ isRequired, path }) => isRequired && path.length === 1);
    for (const { path: [key = ""] } of needed) {
      const { input } = madeOf(entry);
      const without = Object.fromEntries(
        Object.entries(isJson(input) ? input : {}).filter(([name]) => name !== key),
      );
      const body = await refused(trpc(entry, without), entry, `no ${key}`);
      assert.ok(
        fieldsOf(body).includes(key),
        `${entry.path} without ${key} names ${fieldsOf(body)}`,
      );
    }
  }
});

Deno.test("an unknown field is refused and named", async () => {
  for (const entry of entries) {
    const input = withAt(madeOf(entry).input, ["favouriteColour"], "green");
    const overTrpc = await refused(trpc(entry, input), entry, "an unknown field");
    assert.ok(fieldsOf(overTrpc).includes("favouriteColour"), entry.path);
    const call = rest(entry, madeOf(entry).input, { favourite_colour: "green" });
    if (!call) continue;
    const overRest = await refused(call, entry, "an unknown field");
    assert.ok(
      fieldsOf(overRest).includes("favourite_colour"),
      `${call.url} names ${fieldsOf(overRest)}`,
    );
  }
});

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
  for (const entry of entries.filter(placeOf)) {
    const { input, as } = await example(field, side, entry.path);
    for (const name of [...names, "accept", "content-length", "x-forwarded-for"]) {
      for (const value of [long, "\u00ff\u00fe", '"', ",,,,", "-1"]) {
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

/** Any JSON, with the names and texts that have hurt others. */
const nasty = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(
      null,
      true,
      "",
      "\u0000",
      "\ud800",
      "__proto__",
      "' or 1=1 --",
      1e308,
      -0,
    ),
    fc.string({ unit: "binary" }),
    fc.double({ noNaN: true }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(
      fc.oneof(
        fc.constantFrom("__proto__", "constructor", "prototype", "id", "json", "meta"),
        fc.string(),
      ),
      tie("value"),
      { maxKeys: 4 },
    ),
  ),
})).value;

Deno.test("any JSON at any field of any procedure is refused or fits, and nothing breaks", async () => {
  for (const entry of hasInput) {
    const { input, as } = madeOf(entry);
    // Only calls that cannot go through are tried: an unknown field stands beside the random one.
    const spots = spotsOf(entry);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...spots), nasty, async ({ path }, value) => {
        const bent = withAt(withAt(input, path, value), ["favouriteColour"], 1);
        for (const call of doors(entry, bent)) {
          const answer = await field.w.request(call.url, call.init, as);
          const text = await answer.text();
          assert.ok(
            answer.status >= 400 && answer.status < 500,
            `${call.url} ${answer.status} ${text}`,
          );
          assert.ok(!insides.test(text.replaceAll(JSON.stringify(value), "")), text);
        }
      }),
      { numRuns: RUNS },
    );
  }
});

Deno.test("nothing of all this was written", async () => {
  const bad = await house();
  const there = await bad.side(bad.root.tenantId, "Harbour Bakery");
  const prints = () => fingerprints(bad.superuser, bad.tables, there.tenantId);
  for (const entry of hasInput.filter(({ type }) => type === "mutation")) {
    const { input } = await example(bad, there, entry.path);
    const before = await prints();
    for (const spot of spotsOf(entry)) {
      for (const value of wrong(spot).slice(0, 4)) {
        for (const call of doors(entry, withAt(input, spot.path, value))) {
          const answer = await bad.w.request(call.url, call.init, there.boss);
          await answer.body?.cancel();
        }
      }
    }
    assert.deepEqual(await prints(), before, `${entry.path} wrote something of a refused call`);
  }
  await bad.close();
  await field.close();
});
