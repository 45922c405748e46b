/** How often a tenant's topics have changed, known in this process for a few seconds. */
export type Epochs = {
  /**
   * The topic's epoch as it stood at most `ttlMs` ago; 0 when it never changed. At once when known,
   * after one query when not. Past half of `ttlMs` it is renewed in the background.
   * @throws what `read` throws, but only when nothing younger than `ttlMs` is known.
   */
  at(tenantId: string, topic: string): number | Promise<number>;
  /** The next `at` of this tenant asks again, and no answer to an earlier question reaches it. */
  forget(tenantId: string): void;
  /** The same for every tenant. */
  forgetAll(): void;
  /** How many times the database was asked. */
  reads(): number;
};

export type EpochsOptions = {
  /** All of one tenant's epochs in one query, seeing every commit made before it was called. */
  read: (tenantId: string) => Promise<Record<string, number>>;
  ttlMs: number;
  maxTenants: number;
  now: () => number;
  random: () => number;
};

type Known = { byTopic: Record<string, number>; askedAtMs: number };
type Asking = { answer: Promise<Known>; askedAtMs: number };
type Tenant = { known: Known | null; asking: Asking | null; softMs: number; quietUntilMs: number };

export function epochs(o: EpochsOptions): Epochs {
  /** In the order they came: what is dropped is asked for again, and all is within `ttlMs` anyway. */
  const tenants = new Map<string, Tenant>();
  let reads = 0;

  // Counted from the question: the answer may be as old as that.
  const isYoung = (since: { askedAtMs: number } | null, atMs: number) =>
    since !== null && atMs >= since.askedAtMs && atMs - since.askedAtMs < o.ttlMs;

  async function read(tenantId: string, tenant: Tenant, askedAtMs: number) {
    reads++;
    return tenant.known = { byTopic: await o.read(tenantId), askedAtMs };
  }

  function ask(tenantId: string, tenant: Tenant, askedAtMs: number): Asking {
    const asking = { answer: read(tenantId, tenant, askedAtMs), askedAtMs };
    const ended = () => {
      if (tenant.asking === asking) tenant.asking = null;
    };
    asking.answer.then(ended, () => {
      ended();
      tenant.quietUntilMs = o.now() + o.ttlMs / 10;
    });
    return tenant.asking = asking;
  }

  function start(tenantId: string): Tenant {
    // Spread, so that processes which started together do not ask together for ever.
    const softMs = o.ttlMs * (0.4 + 0.2 * o.random());
    const tenant = { known: null, asking: null, softMs, quietUntilMs: 0 };
    tenants.set(tenantId, tenant);
    if (tenants.size > o.maxTenants) tenants.delete(tenants.keys().next().value ?? tenantId);
    return tenant;
  }

  return {
    at(tenantId, topic) {
      const tenant = tenants.get(tenantId) ?? start(tenantId);
      const nowMs = o.now();
      const { known, asking } = tenant;
      // A question that hangs is not joined for ever: past the hard age a new one is asked.
      const joined = asking && isYoung(asking, nowMs) ? asking : null;
      if (known && isYoung(known, nowMs)) {
        const isDue = nowMs - known.askedAtMs >= tenant.softMs && nowMs >= tenant.quietUntilMs;
        if (isDue && !joined) ask(tenantId, tenant, nowMs);
        return epochIn(known, topic);
      }
      const { answer } = joined ?? ask(tenantId, tenant, nowMs);
      return answer.then((known) => epochIn(known, topic));
    },
    // The whole record goes: a question under way fills only the one that nobody sees any more.
    forget: (tenantId) => void tenants.delete(tenantId),
    forgetAll: () => tenants.clear(),
    reads: () => reads,
  };
}

function epochIn({ byTopic }: Known, topic: string): number {
  const epoch = Object.hasOwn(byTopic, topic) ? byTopic[topic] : 0;
  if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 0) {
    throw new TypeError(`The epoch of ${topic} is not a whole number: ${typeof epoch}`);
  }
  return epoch;
}
