/** What chat asks of the database for every request stays a handful of rows, however many there are. */
import assert from "node:assert/strict";
import { Client } from "@neondatabase/serverless";
import connect, { type TransactionSql } from "postgres";
import { open, rowsOf } from "../../db/client.ts";
import { asSystem } from "../../src/context.ts";
import { historyOf } from "../../src/teams/turns.ts";
import { world } from "../kit.ts";
import { neonProxy } from "../stand_ins/neon_proxy.ts";
import { heard, looked, planOf, scansOf } from "./asked.ts";
import { type House, house } from "./house.ts";

const ROWS = Deno.env.get("PROVE") === "1" ? 1_000_000 : 40_000;
const TENANTS = 400;
const TEAMS = ROWS / 50;
/** The planner has a plan for any values after five that were made for some. */
const WARMING = 6;

/** An id from a number; as SQL. */
const idOf = (n: string) => `('00000000-0000-7000-8001-' || lpad((${n})::text, 12, '0'))::uuid`;
const id = (n: number) => `00000000-0000-7000-8001-${String(n).padStart(12, "0")}`;
const tenantOf = (team: string) => idOf(`1 + ${team} % ${TENANTS}`);
const team = `(1 + n % ${TEAMS})`;
const conversation = idOf("case when n % 2 = 0 then 1 else n + 2 end");
/** All within a month that is over: in one that has just begun the planner goes other ways. */
const recently =
  `overlay(uuid_floor(date_trunc('month', now()) - interval '20 days' * random())::text
  placing '7' || substr(gen_random_uuid()::text, 16) from 15)::uuid`;
const expiring = "now() + interval '1 hour' + interval '1 second' * n";

/** As the superuser, without checks of foreign keys: only the planner looks at these rows. */
const seed = `set session_replication_role = replica;
  insert into tenants (id, name)
  select ${idOf("n")}, 'T' || n from generate_series(1, ${TENANTS}) n;
  insert into tenant_closure (tenant_id, ancestor_id, depth)
  select id, id, 0 from tenants where name like 'T%';
  insert into teams (tenant_id, id, platform_name, display_name, daily_quota)
  select ${tenantOf("n")}, ${idOf("n")}, 'p' || n, 'D' || n, 1000000
  from generate_series(1, ${TEAMS}) n;
  insert into api_keys (tenant_id, id, team_id, family_id, name, secret_hash, hint)
  select ${tenantOf(team)}, ${idOf("n")}, ${idOf(team)}, ${idOf("n")}, 'k', 'h', 'abcd'
  from generate_series(1, ${ROWS}) n;
  insert into quota_counters (tenant_id, team_id, period, starts_on, admitted)
  select ${tenantOf(team)}, ${idOf(team)}, 'day', (now() at time zone 'UTC')::date - n / ${TEAMS}, 7
  from generate_series(0, ${ROWS} - 1) n;
  insert into quota_leases (tenant_id, id, team_id, endpoint, model, input_tokens, request_id, day_on,
    month_on, expires_at)
  select ${tenantOf(team)}, ${recently}, ${idOf(team)}, 'embeddings', 'm', 1, 'r', now()::date,
    date_trunc('month', now())::date, ${expiring} from generate_series(1, ${ROWS}) n;
  insert into model_prices (id, model, input_micros, output_micros, starts_at)
  select gen_random_uuid(), 'model-' || n % 1000, 1, 1, now() - interval '1 day' * (n / 1000)
  from generate_series(0, ${ROWS / 10} - 1) n;
  insert into usage_days (tenant_id, id, team_id, day_on, model, requests, errors, input_tokens,
    output_tokens, cost_micros, unpriced, timed, latency_ms, max_latency_ms)
  select ${tenantOf(team)}, gen_random_uuid(), ${idOf(team)},
    (now() at time zone 'UTC')::date - n / ${TEAMS}, 'model-1', 3, 1, 1000, 200, 12.5, 0, 3, 900, 400
  from generate_series(0, ${ROWS} - 1) n;
  insert into usage_logs (tenant_id, id, team_id, endpoint, model, requested_model, outcome, attempts,
    input_tokens, output_tokens, usage_source, is_streamed, request_id, day_on)
  select ${tenantOf(team)}, ${recently}, ${idOf(team)}, 'embeddings', 'm', 'm', 'answered', 1, 1, 0,
    'counted', false, 'r', now()::date from generate_series(1, ${ROWS}) n;
  insert into channels (tenant_id, id, team_id, kind, name, secret, api_root)
  select ${tenantOf("n")}, ${idOf("n")}, ${idOf("n")}, 'webhook', 'c', 'sb1.x', 'https://a.example'
  from generate_series(1, ${TEAMS}) n;
  insert into channel_chats (tenant_id, id, channel_id, chat_key, due_at)
  select ${tenantOf(team)}, ${idOf("n")}, ${idOf(team)}, 'chat ' || n, ${expiring}
  from generate_series(1, ${ROWS}) n;
  insert into channel_updates (tenant_id, id, channel_id, update_key, chat_key, position, payload, state,
    updated_at)
  select ${tenantOf(team)}, ${idOf("n")}, ${idOf(team)}, n::text, 'chat ' || n, n::text, '{}',
    case when n % 2 = 0 then 'done' else 'received' end, now() - interval '6 days' * (n % 2)
  from generate_series(1, ${ROWS}) n;
  insert into idempotency_keys (tenant_id, id, principal, procedure, key_hash, request_hash, holder,
    lease_until, expires_at)
  select ${tenantOf(team)}, ${idOf("n")}, 'p', 'p', n::text, 'h', ${idOf("n")}, now(), ${expiring}
  from generate_series(1, ${ROWS}) n;
  insert into chat_sessions (tenant_id, id, team_id, platform, user_id)
  select ${idOf("1")}, ${idOf("n")}, ${idOf(team)}, 'p' || n,
    case when n % 2 = 0 then 'many' else 'user ' || n / 10 end
  from generate_series(1, ${ROWS}) n;
  insert into messages (tenant_id, id, session_id, role, content)
  select ${idOf("1")}, ${recently}, ${conversation}, 'user', 'm'
  from generate_series(1, ${ROWS}) n;
  insert into messages (tenant_id, id, session_id, role, content)
  select ${idOf("1")}, ${recently}, ${idOf("2")}, 'user', long
  from (select string_agg(md5(n::text), '') long from generate_series(1, 8000) n),
    generate_series(1, 100);
  set session_replication_role = origin;
  analyze;`;

let home: House;
Deno.test.beforeAll(async () => {
  home = await house();
  await home.admin(seed);
});
Deno.test.afterAll(async () => await home[Symbol.asyncDispose]());

/** How many rows each table was asked for so far in this transaction, by whatever way. */
async function readSoFar(sql: TransactionSql): Promise<Map<string, number>> {
  const rows = await sql`
    select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) as n from pg_stat_xact_user_tables`;
  return new Map(rows.map(({ relname, n }) => [String(relname), Number(n)]));
}

type Call = (sql: TransactionSql) => Promise<{ length: number }>;

/** What a call answers once its plan is settled, how long it takes, and of which table it reads most. */
async function reading(sql: TransactionSql, call: Call) {
  for (let n = 0; n < WARMING; n++) await call(sql);
  const before = await readSoFar(sql);
  const began = performance.now();
  const answer = await call(sql);
  const ms = performance.now() - began;
  const read = [...await readSoFar(sql)].map(([table, n]) => ({
    table,
    n: n - (before.get(table) ?? 0),
  }));
  const [{ table, n } = { table: "none", n: 0 }] = read.toSorted((a, b) => b.n - a.n);
  return { answer, ms, table, n };
}

const asked = (n: number, place: number) => ({
  place,
  tenant: id(1 + n % TENANTS),
  team: id(n),
  key: id(n),
  lease: crypto.randomUUID(),
  endpoint: "chat.completions",
  model: "model-1",
  tokens: 5,
  request: "r",
  seconds: 60,
});

const used = (n: number) => ({ tenant: id(1 + n % TENANTS), id: id(n), at: new Date() });

type Several = <T>(count: number, of: (n: number, place: number) => T) => string;
const keyCalls = (several: Several): [string, number, Call, number][] => [
  [
    "fifty keys by their ids",
    200,
    (sql) =>
      sql`select w.id as wanted, k.* from jsonb_array_elements_text(${
        several(50, id)
      }::text::jsonb) w (id) cross join lateral api_key_by_id(w.id::uuid) k`,
    50,
  ],
  [
    "fifty keys are used",
    100,
    (sql) => sql`select api_keys_used(${several(50, used)}::text::jsonb)`,
    1,
  ],
];

Deno.test("what chat asks for a request reads a handful of rows", async () => {
  const sql = connect(home.url, { max: 1 });
  const leases = await home.admin("select tenant_id, id from quota_leases limit 1000");
  const leaseOf = (n: number) => ({
    tenant: leases[n]?.tenant_id,
    lease: leases[n]?.id,
    model: "model-1",
    outcome: "answered",
    status: 200,
    attempts: 1,
    input: 5,
    output: 5,
    source: "provider",
    latency: 3,
    first_byte: 1,
    streamed: false,
  });
  let next = 1;
  const several: Several = (count, of) =>
    JSON.stringify(Array.from({ length: count }, (_, place) => of(next++, place)));
  /** Each with how many rows of one table it may read. */
  const calls: [string, number, Call, number][] = [
    [
      "one is let in",
      6,
      (sql) => sql`select * from chat_admit(${several(1, asked)}::text::jsonb)`,
      1,
    ],
    [
      "one alone is let in",
      6,
      (sql) => {
        const one = asked(next++, 0);
        const day = "2026-11-30";
        return sql`select chat_let_in(${one.tenant}, ${one.team}, ${one.key}, ${one.lease}, null, null,
          'chat.completions', 'model-1', 5, 'r', 60, false, ${day}, ${day}, 'infinity', 'infinity')`;
      },
      1,
    ],
    [
      "fifty are let in",
      300,
      (sql) => sql`select * from chat_admit(${several(50, asked)}::text::jsonb)`,
      50,
    ],
    ["one is settled", 8, (sql) => sql`select chat_settle(${several(1, leaseOf)}::text::jsonb)`, 1],
    [
      "fifty are settled",
      400,
      (sql) => sql`select chat_settle(${several(50, leaseOf)}::text::jsonb)`,
      1,
    ],
    ["leases that are over", 2, (sql) => sql`select * from chat_expired(500, 0)`, 0],
    ["chats to work off", 2, (sql) => sql`select * from chats_due(100, '{}')`, 0],
    ["a channel by its id", 2, (sql) => sql`select * from channel_by_id(${id(7)})`, 1],
    ["a key by its id", 4, (sql) => sql`select * from api_key_by_id(${id(7)})`, 1],
    ...keyCalls(several),
    ["the sweep, with nothing to sweep", 2, (sql) => sql`select sweep_expired(1000)`, 1],
  ];
  const told: string[] = [];
  for (const [name, most, call, answers] of calls) {
    const { answer, ms, table, n } = await sql.begin((sql) => reading(sql, call));
    assert.equal(answer.length, answers, name);
    assert.ok(n <= most, `${name} reads ${n} rows of ${table}`);
    told.push(`${name} ${ms.toFixed(1)} ms, ${n} of ${table}`);
  }
  console.log(`With ${ROWS} rows a table: ${told.join("; ")}`);
  await sql.end();
});

/** How many rows and characters Neon's driver is answered while `work` runs. */
async function answered(work: () => Promise<unknown>) {
  const { query } = Client.prototype;
  const came = { rows: 0, chars: 0 };
  const listening = async function (this: Client, ...said: unknown[]): Promise<unknown> {
    const answer: unknown = await Reflect.apply(query, this, said);
    const rows = rowsOf(answer);
    came.rows += rows.length;
    came.chars += JSON.stringify(rows).length;
    return answer;
  };
  Object.assign(Client.prototype, { query: listening });
  try {
    await work();
  } finally {
    Object.assign(Client.prototype, { query });
  }
  return came;
}

Deno.test("what is asked of conversations looks at what it answers, and answers no more than is used", async () => {
  await using neon = neonProxy(home.url);
  const w = await world({
    database: open(home.url, { driver: "neon", webSocketProxy: neon.address }),
  });
  const tenantId = id(1);
  const { sessions, messages } = w.as({ ...w.operator, tenantId }).chat;
  const sql = connect(home.url, { max: 1 });
  const turnOf = async (n: number) => ({
    id: id(n),
    session: await sessions.get({ id: id(n) }),
    stop: () => {},
  });
  const [short, long] = [await turnOf(1), await turnOf(2)];
  const history = (turn: typeof short) => async () => {
    const told = await historyOf(asSystem(w.process, tenantId), turn, { maxHistory: 100 });
    assert.equal(told.length, turn === short ? 100 : 0);
  };
  const page = { limit: 50 };
  /** How many rows each may look at, and how many characters it may be answered. */
  const asked: Record<string, [number, number, () => Promise<unknown>]> = {
    "a user's conversations": [51, 20_000, () => sessions.list({ userId: "many", ...page })],
    "one's who has few": [5, 2_000, () => sessions.list({ userId: "user 7", ...page })],
    "a page of messages": [52, 20_000, () => messages.list({ sessionId: id(1), ...page })],
    // Of one that is taken for short, all hundred may be sorted instead of walked along.
    "a page of long ones": [102, 2 ** 20 + 2_000, () => messages.list({ sessionId: id(2) })],
    "what a model is told": [102, 10_000, history(short)],
    "and of what is too long": [102, 500, history(long)],
  };
  const told: string[] = [];
  for (const [name, [most, chars, call]] of Object.entries(asked)) {
    const queries = await heard(call);
    const plans = await Promise.all(queries.map((query) => planOf(sql, tenantId, query)));
    const scans = plans.flatMap(({ nodes }) => scansOf(nodes)).filter((node) => looked(node) > 0);
    assert.ok(scans.length > 0);
    const read = Math.max(...scans.map(looked));
    assert.ok(read <= most, `${name} reads ${read} rows`);
    const came = await answered(call);
    assert.ok(came.chars <= chars, `${name} is answered ${came.chars} characters`);
    told.push(`${name} ${read} rows, ${came.chars} characters`);
  }
  let cleared = 0;
  const clearing = async () => cleared = (await sessions.clear({ id: id(2) })).clearedMessages;
  const { rows } = await answered(clearing);
  assert.equal(cleared, 100);
  assert.ok(rows < 20, `${rows} rows come of clearing`);
  console.log(`With ${ROWS} of each: ${told.join("; ")}; clearing ${rows} rows of answers`);
  await sql.end();
  await w.close();
});
