/** Processes tell each other through Redis what they let through, and nobody waits for it. */
import type { BoundedMap } from "../bounded_map.ts";
import { type Redis, unavailable } from "../redis.ts";
import { type Counts, isCounted, SLICES } from "./counts.ts";

export type Agreement = {
  /** Something was taken under this id: exchange it when it is time. Never waits or throws. */
  touch(id: string, nowMs: number): void;
};

export type AgreementOptions = {
  redis: Redis;
  table: BoundedMap<Counts>;
  /** The least time between two exchanges. */
  syncMs: number;
};

/** Ids in one exchange, which is one request; what is left over goes with the next take. */
const BATCH = 100;
/** Ids that wait; one that finds no room is exchanged when it is next touched. */
const MAX_DIRTY = 10_000;

/** What of one id is on its way to Redis: slice → units. */
type Sent = { id: string; counts: Counts; slice: number; units: Map<number, number> };
/** What Redis says of one id: slice → units of all processes. */
type Learnt = Map<number, number>;

/**
 * Each id and window of the calendar is a Redis hash of slice → units: HINCRBY and EXPIRE tell what
 * is fresh, HGETALL of this window and the last learns what all did. There is no timer: an exchange
 * begins in a take, so the last units before a silence are told when this process takes again.
 */
export function agreement({ redis, table, syncMs }: AgreementOptions): Agreement {
  const dirty = new Set<string>();
  let nextMs = 0;
  let isBusy = false;

  async function exchange(batch: Sent[]) {
    let began = false;
    const answers = await redis.run(async (client) => {
      began = true;
      const commands = client.pipeline();
      const asked = batch.map(({ id, counts, slice, units }) => {
        for (const [at, n] of units) commands.hincrby(hashOf(id, at), `${at}`, n);
        const keptSeconds = Math.ceil(2.2 * SLICES * counts.sliceMs / 1_000);
        const told = new Set([...units.keys()].map((at) => hashOf(id, at)));
        for (const hash of told) commands.expire(hash, keptSeconds);
        commands.hgetall(hashOf(id, slice - SLICES));
        commands.hgetall(hashOf(id, slice));
        return commands.length();
      });
      const answers = await commands.exec<unknown[]>();
      return asked.map((end) => new Map([...pairs(answers[end - 2]), ...pairs(answers[end - 1])]));
    });
    for (const [i, sent] of batch.entries()) {
      if (answers !== unavailable) learn(sent, answers[i] ?? new Map());
      // What was sent may have arrived: sent again it could refuse somebody within the limit.
      else if (began) assume(sent);
      else dirty.add(sent.id);
    }
  }

  return {
    touch(id, nowMs) {
      if (dirty.size < MAX_DIRTY) dirty.add(id);
      const isTime = nowMs >= nextMs || nextMs - nowMs > syncMs;
      if (isBusy || !isTime) return;
      const batch = collect(dirty, table, nowMs);
      nextMs = dirty.size > 0 ? nowMs : nowMs + syncMs;
      isBusy = true;
      void exchange(batch).finally(() => isBusy = false);
    },
  };
}

const hashOf = (id: string, slice: number) => `sb:limit:${id}@${Math.floor(slice / SLICES)}`;

function collect(dirty: Set<string>, table: BoundedMap<Counts>, nowMs: number): Sent[] {
  const batch: Sent[] = [];
  for (const id of dirty) {
    if (batch.length === BATCH) break;
    dirty.delete(id);
    const counts = table.peek(id);
    if (!counts) continue;
    const slice = Math.floor(nowMs / counts.sliceMs);
    const fresh = [...counts.bySlice].filter(([at, { fresh }]) =>
      fresh > 0 && isCounted(at, slice)
    );
    const units = new Map(fresh.map(([at, { fresh }]) => [at, fresh]));
    batch.push({ id, counts, slice, units });
  }
  return batch;
}

/** HGETALL as Redis answers it: field, value, field, value. */
function pairs(answer: unknown): [number, number][] {
  if (answer === null) return [];
  if (!Array.isArray(answer) || answer.length % 2 > 0) throw new TypeError("HGETALL: not pairs");
  const numbers = answer.map((n: unknown) => typeof n === "string" ? Number(n) : NaN);
  if (!numbers.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new TypeError("HGETALL: not counts");
  }
  return numbers.flatMap((at, i): [number, number][] => i % 2 ? [] : [[at, numbers[i + 1] ?? 0]]);
}

function learn({ counts, slice, units }: Sent, learnt: Learnt) {
  for (const at of learnt.keys()) {
    if (!counts.bySlice.has(at) && isCounted(at, slice)) {
      counts.bySlice.set(at, { own: 0, fresh: 0, learnt: 0 });
    }
  }
  for (const [at, count] of counts.bySlice) {
    count.learnt = learnt.get(at) ?? 0;
    count.fresh = Math.max(0, count.fresh - (units.get(at) ?? 0));
  }
}

/** Counted here as if it had arrived, so that at worst the others know too little. */
function assume({ counts, units }: Sent) {
  for (const [at, n] of units) {
    const count = counts.bySlice.get(at);
    if (!count) continue;
    count.learnt += n;
    count.fresh = Math.max(0, count.fresh - n);
  }
}
