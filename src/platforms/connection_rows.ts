/** The rows of connections under way: what the trail shows of one, and whose it is. */
import { oauthFlows as flows } from "../../db/schema/platforms.ts";
import type { TenantCtx, TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { publish, record } from "../trail.ts";

/** Who connects: a key acts for the user it belongs to, a guest from above has none here. */
export function personOf({ userId }: TenantCtx): string {
  if (userId !== null) return userId;
  throw new Fault("Forbidden", "connection.no_user", "Only a person of this tenant can connect");
}

/** A flow as the trail shows it: neither state nor verifier nor code. */
export const flowView = {
  id: flows.id,
  userId: flows.ownerUserId,
  platformId: flows.platformId,
  credentialId: flows.credentialId,
  state: flows.state,
  redirectUri: flows.redirectUri,
  scopes: flows.scopes,
  failure: flows.failure,
  bindingId: flows.bindingId,
  holderVersion: flows.holderVersion,
  expiresAt: flows.expiresAt,
};
export type Flow =
  & Pick<
    typeof flows.$inferSelect,
    | "id"
    | "platformId"
    | "credentialId"
    | "state"
    | "redirectUri"
    | "scopes"
    | "failure"
    | "bindingId"
    | "holderVersion"
    | "expiresAt"
  >
  & { userId: string };

export async function note(ctx: TxCtx, action: string, before: Flow | null, after: Flow) {
  const { id: subjectId, userId, platformId, scopes, redirectUri, failure } = after;
  await record(ctx, { action, subjectType: "connection", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/connections",
    subjectId,
    data: { tenantId: ctx.tenantId, userId, platformId, scopes, redirectUri, failure },
  });
}
