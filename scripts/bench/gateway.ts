/**
 * What a gateway costs: ours as it ships and Portkey's, which knows no teams, quotas or usage, in
 * front of the same upstream, with the way straight to it beside them.
 */
import { type Figures, figures, firstByteMs, type Target } from "./load.ts";
import { median, report } from "./measure.ts";
import { portkey } from "./portkey.ts";
import { serve } from "./stage.ts";

/** Our gateway, started in front of the upstream with this base address. */
export type OpenOurs = (
  upstreamUrl: string,
) => Promise<{ target: Target; stop(): Promise<void> }>;

type Ways = Record<"direct" | "ours" | "portkey", Target>;

const baselineName = "@portkey-ai/gateway 1.15.2, headless, before the same upstream: no keys, " +
  "quotas, usage or rate limits";
const fake = new URL("./fake_openai.ts", import.meta.url).pathname;
const [TURNS, TURN_MS] = [5, 2_000];
/** Either takes so many of a kind before it is as quick as it gets: V8 compiles what runs often. */
const WARMING = 10_000;

async function ways(openOurs: OpenOurs) {
  const [upstream, theirs] = [await serve(fake), await portkey()];
  const url = `http://127.0.0.1:${upstream.port}/v1`;
  const ours = await openOurs(url);
  const direct: Target = {
    host: "127.0.0.1",
    port: upstream.port,
    path: "/v1/chat/completions",
    headersOf: () => ({ authorization: "Bearer sk-bench" }),
    body: JSON.stringify({
      model: "gpt-4o-mini",
      messages: [{ role: "user", content: "Say a few words." }],
    }),
  };
  const toPortkey: Target = {
    ...direct,
    port: theirs.port,
    headersOf: () => ({
      ...direct.headersOf(0),
      "x-portkey-provider": "openai",
      "x-portkey-custom-host": url,
    }),
  };
  const stop = () => Promise.all([ours.stop(), theirs.stop(), upstream.stop()]);
  return { direct, ours: ours.target, portkey: toPortkey, stop };
}

/** The same question, its answer streamed, usage included. */
const streamed = (target: Target): Target => ({
  ...target,
  body: JSON.stringify({
    ...JSON.parse(target.body ?? "{}"),
    stream: true,
    stream_options: { include_usage: true },
  }),
});

async function warm(target: Target): Promise<void> {
  for (const kind of [target, streamed(target)]) {
    for (let answers = 0; answers < WARMING;) {
      answers += (await figures(kind, TURN_MS, 32)).perSecond * TURN_MS / 1_000;
    }
  }
}

/** Each way in its turn, again and again. */
async function inTurns<T>(ways: Ways, work: (target: Target) => Promise<T>) {
  const turns: Record<keyof Ways, T>[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const direct = await work(ways.direct);
    turns.push({ direct, ours: await work(ways.ours), portkey: await work(ways.portkey) });
  }
  return turns;
}

async function json(ways: Ways, connections: number): Promise<void> {
  const name = `gateway_json_c${connections}`;
  const turns = await inTurns(ways, (target) => figures(target, TURN_MS, connections));
  const pairs = (of: (way: Figures, direct: Figures) => number) =>
    turns.map(({ direct, ours, portkey }): [number, number] => [
      of(ours, direct),
      of(portkey, direct),
    ]);
  report(name, "requests/s", baselineName, pairs(({ perSecond }) => perSecond));
  for (const share of ["p50Ms", "p99Ms"] as const) {
    const added = pairs((way, direct) => way[share] - direct[share]);
    report(`${name}_added_${share.slice(0, 3)}`, "ms added to direct", baselineName, added);
  }
  const middle = (of: keyof Figures) => median(turns.map(({ direct }) => direct[of])).toFixed(2);
  console.error(
    `${name}: direct ${middle("perSecond")} requests/s, p50 ${middle("p50Ms")} ms, ` +
      `p99 ${middle("p99Ms")} ms`,
  );
}

async function firstByte(ways: Ways): Promise<void> {
  const turns = await inTurns(ways, (target) => firstByteMs(streamed(target), 100));
  const added = turns.map(({ direct, ours, portkey }): [number, number] => [
    ours - direct,
    portkey - direct,
  ]);
  report("gateway_sse_first_byte", "ms added to direct", baselineName, added);
  const direct = median(turns.map((turn) => turn.direct));
  console.error(`gateway_sse_first_byte: direct ${direct.toFixed(3)} ms`);
}

/** Every measure of the gateway, a line each; what is direct goes to standard error. */
export async function gateway(openOurs: OpenOurs): Promise<void> {
  const all = await ways(openOurs);
  try {
    await warm(all.portkey);
    await warm(all.ours);
    for (const connections of [1, 16, 64]) await json(all, connections);
    await firstByte(all);
  } finally {
    await all.stop();
  }
}
