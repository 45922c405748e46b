/** Work nobody waits for: each job is claimed with a lease, so any number of processes may run it. */
import { and, eq, sql } from "drizzle-orm";
import { leases } from "../db/schema/machinery.ts";
import { asSystem, type Services, transact } from "./context.ts";
import { told } from "./log.ts";
import { ROOT_TENANT } from "./topics.ts";

const HOUR_MS = 3600_000;
const SWEEP_ROWS = 1_000;

/** Takes the lease of `name` for `leaseMs` and runs `work`; false when another process has it. */
export async function claimed(
  services: Services,
  { name, leaseMs }: { name: string; leaseMs: number },
  work: () => Promise<void>,
): Promise<boolean> {
  const until = sql`now() + make_interval(secs => ${leaseMs / 1000})`;
  const holder = crypto.randomUUID();
  const won = await transact(
    asSystem(services, ROOT_TENANT),
    (ctx) =>
      ctx.db.insert(leases).values({ name, holder, until }).onConflictDoUpdate({
        target: leases.name,
        set: { holder, until },
        setWhere: sql`${leases.until} < now()`,
      }).returning({ name: leases.name }),
  );
  if (won.length === 0) return false;
  try {
    await work();
  } catch (error) { // Whoever asks next may try: nobody waits for the lease to run out.
    const mine = and(eq(leases.name, name), eq(leases.holder, holder));
    await transact(asSystem(services, ROOT_TENANT), (ctx) => ctx.db.delete(leases).where(mine));
    throw error;
  }
  return true;
}

/** Makes the next months' partitions, drops those past their retention, sweeps what is over. */
export async function maintain({ database, log }: Services): Promise<void> {
  const [made] = await database.query(sql`select ensure_partitions(3) as n`);
  const [dropped] = await database.query(sql`select drop_old_partitions() as n`);
  let swept = 0;
  for (let rows = SWEEP_ROWS; rows >= SWEEP_ROWS;) {
    const [row] = await database.query(sql`select sweep_expired(${SWEEP_ROWS}) as n`);
    rows = Number(row?.n);
    swept += rows;
  }
  log("info", "maintained", { made: Number(made?.n), dropped: Number(dropped?.n), swept });
}

/** Maintenance, if no other process did it within the hour. */
export const maintainHourly = (services: Services) =>
  claimed(services, { name: "maintenance", leaseMs: HOUR_MS - 60_000 }, () => maintain(services))
    .catch((error) => {
      services.log("error", "maintenance failed", { error: told(error) });
      return false;
    });

/** What every process does again and again, whoever else does it too. */
export type Round = {
  name: string;
  everyMs: number;
  work: (services: Services) => Promise<unknown>;
  /** Resolves when what `work` has begun is through. */
  rest?: (services: Services) => Promise<void>;
};

/** Does a round once. A failure is written down, and the next round tries again. */
export const once = (services: Services, { name, work }: Round): Promise<unknown> =>
  work(services).catch((error) => {
    services.log("error", "a round failed", { name, error: told(error) });
  });

/** One at a time, however long it takes. */
function keepDoing(services: Services, round: Round): () => void {
  let isUnderWay = false;
  const go = async () => {
    if (isUnderWay) return;
    isUnderWay = true;
    await once(services, round);
    isUnderWay = false;
  };
  const timer = setInterval(go, round.everyMs);
  Deno.unrefTimer(timer);
  void go();
  return () => clearInterval(timer);
}

/** Starts the maintenance and the rounds of this process; the answer stops them. */
export function startJobs(services: Services, rounds: readonly Round[]): () => void {
  const maintenance = { name: "maintenance", everyMs: HOUR_MS, work: maintainHourly };
  const stops = [maintenance, ...rounds].map((round) => keepDoing(services, round));
  return () => stops.forEach((stop) => stop());
}
