/** Walks through the main job with real answers: against the running service, or one it starts. */
import { narrator, NotAsSaid } from "./narrator.ts";
import type { DemoWorld } from "./seed.ts";
import { walk } from "./walk.ts";
import { walkIdentity } from "./walk_identity.ts";
import { walkTeams } from "./walk_teams.ts";

const help = `deno task demo

Tells the main job step by step, with real answers: a reseller looks after its customers, rights are
given, explained and taken away; an operator adds a platform to the catalogue, a company registers it, a person connects an account at a real OAuth provider (a local one), the service
keeps its token valid; a team chats with a real OpenAI client and over Telegram. Uses the service of DATA_DIR (.data) when it runs, else starts it for the
walk-through. Ends with an error when a step is not as said.`;

const folder = Deno.env.get("DATA_DIR") || ".data";
const told = narrator();

async function runningWorld(): Promise<DemoWorld | null> {
  try {
    const world: DemoWorld = JSON.parse(await Deno.readTextFile(`${folder}/demo.json`));
    const health = await fetch(`${world.url}/health`, { signal: AbortSignal.timeout(2_000) });
    const answer = await health.json();
    return answer.status === "ok" ? world : null;
  } catch {
    return null;
  }
}

/** The running service's world, or that of one started here; `stop` ends only the latter. */
async function serviceWorld(): Promise<{ world: DemoWorld; stop: () => Promise<void> }> {
  const running = await runningWorld();
  if (running) return { world: running, stop: () => Promise.resolve() };
  told.tell("The service is not running: starting it, which takes a moment the first time …");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("dev.ts", import.meta.url).pathname],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const stop = async () => {
    child.kill("SIGTERM");
    await child.status;
  };
  let ended = false;
  child.status.then(() => ended = true);
  for (let tries = 0; tries < 600 && !ended; tries++) {
    const world = await runningWorld();
    if (world) return { world, stop };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (!ended) await stop();
  throw new NotAsSaid("The service did not start: run deno task dev to see why");
}

async function main() {
  const { world, stop } = await serviceWorld();
  try {
    told.tell(`The service listens on ${world.url}`);
    await walkIdentity(world, told);
    await walk(world, told);
    await walkTeams(world, told);
    console.log(`\nAll as said: ${told.checks} checks.`);
  } finally {
    await stop();
  }
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await main().catch((error: unknown) => {
    console.error(`\n${error instanceof NotAsSaid ? error.message : error}`);
    Deno.exit(1);
  });
}
