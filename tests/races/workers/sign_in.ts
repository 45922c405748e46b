/**
 * One process of the service among several: sends one request of a stranger many times at once through
 * its own front door, and tells what each was answered. Nobody is slowed down here.
 */
import { TextLineStream } from "./lines.ts";
import { open } from "../../../db/client.ts";
import { app } from "../../../src/app.ts";
import { readEnv } from "../../../src/env.ts";
import { services } from "../../../src/services.ts";
import { patience } from "../../identity/house.ts";

export type Order = {
  variables: Record<string, string>;
  path: string;
  body: unknown;
  times: number;
};
export type Answered = { status: number; body: Record<string, unknown> };

async function service(variables: Order["variables"]) {
  const env = readEnv(variables);
  const database = open(env.DATABASE_URL, { poolSize: 10 });
  const process = { ...await services({ env, database, write: console.error }), limiter: patience };
  const hono = app(process, {
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
  const { hono, url, database } = await service(order.variables);
  await (await hono.fetch(new Request(`${url}/ready`))).body?.cancel(); // Its first connection.
  console.log("ready");
  await next();
  const { path, body, times } = order;
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const answers = await Promise.all(Array.from({ length: times }, async (): Promise<Answered> => {
    const answer = await hono.fetch(new Request(`${url}/api/v1${path}`, init));
    return { status: answer.status, body: await answer.json() };
  }));
  console.log(JSON.stringify(answers));
  await database.close();
  await lines.cancel();
}

if (import.meta.main) await main();
