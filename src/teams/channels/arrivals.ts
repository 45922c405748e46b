/** An update on its way in: shown to be true, written down once, acknowledged. The work comes after. */
import { sql } from "drizzle-orm";
import { channels, channelUpdates } from "../../../db/schema/channels.ts";
import { asSystem, type Services, transact } from "../../context.ts";
import { Fault, notFound } from "../../errors.ts";
import { at } from "../../secrets/places.ts";
import { adapterOf, isKind } from "./kinds.ts";

export type Chat = { tenantId: string; channelId: string; chatKey: string };

const unverified = () =>
  new Fault("Unauthorized", "channel.unverified", "It does not carry what this channel expects");

/**
 * Takes in what a platform sends. The chat that has something to work off now; null for what is not for
 * us or was here before. Throws NotFound for no such channel, Unauthorized for what is not true.
 */
export async function take(
  services: Services & { requestId: string },
  id: string,
  request: { headers: Headers; body: Uint8Array },
): Promise<Chat | null> {
  const [row] = await services.database.query(sql`select * from channel_by_id(${id}::uuid)`);
  const kind = row?.kind;
  if (!row || row.is_open !== true || !isKind(kind)) throw notFound("channel");
  const tenantId = String(row.tenant_id);
  const ctx = asSystem(services, tenantId);
  const secret = await ctx.secrets.open(ctx, at(channels.secret, id), String(row.secret));
  const arrived = await adapterOf(kind).receive({ ...request, now: ctx.now() }, secret);
  if (arrived === null) throw unverified();
  if (arrived === "nothing") return null;
  const { updateKey, chatKey, position, payload } = arrived;
  const written = await transact(ctx, (ctx) =>
    ctx.db.insert(channelUpdates)
      .values({ tenantId, channelId: id, updateKey, chatKey, position, payload })
      .onConflictDoNothing().returning({ id: channelUpdates.id }));
  return written.length > 0 ? { tenantId, channelId: id, chatKey } : null;
}
