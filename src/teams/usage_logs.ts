/** What each request came to, one by one: the rows behind the sums. */
import { and, desc, eq, gte, lt } from "drizzle-orm";
import { z } from "zod";
import { endpoints, outcomes, usageLogs, usageSources } from "../../db/schema/teams.ts";
import { uuidFloor } from "../audit.ts";
import { read, type TenantCtx } from "../context.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf } from "../rows.ts";
import { seenBy, UsageSum } from "./usage.ts";
import { usageUser } from "./words.ts";

export const UsageLog = z.object({
  id: z.uuid(),
  teamId: z.uuid(),
  apiKeyId: z.uuid().nullable(),
  sessionId: z.uuid().nullable(),
  userId: usageUser.nullable(),
  endpoint: z.enum(endpoints),
  model: z.string().max(255),
  requestedModel: z.string().max(255),
  outcome: z.enum(outcomes),
  status: z.int().nullable(),
  attempts: z.int(),
  inputTokens: z.int(),
  outputTokens: z.int(),
  usageSource: z.enum(usageSources),
  costMicros: UsageSum.shape.costMicros.describe("Exact; null: nobody knows what the model costs."),
  latencyMs: z.int().nullable(),
  firstByteMs: z.int().nullable(),
  isStreamed: z.boolean(),
  requestId: z.string().max(128),
  dayOn: z.iso.date().max(10).describe("In the tenant's time zone."),
  createdAt: z.date(),
}).meta({ id: "UsageLog" });
const view = columnsOf(usageLogs, UsageLog);

export const List = z.strictObject({
  teamId: z.uuid().optional(),
  sessionId: z.uuid().optional(),
  outcome: z.enum(outcomes, `Give ${outcomes.join(", ")}`).optional(),
  since: z.date().optional().describe("Only what was let in from then on."),
  until: z.date().optional().describe("Only what was let in before."),
  ...page,
});
export const Listed = z.object({ usageLogs: z.array(UsageLog).max(100), nextCursor });

/** The tenant's requests, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  const { teamId, sessionId, outcome, since, until, cursor, limit } = input;
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(usageLogs).where(and(
      seenBy(ctx, usageLogs),
      teamId ? eq(usageLogs.teamId, teamId) : undefined,
      sessionId ? eq(usageLogs.sessionId, sessionId) : undefined,
      outcome ? eq(usageLogs.outcome, outcome) : undefined,
      since ? gte(usageLogs.id, uuidFloor(since)) : undefined,
      until ? lt(usageLogs.id, uuidFloor(until)) : undefined,
      cursor ? lt(usageLogs.id, cursor) : undefined,
    )).orderBy(desc(usageLogs.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { usageLogs: items, nextCursor };
  });
}
