/** Sessions kept for named statements leave the pool enough, end with it, and never outlast a broken one. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { type Database, open } from "../../db/client.ts";
import { isBroken } from "../../db/failures.ts";
import { type House, house } from "./house.ts";

let on: House;
Deno.test.beforeAll(async () => void (on = await house()));
Deno.test.afterAll(async () => await on[Symbol.asyncDispose]());

const named = async (database: Database, n: number) =>
  Number(
    (await database.query({
      name: "more",
      text: "select $1::int + 1 as more, pg_sleep(0.01)",
      values: [n],
    }))[0]?.more,
  );
const numbers = Array.from({ length: 24 }, (_, n) => n);
const allNamed = (database: Database) => Promise.all(numbers.map((n) => named(database, n)));
const mine = () =>
  on.count(
    `select count(*) as count from pg_stat_activity where usename = '${new URL(on.url).username}'`,
  );

for (const poolSize of [1, 2, 3, 6, 10]) {
  Deno.test(`a pool of ${poolSize} serves named statements and all else, and never more at once`, async () => {
    const database = open(on.url, { poolSize });
    try {
      for (let turn = 0; turn < 2; turn++) {
        assert.deepEqual(await allNamed(database), numbers.map((n) => n + 1));
        // With what is kept at rest, as many others as there may be wait for no one that never comes.
        const others = numbers.map(() =>
          database.transaction((db) => db.execute(sql`select 1`), "read only")
        );
        await Promise.all([...others, allNamed(database)]);
        assert.ok(await mine() <= poolSize);
      }
    } finally {
      await database.close();
    }
    for (let tries = 0; await mine() > 0; tries++) {
      assert.ok(tries < 100, "A session outlasts its pool");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
}

Deno.test("a session is named on from statement to statement, and plans it once", async () => {
  const database = open(on.url);
  const plans = () =>
    database.query({
      name: "own_plans",
      text: `select pg_backend_pid() as pid, (select generic_plans + custom_plans
        from pg_prepared_statements where name = 'own_plans') as asked, $1::int as n`,
      values: [1],
    });
  const told: Record<string, unknown>[] = [];
  for (let turn = 0; turn < 5; turn++) told.push(...await plans());
  assert.equal(new Set(told.map(({ pid }) => pid)).size, 1);
  assert.deepEqual(told.map(({ asked }) => Number(asked)), [1, 2, 3, 4, 5]);
  await database.close();
});

Deno.test("when the server ends every session one statement fails, and no later one", async () => {
  const database = open(on.url);
  await allNamed(database);
  await on.admin(
    `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${
      new URL(on.url).username
    }'`,
  );
  while (await mine() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const failures: unknown[] = [];
  for (let turn = 0; turn < 6; turn++) {
    await named(database, turn).catch((error) => failures.push(error));
  }
  assert.ok(failures.length <= 1 && failures.every(isBroken), String(failures));
  assert.deepEqual(await allNamed(database), numbers.map((n) => n + 1));
  await database.close();
});
