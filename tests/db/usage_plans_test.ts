/** Usage stays quick where there is a year of it: read along an index, and passed on a page at a time. */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import connect from "postgres";
import { open } from "../../db/client.ts";
import { world } from "../kit.ts";
import { neonProxy } from "../stand_ins/neon_proxy.ts";
import { heard, looked, planOf, scansOf, wholeScans } from "./asked.ts";
import { type House, house } from "./house.ts";

const isProof = Deno.env.get("PROVE") === "1";
const [ROWS, LOGS] = isProof ? [1_000_000, 1_000_000] : [200_000, 50_000];
const TENANTS = 50; // The first has half of everything.
const TEAMS = 20;
const DAYS = 400;

/** An id from a number; as SQL. */
const idOf = (n: string) => `('00000000-0000-7000-8001-' || lpad((${n})::text, 12, '0'))::uuid`;
const id = (n: number) => `00000000-0000-7000-8001-${String(n).padStart(12, "0")}`;
const tenantOf = `(case when n % 2 = 0 then 1 else 1 + n % ${TENANTS} end)`;
const teamOf = `(n / ${DAYS} % ${TEAMS})`;
const outcomes = "array['answered', 'answered', 'failed', 'answered', 'aborted']";

const today = new Date().toISOString().slice(0, 10);

/** As the superuser, without checks of foreign keys: only the planner looks at these rows. */
const seed = `set session_replication_role = replica;
  insert into tenants (id, name)
  select ${idOf("n")}, 'T' || n from generate_series(1, ${TENANTS}) n;
  insert into usage_days (tenant_id, id, team_id, day_on, model, api_key_id, user_id, requests,
    errors, input_tokens, output_tokens, cost_micros, unpriced, timed, latency_ms, max_latency_ms)
  select ${idOf(tenantOf)}, gen_random_uuid(), ${idOf(`1 + ${teamOf}`)},
    '${today}'::date - n % ${DAYS}, 'vendor/model-' || n / 7 % 5,
    ${
  idOf(`100 + 2 * ${teamOf} + n % 2`)
}, 'user-' || n / 100, 3, 1, 1000, 200, 12.5, 0, 3, 900, 400
  from generate_series(1, ${ROWS}) n;
  insert into usage_logs (tenant_id, id, team_id, session_id, endpoint, model, requested_model,
    outcome, attempts, input_tokens, output_tokens, usage_source, is_streamed, request_id, day_on)
  select ${idOf(tenantOf)},
    overlay(uuid_floor(now() - interval '20 days' * random())::text
      placing '7' || substr(gen_random_uuid()::text, 16) from 15)::uuid,
    ${idOf(`1 + ${teamOf}`)}, ${idOf("n % 5000")}, 'embeddings', 'm', 'm',
    (${outcomes})[case when n % 1000 = 0 then 1 + n / 1000 % 5 else 1 end], 1, 1, 0, 'counted', false,
    'r', now()::date
  from generate_series(1, ${LOGS}) n;
  set session_replication_role = origin;
  analyze;`;

setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");
/** What the heap holds once the collector has been. */
function heapHeld(): number {
  if (typeof collect !== "function") throw new Error("There is no collector to call");
  collect();
  return Deno.memoryUsage().heapUsed;
}

let home: House;
Deno.test.beforeAll(async () => {
  home = await house();
  await home.admin(seed);
});
Deno.test.afterAll(async () => await home[Symbol.asyncDispose]());

const ago = (days: number) =>
  new Date(Date.parse(today) - days * 86_400_000).toISOString().slice(0, 10);
const year = { from: ago(DAYS - 1), to: today, limit: 100 };
const month = { from: ago(29), to: today };
const all = ["team", "day", "model", "key", "user"] as const;

Deno.test("usage.list and usage.logs are one query each, and read along an index", async () => {
  await using neon = neonProxy(home.url);
  const w = await world({
    database: open(home.url, { driver: "neon", webSocketProxy: neon.address }),
  });
  const tenantId = id(1);
  const { usage } = w.as({ ...w.operator, tenantId }).teams;
  const after = async (asked: Parameters<typeof usage.list>[0], pages: number) => {
    let cursor: string | null = null;
    for (let n = 0; n < pages; n++) {
      const page: Awaited<ReturnType<typeof usage.list>> = await usage
        .list({ ...asked, ...cursor === null ? {} : { cursor } });
      cursor = page.nextCursor;
    }
    return { ...asked, cursor: cursor ?? assert.fail("there are not as many pages") };
  };
  const [byAll, byDay] = [{ ...year, groupBy: [...all] }, {
    ...year,
    groupBy: ["day" as const, "user" as const],
  }];
  const [nextOfAll, nextOfDay] = [await after(byAll, 20), await after(byDay, 20)];
  const since = new Date(Date.now() - 3600_000);
  const aMonth = Math.ceil(ROWS / 2 * 30 / DAYS);
  /** How many rows each may look at. */
  const asked: Record<string, [number, () => Promise<unknown>]> = {
    "a month by day": [aMonth, () => usage.list(month)],
    "a month by model": [aMonth, () => usage.list({ ...month, groupBy: ["model"] })],
    "a month of a key": [aMonth, () => usage.list({ ...month, apiKeyId: id(106) })],
    "a month of a user": [aMonth, () => usage.list({ ...month, userId: "user-7" })],
    "a year of a team": [ROWS / TEAMS, () => usage.list({ ...year, teamId: id(3) })],
    "a year by everything": [1_000, () => usage.list(byAll)],
    "the 21st page of it": [1_000, () => usage.list(nextOfAll)],
    "a year by day and user": [ROWS / 100, () => usage.list(byDay)],
    "the 21st page of that": [ROWS / 100, () => usage.list(nextOfDay)],
    "the newest rows": [1_000, () => usage.logs({})],
    "rows of a team": [1_000, () => usage.logs({ teamId: id(3) })],
    "rows of a conversation": [1_000, () => usage.logs({ sessionId: id(7) })],
    "rows since": [Math.ceil(LOGS / 20 / 24), () => usage.logs({ since })],
    "failed rows": [1_000, () => usage.logs({ outcome: "failed" })],
    "lost rows, of which there are none": [1_000, () => usage.logs({ outcome: "lost" })],
    "answered rows": [1_000, () => usage.logs({ outcome: "answered" })],
  };
  const sql = connect(home.url, { max: 1 });
  const took: string[] = [];
  for (const [name, [most, call]] of Object.entries(asked)) {
    const [query = assert.fail(), ...others] = await heard(call);
    assert.deepEqual(others, [], name);
    const { nodes, ms } = await planOf(sql, tenantId, query);
    const scans = scansOf(nodes);
    assert.deepEqual(wholeScans(scans), [], `${name} scans a whole table`);
    const read = Math.max(...scans.map(looked));
    assert.ok(read <= most, `${name} reads ${read} rows`);
    took.push(`${name} ${ms.toFixed(1)} ms`);
  }
  console.log(`With ${ROWS} sums and ${LOGS} rows, as the service's role: ${took.join(", ")}`);
  await sql.end();
  await w.close();
});

Deno.test("the CSV of a year comes whole over a socket, in memory that does not grow with it", async () => {
  const w = await world({ database: open(home.url) });
  const server = Deno.serve({ port: 0, onListen: () => {} }, w.hono.fetch);
  const authorization = `Bearer ${await w.token({ ...w.operator, tenantId: id(1) })}`;
  const query = new URLSearchParams([
    ["from", year.from],
    ["to", today],
    ...all.map((group) => ["group_by", group]),
  ]);
  const url = `http://localhost:${server.addr.port}/api/v1/usage.csv?${query}`;
  const began = performance.now();
  const answer = await fetch(url, { headers: { authorization } });
  assert.equal(answer.status, 200);
  let [lines, bytes, most] = [0, 0, 0];
  const held: number[] = [];
  for await (const chunk of answer.body ?? assert.fail()) {
    bytes += chunk.length;
    for (const byte of chunk) if (byte === 10) lines++;
    most = Math.max(most, Deno.memoryUsage().heapUsed);
    if (lines > ROWS / 2 * ([0.1, 0.95][held.length] ?? 2)) held.push(heapHeld());
  }
  const [early = NaN, late = NaN] = held;
  const mib = (n: number) => `${(n / 2 ** 20).toFixed(1)} MiB`;
  console.log(
    `${lines - 1} rows, ${mib(bytes)} in ${(performance.now() - began).toFixed(0)} ms; held ` +
      `${mib(early)} after a tenth and ${mib(late)} near the end, ${
        mib(most)
      } with what was let go`,
  );
  assert.equal(
    lines - 1,
    await home.count(`select count(*) from usage_days
    where tenant_id = '${id(1)}'`),
  );
  assert.ok(late - early < 4 * 2 ** 20, `${mib(late - early)} were kept`);
  await server.shutdown();
  await w.close();
});
