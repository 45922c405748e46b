/** The rows of sign-ins under way at an identity provider: what the trail shows of one. */
import { and, eq } from "drizzle-orm";
import { ssoFlows as flows } from "../../db/schema/sign_in.ts";
import { asSystem, type Services, type TenantCtx, type TxCtx } from "../context.ts";
import { publish, record } from "../trail.ts";

/** Neither state nor secret nor verifier nor code. */
export const flowView = {
  id: flows.id,
  identityProviderId: flows.identityProviderId,
  state: flows.state,
  returnTo: flows.returnTo,
  failure: flows.failure,
  expiresAt: flows.expiresAt,
};
export type Flow = Pick<typeof flows.$inferSelect, keyof typeof flowView>;

export const ownFlow = (ctx: TenantCtx, id: string) =>
  and(eq(flows.tenantId, ctx.tenantId), eq(flows.id, id));

/** Acting in a tenant for somebody who has not said yet who they are. */
export const strangerIn = (
  services: Services & { requestId?: string },
  tenantId: string,
): TenantCtx => ({
  ...asSystem(services, tenantId),
  actor: { type: "anonymous", tenantId, id: null },
});

/** The one address a provider may send people back to, of all tenants and providers. */
export const callbackUri = ({ publicUrl }: Pick<Services, "publicUrl">) =>
  `${publicUrl}/api/v1/auth/sso/callback`;

export async function note(
  ctx: TxCtx,
  action: string,
  before: Flow | null,
  after: Flow,
  more: Record<string, unknown> = {},
) {
  const { id: subjectId, identityProviderId, failure } = after;
  await record(ctx, {
    action,
    subjectType: "sso_flow",
    subjectId,
    before,
    after: { ...after, ...more },
  });
  await publish(ctx, {
    type: action,
    source: "/sso",
    subjectId,
    data: { tenantId: ctx.tenantId, identityProviderId, failure, ...more },
  });
}
