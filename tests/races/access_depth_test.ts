/** A check costs the same however deep: asked of a real Postgres, by what it reads and not by the clock. */
import assert from "node:assert/strict";
import connect from "postgres";
import { open } from "../../db/client.ts";
import { standings, type Whose } from "../../src/access/standings.ts";
import { giving } from "../../src/identity/access.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { type House, house } from "../db/house.ts";
import { DEPTHS, type Depths, depths, KINDS, peopled } from "../identity/depths.ts";

const PEOPLE = 20; // At each depth.
const ROUNDS = Deno.env.get("PROVE") === "1" ? 50 : 3;

let h: House;
let all: Depths;
const took: string[] = [];

Deno.test.beforeAll(async () => {
  h = await house();
  await h.admin(`insert into tenants (id, name) values ('${ROOT_TENANT}', 'Root')`);
  all = await depths(h.admin, PEOPLE, (what, ms) => took.push(`${what} ${ms.toFixed(0)} ms`));
  await h.admin("analyze");
});
Deno.test.afterAll(async () => await h[Symbol.asyncDispose]());

const at = (times: number[], share: number) =>
  times.toSorted((a, b) => a - b)[Math.floor(times.length * share)] ?? NaN;

Deno.test("a cold check is one query at any depth of tenants and of groups", async () => {
  console.log(`Built: ${took.join(", ")}`);
  const database = open(h.url, { poolSize: 1 });
  let queries = 0;
  const query: typeof database.query = (statement) => {
    queries++;
    return database.query(statement);
  };
  const options = { database: { ...database, query }, epochOf: () => 0, now: Date.now };
  const times = new Map<string, number[]>();
  const check = async (whose: Whose) => {
    const cold = standings({ ...options, unknown: (what) => assert.fail(what) });
    const began = performance.now();
    const { holds, grants } = await cold.of(whose);
    assert.deepEqual([holds, grants["tenants.move"]], [true, "subtree"]);
    return performance.now() - began;
  };
  for (let round = -1; round < ROUNDS; round++) {
    if (round === 0) queries = 0;
    for (let n = 0; n < PEOPLE; n++) {
      for (const kind of KINDS) {
        for (const depth of DEPTHS) { // In turns, so that a slow moment is everybody's.
          const whose = all[kind][depth][n];
          assert.ok(whose);
          const ms = await check(whose);
          const label = `${kind} ${depth}`;
          if (round >= 0) times.set(label, [...times.get(label) ?? [], ms]);
        }
      }
    }
  }
  assert.equal(queries, ROUNDS * PEOPLE * KINDS.length * DEPTHS.length);
  for (const kind of KINDS) {
    const base = at(times.get(`${kind} 1`) ?? [], 0.95);
    const line = DEPTHS.map((depth) => {
      const of = times.get(`${kind} ${depth}`) ?? [];
      const [p50, p95] = [at(of, 0.5), at(of, 0.95)];
      return `${depth}: p50 ${p50.toFixed(2)} p95 ${p95.toFixed(2)} ms (${
        (p95 / base).toFixed(2)
      })`;
    });
    console.log(`cold check through ${kind}: ${line.join(", ")}`);
  }
  await database.close();
});

/** Blocks of the database a statement looks at once its session is warm. */
async function blocks(sql: connect.Sql, statement: string): Promise<number> {
  let least = Infinity;
  for (let n = 0; n < 4; n++) {
    const [row] = await sql.unsafe(`explain (analyze, buffers, format json) ${statement}`);
    const [{ Plan: plan }] = row?.["QUERY PLAN"];
    least = Math.min(least, Number(plan["Shared Hit Blocks"]) + Number(plan["Shared Read Blocks"]));
  }
  return least;
}

Deno.test("a cold check reads as many blocks at depth 1,000 as at depth 1", async () => {
  const sql = connect(h.adminUrl, { max: 1, onnotice: () => {} });
  for (const kind of KINDS) {
    const read: number[] = [];
    for (const depth of DEPTHS) {
      const [whose] = all[kind][depth];
      assert.ok(whose);
      const { home, subject, acting } = whose;
      read.push(
        await blocks(sql, `select * from standing_of('${home}', '${subject}', null, '${acting}')`),
      );
    }
    console.log(`blocks read through ${kind} at ${DEPTHS.join(", ")}: ${read.join(", ")}`);
    const [first = 0] = read;
    assert.ok(read.every((n) => n <= first * 1.2), `${kind}: ${read}`);
    assert.ok(first <= 80, `${kind}: ${first} blocks`);
  }
  await sql.end();
});

Deno.test("a page of who may reads as many blocks of twenty thousand people as of two hundred", async () => {
  const sql = connect(h.adminUrl, { max: 1, onnotice: () => {} });
  const read: number[] = [];
  for (const people of [200, 20_000]) {
    const tenant = await peopled(h.admin, people);
    // One among them may more: nobody else is looked at to find them.
    await h.admin(
      `insert into role_bindings (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role)
      select tenant_id, gen_random_uuid(), max(id::text)::uuid, tenant_id, 'admin' from users
      where tenant_id = '${tenant}' group by tenant_id`,
    );
    await h.admin("analyze");
    await sql`select set_config('app.tenant_id', ${tenant}, false)`;
    for (const permission of ["platforms.read", "users.read", "domains.read"] as const) {
      read.push(
        await blocks(
          sql,
          `select * from who_may('${tenant}', '${permission}', '${giving(permission)}',
             ${permission === "users.read"},
             null, 51)`,
        ),
      );
    }
  }
  const [few, many] = [read.slice(0, 3), read.slice(3)];
  console.log(`blocks read by a page of who may: ${few} of 200 people, ${many} of 20,000`);
  many.forEach((n, i) => assert.ok(n <= (few[i] ?? 0) * 1.2, `${read}`));
  await sql.end();
});
