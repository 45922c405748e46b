/**
 * One process of the service among several: asks for one binding's token many times at once, and
 * stops before it writes a refreshed one when it is told to, so that it can be killed there.
 */
import { open } from "../../../db/client.ts";
import { asSystem, type TenantCtx } from "../../../src/context.ts";
import { readEnv } from "../../../src/env.ts";
import { Fault } from "../../../src/errors.ts";
import { accessToken } from "../../../src/platforms/bindings.ts";
import type { Timing } from "../../../src/platforms/refresh.ts";
import { services } from "../../../src/services.ts";
import { TextLineStream } from "./lines.ts";

export type Order = {
  variables: Record<string, string>;
  tenantId: string;
  userId: string;
  bindingId: string;
  times: number;
  timing: Timing;
  /** Hangs for ever between the provider's answer and our commit, having written `stopped`. */
  stopsBeforeCommit: boolean;
};
export type Told = { tokens: string[]; reasons: string[]; ms: number };

async function service({ variables, stopsBeforeCommit }: Order) {
  const env = readEnv(variables);
  const process = await services({ env, database: open(env.DATABASE_URL, { poolSize: 10 }) });
  const { secrets } = process;
  const seal: typeof secrets.seal = async (ctx, spot, plain) => {
    if (stopsBeforeCommit && spot.table === "user_platform_bindings") {
      console.log("stopped");
      await new Promise<never>(() => setInterval(() => {}, 60_000));
    }
    return await secrets.seal(ctx, spot, plain);
  };
  return { ...process, secrets: { ...secrets, seal } };
}

async function main() {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  const next = async () => (await lines.read()).value ?? "";
  const order: Order = JSON.parse(await next());
  const { tenantId, userId, bindingId: id, timing } = order;
  const process = await service(order);
  console.log("ready");
  await next();
  const began = performance.now();
  const told: Told = { tokens: [], reasons: [], ms: 0 };
  await Promise.all(Array.from({ length: order.times }, async () => {
    const actor = { type: "user" as const, tenantId, id: userId };
    const ctx: TenantCtx = { ...asSystem(process, tenantId), actor, userId, reach: "self" };
    try {
      told.tokens.push((await accessToken(ctx, { id }, timing)).accessToken);
    } catch (error) {
      told.reasons.push(error instanceof Fault ? error.reason : String(error));
    }
  }));
  told.ms = Math.round(performance.now() - began);
  console.log(JSON.stringify(told));
  await process.database.close();
  await lines.cancel();
}

if (import.meta.main) await main();
