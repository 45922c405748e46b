/**
 * Refreshes a binding's tokens exactly once, however many callers and processes want it.
 *
 * The row decides and nothing else does: a refresh is claimed by an update that names the version
 * of the token, committed before the provider is asked, and its result is written only where that
 * version and that claim still stand. A refresh token may work once, so a claim whose holder died
 * is tried once more, and then the account honestly needs its person again.
 */
import { and, eq, inArray, isNull, lt, or, type SQL, sql } from "drizzle-orm";
import type { Database } from "../../db/client.ts";
import { userPlatformBindings as table } from "../../db/schema/platforms.ts";
import { frame, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault, isAway } from "../errors.ts";
import { isRetryable } from "../retries.ts";
import { one } from "../rows.ts";
import type { Secret } from "../secrets/secret.ts";
import * as rows from "./binding_rows.ts";
import { type Provider, providerOf, refreshTokens, revokeAtProvider } from "./provider_client.ts";
import { asFailure, type Granted, type ProviderFailure } from "./token_answers.ts";

export type Timing = {
  /** A claim is taken over when it is older. Longer than a call can take. */
  leaseMs: number;
  callMs: number;
  /** How long a caller waits for another's refresh. */
  waitMs: number;
  /** After a failure nobody asks the provider for so long. */
  coolMs: number;
};
export const usual: Timing = { leaseMs: 30_000, callMs: 20_000, waitMs: 25_000, coolMs: 2_000 };

/** What a caller saw: `isGood` while the token it has may still be handed out. */
export type Seen = { id: string; tokenVersion: number; isGood: boolean };

/** Refreshes begun on one version of a token before it is given up: one, and one after a crash. */
const MOST_ATTEMPTS = 2;
const COOLEST_MS = 60_000;

const flights = new WeakMap<Database, Map<string, Promise<void>>>();

/**
 * Resolves when the row has moved past the version seen, or the old token is to be used on. The
 * caller reads the row again. Throws Unavailable or ProviderError when there is no token now.
 */
export function refresh(ctx: TenantCtx, seen: Seen, timing: Timing = usual): Promise<void> {
  const running = flights.get(ctx.database) ?? new Map<string, Promise<void>>();
  flights.set(ctx.database, running);
  const key = `${ctx.tenantId}/${seen.id}/${seen.tokenVersion}/${seen.isGood}`;
  const flight = running.get(key) ??
    run({ ...ctx, frame: frame() }, seen, timing).finally(() => running.delete(key));
  running.set(key, flight);
  return flight;
}

async function run(ctx: TenantCtx, seen: Seen, timing: Timing): Promise<void> {
  const deadline = performance.now() + timing.waitMs;
  for (let pauseMs = 100;; pauseMs = Math.min(pauseMs * 1.5, 500)) {
    const claim = await tryClaim(ctx, seen, timing);
    if (claim.is === "mine") return await renew(ctx, claim, seen, timing);
    if (claim.is === "moved" || seen.isGood) return;
    if (claim.is === "cooling") throw later(claim.seconds);
    const waitMs = pauseMs * (0.75 + Math.random() / 2);
    if (performance.now() + waitMs > deadline) throw later(claim.seconds);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

const later = (seconds: number) =>
  new Fault("Unavailable", "binding.refreshing", "The token is being renewed: try again shortly", {
    retryAfterSeconds: Math.max(1, Math.ceil(seconds)),
  });

type Mine = {
  is: "mine";
  holder: string;
  attempts: number;
  before: rows.SealedBinding;
  provider: Provider;
  refreshToken: Secret | null;
};
type Claim = Mine | { is: "moved" } | { is: "held" | "cooling"; seconds: number };

const until = (ms: number) => sql`clock_timestamp() + make_interval(secs => ${ms / 1000})`;
const unchanged = { updatedAt: sql`${table.updatedAt}` }; // A claim is no change anybody sees.

const atVersion = (ctx: TenantCtx, { id, tokenVersion }: Pick<Seen, "id" | "tokenVersion">) =>
  and(
    rows.own(ctx, id),
    eq(table.tokenVersion, tokenVersion),
    inArray(table.state, ["active", "expiring"]),
  );

/** Takes the refresh of this version, by the database's clock, or says who has it. */
function tryClaim(ctx: TenantCtx, seen: Seen, timing: Timing): Promise<Claim> {
  const holder = crypto.randomUUID();
  return transact(ctx, async (ctx): Promise<Claim> => {
    const isFree = or(
      isNull(table.refreshLeaseUntil),
      lt(table.refreshLeaseUntil, sql`clock_timestamp()`),
    );
    const [claimed] = await ctx.db.update(table).set({
      refreshHolder: holder,
      refreshLeaseUntil: until(timing.leaseMs),
      refreshAttempts: sql`${table.refreshAttempts} + 1`,
      ...unchanged,
    }).where(and(atVersion(ctx, seen), isFree))
      .returning({ ...rows.sealedBinding, attempts: table.refreshAttempts });
    if (!claimed) return await holderOf(ctx, seen);
    const { attempts, ...before } = claimed;
    const { id, refreshToken } = before;
    return {
      is: "mine",
      holder,
      attempts,
      before,
      provider: await providerOf(ctx, before),
      refreshToken: refreshToken === null
        ? null
        : await rows.openRefreshToken(ctx, id, refreshToken),
    };
  });
}

async function holderOf(ctx: TxCtx, seen: Seen): Promise<Claim> {
  const [row] = await ctx.db.select({
    holder: table.refreshHolder,
    seconds: sql<
      string
    >`coalesce(extract(epoch from ${table.refreshLeaseUntil} - clock_timestamp()), 0)`,
  }).from(table).where(atVersion(ctx, seen));
  if (!row) return { is: "moved" };
  const seconds = Number(row.seconds);
  return { is: row.holder === null && seconds > 0 ? "cooling" : "held", seconds };
}

/** Asks the provider, outside any transaction, and writes what came of it. */
async function renew(ctx: TenantCtx, claim: Mine, seen: Seen, timing: Timing): Promise<void> {
  if (claim.refreshToken === null) return await giveUp(ctx, claim, "no_refresh_token");
  if (claim.attempts > MOST_ATTEMPTS) return await giveUp(ctx, claim, "refresh_lost");
  let granted: Granted;
  try {
    granted = await refreshTokens(ctx, claim.provider, claim.refreshToken, timing.callMs);
  } catch (error) {
    const failed = asFailure(error);
    if (failed.kind === "grant") return await giveUp(ctx, claim, failed.word);
    const retryAfterSeconds = await putBack(ctx, claim, failed, timing);
    if (seen.isGood) return;
    throw faultOf(failed, retryAfterSeconds);
  }
  if (await store(ctx, claim, granted)) return;
  await discard(ctx, claim, granted);
}

const faultOf = ({ kind, word, message }: ProviderFailure, retryAfterSeconds: number) =>
  kind === "busy"
    ? new Fault("Unavailable", `provider.${word}`, message, { retryAfterSeconds })
    : new Fault("ProviderError", `provider.${word}`, message, { retryAfterSeconds });

const WRITES = 8;

/**
 * Writes the new tokens where this claim still stands. Nobody else has a rotated token, so a
 * database that is away for a moment is waited for, within the lease.
 */
async function store(ctx: TenantCtx, claim: Mine, granted: Granted): Promise<boolean> {
  for (let attempt = 1;; attempt++) {
    try {
      return await storeOnce(ctx, claim, granted);
    } catch (error) {
      // Whether a lost commit took place does not matter here: the version fences the next try.
      const mayHelp = isRetryable(error) || isAway(error);
      if (attempt === WRITES || !mayHelp) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(125 * 2 ** attempt, 2_000)));
    }
  }
}

const heldBy = (ctx: TenantCtx, { before, holder }: Mine): SQL | undefined =>
  and(atVersion(ctx, before), eq(table.refreshHolder, holder));

const storeOnce = (ctx: TenantCtx, claim: Mine, granted: Granted) =>
  transact(ctx, async (ctx) => {
    const { before } = claim;
    // A provider that does not rotate answers no refresh token: the old one stays.
    const { refreshToken, ...others } = await rows.sealedTokens(ctx, before.id, granted);
    const [after] = await ctx.db.update(table).set({
      ...others,
      ...refreshToken === null ? {} : { refreshToken },
      ...granted.scopes === null ? {} : { scopes: granted.scopes },
      tokenVersion: sql`${table.tokenVersion} + 1`,
    }).where(heldBy(ctx, claim)).returning(rows.sealedBinding);
    if (!after) return false;
    await rows.note(ctx, "binding.refreshed", after, {
      before: await rows.trailOf(ctx, before),
      after: await rows.trailOf(ctx, after),
      data: { tokenExpiry: after.tokenExpiry },
    });
    return true;
  });

/** Tokens that came too late. If the account was disconnected meanwhile, the provider is told. */
async function discard(ctx: TenantCtx, { before, provider }: Mine, granted: Granted) {
  const [row] = await read(
    ctx,
    ({ db }) => db.select({ state: table.state }).from(table).where(rows.own(ctx, before.id)),
  );
  ctx.log("warn", "a refresh came too late", { bindingId: before.id, state: row?.state });
  if (row?.state !== "revoked") return;
  await revokeAtProvider(ctx, provider, granted.refreshToken ?? granted.accessToken);
}

/** Only the person can mend it. Whoever wrote another version meanwhile knows better. */
const giveUp = (ctx: TenantCtx, claim: Mine, reason: string) =>
  transact(ctx, async (ctx) => {
    const [after] = await ctx.db.update(table).set({
      ...rows.state("needs_reauth", reason),
      refreshHolder: null,
      refreshLeaseUntil: null,
      refreshAttempts: 0,
    }).where(heldBy(ctx, claim)).returning(rows.bindingView);
    if (!after) return;
    const before = rows.viewOf(claim.before);
    await rows.note(ctx, "binding.needs_reauth", after, { before, after, data: { reason } });
  });

/** The provider gave no verdict: the attempt does not count, but cools down. */
const putBack = (ctx: TenantCtx, claim: Mine, failed: ProviderFailure, timing: Timing) =>
  transact(ctx, async (ctx) => {
    const wantedMs = (failed.retryAfterSeconds ?? 0) * 1000;
    const coolMs = Math.min(Math.max(wantedMs, timing.coolMs), COOLEST_MS);
    const isNew = claim.before.state === "active";
    const changed = await ctx.db.update(table).set({
      refreshHolder: null,
      refreshLeaseUntil: until(coolMs),
      refreshAttempts: sql`${table.refreshAttempts} - 1`,
      ...isNew ? rows.state("expiring", failed.word) : unchanged,
    }).where(heldBy(ctx, claim)).returning(rows.bindingView);
    if (isNew && changed.length > 0) {
      const [before, after] = [rows.viewOf(claim.before), one(changed)];
      const data = { reason: failed.word };
      await rows.note(ctx, "binding.expiring", after, { before, after, data });
    }
    return Math.max(1, Math.ceil(coolMs / 1000));
  });
