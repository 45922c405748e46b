/** Which day and month a request counts in, where a process knows its tenant's already. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { asSystem } from "../../src/context.ts";
import { admit } from "../../src/teams/admission.ts";
import { usageHouse } from "./usage_house.ts";

const clock = { ms: Date.now() };
const h = await usageHouse({ now: () => new Date(clock.ms) });
Deno.test.afterAll(() => h.w.close());

/** Their days end at 10, 11 and 12 o'clock UTC: when this may be near, others stand in. */
const near: Record<number, [string, string]> = {
  9: ["Etc/GMT-13", "Etc/GMT+12"],
  10: ["Etc/GMT-14", "Etc/GMT+12"],
};
// 25 hours apart or more: never the same day.
const [early, late] = near[new Date().getUTCHours()] ?? ["Pacific/Kiritimati", "Pacific/Pago_Pago"];

async function stage() {
  const { tenantId, admin } = await h.w.tenant("Calendars");
  const { id } = await h.team(admin, "one");
  const moveTo = (zone: string) =>
    h.sql("update tenants set time_zone = $2 where id = $1", [tenantId, zone]);
  const dayIn = async (zone: string) =>
    String((await h.sql("select local_day(now(), $1)::text as day", [zone]))[0]?.day);
  const countedOn = async (lease: string) => {
    const [row] = await h.sql("select day_on::text as day from quota_leases where id = $1", [
      lease,
    ]);
    return String(row?.day);
  };
  return { tenantId, id, moveTo, dayIn, countedOn };
}

Deno.test("admit counts in a tenant's new time zone 5 seconds after it has changed", async () => {
  const { tenantId, id, moveTo, dayIn, countedOn } = await stage();
  const letIn = () =>
    admit(asSystem(h.w.process, tenantId), {
      teamId: id,
      apiKeyId: null,
      sessionId: null,
      userId: null,
      endpoint: "chat.completions",
      model: "m",
      inputTokens: 1,
      leaseSeconds: 60,
    });
  await moveTo(early);
  const first = await letIn();
  await moveTo(late);
  const second = await letIn();
  assert.equal(await countedOn(second.id), await dayIn(early));
  assert.deepEqual(second.quota.day.endsAt, first.quota.day.endsAt);
  clock.ms += 5_000;
  const third = await letIn();
  assert.equal(await countedOn(third.id), await dayIn(late));
  assert.notDeepEqual(third.quota.day.endsAt, first.quota.day.endsAt);
});

Deno.test("chat_admit believes a calendar until its day ends, and tells the next one then", async () => {
  const { tenantId, id, moveTo, dayIn, countedOn } = await stage();
  await moveTo(early);
  const ask = async (calendar: unknown) => {
    const lease = v7();
    const asked = { place: 0, tenant: tenantId, team: id, lease, endpoint: "chat.completions" };
    const more = { model: "m", tokens: 1, request: "r", seconds: 60, calendar };
    const [row] = await h.sql("select * from chat_admit($1::jsonb)", [
      JSON.stringify([{ ...asked, ...more }]),
    ]);
    return { day: await countedOn(lease), told: row?.calendar };
  };
  const found = await ask(null);
  assert.equal(found.day, await dayIn(early));
  const told = Object(found.told);
  assert.deepEqual(Object.keys(told).toSorted(), ["day_ends", "day_on", "month_ends", "month_on"]);
  await moveTo(late);
  assert.deepEqual(await ask(told), { day: found.day, told: null });
  const over = { ...told, day_ends: new Date().toISOString() };
  const next = await ask(over);
  assert.deepEqual([next.day, Object(next.told).day_on], [await dayIn(late), next.day]);
  for (const strange of [{}, "calendar", [], 7]) {
    assert.equal((await ask(strange)).day, next.day);
  }
});
