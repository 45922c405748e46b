/** Measures: ours and its baseline in turns, one JSON line each. */

export type Measure = {
  unit: string;
  baselineName: string;
  turn(): Promise<[number, number]>;
  turns: number;
};

export const median = (numbers: number[]) =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
const rounded = (n: number) => Number(n.toPrecision(4));

export async function run(bench: string, { unit, baselineName, turn, turns }: Measure) {
  await turn(); // Warms both.
  const pairs: [number, number][] = [];
  for (let i = 0; i < turns; i++) pairs.push(await turn());
  report(bench, unit, baselineName, pairs);
}

/** The line of a measure whose turns, of ours and the baseline, are done. */
export function report(
  bench: string,
  unit: string,
  baselineName: string,
  turns: [number, number][],
): void {
  const [ours, baseline] = [median(turns.map(([a]) => a)), median(turns.map(([, b]) => b))];
  console.log(JSON.stringify({
    bench,
    unit,
    ours: rounded(ours),
    baseline: rounded(baseline),
    baseline_name: baselineName,
    ratio: rounded(ours / baseline),
  }));
}

/** Runs `work` one after the other; answers how many a second. */
export async function perSecond(times: number, work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  for (let i = 0; i < times; i++) await work();
  return times / (performance.now() - began) * 1000;
}
