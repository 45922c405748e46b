/**
 * Signing in, staying in, signing out. A sign-in opens a session; its refresh tokens are counted and
 * signed with the session's own key, so that a token used twice is told from one that was lost.
 */
import { and, eq, isNull, sql } from "drizzle-orm";
import { createHmac, timingSafeEqual } from "node:crypto";
import { v7 } from "uuid";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { sessions, users, userSecurity } from "../../db/schema/identity.ts";
import { passwordFits } from "../access/passwords.ts";
import { grantRows } from "../access/principals.ts";
import { grantsOf } from "../access/roles.ts";
import {
  asSystem,
  type Ctx,
  type Grants,
  type Principal,
  read,
  type TenantCtx,
  transact,
  type TxCtx,
} from "../context.ts";
import { Fault } from "../errors.ts";
import { one } from "../rows.ts";
import { ROOT_TENANT } from "../topics.ts";
import { publish, record } from "../trail.ts";

const SESSION_MS = 30 * 24 * 3600_000;
/** Two tabs that refresh at once both go on; a token older than this is a thief's or its victim's. */
const GRACE_MS = 30_000;
const LOCK_AFTER = 10;

const perAddress = { name: "sign-in-address", max: 30, windowSeconds: 60 };
const perEmail = { name: "sign-in-email", max: 10, windowSeconds: 60 };

export const Tokens = z.object({
  accessToken: z.string().max(4096),
  tokenType: z.literal("Bearer"),
  expiresIn: z.int().min(0).max(86_400),
  refreshToken: z.string().max(512),
  tenantId: z.uuid(),
  userId: z.uuid(),
}).meta({ id: "Tokens" });

export const SignIn = z.strictObject({
  email: z.string().trim().toLowerCase().max(320)
    .pipe(z.email("Give an e-mail address, like ada@example.com")),
  password: z.string().min(1, "Give the password").max(1024),
  tenant: z.uuid("Give the tenant's id").optional(),
});

const refused = () =>
  new Fault("Unauthorized", "sign_in.refused", "E-mail and password do not fit together");

type Candidate = { tenantId: string; userId: string; tenantName: string };

/** Opens a session. An unknown e-mail and a wrong password cost the same and answer the same. */
export async function signIn(ctx: Ctx, input: z.infer<typeof SignIn>) {
  slowDown(ctx, input.email);
  const rows = await ctx.database.query(
    sql`select * from sign_in_candidates(${input.email}, ${input.tenant ?? null}::uuid)`,
  );
  const fitting: Candidate[] = [];
  // Always one check at least, so that time tells nothing.
  for (const row of rows.length > 0 ? rows : [null]) {
    const hash = typeof row?.password_hash === "string" ? row.password_hash : null;
    const fits = await passwordFits(input.password, hash);
    const isLocked = row?.locked_until && new Date(String(row.locked_until)) > ctx.now();
    if (row && fits && row.may_sign_in === true && !isLocked) {
      const [tenantId, userId] = [String(row.tenant_id), String(row.user_id)];
      fitting.push({ tenantId, userId, tenantName: String(row.tenant_name) });
    } else if (row && !fits) {
      await countFailure(ctx, String(row.tenant_id), String(row.user_id));
    }
  }
  const [chosen] = fitting;
  if (!chosen) throw refused();
  if (fitting.length > 1) throw severalTenants(fitting);
  return await openSession(ctx, chosen);
}

function slowDown(ctx: Ctx, email: string) {
  for (const [limit, key] of [[perAddress, ctx.address], [perEmail, email]] as const) {
    const verdict = ctx.limiter.take(limit, key);
    if (verdict.allowed) continue;
    throw new Fault("RateLimited", "sign_in.too_often", "Too many attempts: wait a moment", {
      retryAfterSeconds: verdict.resetSeconds,
    });
  }
}

const severalTenants = (fitting: Candidate[]) =>
  new Fault("Conflict", "sign_in.several_tenants", "Say which tenant: send its id as tenant", {
    fields: fitting.map(({ tenantId, tenantName }) => ({
      field: "tenant",
      message: `${tenantId} is ${tenantName}`,
    })),
  });

async function countFailure(ctx: Ctx, tenantId: string, userId: string) {
  const lockedUntil = sql`case when ${userSecurity.failedSignIns} + 1 >= ${LOCK_AFTER}
    then now() + least(interval '1 hour', interval '30 seconds' * power(2, least(${userSecurity.failedSignIns} + 1 - ${LOCK_AFTER}, 7)))
    else ${userSecurity.lockedUntil} end`;
  await transact(asSystem(ctx, tenantId), (ctx) =>
    ctx.db.update(userSecurity)
      .set({ failedSignIns: sql`${userSecurity.failedSignIns} + 1`, lockedUntil })
      .where(and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId))));
}

async function openSession(ctx: Ctx, { tenantId, userId }: Candidate) {
  const system = asSystem(ctx, tenantId);
  await ctx.secrets.ready(system);
  const id = v7();
  const refreshKey = crypto.getRandomValues(new Uint8Array(32)).toBase64();
  const place = { table: "sessions", row: id, column: "refresh_key" };
  const sealed = await ctx.secrets.seal(system, place, refreshKey);
  const actor = { type: "user", tenantId, id: userId } as const;
  const grants = await transact({ ...system, actor }, async (tx) => {
    await tx.db.insert(sessions).values({
      id,
      tenantId,
      ownerUserId: userId,
      refreshKey: sealed,
      expiresAt: new Date(ctx.now().getTime() + SESSION_MS),
      userAgent: ctx.userAgent?.slice(0, 512) ?? null,
      address: ctx.address.slice(0, 64),
    });
    await tx.db.update(userSecurity).set({ failedSignIns: 0, lockedUntil: null })
      .where(and(eq(userSecurity.tenantId, tenantId), eq(userSecurity.id, userId)));
    await note(tx, "session.opened", id, userId);
    return await grantsIn(tx, userId);
  });
  return await issue(ctx, { tenantId, userId, sessionId: id, grants, counter: 0, refreshKey });
}

/** What a user of this tenant may do in it. */
export async function grantsIn(ctx: TxCtx, userId: string): Promise<Grants> {
  const { tenantId } = ctx;
  const rows = await ctx.db.execute(
    sql`select * from effective_grants(${tenantId}::uuid, ${userId}::uuid, ${tenantId}::uuid)`,
  );
  return grantsOf(
    grantRows(rowsOf(rows)),
    tenantId === ROOT_TENANT,
    (what) => ctx.log("warn", "a binding names what does not exist", { what }),
  );
}

type Issue = {
  tenantId: string;
  userId: string;
  sessionId: string;
  grants: Grants;
  counter: number;
  refreshKey: string;
};

async function issue(ctx: Ctx, { tenantId, userId, sessionId, grants, ...refresh }: Issue) {
  const principal: Principal = {
    actor: { type: "user", tenantId, id: userId },
    tenantId,
    userId,
    sessionId,
    grants,
  };
  const { token, expiresInSeconds } = await ctx.tokens.sign(principal, ctx.now());
  return {
    accessToken: token,
    tokenType: "Bearer" as const,
    expiresIn: expiresInSeconds,
    refreshToken: refreshText({ tenantId, sessionId, ...refresh }),
    tenantId,
    userId,
  };
}

type Refreshing = { tenantId: string; sessionId: string; counter: number };

const macOf = (head: string, refreshKey: string) =>
  createHmac("sha256", refreshKey).update(head).digest("base64url");

/** `sbr_<tenant>_<session>_<counter>_<mac>`: it carries its tenant, and the MAC covers it. */
function refreshText(
  { tenantId, sessionId, counter, refreshKey }: Refreshing & { refreshKey: string },
) {
  const ids = [tenantId, sessionId].map((id) => id.replaceAll("-", "")).join("_");
  const head = `sbr_${ids}_${counter}`;
  return `${head}_${macOf(head, refreshKey)}`;
}

const refreshShape = /^(sbr_([0-9a-f]{32})_([0-9a-f]{32})_(\d{1,9}))_([A-Za-z0-9_-]{43})$/;
const dashed = (id: string) => id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

export const Refresh = z.strictObject({
  refreshToken: z.string().min(1, "Give the refresh token").max(512),
});

const ended = () =>
  new Fault("Unauthorized", "refresh_token.refused", "Sign in again: this session is over");

/** Trades a refresh token for the next. The last one used within the grace is answered again; an older one ends the session. */
export async function refresh(ctx: Ctx, { refreshToken }: z.infer<typeof Refresh>) {
  const [, head, tenant, session, count, mac] = refreshShape.exec(refreshToken) ?? [];
  if (!head || !tenant || !session || !count || !mac) throw ended();
  const [tenantId, sessionId] = [dashed(tenant), dashed(session)];
  const outcome = await transact(asSystem(ctx, tenantId), async (ctx) => {
    const held = await heldSession(ctx, sessionId);
    if (!held) return null;
    const place = { table: "sessions", row: sessionId, column: "refresh_key" };
    const refreshKey = (await ctx.secrets.open(ctx, place, held.refreshKey)).reveal();
    if (!equal(macOf(head, refreshKey), mac)) return null;
    const step = stepOf(Number(count), held, ctx.now());
    if (step === "reused") {
      await endSession(ctx, sessionId, held.ownerUserId, "reused");
      return null;
    }
    if (step === "next") {
      await ctx.db.update(sessions)
        .set({ counter: held.counter + 1, rotatedAt: ctx.now() }).where(own(ctx, sessionId));
    }
    const counter = step === "next" ? held.counter + 1 : held.counter;
    const grants = await grantsIn(ctx, held.ownerUserId);
    return { tenantId, userId: held.ownerUserId, sessionId, grants, counter, refreshKey };
  });
  if (!outcome) throw ended();
  return await issue(ctx, outcome);
}

const own = (ctx: TenantCtx, id: string) =>
  and(eq(sessions.tenantId, ctx.tenantId), eq(sessions.id, id));

/** The session if it still holds: neither ended nor expired, its user active, every tenant above open. */
async function heldSession(ctx: TxCtx, id: string) {
  const [row] = await ctx.db.select({
    ownerUserId: sessions.ownerUserId,
    refreshKey: sessions.refreshKey,
    counter: sessions.counter,
    rotatedAt: sessions.rotatedAt,
    expiresAt: sessions.expiresAt,
    isOpen: sql<boolean>`${users.status} = 'active' and tenant_is_open(${users.tenantId})`,
  }).from(sessions)
    .innerJoin(
      users,
      and(eq(users.tenantId, sessions.tenantId), eq(users.id, sessions.ownerUserId)),
    )
    .where(and(own(ctx, id), isNull(sessions.revokedAt)))
    .for("update", { of: sessions });
  return row && row.isOpen && row.expiresAt > ctx.now() ? row : null;
}

function stepOf(counter: number, held: { counter: number; rotatedAt: Date }, now: Date) {
  if (counter === held.counter) return "next";
  const isFresh = now.getTime() - held.rotatedAt.getTime() < GRACE_MS;
  return counter === held.counter - 1 && isFresh ? "again" : "reused";
}

function equal(a: string, b: string) {
  const [left, right] = [new TextEncoder().encode(a), new TextEncoder().encode(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

export const SignOut = z.strictObject({});

/** Ends the session of the token that asks. Its access token runs out by itself within minutes. */
export async function signOut(ctx: TenantCtx, _: z.infer<typeof SignOut>) {
  const sessionId = ctx.principal?.sessionId;
  if (!sessionId) return;
  await transact(ctx, async (ctx) => {
    await endSession(ctx, sessionId, ctx.userId ?? "", "signed_out");
  });
}

async function endSession(ctx: TxCtx, id: string, userId: string, revokedFor: string) {
  const done = await ctx.db.update(sessions).set({ revokedAt: ctx.now(), revokedFor })
    .where(and(own(ctx, id), isNull(sessions.revokedAt))).returning({ id: sessions.id });
  if (done.length > 0) await note(ctx, "session.ended", id, userId, { revokedFor });
}

async function note(
  ctx: TxCtx,
  action: string,
  subjectId: string,
  userId: string,
  more: Record<string, unknown> = {},
) {
  const after = { userId, ...more };
  await record(ctx, { action, subjectType: "session", subjectId, before: null, after });
  await publish(ctx, { type: action, source: "/sessions", subjectId, data: after });
}

export const Me = z.object({
  userId: z.uuid(),
  tenantId: z.uuid(),
  email: z.string().max(320),
  displayName: z.string().max(255),
  permissions: z.record(z.string(), z.string()),
});

/** Who asks, where, and what they may do here. */
export function me(ctx: TenantCtx, _: z.infer<typeof SignOut>): Promise<z.infer<typeof Me>> {
  return read(ctx, async (ctx) => {
    const user = one(
      await ctx.db.select({ email: users.email, displayName: users.displayName }).from(users)
        .where(and(eq(users.tenantId, ctx.tenantId), eq(users.id, ctx.userId ?? ""))),
    );
    return {
      userId: ctx.userId ?? "",
      tenantId: ctx.tenantId,
      permissions: { ...ctx.principal?.grants },
      ...user,
    };
  });
}
