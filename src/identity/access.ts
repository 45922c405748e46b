/**
 * Questions about access: may somebody, what may they, who may, where. One evaluator answers them
 * all; nobody learns of a person or a tenant they could not see anyway.
 */
import { sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { reaches } from "../../db/schema/access.ts";
import { grantRows } from "../access/grant_rows.ts";
import { isPermission, type Permission, permissions } from "../access/permissions.ts";
import { everybodys, systemRoles } from "../access/roles.ts";
import { grantsHeld, type Standing, type Whose } from "../access/standings.ts";
import { type Reach, read, type Services, type TenantCtx, type TxCtx } from "../context.ts";
import { invalid, notFound } from "../errors.ts";
import { MAX_PAGE, page } from "../pages.ts";
import { stoppedOf } from "./giving.ts";

const key = /^[a-z_]{1,32}\.[a-z_]{1,32}$/;

/** Repeats what was asked for when it could be a permission: a misspelling is seen at once. */
export const permission = z.enum(permissions, {
  error: ({ input }) =>
    typeof input === "string" && key.test(input)
      ? `There is no permission ${input}: give one of the catalogue, like platforms.read`
      : "Give a permission of the catalogue, like platforms.read",
});

const who = {
  userId: z.uuid("Give the user's id").optional(),
  homeTenantId: z.uuid("Give the id of the tenant the user lives in").optional(),
};
/** About whom, and where. Absent: whoever asks, in the tenant they act in. */
export const about = {
  ...who,
  tenantId: z.uuid("Give the id of the tenant to act in").optional(),
};
type About = { [K in keyof typeof about]?: string | undefined };

/** A question as it is meant. */
export type Question = {
  whose: Whose;
  isMe: boolean;
  /** The scopes of the key that asks about itself, which does no more than they say. */
  scopes: Partial<Record<Permission, Reach>> | null;
};

/** Whoever asks, as the user they are: a key asks as the user it belongs to. */
function meOf({ actor, userId }: TenantCtx): { home: string; subject: string } | null {
  const subject = actor.type === "user" ? actor.id : userId;
  return subject === null ? null : { home: actor.tenantId, subject };
}

/** About tenants below, and people there, only whoever's reach goes there may ask. */
const isWide = ({ reach }: TenantCtx) => reach === "subtree" || reach === "global";

export function questionOf(ctx: TenantCtx, { userId, homeTenantId, tenantId }: About): Question {
  const acting = tenantId ?? ctx.tenantId;
  const me = meOf(ctx);
  const subject = userId ?? me?.subject;
  if (subject === undefined) throw invalid("user_id", "Say whom you ask about: give a user's id");
  const isMine = subject === me?.subject;
  const home = homeTenantId ?? (isMine ? me?.home : undefined) ?? ctx.tenantId;
  const isMe = isMine && home === me?.home;
  if (acting !== ctx.tenantId && !isWide(ctx) && !isMe) throw notFound("tenant");
  if (ctx.reach === "self" && !isMe) throw notFound("user");
  const isKey = ctx.actor.type === "key" && userId === undefined;
  const scopes = isKey ? ctx.principal?.grants ?? {} : null;
  return { whose: { home, subject, session: null, acting }, isMe, scopes };
}

/** Whether the standing itself shows that the one who asks may know of the user. */
const isPlain = (ctx: TenantCtx, { whose, isMe }: Question, { holds, grants }: Standing) =>
  holds && (isMe || whose.home === ctx.tenantId || Object.keys(grants).length > 0);

/** Throws NotFound for a tenant that is not at or below the asker's, and for people they do not know of. */
async function requireInSight(ctx: TenantCtx, question: Question, isKnown: boolean) {
  const { home, subject, acting } = question.whose;
  const { row, closed } = await read(ctx, async (ctx) => {
    const [row] = rowsOf(
      await ctx.db.execute(
        sql`select * from asked_about(${home}::uuid, ${subject}::uuid, ${acting}::uuid)`,
      ),
    );
    return { row, closed: await closedTo(ctx, [home, acting]) };
  });
  if (row?.is_place !== true || closed.has(acting)) throw notFound("tenant");
  const isSeen = row.is_user === true && isReached(ctx, home) && !closed.has(home);
  if (!isKnown && !isSeen) throw notFound("user");
}

/** The tenants of these that the asker's reach does not come to: inheritance is stopped on the way. */
async function closedTo(ctx: TxCtx, ids: string[]): Promise<Set<string>> {
  const below = ids.filter((id) => id !== ctx.tenantId);
  if (ctx.reach === "global" || below.length === 0) return new Set();
  return await stoppedOf(ctx, below);
}

const isReached = (ctx: TenantCtx, home: string) => home === ctx.tenantId || isWide(ctx);

/**
 * How far somebody may do something now; null: not at all. At once, and without making anything,
 * when their standing is known.
 */
export function mayNow(
  { standings }: Pick<Services, "standings">,
  whose: Whose,
  permission: Permission,
): Reach | null | Promise<Reach | null> {
  const standing = standings.of(whose);
  return standing instanceof Promise
    ? standing.then(({ grants }) => grants[permission] ?? null)
    : standing.grants[permission] ?? null;
}

/** How the one asked about stands, once it is certain that the asker may know. */
export function standingIn(ctx: TenantCtx, question: Question): Standing | Promise<Standing> {
  const { whose } = question;
  const seen = (standing: Standing) => {
    const isKnown = isPlain(ctx, question, standing);
    if (isKnown && whose.acting === ctx.tenantId) return standing;
    // Where one may do something oneself one may know it, whatever one may ask about others.
    if (isKnown && question.isMe && Object.keys(standing.grants).length > 0) return standing;
    if (!isWide(ctx)) throw notFound("tenant");
    return requireInSight(ctx, question, isKnown).then(() => standing);
  };
  const standing = ctx.standings.of(whose);
  return standing instanceof Promise ? standing.then(seen) : seen(standing);
}

const reachIn = ({ grants }: Standing, { scopes }: Question, permission: Permission) =>
  scopes && !scopes[permission] ? null : grants[permission] ?? null;

export const Check = z.strictObject({ permission, ...about });
export const Checked = z.object({
  allowed: z.boolean(),
  reach: z.enum(reaches).nullable(),
}).meta({ id: "AccessCheck" });
type Checked = z.infer<typeof Checked>;

/** Whether somebody may do something in a tenant, and how far: as it stands now, whatever tokens say. */
export function check(
  ctx: TenantCtx,
  { permission, ...about }: z.infer<typeof Check>,
): Checked | Promise<Checked> {
  const question = questionOf(ctx, about);
  const answered = (standing: Standing): Checked => {
    const reach = reachIn(standing, question, permission);
    return { allowed: reach !== null, reach };
  };
  const standing = standingIn(ctx, question);
  return standing instanceof Promise ? standing.then(answered) : answered(standing);
}

const cursor = z.string().min(1).max(64, "Give the next_cursor of the page before");

export const List = z.strictObject({
  ...about,
  permission: permission.optional(),
  cursor: cursor.optional(),
  limit: page.limit,
});
export const Grant = z.object({
  userId: z.uuid(),
  homeTenantId: z.uuid(),
  tenantId: z.uuid(),
  permission: z.enum(permissions),
  reach: z.enum(reaches),
}).meta({ id: "AccessGrant" });
type Grant = z.infer<typeof Grant>;
export const Listed = z.object({
  grants: z.array(Grant).max(MAX_PAGE),
  nextCursor: z.string().max(64).nullable(),
});
type Listed = z.infer<typeof Listed>;
type Input = z.infer<typeof List>;

/**
 * Who may do what where. A user: all they may do in the tenant. A permission: everybody who has it
 * in the tenant. Both and no tenant: where, at and below the tenant one acts in. Ask on until
 * next_cursor is null: a page can be short.
 */
export function list(ctx: TenantCtx, input: Input): Listed | Promise<Listed> {
  const { permission, userId, tenantId } = input;
  if (permission === undefined || (userId !== undefined && tenantId !== undefined)) {
    return whatMay(ctx, input);
  }
  if (userId !== undefined) return whereMay(ctx, { ...input, permission });
  // `self` sees nobody else.
  return ctx.reach === "self" ? whatMay(ctx, input) : whoMay(ctx, { ...input, permission });
}

/** All that somebody may do in one tenant, in the catalogue's order. */
async function whatMay(ctx: TenantCtx, { permission, cursor, limit, ...about }: Input) {
  const question = questionOf(ctx, about);
  const standing = await standingIn(ctx, question);
  const { subject: userId, home: homeTenantId, acting: tenantId } = question.whose;
  if (cursor !== undefined && !isPermission(cursor)) throw badCursor();
  const first = cursor === undefined ? 0 : permissions.indexOf(cursor) + 1;
  const all = permissions.slice(first).flatMap((one): Grant[] => {
    const reach = reachIn(standing, question, one);
    const isAsked = permission === undefined || permission === one;
    return reach && isAsked ? [{ userId, homeTenantId, tenantId, permission: one, reach }] : [];
  });
  const grants = all.slice(0, limit);
  return { grants, nextCursor: all.length > limit ? grants.at(-1)?.permission ?? null : null };
}

const badCursor = () => invalid("cursor", "Give the next_cursor of the page before");
const uuidCursor = (cursor: string | undefined): string | null => {
  if (cursor === undefined) return null;
  if (!z.uuid().safeParse(cursor).success) throw badCursor();
  return cursor;
};

type Asked = Input & { permission: Permission };

/** Everybody who may do it in one tenant, from wherever, by their ids. */
async function whoMay(ctx: TenantCtx, { permission, tenantId, cursor, limit }: Asked) {
  const acting = tenantId ?? ctx.tenantId;
  if (acting !== ctx.tenantId && !isWide(ctx)) throw notFound("tenant");
  const start = uuidCursor(cursor);
  return await read(ctx, async (ctx) => {
    if (acting !== ctx.tenantId) await requirePlace(ctx, acting);
    return await gather(limit, start, async (after, most) => {
      const rows = rowsOf(
        await ctx.db.execute(
          sql`select * from who_may(${acting}::uuid, ${permission}, ${giving(permission)}::jsonb,
            ${isEverybodys(permission)}, ${after}::uuid, ${most}::int)`,
        ),
      );
      return rows.map((row) => {
        const [userId, home] = [String(row.user_id), String(row.home_id)];
        const reach = reachOf(ctx, row, home, acting, permission);
        const grant = { userId, homeTenantId: home, tenantId: acting, permission };
        return { id: userId, grant: reach && { ...grant, reach } };
      });
    });
  });
}

/** The tenants, at and below the one acted in, where somebody may do it. */
async function whereMay(ctx: TenantCtx, { permission, cursor, limit, ...about }: Asked) {
  const start = uuidCursor(cursor);
  const question = questionOf(ctx, about);
  if (!isWide(ctx) && !question.isMe) return await whatMay(ctx, { permission, limit, ...about });
  const { home, subject: userId } = question.whose;
  const listed = await read(ctx, (ctx) =>
    gather(limit, start, async (after, most) => {
      const rows = rowsOf(
        await ctx.db.execute(
          sql`select * from where_may(${home}::uuid, ${userId}::uuid, ${ctx.tenantId}::uuid,
            ${permission}, ${giving(permission)}::jsonb, ${isEverybodys(permission)},
            ${after}::uuid, ${most}::int)`,
        ),
      );
      const ids = rows.map((row) => String(row.tenant_id));
      const closed = question.isMe ? new Set() : await closedTo(ctx, ids);
      return rows.map((row) => {
        const tenantId = String(row.tenant_id);
        const reach = closed.has(tenantId) ? null : reachOf(ctx, row, home, tenantId, permission);
        return {
          id: tenantId,
          grant: reach && { userId, homeTenantId: home, tenantId, permission, reach },
        };
      });
    }));
  if (listed.grants.length === 0) await standingIn(ctx, question); // Throws for whom they do not know of.
  return listed;
}

async function requirePlace(ctx: TxCtx, tenantId: string) {
  const [row] = rowsOf(await ctx.db.execute(sql`select is_ours(${tenantId}::uuid) as is_ours`));
  const closed = await closedTo(ctx, [tenantId]);
  if (row?.is_ours !== true || closed.has(tenantId)) throw notFound("tenant");
}

const isEverybodys = (permission: Permission) => everybodys[permission] !== undefined;

/** The system roles that give a permission, each with its reach. */
export const giving = (permission: Permission): string =>
  JSON.stringify(Object.fromEntries(
    Object.entries(systemRoles).flatMap(([role, grants]) => {
      const reach = grants[permission];
      return reach ? [[role, reach]] : [];
    }),
  ));

export const unknownIn = (ctx: TenantCtx) => (what: string) =>
  ctx.log("warn", "a binding names what does not exist", { what });

function reachOf(
  ctx: TenantCtx,
  row: Record<string, unknown>,
  home: string,
  acting: string,
  permission: Permission,
): Reach | null {
  if (row.holds !== true) return null;
  const rows = grantRows(row.grants);
  return grantsHeld(rows, { home, acting }, unknownIn(ctx))[permission] ?? null;
}

type Candidate = { id: string; grant: Grant | null };
const ROUNDS = 20;

/**
 * A page of those of the candidates who may. However many of them may not, a page looks at no more
 * than `ROUNDS` pages of them; it is short then, and the next goes on behind the last one looked at.
 */
async function gather(
  limit: number,
  start: string | null,
  next: (after: string | null, most: number) => Promise<Candidate[]>,
): Promise<Listed> {
  const grants: Grant[] = [];
  let [after, last] = [start, start];
  for (let round = 0; round < ROUNDS; round++) {
    const candidates = await next(after, limit + 1);
    for (const { id, grant } of candidates) {
      if (grant && grants.length === limit) return { grants, nextCursor: last };
      if (!grant) continue;
      grants.push(grant);
      last = id;
    }
    if (candidates.length <= limit) return { grants, nextCursor: null };
    after = candidates.at(-1)?.id ?? null;
  }
  return { grants, nextCursor: after };
}
