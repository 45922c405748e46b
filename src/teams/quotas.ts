/** What a team has used of its quotas, in the day and the month its tenant's calendar shows. */
import { and, eq, type SQL, sql } from "drizzle-orm";
import { alias } from "drizzle-orm/pg-core";
import { z } from "zod";
import type { Database } from "../../db/client.ts";
import { tenants } from "../../db/schema/identity.ts";
import { quotaCounters, teams } from "../../db/schema/teams.ts";
import { BoundedMap } from "../bounded_map.ts";
import { read, type TenantCtx } from "../context.ts";
import { told } from "../log.ts";
import { found } from "../rows.ts";
import { leftOf, type Quota as Left } from "./admission.ts";
import { ownTeam } from "./team_rows.ts";

const Period = z.object({
  limit: z.int().nullable().describe("Null: as many as they like."),
  used: z.int().describe("Requests let in, those under way too."),
  remaining: z.int().nullable(),
  startsOn: z.iso.date().max(10),
  endsAt: z.date(),
});
type Period = z.infer<typeof Period>;
export const Quota = z.object({
  teamId: z.uuid(),
  timeZone: z.string().max(64),
  day: Period,
  month: Period,
}).meta({ id: "TeamQuota" });

export const Get = z.strictObject({ id: z.uuid() });

const today = sql`local_day(now(), ${tenants.timeZone})`;
const firstOfMonth = sql`date_trunc('month', ${today})::date`;
const endOf = (day: SQL) =>
  sql`extract(epoch from local_midnight(${day}, ${tenants.timeZone})) * 1000`
    .mapWith((value) => new Date(Number(value)));

const counterOf = (period: "day" | "month", startsOn: SQL) => {
  const table = alias(quotaCounters, period);
  const on = and(
    eq(table.tenantId, teams.tenantId),
    eq(table.teamId, teams.id),
    eq(table.period, period),
    eq(table.startsOn, startsOn),
  );
  return { table, on, used: sql`coalesce(${table.admitted}, 0)`.mapWith(Number) };
};
const day = counterOf("day", today);
const month = counterOf("month", firstOfMonth);

/** What is used and left today and this month, and when each ends. */
export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<z.infer<typeof Quota>> {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select({
      teamId: teams.id,
      timeZone: tenants.timeZone,
      day: periodOf(teams.dailyQuota, day.used, today, sql`${today} + 1`),
      month: periodOf(
        teams.monthlyQuota,
        month.used,
        firstOfMonth,
        sql`(${firstOfMonth} + interval '1 month')::date`,
      ),
    }).from(teams).innerJoin(tenants, eq(tenants.id, teams.tenantId))
      .leftJoin(day.table, day.on).leftJoin(month.table, month.on)
      .where(ownTeam(ctx, id));
    const { day: daily, month: monthly, ...rest } = found(rows, "team");
    return { ...rest, day: withRest(daily), month: withRest(monthly) };
  });
}

const AGAIN_MS = 5_000;
type Asked = { answer: Promise<Left | null>; atMs: number };
const asked = new WeakMap<Database, BoundedMap<Asked>>();

/**
 * What is left of both, as it was a moment ago; null where it cannot be told at present. However many
 * are refused at once, one question is asked in some seconds.
 */
export function recent(ctx: TenantCtx, teamId: string): Promise<Left | null> {
  const known = leftOf(ctx, teamId);
  if (known) return Promise.resolve(known);
  const all = asked.get(ctx.database) ?? new BoundedMap<Asked>(10_000);
  asked.set(ctx.database, all);
  const atMs = ctx.now().getTime();
  const last = all.get(teamId);
  if (last && Math.abs(atMs - last.atMs) < AGAIN_MS) return last.answer;
  const answer = get(ctx, { id: teamId }).catch((error) => {
    ctx.log("warn", "quotas are not told", { error: told(error) });
    return null;
  });
  all.set(teamId, { answer, atMs });
  return answer;
}

const periodOf = <L>(limit: L, used: SQL<number>, startsOn: SQL, ends: SQL) => ({
  limit,
  used,
  startsOn: sql<string>`${startsOn}::text`,
  endsAt: endOf(ends),
});

/** A quota made smaller than what is used leaves nothing, not less. */
const withRest = (period: Omit<Period, "remaining">): Period => {
  const { limit, used } = period;
  return { ...period, remaining: limit === null ? null : Math.max(0, limit - used) };
};
