/**
 * Client access: the networks a tenant's callers, or one key's, must come from; anywhere while there
 * is none. A tenant's list holds for everyone who acts there, people of a tenant above included: so
 * whoever can shut others out by it must hold all that they hold.
 */
import { and, desc, eq, inArray, isNull, lt } from "drizzle-orm";
import { z } from "zod";
import { apiKeys, clientAccess } from "../../db/schema/access.ts";
import { baseOf, isWithin, networkText, readNetwork } from "../access/networks.ts";
import { callerAddress, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { ownKey } from "./api_keys.ts";
import { changingAccess } from "./authority.ts";
import { requireNow } from "./giving.ts";
import { rightsOverAll } from "./rights.ts";
import { requireAbove } from "./users.ts";

const MOST_OF_TENANT = 100;
const MOST_OF_KEY = 20;

export const ClientAccess = z.object({
  id: z.uuid(),
  apiKeyId: z.uuid().nullable(),
  network: z.string().max(64),
  description: z.string().max(2000).nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ClientAccess" });
type ClientAccess = z.infer<typeof ClientAccess>;
const view = columnsOf(clientAccess, ClientAccess);

/** With `self` reach only the lists of one's own keys. */
const own = (ctx: TxCtx, id?: string) =>
  and(
    eq(clientAccess.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(clientAccess.id, id),
    ctx.reach === "self"
      ? inArray(
        clientAccess.apiKeyId,
        ctx.db.select({ id: apiKeys.id }).from(apiKeys).where(ownKey(ctx)),
      )
      : undefined,
  );

/** One list: a key's, or the tenant's for null. */
const listed = (ctx: TxCtx, apiKeyId: string | null) =>
  and(
    eq(clientAccess.tenantId, ctx.tenantId),
    apiKeyId === null ? isNull(clientAccess.apiKeyId) : eq(clientAccess.apiKeyId, apiKeyId),
  );

export const Create = z.strictObject({
  network: z.string().trim().min(1, "Give a network, like 203.0.113.0/24").max(64),
  apiKeyId: z.uuid("Give a key's id, or leave it out").nullish(),
  description: z.string().trim().max(2000, "Give at most 2,000 characters").nullish(),
});

/** Lets callers in from one more network, and from nowhere else if it is the list's first. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  const network = canonical(input.network);
  const { apiKeyId = null, description = null } = input;
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    await requireList(ctx, apiKeyId);
    const networks = await networksOf(ctx, apiKeyId);
    if (networks.length === 0) await requireOverOthers(ctx, apiKeyId);
    requireRoom(networks.length, apiKeyId);
    const [made] = await ctx.db.insert(clientAccess)
      .values({ tenantId: ctx.tenantId, apiKeyId, network, description })
      .onConflictDoNothing().returning(view);
    if (!made) throw conflict("client_access.already_exists", `${network} is on the list already`);
    requireInside(ctx, apiKeyId, [...networks, network]);
    await note(ctx, "client_access.created", null, made);
    return made;
  });
}

/** The one spelling of a network. Throws ValidationError. */
function canonical(text: string): string {
  const network = readNetwork(text);
  if (!network) {
    throw invalid("network", "Give an address or a network, like 203.0.113.0/24 or 2001:db8::/32");
  }
  const base = baseOf(network);
  if (base.value !== network.value) {
    throw invalid("network", `Bits are set behind the prefix: did you mean ${networkText(base)}?`);
  }
  return networkText(network);
}

/** Throws NotFound unless the list is one that the caller may change. */
async function requireList(ctx: TxCtx, apiKeyId: string | null) {
  if (apiKeyId === null) {
    if (ctx.reach !== "self") return;
    throw invalid("api_key_id", "Give the id of a key of yours: the tenant's list is not yours");
  }
  const rows = await ctx.db.select({ revokedAt: apiKeys.revokedAt }).from(apiKeys)
    .where(
      ctx.reach === "self"
        ? ownKey(ctx, apiKeyId)
        : and(eq(apiKeys.tenantId, ctx.tenantId), eq(apiKeys.id, apiKeyId)), // A team's too.
    );
  if (found(rows, "api_key").revokedAt) {
    throw conflict("api_key.revoked", "This key is revoked: it is used from nowhere");
  }
  await requireLoose(ctx, apiKeyId);
}

/** A key bound to networks frees neither itself nor one it made: whoever stole it would. */
async function requireLoose(ctx: TxCtx, apiKeyId: string) {
  const { type, id } = ctx.actor;
  if (type === "key" && id !== null && (await networksOf(ctx, id)).length > 0) {
    throw new Fault(
      "Forbidden",
      "client_access.bound_key",
      "A key bound to networks changes no key's list: leave it to a person",
    );
  }
  const [key] = await ctx.db.select({ ownerUserId: apiKeys.ownerUserId }).from(apiKeys)
    .where(and(eq(apiKeys.tenantId, ctx.tenantId), eq(apiKeys.id, apiKeyId)));
  const owner = key?.ownerUserId; // A team's key has none.
  if (owner && owner !== ctx.userId) await requireAbove(ctx, owner);
}

/** A list that begins, or gets shorter, shuts out whoever comes from elsewhere. */
async function requireOverOthers(ctx: TxCtx, apiKeyId: string | null) {
  if (apiKeyId === null) await requireNow(ctx, await rightsOverAll(ctx), "network");
}

async function networksOf(ctx: TxCtx, apiKeyId: string | null): Promise<string[]> {
  const rows = await ctx.db.select({ network: clientAccess.network }).from(clientAccess)
    .where(listed(ctx, apiKeyId)).limit(MOST_OF_TENANT);
  return rows.map(({ network }) => network);
}

function requireRoom(count: number, apiKeyId: string | null) {
  const most = apiKeyId === null ? MOST_OF_TENANT : MOST_OF_KEY;
  if (count < most) return;
  throw conflict("client_access.full", `A list holds at most ${most} networks: take wider ones`);
}

/** Whoever changes a list that counts for them must come from within what it becomes. */
function requireInside(ctx: TxCtx, apiKeyId: string | null, networks: readonly string[]) {
  const { actor } = ctx;
  const counts = apiKeyId === null ? actor.type !== "system" : actor.id === apiKeyId;
  const address = callerAddress(ctx);
  if (!counts || networks.length === 0 || isWithin(address, networks)) return;
  throw conflict(
    "client_access.locks_you_out",
    `You come from ${address}, which the list would not let in: put your own network on it first`,
  );
}

export const Delete = z.strictObject({ id: z.uuid() });

/** Takes a network off its list. With the last one gone callers may come from anywhere again. */
export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>): Promise<void> {
  return transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const rows = await ctx.db.select(view).from(clientAccess).where(own(ctx, id)).for("update");
    const before = found(rows, "client_access");
    requireMatch(ctx.ifMatch, before);
    const { apiKeyId } = before;
    if (apiKeyId !== null) await requireLoose(ctx, apiKeyId);
    await ctx.db.delete(clientAccess).where(own(ctx, id));
    const left = await networksOf(ctx, apiKeyId);
    if (left.length > 0) await requireOverOthers(ctx, apiKeyId);
    requireInside(ctx, apiKeyId, left);
    await note(ctx, "client_access.deleted", before, null);
  });
}

export const List = z.strictObject({ apiKeyId: z.uuid().optional(), ...page });
export const Listed = z.object({ clientAccess: z.array(ClientAccess).max(100), nextCursor });

/** The networks of every list, or of one key's. */
export function list(ctx: TenantCtx, { apiKeyId, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(clientAccess).where(and(
      own(ctx),
      apiKeyId ? eq(clientAccess.apiKeyId, apiKeyId) : undefined,
      cursor ? lt(clientAccess.id, cursor) : undefined,
    )).orderBy(desc(clientAccess.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { clientAccess: items, nextCursor };
  });
}

async function note(
  ctx: TxCtx,
  action: string,
  before: ClientAccess | null,
  after: ClientAccess | null,
) {
  const it = after ?? before;
  if (!it) return;
  const { id: subjectId, network, apiKeyId } = it;
  await record(ctx, { action, subjectType: "client_access", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/client-access",
    subjectId,
    data: { network, apiKeyId, tenantId: ctx.tenantId },
  });
}
