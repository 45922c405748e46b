/** A long table on its way: read as fast as it is taken, by whoever may still read it. */
import assert from "node:assert/strict";
import { Hono } from "hono";
import { mountUsageCsv } from "../../routers/usage_csv.ts";
import { tapped } from "../contract/tap.ts";
import { until } from "../db/house.ts";
import { environment, type Person, world } from "../kit.ts";
import { recordsOf } from "./usage_house.ts";

const ROWS = 13_000;
const PATH = "/api/v1/usage.csv?from=2026-01-01&to=2026-12-31&group_by=day&group_by=user";

const { database, tap, superuser } = await tapped();
/** What the service asks of the database at this moment. */
let asking = 0;
const counted =
  <A extends unknown[], T>(ask: (...given: A) => Promise<T>) => async (...given: A) => {
    asking++;
    return await ask(...given).finally(() => asking--);
  };
const clock = { aheadMs: 0 };
const logged: string[] = [];
const w = await world({
  database: {
    ...database,
    query: counted(database.query),
    transaction: (work, access) => counted(() => database.transaction(work, access))(),
  },
  env: await environment({ LOG_LEVEL: "debug" }),
  now: () => new Date(Date.now() + clock.aheadMs),
  write: (line) => void logged.push(line),
});
const { tenantId, admin } = await w.tenant();
const { id: teamId } = await w.as(admin).teams.teams.create({
  displayName: "one",
  platformName: "one",
});
await superuser(
  `insert into usage_days (tenant_id, id, team_id, day_on, model, user_id, requests, errors,
    input_tokens, output_tokens, cost_micros, unpriced, timed, latency_ms, max_latency_ms)
  select $1, gen_random_uuid(), $2, date '2026-01-01' + n % 300, 'm', 'u' || n || repeat('x', 900), 1, 0, 2, 3, 4, 0, 1, 5, 5
  from generate_series(1, ${ROWS}) n`,
  [tenantId, teamId],
);
await superuser("analyze usage_days");

Deno.test.beforeEach(() => {
  clock.aheadMs = 0;
  tap.rewrite = (text) => text;
  tap.heard = [];
  tap.listening = true;
});
Deno.test.afterAll(() => w.close());

const pagesRead = () => tap.heard.filter(({ text }) => /from "usage_days"/.test(text)).length;
/** Whatever was on its way has had its turn: for a while the service has asked nothing. */
const quiet = async () => {
  for (let calm = 0; calm < 50; calm = asking === 0 ? calm + 1 : 0) await superuser("select 1");
};

async function opened(who: Person | null = admin, headers: HeadersInit = {}) {
  const answer = await w.request(PATH, { headers }, who);
  assert.equal(answer.status, 200, answer.ok ? "" : await answer.text());
  const reader = answer.body?.getReader() ?? assert.fail();
  const decoder = new TextDecoder();
  let text = "";
  const step = async () => {
    const { done, value } = await reader.read();
    text += decoder.decode(value, { stream: !done });
    return !done;
  };
  const rest = async () => {
    while (await step());
    return recordsOf(text).length - 1;
  };
  const leave = async () => {
    await reader.cancel();
    await quiet();
  };
  return { step, rest, leave };
}

Deno.test("the CSV is whole, and read a page at a time", async () => {
  assert.equal(await (await opened()).rest(), ROWS);
  assert.equal(pagesRead(), Math.ceil(ROWS / 2_000));
});

Deno.test("the CSV is read no faster than it is taken, and no more once its reader is gone", async () => {
  const { step, leave } = await opened();
  await step();
  await quiet();
  const read = pagesRead();
  assert.ok(read <= 3, `${read} pages were read for one that was taken`);
  await step();
  await quiet();
  assert.equal(pagesRead(), read + 1);
  await leave();
  assert.equal(pagesRead(), read + 1);
});

/** Asks, and is gone before there is an answer. */
async function hangUp(port: number, authorization: string) {
  const connection = await Deno.connect({ port });
  const lines = [`GET ${PATH} HTTP/1.1`, "Host: localhost", `Authorization: ${authorization}`];
  await connection.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  connection.close();
}

Deno.test("the CSV stops when the client's connection is gone", async () => {
  const server = Deno.serve({ port: 0, onListen: () => {} }, w.hono.fetch);
  const authorization = `Bearer ${await w.token(admin)}`;
  const url = `http://localhost:${server.addr.port}${PATH}`;
  const ask = (signal?: AbortSignal) =>
    fetch(url, { headers: { authorization }, ...signal ? { signal } : {} });
  for (let n = 0; n < 4; n++) await hangUp(server.addr.port, authorization);
  const leaving = new AbortController();
  for (let n = 0; n < 2; n++) {
    await until(async () => {
      const answer = await ask(leaving.signal);
      await (answer.ok ? answer.body?.getReader().read() : answer.body?.cancel());
      return answer.ok;
    }, "those who were gone at once are not counted as reading");
  }
  const third = await ask();
  assert.deepEqual([third.status, (await third.json()).reason], [429, "usage.exports_open"]);
  leaving.abort();
  await until(async () => {
    const answer = await ask();
    await answer.body?.cancel();
    return answer.status === 200;
  }, "those who left are no longer counted as reading");
  await quiet();
  const read = pagesRead();
  await quiet();
  assert.equal(pagesRead(), read);
  await server.shutdown();
});

Deno.test("the CSV is cut off for who does not take it in the time there is", async () => {
  const slow = new Hono();
  const host = {
    context: () => Promise.resolve(w.ctx(admin)),
    requestId: () => "slow",
    report: (error: unknown) => assert.fail(String(error)),
  };
  mountUsageCsv(slow, host, 300);
  for (let n = 0; n < 3; n++) {
    const answer = await slow.request(PATH);
    assert.equal(answer.status, 200, "who was cut off is counted as reading still");
    await assert.rejects(answer.body?.getReader().closed ?? assert.fail());
    await quiet();
  }
});

Deno.test("a principal has two exports open at most, which keep nobody else out", async () => {
  const [first, second] = [await opened(), await opened()];
  const refused = await w.request(PATH, {}, admin);
  const { code, reason } = await refused.json();
  assert.deepEqual([refused.status, code, reason], [429, "RateLimited", "usage.exports_open"]);
  assert.equal(refused.headers.get("retry-after"), "10");
  const other = await opened(await w.person(tenantId, "auditor"));
  await Promise.all([first.leave(), other.leave()]);
  const again = await opened();
  await Promise.all([second.leave(), again.leave()]);
});

Deno.test("a tenant has eight exports open at most", async () => {
  const open = [];
  for (let n = 0; n < 8; n++) open.push(await opened(await w.person(tenantId, "auditor")));
  const refused = await w.request(PATH, {}, admin);
  assert.equal(refused.status, 429);
  await refused.body?.cancel();
  await Promise.all(open.map(({ leave }) => leave()));
  assert.equal(await (await opened()).rest(), ROWS);
});

Deno.test("the CSV breaks off when its reader's key is revoked", async () => {
  const { apiKey, key } = await w.as(admin).identity.apiKeys
    .create({ name: "export", scopes: ["usage.read"] });
  const { step, rest } = await opened(null, { "x-api-key": key });
  await step();
  await quiet();
  await w.as(admin).identity.apiKeys.revoke({ id: apiKey.id });
  await assert.rejects(rest());
});

Deno.test("the CSV outlives the token it was asked with, but not the rights of its holder", async () => {
  const whole = await opened();
  await whole.step();
  await quiet();
  clock.aheadMs = 400_000;
  const [row] = await superuser("select id from role_bindings where owner_user_id = $1", [
    admin.userId,
  ]);
  assert.ok(row);
  assert.equal(await whole.rest(), ROWS);
  clock.aheadMs = 0;
  const auditor = await w.person(tenantId, "auditor");
  const broken = await opened(auditor);
  await broken.step();
  await quiet();
  clock.aheadMs = 400_000;
  await superuser(
    "update role_bindings set ends_at = now() - interval '1 second' where owner_user_id = $1",
    [
      auditor.userId,
    ],
  );
  await assert.rejects(broken.rest());
});

Deno.test("what fails before the first byte is a problem, and what fails after it breaks the table off", async () => {
  const bend = () => {
    tap.rewrite = (text) => /from "usage_days"/.test(text) ? "select * from a_secret_table" : text;
  };
  const { step, rest } = await opened();
  await step();
  await quiet();
  bend();
  logged.length = 0;
  await assert.rejects(rest());
  assert.ok(logged.some((line) => line.includes('"a request failed"')));
  const answer = await w.request(PATH, {}, admin);
  const text = await answer.text();
  assert.equal(answer.status, 500);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
  assert.ok(!text.includes("a_secret_table"));
  tap.rewrite = (text) => text;
  const open = [await opened(), await opened()]; // Neither failure is counted as open.
  await Promise.all(open.map(({ leave }) => leave()));
});
