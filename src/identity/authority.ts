/**
 * Nobody gives more than they hold, nor for longer than they hold it. Whoever changes who may do what holds that tenant's lock, looks
 * at what they hold themselves inside the same transaction, and tells every process.
 */
import { sql } from "drizzle-orm";
import { rowsOf } from "../../db/client.ts";
import { grantRows } from "../access/grant_rows.ts";
import { covers, narrowed, permissions, union } from "../access/permissions.ts";
import { grantsHeld, readStanding } from "../access/standings.ts";
import type { Grants, TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { moved } from "../trail.ts";

/** Rights in one tenant. */
export type Rights = { tenantId: string; grants: Grants };

/**
 * First in a transaction that changes who may do what in the ctx's tenant: such changes come one
 * after the other there, none passes a change of the actor's own rights or of the tree, and what
 * every process knows of access there is out of date once this commits.
 */
export async function changingAccess(ctx: TxCtx): Promise<void> {
  const { tenantId, actor } = ctx;
  const actors = actor.tenantId === tenantId
    ? sql``
    : sql`lock_access_shared(${actor.tenantId}::uuid),`;
  // From left to right: everyone takes the locks in this order.
  await ctx.db.execute(
    sql`select lock_tree_shared(), ${actors} lock_access(${tenantId}::uuid)`,
  );
  await moved(ctx, "access");
}

/** First in a transaction that changes a tenant's place, status or inheritance: alone in the tree. */
export async function changingTree(ctx: TxCtx): Promise<void> {
  await ctx.db.execute(sql`select lock_tree()`);
}

const everything: Grants = Object.fromEntries(permissions.map((p) => [p, "global"]));

/** When a gift ends; null: never. */
export type End = Date | null;

/** What somebody holds now, and what they will hold until a time if nothing changes. */
type Holding = {
  grants: Grants;
  until: (ms: number) => Grants;
  /** When parts of it end by themselves, in milliseconds since 1970, the latest first. */
  ends: readonly number[];
};
const lasting = (grants: Grants): Holding => ({ grants, until: () => grants, ends: [] });

async function holdingAt(ctx: TxCtx, tenantId: string): Promise<Holding> {
  const { actor, principal } = ctx;
  if (actor.type === "system") return lasting(everything);
  const subject = actor.type === "user" ? actor.id : principal?.userId;
  if (actor.type === "anonymous" || !subject) return lasting({});
  const who = { home: actor.tenantId, subject };
  const standing = await standingAt(ctx, who, tenantId);
  const cut = (grants: Grants) =>
    actor.type === "key" ? narrowed(grants, Object.keys(principal?.grants ?? {})) : grants;
  const grants = cut(standing.grants);
  if (!standing.holds || standing.untilMs === Infinity) return lasting(grants);
  const rows = (await rowsAt(ctx, who, tenantId)).filter(({ isCurrent }) => isCurrent);
  const until = (ms: number) =>
    cut(grantsHeld(
      rows.filter(({ untilMs }) => untilMs === null || untilMs >= ms),
      { home: who.home, acting: tenantId },
      () => {}, // The standing has told already.
    ));
  const ends = rows.flatMap(({ untilMs }) => untilMs ?? []).sort((a, b) => b - a);
  return { grants, until, ends };
}

async function rowsAt(ctx: TxCtx, { home, subject }: Who, acting: string) {
  const [row] = rowsOf(
    await ctx.db.execute(
      sql`select grants from standing_of(${home}::uuid, ${subject}::uuid, null::uuid, ${acting}::uuid)`,
    ),
  );
  return grantRows(row?.grants);
}

/** What the actor may do in a tenant at this moment, whatever their token says; with `end`, until then. */
export async function heldAt(ctx: TxCtx, tenantId: string, end?: End): Promise<Grants> {
  const holding = await holdingAt(ctx, tenantId);
  return end === undefined ? holding.grants : holding.until(msOf(end));
}
const msOf = (end: End) => end?.getTime() ?? Infinity;

type Who = { home: string; subject: string };

/** How a user stands in a tenant, read inside the transaction. */
export const standingAt = (
  ctx: TxCtx,
  { home, subject }: Who,
  acting: string,
) =>
  readStanding(
    async (statement) => rowsOf(await ctx.db.execute(statement)),
    { home, subject, session: null, acting },
    (what) => ctx.log("warn", "a binding names what does not exist", { what }),
  );

/**
 * Throws Forbidden unless the actor holds all of `wanted`, each in its tenant; `field` is to blame.
 * With `end` it is a gift until then, and must be held as long; without, holding it now will do.
 */
export async function requireHeld(
  ctx: TxCtx,
  wanted: readonly Rights[],
  field: string,
  end?: End,
): Promise<void> {
  const byTenant = new Map<string, Grants>();
  for (const { tenantId, grants } of wanted) {
    byTenant.set(tenantId, union(byTenant.get(tenantId) ?? {}, grants));
  }
  for (const [tenantId, grants] of byTenant) {
    const holding = await holdingAt(ctx, tenantId);
    const held = holding.grants;
    if (covers(held, grants)) {
      if (end !== undefined) requireUntil(holding, grants, end);
      continue;
    }
    const beyond = permissions.filter((p) => {
      const reach = grants[p];
      return reach && !covers(held, { [p]: reach });
    });
    const shown = beyond.slice(0, 5).join(", ") + (beyond.length > 5 ? ", …" : "");
    throw new Fault("Forbidden", "grant.beyond", `You do not hold ${shown} that far yourself`, {
      fields: [{ field, message: "Give only what you hold yourself, no farther than you hold it" }],
    });
  }
}

function requireUntil({ until, ends }: Holding, grants: Grants, end: End): void {
  if (covers(until(msOf(end)), grants)) return;
  const last = ends.find((ms) => covers(until(ms), grants));
  const at = last === undefined ? "" : ` at ${new Date(last).toISOString()}`;
  const message = `What you hold ends${at}: give it until then at most`;
  throw new Fault("Forbidden", "grant.beyond_time", message, {
    fields: [{ field: "ends_at", message }],
  });
}
