/** The rows of identity providers: what an answer and the trail show of one, its secret masked in both. */
import { and, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { identityProviders as table } from "../../db/schema/sign_in.ts";
import type { TenantCtx, TxCtx } from "../context.ts";
import { requireMatch } from "../etags.ts";
import { columnsOf, found } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { moved, publish, record } from "../trail.ts";
import { Mappings, mappingsOf } from "./provider_groups.ts";

export const IdentityProvider = z.object({
  id: z.uuid(),
  name: z.string().max(255),
  issuer: z.string().max(2048),
  clientId: z.string().max(512),
  clientSecret: z.literal(MASK),
  secretFingerprint: z.string().max(32),
  scopes: z.array(z.string().max(255)).max(101),
  groupClaim: z.string().max(255).nullable(),
  createsUsers: z.boolean(),
  linksUsers: z.boolean(),
  systemRole: z.string().max(64).nullable(),
  returnUris: z.array(z.string().max(2048)).max(20),
  mappings: Mappings,
  isActive: z.boolean(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "IdentityProvider" });
export type IdentityProvider = z.infer<typeof IdentityProvider>;
export type Row = Omit<IdentityProvider, "mappings">;

/** The mask is a constant in the place of the column: no list or answer reads the ciphertext. */
export const view = {
  ...columnsOf(table, IdentityProvider.omit({ clientSecret: true, mappings: true })),
  clientSecret: sql<typeof MASK>`${MASK}::text`,
};

/** No provider is a person's own: with `self` reach there is none. */
export const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(table.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(table.id, id),
    ctx.reach === "self" ? sql`false` : undefined,
  );

export const NOUN = "identity_provider";

export async function whole(ctx: TxCtx, row: Row): Promise<IdentityProvider> {
  const [one = { ...row, mappings: [] }] = await withMappings(ctx, [row]);
  return one;
}

export async function withMappings(ctx: TxCtx, rows: Row[]): Promise<IdentityProvider[]> {
  const all = await mappingsOf(ctx, rows.map(({ id }) => id));
  return rows.map((row) => ({ ...row, mappings: all.get(row.id) ?? [] }));
}

/** The provider, held until the transaction ends. */
export async function locked(ctx: TxCtx, id: string): Promise<IdentityProvider> {
  const rows = await ctx.db.select(view).from(table).where(own(ctx, id)).for("update");
  const before = await whole(ctx, found(rows, NOUN));
  requireMatch(ctx.ifMatch, before);
  return before;
}

const trail = ({ clientSecret: _, secretFingerprint, ...provider }: IdentityProvider) => ({
  ...provider,
  clientSecret: secretFingerprint,
});

export async function note(
  ctx: TxCtx,
  action: string,
  before: IdentityProvider | null,
  after: IdentityProvider,
  more: Record<string, unknown> = {},
) {
  const { id: subjectId, name, issuer, isActive } = after;
  await record(ctx, {
    action,
    subjectType: NOUN,
    subjectId,
    before: before && trail(before),
    after: { ...trail(after), ...more },
  });
  await publish(ctx, {
    type: action,
    source: "/identity-providers",
    subjectId,
    data: { tenantId: ctx.tenantId, name, issuer, isActive },
  });
  await moved(ctx, "identity_providers");
}
