/** Many who let in, settle and sweep at once never wait for each other in a circle, and nothing is lost. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import connect from "postgres";
import { v7 } from "uuid";
import { codesOf } from "../../db/failures.ts";
import { type Database, open } from "../../db/client.ts";
import { asSystem, transact } from "../../src/context.ts";
import { services } from "../../src/services.ts";
import { admit, settle, settled, settleExpired } from "../../src/teams/admission.ts";
import { heldTeam } from "../../src/teams/team_rows.ts";
import { until } from "../db/house.ts";
import { cuttingProxy } from "../stand_ins/cutting_proxy.ts";
import { answered, asked } from "./admissions.ts";
import { disagreements, expireAll, totals } from "./books.ts";
import { MODEL, type TeamHouse, teamHouse } from "./team_house.ts";

const PROVE = Deno.env.get("PROVE") === "1";
const CONNECTIONS = 8;
const TURNS = PROVE ? 2_000 : 100;
const TEAMS = 12;

let home: TeamHouse;
Deno.test.beforeAll(async () => {
  home = await teamHouse();
  // Every few turns begins a new day: that is when counters are made, by all at once.
  await home.server.admin(`
    create table test_days (day date not null);
    insert into test_days values ('2026-01-20');
    grant select on test_days to switchboard_worker;
    create or replace function local_day(moment timestamptz, zone text) returns date language sql stable
    set search_path = pg_catalog, public as $$ select day from test_days $$`);
});
Deno.test.afterAll(() => home.close());

const anyOf = <T>(list: readonly T[]): T => {
  const one = list[Math.floor(Math.random() * list.length)];
  if (one === undefined) throw new Error("There is nothing to choose from");
  return one;
};

type Leased = { tenant: string; lease: string };

type Wanted = { team: string; key: string | null };
const itemsOf = (wanted: Wanted[]) =>
  wanted.map((it, place) => ({
    place,
    tenant: home.tenantId,
    ...it,
    lease: v7(),
    session: null,
    user: null,
    endpoint: "chat.completions",
    model: MODEL,
    tokens: 10,
    request: "request",
    seconds: Math.random() < 0.2 ? -1 : 600, // Some are over at once.
  }));

const verdictsOf = async (database: Database, items: ReturnType<typeof itemsOf>) => {
  const rows = await database.query(sql`select * from chat_admit(${JSON.stringify(items)}::jsonb)`);
  return items.map((_, n) => String(rows.find(({ place }) => Number(place) === n)?.verdict));
};
const asking = (database: Database, wanted: Wanted[]) => verdictsOf(database, itemsOf(wanted));

async function admitted(database: Database, teams: string[]): Promise<Leased[]> {
  const items = itemsOf(teams.map((team) => ({ team, key: null })));
  const verdicts = new Set(await verdictsOf(database, items));
  assert.deepEqual([...verdicts], ["admitted"]);
  return items.map(({ tenant, lease }) => ({ tenant, lease }));
}

const settledAs = (leases: Leased[]) =>
  JSON.stringify(leases.map((it) => ({
    ...it,
    model: anyOf([MODEL, "house/other", "house/third"]),
    outcome: "answered",
    attempts: 1,
    input: 5,
    output: 7,
    source: "provider",
    latency: 3,
    streamed: false,
  })));

const some = <T>(list: readonly T[], most: number) =>
  Array.from({ length: 1 + Math.floor(Math.random() * most) }, () => anyOf(list));

Deno.test(`${CONNECTIONS} who admit, settle and sweep random batches at once meet no deadlock and lose nothing`, async () => {
  const teams: string[] = [];
  for (let n = 0; n < TEAMS; n++) teams.push((await home.team()).id);
  const databases = Array.from(
    { length: CONNECTIONS },
    () => open(home.server.url, { poolSize: 1 }),
  );
  const failures: unknown[] = [];
  const unsettled: Leased[] = [];
  let [letIn, turns] = [0, 0];
  const turn = async (database: Database) => {
    const dice = Math.random();
    if (dice < 0.5) {
      const leases = await admitted(database, some(teams, TEAMS));
      letIn += leases.length;
      unsettled.push(...leases);
    } else if (dice < 0.9 && unsettled.length > 0) {
      const batch = some(unsettled, 20);
      await database.query(sql`select chat_settle(${settledAs(batch)}::jsonb)`);
    } else {
      await settleExpired({ database, log: home.w.process.log });
    }
  };
  const work = async (database: Database) => {
    for (let n = 0; n < TURNS && failures.length === 0; n++) {
      if (++turns % 40 === 0) await home.server.admin(`update test_days set day = day + 1`);
      await turn(database).catch((error) => failures.push(codesOf(error), error));
    }
  };
  await Promise.all(databases.map(work));
  assert.deepEqual(failures, []);
  const deadlocks = await home.server.count(
    `select deadlocks from pg_stat_database where datname = current_database()`,
  );
  await expireAll(home.server);
  await Promise.all(
    databases.map((database) => settleExpired({ database, log: home.w.process.log })),
  );
  assert.deepEqual(await disagreements(home.server), []);
  const rows = await home.server.count(`select count(*) from usage_logs`);
  console.log(JSON.stringify({ turns, admitted: letIn, rows, deadlocks }));
  assert.deepEqual([deadlocks, rows], [0, letIn]);
  for (const database of databases) await database.close();
});

Deno.test("chat_admit goes by what holds when its turn comes, and counts all that it lets in", async () => {
  const { database } = home.w;
  const [cut, changed, shut, opened] = [
    await home.team({ dailyQuota: 10 }),
    await home.team(),
    await home.team(),
    await home.team(),
  ];
  await admitted(database, [cut.id, changed.id, shut.id, opened.id]);
  await home.server.admin(`update teams set is_active = false where id = '${opened.id}'`);
  const holder = connect(home.server.adminUrl, { max: 1 });
  const mine = await holder.reserve();
  await mine.unsafe(
    `begin; select from quota_counters where team_id in ('${cut.id}', '${changed.id}', '${shut.id}')
    for update`,
  );
  const verdicts = asking(
    database,
    [cut, changed, shut, opened].map(({ id, apiKeyId }) => ({
      team: id,
      key: apiKeyId,
    })),
  );
  const waits = `select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%chat_admit%'`;
  await until(async () => await home.server.count(waits) === 1, "it waits for its turn");
  await home.server.admin(`
    update teams set daily_quota = 1 where id = '${cut.id}';
    update teams set is_active = id = '${opened.id}' where id in ('${shut.id}', '${opened.id}');
    update api_keys set revoked_at = now() where id = '${changed.apiKeyId}';
    update test_days set day = day + 1`);
  await mine.unsafe("commit");
  assert.deepEqual(await verdicts, ["day", "no_key", "no_team", "admitted"]);
  assert.deepEqual(await disagreements(home.server), []);
  mine.release();
  await holder.end();
});

Deno.test("chat_admit names the quota that is used up, also to a batch beyond both", async () => {
  const batch = async (dailyQuota: number | null, monthlyQuota: number | null) => {
    const { id } = await home.team({ dailyQuota, monthlyQuota });
    const six = Array.from({ length: 6 }, () => ({ team: id, key: null }));
    return (await asking(home.w.database, six)).join(" ");
  };
  assert.equal(await batch(1, 3), "admitted day day day day day");
  assert.equal(await batch(3, 1), "admitted month month month month month");
  assert.equal(await batch(2, 2), "admitted admitted month month month month");
  assert.equal(await batch(5, null), "admitted admitted admitted admitted admitted day");
  assert.equal(await batch(0, null), "day day day day day day");
});

Deno.test("admit lets in everybody of a batch but the one that cannot be asked for", async () => {
  const { id } = await home.team({ dailyQuota: 1_000 });
  let questions = 0;
  const database = open(home.server.url, { poolSize: 4 });
  const counting = {
    ...database,
    query: (statement: Parameters<Database["query"]>[0]) => {
      questions++;
      return database.query(statement);
    },
  };
  const process = await services({ env: home.env, database: counting });
  const users = Array.from({ length: 200 }, (_, n) => n === 77 ? "a\0b" : `user ${n}`);
  const outcomes = await Promise.allSettled(
    users.map((userId) => admit(asSystem(process, home.tenantId), asked(id, { userId }))),
  );
  const refused = outcomes.flatMap(({ status }, n) => status === "rejected" ? [n] : []);
  assert.deepEqual(refused, [77]);
  assert.ok(questions < 25, `${questions} questions`);
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") {
      settle(asSystem(process, home.tenantId), outcome.value, answered);
    }
  }
  await settled(process);
  const { rows, leases, admitted_day } = await totals(home.server, id);
  assert.deepEqual({ rows, leases, admitted_day }, { rows: 199, leases: 0, admitted_day: 199 });
  await process.database.close();
});

Deno.test("admit does not wait for whoever is about to change the team", async () => {
  const { id } = await home.team();
  const one = asSystem(home.w.process, home.tenantId);
  const other = { ...asSystem(home.w.process, home.tenantId), requestId: v7() };
  await admit(one, asked(id));
  const { quota } = await transact(one, async (ctx) => {
    await heldTeam(ctx, id);
    return await admit(other, asked(id));
  });
  assert.equal(quota.day.limit, null);
});

Deno.test("admit counts a request once whose connection breaks before or after it was let in", async () => {
  const { id } = await home.team({ dailyQuota: 4 });
  await using network = cuttingProxy(home.server.url);
  const process = await services({ env: home.env, database: open(network.url) });
  // The proxy breaks at this word, wherever it stands in what is sent.
  const broken = asked(id, { userId: "commit" });
  for (const cut of ["before it arrives", "before its answer"] as const) {
    const { remaining } = (await admit(asSystem(process, home.tenantId), asked(id))).quota.day;
    network.cutNextCommit(cut);
    const lease = await admit(asSystem(process, home.tenantId), broken);
    assert.equal(lease.quota.day.remaining, (remaining ?? 0) - 1);
  }
  assert.equal(network.cuts, 2);
  const { leases, admitted_day } = await totals(home.server, id);
  assert.deepEqual({ leases, admitted_day }, { leases: 4, admitted_day: 4 });
  await process.database.close();
});

Deno.test("chat_admit does not let in again what was settled, should the question come once more", async () => {
  const { id } = await home.team({ dailyQuota: 2 });
  const { database } = home.w;
  const [lease] = await admitted(database, [id]);
  const item = { place: 0, team: id, ...lease, endpoint: "chat.completions", model: MODEL };
  const again = JSON.stringify([{ ...item, tokens: 1, request: "request", seconds: 60 }]);
  await database.query(sql`select chat_settle(${settledAs(lease ? [lease] : [])}::jsonb)`);
  const [row] = await database.query(sql`select * from chat_admit(${again}::jsonb, true)`);
  assert.deepEqual([row?.verdict, Number(row?.day_left)], ["admitted", 1]);
  const { rows, leases, admitted_day } = await totals(home.server, id);
  assert.deepEqual({ rows, leases, admitted_day }, { rows: 1, leases: 0, admitted_day: 1 });
});

Deno.test("settleExpired settles all but a lease that cannot be settled, and comes back to that one", async () => {
  await expireAll(home.server);
  await settleExpired(home.w.process);
  const { id } = await home.team();
  const leases = await admitted(home.w.database, Array.from({ length: 30 }, () => id));
  const bad = leases[3]?.lease;
  // A month nobody made: this row has nowhere to go.
  const nowhere = "00000000-0001-7000-8000-000000000000";
  await home.server.admin(`update quota_leases set id = '${nowhere}' where id = '${bad}'`);
  await expireAll(home.server);
  assert.equal(await settleExpired(home.w.process), 29);
  assert.match(home.lines.join("\n"), /not settled/);
  assert.equal((await totals(home.server, id)).rows, 29);
  await home.server.admin(`update quota_leases set id = '${bad}' where id = '${nowhere}'`);
  assert.equal(await settleExpired(home.w.process), 1);
  assert.deepEqual(await disagreements(home.server), []);
});
