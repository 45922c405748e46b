/** Settlement counts at its end: a team's admissions do not wait until its rows are written. */
import assert from "node:assert/strict";
import connect from "postgres";
import { asSystem } from "../../src/context.ts";
import { admit, settle, settled } from "../../src/teams/admission.ts";
import { until } from "../db/house.ts";
import { answered, asked } from "./admissions.ts";
import { disagreements, totals } from "./books.ts";
import { type TeamHouse, teamHouse } from "./team_house.ts";

let home: TeamHouse;
Deno.test.beforeAll(async () => void (home = await teamHouse()));
Deno.test.afterAll(() => home.close());

Deno.test("a team's request is let in while the settlement of another of its requests hangs", async () => {
  const { id } = await home.team();
  const { process } = home.w;
  const ctx = asSystem(process, home.tenantId);
  const lease = await admit(ctx, asked(id));
  const holder = connect(home.server.adminUrl, { max: 1 });
  const mine = await holder.reserve();
  await mine.unsafe("begin; lock table usage_days in exclusive mode");
  settle(ctx, lease, answered);
  const waits = `select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%chat_settle%'`;
  await until(async () => await home.server.count(waits) === 1, "it waits for the sums");
  await admit(ctx, asked(id));
  assert.deepEqual(await home.server.count(waits), 1);
  await mine.unsafe("commit");
  await settled(process);
  const { rows, leases, admitted_day, settled_day } = await totals(home.server, id);
  assert.deepEqual({ rows, leases, admitted_day, settled_day }, {
    rows: 1,
    leases: 1,
    admitted_day: 2,
    settled_day: 1,
  });
  assert.deepEqual(await disagreements(home.server), []);
  mine.release();
  await holder.end();
});
