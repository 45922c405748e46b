/** The events a tenant's changes left for other services, as they will be told. */
import { and, desc, eq, gte, lt } from "drizzle-orm";
import { z } from "zod";
import { events } from "../db/schema/trail.ts";
import { uuidFloor } from "./audit.ts";
import { read, type TenantCtx } from "./context.ts";
import { nextCursor, page, pageOf } from "./pages.ts";
import { columnsOf } from "./rows.ts";

export const Event = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  type: z.string().max(128),
  source: z.string().max(128),
  subjectId: z.uuid(),
  data: z.record(z.string(), z.unknown()),
  createdAt: z.date(),
}).meta({ id: "Event" });
const view = columnsOf(events, Event);

export const List = z.strictObject({
  type: z.string().min(1).max(128).optional(),
  subjectId: z.uuid().optional(),
  since: z.date().optional(),
  until: z.date().optional(),
  ...page,
});
export const Listed = z.object({ events: z.array(Event).max(100), nextCursor });

/** The tenant's events, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const { type, subjectId, since, until, cursor, limit } = input;
    const rows = await ctx.db.select(view).from(events)
      .where(and(
        eq(events.tenantId, ctx.tenantId),
        type ? eq(events.type, type) : undefined,
        subjectId ? eq(events.subjectId, subjectId) : undefined,
        since ? gte(events.id, uuidFloor(since)) : undefined,
        until ? lt(events.id, uuidFloor(until)) : undefined,
        cursor ? lt(events.id, cursor) : undefined,
      ))
      .orderBy(desc(events.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { events: items, nextCursor };
  });
}
