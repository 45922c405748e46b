/** What is left of a team's quotas, as its tenant's calendar has it. */
import assert from "node:assert/strict";
import { usageHouse } from "./usage_house.ts";

const h = await usageHouse();
Deno.test.afterAll(() => h.w.close());

Deno.test("usage.quota tells what is used and left today and this month, and until when", async () => {
  const tenant = await h.w.tenant("Quotas");
  // No whole hours from UTC, and a day that does not end while this runs.
  const zone = new Date().getUTCHours() < 12 ? "Asia/Kathmandu" : "Pacific/Marquesas";
  await h.sql("update tenants set time_zone = $2 where id = $1", [tenant.tenantId, zone]);
  const { id } = await h.team(tenant.admin, "one");
  const as = h.w.as(tenant.admin).teams;
  const untouched = await as.usage.quota({ id });
  assert.deepEqual([untouched.day.used, untouched.day.limit, untouched.day.remaining], [
    0,
    null,
    null,
  ]);
  await as.teams.update({ id, dailyQuota: 5, monthlyQuota: 2 });
  for (const settlement of [{}, null]) {
    await h.use(tenant.tenantId, { teamId: id, model: "m", settlement });
  }
  const { day, month, timeZone } = await as.usage.quota({ id });
  assert.deepEqual([timeZone, day.limit, day.used, day.remaining], [zone, 5, 2, 3]);
  assert.deepEqual([month.limit, month.used, month.remaining], [2, 2, 0]);
  const shown = new Intl.DateTimeFormat("sv", {
    timeZone,
    dateStyle: "short",
    timeStyle: "medium",
  });
  const [date = "", time] = shown.format(day.endsAt).split(" ");
  assert.deepEqual([Date.parse(date) - Date.parse(day.startsOn), time], [86_400_000, "00:00:00"]);
  assert.equal(month.startsOn, `${day.startsOn.slice(0, 7)}-01`);
  assert.match(shown.format(month.endsAt), /-01 00:00:00$/);
  assert.ok(month.endsAt >= day.endsAt);
  await as.teams.update({ id, dailyQuota: 1 });
  assert.equal((await as.usage.quota({ id })).day.remaining, 0);
});
