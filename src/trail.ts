/** Writes down what was done and tells others, inside the transaction that did it: no record, no change. */
import { sql } from "drizzle-orm";
import { cacheEpochs } from "../db/schema/machinery.ts";
import { auditEntries, type Diff, events } from "../db/schema/trail.ts";
import { afterCommit, type TxCtx } from "./context.ts";
import type { Topic } from "./topics.ts";
import { snake, snakeFields } from "./wire_names.ts";

type Row = Record<string, unknown>;

/** The fields that differ, by their wire names. `before` is null when the thing is new, `after` when it is gone. */
export function diffOf(before: Row | null, after: Row | null): Diff {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  return Object.fromEntries(
    [...names]
      .filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]))
      .map((name) => {
        const change = { before: before?.[name] ?? null, after: after?.[name] ?? null };
        return [snake(name), change];
      }),
  );
}

/** What an update came to, for its event: each changed field's new value by its wire name. */
export function changesOf(before: Row, after: Row): Row {
  const { updated_at: _, ...diff } = diffOf(before, after);
  return Object.fromEntries(Object.entries(diff).map(([name, change]) => [name, change.after]));
}

export type Change = {
  /** What was done, as the documents spell it: `platform.registered`. */
  action: string;
  /** The kind of thing it was done to: `service_platform`. */
  subjectType: string;
  subjectId: string;
  before: Row | null;
  after: Row | null;
};

/** One audit entry. What is handed in holds fingerprints in the place of secrets. */
export async function record(ctx: TxCtx, change: Change) {
  const { tenantId, actor, requestId } = ctx;
  await ctx.db.insert(auditEntries).values({
    tenantId,
    actorType: actor.type,
    actorTenantId: actor.tenantId,
    actorId: actor.id,
    requestId,
    action: change.action,
    subjectType: change.subjectType,
    subjectId: change.subjectId,
    diff: diffOf(change.before, change.after),
  });
}

export type Event = { type: string; source: string; subjectId: string; data: Row };

/** One event for the outbox, its fields under the documents' names. It cannot outlive a rollback. */
export async function publish(ctx: TxCtx, { type, source, subjectId, data }: Event) {
  const { tenantId } = ctx;
  await ctx.db.insert(events)
    .values({ tenantId, type, source, subjectId, data: snakeFields(data) });
}

/** Tells every process's cache that a topic of this tenant has changed; this process's at once, after the commit. */
export async function moved(ctx: TxCtx, topic: Topic) {
  const { tenantId } = ctx;
  await ctx.db.insert(cacheEpochs).values({ tenantId, topic })
    .onConflictDoUpdate({
      target: [cacheEpochs.tenantId, cacheEpochs.topic],
      set: { epoch: sql`${cacheEpochs.epoch} + 1` },
    });
  afterCommit(ctx, () => ctx.cache.moved(tenantId, topic));
}
