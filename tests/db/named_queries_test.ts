/** Named statements: prepared once a session, answered like any other, whatever failed before. */
import assert from "node:assert/strict";
import { type Database, open } from "../../db/client.ts";
import { unnamed } from "../../db/named_queries.ts";
import { neonProxy } from "../stand_ins/neon_proxy.ts";
import { type House, house } from "./house.ts";

let on: House;
Deno.test.beforeAll(async () => void (on = await house()));
Deno.test.afterAll(async () => await on[Symbol.asyncDispose]());

const ways: Record<string, () => Promise<{ database: Database; end(): Promise<void> }>> = {
  postgres: async () => {
    const database = open(on.url, { poolSize: 3 });
    return await Promise.resolve({ database, end: database.close });
  },
  neon: () => {
    const proxy = neonProxy(on.url);
    const database = open(on.url, { driver: "neon", webSocketProxy: proxy.address, poolSize: 3 });
    const end = async () => {
      await database.close();
      await proxy[Symbol.asyncDispose]();
    };
    return Promise.resolve({ database, end });
  },
};

for (const [driver, start] of Object.entries(ways)) {
  Deno.test(`${driver}: a named statement answers what the same without a name does, time after time`, async () => {
    const { database, end } = await start();
    const statement = (n: number, word: string | null) => ({
      name: "everything",
      text: `select $1::int as n, $2::text as word, $3::bool as more, null::int as nothing,
        now()::timestamptz(0) - now()::timestamptz(0) as none, '2026-12-01'::date as day, 5::bigint as big,
        array['a', null] as list, '{"a": [1]}'::jsonb as json
        from generate_series(1, $1::int)`,
      values: [n, word, n > 1],
    });
    for (const [n, word] of [[1, "Grüße, \\ ' \" {}"], [2, null], [0, ""], [3, "x"]] as const) {
      const plain = await database.query(unnamed(statement(n, word)));
      assert.equal(plain.length, n);
      assert.deepEqual(await database.query(statement(n, word)), plain);
    }
    await end();
  });

  Deno.test(`${driver}: a named statement takes what is long, in any letters, and nothing at all`, async () => {
    const { database, end } = await start();
    const words = ["", "a", "ß€🙂".repeat(30_000), "\ud800", "x".repeat(1_000_000), "\t\n\\"];
    for (const word of words) {
      const [row] = await database.query({
        name: "word",
        text: "select $1::text as word, $2::text",
        values: [word, null],
      });
      assert.equal(row?.word, word.toWellFormed());
    }
    for (let turn = 0; turn < 3; turn++) {
      const one = { name: "one", text: "select 1 as one", values: [] };
      assert.deepEqual(await database.query(one), [{ one: 1 }]);
    }
    await end();
  });

  Deno.test(`${driver}: one that failed is asked again, and fails or answers like the first time`, async () => {
    const { database, end } = await start();
    const divide = (by: number) =>
      database.query({ name: "divide", text: "select 6 / $1::int as n", values: [by] });
    const broken = () =>
      database.query({ name: "broken", text: "select nothing from nowhere", values: [] });
    for (let turn = 0; turn < 3; turn++) {
      await assert.rejects(divide(0), /division by zero/);
      await assert.rejects(broken(), /nowhere/);
    }
    for (let turn = 0; turn < 3; turn++) {
      assert.deepEqual(await divide(2), [{ n: 3 }]);
      await assert.rejects(divide(0), /division by zero/);
    }
    const prepared = await database.query({
      name: "prepared",
      text:
        "select name from pg_prepared_statements where name in ('divide', 'prepared') order by 1",
      values: [],
    });
    assert.deepEqual(prepared, [{ name: "divide" }, { name: "prepared" }], "names are in use");
    await end();
  });
}

Deno.test("unnamed puts each value where its number stands, as often as it stands", async () => {
  const database = open(on.url, { poolSize: 1 });
  const values = ["a", null, 3, true, "b", "c", "d", "e", "f", "$1", "k"];
  const text =
    "select $11::text || $2 as none, $11 || $10 || $1 as text, $3::int + $3 as sum, $4::bool";
  const [row] = await database.query(unnamed({ name: "mixed", text, values }));
  assert.deepEqual(row, { none: null, text: "k$1a", sum: 6, bool: true });
  await database.close();
});
