/** Telling a platform where to send what is said, and changing the secret it sends with. */
import { and, eq } from "drizzle-orm";
import { z } from "zod";
import { channels } from "../../db/schema/channels.ts";
import { type TenantCtx, transact } from "../context.ts";
import { conflict, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { changingAccess } from "../identity/authority.ts";
import { one } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { changed, type Channel, Created, get, held, newSecret, warning } from "./channels.ts";
import { adapterOf } from "./channels/kinds.ts";
import { opened, urlOf } from "./channels/openings.ts";
import { effectiveOf } from "./effective.ts";
import { requireToGiveVoice } from "./team_keys.ts";

export const Connect = z.strictObject({ id: z.uuid() });

/** Tells the platform where to send what is said, and which commands there are. Again does no harm. */
export async function connect(ctx: TenantCtx, { id }: z.infer<typeof Connect>): Promise<Channel> {
  const before = await get(ctx, { id });
  requireMatch(ctx.ifMatch, before);
  const { kind, isActive, teamId } = before;
  const adapter = adapterOf(kind);
  if (!adapter.connect) {
    throw conflict("channel.nothing_to_connect", "A webhook needs no connecting: use its address");
  }
  if (!isActive) throw conflict("channel.inactive", "Activate the channel first");
  const { effective } = await effectiveOf(ctx, teamId);
  const open = await opened(ctx, id);
  if (!open) throw notFound("channel");
  const botName = await adapter.connect(ctx, open.channel, urlOf(ctx, id), effective.commands);
  return await transact(
    ctx,
    async (ctx) => await changed(ctx, await held(ctx, id), { botName }, "channel.connected"),
  );
}

const HOUR_SECONDS = 3600;

export const RotateSecret = z.strictObject({
  id: z.uuid(),
  overlapSeconds: z.int("Give whole seconds").min(0, "Give 0 or more seconds")
    .max(7 * 24 * HOUR_SECONDS, "Give at most 7 days, in seconds").default(24 * HOUR_SECONDS),
});
export const SecretRotated = Created;

/**
 * Puts another secret in the place of the one in use, which is taken until the overlap is over. A bot
 * goes on with it until it is connected again.
 */
export async function rotateSecret(
  ctx: TenantCtx,
  { id, overlapSeconds }: z.infer<typeof RotateSecret>,
): Promise<z.infer<typeof SecretRotated>> {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    await changingAccess(ctx); // Whoever has the secret speaks as the team.
    const before = await held(ctx, id);
    await requireToGiveVoice(ctx);
    const own = and(eq(channels.tenantId, ctx.tenantId), eq(channels.id, id));
    const { sealed } = one(
      await ctx.db.select({ sealed: channels.secret }).from(channels).where(own),
    );
    const previous = await ctx.secrets.open(ctx, at(channels.secret, id), sealed);
    const secret = newSecret(before.kind);
    const overlap = {
      previousSecret: await ctx.secrets.seal(ctx, at(channels.previousSecret, id), previous),
      previousSecretUntil: new Date(ctx.now().getTime() + overlapSeconds * 1_000),
    };
    const channel = await changed(ctx, before, {
      secret: await ctx.secrets.seal(ctx, at(channels.secret, id), secret),
      ...overlapSeconds > 0 ? overlap : { previousSecret: null, previousSecretUntil: null },
    }, "channel.secret_rotated");
    return { channel, secret, warning };
  });
}
