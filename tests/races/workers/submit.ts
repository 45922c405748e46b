/**
 * One process of the service among several: sends one request many times at once through its own
 * front door, and stops where it is told to, so that it can be killed there.
 */
import { TextLineStream } from "./lines.ts";
import { open } from "../../../db/client.ts";
import { app } from "../../../src/app.ts";
import { readEnv } from "../../../src/env.ts";
import { services } from "../../../src/services.ts";

export type Order = {
  variables: Record<string, string>;
  path: string;
  headers: Record<string, string>;
  body: string;
  times: number;
  /** Hangs there for ever, having written `stopped`. */
  stop?: "before the commit" | "after the commit" | undefined;
};
export type Tally = { status: number; reason: string; text: string; times: number }[];

const hang = () => {
  console.log("stopped");
  return new Promise<never>(() => setInterval(() => {}, 60_000));
};

async function service({ variables, stop }: Order) {
  const env = readEnv(variables);
  const database = open(env.DATABASE_URL, { poolSize: 10 });
  let isSettling = false;
  const { transaction } = database;
  database.transaction = async (work, access) => {
    const value = await transaction(work, access);
    if (stop === "after the commit" && isSettling) await hang();
    return value;
  };
  const process = await services({ env, database });
  const { secrets } = process;
  const seal: typeof secrets.seal = async (ctx, spot, plain) => {
    isSettling ||= spot.table === "idempotency_keys";
    if (isSettling && stop === "before the commit") await hang();
    return await secrets.seal(ctx, spot, plain);
  };
  const hono = app({ ...process, secrets: { ...secrets, seal } }, {
    requestsPerMinute: 1_000_000,
    tenantRequestsPerMinute: 1_000_000,
    trustForwardedFor: false,
  });
  return { hono, url: env.PUBLIC_URL, database };
}

async function main() {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  const next = async () => (await lines.read()).value ?? "";
  const order: Order = JSON.parse(await next());
  const { hono, url, database } = await service(order);
  console.log("ready");
  await next();
  const { path, headers, body, times } = order;
  const tally = new Map<string, Tally[number]>();
  await Promise.all(Array.from({ length: times }, async () => {
    const answer = await hono.fetch(new Request(url + path, { method: "POST", headers, body }));
    const text = await answer.text();
    const isProblem = answer.headers.get("content-type")?.startsWith("application/problem");
    const reason = isProblem ? String(JSON.parse(text).reason) : "";
    const key = isProblem ? `${answer.status} ${reason}` : `${answer.status} ${text}`;
    const seen = tally.get(key) ?? { status: answer.status, reason, text, times: 0 };
    tally.set(key, { ...seen, times: seen.times + 1 });
  }));
  console.log(JSON.stringify([...tally.values()]));
  await database.close();
  await lines.cancel();
}

if (import.meta.main) await main();
