/**
 * Service platforms: the outside services a tenant has switched on.
 *
 * A tenant registers a service once. A deactivated registration stays, because bindings and the
 * trail point at it, and is left out of every integration flow. Its client id and secret live in
 * the credential it points at; `config` is put together from both.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { platformCredentials, servicePlatforms } from "../../db/schema/platforms.ts";
import { cached, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { faultCodes } from "../fault_codes.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { found, given, one } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { changesOf, moved, publish, record } from "../trail.ts";
import { metadata, name } from "../words.ts";
import { activePlatform } from "./catalogue.ts";
import * as credentials from "./credentials.ts";

/** S1's PlatformResponse. The secret is masked before it leaves the database. */
export const ServicePlatform = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  serviceName: z.string().max(255),
  config: z.object({
    clientId: z.string().max(512),
    clientSecret: z.literal(MASK),
    tenantId: z.string().max(255).nullable(),
    additionalData: z.record(z.string(), z.unknown()).nullable(),
  }),
  isActive: z.boolean(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ServicePlatform" });
export type ServicePlatform = z.infer<typeof ServicePlatform>;

const columns = {
  id: servicePlatforms.id,
  tenantId: servicePlatforms.tenantId,
  serviceName: servicePlatforms.serviceName,
  platformId: servicePlatforms.platformId,
  credentialId: servicePlatforms.credentialId,
  clientId: platformCredentials.clientId,
  secretFingerprint: platformCredentials.secretFingerprint,
  providerTenantId: servicePlatforms.providerTenantId,
  additionalData: servicePlatforms.additionalData,
  isActive: servicePlatforms.isActive,
  createdAt: servicePlatforms.createdAt,
  updatedAt: servicePlatforms.updatedAt,
};

const select = (ctx: TxCtx) =>
  ctx.db.select(columns).from(servicePlatforms).innerJoin(
    platformCredentials,
    and(
      eq(platformCredentials.tenantId, servicePlatforms.tenantId),
      eq(platformCredentials.id, servicePlatforms.credentialId),
    ),
  );
type Row = Awaited<ReturnType<typeof select>>[number];

const viewOf = (row: Row): ServicePlatform => ({
  id: row.id,
  tenantId: row.tenantId,
  serviceName: row.serviceName,
  config: {
    clientId: row.clientId,
    clientSecret: MASK,
    tenantId: row.providerTenantId,
    additionalData: row.additionalData,
  },
  isActive: row.isActive,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

const own = (ctx: TenantCtx, id: string) =>
  and(eq(servicePlatforms.tenantId, ctx.tenantId), eq(servicePlatforms.id, id));
const rowOf = async (ctx: TxCtx, id: string) =>
  found(await select(ctx).where(own(ctx, id)), "service_platform", "PlatformNotFound");

/** A tenant named in a request must be the token's: any other does not exist for this caller. */
function sameTenant(ctx: TenantCtx, tenantId: string | undefined) {
  if (tenantId !== undefined && tenantId !== ctx.tenantId) throw notFound("tenant");
}

const answer = (row: Row, message: string) => ({
  platform: viewOf(row),
  success: true as const,
  message,
});
export const Answer = z.object({
  platform: ServicePlatform,
  success: z.literal(true),
  message: z.string().max(1000),
});

const additionalData = metadata.nullish();
const providerTenantId = z.string().max(255, "Give at most 255 characters").nullish();

/** S1 names the tenant in its requests. */
const tenantId = z.uuid().optional();

export const Register = z.strictObject({
  tenantId,
  serviceName: name("the service's name"),
  config: z.strictObject({
    clientId: credentials.clientIdWord,
    clientSecret: credentials.newSecretWord,
    tenantId: providerTenantId,
    additionalData,
  }).register(faultCodes, { code: "InvalidPlatformConfig" }),
});

/** Switches a service on for the tenant, its credential written in the same transaction. */
export async function register(ctx: TenantCtx, input: z.infer<typeof Register>) {
  sameTenant(ctx, input.tenantId);
  const { serviceName, config } = input;
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const { tenantId } = ctx;
    const platform = await activePlatform(ctx, { name: serviceName });
    if (!platform) {
      throw invalid("service_name", "Give the name of an active platform of the catalogue");
    }
    await refuseSecond(ctx, platform.id, platform.name);
    await credentials.retireOthers(ctx, platform.id, { keep: null, ownerUserId: null });
    const credential = await credentials.write(ctx, { platform, ...config, isActive: true });
    const [made] = await ctx.db.insert(servicePlatforms).values({
      tenantId,
      platformId: platform.id,
      serviceName: platform.name,
      credentialId: credential.id,
      providerTenantId: config.tenantId ?? null,
      additionalData: config.additionalData ?? null,
    }).onConflictDoNothing().returning({ id: servicePlatforms.id });
    if (!made) throw exists(platform.name);
    // The link now holds the platform's row. Was it deleted or switched off while we came here?
    if (!await activePlatform(ctx, { id: platform.id })) {
      throw invalid("service_name", "This platform was just taken out of the catalogue");
    }
    const row = await rowOf(ctx, made.id);
    await note(ctx, "platform.registered", null, row, { config: publicConfig(row) });
    return answer(row, `${row.serviceName} is registered`);
  });
}

const exists = (serviceName: string) =>
  conflict(
    "service_platform.already_exists",
    `${serviceName} is registered already: update it instead`,
    "PlatformAlreadyExists",
  );

async function refuseSecond(ctx: TxCtx, platformId: string, serviceName: string) {
  const [row] = await ctx.db.select({
    id: servicePlatforms.id,
    isActive: servicePlatforms.isActive,
  })
    .from(servicePlatforms).where(and(
      eq(servicePlatforms.tenantId, ctx.tenantId),
      eq(servicePlatforms.platformId, platformId),
    ));
  if (row?.isActive) throw exists(serviceName);
  if (row) {
    throw conflict(
      "service_platform.deactivated",
      `${serviceName} is registered and deactivated: POST /api/v1/service-platforms/${row.id}/activate`,
      "PlatformAlreadyExists",
    );
  }
}

export const Get = z.strictObject({ id: z.uuid(), tenantId });

/** One registration, from the cache when it is there. */
export async function get(
  ctx: TenantCtx,
  { id, tenantId }: z.infer<typeof Get>,
): Promise<ServicePlatform> {
  sameTenant(ctx, tenantId);
  const place = { tenantId: ctx.tenantId, topic: "service_platforms", key: id };
  return await cached(
    ctx,
    place,
    () => read(ctx, async (ctx) => viewOf(await rowOf(ctx, id))),
  );
}

export const Update = z.strictObject({
  id: z.uuid(),
  tenantId,
  config: z.strictObject({
    clientId: credentials.clientIdWord.optional(),
    clientSecret: credentials.clientSecretWord.optional(),
    tenantId: providerTenantId,
    additionalData,
  }).register(faultCodes, { code: "InvalidPlatformConfig" }).optional(),
});

/** Changes the parts of the config given. Another client id becomes a credential of its own. */
export async function update(ctx: TenantCtx, input: z.infer<typeof Update>) {
  const { id, config = {} } = input;
  sameTenant(ctx, input.tenantId);
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const credentialId = await changeCredential(ctx, before, config);
    await touch(ctx, id, {
      credentialId,
      ...given({ providerTenantId: config.tenantId, additionalData: config.additionalData }),
    });
    const after = await rowOf(ctx, id);
    const changes = changesOf(trail(before), trail(after));
    await note(ctx, "platform.updated", before, after, { changes, updatedBy: ctx.actor.id });
    return viewOf(after);
  });
}

type Config = z.infer<typeof Update>["config"] & object;

async function changeCredential(ctx: TxCtx, before: Row, { clientId, clientSecret }: Config) {
  if (clientId === undefined || clientId === before.clientId) {
    if (clientSecret !== undefined) {
      await credentials.setSecret(ctx, before.credentialId, clientSecret);
    }
    return before.credentialId;
  }
  if (clientSecret === undefined || clientSecret === MASK) {
    throw invalid(
      "config.client_secret",
      "Another client id needs its secret",
      "InvalidPlatformConfig",
    );
  }
  const platform = await activePlatform(ctx, { id: before.platformId });
  if (!platform) throw invalid("service_name", "This platform is not active any more");
  await credentials.retireOthers(ctx, platform.id, { keep: null, ownerUserId: null });
  // What else was set up for the old client holds for the new one.
  const { name, authUrl, tokenUrl, redirectUris, scopes } = await credentials.get(ctx, {
    id: before.credentialId,
  });
  const kept = { name, authUrl, tokenUrl, redirectUris, scopes };
  const made = { platform, clientId, clientSecret, isActive: true, ...kept };
  return (await credentials.write(ctx, made)).id;
}

export const Deactivate = Get;

/** Leaves the service out of every integration flow. */
export const deactivate = (ctx: TenantCtx, input: z.infer<typeof Deactivate>) =>
  turn(ctx, input, false);

export const Activate = Get;

/** Puts a deactivated service back into use. Its platform must be active. */
export const activate = (ctx: TenantCtx, input: z.infer<typeof Activate>) => turn(ctx, input, true);

async function turn(ctx: TenantCtx, { id, tenantId }: z.infer<typeof Get>, isActive: boolean) {
  sameTenant(ctx, tenantId);
  return await transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const done = `${before.serviceName} is ${isActive ? "active" : "deactivated"}`;
    if (before.isActive === isActive) return answer(before, done);
    await touch(ctx, id, { isActive });
    if (isActive && !await activePlatform(ctx, { id: before.platformId })) {
      throw conflict("platform.inactive", "Its platform is not active in the catalogue");
    }
    const after = await rowOf(ctx, id);
    const action = isActive ? "platform.activated" : "platform.deactivated";
    await note(ctx, action, before, after, {});
    return answer(after, done);
  });
}

export const List = z.strictObject({
  tenantId,
  serviceName: name("the service's name").optional(),
  isActive: z.boolean().optional(),
  ...page,
});
export const Listed = z.object({ platforms: z.array(ServicePlatform).max(100), nextCursor });

/** The tenant's services, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  sameTenant(ctx, input.tenantId);
  return read(ctx, async (ctx) => {
    const rows = await select(ctx)
      .where(and(
        eq(servicePlatforms.tenantId, ctx.tenantId),
        input.serviceName
          ? sql`lower(${servicePlatforms.serviceName}) = lower(${input.serviceName})`
          : undefined,
        input.isActive === undefined ? undefined : eq(servicePlatforms.isActive, input.isActive),
        input.cursor ? lt(servicePlatforms.id, input.cursor) : undefined,
      ))
      .orderBy(desc(servicePlatforms.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { platforms: items.map(viewOf), nextCursor };
  });
}

async function locked(ctx: TxCtx, id: string): Promise<Row> {
  const rows = await select(ctx).where(own(ctx, id)).for("update", { of: servicePlatforms });
  return found(rows, "service_platform", "PlatformNotFound");
}

const touch = async (
  ctx: TxCtx,
  id: string,
  set: Partial<typeof servicePlatforms.$inferInsert>,
) =>
  one(
    await ctx.db.update(servicePlatforms).set({
      ...set,
      updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
    }).where(own(ctx, id)).returning({ id: servicePlatforms.id }),
  );

/** S1's config as an event may show it: without the secret. */
const publicConfig = (row: Row) => ({
  client_id: row.clientId,
  tenant_id: row.providerTenantId,
  additional_data: row.additionalData,
});

const trail = ({ secretFingerprint, ...row }: Row) => ({ ...row, clientSecret: secretFingerprint });

async function note(
  ctx: TxCtx,
  action: string,
  before: Row | null,
  after: Row,
  data: Record<string, unknown>,
) {
  const { id: subjectId, tenantId } = after;
  await record(ctx, {
    action,
    subjectType: "service_platform",
    subjectId,
    before: before && trail(before),
    after: trail(after),
  });
  await publish(ctx, {
    type: action,
    source: "/service-platforms",
    subjectId,
    data: { platformId: subjectId, tenantId, serviceName: after.serviceName, ...data },
  });
  await moved(ctx, "service_platforms");
}
