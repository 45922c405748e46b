/** Bad input gets a clear answer that names the field; nothing breaks, nothing leaks, nothing is written. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Entry } from "../../routers/procedures.ts";
import { fingerprints } from "./catalogue.ts";
import {
  type Call,
  isJson,
  type Json,
  placeOf,
  rests,
  type Spot,
  spotsOf,
  trpc,
  wirePath,
  withAt,
} from "./doors.ts";
import { example } from "./examples.ts";
import { entries, house } from "./house.ts";
import { desk, doors, fieldsOf, hasInput, insides } from "./refusals.ts";

const isProof = Deno.env.get("PROVE") === "1";
const RUNS = isProof ? 300 : 8;

const { field, madeOf, refused } = await desk();

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
    for (const call of rests(entry, madeOf(entry).input, { favourite_colour: "green" })) {
      const overRest = await refused(call, entry, "an unknown field");
      assert.ok(
        fieldsOf(overRest).includes("favourite_colour"),
        `${call.url} names ${fieldsOf(overRest)}`,
      );
    }
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
      for (const value of wrong(spot).slice(0, isProof ? 4 : 2)) {
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
