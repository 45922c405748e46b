/**
 * Domains: names of the DNS a tenant claims, and has shown to be its own once they are verified.
 * Anybody may claim a name; whoever can publish the TXT record holds it, and nobody else then.
 */
import { and, desc, eq, isNotNull, isNull, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { domains } from "../../db/schema/identity.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid, notFound } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { publish, record } from "../trail.ts";

export const Domain = z.object({
  id: z.uuid(),
  name: z.string().max(253),
  /** What to publish in the DNS before it is verified, and to leave there. */
  txtRecord: z.object({ name: z.string().max(253), value: z.string().max(255) }),
  verifiedAt: z.date().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Domain" });
type Domain = z.infer<typeof Domain>;

const columns = { ...columnsOf(domains, Domain), challenge: domains.challenge };

const PREFIX = "_switchboard.";
const viewOf = (
  { challenge, ...row }: Omit<Domain, "txtRecord"> & { challenge: string },
): Domain => ({
  ...row,
  txtRecord: {
    name: `${PREFIX}${row.name}`,
    value: `switchboard-verification=${challenge}`,
  },
});

/** A name as it is stored and compared: lower case, IDNA in ASCII, without a dot at the end; null: none. */
export function normalised(name: string): string | null {
  const bare = name.trim().replace(/[.\u3002\uff0e\uff61]$/u, "");
  // What an address may hold beside its host, and what a parser passes over in silence.
  if (/[\p{Cc}\s:/?#@\\[\]%]/u.test(bare) || !URL.canParse(`https://${bare}`)) return null;
  const { hostname } = new URL(`https://${bare}`);
  return isDomain(hostname) ? hostname : null;
}

const label = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/;

/** At least one dot, every label as hosts have them, and no address: a top level is never all digits. */
function isDomain(name: string): boolean {
  const labels = name.split(".");
  return PREFIX.length + name.length <= 253 && labels.length > 1 &&
    labels.every((each) => label.test(each)) && /[a-z]/.test(labels.at(-1) ?? "");
}

/** The tenant's, and nobody's own. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(domains.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(domains.id, id),
    ctx.reach === "self" ? sql`false` : undefined,
  );

export const Create = z.strictObject({
  name: z.string().min(1, "Give a domain").max(255, "Give at most 255 characters"),
});

/** Claims a name, and answers the TXT record that shows it to be the tenant's. */
export function create(ctx: TenantCtx, input: z.infer<typeof Create>): Promise<Domain> {
  const name = normalised(input.name);
  if (name === null) throw invalid("name", "Give a domain's name, like example.com");
  if (ctx.reach === "self") throw notFound("tenant");
  const challenge = crypto.getRandomValues(new Uint8Array(20)).toHex();
  return transact(ctx, async (ctx) => {
    const [made] = await ctx.db.insert(domains).values({ tenantId: ctx.tenantId, name, challenge })
      .onConflictDoNothing().returning(columns);
    if (!made) throw conflict("domain.already_exists", `${name} is claimed already: verify it`);
    const domain = viewOf(made);
    await note(ctx, "domain.created", null, domain);
    return domain;
  });
}

export const Get = z.strictObject({ id: z.uuid() });

export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>): Promise<Domain> =>
  read(ctx, async (ctx) => {
    const rows = await ctx.db.select(columns).from(domains).where(own(ctx, id));
    return viewOf(found(rows, "domain"));
  });

export const List = z.strictObject({
  isVerified: z.boolean().optional(),
  ...page,
});
export const Listed = z.object({ domains: z.array(Domain).max(100), nextCursor });

export function list(ctx: TenantCtx, { isVerified, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(columns).from(domains)
      .where(and(
        own(ctx),
        isVerified === true ? isNotNull(domains.verifiedAt) : undefined,
        isVerified === false ? isNull(domains.verifiedAt) : undefined,
        cursor ? lt(domains.id, cursor) : undefined,
      ))
      .orderBy(desc(domains.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { domains: items.map(viewOf), nextCursor };
  });
}

export const Verify = Get;

/** Asks the DNS for the record. Whoever shows a name to be theirs first holds it alone. */
export async function verify(ctx: TenantCtx, { id }: z.infer<typeof Verify>): Promise<Domain> {
  const claimed = await get(ctx, { id });
  requireMatch(ctx.ifMatch, claimed);
  if (claimed.verifiedAt) return claimed;
  await requirePublished(ctx, claimed);
  return await transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    if (before.verifiedAt) return before;
    await requireFree(ctx, before.name);
    const after = viewOf(one(
      await ctx.db.update(domains).set({ verifiedAt: ctx.now() }).where(own(ctx, id))
        .returning(columns),
    ));
    await note(ctx, "domain.verified", before, after);
    return after;
  });
}

/** Throws Conflict where another tenant holds the name; it does not say who. */
async function requireFree(ctx: TxCtx, name: string): Promise<void> {
  const answer = await ctx.db.execute(sql`select domain_is_taken(${name}::text) as is_taken`);
  if (one(rowsOf(answer)).is_taken !== true) return;
  throw conflict(
    "domain.taken",
    `${name} is verified elsewhere already: it must be given up there before it can be verified here`,
  );
}

const ANSWER_WITHIN_MS = 5_000;

/** Throws Conflict unless the DNS has the record now, and says what it has instead. */
async function requirePublished(ctx: TenantCtx, { txtRecord }: Domain): Promise<void> {
  const said = await answerOf(ctx, txtRecord.name);
  if (Array.isArray(said) && said.includes(txtRecord.value)) return;
  const found = Array.isArray(said)
    ? `has ${said.length} TXT records, none of them this one`
    : said;
  throw conflict(
    "domain.not_verified",
    `Publish a TXT record at ${txtRecord.name} with the value ${txtRecord.value}, then verify again: ` +
      `the DNS ${found}`,
  );
}

/** The TXT records of a name, or in words why there is no answer. */
async function answerOf(ctx: TenantCtx, name: string): Promise<string[] | string> {
  const late = Promise.withResolvers<string>();
  const timer = setTimeout(() => late.resolve("did not answer in time"), ANSWER_WITHIN_MS);
  const answer = Promise.resolve().then(() => ctx.resolveTxt(name))
    .then((records) => records.map((parts) => parts.join("")), () => "has no such record");
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

export const Delete = Get;

/** Gives a name up: whoever shows it to be theirs may hold it from then on. */
export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>): Promise<void> {
  return transact(ctx, async (ctx) => {
    const before = await locked(ctx, id);
    requireMatch(ctx.ifMatch, before);
    await ctx.db.delete(domains).where(own(ctx, id));
    await note(ctx, "domain.deleted", before, null);
  });
}

const locked = async (ctx: TxCtx, id: string): Promise<Domain> =>
  viewOf(
    found(await ctx.db.select(columns).from(domains).where(own(ctx, id)).for("update"), "domain"),
  );

/** Whether the tenant acted in has shown that a domain, written in any way, is its own. */
export async function isVerifiedDomain(ctx: TxCtx, name: string): Promise<boolean> {
  const wanted = normalised(name);
  if (wanted === null) return false;
  const rows = await ctx.db.select({ id: domains.id }).from(domains).where(and(
    eq(domains.tenantId, ctx.tenantId),
    eq(domains.name, wanted),
    isNotNull(domains.verifiedAt),
  ));
  return rows.length > 0;
}

async function note(ctx: TxCtx, action: string, before: Domain | null, after: Domain | null) {
  const { id: subjectId, name } = one([after ?? before].filter((row) => row !== null));
  await record(ctx, { action, subjectType: "domain", subjectId, before, after });
  await publish(ctx, {
    type: action,
    source: "/domains",
    subjectId,
    data: { tenantId: ctx.tenantId, name, verifiedAt: after?.verifiedAt ?? null },
  });
}
