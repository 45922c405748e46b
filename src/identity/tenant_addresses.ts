/** Addresses: where a tenant is registered, billed, delivered to and found. */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { addressKinds, tenantAddresses } from "../../db/schema/identity.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { changesOf, publish, record } from "../trail.ts";
import { name } from "../words.ts";

export const TenantAddress = z.object({
  id: z.uuid(),
  kind: z.enum(addressKinds),
  lines: z.array(z.string().max(255)).max(5),
  city: z.string().max(255),
  region: z.string().max(255).nullable(),
  postalCode: z.string().max(32).nullable(),
  country: z.string().max(2),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "TenantAddress" });
type TenantAddress = z.infer<typeof TenantAddress>;
const view = columnsOf(tenantAddresses, TenantAddress);

/** The tenant's, and nobody's own. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(tenantAddresses.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(tenantAddresses.id, id),
    ctx.reach === "self" ? sql`false` : undefined,
  );

const regions = new Intl.DisplayNames(["en"], { type: "region", fallback: "none" });
/** CLDR knows these beside the 249 codes ISO 3166-1 assigns: reserved, for private use, or no country. */
const unassigned = new Set("AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ".split(" "));

/** Codes ISO has withdrawn are read as the one that followed them, and so are none. */
const isCountry = (code: string) =>
  /^[A-Z]{2}$/.test(code) && !unassigned.has(code) && regions.of(code) !== undefined &&
  Intl.getCanonicalLocales(`und-${code}`)[0] === `und-${code}`;

const kind = z.enum(addressKinds, `Give one of ${addressKinds.join(", ")}`);
const lines = z.array(name("a line of the address")).min(1, "Give at least one line")
  .max(5, "Give at most five lines");
const city = name("the city");
const region = name("the region");
const postalCode = z.string().trim().regex(
  /^[\p{L}\p{N} -]{1,32}$/u,
  "Give letters, digits, spaces and dashes, 32 characters at most",
);
const aCountry = "Give the country's two-letter code in capitals (ISO 3166-1), like DE";
const country = z.string().max(2, { error: aCountry, abort: true }).refine(isCountry, aCountry);

export const Create = z.strictObject({
  kind,
  lines,
  city,
  region: region.nullish(),
  postalCode: postalCode.nullish(),
  country,
});

export function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  const { kind, lines, city, region = null, postalCode = null, country } = input;
  if (ctx.reach === "self") throw notFound("tenant");
  return transact(ctx, async (ctx) => {
    const { tenantId } = ctx;
    const made = one(
      await ctx.db.insert(tenantAddresses)
        .values({ tenantId, kind, lines, city, region, postalCode, country }).returning(view),
    );
    await note(ctx, "tenant_address.created", null, made, {});
    return made;
  });
}

export const Get = z.strictObject({ id: z.uuid() });

export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<TenantAddress> =>
  read(
    ctx,
    async (ctx) =>
      found(
        await ctx.db.select(view).from(tenantAddresses).where(own(ctx, id)),
        "tenant_address",
      ),
  );

export const List = z.strictObject({ kind: kind.optional(), ...page });
export const Listed = z.object({ tenantAddresses: z.array(TenantAddress).max(100), nextCursor });

export function list(ctx: TenantCtx, { kind, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(tenantAddresses)
      .where(and(
        own(ctx),
        kind ? eq(tenantAddresses.kind, kind) : undefined,
        cursor ? lt(tenantAddresses.id, cursor) : undefined,
      ))
      .orderBy(desc(tenantAddresses.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { tenantAddresses: items, nextCursor };
  });
}

export const Update = Create.partial().extend({ id: z.uuid() });

export function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    const { kind, lines, city, region, postalCode, country } = input;
    const set = given({ kind, lines, city, region, postalCode, country });
    const changes = changesOf(before, { ...before, ...set });
    if (Object.keys(changes).length === 0) return before;
    const after = one(
      await ctx.db.update(tenantAddresses).set(set).where(own(ctx, id)).returning(view),
    );
    await note(ctx, "tenant_address.updated", before, after, { changes });
    return after;
  });
}

export const Delete = Get;

export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>): Promise<void> {
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    await ctx.db.delete(tenantAddresses).where(own(ctx, id));
    await note(ctx, "tenant_address.deleted", before, null, {});
  });
}

const locked = async (ctx: TxCtx, id: string) =>
  found(
    await ctx.db.select(view).from(tenantAddresses).where(own(ctx, id)).for("update"),
    "tenant_address",
  );

async function note(
  ctx: TxCtx,
  action: string,
  before: TenantAddress | null,
  after: TenantAddress | null,
  data: Record<string, unknown>,
) {
  const { id: subjectId, kind, country } = one([after ?? before].filter((row) => row !== null));
  await record(ctx, { action, subjectType: "tenant_address", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/tenant-addresses",
    subjectId,
    data: { tenantId: ctx.tenantId, kind, country, ...data },
  });
}
