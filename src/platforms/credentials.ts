/**
 * Credentials: what a tenant proves itself with at a platform. Several may stand side by side while
 * one replaces another; one of a tenant's is active. The secret goes in and is never shown again.
 */
import { and, desc, eq, isNull, lt, ne, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import {
  credentialKinds,
  platformCredentials,
  servicePlatforms,
} from "../../db/schema/platforms.ts";
import { users } from "../../db/schema/identity.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { faultCodes } from "../fault_codes.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { moved, publish, record } from "../trail.ts";
import { name, scopes, webAddress } from "../words.ts";
import { activePlatform, type Platform } from "./catalogue.ts";

export const Credential = z.object({
  id: z.uuid(),
  platformId: z.uuid(),
  ownerUserId: z.uuid().nullable(),
  kind: z.enum(credentialKinds),
  name: z.string().max(255),
  clientId: z.string().max(512),
  clientSecret: z.literal(MASK),
  secretFingerprint: z.string().max(32),
  authUrl: z.string().max(2048).nullable(),
  tokenUrl: z.string().max(2048).nullable(),
  redirectUris: z.array(z.string().max(2048)).max(20),
  scopes: z.array(z.string().max(255)).max(100),
  isActive: z.boolean(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Credential" });
export type Credential = z.infer<typeof Credential>;
/** The mask is a constant in the place of the column: no query of this file reads the ciphertext. */
export const credentialView = {
  ...columnsOf(platformCredentials, Credential.omit({ clientSecret: true })),
  clientSecret: sql<typeof MASK>`${MASK}::text`,
};

export const clientIdWord = z.string().trim().min(1, "Give the client id the platform issued")
  .max(512);
export const clientSecretWord = z.string().min(1, "Give the client secret the platform issued")
  .max(4096);
/** Where a secret is new, the mask is somebody's copy of an answer and not one. */
export const newSecretWord = clientSecretWord
  .refine((secret) => secret !== MASK, "Give the client secret itself, not the mask of an answer");
const fields = {
  name: name("a name to tell it by"),
  authUrl: webAddress.nullish(),
  tokenUrl: webAddress.nullish(),
  redirectUris: z.array(webAddress).max(20, "Give at most 20 addresses"),
  scopes,
};

const kindOf = {
  oauth2: "oauth_client",
  bot_token: "bot_token",
  api_key: "api_key",
  basic: "password",
} as const satisfies Record<Platform["authKind"], Credential["kind"]>;

const own = (ctx: TenantCtx, id: string) =>
  and(eq(platformCredentials.tenantId, ctx.tenantId), eq(platformCredentials.id, id));

const trail = ({ clientSecret: _, secretFingerprint, ...view }: Credential) => ({
  ...view,
  clientSecret: secretFingerprint,
});

type NewCredential = {
  platform: Platform;
  clientId: string;
  clientSecret: string;
  name?: string;
  ownerUserId?: string | null;
  authUrl?: string | null;
  tokenUrl?: string | null;
  redirectUris?: string[];
  scopes?: string[];
  isActive: boolean;
};

/** Writes one credential within the caller's transaction, the secret sealed to its place. */
export async function write(ctx: TxCtx, input: NewCredential): Promise<Credential> {
  const id = v7();
  const place = { table: "platform_credentials", row: id, column: "client_secret" };
  return one(
    await ctx.db.insert(platformCredentials).values({
      id,
      tenantId: ctx.tenantId,
      platformId: input.platform.id,
      ownerUserId: input.ownerUserId ?? null,
      kind: kindOf[input.platform.authKind],
      name: input.name ?? "default",
      clientId: input.clientId,
      clientSecret: await ctx.secrets.seal(ctx, place, input.clientSecret),
      secretFingerprint: await ctx.secrets.fingerprint(ctx, input.clientSecret),
      authUrl: input.authUrl ?? null,
      tokenUrl: input.tokenUrl ?? null,
      redirectUris: input.redirectUris ?? [],
      scopes: input.scopes ?? [],
      isActive: input.isActive,
    }).returning(credentialView),
  );
}

/**
 * Makes the others at this platform inactive: the tenant's, or those of one owner. Accounts they
 * connected stay usable.
 */
export async function retireOthers(
  ctx: TxCtx,
  platformId: string,
  { keep, ownerUserId }: { keep: string | null; ownerUserId: string | null },
) {
  await ctx.db.update(platformCredentials).set({ isActive: false })
    .where(and(
      eq(platformCredentials.tenantId, ctx.tenantId),
      eq(platformCredentials.platformId, platformId),
      eq(platformCredentials.isActive, true),
      ownerUserId === null
        ? isNull(platformCredentials.ownerUserId)
        : eq(platformCredentials.ownerUserId, ownerUserId),
      keep === null ? undefined : ne(platformCredentials.id, keep),
    ));
}

export const Create = z.strictObject({
  serviceName: name("the platform's name"),
  clientId: clientIdWord,
  clientSecret: newSecretWord,
  name: fields.name.default("default"),
  ownerUserId: z.uuid().nullish(),
  authUrl: fields.authUrl,
  tokenUrl: fields.tokenUrl,
  redirectUris: fields.redirectUris.default([]),
  scopes: fields.scopes.default([]),
}).register(faultCodes, { code: "CredentialValidation" });

/** Stores another credential, inactive until it is activated. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const platform = await activePlatform(ctx, { name: input.serviceName });
    if (!platform) throw invalid("service_name", "Give the name of an active platform");
    if (input.ownerUserId) {
      const [owner] = await ctx.db.select({ id: users.id }).from(users)
        .where(and(eq(users.tenantId, ctx.tenantId), eq(users.id, input.ownerUserId)));
      if (!owner) throw invalid("owner_user_id", "Give a user of this tenant");
    }
    const credential = await write(ctx, {
      platform,
      clientId: input.clientId,
      clientSecret: input.clientSecret,
      name: input.name,
      ownerUserId: input.ownerUserId ?? null,
      authUrl: input.authUrl ?? null,
      tokenUrl: input.tokenUrl ?? null,
      redirectUris: input.redirectUris,
      scopes: input.scopes,
      isActive: false,
    });
    await note(ctx, "credential.created", null, credential);
    return credential;
  });
}

export const Get = z.strictObject({ id: z.uuid() });

export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>) {
  return read(
    ctx,
    async (ctx) =>
      found(
        await ctx.db.select(credentialView).from(platformCredentials).where(own(ctx, id)),
        "credential",
      ),
  );
}

export const Update = z.strictObject({
  id: z.uuid(),
  name: fields.name.optional(),
  clientSecret: clientSecretWord.optional(),
  authUrl: fields.authUrl,
  tokenUrl: fields.tokenUrl,
  redirectUris: fields.redirectUris.nullish(),
  scopes: fields.scopes.nullish(),
}).register(faultCodes, { code: "CredentialValidation" });

/** Changes the fields given. Another client id is another credential: create one and activate it. */
export async function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const after = one(
      await ctx.db.update(platformCredentials).set({
        ...given({
          name: input.name,
          authUrl: input.authUrl,
          tokenUrl: input.tokenUrl,
          redirectUris: input.redirectUris === null ? [] : input.redirectUris,
          scopes: input.scopes === null ? [] : input.scopes,
        }),
        ...await sealedSecret(ctx, id, input.clientSecret),
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(own(ctx, id)).returning(credentialView),
    );
    await note(ctx, "credential.updated", before, after);
    return after;
  });
}

/** Puts a new secret into one credential, within the caller's transaction and its trail. */
export async function setSecret(ctx: TxCtx, id: string, secret: string) {
  const set = await sealedSecret(ctx, id, secret);
  if (Object.keys(set).length === 0) return;
  await ctx.db.update(platformCredentials).set(set).where(own(ctx, id));
}

/** The columns a new secret changes; none when it is absent or the mask. */
async function sealedSecret(ctx: TxCtx, id: string, secret: string | undefined) {
  if (secret === undefined || secret === MASK) return {};
  const place = { table: "platform_credentials", row: id, column: "client_secret" };
  return {
    clientSecret: await ctx.secrets.seal(ctx, place, secret),
    secretFingerprint: await ctx.secrets.fingerprint(ctx, secret),
  };
}

export const Activate = z.strictObject({ id: z.uuid() });

/**
 * Makes this the one in use: new connections take it. A tenant's own is what the service's
 * registration then points at; a user's own goes before it for that user alone.
 */
export function activate(ctx: TenantCtx, { id }: z.infer<typeof Activate>) {
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (before.isActive) return before;
    const { platformId, ownerUserId } = before;
    await retireOthers(ctx, platformId, { keep: id, ownerUserId });
    const after = one(
      await ctx.db.update(platformCredentials).set({ isActive: true })
        .where(own(ctx, id)).returning(credentialView),
    );
    if (ownerUserId === null) {
      await ctx.db.update(servicePlatforms).set({ credentialId: id }).where(and(
        eq(servicePlatforms.tenantId, ctx.tenantId),
        eq(servicePlatforms.platformId, platformId),
      ));
    }
    await note(ctx, "credential.activated", before, after);
    return after;
  });
}

export const Deactivate = z.strictObject({ id: z.uuid() });

/** Takes a credential out of use. One that an active registration points at is refused. */
export function deactivate(ctx: TenantCtx, { id }: z.infer<typeof Deactivate>) {
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (!before.isActive) return before;
    const [user] = await ctx.db.select({ id: servicePlatforms.id }).from(servicePlatforms)
      .where(and(
        eq(servicePlatforms.tenantId, ctx.tenantId),
        eq(servicePlatforms.credentialId, id),
        eq(servicePlatforms.isActive, true),
      ));
    if (user) {
      throw conflict("credential.in_use", "Activate another one, or deactivate the service first");
    }
    const after = one(
      await ctx.db.update(platformCredentials).set({ isActive: false })
        .where(own(ctx, id)).returning(credentialView),
    );
    await note(ctx, "credential.deactivated", before, after);
    return after;
  });
}

export const List = z.strictObject({
  platformId: z.uuid().optional(),
  isActive: z.boolean().optional(),
  ...page,
});
export const Listed = z.object({ credentials: z.array(Credential).max(100), nextCursor });

export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(credentialView).from(platformCredentials)
      .where(and(
        eq(platformCredentials.tenantId, ctx.tenantId),
        input.platformId ? eq(platformCredentials.platformId, input.platformId) : undefined,
        input.isActive === undefined ? undefined : eq(platformCredentials.isActive, input.isActive),
        input.cursor ? lt(platformCredentials.id, input.cursor) : undefined,
      ))
      .orderBy(desc(platformCredentials.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { credentials: items, nextCursor };
  });
}

async function locked(ctx: TxCtx, id: string): Promise<Credential> {
  const rows = await ctx.db.select(credentialView).from(platformCredentials)
    .where(own(ctx, id)).for("update");
  return found(rows, "credential");
}

async function note(
  ctx: TxCtx,
  action: string,
  before: Credential | null,
  after: Credential,
) {
  const { id: subjectId, platformId, kind, name } = after;
  await record(ctx, {
    action,
    subjectType: "credential",
    subjectId,
    before: before && trail(before),
    after: trail(after),
  });
  await publish(ctx, {
    type: action,
    source: "/credentials",
    subjectId,
    data: { platformId, kind, name, tenantId: ctx.tenantId },
  });
  await moved(ctx, "service_platforms");
}
