/** The audit trail as a tenant reads it: who did what to which thing, what changed, in which request. */
import { and, desc, eq, gte, lt } from "drizzle-orm";
import { z } from "zod";
import { actorTypes, auditEntries } from "../db/schema/trail.ts";
import { read, type TenantCtx } from "./context.ts";
import { nextCursor, page, pageOf } from "./pages.ts";
import { columnsOf } from "./rows.ts";

export const AuditEntry = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  actorType: z.enum(actorTypes),
  actorTenantId: z.uuid(),
  actorId: z.uuid().nullable(),
  action: z.string().max(128),
  subjectType: z.string().max(64),
  subjectId: z.uuid(),
  diff: z.record(z.string(), z.unknown()),
  requestId: z.string().max(128),
  createdAt: z.date(),
}).meta({ id: "AuditEntry" });
const view = columnsOf(auditEntries, AuditEntry);

export const List = z.strictObject({
  action: z.string().min(1).max(128).optional(),
  subjectId: z.uuid().optional(),
  actorId: z.uuid().optional(),
  since: z.date().optional(),
  until: z.date().optional(),
  ...page,
});
export const Listed = z.object({ auditEntries: z.array(AuditEntry).max(100), nextCursor });

/** The tenant's entries, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const { action, subjectId, actorId, since, until, cursor, limit } = input;
    const rows = await ctx.db.select(view).from(auditEntries)
      .where(and(
        eq(auditEntries.tenantId, ctx.tenantId),
        action ? eq(auditEntries.action, action) : undefined,
        subjectId ? eq(auditEntries.subjectId, subjectId) : undefined,
        actorId ? eq(auditEntries.actorId, actorId) : undefined,
        since ? gte(auditEntries.id, uuidFloor(since)) : undefined,
        until ? lt(auditEntries.id, uuidFloor(until)) : undefined,
        cursor ? lt(auditEntries.id, cursor) : undefined,
      ))
      .orderBy(desc(auditEntries.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { auditEntries: items, nextCursor };
  });
}

/** The least UUIDv7 of a moment (RFC 9562, 5.7): time is in the id, so the key's index serves. */
export function uuidFloor(moment: Date): string {
  const milliseconds = Math.min(Math.max(moment.getTime(), 0), 2 ** 48 - 1);
  const hex = milliseconds.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}
