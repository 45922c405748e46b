/** Work nobody waits for: one process at a time, months made ahead, old ones let go. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import connect from "postgres";
import { open } from "../../db/client.ts";
import { codesOf } from "../../db/failures.ts";
import { claimed, maintain, maintainHourly, startJobs } from "../../src/jobs.ts";
import { type House, house, until } from "../db/house.ts";
import { world } from "../kit.ts";

let home: House;
Deno.test.beforeAll(async () => {
  home = await house();
});
Deno.test.afterAll(async () => await home[Symbol.asyncDispose]());

async function asOwner(text: string) {
  const owner = connect(home.ownerUrl, { max: 1, onnotice: () => {} });
  await owner.unsafe(text);
  await owner.end();
}

const stage = () => world({ database: open(home.url), write: () => {} });
const monthOf = (ahead: number) => {
  const now = new Date();
  const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead, 1));
  return month.toISOString().slice(0, 7).replace("-", "_");
};
const partitions = async () =>
  (await home.admin(`select relname from pg_class c join pg_inherits i on i.inhrelid = c.oid
    where relkind = 'r' order by 1`)).map(({ relname }) => String(relname));

/** A partition of the month that began `ago` months before this one, made as the owner. */
const makeOld = (parent: string, ago: number) => {
  const month = monthOf(-ago);
  const first = `'${month.replace("_", "-")}-01 00:00+00'::timestamptz`;
  return asOwner(`do $$ begin execute format(
    'create table ${parent}_${month} partition of ${parent} for values from (%L) to (%L)',
    uuid_floor(${first}), uuid_floor(${first} + interval '1 month')); end $$`);
};

Deno.test("maintain makes the months to come and drops only what is past its retention", async () => {
  const w = await stage();
  const now = await partitions();
  for (const parent of ["audit_entries", "events"]) {
    for (const ahead of [-1, 0, 1, 2, 3]) assert.ok(now.includes(`${parent}_${monthOf(ahead)}`));
  }
  await asOwner(`drop table audit_entries_${monthOf(3)}; drop table events_${monthOf(2)}`);
  for (const ago of [16, 13]) await makeOld("audit_entries", ago);
  for (const ago of [6, 2]) await makeOld("events", ago); // On a 30th three months may be over 90 days.
  await maintain(w.process);
  const kept = [`audit_entries_${monthOf(-13)}`, `events_${monthOf(-2)}`];
  assert.deepEqual(await partitions(), [...now, ...kept].sort());
  await w.close();
});

Deno.test("drop_old_partitions and ensure_partitions are all the service may do to a month", async () => {
  const w = await stage();
  const before = await partitions();
  const denied = [
    `drop table audit_entries_${monthOf(-13)}`,
    `drop table events_${monthOf(0)}`,
    `alter table audit_entries detach partition audit_entries_${monthOf(0)}`,
    `select * from audit_entries_${monthOf(0)}`,
    `delete from events_${monthOf(0)}`,
    `truncate audit_entries`,
    `delete from audit_entries`,
    `update events set type = 'x'`,
    `create table audit_entries_x partition of audit_entries default`,
  ];
  for (const statement of denied) {
    const codes = await w.database.query(sql.raw(statement)).catch(codesOf);
    assert.deepEqual(codes, ["42501"], statement);
  }
  const [row] = await w.database.query(sql`select drop_old_partitions() as n`);
  assert.equal(row?.n, 0);
  await w.database.query(sql`select ensure_partitions(1000000)`);
  const made = (await partitions()).filter((name) => !before.includes(name));
  assert.equal(made.length, 4 * 21, "24 months ahead at most");
  await w.close();
});

Deno.test("transact changes nothing in a month that has no partition, until one is made", async () => {
  const w = await stage();
  const { admin } = await w.tenant();
  const month = monthOf(0);
  await home.admin(`create table away as select * from audit_entries_${month};
    drop table audit_entries_${month}`);
  const body = JSON.stringify({ name: "robot", scopes: ["platforms.read"] });
  const create = () => w.request("/api/v1/api-keys", { method: "POST", body }, admin);
  const refused = await create();
  assert.ok(refused.status >= 500);
  await refused.body?.cancel();
  assert.equal(await home.count("select count(*) from api_keys"), 0);
  const ready = await (await w.request("/ready")).json();
  assert.deepEqual(ready, { status: "ready", database: "up", partitions: true });
  await maintain(w.process);
  const made = await create();
  assert.equal(made.status, 201);
  await made.body?.cancel();
  await home.admin(`insert into audit_entries select * from away; drop table away;
    drop table audit_entries_${monthOf(1)}`);
  assert.equal((await (await w.request("/ready")).json()).partitions, false);
  await maintain(w.process);
  await w.close();
});

Deno.test("claimed lets one of many have the lease, and another when it has run out", async () => {
  const [one, two] = [await stage(), await stage()];
  let runs = 0;
  const all = await Promise.all(
    Array.from(
      { length: 20 },
      (_, i) =>
        claimed((i % 2 ? one : two).process, { name: "sweep", leaseMs: 60_000 }, () => {
          runs++;
          return Promise.resolve();
        }),
    ),
  );
  assert.deepEqual([runs, all.filter((won) => won).length], [1, 1]);
  await home.admin("update leases set until = now() - interval '1 second' where name = 'sweep'");
  const run = () => Promise.resolve(void runs++);
  assert.equal(await claimed(two.process, { name: "sweep", leaseMs: 60_000 }, run), true);
  assert.equal(await claimed(one.process, { name: "sweep", leaseMs: 60_000 }, run), false);
  assert.equal(runs, 2);
  const hourly = await Promise.all([maintainHourly(one.process), maintainHourly(two.process)]);
  assert.deepEqual(hourly.sort(), [false, true]);
  await Promise.all([one.close(), two.close()]);
});

Deno.test("claimed gives a lease back when the work failed, so that the next try is not an hour off", async () => {
  const w = await stage();
  const fail = () => Promise.reject(new Error("planted"));
  await assert.rejects(claimed(w.process, { name: "brittle", leaseMs: 3600_000 }, fail), /planted/);
  const again = () => Promise.resolve();
  assert.equal(await claimed(w.process, { name: "brittle", leaseMs: 1_000 }, again), true);
  await w.close();
});

Deno.test("startJobs does its rounds at once and again and again, one at a time, failures or not", async () => {
  const lines: string[] = [];
  const w = await world({ database: open(home.url), write: (line) => void lines.push(line) });
  let [rounds, underWay, most] = [0, 0, 0];
  const work = async () => {
    most = Math.max(most, ++underWay);
    await new Promise((resolve) => setTimeout(resolve, 25));
    underWay--;
    if (++rounds === 2) throw new Error("planted");
  };
  const stop = startJobs(w.process, [{ name: "brief", everyMs: 5, work }]);
  await until(() => rounds >= 5, "five rounds");
  stop();
  await until(() => underWay === 0, "the last has ended");
  assert.equal(most, 1);
  assert.match(lines.join(), /a round failed.*"name":"brief".*planted/);
  const ended = rounds;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(rounds, ended);
  await until(async () => await maintainHourly(w.process) === false, "maintenance is done");
  await w.close();
});
