/** What whoever controls an identity provider could become or give away, and who may therefore set it up. */
import { and, eq, inArray, sql } from "drizzle-orm";
import { ssoFlows, userIdentities } from "../../db/schema/sign_in.ts";
import type { TxCtx } from "../context.ts";
import type { Rights } from "./authority.ts";
import { requireToGive } from "./giving.ts";
import type { Mapping } from "./provider_groups.ts";
import { grantsOfRole, rightsOfGroup, rightsOverAll } from "./rights.ts";

export type Powers = {
  issuer: string;
  clientId: string;
  secretFingerprint?: string;
  groupClaim?: string | null | undefined;
  createsUsers: boolean;
  linksUsers: boolean;
  systemRole: string | null;
  mappings: Mapping[];
};
/** As it was; with an id alone it gave nothing, for it was out of use. */
type Before = ({ id: string } & Powers) | { id: string } | null;

/**
 * Throws Forbidden unless the actor holds all that the provider newly gives: the role of those it
 * creates, the rights of mapped groups, and everything a tenant has where its subjects are users or
 * may become them. Those it creates count: they may be given anything later, and whoever runs the
 * issuer is any of them. Answers whether it passes into other hands.
 */
export async function requirePowers(ctx: TxCtx, before: Before, after: Powers): Promise<boolean> {
  const was = before && "issuer" in before ? before : null;
  const isHandedOver = was !== null && (
    was.issuer !== after.issuer || was.clientId !== after.clientId ||
    was.secretFingerprint !== after.secretFingerprint
  );
  const isNew = was === null || isHandedOver;
  const { tenantId } = ctx;
  const { systemRole } = after;
  if (systemRole !== null) {
    const isGiven = isNew || was.systemRole !== systemRole || was.createsUsers < after.createsUsers;
    const grants = await grantsOfRole(ctx, { systemRole }); // Refuses a role that is none.
    if (isGiven) await requireToGive(ctx, [{ tenantId, grants }], "system_role");
  }
  const isReadAnew = isNew || was.groupClaim !== after.groupClaim;
  const known = new Set(isReadAnew ? [] : was.mappings.map(wordOf));
  const rights: Rights[] = [];
  for (const mapping of after.mappings.filter((one) => !known.has(wordOf(one)))) {
    rights.push(...await rightsOfGroup(ctx, mapping.groupId));
  }
  await requireToGive(ctx, rights, "mappings");
  const links = after.linksUsers && (isNew || !was.linksUsers);
  const creates = after.createsUsers && (isNew || !was.createsUsers);
  const isSomebody = isNew && before !== null && await hasIdentities(ctx, before.id);
  if (links || creates || isSomebody) {
    const field = links ? "links_users" : creates ? "creates_users" : "issuer";
    await requireToGive(ctx, await rightsOverAll(ctx), field);
  }
  return isHandedOver;
}

const wordOf = ({ claimValue, groupId }: Mapping) => `${groupId} ${claimValue}`;

async function hasIdentities(ctx: TxCtx, id: string): Promise<boolean> {
  const rows = await ctx.db.select({ one: sql`1` }).from(userIdentities).where(and(
    eq(userIdentities.tenantId, ctx.tenantId),
    eq(userIdentities.identityProviderId, id),
  )).limit(1);
  return rows.length > 0;
}

/** What was begun with another issuer or client must not end with this one: a code would go astray. */
export async function endFlows(ctx: TxCtx, id: string) {
  await ctx.db.update(ssoFlows).set({ state: "failed", failure: "provider_changed", code: null })
    .where(and(
      eq(ssoFlows.tenantId, ctx.tenantId),
      eq(ssoFlows.identityProviderId, id),
      inArray(ssoFlows.state, ["pending", "coded"]),
    ));
}
