/** Named statements: prepared once a session, answered like any other, whatever failed before. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { type Database, open } from "../../db/client.ts";
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
    const statement = (n: number, word: string | null) =>
      sql`select ${n}::int as n, ${word}::text as word, ${
        n > 1
      }::bool as more, null::int as nothing,
        now()::timestamptz(0) - now()::timestamptz(0) as none, '2026-12-01'::date as day, 5::bigint as big,
        array['a', null] as list, '{"a": [1]}'::jsonb as json
        from generate_series(1, ${n}::int)`;
    for (const [n, word] of [[1, "Grüße, \\ ' \" {}"], [2, null], [0, ""], [3, "x"]] as const) {
      const plain = await database.query(statement(n, word));
      assert.equal(plain.length, n);
      assert.deepEqual(await database.query(statement(n, word), "everything"), plain);
    }
    await end();
  });

  Deno.test(`${driver}: a named statement takes what is long, in any letters, and nothing at all`, async () => {
    const { database, end } = await start();
    const words = ["", "a", "ß€🙂".repeat(30_000), "\ud800", "x".repeat(1_000_000), "\t\n\\"];
    for (const word of words) {
      const [row] = await database.query(sql`select ${word}::text as word, ${null}::text`, "word");
      assert.equal(row?.word, word.toWellFormed());
    }
    for (let turn = 0; turn < 3; turn++) {
      assert.deepEqual(await database.query(sql`select 1 as one`, "one"), [{ one: 1 }]);
    }
    await end();
  });

  Deno.test(`${driver}: one that failed is asked again, and fails or answers like the first time`, async () => {
    const { database, end } = await start();
    const divide = (by: number) => database.query(sql`select 6 / ${by}::int as n`, "divide");
    const broken = () => database.query(sql`select nothing from nowhere`, "broken");
    for (let turn = 0; turn < 3; turn++) {
      await assert.rejects(divide(0), /division by zero/);
      await assert.rejects(broken(), /nowhere/);
    }
    for (let turn = 0; turn < 3; turn++) {
      assert.deepEqual(await divide(2), [{ n: 3 }]);
      await assert.rejects(divide(0), /division by zero/);
    }
    const prepared = await database.query(
      sql`select name from pg_prepared_statements where name in ('divide', 'prepared') order by 1`,
      "prepared",
    );
    assert.deepEqual(prepared, [{ name: "divide" }, { name: "prepared" }], "names are in use");
    await end();
  });
}

Deno.test("a named statement takes no value that is not its own text, and its session is free again", async () => {
  const database = open(on.url, { poolSize: 1 });
  for (const value of [new Date(), ["a"], { a: 1 }]) {
    await assert.rejects(database.query(sql`select ${value} as a`, "values"), TypeError);
  }
  assert.deepEqual(await database.query(sql`select ${"a"}::text as a`, "words"), [{ a: "a" }]);
  await database.close();
});

Deno.test("a named statement made of parts is written out each time", async () => {
  const database = open(on.url);
  const sum = (n: number) => database.query(sql`select ${sql`${n}::int + ${n}::int`} as n`, "sum");
  assert.deepEqual([await sum(1), await sum(2), await sum(3)], [[{ n: 2 }], [{ n: 4 }], [{
    n: 6,
  }]]);
  await database.close();
});
