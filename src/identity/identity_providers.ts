/**
 * Identity providers: the OpenID issuers a tenant's people sign in with. Whoever runs one decides
 * who its subjects are, so whoever sets one up must hold what it can give away.
 */
import { and, desc, eq, lt, ne, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { identityProviders as table } from "../../db/schema/sign_in.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { found, given, one } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { at } from "../secrets/places.ts";
import { name, scope, webAddress } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireMoreThanSelf } from "./giving.ts";
import { discover } from "./oidc_client.ts";
import { Mappings, replaceMappings } from "./provider_groups.ts";
import { endFlows, type Powers, requirePowers } from "./provider_powers.ts";
import {
  IdentityProvider,
  locked,
  note,
  NOUN,
  own,
  view,
  whole,
  withMappings,
} from "./provider_rows.ts";

export { IdentityProvider };

const clientSecret = z.string().min(1, "Give the client secret the provider issued").max(4096);
const fields = {
  name: name("a name people know the provider by"),
  issuer: webAddress.refine((text) => !text.includes("?"), "Give the issuer without a query"),
  clientId: z.string().trim().min(1, "Give the client id the provider issued").max(512),
  scopes: z.array(scope).max(100, "Give at most 100 scopes")
    .transform((scopes) => [...new Set(["openid", ...scopes])]),
  groupClaim: z.string().min(1).max(255, "Give at most 255 characters"),
  systemRole: z.string().min(1).max(64),
  returnUris: z.array(webAddress).max(20, "Give at most 20 addresses"),
};

export const Create = z.strictObject({
  name: fields.name,
  issuer: fields.issuer,
  clientId: fields.clientId,
  clientSecret: clientSecret
    .refine((text) => text !== MASK, "Give the client secret itself, not the mask of an answer"),
  scopes: fields.scopes.default(["openid", "email", "profile"]),
  groupClaim: fields.groupClaim.nullish(),
  createsUsers: z.boolean().default(false),
  linksUsers: z.boolean().default(false),
  systemRole: fields.systemRole.nullish(),
  returnUris: fields.returnUris.default([]),
  mappings: Mappings.default([]),
});

/** Sets a provider up and asks nobody yet: `test` does. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireMoreThanSelf(ctx);
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const id = v7();
    await requirePowers(ctx, null, { ...input, systemRole: input.systemRole ?? null });
    const [made] = await ctx.db.insert(table).values({
      id,
      tenantId: ctx.tenantId,
      name: input.name,
      issuer: input.issuer,
      clientId: input.clientId,
      ...await sealedSecret(ctx, id, input.clientSecret),
      scopes: input.scopes,
      groupClaim: input.groupClaim ?? null,
      createsUsers: input.createsUsers,
      linksUsers: input.linksUsers,
      systemRole: input.systemRole ?? null,
      returnUris: input.returnUris,
    }).onConflictDoNothing().returning(view);
    if (!made) throw taken(input.name);
    const after = { ...made, mappings: await replaceMappings(ctx, id, input.mappings) };
    await note(ctx, "identity_provider.created", null, after);
    return after;
  });
}

const taken = (name: string) =>
  conflict("identity_provider.already_exists", `There is an identity provider named ${name}`);

async function sealedSecret(ctx: TxCtx, id: string, secret: string) {
  return {
    clientSecret: await ctx.secrets.seal(ctx, at(table.clientSecret, id), secret),
    secretFingerprint: await ctx.secrets.fingerprint(ctx, secret),
  };
}

export const Get = z.strictObject({ id: z.uuid() });

export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<IdentityProvider> {
  return read(ctx, async (ctx) => {
    const row = found(await ctx.db.select(view).from(table).where(own(ctx, id)), NOUN);
    return await whole(ctx, row);
  });
}

export const Update = z.strictObject({
  id: z.uuid(),
  name: fields.name.optional(),
  issuer: fields.issuer.optional(),
  clientId: fields.clientId.optional(),
  clientSecret: clientSecret.optional(),
  scopes: fields.scopes.nullish(),
  groupClaim: fields.groupClaim.nullish(),
  createsUsers: z.boolean().optional(),
  linksUsers: z.boolean().optional(),
  systemRole: fields.systemRole.nullish(),
  returnUris: fields.returnUris.nullish(),
  /** All of them, in the place of those before. */
  mappings: Mappings.nullish(),
});

/** Changes the fields given. What was begun with another issuer or client is over. */
export async function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, id);
    const { clientSecret: secret, mappings, scopes, returnUris, ...columns } = input;
    const sealed = secret === undefined || secret === MASK
      ? {}
      : await sealedSecret(ctx, id, secret);
    const powers = powersOf(before, input);
    const isHandedOver = await requirePowers(ctx, before, { ...powers, ...sealed });
    if (columns.name !== undefined) await requireFreeName(ctx, id, columns.name);
    const row = one(
      await ctx.db.update(table).set({
        ...given({
          name: columns.name,
          issuer: columns.issuer,
          clientId: columns.clientId,
          scopes: scopes === null ? ["openid"] : scopes,
          groupClaim: columns.groupClaim,
          createsUsers: columns.createsUsers,
          linksUsers: columns.linksUsers,
          systemRole: columns.systemRole,
          returnUris: returnUris === null ? [] : returnUris,
        }),
        ...sealed,
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(own(ctx, id)).returning(view),
    );
    if (isHandedOver) await endFlows(ctx, id);
    const kept = mappings === undefined;
    const after = {
      ...row,
      mappings: kept ? before.mappings : await replaceMappings(ctx, id, powers.mappings),
    };
    await note(ctx, "identity_provider.updated", before, after);
    return after;
  });
}

/** What the provider is to give, once what was asked for is done. */
const powersOf = (before: IdentityProvider, asked: Omit<z.infer<typeof Update>, "id">): Powers => ({
  issuer: asked.issuer ?? before.issuer,
  clientId: asked.clientId ?? before.clientId,
  secretFingerprint: before.secretFingerprint,
  groupClaim: asked.groupClaim === undefined ? before.groupClaim : asked.groupClaim,
  createsUsers: asked.createsUsers ?? before.createsUsers,
  linksUsers: asked.linksUsers ?? before.linksUsers,
  systemRole: asked.systemRole === undefined ? before.systemRole : asked.systemRole,
  mappings: asked.mappings === undefined ? before.mappings : asked.mappings ?? [],
});

async function requireFreeName(ctx: TxCtx, id: string, name: string) {
  const others = await ctx.db.select({ id: table.id }).from(table)
    .where(and(eq(table.tenantId, ctx.tenantId), eq(table.name, name), ne(table.id, id)));
  if (others.length > 0) throw taken(name);
}

export const Remove = z.strictObject({ id: z.uuid() });

/** Takes a provider out of use: nobody signs in with it. Who was it stays known for its return. */
export const remove = (ctx: TenantCtx, { id }: z.infer<typeof Remove>): Promise<void> =>
  transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    if (before.isActive) await setActive(ctx, before, false, "identity_provider.deactivated");
  });

export const Activate = z.strictObject({ id: z.uuid() });

/** Puts a provider into use again, by somebody who could set it up. */
export function activate(ctx: TenantCtx, { id }: z.infer<typeof Activate>) {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const before = await locked(ctx, id);
    if (before.isActive) return before;
    await requirePowers(ctx, { id }, before);
    return await setActive(ctx, before, true, "identity_provider.activated");
  });
}

async function setActive(
  ctx: TxCtx,
  before: IdentityProvider,
  isActive: boolean,
  action: string,
): Promise<IdentityProvider> {
  const row = one(
    await ctx.db.update(table).set({ isActive }).where(own(ctx, before.id)).returning(view),
  );
  const after = { ...row, mappings: before.mappings };
  await note(ctx, action, before, after);
  return after;
}

export const Test = z.strictObject({ id: z.uuid() });
export const Tested = z.object({
  issuer: z.string().max(2048),
  authorizationEndpoint: z.string().max(2048),
  tokenEndpoint: z.string().max(2048),
  jwksUri: z.string().max(2048),
  signingAlgorithms: z.array(z.string().max(16)).max(20),
  namesItself: z.boolean(),
});

/** Asks the issuer for its metadata now, and forgets what was known of it. */
export async function test(ctx: TenantCtx, { id }: z.infer<typeof Test>) {
  const provider = await get(ctx, { id });
  const server = await discover(ctx, provider.issuer);
  const tested: z.infer<typeof Tested> = {
    issuer: server.issuer,
    authorizationEndpoint: server.authorization_endpoint,
    tokenEndpoint: server.token_endpoint,
    jwksUri: server.jwks_uri,
    signingAlgorithms: server.id_token_signing_alg_values_supported,
    namesItself: server.authorization_response_iss_parameter_supported === true,
  };
  return await transact(ctx, async (ctx) => {
    const { signingAlgorithms, namesItself } = tested;
    await note(ctx, "identity_provider.tested", provider, provider, {
      signingAlgorithms,
      namesItself,
    });
    return tested;
  });
}

export const List = z.strictObject({ isActive: z.boolean().optional(), ...page });
export const Listed = z.object({
  identityProviders: z.array(IdentityProvider).max(100),
  nextCursor,
});

export function list(ctx: TenantCtx, { isActive, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(table).where(and(
      own(ctx),
      isActive === undefined ? undefined : eq(table.isActive, isActive),
      cursor ? lt(table.id, cursor) : undefined,
    )).orderBy(desc(table.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { identityProviders: await withMappings(ctx, items), nextCursor };
  });
}
