/** Runs the whole service on a laptop: embedded database, in-process cache, an invented world. */
import { sql } from "drizzle-orm";
import { app } from "../src/app.ts";
import { startJobs } from "../src/jobs.ts";
import type { Mailer } from "../src/mailer.ts";
import { startFailure } from "../src/start_failures.ts";
import { windUp } from "../src/teams/gateway/exchanges.ts";
import { rounds } from "../src/teams/rounds.ts";
import { ROOT_TENANT } from "../src/topics.ts";
import { developmentUpstream } from "./development_models.ts";
import { InUse, type Laptop, openLaptop, unfinished } from "./laptop.ts";
import { type DemoWorld, seedDemo, seedTeam } from "./seed.ts";

const help = `deno task dev

Starts Switchboard on this machine with nothing set up: an embedded database in DATA_DIR, keys of
its own, and an invented world to sign in to. Variables: PORT (8787), DATA_DIR (.data),
DATABASE_URL (a Postgres instead of the embedded one), LOG_LEVEL (warn). Messages to people are
shown here, unless SMTP_URL and MAIL_FROM name a mail server. Teams chat with the development
upstream, which has no model behind it, unless OPENROUTER_API_KEY or OPENAI_API_KEY is set.`;

const inTerminal: Mailer = ({ to, subject, text }) => {
  const lines = text.trimEnd().split("\n").map((line) => `  │ ${line}`.trimEnd());
  console.log([`\n  Message to ${to}: ${subject}`, ...lines, ""].join("\n"));
  return Promise.resolve();
};

/** Seeds once; the world is read from the folder after that. */
async function worldOf(
  { process, folder }: Laptop,
  models: readonly string[],
): Promise<DemoWorld | null> {
  const file = `${folder}/demo.json`;
  const { database } = process;
  const [someone] = await database.query(sql`select * from tenant_ids(null, 1)`);
  if (!someone) {
    const mark = database.driver === "embedded" ? unfinished(folder) : null;
    if (mark) await Deno.writeTextFile(mark, "");
    const seeded = await seedDemo(process, models);
    if (seeded) await keep(file, seeded);
    if (mark) await Deno.remove(mark);
    return seeded;
  }
  try {
    const world: DemoWorld = JSON.parse(await Deno.readTextFile(file));
    const { publicUrl: url } = process;
    // A folder from before there were teams gets one; its key is kept in the file alone.
    const team = world.team
      ? { ...world.team, models: [...models] }
      : await seedTeam(process, world.tenants[0]?.id ?? ROOT_TENANT, models);
    const now = { ...world, url, team };
    if (JSON.stringify(world) !== JSON.stringify(now)) await keep(file, now);
    return now;
  } catch {
    return null;
  }
}

/** Whole or not at all: these passwords are written nowhere else. */
async function keep(file: string, world: DemoWorld) {
  await Deno.writeTextFile(`${file}.new`, JSON.stringify(world, null, 2) + "\n", { mode: 0o600 });
  await Deno.rename(`${file}.new`, file);
}

function greet(
  world: DemoWorld | null,
  { url, folder, by }: { url: string; folder: string; by: string },
) {
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
  const { api_key, models } = world.team;
  console.log(`\nChat at ${url}/v1 with any OpenAI client (models of the ${by}):`);
  console.log(`  key    ${api_key}\n  models ${models.join(", ")}`);
  console.log(`\nAlso in ${folder}/demo.json. Walk through it all with: deno task demo`);
}

const WIND_UP_MS = 3_000;

async function main() {
  const laptop = await openLaptop(Deno.env.toObject(), console.log);
  const { process, port } = laptop;
  const development = await developmentUpstream(Deno.env.toObject());
  const world = await worldOf(laptop, development.models);
  if (world) await development.register(process); // Nobody else's models are changed.
  if (!Deno.env.get("SMTP_URL")) process.mailer = inTerminal;
  const hono = app(process, {
    requestsPerMinute: 6_000,
    tenantRequestsPerMinute: 60_000,
    trustForwardedFor: false,
  });
  const stopJobs = startJobs(process, rounds);
  const server = Deno.serve({
    port,
    onListen: () =>
      greet(world, { url: process.publicUrl, folder: laptop.folder, by: development.by }),
  }, (request, info) => hono.fetch(request, info));
  const stop = async () => {
    stopJobs();
    await Promise.all([server.shutdown(), windUp(process, WIND_UP_MS)]);
    await development.stop();
    await laptop.close();
    Deno.exit(0);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await main().catch((error: unknown) => {
    const isTaken = error instanceof Deno.errors.AddrInUse;
    const sentence = isTaken
      ? "PORT is taken by another program: stop it, or set PORT to another number"
      : error instanceof InUse
      ? error.message
      : startFailure(error, Deno.env.get("DATABASE_URL"));
    console.error(sentence ?? error);
    Deno.exit(1);
  });
}
