/** Measures of API keys against better-auth's, which runs beside us on the same Postgres. */
import { principals } from "../../src/access/principals.ts";
import * as apiKeys from "../../src/identity/api_keys.ts";
import { frame } from "../../src/context.ts";
import { median, perSecond, run } from "./measure.ts";
import type { Stage } from "./stage.ts";

const folder = new URL("./better_auth/", import.meta.url);
const baselineName = "better-auth 1.7.5 and its api-key plugin, storage in the same Postgres, " +
  "its rate limit per key off, else its defaults";

/** Another process that verifies keys of its own with better-auth. */
async function betterAuth(on: Stage) {
  const { username } = new URL(on.env.DATABASE_URL);
  await on.asOwner("create schema if not exists better_auth");
  await on.asOwner(`grant usage, create on schema better_auth to ${username}`);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", "--config", "deno.json", "main.ts", on.env.DATABASE_URL],
    cwd: folder,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const answers = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const writer = child.stdin.getWriter();
  let read = "";
  const line = async () => {
    while (!read.includes("\n")) {
      const { value, done } = await answers.read();
      if (done) throw new Error("better-auth ended: its own words stand above");
      read += value;
    }
    const [first = "", ...rest] = read.split("\n");
    read = rest.join("\n");
    return first;
  };
  await line(); // It is ready.
  return {
    /** Verifications a second: `verify`, or `defaults` with the limit it has unless told otherwise. */
    perSecond: async (what: "verify" | "defaults", times: number) => {
      await writer.write(new TextEncoder().encode(`${what} ${times}\n`));
      return times / Number(await line());
    },
    stop: async () => {
      await writer.close();
      await answers.cancel();
      await child.status;
    },
  };
}

async function minted({ process, admin, tenantId }: Stage): Promise<string> {
  const ctx = {
    ...process,
    principal: admin,
    requestId: "bench",
    address: "127.0.0.1",
    userAgent: null,
    ifMatch: null,
    idempotencyKey: null,
    tenantId,
    actor: admin.actor,
    userId: admin.userId,
    reach: "tenant" as const,
    frame: frame(),
  };
  return (await apiKeys.create(ctx, { name: "bench", scopes: ["platforms.read"] })).key;
}

/** Turns of `ours` and of better-auth; its figure with its defaults goes to standard error. */
async function against(on: Stage, bench: string, times: number, find: () => Promise<unknown>) {
  const verify = async () => {
    if (!await find()) throw new Error("The key was refused");
  };
  const theirs = await betterAuth(on);
  await run(bench, {
    unit: "verifications/s",
    baselineName,
    turns: 7,
    turn: async () => [await perSecond(times, verify), await theirs.perSecond("verify", 500)],
  });
  const byDefault: number[] = [];
  for (let turn = 0; turn < 3; turn++) byDefault.push(await theirs.perSecond("defaults", 500));
  console.error(`${bench}: better-auth with its defaults ${median(byDefault).toFixed(0)}/s`);
  await theirs.stop();
}

/** Keys in use, as a process sees them again and again. */
export async function apiKeyVsBetterAuth(on: Stage): Promise<void> {
  const key = await minted(on);
  const { find } = principals(on.process);
  await against(on, "api_key_vs_better_auth", 50_000, () => find(null, key));
}

/** Each time a process that never saw the key. */
export async function apiKeyColdVsBetterAuth(on: Stage): Promise<void> {
  const key = await minted(on);
  const find = () => principals(on.process).find(null, key);
  await against(on, "api_key_cold_vs_better_auth", 1_000, find);
}
