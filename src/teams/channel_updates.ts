/** What a channel was told and what became of it, without a word of what people said. */
import { and, desc, eq, lt } from "drizzle-orm";
import { z } from "zod";
import { channels, channelUpdates, updateStates } from "../../db/schema/channels.ts";
import { read, type TenantCtx } from "../context.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found } from "../rows.ts";
import { own } from "./channels.ts";

export const ChannelUpdate = z.object({
  id: z.uuid(),
  channelId: z.uuid(),
  /** The platform's own id. */
  updateKey: z.string().max(255),
  chatKey: z.string().max(255),
  /** `received`: it waits, or is being worked off. `failed`: it was given up. */
  state: z.enum(updateStates),
  /** Since something of the answer was last sent. */
  attempts: z.int(),
  sentParts: z.int(),
  /** Why it last waited, was given up, or may not have arrived. */
  failure: z.string().max(500).nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ChannelUpdate" });
const view = columnsOf(channelUpdates, ChannelUpdate);

export const List = z.strictObject({
  channelId: z.uuid(),
  state: z.enum(updateStates, `Give ${updateStates.join(", ")}`).optional(),
  ...page,
});
export const Listed = z.object({ updates: z.array(ChannelUpdate).max(100), nextCursor });

/** The channel's updates, newest first; those worked off are kept for a week. */
export function list(ctx: TenantCtx, { channelId, state, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rowsOfIt = await ctx.db.select({ id: channels.id }).from(channels)
      .where(own(ctx, channelId));
    found(rowsOfIt, "channel");
    const rows = await ctx.db.select(view).from(channelUpdates).where(and(
      eq(channelUpdates.tenantId, ctx.tenantId),
      eq(channelUpdates.channelId, channelId),
      state ? eq(channelUpdates.state, state) : undefined,
      cursor ? lt(channelUpdates.id, cursor) : undefined,
    )).orderBy(desc(channelUpdates.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { updates: items, nextCursor };
  });
}
