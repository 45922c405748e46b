/** A sealed text opens unchanged in its own place and nowhere else. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { boxKey } from "../../src/secrets/boxes.ts";
import { framed, fromBase64url } from "../../src/secrets/bytes.ts";
import {
  type DataKey,
  keyIdOf,
  open,
  type Place,
  seal,
  Unreadable,
} from "../../src/secrets/envelope.ts";
import { place, tenantA, tenantB } from "./kit.ts";

const dataKey = async (tenantId = tenantA): Promise<DataKey> => ({
  id: crypto.randomUUID(),
  tenantId,
  key: await boxKey(crypto.getRandomValues(new Uint8Array(32))),
});
const key = await dataKey();

Deno.test("open gives back what seal took, for any text", async () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(text, async (plain) => {
      assert.equal(await open(key, place, await seal(key, place, plain)), plain);
    }),
    { numRuns: 500, examples: [[""], ["\0"], ["\ufeffmark"], ["e\u0301"], ["\u{10ffff}"]] },
  );
});

Deno.test("seal refuses half of a surrogate pair and does not repeat the text", async () => {
  for (const plain of ["\ud800", "canary\udc00", "\udfff\ud800"]) {
    await assert.rejects(seal(key, place, plain), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /half of a surrogate pair/);
      assert.ok(!JSON.stringify(error).includes("canary"));
      return true;
    });
  }
});

Deno.test("seal writes sb1, the key's id, a fresh nonce and the ciphertext", async () => {
  const sealed = await seal(key, place, "hunter2");
  assert.match(sealed, /^sb1\.[0-9a-f-]{36}\.[\w-]{16}\.[\w-]{31}$/);
  assert.equal(keyIdOf(sealed), key.id);
  assert.ok(!sealed.includes("hunter2"));
  const nonces = await Promise.all(
    Array.from({ length: 200 }, async () => (await seal(key, place, "hunter2")).split(".")[2]),
  );
  assert.equal(new Set(nonces).size, 200);
});

Deno.test("open refuses a sealed text with any one bit flipped", async () => {
  for (const plain of ["", "a", "ab", "canary-hunter2"]) {
    const sealed = await seal(key, place, plain);
    const bytes = new TextEncoder().encode(sealed);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.map((byte, at) => at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte);
      const text = new TextDecoder("latin1").decode(flipped);
      await assert.rejects(open(key, place, text), Unreadable, `bit ${bit} of ${sealed}`);
    }
  }
});

Deno.test("open refuses every other spelling, cut and extension of a sealed text", async () => {
  const sealed = await seal(key, place, "canary");
  const others = [
    "",
    "sb1",
    "sb1...",
    sealed.toUpperCase(),
    ` ${sealed}`,
    `${sealed}\n`,
    `${sealed}=`,
    `${sealed}A`,
    `${sealed}.`,
    sealed.replace("sb1", "sb2"),
    sealed.replaceAll(".", ":"),
    `${sealed.slice(0, 60)} ${sealed.slice(60)}`,
    ...Array.from(sealed, (_, length) => sealed.slice(0, length)),
  ];
  for (const other of others) {
    await assert.rejects(open(key, place, other), Unreadable, other);
  }
});

Deno.test("open refuses a value moved to another tenant, table, row or column", async () => {
  const sealed = await seal(key, place, "canary");
  const elsewhere: Partial<Place>[] = [
    { tenantId: tenantB },
    { table: "service_platforms" },
    { row: "0190c0de-0000-7000-8000-000000000002" },
    { column: "access_token" },
    { table: place.column, column: place.table },
    { table: "", column: place.table + place.column },
    { table: `${place.table}${place.row}`, row: "" },
  ];
  for (const change of elsewhere) {
    await assert.rejects(open(key, { ...place, ...change }, sealed), Unreadable);
  }
  assert.equal(await open(key, place, sealed), "canary");
});

Deno.test("open refuses a value for a tenant whose key has the same bytes", async () => {
  const sealed = await seal(key, place, "canary");
  const twin = { ...key, tenantId: tenantB };
  await assert.rejects(open(twin, { ...place, tenantId: tenantB }, sealed), Unreadable);
  await assert.rejects(open({ ...key, id: crypto.randomUUID() }, place, sealed), Unreadable);
  await assert.rejects(open(await dataKey(), place, sealed), Unreadable);
});

Deno.test("open refuses a value whose key id was exchanged, even for the same bytes", async () => {
  const twin = { ...key, id: crypto.randomUUID() };
  const sealed = (await seal(key, place, "canary")).replace(key.id, twin.id);
  await assert.rejects(open(twin, place, sealed), Unreadable);
});

Deno.test("open takes the ids in capitals for the same place, as Postgres does", async () => {
  const shouting = { ...place, row: place.row.toUpperCase(), tenantId: tenantA.toUpperCase() };
  assert.equal(await open(key, place, await seal(key, shouting, "canary")), "canary");
});

Deno.test("seal does not seal for a tenant the key is not of", async () => {
  await assert.rejects(seal(key, { ...place, tenantId: tenantB }, "canary"), /its own tenant/);
});

Deno.test("Unreadable says nothing of the value or the place", async () => {
  const sealed = await seal(key, place, "canary");
  const error = await open(key, { ...place, row: "other" }, sealed).catch((error) => error);
  const written = Deno.inspect(error) + JSON.stringify(error) + String(error.stack);
  for (const part of ["canary", sealed, tenantA, place.column, key.id]) {
    assert.ok(!written.includes(part), `${part} in ${written}`);
  }
});

Deno.test("keyIdOf refuses what is not a sealed text", () => {
  for (const text of ["", "hunter2", "sb1.x.y.z", `sb1.${key.id}`]) {
    assert.throws(() => keyIdOf(text), Unreadable);
  }
});

Deno.test("framed encodes no two lists alike", () => {
  const part = fc.string({ unit: "binary", maxLength: 6 });
  const list = fc.array(part, { maxLength: 5 });
  fc.assert(
    fc.property(list, list, (one, two) => {
      const same = framed(...one).toHex() === framed(...two).toHex();
      assert.equal(same, JSON.stringify(one) === JSON.stringify(two));
    }),
    {
      numRuns: 500,
      examples: [[["\0\0\0\0a"], ["", "a"]], [["ab", "c"], ["a", "bc"]], [["", "a"], ["a", ""]], [
        [],
        [""],
      ]],
    },
  );
});

Deno.test("fromBase64url takes one spelling only", () => {
  assert.deepEqual(fromBase64url("AQ"), new Uint8Array([1]));
  for (const text of ["AR", "AQ==", "AQ=", " AQ", "A Q", "A", "A+", "A/", "AQ\n"]) {
    assert.equal(fromBase64url(text), null, text);
  }
});
