/** The requests behind the sums, one by one. */
import assert from "node:assert/strict";
import { uuidFloor } from "../../src/audit.ts";
import { sumUp, type Used } from "./usage_house.ts";
import { h, of, ours, teams } from "./usage_sample.ts";

Deno.test("usage.logs is what was settled, newest first, a page at a time and as filtered", async () => {
  const as = h.w.as(ours.admin).teams.usage;
  const [team] = teams.ours;
  const rows = [];
  for (let cursor: string | undefined, more = true; more;) {
    const page: Awaited<ReturnType<typeof as.logs>> = await as
      .logs({ limit: 37, ...cursor ? { cursor } : {} });
    rows.push(...page.usageLogs);
    [cursor, more] = [page.nextCursor ?? undefined, page.nextCursor !== null];
  }
  const wanted = of(ours).toSorted((a, b) => a.id < b.id ? 1 : -1);
  assert.deepEqual(rows.map(({ id }) => id), wanted.map(({ id }) => id));
  rows.forEach((row, place) => {
    const it = wanted[place] ?? assert.fail();
    const { costMicros } = sumUp([it]);
    assert.deepEqual(
      [row.teamId, row.dayOn, row.model, row.apiKeyId, row.userId, row.outcome, row.costMicros],
      [it.teamId, it.day, it.model, it.apiKeyId, it.userId, it.outcome, costMicros],
    );
    assert.deepEqual(
      [row.inputTokens, row.outputTokens, row.latencyMs].map(String),
      [
        it.input,
        it.output,
        it.latencyMs,
      ].map(String),
    );
  });
  const cut = await as.logs({ teamId: team?.id, outcome: "cut", limit: 100 });
  assert.deepEqual(
    cut.usageLogs.map(({ id }) => id),
    wanted.filter(({ teamId, outcome }) => teamId === team?.id && outcome === "cut")
      .map(({ id }) => id),
  );
});

Deno.test("usage.logs looks between two moments, and at one conversation", async () => {
  const tenant = await h.w.tenant("Moments");
  const { id: teamId } = await h.team(tenant.admin, "one");
  const sessionId = crypto.randomUUID();
  const use = (more: object = {}) =>
    h.use(tenant.tenantId, { teamId, model: "m", settlement: {}, ...more });
  const [before, inside] = [await use(), await use({ sessionId })];
  await h.written();
  const momentOf = ({ id }: Used) => new Date(parseInt(id.replaceAll("-", "").slice(0, 12), 16));
  const earlier = uuidFloor(new Date(momentOf(before).getTime() - 60_000));
  await h.sql("update usage_logs set id = $2 where id = $1", [
    before.id,
    earlier.slice(0, 14) + before.id.slice(14),
  ]);
  const as = h.w.as(tenant.admin).teams.usage;
  const ids = async (asked: Parameters<typeof as.logs>[0]) =>
    (await as.logs(asked)).usageLogs.map(({ id }) => id);
  const at = momentOf(inside);
  assert.deepEqual(await ids({ since: at }), [inside.id]);
  assert.equal((await ids({ until: at })).length, 1);
  assert.deepEqual(await ids({ since: new Date(at.getTime() + 1) }), []);
  assert.deepEqual(await ids({ sessionId }), [inside.id]);
});
