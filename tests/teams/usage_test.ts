/** What teams used, as it is listed: every figure is the naive sum of what was settled. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { groups } from "../../src/teams/usage_cursors.ts";
import { type Group, models, naive } from "./usage_house.ts";
import {
  DAYS,
  exported,
  h,
  of,
  ours,
  pagesOf,
  same,
  seed,
  teams,
  theirs,
  USERS,
  whole,
} from "./usage_sample.ts";

const RUNS = Deno.env.get("PROVE") ? 400 : 60;

const defused = (value: unknown) =>
  typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
/** A row of the list as its line says it. */
const lineOf = (row: Record<string, unknown>) =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => {
      const shown = ["model", "userId"].includes(name) ? defused(value) : value;
      return [snake(name), shown === null ? null : String(shown)];
    }),
  );

const rarely = <T>(it: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: it });
const question = fc.record({
  side: fc.constantFrom("ours" as const, "theirs" as const),
  groupBy: fc.subarray([...groups]).chain((some) =>
    fc.shuffledSubarray(some, { minLength: some.length })
  ),
  from: fc.constantFrom("2026-01-01", ...DAYS),
  to: fc.constantFrom("2026-03-15", "2026-12-31"),
  team: rarely(fc.nat(1)),
  key: rarely(fc.nat(1)),
  model: rarely(fc.constantFrom(...models)),
  userId: rarely(fc.constantFrom(...USERS.flatMap((user) => user === null ? [] : [user]))),
  limit: fc.constantFrom(1, 7, 50, 100),
});

Deno.test("usage.list and the CSV are the naive grouping of what was settled, whatever is asked", async () => {
  let rows = 0;
  const property = fc.asyncProperty(question, async (it) => {
    const side = it.side === "ours" ? ours : theirs;
    const team = it.team === undefined ? undefined : teams[it.side][it.team];
    const asked = {
      groupBy: it.groupBy,
      from: it.from,
      to: it.to,
      ...team ? { teamId: team.id } : {},
      ...it.key === undefined ? {} : { apiKeyId: (team ?? teams[it.side][0])?.keys[it.key] ?? "" },
      ...it.model === undefined ? {} : { model: it.model },
      ...it.userId === undefined ? {} : { userId: it.userId },
    };
    const meant = of(side).filter((each) =>
      each.day >= asked.from && each.day <= asked.to &&
      (asked.teamId ?? each.teamId) === each.teamId &&
      (asked.model ?? each.model) === each.model &&
      (asked.apiKeyId === undefined || asked.apiKeyId === each.apiKeyId) &&
      (asked.userId === undefined || asked.userId === each.userId)
    );
    const wanted = naive(meant, it.groupBy);
    const what = JSON.stringify(asked);
    const listed = await pagesOf(side.admin, asked, it.limit);
    same(listed, wanted, what);
    same((await exported(side.admin, asked)).rows, listed.map(lineOf), `the CSV of ${what}`);
    rows += listed.length;
  });
  await fc.assert(property, { seed, numRuns: RUNS });
  console.log(`usage: ${RUNS} questions, ${rows} rows, seed ${seed}`);
  assert.ok(rows > RUNS, "hardly anything was found");
});

Deno.test("usage.list says how many requests its costs leave out, and null where all are", async () => {
  const list = await pagesOf(ours.admin, { ...whole, groupBy: ["model"] }, 100);
  const byModel = new Map(list.map((row) => [row.model, row]));
  const unpriced = byModel.get("local/unpriced");
  assert.equal(unpriced?.costMicros, null);
  assert.equal(unpriced?.unpricedRequests, unpriced?.requests);
  assert.equal(byModel.get("=free/model")?.costMicros, "0.000000");
  const [all] = await pagesOf(ours.admin, { ...whole, groupBy: [] }, 100);
  assert.equal(all?.requests, of(ours).length);
  assert.equal(all?.unpricedRequests, unpriced?.requests);
  assert.match(all?.costMicros ?? "", /^\d+\.\d{6}$/);
});

Deno.test("usage.list sorts by team, day, model, key and user, nulls last", async () => {
  const rows = await pagesOf(ours.admin, { ...whole, groupBy: ["user", "day"] }, 3);
  const days = rows.map(({ day }) => day);
  assert.deepEqual(days, [...days].sort());
  const users = rows.filter(({ day }) => day === days[0]).map(({ userId }) => userId);
  assert.equal(users.findIndex((user) => user === null), users.length - 1);
});

Deno.test("usage.list without days looks at the last 30 in the tenant's zone, and the cursor keeps them", async () => {
  const tenant = await h.w.tenant("Far away");
  // Where it is another day than in UTC, and then where it is another one again.
  const zones = ["Pacific/Pago_Pago", "Pacific/Kiritimati"];
  // A day of the first ends at 11, one of the second at 10: not while this runs.
  const [far, farther] = new Date().getUTCHours() < 10 ? zones : zones.toReversed();
  const move = (zone = "") =>
    h.sql("update tenants set time_zone = $2 where id = $1", [tenant.tenantId, zone]);
  await move(far);
  const { id: teamId } = await h.team(tenant.admin, "one");
  const [row] = await h.sql("select (now() at time zone $1)::date::text as d", [far]);
  const today = String(row?.d);
  const ago = (days: number) =>
    new Date(Date.parse(today) - days * 86_400_000).toISOString().slice(0, 10);
  for (const day of [undefined, ago(29), ago(30)]) {
    await h.use(tenant.tenantId, { teamId, model: "m", settlement: {}, ...day ? { day } : {} });
  }
  await h.written();
  const ask = h.w.as(tenant.admin).teams.usage.list;
  const { usage, from, to, nextCursor } = await ask({});
  assert.deepEqual([from, to, nextCursor], [ago(29), today, null]);
  assert.deepEqual(usage.map(({ day }) => day), [ago(29), today]);
  const first = await ask({ limit: 1 });
  // The day turns between two pages.
  await move(farther);
  const second = await ask({ limit: 1, cursor: first.nextCursor ?? "" });
  assert.deepEqual([second.from, second.to, second.usage[0]?.day], [ago(29), today, today]);
});

Deno.test("usage shows nobody what another tenant's teams used, by filter or cursor", async () => {
  const [team] = teams.ours;
  const key = team?.keys[0] ?? "";
  const as = h.w.as(theirs.admin).teams.usage;
  for (const filter of [{ teamId: team?.id }, { apiKeyId: key }]) {
    assert.deepEqual((await as.list({ ...whole, ...filter })).usage, []);
    assert.deepEqual((await exported(theirs.admin, { ...whole, ...filter })).rows, []);
  }
  const groupBy: Group[] = ["team", "key", "user"];
  const { nextCursor } = await h.w.as(ours.admin).teams.usage
    .list({ ...whole, groupBy, limit: 1 });
  const { usage } = await as.list({ ...whole, groupBy, cursor: nextCursor ?? "", limit: 100 });
  const known = new Set(teams.theirs.map(({ id }) => id));
  assert.ok(usage.every(({ teamId }) => known.has(teamId ?? "")));
  assert.deepEqual((await as.logs({ teamId: team?.id })).usageLogs, []);
  await assert.rejects(as.quota({ id: team?.id ?? "" }), { message: "No such team" });
});

Deno.test("usage shows nothing to whom only their own is shown, and a team's key has no part in it", async () => {
  const self = { ...ours.admin, grants: { "usage.read": "self" as const } };
  const as = h.w.as(self).teams.usage;
  assert.deepEqual((await as.list(whole)).usage, []);
  assert.deepEqual((await as.logs({})).usageLogs, []);
  const [one, two] = teams.ours;
  const familyId = one?.keys[0] ?? "";
  const chatting = h.w.as({ ...self, team: { id: one?.id ?? "", familyId } }).teams.usage;
  const { usage } = await chatting.list({ ...whole, groupBy: ["team"] });
  assert.deepEqual(usage.map(({ teamId }) => teamId), [one?.id]);
  await assert.rejects(chatting.quota({ id: two?.id ?? "" }), { message: "No such team" });
  const { key } = await h.w.as(ours.admin).teams.teamKeys
    .create({ teamId: one?.id ?? "", name: "third" });
  for (const path of ["usage", "usage.csv", "usage-logs", `teams/${one?.id}/quota`]) {
    const answer = await h.w.request(`/api/v1/${path}`, { headers: { "x-api-key": key } });
    assert.equal(answer.status, 403, path);
    await answer.body?.cancel();
  }
});

const cursor = (value: unknown) =>
  new TextEncoder().encode(JSON.stringify(value)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });

Deno.test("usage.list and the CSV refuse what cannot be meant, and name it", async () => {
  const days = ["2026-01-01", "2026-01-31"];
  const listOnly = [
    "!",
    "abc",
    cursor(null),
    cursor([...days, ["model"], ["m"]]),
    cursor([...days, ["day"], []]),
    cursor([...days, ["day"], ["m"]]),
    cursor([...days, ["model", "day"], ["m", "2026-01-02"]]),
    cursor(["2020-01-01", "2026-01-31", ["day"], ["2026-01-02"]]),
    cursor(["2026-02-01", "2026-01-31", ["day"], ["2026-01-02"]]),
    cursor(["0000-01-01", "0000-01-31", ["day"], ["0000-01-02"]]),
  ].map((text) => ["cursor", `cursor=${encodeURIComponent(text)}`] as const);
  const unstorable = cursor([...days, ["model"], ["a\u0000"]]);
  const both = [
    ["from", "from=2026-02-01&to=2026-01-31"],
    ["from", "from=2025-01-01&to=2026-02-05"],
    ["from", "from=2026-02-30"],
    ["from", "from=0000-01-01&to=0000-02-01"],
    ["to", "to=tomorrow"],
    ["team_id", "team_id=1"],
    ["model", "model=a%20b"],
    ["group_by.0", "group_by=tenant"],
    ["group_by", "group_by=day&group_by=day&group_by=day&group_by=day&group_by=day&group_by=day"],
    ["colour", "colour=green"],
  ] as const;
  const tried = [
    ...listOnly.map(([field, query]) => [field, `/api/v1/usage?${query}`] as const),
    ["cursor", `/api/v1/usage?group_by=model&cursor=${unstorable}`] as const,
    ...["limit=0", "limit=101"].map((query) => ["limit", `/api/v1/usage?${query}`] as const),
    ...["cursor=abc", "limit=5"].map((query) =>
      [query.replace(/=.*/, ""), `/api/v1/usage.csv?${query}`] as const
    ),
    ...both.flatMap(([field, query]) => [
      [field, `/api/v1/usage?${query}`] as const,
      [field, `/api/v1/usage.csv?${query}`] as const,
    ]),
  ];
  for (const [field, path] of tried) {
    const answer = await h.w.request(path, {}, ours.admin);
    const { code, errors } = await answer.json();
    assert.deepEqual(
      [answer.status, code, errors?.[0]?.field],
      [400, "ValidationError", field],
      path,
    );
    assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
  }
  const longest = await h.w.request(
    "/api/v1/usage?from=2025-01-01&to=2026-02-04",
    {},
    ours.admin,
  );
  assert.equal(longest.status, 200, await longest.text());
});

Deno.test("usage.list takes a cursor in its own question only", async () => {
  const ask = h.w.as(ours.admin).teams.usage.list;
  const asked = { ...whole, groupBy: ["day" as const], limit: 1 };
  const { nextCursor } = await ask(asked);
  const next = { ...asked, cursor: nextCursor ?? "" };
  assert.equal((await ask(next)).usage.length, 1);
  const message = "Give the cursor with the question it belongs to";
  await assert.rejects(ask({ ...next, groupBy: ["day", "model"] }), { message });
  await assert.rejects(ask({ ...next, from: "2026-01-02" }), { message });
  const { from: _, to: __, ...undated } = next;
  assert.equal((await ask(undated)).usage.length, 1);
});
