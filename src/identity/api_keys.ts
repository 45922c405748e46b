/**
 * API keys: a program acts for its owner with some of the owner's permissions. Shown once, stored as
 * a hash.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { apiKeys } from "../../db/schema/access.ts";
import { hashSecret, newKey } from "../access/key_text.ts";
import { permissions } from "../access/permissions.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { name } from "../words.ts";

export const ApiKey = z.object({
  id: z.uuid(),
  ownerUserId: z.uuid(),
  name: z.string().max(255),
  hint: z.string().max(16),
  scopes: z.array(z.string().max(64)).max(200),
  expiresAt: z.date().nullable(),
  lastUsedAt: z.date().nullable(),
  revokedAt: z.date().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ApiKey" });
type ApiKey = z.infer<typeof ApiKey>;
const view = columnsOf(apiKeys, ApiKey);

/** Nobody of another tenant owns a key here. */
const ownedBy = (userId: string | null) =>
  userId === null ? sql`false` : eq(apiKeys.ownerUserId, userId);

/** With `self` reach only one's own. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(apiKeys.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(apiKeys.id, id),
    ctx.reach === "self" ? ownedBy(ctx.userId) : undefined,
  );

export const Create = z.strictObject({
  name: name("a name to tell the key by"),
  scopes: z.array(z.enum(permissions, "Give permissions of the catalogue, like platforms.read"))
    .min(1, "Give at least one permission").max(permissions.length),
  expiresAt: z.date().nullish(),
});
export const Created = z.object({
  apiKey: ApiKey,
  key: z.string().max(128),
  warning: z.string().max(255),
});

/** Makes a key of the caller's own. It never carries more than the caller holds. */
export async function create(ctx: TenantCtx, { name, scopes, expiresAt }: z.infer<typeof Create>) {
  const { userId, tenantId, principal } = ctx;
  if (userId === null) {
    throw new Fault("Forbidden", "api_key.no_owner", "A key belongs to a user of this tenant");
  }
  const beyond = scopes.filter((scope) => !principal?.grants[scope]);
  if (beyond.length > 0) {
    throw new Fault("Forbidden", "api_key.beyond", `You do not hold ${beyond.join(", ")}`, {
      fields: [{ field: "scopes", message: "Give only permissions you hold" }],
    });
  }
  if (expiresAt && expiresAt <= ctx.now()) throw invalid("expires_at", "Give a time to come");
  const id = v7();
  const { text, secret } = newKey(ctx.keyEnvironment, id);
  const secretHash = await hashSecret(secret);
  return await transact(ctx, async (ctx) => {
    await outlivesNot(ctx, expiresAt ?? null);
    const apiKey = one(
      await ctx.db.insert(apiKeys).values({
        id,
        tenantId,
        ownerUserId: userId,
        name,
        secretHash,
        hint: text.slice(-4),
        scopes: [...new Set(scopes)],
        expiresAt: expiresAt ?? null,
      }).returning(view),
    );
    await note(ctx, "api_key.created", null, apiKey);
    const warning = "Save this API key securely. It will not be shown again.";
    return { apiKey, key: text, warning };
  });
}

/** A key that makes a key gives it no longer life than its own, and none once it is revoked. */
async function outlivesNot(ctx: TxCtx, expiresAt: Date | null) {
  const { type, id } = ctx.actor;
  if (type !== "key" || id === null) return;
  const [maker] = await ctx.db.select({
    expiresAt: apiKeys.expiresAt,
    revokedAt: apiKeys.revokedAt,
  }).from(apiKeys).where(and(eq(apiKeys.tenantId, ctx.tenantId), eq(apiKeys.id, id))).for("share");
  if (!maker || maker.revokedAt) {
    throw new Fault("Unauthorized", "api_key.revoked", "This key is revoked");
  }
  if (!maker.expiresAt || (expiresAt && expiresAt <= maker.expiresAt)) return;
  throw new Fault("Forbidden", "api_key.beyond", "A key cannot make one that outlives it", {
    fields: [{ field: "expires_at", message: `Give ${maker.expiresAt.toISOString()} or earlier` }],
  });
}

export const Revoke = z.strictObject({ id: z.uuid() });

/** Ends a key; within seconds no process accepts it. */
export function revoke(ctx: TenantCtx, { id }: z.infer<typeof Revoke>) {
  return transact(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(apiKeys).where(own(ctx, id)).for("update");
    const before = found(rows, "api_key");
    requireMatch(ctx.ifMatch, before);
    if (before.revokedAt) return before;
    const after = one(
      await ctx.db.update(apiKeys).set({ revokedAt: ctx.now() }).where(own(ctx, id)).returning(
        view,
      ),
    );
    await note(ctx, "api_key.revoked", before, after);
    return after;
  });
}

export const List = z.strictObject(page);
export const Listed = z.object({ apiKeys: z.array(ApiKey).max(100), nextCursor });

export function list(ctx: TenantCtx, { cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(apiKeys)
      .where(and(own(ctx), cursor ? lt(apiKeys.id, cursor) : undefined))
      .orderBy(desc(apiKeys.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { apiKeys: items, nextCursor };
  });
}

async function note(ctx: TxCtx, action: string, before: ApiKey | null, after: ApiKey) {
  const { id: subjectId, name, ownerUserId, scopes } = after;
  await record(ctx, { action, subjectType: "api_key", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/api-keys",
    subjectId,
    data: { name, ownerUserId, scopes, tenantId: ctx.tenantId },
  });
}
