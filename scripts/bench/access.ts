/** Measures of permission checks: warm in this process, and cold however deep tenants and groups lie. */
import { sql } from "drizzle-orm";
import { rowsOf } from "../../db/client.ts";
import { standings, type Whose } from "../../src/access/standings.ts";
import { mayNow } from "../../src/identity/access.ts";
import { type Depth, depths, KINDS, peopled } from "../../tests/identity/depths.ts";
import { run } from "./measure.ts";
import type { Stage } from "./stage.ts";

const PEOPLE = 1_000;
const [SLICES, CHECKS] = [10, 100_000];

/** Checks a second of people whose standing is known, against a lookup of their reach in a Map. */
export async function permission_check_warm(on: Stage): Promise<void> {
  const { process } = on;
  const tenantId = await peopled((text) => process.database.query(sql.raw(text)), PEOPLE);
  const ids = await process.database.transaction(async (db) => {
    await db.execute(sql`select set_config('app.tenant_id', ${tenantId}, true)`);
    return rowsOf(await db.execute(sql`select id from users where tenant_id = ${tenantId}`));
  }, "read only");
  const people = ids.map(({ id }): Whose => ({
    home: tenantId,
    subject: String(id),
    session: null,
    acting: tenantId,
  }));
  const reaches = new Map<string, string>();
  const know = async () => {
    for (const whose of people) {
      reaches.set(whose.subject, await mayNow(process, whose, "platforms.read") ?? "");
    }
  };
  const rate = async (work: (whose: Whose) => boolean) => {
    let [allowed, ms] = [0, 0];
    for (let slice = 0; slice < SLICES; slice++) {
      // What is known of a tenant's changes lasts some seconds; here it can be renewed.
      await new Promise((resolve) => setTimeout(resolve, 20));
      await know();
      const began = performance.now();
      for (let n = 0; n < CHECKS; n++) {
        const whose = people[n % people.length];
        if (whose && work(whose)) allowed++;
      }
      ms += performance.now() - began;
    }
    if (allowed !== SLICES * CHECKS) throw new Error("Some checks were refused, or not warm");
    return allowed / ms * 1000;
  };
  await run("permission_check_warm", {
    unit: "checks/s",
    baselineName: "a lookup in a Map by the user's id",
    turns: 7,
    turn: async () => [
      await rate((whose) => mayNow(process, whose, "platforms.read") === "tenant"),
      await rate(({ subject }) => reaches.get(subject) === "tenant"),
    ],
  });
}

const ROUNDS = 10;
const EACH = 50;

/** The slowest twentieth of cold checks 1,000 tenants or groups deep, against those one deep. */
export async function permission_check_depth(on: Stage): Promise<void> {
  const { database } = on.process;
  const all = await depths(
    (text) => database.query(sql.raw(text)),
    EACH,
    (what, ms) => console.error(`permission_check_depth: ${what} in ${ms.toFixed(0)} ms`),
  );
  await on.asOwner("analyze");
  const cold = async (whose: Whose) => {
    const fresh = standings({ database, epochOf: () => 0, now: Date.now, unknown: console.error });
    const began = performance.now();
    const { grants } = await fresh.of(whose);
    if (!grants["tenants.move"]) throw new Error("The check was refused");
    return performance.now() - began;
  };
  const p95 = (times: number[]) => times.toSorted((a, b) => a - b)[times.length * 0.95 | 0] ?? NaN;
  await run("permission_check_depth", {
    unit: "ms, 95 % of cold checks 1,000 deep (the worse of tenants and groups)",
    baselineName: "the same one deep",
    turns: 7,
    turn: async () => {
      const pairs: [number, number][] = [];
      for (const kind of KINDS) {
        const times: Record<1 | 1_000, number[]> = { 1: [], 1_000: [] };
        for (let n = 0; n < ROUNDS * EACH; n++) {
          for (const depth of [1, 1_000] as const satisfies Depth[]) {
            const whose = all[kind][depth][n % EACH];
            if (whose) times[depth].push(await cold(whose));
          }
        }
        pairs.push([p95(times[1_000]), p95(times[1])]);
      }
      const [tenants = [NaN, NaN], groups = tenants] = pairs;
      return groups[0] / groups[1] > tenants[0] / tenants[1] ? groups : tenants;
    },
  });
}
