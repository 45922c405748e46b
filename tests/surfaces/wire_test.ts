import assert from "node:assert/strict";
import fc from "fast-check";
import { z } from "zod";
import { plain, platformApi } from "../../routers/conventions.ts";
import { compile, readingOf } from "../../routers/wire.ts";

const at = new Date("2026-11-22T10:11:12.345Z");

Deno.test("compile renames by schema, at every depth, and never in free-form JSON", () => {
  const wire = compile(z.strictObject({
    outerName: z.object({ innerName: z.string().optional() }).nullable().default(null),
    items: z.array(z.tuple([z.object({ aB: z.int() })])),
    byKey: z.record(z.string(), z.object({ isOn: z.boolean() })),
    freeForm: z.record(z.string(), z.unknown()),
    anythingAtAll: z.unknown(),
  }));
  const there = {
    outer_name: { inner_name: "x" },
    items: [[{ a_b: 1 }]],
    by_key: { someKey: { is_on: true }, some_key: { is_on: false } },
    free_form: { aB: { cD: 1 }, a_b: 2 },
    anything_at_all: { aB: [{ c_d: "YES" }] },
  };
  const here = {
    outerName: { innerName: "x" },
    items: [[{ aB: 1 }]],
    byKey: { someKey: { isOn: true }, some_key: { isOn: false } },
    freeForm: { aB: { cD: 1 }, a_b: 2 },
    anythingAtAll: { aB: [{ c_d: "YES" }] },
  };
  assert.deepEqual(wire.read(there), here);
  assert.deepEqual(wire.write(here, plain), there);
});

Deno.test("compile keeps unknown names for the schema to refuse, camelCase ones too", () => {
  const schema = z.strictObject({ clientId: z.string().optional() });
  for (const sent of [{ foo: 1 }, { clientId: "a" }, { ClientId: "a" }]) {
    assert.equal(schema.safeParse(compile(schema).read(sent)).success, false);
  }
});

Deno.test("compile reads dates, booleans and big numbers in all accepted forms", () => {
  const wire = compile(z.object({
    d: z.date().optional(),
    iso: z.iso.datetime().optional(),
    b: z.boolean().optional(),
    yes: z.literal(true).optional(),
    big: z.bigint().optional(),
  }));
  const read = (value: object) => wire.read(value);
  assert.deepEqual(
    read({ d: "20261122101112", b: "YES", yes: "YES", big: "12345678901234567890" }),
    {
      d: new Date("2026-11-22T10:11:12Z"),
      b: true,
      yes: true,
      big: 12345678901234567890n,
    },
  );
  assert.deepEqual(read({ iso: "20261122101112" }), { iso: "2026-11-22T10:11:12.000Z" });
  const wrong = { d: "20261322101112", b: "yes", big: 1.5, iso: "soon" };
  assert.deepEqual(read(wrong), wrong);
});

Deno.test("compile writes dates and booleans in the style asked for, values only", () => {
  const wire = compile(z.object({
    createdAt: z.date(),
    readAt: z.iso.datetime().nullable(),
    isActive: z.boolean(),
    flags: z.array(z.boolean()),
    metadata: z.record(z.string(), z.unknown()),
    count: z.bigint(),
  }));
  const value = {
    createdAt: at,
    readAt: at.toISOString(),
    isActive: false,
    flags: [true],
    metadata: { isOn: true, at: at.toISOString() },
    count: 5n,
  };
  assert.deepEqual(wire.write(value, platformApi), {
    created_at: "20261122101112",
    read_at: "20261122101112",
    is_active: "NO",
    flags: ["YES"],
    metadata: { isOn: true, at: at.toISOString() },
    count: "5",
  });
  assert.deepEqual(wire.write(value, plain), {
    created_at: at.toISOString(),
    read_at: at.toISOString(),
    is_active: false,
    flags: [true],
    metadata: { isOn: true, at: at.toISOString() },
    count: "5",
  });
});

Deno.test("compile finds the form of a union by its discriminator or by what fits", () => {
  const shape = z.discriminatedUnion("kindOf", [
    z.strictObject({ kindOf: z.literal("a"), startsAt: z.date() }),
    z.strictObject({ kindOf: z.enum(["b", "c"]), startsAt: z.string(), isOn: z.boolean() }),
  ]);
  const wire = compile(shape);
  assert.deepEqual(wire.read({ kind_of: "a", starts_at: "20261122101112" }), {
    kindOf: "a",
    startsAt: new Date("2026-11-22T10:11:12Z"),
  });
  const b = { kindOf: "c", startsAt: "20261122101112", isOn: true };
  assert.deepEqual(wire.read({ kind_of: "c", starts_at: "20261122101112", is_on: "YES" }), b);
  assert.deepEqual(wire.write(b, platformApi), {
    kind_of: "c",
    starts_at: "20261122101112",
    is_on: "YES",
  });
  const unknown = { kind_of: "z" };
  assert.deepEqual(wire.read(unknown), unknown);

  const either = compile(z.union([z.date(), z.object({ isOn: z.boolean() }), z.null()]));
  assert.deepEqual(either.read("20261122101112"), new Date("2026-11-22T10:11:12Z"));
  assert.deepEqual(either.read({ is_on: "NO" }), { isOn: false });
  assert.deepEqual(either.write({ isOn: false }, plain), { is_on: false });
  assert.equal(either.write(at, platformApi), "20261122101112");
  assert.equal(either.write(null, platformApi), null);
});

Deno.test("compile follows lazy, recursive, piped and transformed schemas", () => {
  type Node = { nodeName: string; childNodes: Node[] };
  const Node: z.ZodType<Node> = z.object({
    nodeName: z.string(),
    get childNodes() {
      return z.array(Node);
    },
  });
  const there = { node_name: "a", child_nodes: [{ node_name: "b", child_nodes: [] }] };
  const here = { nodeName: "a", childNodes: [{ nodeName: "b", childNodes: [] }] };
  assert.deepEqual(compile(Node).read(there), here);
  assert.deepEqual(compile(z.lazy(() => Node)).write(here, plain), there);
  const piped = z.preprocess((value) => value, z.object({ aB: z.boolean() }))
    .transform(({ aB }) => aB);
  assert.deepEqual(compile(piped).read({ a_b: "YES" }), { aB: true });
});

Deno.test("compile refuses two fields of one wire name at start", () => {
  assert.throws(() => compile(z.object({ aB: z.string(), a_b: z.string() })), /one wire name/);
});

Deno.test("readText takes numbers, booleans, dates and lists out of a query", () => {
  const field = (schema: z.ZodType, text: string | string[]) => compile(schema).readText(text);
  assert.equal(field(z.int().optional(), "12"), 12);
  assert.equal(field(z.number(), "-1.5e3"), -1500);
  for (const text of ["", " 1", "0x10", "1e", "Infinity", "01", "٣"]) {
    assert.equal(field(z.number(), text), text);
  }
  assert.equal(field(z.boolean().default(true), "false"), false);
  assert.equal(field(z.boolean(), "YES"), true);
  assert.equal(field(z.boolean(), "1"), "1");
  assert.deepEqual(field(z.array(z.int()), ["1", "2"]), [1, 2]);
  assert.deepEqual(field(z.array(z.int()), "1"), [1]);
  assert.deepEqual(field(z.date().nullable(), "20261122101112"), new Date("2026-11-22T10:11:12Z"));
  assert.equal(field(z.union([z.int(), z.string()]), "12"), 12);
  assert.equal(field(z.union([z.int(), z.string()]), "twelve"), "twelve");
});

Deno.test("readingOf names fields as the surface spells them", () => {
  const schema = z.strictObject({
    outerName: z.object({ innerList: z.array(z.object({ aB: z.int() })) }),
    freeForm: z.record(z.string(), z.object({ isOn: z.boolean() })),
  });
  const [wire, ours] = [
    readingOf(compile(schema), "wire"),
    readingOf(compile(schema), "schema"),
  ];
  const path = ["outerName", "innerList", 3, "aB"];
  assert.equal(wire.nameOf(path), "outer_name.inner_list.3.a_b");
  assert.equal(ours.nameOf(path), "outerName.innerList.3.aB");
  assert.equal(wire.nameOf(["freeForm", "someKey", "isOn"]), "free_form.someKey.is_on");
});

const Everything = z.strictObject({
  someText: z.string(),
  isActive: z.boolean(),
  startsAt: z.date(),
  maybeList: z.array(z.object({ innerFlag: z.boolean(), innerDate: z.date().nullable() }))
    .optional(),
  metaData: z.record(z.string(), z.unknown()),
});
const value = fc.record({
  someText: fc.string(),
  isActive: fc.boolean(),
  startsAt: fc.date({
    min: new Date("0001-01-01T00:00:00Z"),
    max: new Date("9999-12-31T23:59:59Z"),
    noInvalidDate: true,
  }).map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000)),
  metaData: fc.dictionary(fc.string().filter((key) => key !== "__proto__"), fc.jsonValue()),
}, { requiredKeys: ["someText", "isActive", "startsAt", "metaData"] });

Deno.test("what is written reads back the same, in either style", () => {
  const wire = compile(Everything);
  fc.assert(fc.property(value, fc.boolean(), (input, innerFlag) => {
    const full = { ...input, maybeList: [{ innerFlag, innerDate: null }] };
    for (const style of [plain, platformApi]) {
      const sent = JSON.parse(JSON.stringify(wire.write(full, style)));
      assert.ok("some_text" in sent && !("someText" in sent));
      assert.deepEqual(sent.meta_data, JSON.parse(JSON.stringify(full.metaData)));
      assert.deepEqual(Everything.parse(wire.read(sent)), {
        ...full,
        metaData: JSON.parse(JSON.stringify(full.metaData)),
      });
    }
  }));
});

Deno.test("read and readText throw at nothing", () => {
  const wire = compile(z.object({ a: Everything.optional(), b: z.union([Everything, z.date()]) }));
  fc.assert(fc.property(fc.anything(), (value) => void wire.read(value)));
  fc.assert(fc.property(fc.array(fc.string()), (value) => void wire.readText(value)));
});
