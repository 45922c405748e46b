/** What is asked of tenants costs the same at any depth and among any number: counted by the database. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { tapped } from "../contract/tap.ts";
import { home } from "./house.ts";

const DEPTH = Deno.env.get("PROVE") ? 1_000 : 250;
const CHILDREN = 3_000;

const { database, tap, superuser } = await tapped();
const h = await home({ database, sql: superuser });

/** Tenants one below the other under `top`, and many side by side under another. */
async function forest() {
  const [top, other] = [await h.tenantBelow(), await h.tenantBelow()];
  const chain = [top, ...Array.from({ length: DEPTH }, () => v7())];
  const rows = chain.slice(1).map((id, n) => `('${id}', 'Deep', '${chain[n]}')`);
  await superuser(`insert into tenants (id, name, parent_id) values ${rows.join(", ")}`);
  await superuser(
    `insert into tenants (id, name, parent_id, time_zone)
     select overlay(gen_random_uuid()::text placing '019' from 1)::uuid, 'Wide', $1, 'Asia/Tokyo'
     from generate_series(1, ${CHILDREN})`,
    [other],
  );
  await superuser("analyze tenants");
  await superuser("analyze tenant_closure");
  return { top, other, at: (depth: number) => chain[depth] ?? top };
}
const { top, other, at } = await forest();
const [below, aside] = [await h.w.person(top, "owner"), await h.w.person(other, "owner")];

/** Rows looked at so far in this transaction, along an index and without one. */
async function looked() {
  const [row] = await superuser(
    `select sum(seq_tup_read)::int as whole, sum(idx_tup_fetch)::int as indexed
     from pg_stat_xact_user_tables where relname in ('tenants', 'tenant_closure')`,
  );
  return { whole: Number(row?.whole), indexed: Number(row?.indexed) };
}

/** Says again what a call said to the database, and answers how many rows were looked at for it. */
async function rowsFor(tenantId: string, call: () => Promise<unknown>): Promise<number> {
  tap.heard = [];
  tap.listening = true;
  await call();
  tap.listening = false;
  const said = tap.heard.filter(({ text }) => text.includes("tenants"));
  assert.ok(said.length > 0);
  await superuser("begin");
  await superuser("set local role switchboard_service");
  await superuser("select set_config('app.tenant_id', $1, true)", [tenantId]);
  const before = await looked();
  for (const { text, params } of said) await superuser(text, params);
  const after = await looked();
  await superuser("rollback");
  assert.equal(after.whole - before.whole, 0, "a whole table is read");
  return after.indexed - before.indexed;
}

Deno.test("get, and lists of children and of everything below, look at as many rows at any depth", async () => {
  const { tenants } = h.w.as(below).identity;
  const calls: Record<string, (depth: number) => Promise<unknown>> = {
    "get": (depth) => tenants.get({ id: at(depth) }),
    "list": (depth) => tenants.list({ parentId: at(depth), limit: 1 }),
    "list of all below": (depth) => tenants.list({ parentId: at(depth), subtree: true, limit: 1 }),
  };
  for (const [name, call] of Object.entries(calls)) {
    const depths = [2, 10, DEPTH / 2, DEPTH - 2] as const;
    const rows: number[] = [];
    for (const depth of depths) rows.push(await rowsFor(top, () => call(depth)));
    assert.equal(new Set(rows).size, 1, `${name}: ${rows} rows at ${depths}`);
    assert.ok(Number(rows[0]) <= 20, `${name}: ${rows} rows`);
    console.log(`${name}: ${rows[0]} rows at each of the depths ${depths}`);
  }
});

Deno.test("a page of many children or of many tenants below looks at the rows of the page", async () => {
  const { tenants } = h.w.as(aside).identity;
  const limit = 20;
  const { nextCursor } = await tenants.list({ limit: 100 });
  const cursor = nextCursor ?? "";
  const calls: Record<string, () => Promise<unknown>> = {
    "list": () => tenants.list({ limit }),
    "list after a page": () => tenants.list({ limit, cursor }),
    "list of all below": () => tenants.list({ limit, subtree: true }),
    "list of all below after a page": () => tenants.list({ limit, subtree: true, cursor }),
    "list of a status": () => tenants.list({ limit, subtree: true, status: "active" }),
  };
  for (const [name, call] of Object.entries(calls)) {
    const rows = await rowsFor(other, call);
    assert.ok(rows <= 8 * limit, `${name} looks at ${rows} rows of ${CHILDREN} for ${limit}`);
    console.log(`${name}: ${rows} rows of ${CHILDREN} for a page of ${limit}`);
  }
});

Deno.test("the house of this test is closed", () => h.w.close());
