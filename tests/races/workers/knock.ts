/**
 * One process of the service among several: uses tokens and keys again and again through its own
 * front door, and says until when each was taken.
 */
import { TextLineStream } from "./lines.ts";
import { open } from "../../../db/client.ts";
import { app } from "../../../src/app.ts";
import { readEnv } from "../../../src/env.ts";
import { services } from "../../../src/services.ts";

/** With a body it is sent as JSON. */
export type Knock = { name: string; path: string; headers: Record<string, string>; body?: string };
export type Order = { variables: Record<string, string>; knocks: Knock[]; pauseMs: number };
/** How often each was asked with, what was answered, and when the last that was taken was asked. */
export type Tally = { statuses: Record<string, number>; lastTakenMs: number };
export type Told = { used: Record<string, Tally>; tried: Record<string, Tally> };
/** Lines it understands: `use`, and then `try` with how often each is to be tried. */
export type Times = Record<string, number>;

const AT_ONCE = 50;

async function front({ variables }: Order) {
  const env = readEnv(variables);
  const database = open(env.DATABASE_URL, { poolSize: 10 });
  const hono = app(await services({ env, database }), {
    requestsPerMinute: 10_000_000,
    tenantRequestsPerMinute: 10_000_000,
    trustForwardedFor: false,
  });
  const remoteAddr = { transport: "tcp", hostname: "198.51.100.1", port: 4_711 };
  const requestOf = ({ path, headers, body }: Knock) =>
    new Request(env.PUBLIC_URL + path, body ? { method: "POST", headers, body } : { headers });
  const ask = async (knock: Knock, into: Record<string, Tally>) => {
    const { name } = knock;
    const askedMs = Date.now();
    const answer = await hono.fetch(requestOf(knock), { remoteAddr });
    await answer.body?.cancel();
    const tally = into[name] ??= { statuses: {}, lastTakenMs: 0 };
    tally.statuses[answer.status] = (tally.statuses[answer.status] ?? 0) + 1;
    if (answer.ok) tally.lastTakenMs = Math.max(tally.lastTakenMs, askedMs);
    return answer.ok;
  };
  return { ask, database };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function main() {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  const next = async () => (await lines.read()).value;
  const order: Order = JSON.parse(await next() ?? "{}");
  const { ask, database } = await front(order);
  const used: Record<string, Tally> = {};
  let isOver = false;
  const use = async (knock: Knock) => {
    for (; !isOver; await pause(order.pauseMs)) await ask(knock, used);
  };
  for (let line = await next(); line !== undefined; line = await next()) {
    if (line === "use") {
      const taken = await Promise.all(order.knocks.map((knock) => ask(knock, used)));
      const refused = order.knocks.filter((_, place) => !taken[place]).map(({ name }) => name);
      console.log(refused.length > 0 ? `refused: ${refused}` : "warm");
      for (const knock of order.knocks) void use(knock);
      continue;
    }
    const times: Times = JSON.parse(line.slice("try ".length));
    const tried: Record<string, Tally> = {};
    const due = order.knocks.flatMap((knock) =>
      Array.from({ length: times[knock.name] ?? 0 }, () => knock)
    );
    const someone = async () => {
      for (let knock = due.pop(); knock; knock = due.pop()) await ask(knock, tried);
    };
    await Promise.all(Array.from({ length: times.atOnce ?? AT_ONCE }, someone));
    console.log(JSON.stringify({ used, tried }));
  }
  isOver = true;
  await database.close();
}

if (import.meta.main) await main();
