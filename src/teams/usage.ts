/**
 * What teams used, out of the days' sums that settlement writes: put together by team, day, model, key
 * and user as somebody asks. A sum of costs says how many requests it leaves out.
 */
import { and, asc, eq, gte, lte, type SQL, sql } from "drizzle-orm";
import type { AnyPgColumn } from "drizzle-orm/pg-core";
import { z } from "zod";
import { tenants } from "../../db/schema/identity.ts";
import { usageDays } from "../../db/schema/teams.ts";
import { read, type TenantCtx, type TxCtx } from "../context.ts";
import { invalid } from "../errors.ts";
import { page } from "../pages.ts";
import { one } from "../rows.ts";
import {
  cursorOf,
  cursorText,
  earliest,
  type Group,
  groups,
  type Key,
  MOST_DAYS,
  placeOf,
  shifted,
} from "./usage_cursors.ts";
import { modelName, usageDay, usageUser } from "./words.ts";

const USUAL_DAYS = 30;

/** Each null where it is not grouped by, and for what came without a key or a user. */
export const UsageSum = z.object({
  teamId: z.uuid().nullable(),
  day: z.iso.date().max(10).nullable(),
  model: z.string().max(255).nullable(),
  apiKeyId: z.uuid().nullable(),
  userId: usageUser.nullable(),
  requests: z.int(),
  errors: z.int().describe("Requests that failed, were cut or lost."),
  inputTokens: z.int(),
  outputTokens: z.int(),
  costMicros: z.string().max(40).regex(/^\d+\.\d{6}$/).nullable()
    .describe("Of the requests with a price, exact; null when none has one."),
  unpricedRequests: z.int().describe("Requests whose cost nobody knows: `cost_micros` lacks them."),
  averageLatencyMs: z.int().nullable(),
  maxLatencyMs: z.int().nullable(),
}).meta({ id: "UsageSum" });
export type UsageSum = z.infer<typeof UsageSum>;

/** As an address says it of a list: `group_by=`. */
const isBlank = (value: unknown) => Array.isArray(value) && value.length === 1 && value[0] === "";

const wanted = {
  teamId: z.uuid().optional(),
  from: usageDay.optional()
    .describe("The first day, in the tenant's time zone; else 30 days, `to` included."),
  to: usageDay.optional().describe("The last day, in the tenant's time zone; else today."),
  model: modelName.optional(),
  apiKeyId: z.uuid().optional(),
  userId: usageUser.optional(),
  groupBy: z.preprocess(
    (value: Group[]) => isBlank(value) ? [] : value,
    z.array(z.enum(groups, `Give ${groups.join(", ")}`)).max(groups.length, "Give each once"),
  ).default(["day"]).describe("What a row is of, in any order; empty: one row of everything."),
};

/** A question without its pages: what is exported whole. */
export const Ask = z.strictObject(wanted);
export const List = z.strictObject({ ...wanted, cursor: cursorText.optional(), limit: page.limit });
export const Listed = z.object({
  usage: z.array(UsageSum).max(100),
  from: z.iso.date().max(10),
  to: z.iso.date().max(10),
  nextCursor: cursorText.nullable(),
});

/** A question whose days are certain: they stay the same over all its pages. */
export type Question = Omit<z.infer<typeof Ask>, "from" | "to" | "groupBy"> & {
  from: string;
  to: string;
  by: readonly Group[];
};

/** The sums by what is asked for, in the order team, day, model, key, user. */
export function list(ctx: TenantCtx, { cursor, limit, ...input }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const place = cursor === undefined ? null : placeOf(cursor);
    const question = await questionOf(ctx, place ? { ...input, ...place.days } : input);
    if (place) requireSame(place, input, question);
    const { sums, last } = await sumsOf(ctx, question, place?.key ?? null, limit);
    const { from, to, by } = question;
    return { usage: sums, from, to, nextCursor: last && cursorOf({ from, to }, by, last) };
  });
}

/** A cursor leads on in its own question only. */
function requireSame(
  { days, by }: ReturnType<typeof placeOf>,
  input: z.infer<typeof Ask>,
  question: Question,
) {
  const isSame = by.join() === question.by.join() &&
    (input.from ?? days.from) === days.from && (input.to ?? days.to) === days.to;
  if (!isSame) throw invalid("cursor", "Give the cursor with the question it belongs to");
}

/** Finds out which days are meant. Throws ValidationError for days in the wrong order, or too many. */
export function questionOf(ctx: TenantCtx, input: z.infer<typeof Ask>): Promise<Question> {
  return read(ctx, async (ctx) => {
    const { from: first, to: last, groupBy, ...filters } = input;
    const to = last ?? await todayOf(ctx);
    const from = first ?? shifted(to, 1 - USUAL_DAYS);
    if (from > to) throw invalid("from", `Give a day that is not after ${to}`);
    if (from < earliest(to)) {
      throw invalid("from", `Ask for ${MOST_DAYS} days at most: from ${earliest(to)} on`);
    }
    return { ...filters, from, to, by: groups.filter((group) => groupBy.includes(group)) };
  });
}

/** The day it is for the tenant, as settlement counts it. */
async function todayOf({ db, tenantId }: TxCtx): Promise<string> {
  const today = sql<string>`local_day(now(), ${tenants.timeZone})::text`;
  return one(await db.select({ today }).from(tenants).where(eq(tenants.id, tenantId))).today;
}

const columns: Readonly<Record<Group, AnyPgColumn>> = {
  team: usageDays.teamId,
  day: usageDays.dayOn,
  model: usageDays.model,
  key: usageDays.apiKeyId,
  user: usageDays.userId,
};

const { requests, unpriced, timed, latencyMs } = usageDays;
const sum = (column: AnyPgColumn) => sql`sum(${column})`.mapWith(Number);
const measures = {
  requests: sum(requests),
  errors: sum(usageDays.errors),
  inputTokens: sum(usageDays.inputTokens),
  outputTokens: sum(usageDays.outputTokens),
  costMicros: sql<string | null>`case when sum(${unpriced}) < sum(${requests})
    then sum(${usageDays.costMicros})::text end`,
  unpricedRequests: sum(unpriced),
  averageLatencyMs: sql<number | null>`round(sum(${latencyMs}) / nullif(sum(${timed}), 0))`
    .mapWith(Number),
  maxLatencyMs: sql<number | null>`case when sum(${timed}) > 0
    then max(${usageDays.maxLatencyMs}) end`,
};

/** The page behind `key`; `last` is null where nothing follows. */
export function sumsOf(ctx: TenantCtx, question: Question, key: Key | null, limit: number) {
  const { by, from, to, teamId, model, apiKeyId, userId } = question;
  const shown = (group: Group) =>
    sql<string | null>`${by.includes(group) ? columns[group] : sql`null`}::text`;
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select({
      teamId: shown("team"),
      day: shown("day"),
      model: shown("model"),
      apiKeyId: shown("key"),
      userId: shown("user"),
      ...measures,
    }).from(usageDays).where(and(
      seenBy(ctx, usageDays),
      gte(usageDays.dayOn, from),
      lte(usageDays.dayOn, to),
      teamId === undefined ? undefined : eq(usageDays.teamId, teamId),
      model === undefined ? undefined : eq(usageDays.model, model),
      apiKeyId === undefined ? undefined : eq(usageDays.apiKeyId, apiKeyId),
      userId === undefined ? undefined : eq(usageDays.userId, userId),
      key ? behind(by, key) : undefined,
    )).groupBy(...by.map((group) => columns[group]))
      .having(sql`count(*) > 0`) // Grouped by nothing, nothing would be a row too.
      .orderBy(...by.map((group) => asc(columns[group]))).limit(limit + 1);
    const sums: UsageSum[] = rows.slice(0, limit);
    const last = rows.length > limit ? sums.at(-1) : undefined;
    return { sums, last: last ? keyOf(by, last) : null };
  });
}

/** With `self` reach, which a team's key has, that team's alone; nobody else owns what a team used. */
export const seenBy = (
  { tenantId, reach, principal }: TenantCtx,
  table: { tenantId: AnyPgColumn; teamId: AnyPgColumn },
) =>
  and(
    eq(table.tenantId, tenantId),
    reach !== "self"
      ? undefined
      : principal?.team
      ? eq(table.teamId, principal.team.id)
      : sql`false`,
  );

const keyOf = (by: readonly Group[], row: UsageSum): Key => {
  const { teamId, day, model, apiKeyId, userId } = row;
  const all = { team: teamId, day, model, key: apiKeyId, user: userId };
  return by.map((group) => all[group]);
};

/**
 * What comes after `key`, nulls last, in an order an index has. The columns that are never null come
 * first and are compared as a row, so that the index is entered there.
 */
function behind(by: readonly Group[], key: Key): SQL {
  const firm = by.filter((group) => columns[group].notNull);
  const valueOf = (group: Group) => {
    const type = sql.raw(columns[group].getSQLType());
    return sql`${key[by.indexOf(group)] ?? null}::${type}`;
  };
  const rest = by.slice(firm.length).reduceRight((later, group) => {
    const [column, value] = [columns[group], valueOf(group)];
    return (key[by.indexOf(group)] ?? null) === null
      ? sql`(${column} is null and ${later})`
      : sql`(${column} > ${value} or ${column} is null or (${column} = ${value} and ${later}))`;
  }, sql`false`);
  if (firm.length === 0) return rest;
  const left = sql.join(firm.map((group) => sql`${columns[group]}`), sql`, `);
  const right = sql.join(firm.map(valueOf), sql`, `);
  const past = sql`(${left}) > (${right})`;
  return firm.length === by.length ? past : sql`((${left}) >= (${right}) and (${past} or ${rest}))`;
}
