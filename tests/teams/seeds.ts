/** Runs of a property that can be had again: `SEED=… deno test`. */

const seed = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);

/** So many runs, ten times as many for a proof; says under which seed. */
export function runs(numRuns: number) {
  console.log(`SEED=${seed}`);
  return { seed, numRuns: Deno.env.get("PROVE") ? numRuns * 10 : numRuns };
}
