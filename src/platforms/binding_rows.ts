/**
 * The rows of connected accounts: what is shown of one, who may see it, how its tokens are sealed
 * to their place, and the trail every change of it leaves.
 */
import { and, eq, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import {
  bindingStates,
  platforms,
  servicePlatforms,
  userPlatformBindings,
} from "../../db/schema/platforms.ts";
import type { TenantCtx, TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { columnsOf, found } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { moved, publish, record } from "../trail.ts";
import type { Granted } from "./token_answers.ts";

/** S0's UserPlatformBinding without its tokens. */
export const Binding = z.object({
  id: z.uuid(),
  userId: z.uuid(),
  platformId: z.uuid(),
  tenantId: z.uuid(),
  externalUserId: z.string().max(255).nullable(),
  tokenExpiry: z.date().nullable(),
  isActive: z.boolean(),
  state: z.enum(bindingStates),
  stateReason: z.string().max(255).nullable(),
  scopes: z.array(z.string().max(255)).max(100),
  credentialId: z.uuid(),
  metadata: z.record(z.string(), z.unknown()),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Binding" });
export type Binding = z.infer<typeof Binding>;

const table = userPlatformBindings;

/** The account has not passed into other hands since. Spelled out: a column of `users` is none of `returning`. */
const isHeld = sql`user_platform_bindings.holder_version = (select u.holder_version from users u
  where u.tenant_id = user_platform_bindings.tenant_id
    and u.id = user_platform_bindings.owner_user_id)`;
const isClosed = sql`(user_platform_bindings.state in ('active', 'expiring') and not ${isHeld})`;
/** Why a binding wants its person although the provider does not. */
export const CLOSED = "holder_changed";

export const stateNow = sql<Binding["state"]>`case when ${isClosed} then 'needs_reauth'
  else user_platform_bindings.state end`;
export const bindingView = {
  ...columnsOf(
    table,
    Binding.omit({
      userId: true,
      tokenExpiry: true,
      state: true,
      stateReason: true,
      isActive: true,
    }),
  ),
  userId: table.ownerUserId,
  tokenExpiry: table.tokenExpiresAt,
  state: stateNow,
  stateReason: sql<string | null>`case when ${isClosed} then ${CLOSED}
    else user_platform_bindings.state_reason end`,
  isActive: sql<boolean>`user_platform_bindings.is_active and not ${isClosed}`,
};

/** How often the account of a user has come into other hands, as a value for a row of theirs. */
export const holderVersionOf = ({ tenantId }: TenantCtx, userId: string) =>
  sql<number>`(select u.holder_version from users u
    where u.tenant_id = ${tenantId}::uuid and u.id = ${userId}::uuid)`;

/** With the ciphertexts and what fences them; never an answer. */
export const sealedBinding = {
  ...bindingView,
  accessToken: table.accessToken,
  refreshToken: table.refreshToken,
  tokenVersion: table.tokenVersion,
  refreshedAt: table.refreshedAt,
};
export type SealedBinding = Binding & {
  accessToken: string | null;
  refreshToken: string | null;
  tokenVersion: number;
  refreshedAt: Date | null;
};

export const viewOf = (
  { accessToken: _a, refreshToken: _r, tokenVersion: _v, refreshedAt: _t, ...view }: SealedBinding,
): Binding => view;

export const own = (ctx: TenantCtx, id: string) =>
  and(eq(table.tenantId, ctx.tenantId), eq(table.id, id));

/** The rows a caller may see of the tenant's: under `self` only those of the user it acts for. */
export function mine(ctx: TenantCtx): SQL | undefined {
  if (ctx.reach !== "self") return undefined;
  return ctx.userId === null ? sql`false` : eq(table.ownerUserId, ctx.userId);
}

export async function locked(ctx: TxCtx, id: string): Promise<SealedBinding> {
  const rows = await ctx.db.select(sealedBinding).from(table)
    .where(and(own(ctx, id), mine(ctx))).for("update");
  return found(rows, "binding");
}

export const state = (state: Binding["state"], stateReason: string | null = null) => ({
  state,
  stateReason,
  isActive: state === "active" || state === "expiring",
});

/** The columns new tokens change, sealed to the row `id`; no refresh token is null. */
export async function sealedTokens(
  ctx: TxCtx,
  id: string,
  { accessToken, refreshToken, expiresAt }: Granted,
) {
  const seal = (column: typeof table.accessToken | typeof table.refreshToken, plain: string) =>
    ctx.secrets.seal(ctx, at(column, id), plain);
  return {
    accessToken: await seal(table.accessToken, accessToken.reveal()),
    refreshToken: refreshToken && await seal(table.refreshToken, refreshToken.reveal()),
    tokenExpiresAt: expiresAt,
    refreshedAt: ctx.now(),
    refreshHolder: null,
    refreshLeaseUntil: null,
    refreshAttempts: 0,
    ...state("active"),
  };
}

export const openAccessToken = (ctx: TxCtx, id: string, sealed: string) =>
  ctx.secrets.open(ctx, at(table.accessToken, id), sealed);
export const openRefreshToken = (ctx: TxCtx, id: string, sealed: string) =>
  ctx.secrets.open(ctx, at(table.refreshToken, id), sealed);

/** A binding as the trail shows it: tokens as fingerprints. */
export async function trailOf(ctx: TxCtx, row: SealedBinding) {
  const { id, accessToken, refreshToken } = row;
  const print = async (open: typeof openAccessToken, sealed: string | null) =>
    sealed && await ctx.secrets.fingerprint(ctx, await open(ctx, id, sealed));
  return {
    ...viewOf(row),
    accessToken: await print(openAccessToken, accessToken),
    refreshToken: await print(openRefreshToken, refreshToken),
  };
}

/** Whether the platform is in use here: active in the catalogue, its registration active. */
export async function requireService(
  ctx: TxCtx,
  platformId: string,
  code: "BindingNotUsable" | "Conflict",
) {
  const [row] = await ctx.db.select({
    isActive: platforms.isActive,
    deletedAt: platforms.deletedAt,
    registered: servicePlatforms.isActive,
    credentialId: servicePlatforms.credentialId,
    directory: servicePlatforms.providerTenantId,
  }).from(platforms).leftJoin(
    servicePlatforms,
    and(
      eq(servicePlatforms.tenantId, ctx.tenantId),
      eq(servicePlatforms.platformId, platforms.id),
    ),
  ).where(eq(platforms.id, platformId));
  if (!row?.isActive || row.deletedAt !== null) {
    throw conflict("platform.inactive", "This platform is not active in the catalogue", code);
  }
  if (row.credentialId === null) {
    throw conflict("service_platform.not_registered", "Register this service first", code);
  }
  if (!row.registered) {
    throw conflict("service_platform.inactive", "This service is deactivated for the tenant", code);
  }
  return { credentialId: row.credentialId, directory: row.directory };
}

type Shown = Record<string, unknown>;

/** What was done to a binding and its event. `before` and `after` hold fingerprints for tokens. */
export async function note(
  ctx: TxCtx,
  action: string,
  { id, userId, platformId }: Pick<Binding, "id" | "userId" | "platformId">,
  { before = null, after = null, data = {} }: {
    before?: Shown | null;
    after?: Shown | null;
    data?: Shown;
  },
) {
  await tell(ctx, action, { id, userId, platformId }, { before, after, data });
  await moved(ctx, "bindings");
}

/** The same for a use that changes nothing. */
export async function tell(
  ctx: TxCtx,
  action: string,
  { id: subjectId, userId, platformId }: Pick<Binding, "id" | "userId" | "platformId">,
  { before = null, after = null, data = {} }: {
    before?: Shown | null;
    after?: Shown | null;
    data?: Shown;
  },
) {
  await record(ctx, { action, subjectType: "binding", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/bindings",
    subjectId,
    data: { tenantId: ctx.tenantId, userId, platformId, ...data },
  });
}
