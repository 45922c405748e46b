/** Two tenants whose teams have used some: what tests of usage share. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Person } from "../kit.ts";
import { models, recordsOf, usageHouse, type Used } from "./usage_house.ts";

export const DAYS = ["2026-01-30", "2026-01-31", "2026-02-01", "2026-03-15"];
export const USERS = [
  "anna",
  "",
  "=1+1",
  'a "quoted", name\r\nof two lines',
  "'quoted",
  "żółć 🙂",
  null,
];
const outcomes = ["answered", "failed", "aborted", "cut"] as const;

export const h = await usageHouse();
export const [ours, theirs] = [await h.w.tenant("Ours"), await h.w.tenant("Theirs")];
type Tenant = typeof ours;
const teamsOf = async ({ admin }: Tenant) => [
  await h.team(admin, "one"),
  await h.team(admin, "two"),
];
export const teams = { ours: await teamsOf(ours), theirs: await teamsOf(theirs) };
const used: Used[] = [];
export const of = ({ tenantId }: Tenant) => used.filter((it) => it.tenantId === tenantId);

export const seed = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);

Deno.test.beforeAll(async () => {
  console.log(`usage: seed ${seed}`);
  const wish = fc.record({
    side: fc.constantFrom("ours" as const, "theirs" as const),
    team: fc.nat(1),
    key: fc.option(fc.nat(1)),
    day: fc.constantFrom(...DAYS),
    model: fc.constantFrom(...models),
    userId: fc.constantFrom(...USERS),
    inputTokens: fc.nat(100_000),
    told: fc.option(fc.nat(2_000_000_000)),
    outputTokens: fc.nat(50_000),
    outcome: fc.constantFrom(...outcomes),
    latencyMs: fc.nat(60_000),
    isLost: fc.nat(9).map((n) => n === 0),
  });
  const wishes = fc.sample(wish, { seed, numRuns: 400 });
  used.push(
    ...await Promise.all(wishes.map((it) => {
      const team = teams[it.side][it.team] ?? assert.fail();
      const { day, model, userId, inputTokens, told, outputTokens, outcome, latencyMs } = it;
      return h.use((it.side === "ours" ? ours : theirs).tenantId, {
        teamId: team.id,
        apiKeyId: it.key === null ? null : team.keys[it.key] ?? null,
        day,
        model,
        userId,
        inputTokens,
        settlement: it.isLost ? null : { inputTokens: told, outputTokens, outcome, latencyMs },
      });
    })),
  );
  await h.written();
});
Deno.test.afterAll(() => h.w.close());

type Asked = Parameters<ReturnType<typeof h.w.as>["teams"]["usage"]["list"]>[0];
export const whole = { from: "2026-01-01", to: "2026-12-31" };

/** All pages of a list; each but the last is full. */
export async function pagesOf(who: Person, asked: Asked, limit: number) {
  const rows = [];
  let cursor: string | undefined;
  do {
    const page: Awaited<ReturnType<ReturnType<typeof h.w.as>["teams"]["usage"]["list"]>> = await h
      .w.as(who).teams.usage.list({ ...asked, limit, ...cursor ? { cursor } : {} });
    rows.push(...page.usage);
    assert.ok(rows.length <= used.length, "the pages do not come to an end");
    assert.ok(page.nextCursor === null || page.usage.length === limit);
    cursor = page.nextCursor ?? undefined;
  } while (cursor);
  return rows;
}

const sorted = (rows: object[]) =>
  rows.map((row) => JSON.stringify(row, Object.keys(row).sort())).sort();
export const same = (got: object[], wanted: object[], what: string) => {
  assert.equal(got.length, wanted.length, what);
  assert.deepEqual(sorted(got), sorted(wanted), what);
};

/** What the table says, as the list would. */
export async function exported(who: Person, asked: Asked) {
  const { groupBy, teamId, apiKeyId, userId, model, from, to } = { ...asked };
  const query = new URLSearchParams([
    ...groupBy?.length === 0 ? [["group_by", ""]] : groupBy?.map((g) => ["group_by", g]) ?? [],
    ...Object.entries({
      team_id: teamId,
      api_key_id: apiKeyId,
      user_id: userId,
      model,
      from,
      to,
    }).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]),
  ]);
  const answer = await h.w.request(`/api/v1/usage.csv?${query}`, {}, who);
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  const [names = [], ...records] = recordsOf(text);
  const rows = records.map((record) =>
    Object.fromEntries(names.map((name, place) => [String(name), record[place] ?? null]))
  );
  return { answer, text, names, rows };
}
