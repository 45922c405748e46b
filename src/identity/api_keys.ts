/**
 * API keys: a program acts for its owner with some of the owner's permissions. Shown once, stored as
 * a hash. People make keys of their own, and keys of service accounts that can do no more than they.
 */
import { and, desc, eq, isNull, lt, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { apiKeys, clientAccess } from "../../db/schema/access.ts";
import { users } from "../../db/schema/identity.ts";
import { hashSecret, newKey } from "../access/key_text.ts";
import { narrowed, permissions } from "../access/permissions.ts";
import { everybodys } from "../access/roles.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { changesOf, publish, record } from "../trail.ts";
import { name } from "../words.ts";
import { changingAccess } from "./authority.ts";
import { requireToGive } from "./giving.ts";
import { rightsOfUser } from "./rights.ts";
import { requireAbove } from "./users.ts";

export const ApiKey = z.object({
  id: z.uuid(),
  ownerUserId: z.uuid(),
  name: z.string().max(255),
  hint: z.string().max(16),
  scopes: z.array(z.string().max(64)).max(200),
  expiresAt: z.date().nullable(),
  lastUsedAt: z.date().nullable(),
  revokedAt: z.date().nullable(),
  rotatedFromId: z.uuid().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ApiKey" });
export type ApiKey = z.infer<typeof ApiKey>;
/** A key that has no owner is a team's, and none of these. */
export const keyView = {
  ...columnsOf(apiKeys, ApiKey),
  ownerUserId: sql<string>`${apiKeys.ownerUserId}`,
};

/** Nobody of another tenant owns a key here. */
const ownedBy = (userId: string | null) =>
  userId === null ? sql`false` : eq(apiKeys.ownerUserId, userId);

/** With `self` reach only one's own. Teams' keys are the teams' business. */
export const ownKey = (ctx: TenantCtx, id?: string) =>
  and(
    eq(apiKeys.tenantId, ctx.tenantId),
    isNull(apiKeys.teamId),
    id === undefined ? undefined : eq(apiKeys.id, id),
    ctx.reach === "self" ? ownedBy(ctx.userId) : undefined,
  );

export const Create = z.strictObject({
  name: name("a name to tell the key by"),
  scopes: z.array(z.enum(permissions, "Give permissions of the catalogue, like platforms.read"))
    .min(1, "Give at least one permission").max(permissions.length),
  expiresAt: z.date().nullish(),
  ownerUserId: z.uuid("Give a service account's id, or leave it out").optional(),
});
export const Created = z.object({
  apiKey: ApiKey,
  key: z.string().max(128),
  warning: z.string().max(255),
});

/** Makes a key, of the caller's own unless a service account is named. It never carries more than the caller holds. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  const { name, scopes, expiresAt = null, ownerUserId = ctx.userId } = input;
  if (ownerUserId === null) {
    throw new Fault("Forbidden", "api_key.no_owner", "A key belongs to a user of this tenant");
  }
  requireScopes(ctx, scopes);
  if (expiresAt && expiresAt <= ctx.now()) throw invalid("expires_at", "Give a time to come");
  const text = await newText(ctx);
  return await transact(ctx, async (ctx) => {
    if (ownerUserId === ctx.userId) await requireActive(ctx, ownerUserId);
    else {
      await changingAccess(ctx);
      await requireOver(ctx, ownerUserId, scopes);
    }
    await outlivesNot(ctx, expiresAt);
    const made = { ownerUserId, name, scopes: [...new Set(scopes)], expiresAt };
    const created = await insertKey(ctx, text, made);
    await note(ctx, "api_key.created", null, created.apiKey);
    return created;
  });
}

/** Scopes nobody has yet would count as soon as the owner is given them: so these are refused, too. */
export function requireScopes({ principal, actor }: TenantCtx, scopes: readonly string[]) {
  if (actor.type === "system") return;
  const held = new Set(Object.keys(principal?.grants ?? {}));
  const beyond = scopes.filter((scope) => !held.has(scope));
  if (beyond.length === 0) return;
  throw new Fault("Forbidden", "api_key.beyond", `You do not hold ${beyond.join(", ")}`, {
    fields: [{ field: "scopes", message: "Give only permissions you hold" }],
  });
}

/** A token is believed for seconds after its user is shut out: no key outlives them. */
async function requireActive(ctx: TxCtx, userId: string) {
  const [owner] = await ctx.db.select({ status: users.status }).from(users)
    .where(and(eq(users.tenantId, ctx.tenantId), eq(users.id, userId))).for("share");
  if (owner?.status === "active") return;
  throw new Fault("Forbidden", "user.not_active", "Only a user who is active makes keys");
}

/** Throws unless the owner is a service account whose rights, narrowed to `scopes`, the actor holds. */
export async function requireOver(ctx: TxCtx, ownerUserId: string, scopes: readonly string[]) {
  const { tenantId, reach } = ctx;
  if (reach === "self") {
    throw new Fault("Forbidden", "api_key.not_yours", "You may have keys of your own only", {
      fields: [{ field: "owner_user_id", message: "Leave it out" }],
    });
  }
  const rows = await ctx.db.select({ kind: users.kind, status: users.status }).from(users)
    .where(and(eq(users.tenantId, tenantId), eq(users.id, ownerUserId)));
  const { kind, status } = found(rows, "user");
  if (kind !== "service") {
    throw new Fault(
      "Forbidden",
      "api_key.personal",
      "Only they themselves make keys that act for a person: take a service account",
    );
  }
  if (status !== "active") throw conflict("user.not_active", "This service account is not active");
  const wanted = [{ tenantId, grants: everybodys }, ...await rightsOfUser(ctx, ownerUserId)];
  await requireToGive(
    ctx,
    wanted.map(({ tenantId, grants }) => ({ tenantId, grants: narrowed(grants, scopes) })),
    "scopes",
  );
}

/** A key that makes a key gives it no longer life than its own, and none once it is revoked. */
export async function outlivesNot(ctx: TxCtx, expiresAt: Date | null) {
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

export type NewText = { id: string; key: string; secretHash: string; hint: string };

/** A key nobody has, and what is stored of it. */
export async function newText({ keyEnvironment }: TenantCtx): Promise<NewText> {
  const id = v7();
  const { text: key, secret } = newKey(keyEnvironment, id);
  return { id, key, secretHash: await hashSecret(secret), hint: key.slice(-4) };
}

type NewKey = {
  ownerUserId: string;
  name: string;
  scopes: string[];
  expiresAt: Date | null;
  rotatedFromId?: string;
};

/** Stores a key. One that a key makes is used from where its maker is, and from nowhere else. */
export async function insertKey(ctx: TxCtx, { id, key, secretHash, hint }: NewText, made: NewKey) {
  const { tenantId } = ctx;
  const { ownerUserId, name, scopes, expiresAt, rotatedFromId = null } = made;
  const apiKey = one(
    await ctx.db.insert(apiKeys).values({
      id,
      tenantId,
      ownerUserId,
      name,
      secretHash,
      hint,
      scopes,
      expiresAt,
      rotatedFromId,
    }).returning(keyView),
  );
  if (ctx.actor.type === "key" && ctx.actor.id) await copyNetworks(ctx, ctx.actor.id, id);
  const warning = "Save this API key securely. It will not be shown again.";
  return { apiKey, key, warning };
}

export async function copyNetworks(ctx: TxCtx, from: string, to: string) {
  const { tenantId } = ctx;
  const { network, description } = clientAccess;
  const rows = await ctx.db.select({ network, description }).from(clientAccess)
    .where(and(eq(clientAccess.tenantId, tenantId), eq(clientAccess.apiKeyId, from)));
  if (rows.length === 0) return;
  await ctx.db.insert(clientAccess)
    .values(rows.map((row) => ({ ...row, id: v7(), tenantId, apiKeyId: to })))
    .onConflictDoNothing();
}

export const Get = z.strictObject({ id: z.uuid() });

export function get(ctx: TenantCtx, { id }: z.infer<typeof Get>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(keyView).from(apiKeys).where(ownKey(ctx, id));
    return found(rows, "api_key");
  });
}

/** A key this ctx may change, held until the transaction ends. */
export async function heldKey(ctx: TxCtx, id: string): Promise<ApiKey> {
  const rows = await ctx.db.select(keyView).from(apiKeys).where(ownKey(ctx, id)).for("update");
  const key = found(rows, "api_key");
  requireMatch(ctx.ifMatch, key);
  return key;
}

export const Update = z.strictObject({
  id: z.uuid(),
  name: name("a name to tell the key by").optional(),
});

/** Renames a key. What it may do and how long is fixed when it is made. */
export function update(ctx: TenantCtx, { id, name }: z.infer<typeof Update>) {
  return transact(ctx, async (ctx) => {
    if (name !== undefined) await changingAccess(ctx);
    const before = await heldKey(ctx, id);
    if (name === undefined || name === before.name) return before;
    if (before.ownerUserId !== ctx.userId) await requireAbove(ctx, before.ownerUserId);
    const after = one(
      await ctx.db.update(apiKeys).set({ name }).where(ownKey(ctx, id)).returning(keyView),
    );
    await note(ctx, "api_key.updated", before, after, { changes: changesOf(before, after) });
    return after;
  });
}

export const Revoke = Get;

/** Ends a key; within seconds no process accepts it. */
export function revoke(ctx: TenantCtx, { id }: z.infer<typeof Revoke>) {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx); // Before any key is held, as where one is rotated.
    const before = await heldKey(ctx, id);
    if (before.revokedAt) return before;
    if (before.ownerUserId !== ctx.userId) await requireAbove(ctx, before.ownerUserId);
    const after = one(
      await ctx.db.update(apiKeys).set({ revokedAt: ctx.now() }).where(ownKey(ctx, id))
        .returning(keyView),
    );
    await note(ctx, "api_key.revoked", before, after);
    return after;
  });
}

export const List = z.strictObject({ ownerUserId: z.uuid().optional(), ...page });
export const Listed = z.object({ apiKeys: z.array(ApiKey).max(100), nextCursor });

export function list(ctx: TenantCtx, { ownerUserId, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(keyView).from(apiKeys).where(and(
      ownKey(ctx),
      ownerUserId ? eq(apiKeys.ownerUserId, ownerUserId) : undefined,
      cursor ? lt(apiKeys.id, cursor) : undefined,
    )).orderBy(desc(apiKeys.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { apiKeys: items, nextCursor };
  });
}

export async function note(
  ctx: TxCtx,
  action: string,
  before: ApiKey | null,
  after: ApiKey,
  more: Record<string, unknown> = {},
) {
  const { id: subjectId, name, ownerUserId, scopes } = after;
  await record(ctx, {
    action,
    subjectType: "api_key",
    subjectId,
    before,
    after: { ...after, ...more },
  });
  await publish(ctx, {
    type: action,
    source: "/api-keys",
    subjectId,
    data: { name, ownerUserId, scopes, tenantId: ctx.tenantId, ...more },
  });
}
