/**
 * Upstreams: where models are served, by how their names begin. A tenant's own go before those of the
 * root tenant, which serve everybody; of several the longest prefix. Keys go in and are never shown.
 */
import { and, desc, eq, lt, ne, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { upstreams } from "../../db/schema/teams.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { requireMoreThanSelf } from "../identity/giving.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { at } from "../secrets/places.ts";
import { moved, publish, record } from "../trail.ts";
import { name, webAddress } from "../words.ts";
import { modelName } from "./words.ts";

export const Upstream = z.object({
  id: z.uuid(),
  name: z.string().max(255),
  modelPrefix: z.string().max(255),
  stripsPrefix: z.boolean(),
  baseUrl: z.string().max(2048),
  apiKey: z.literal(MASK).nullable(),
  apiKeyFingerprint: z.string().max(32).nullable(),
  timeoutMs: z.int(),
  idleMs: z.int(),
  maxAttempts: z.int(),
  fallbackModels: z.array(z.string().max(255)).max(10),
  isActive: z.boolean(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Upstream" });
export type Upstream = z.infer<typeof Upstream>;
/** The mask stands in the place of the column: no query of this file reads the ciphertext. */
const view = {
  ...columnsOf(upstreams, Upstream.omit({ apiKey: true })),
  apiKey: sql<typeof MASK | null>`case when ${upstreams.apiKey} is null then null else ${MASK} end`,
};

/** With `self` reach none: they are the tenant's. */
const own = ({ tenantId, reach }: TenantCtx, id?: string) =>
  and(
    eq(upstreams.tenantId, tenantId),
    id === undefined ? undefined : eq(upstreams.id, id),
    reach === "self" ? sql`false` : undefined,
  );

const milliseconds = z.int("Give whole milliseconds").min(100, "Give 100 ms or more")
  .max(600_000, "Give at most ten minutes, in milliseconds");
const fields = {
  name: name("a name to tell it by"),
  modelPrefix: z.string().regex(
    /^[\x21-\x7e]{0,255}$/,
    "Give how its models' names begin, like openai/; nothing for every model",
  ),
  stripsPrefix: z.boolean(),
  baseUrl: webAddress,
  apiKey: z.string().min(1, "Give the key the provider issued").max(4096),
  timeoutMs: milliseconds.describe("Until an answer begins, for each try."),
  idleMs: milliseconds.describe(
    "How long an answer may pause; a whole one may take ten times as long, 15 minutes at most.",
  ),
  maxAttempts: z.int().min(1, "Give 1 to 5 attempts").max(5, "Give 1 to 5 attempts"),
  fallbackModels: z.array(modelName).max(10, "Give at most 10 models"),
};

export const Create = z.strictObject({
  name: fields.name,
  modelPrefix: fields.modelPrefix.default(""),
  stripsPrefix: fields.stripsPrefix.default(false),
  baseUrl: fields.baseUrl,
  apiKey: fields.apiKey
    .refine((key) => key !== MASK, "Give the key itself, not the mask of an answer").nullish(),
  timeoutMs: fields.timeoutMs.default(60_000),
  idleMs: fields.idleMs.default(60_000),
  maxAttempts: fields.maxAttempts.default(2),
  fallbackModels: fields.fallbackModels.default([]),
});

/** Adds an upstream; one is active for a prefix. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireMoreThanSelf(ctx);
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const id = v7();
    const [made] = await ctx.db.insert(upstreams).values({
      id,
      tenantId: ctx.tenantId,
      name: input.name,
      modelPrefix: input.modelPrefix,
      stripsPrefix: input.stripsPrefix,
      baseUrl: bareUrl(input.baseUrl),
      timeoutMs: input.timeoutMs,
      idleMs: input.idleMs,
      maxAttempts: input.maxAttempts,
      fallbackModels: input.fallbackModels,
      ...await sealedKey(ctx, id, input.apiKey ?? undefined),
    }).onConflictDoNothing().returning(view);
    if (!made) throw taken(input.modelPrefix);
    await note(ctx, "upstream.created", null, made);
    return made;
  });
}

const bareUrl = (url: string) => url.replace(/\/+$/, "");
const taken = (prefix: string) =>
  conflict(
    "upstream.prefix_taken",
    `Another upstream serves ${
      prefix === "" ? "every model" : prefix
    } already: deactivate it first`,
  );

/** The columns a new key changes; none when it is absent or the mask, null takes it away. */
async function sealedKey(ctx: TxCtx, id: string, key: string | null | undefined) {
  if (key === undefined || key === MASK) return {};
  if (key === null) return { apiKey: null, apiKeyFingerprint: null };
  return {
    apiKey: await ctx.secrets.seal(ctx, at(upstreams.apiKey, id), key),
    apiKeyFingerprint: await ctx.secrets.fingerprint(ctx, key),
  };
}

export const Get = z.strictObject({ id: z.uuid() });

export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>) =>
  read(
    ctx,
    async (ctx) => found(await ctx.db.select(view).from(upstreams).where(own(ctx, id)), "upstream"),
  );

export const Update = z.strictObject({
  id: z.uuid(),
  name: fields.name.optional(),
  modelPrefix: fields.modelPrefix.optional(),
  stripsPrefix: fields.stripsPrefix.optional(),
  baseUrl: fields.baseUrl.optional(),
  apiKey: fields.apiKey.nullish(),
  timeoutMs: fields.timeoutMs.optional(),
  idleMs: fields.idleMs.optional(),
  maxAttempts: fields.maxAttempts.optional(),
  fallbackModels: fields.fallbackModels.optional(),
  isActive: z.boolean().optional(),
});

/** Changes the fields given. A key is given anew with the address of another host. */
export async function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    const { apiKey, baseUrl, ...rest } = input;
    const url = baseUrl === undefined ? undefined : bareUrl(baseUrl);
    if (url !== undefined && (apiKey === undefined || apiKey === MASK)) refuseStray(before, url);
    const set = { ...given({ ...rest, baseUrl: url }), ...await sealedKey(ctx, id, apiKey) };
    if (Object.keys(set).length === 0) return before;
    const { isActive = before.isActive, modelPrefix = before.modelPrefix } = input;
    if (isActive) await refuseTwins(ctx, id, modelPrefix);
    const after = one(
      await ctx.db.update(upstreams).set(set).where(own(ctx, id)).returning(view),
    );
    await note(ctx, "upstream.updated", before, after);
    return after;
  });
}

/** Whoever may point it elsewhere must not have the key sent there. */
function refuseStray({ apiKey, baseUrl }: Upstream, url: string) {
  if (apiKey === null || new URL(url).origin === new URL(baseUrl).origin) return;
  throw invalid("api_key", "Give the key again, or null: the one that is kept is for another host");
}

async function refuseTwins(ctx: TxCtx, id: string, prefix: string) {
  const [twin] = await ctx.db.select({ id: upstreams.id }).from(upstreams).where(and(
    own(ctx),
    ne(upstreams.id, id),
    eq(upstreams.modelPrefix, prefix),
    eq(upstreams.isActive, true),
  ));
  if (twin) throw taken(prefix);
}

export const Deactivate = Get;

/** Takes an upstream out of use. */
export function deactivate(ctx: TenantCtx, { id }: z.infer<typeof Deactivate>) {
  return transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    if (!before.isActive) return before;
    const after = one(
      await ctx.db.update(upstreams).set({ isActive: false }).where(own(ctx, id)).returning(view),
    );
    await note(ctx, "upstream.deactivated", before, after);
    return after;
  });
}

async function held(ctx: TxCtx, id: string): Promise<Upstream> {
  const rows = await ctx.db.select(view).from(upstreams).where(own(ctx, id)).for("update");
  const upstream = found(rows, "upstream");
  requireMatch(ctx.ifMatch, upstream);
  return upstream;
}

export const List = z.strictObject({ isActive: z.boolean().optional(), ...page });
export const Listed = z.object({ upstreams: z.array(Upstream).max(100), nextCursor });

/** The tenant's own upstreams. */
export function list(ctx: TenantCtx, { isActive, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(upstreams).where(and(
      own(ctx),
      isActive === undefined ? undefined : eq(upstreams.isActive, isActive),
      cursor ? lt(upstreams.id, cursor) : undefined,
    )).orderBy(desc(upstreams.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { upstreams: items, nextCursor };
  });
}

const trail = ({ apiKey: _, apiKeyFingerprint, ...rest }: Upstream) => ({
  ...rest,
  apiKey: apiKeyFingerprint,
});

async function note(ctx: TxCtx, action: string, before: Upstream | null, after: Upstream) {
  const { id: subjectId, name, modelPrefix, isActive } = after;
  await record(ctx, {
    action,
    subjectType: "upstream",
    subjectId,
    before: before && trail(before),
    after: trail(after),
  });
  await publish(ctx, {
    type: action,
    source: "/upstreams",
    subjectId,
    data: { name, modelPrefix, isActive, tenantId: ctx.tenantId },
  });
  await moved(ctx, "upstreams");
}
