/**
 * A request that carries an Idempotency-Key has one effect, however often it is sent and whichever
 * process dies in between (draft-ietf-httpapi-idempotency-key-header).
 *
 * A row says "running" under a lease, committed before the work begins. The work and its answer are
 * committed together, fenced by the lease's holder: a holder that was too slow is rolled back.
 */
import { and, eq } from "drizzle-orm";
import superjson from "superjson";
import { v7 } from "uuid";
import { idempotencyKeys } from "../db/schema/machinery.ts";
import { type TenantCtx, transact, type TxCtx } from "./context.ts";
import { conflict, Fault, invalid } from "./errors.ts";

const LEASE_MS = 60_000;
const KEEP_MS = 24 * 3600_000;

export async function sha256(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex();
}

/** The same text for equal values, in whatever order their fields came. */
function canonical(value: unknown): string {
  return JSON.stringify(superjson.serialize(value), (_, part) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1));
  }) ?? "";
}

type Claim = { id: string; holder: string } | { answer: unknown };
const notTwice = new Fault(
  "IdempotencyKeyReused",
  "idempotency_key.reused",
  "This Idempotency-Key was used with another request: use a new one",
);

/** Takes the key, or finds what it was taken for. */
async function claim(ctx: TenantCtx, procedure: string, requestHash: string): Promise<Claim> {
  const { tenantId, actor } = ctx;
  const keyHash = await sha256(ctx.idempotencyKey ?? "");
  const principal = `${actor.type}:${actor.tenantId}:${actor.id}`;
  const [id, holder, now] = [v7(), crypto.randomUUID(), ctx.now()];
  const fresh = {
    requestHash,
    state: "running" as const,
    holder,
    answer: null,
    leaseUntil: new Date(now.getTime() + LEASE_MS),
    expiresAt: new Date(now.getTime() + KEEP_MS),
  };
  return await transact(ctx, async (ctx) => {
    const [made] = await ctx.db.insert(idempotencyKeys)
      .values({ tenantId, id, principal, procedure, keyHash, ...fresh })
      .onConflictDoNothing().returning({ id: idempotencyKeys.id });
    if (made) return { id, holder };
    const mine = and(
      eq(idempotencyKeys.tenantId, tenantId),
      eq(idempotencyKeys.principal, principal),
      eq(idempotencyKeys.procedure, procedure),
      eq(idempotencyKeys.keyHash, keyHash),
    );
    const [row] = await ctx.db.select().from(idempotencyKeys).where(mine).for("update");
    if (!row) throw conflict("idempotency_key.running", "The first request just failed: try again");
    const past = row.expiresAt <= now || (row.state === "running" && row.leaseUntil <= now);
    if (past && (row.expiresAt <= now || row.requestHash === requestHash)) {
      await ctx.db.update(idempotencyKeys).set(fresh).where(mine);
      return { id: row.id, holder };
    }
    if (row.requestHash !== requestHash) throw notTwice;
    if (row.state === "running") {
      throw new Fault("Conflict", "idempotency_key.running", "The first request is still running", {
        retryAfterSeconds: 1,
      });
    }
    const place = { table: "idempotency_keys", row: row.id, column: "answer" };
    const answer = await ctx.secrets.open(ctx, place, row.answer ?? "");
    return { answer: superjson.parse(answer.reveal()) };
  });
}

/** Stores the answer if the lease is still ours; the caller's transaction stands or falls with it. */
async function settle(ctx: TxCtx, { id, holder }: { id: string; holder: string }, answer: unknown) {
  const place = { table: "idempotency_keys", row: id, column: "answer" };
  const sealed = await ctx.secrets.seal(ctx, place, superjson.stringify(answer));
  const done = await ctx.db.update(idempotencyKeys).set({ state: "done", answer: sealed })
    .where(and(
      eq(idempotencyKeys.tenantId, ctx.tenantId),
      eq(idempotencyKeys.id, id),
      eq(idempotencyKeys.holder, holder),
    )).returning({ id: idempotencyKeys.id });
  if (done.length === 0) {
    throw conflict("idempotency_key.lost", "This took too long and was given to another request");
  }
}

async function release(ctx: TenantCtx, { id, holder }: { id: string; holder: string }) {
  await transact(ctx, (ctx) =>
    ctx.db.delete(idempotencyKeys).where(and(
      eq(idempotencyKeys.tenantId, ctx.tenantId),
      eq(idempotencyKeys.id, id),
      eq(idempotencyKeys.holder, holder),
      eq(idempotencyKeys.state, "running"),
    )));
}

export type Work<T> = (ctx: TenantCtx) => Promise<T>;

/**
 * Runs `work` at most once for the key that ctx carries; without a key, just runs it. A failure
 * frees the key. `atomic: false` is for verbs that call the network and are repeatable by nature:
 * their answer is stored after them.
 */
export async function once<T>(
  ctx: TenantCtx,
  { procedure, input, atomic }: { procedure: string; input: unknown; atomic: boolean },
  work: Work<T>,
  replay: (answer: unknown) => Promise<T>,
): Promise<T> {
  const key = ctx.idempotencyKey;
  if (key === null) return await work(ctx);
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw invalid("Idempotency-Key", "Give 1 to 255 visible ASCII characters");
  }
  await ctx.secrets.ready(ctx);
  const claimed = await claim(ctx, procedure, await sha256(canonical(input)));
  if ("answer" in claimed) return await replay(claimed.answer);
  try {
    if (!atomic) {
      const answer = await work(ctx);
      await transact(ctx, (ctx) => settle(ctx, claimed, answer));
      return answer;
    }
    return await transact(ctx, async (ctx) => {
      const answer = await work(ctx);
      await settle(ctx, claimed, answer);
      return answer;
    });
  } catch (error) {
    await release(ctx, claimed).catch(() => {}); // The lease ends by itself if this fails too.
    throw error;
  }
}
