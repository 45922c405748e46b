/** Runs the whole service on a laptop: embedded database, in-process cache, an invented world. */
import { app } from "../src/app.ts";
import { EnvError } from "../src/env.ts";
import { startJobs } from "../src/jobs.ts";
import { InUse, type Laptop, openLaptop } from "./laptop.ts";
import { type DemoWorld, seedDemo } from "./seed.ts";

const help = `deno task dev

Starts Switchboard on this machine with nothing set up: an embedded database in DATA_DIR, keys of
its own, and an invented world to sign in to. Variables: PORT (8787), DATA_DIR (.data),
DATABASE_URL (a Postgres instead of the embedded one), LOG_LEVEL (warn).`;

/** Seeds once; the world is read from the folder after that. */
async function worldOf({ process, folder }: Laptop): Promise<DemoWorld | null> {
  const file = `${folder}/demo.json`;
  const seeded = await seedDemo(process);
  if (seeded) {
    await Deno.writeTextFile(file, JSON.stringify(seeded, null, 2) + "\n", { mode: 0o600 });
    return seeded;
  }
  try {
    const world: DemoWorld = JSON.parse(await Deno.readTextFile(file));
    if (world.url === process.publicUrl) return world;
    const moved = { ...world, url: process.publicUrl };
    await Deno.writeTextFile(file, JSON.stringify(moved, null, 2) + "\n", { mode: 0o600 });
    return moved;
  } catch {
    return null;
  }
}

function greet(world: DemoWorld | null, url: string, folder: string) {
  const line = (who: string, { email, password }: { email: string; password: string }) =>
    `  ${who.padEnd(28)} ${email.padEnd(34)} ${password}`;
  console.log(`\nSwitchboard listens on ${url}`);
  console.log(`  reference ${url}/docs · contract ${url}/openapi.json · health ${url}/health\n`);
  if (!world) return console.log(`The people of this database are not the demo's.`);
  console.log("Sign in as:");
  console.log(line("operator", world.operator));
  for (const { name, admin, member } of world.tenants) {
    console.log(line(`${name}, admin`, admin));
    console.log(line(`${name}, member`, member));
  }
  console.log(`\nAlso in ${folder}/demo.json. Walk through it all with: deno task demo`);
}

async function main() {
  const laptop = await openLaptop(Deno.env.toObject(), console.log);
  const world = await worldOf(laptop);
  const { process, port } = laptop;
  const hono = app(process, {
    requestsPerMinute: 6_000,
    tenantRequestsPerMinute: 60_000,
    trustForwardedFor: false,
  });
  const stopJobs = startJobs(process);
  const server = Deno.serve({
    port,
    onListen: () => greet(world, process.publicUrl, laptop.folder),
  }, (request, info) => hono.fetch(request, { remoteAddr: info.remoteAddr }));
  const stop = async () => {
    stopJobs();
    await server.shutdown();
    await laptop.close();
    Deno.exit(0);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await main().catch((error: unknown) => {
    const isOurs = error instanceof EnvError || error instanceof InUse;
    console.error(isOurs ? error.message : error);
    Deno.exit(1);
  });
}
