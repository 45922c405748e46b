/** An update on its way in: shown to be true, written down once, acknowledged. The work comes after. */
import { sql } from "drizzle-orm";
import { channelChats, channelUpdates } from "../../../db/schema/channels.ts";
import { type Services, transact } from "../../context.ts";
import { Fault, notFound } from "../../errors.ts";
import { adapterOf } from "./kinds.ts";
import { opened } from "./openings.ts";

export type Chat = { tenantId: string; channelId: string; chatKey: string };

const unverified = () =>
  new Fault("Unauthorized", "channel.unverified", "It does not carry what this channel expects");

/** A column keeps milliseconds and would round up: what is due now must be due now. */
export const now = sql`date_trunc('milliseconds', now())`;

/**
 * Takes in what a platform sends. The chat that has something to work off now; null for what is not for
 * us or was here before. Throws NotFound for no such channel, Unauthorized for what is not true.
 */
export async function take(
  services: Services & { requestId: string },
  id: string,
  request: { headers: Headers; body: Uint8Array },
): Promise<Chat | null> {
  const open = await opened(services, id);
  if (!open?.isInUse) throw notFound("channel");
  const { ctx, kind, channel } = open;
  const arrived = await adapterOf(kind).receive({ ...request, now: ctx.now() }, channel);
  if (arrived === null) throw unverified();
  if (arrived === "nothing") return null;
  const { updateKey, chatKey, position, heard } = arrived;
  const { tenantId } = ctx;
  return await transact(ctx, async (ctx) => {
    const written = await ctx.db.insert(channelUpdates)
      .values({ tenantId, channelId: id, updateKey, chatKey, position, payload: heard })
      .onConflictDoNothing().returning({ id: channelUpdates.id });
    if (written.length === 0) return null;
    // The chat's row is ours until the commit: whoever gives the chat back meanwhile waits and sees this.
    await ctx.db.insert(channelChats).values({ tenantId, channelId: id, chatKey, dueAt: now })
      .onConflictDoUpdate({
        target: [channelChats.tenantId, channelChats.channelId, channelChats.chatKey],
        set: {
          dueAt: sql`coalesce(${channelChats.dueAt}, ${now})`,
          updatedAt: sql`clock_timestamp()`, // The column's own expression is ambiguous here.
        },
      });
    return { tenantId, channelId: id, chatKey };
  });
}
