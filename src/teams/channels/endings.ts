/** Telling a platform that a channel is over. */
import { asSystem, type TenantCtx } from "../../context.ts";
import { told } from "../../log.ts";
import { adapterOf } from "./kinds.ts";
import { opened, urlOf } from "./openings.ts";

/** Nobody waits for this: what is sent all the same is turned away. */
export function disconnected(ctx: TenantCtx, id: string): void {
  const own = asSystem(ctx, ctx.tenantId);
  const tell = async () => {
    const open = await opened(own, id);
    if (open) await adapterOf(open.kind).disconnect?.(own, open.channel, urlOf(own, id));
  };
  tell().catch((error) =>
    ctx.log("warn", "a platform was not told to stop", { channel: id, error: told(error) })
  );
}
