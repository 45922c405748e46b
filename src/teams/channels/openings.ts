/** A channel with its secrets open, found by its id alone: a webhook says no more. */
import { sql } from "drizzle-orm";
import { channels } from "../../../db/schema/channels.ts";
import { asSystem, type Services, type TenantCtx } from "../../context.ts";
import { at } from "../../secrets/places.ts";
import type { OpenChannel } from "./adapter.ts";
import { isKind, type Kind } from "./kinds.ts";

/** `isInUse`: it, its team and its tenant are. */
export type Opened = { ctx: TenantCtx; kind: Kind; isInUse: boolean; channel: OpenChannel };

/** Where the platform sends what is said in a channel. */
export const urlOf = ({ publicUrl }: Pick<Services, "publicUrl">, id: string): string =>
  `${publicUrl}/v1/channels/${id}/updates`;

/** Null where there is none. */
export async function opened(
  services: Services & { requestId?: string },
  id: string,
): Promise<Opened | null> {
  const [row] = await services.database.query(sql`select * from channel_by_id(${id}::uuid)`);
  const kind = row?.kind;
  if (!row || !isKind(kind)) return null;
  const ctx = asSystem(services, String(row.tenant_id));
  const open = (column: "token" | "secret" | "previousSecret", sealed: unknown) =>
    ctx.secrets.open(ctx, at(channels[column], id), String(sealed));
  const channel = {
    id,
    teamId: String(row.team_id),
    apiRoot: String(row.api_root),
    botName: row.bot_name === null ? null : String(row.bot_name),
    token: row.token === null ? null : await open("token", row.token),
    secrets: [
      await open("secret", row.secret),
      ...row.previous_secret === null ? [] : [await open("previousSecret", row.previous_secret)],
    ] as const,
  };
  return { ctx, kind, isInUse: row.is_open === true, channel };
}
