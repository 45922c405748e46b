/**
 * The catalogue: the outside platforms this installation knows. Operators write it in the root
 * tenant, every tenant reads it. Names are unique among those not deleted.
 */
import { and, desc, eq, isNull, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { authKinds, platforms, serviceTypes } from "../../db/schema/platforms.ts";
import { cached, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { faultCodes } from "../fault_codes.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { changesOf, moved, publish, record } from "../trail.ts";
import { snakeFields } from "../wire_names.ts";
import { metadata, name, origin, scopes, webAddress } from "../words.ts";
import { Quirks } from "./quirks.ts";

const ServiceType = z.enum(serviceTypes, `Give one of ${serviceTypes.join(", ")}`)
  .register(faultCodes, { code: "InvalidPlatformType" });

export const Platform = z.object({
  id: z.uuid(),
  name: z.string().max(255),
  description: z.string().max(2000).nullable(),
  serviceType: z.enum(serviceTypes),
  isActive: z.boolean(),
  metadata: z.record(z.string(), z.unknown()),
  authKind: z.enum(authKinds),
  authUrl: z.string().max(2048).nullable(),
  tokenUrl: z.string().max(2048).nullable(),
  revocationUrl: z.string().max(2048).nullable(),
  userinfoUrl: z.string().max(2048).nullable(),
  apiHosts: z.array(z.string().max(255)).max(20),
  defaultScopes: z.array(z.string().max(255)).max(100),
  documentationUrl: z.string().max(2048).nullable(),
  quirks: Quirks.partial(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Platform" });
export type Platform = z.infer<typeof Platform>;
const view = columnsOf(platforms, Platform);

const fields = {
  description: z.string().max(2000).nullish(),
  authUrl: webAddress.nullish(),
  tokenUrl: webAddress.nullish(),
  revocationUrl: webAddress.nullish(),
  userinfoUrl: webAddress.nullish(),
  documentationUrl: webAddress.nullish(),
};
const lists = {
  metadata,
  authKind: z.enum(authKinds, `Give one of ${authKinds.join(", ")}`),
  apiHosts: z.array(origin).max(20),
  defaultScopes: scopes,
  quirks: Quirks.partial(),
};

const known = (id: string) => and(eq(platforms.id, id), isNull(platforms.deletedAt));
const missing = () => notFound("platform", "PlatformNotFound");
const taken = (name: string) =>
  conflict(
    "platform.already_exists",
    `A platform is named ${name} already`,
    "PlatformAlreadyExists",
  );

export const Create = z.strictObject({
  name: name("the platform's name"),
  serviceType: ServiceType,
  ...fields,
  metadata: lists.metadata.default({}),
  authKind: lists.authKind.default("oauth2"),
  apiHosts: lists.apiHosts.default([]),
  defaultScopes: lists.defaultScopes.default([]),
  quirks: lists.quirks.default({}),
});
export const Created = z.object({
  platform: Platform,
  success: z.literal(true),
  message: z.string().max(1000),
});

/** The catalogue is the installation's: a permission on it counts in the root tenant alone. */
function requireRoot({ tenantId }: TenantCtx) {
  if (tenantId === ROOT_TENANT) return;
  throw new Fault("Forbidden", "platform.not_operator", "Only operators change the catalogue");
}

/** Adds a platform to the catalogue. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireRoot(ctx);
  return transact(ctx, async (ctx) => {
    const [platform] = await ctx.db.insert(platforms).values({
      name: input.name,
      serviceType: input.serviceType,
      description: input.description ?? null,
      authKind: input.authKind,
      authUrl: input.authUrl ?? null,
      tokenUrl: input.tokenUrl ?? null,
      revocationUrl: input.revocationUrl ?? null,
      userinfoUrl: input.userinfoUrl ?? null,
      documentationUrl: input.documentationUrl ?? null,
      apiHosts: input.apiHosts,
      defaultScopes: input.defaultScopes,
      metadata: input.metadata,
      quirks: input.quirks,
    }).onConflictDoNothing().returning(view);
    if (!platform) throw taken(input.name);
    await note(ctx, "platform.created", null, platform, {
      name: platform.name,
      serviceType: platform.serviceType,
      metadata: platform.metadata,
    });
    return { platform, success: true as const, message: `${platform.name} is in the catalogue` };
  });
}

export const Get = z.strictObject({ id: z.uuid() });

/** One platform, from the cache when it is there. */
export async function get(ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<Platform> {
  const place = { tenantId: ROOT_TENANT, topic: "platforms", key: id };
  return await cached(ctx, place, () =>
    read(ctx, async (ctx) => {
      const rows = await ctx.db.select(view).from(platforms).where(known(id));
      return found(rows, "platform", "PlatformNotFound");
    }));
}

export const Update = z.strictObject({
  id: z.uuid(),
  name: name("the platform's name").optional(),
  serviceType: ServiceType.optional(),
  isActive: z.boolean().nullish(),
  ...fields,
  metadata: lists.metadata.nullish(),
  authKind: lists.authKind.nullish(),
  apiHosts: lists.apiHosts.nullish(),
  defaultScopes: lists.defaultScopes.nullish(),
  quirks: lists.quirks.nullish(),
});

/** Changes the fields given; null clears one or puts it back to its default. */
export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  requireRoot(ctx);
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (input.name !== undefined && input.name !== before.name) {
      await refuseRename(ctx, before, input.name);
    }
    const cleared = {
      isActive: input.isActive === null ? true : input.isActive,
      metadata: input.metadata === null ? {} : input.metadata,
      authKind: input.authKind === null ? "oauth2" as const : input.authKind,
      apiHosts: input.apiHosts === null ? [] : input.apiHosts,
      defaultScopes: input.defaultScopes === null ? [] : input.defaultScopes,
      quirks: input.quirks === null ? {} : input.quirks,
    };
    const after = one(
      await ctx.db.update(platforms).set({
        ...given({
          name: input.name,
          serviceType: input.serviceType,
          description: input.description,
          authUrl: input.authUrl,
          tokenUrl: input.tokenUrl,
          revocationUrl: input.revocationUrl,
          userinfoUrl: input.userinfoUrl,
          documentationUrl: input.documentationUrl,
          ...cleared,
        }),
        updatedAt: sql`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`,
      }).where(known(id)).returning(view),
    );
    const changes = changesOf(trail(before), trail(after));
    await note(ctx, "platform.updated", before, after, { changes, updatedBy: ctx.actor.id });
    return after;
  });
}

export const Delete = z.strictObject({ id: z.uuid() });

/** Takes a platform out of the catalogue. Its row stays; its name is free again. */
export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>) {
  requireRoot(ctx);
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const [use] = rowsOf(await ctx.db.execute(sql`select * from platform_use(${id}::uuid)`));
    if (Number(use?.registrations) > 0 || Number(use?.bindings) > 0) {
      throw conflict(
        "platform.in_use",
        "Tenants have registered it or people have connected accounts: deactivate it instead",
        "PlatformInUse",
      );
    }
    await ctx.db.update(platforms).set({ deletedAt: ctx.now(), isActive: false }).where(known(id));
    await note(ctx, "platform.deleted", before, null, { name: before.name });
  });
}

export const List = z.strictObject({
  serviceType: ServiceType.optional(),
  isActive: z.boolean().optional(),
  ...page,
});
export const Listed = z.object({ platforms: z.array(Platform).max(100), nextCursor });

/** The catalogue, newest first. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(platforms)
      .where(and(
        isNull(platforms.deletedAt),
        input.serviceType ? eq(platforms.serviceType, input.serviceType) : undefined,
        input.isActive === undefined ? undefined : eq(platforms.isActive, input.isActive),
        input.cursor ? lt(platforms.id, input.cursor) : undefined,
      ))
      .orderBy(desc(platforms.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { platforms: items, nextCursor };
  });
}

/** An active platform by name or id, as registrations and bindings need it. */
export async function activePlatform(ctx: TxCtx, by: { name: string } | { id: string }) {
  const which = "id" in by ? known(by.id) : and(
    sql`lower(${platforms.name}) = lower(${by.name})`,
    isNull(platforms.deletedAt),
  );
  const [platform] = await ctx.db.select(view).from(platforms)
    .where(and(which, eq(platforms.isActive, true)));
  return platform ?? null;
}

/** Waits for whoever registers this platform now, and makes the next one wait (the key share of a link). */
async function locked(ctx: TxCtx, id: string): Promise<Platform> {
  const [row] = await ctx.db.select(view).from(platforms).where(known(id)).for("update");
  if (!row) throw missing();
  return row;
}

async function refuseRename(ctx: TxCtx, { id }: Platform, name: string) {
  const [use] = rowsOf(await ctx.db.execute(sql`select platform_registrations(${id}::uuid) as n`));
  if (Number(use?.n) > 0) {
    throw conflict("platform.in_use", "Tenants have registered it by its name", "PlatformInUse");
  }
  const same = and(sql`lower(${platforms.name}) = lower(${name})`, isNull(platforms.deletedAt));
  const [other] = await ctx.db.select({ id: platforms.id }).from(platforms).where(same);
  if (other && other.id !== id) throw taken(name);
}

const trail = (platform: Platform) => ({ ...platform, quirks: snakeFields(platform.quirks) });

async function note(
  ctx: TxCtx,
  action: string,
  before: Platform | null,
  after: Platform | null,
  data: Record<string, unknown>,
) {
  const subjectId = (after ?? before)?.id ?? "";
  await record(ctx, {
    action,
    subjectType: "platform",
    subjectId,
    before: before && trail(before),
    after: after && trail(after),
  });
  await publish(ctx, {
    type: action,
    source: "/platforms",
    subjectId,
    data: { platformId: subjectId, ...data },
  });
  await moved(ctx, "platforms");
}
