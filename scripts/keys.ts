/** Makes, promotes and retires the keys that encrypt secrets, and re-encrypts under a new one. */
import process from "node:process";
import { parseArgs } from "node:util";
import { open } from "../db/client.ts";
import { asSystem, type TenantCtx, transact } from "../src/context.ts";
import { Fault } from "../src/errors.ts";
import { add, promote, retire, status } from "../src/secrets/encryption_keys.ts";
import { type Keyring, KeyringError, keyringOf, newKek } from "../src/secrets/keyring.ts";
import { offline } from "../src/secrets/offline.ts";
import { GRACE_MS, type Outcome, reencrypt } from "../src/secrets/reencryption.ts";
import { ROOT_TENANT } from "../src/topics.ts";
import {
  added,
  type Clock,
  NotYet,
  promoted,
  readSigningKeys,
  retired,
  ROLLOUT_MS,
  statusOf,
} from "./signing_keys.ts";

const HELP = `Keys that encrypt secrets (ENCRYPTION_KEYS), and keys that sign tokens (SIGNING_KEYS).

  deno task keys status              the keys, who holds them and what is under them
  deno task keys add [id]            makes a key; run again when ENCRYPTION_KEYS holds it
  deno task keys promote <id>        new data keys are wrapped by it; every instance must hold it
  deno task keys reencrypt           brings every secret under the promoted key, while serving
  deno task keys retire <id>         takes a key out of use once nothing is under it

  deno task keys signing status      the keys that sign tokens, and when each may go on
  deno task keys signing add         makes one; a second is published and does not sign yet
  deno task keys signing promote     the published one signs, once everybody can know it
  deno task keys signing retire      takes the old one out, once its tokens have ended

  --dry-run            says what would happen and changes nothing
  --batch <n>          reencrypt: values in one transaction, 1 to 1000 (100)
  --grace-minutes <n>  reencrypt: drop data keys unused for this long (${GRACE_MS / 60_000})
  --rollout-minutes <n> signing: until every instance runs with a new SIGNING_KEYS (${
  ROLLOUT_MS / 60_000
})
  --help

Rotation: add, put the key into ENCRYPTION_KEYS of every instance and restart them, add again,
promote, reencrypt, retire, take the old key out. Each step can be repeated, and killed.
Signing keys: add, promote, retire; each reads SIGNING_KEYS, changes nothing and prints what to set
it to on every instance at once; each says from when on it may be done. They need no database.
Reads DATABASE_URL (the service's role), DATABASE_DRIVER, DATABASE_WEBSOCKET_PROXY and
ENCRYPTION_KEYS.`;

class Usage extends Error {}

const say = (text: string) => console.error(text);

function readArguments(args: string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: "boolean", short: "h", default: false },
      "dry-run": { type: "boolean", default: false },
      batch: { type: "string", default: "100" },
      "grace-minutes": { type: "string", default: String(GRACE_MS / 60_000) },
      "rollout-minutes": { type: "string", default: String(ROLLOUT_MS / 60_000) },
    },
  });
  type Counted = "batch" | "grace-minutes" | "rollout-minutes";
  const whole = (name: Counted, least: number, most: number) => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new Usage(`--${name} takes a whole number from ${least} to ${most}`);
  };
  return {
    words: positionals,
    help: values.help,
    dryRun: values["dry-run"],
    batch: whole("batch", 1, 1000),
    graceMs: whole("grace-minutes", 0, 100_000) * 60_000,
    rolloutMs: whole("rollout-minutes", 0, 100_000) * 60_000,
  };
}
type Arguments = ReturnType<typeof readArguments>;

type Desk = { root: TenantCtx; keyring: Keyring; ctxOf: (tenantId: string) => TenantCtx };

/** Opens the database for as long as `work` lasts. */
async function atDesk<T>(work: (desk: Desk) => Promise<T>): Promise<T> {
  const { DATABASE_URL, DATABASE_DRIVER: driver, DATABASE_WEBSOCKET_PROXY } = process.env;
  if (!DATABASE_URL) throw new Usage("DATABASE_URL is not set: give the service role's address");
  const keyring = keyringOf(process.env.ENCRYPTION_KEYS ?? "");
  const database = open(DATABASE_URL, {
    poolSize: 2,
    ...(driver === "neon" || driver === "postgres" ? { driver } : {}),
    ...(DATABASE_WEBSOCKET_PROXY ? { webSocketProxy: DATABASE_WEBSOCKET_PROXY } : {}),
  });
  const services = offline(database, keyring);
  const ctxOf = (tenantId: string) => asSystem(services, tenantId);
  try {
    return await work({ keyring, ctxOf, root: ctxOf(ROOT_TENANT) });
  } finally {
    await database.close();
  }
}

class Rehearsed extends Error {}

/** Does `work` and says what is so now; with dryRun takes it back before it is committed. */
async function change(
  desk: Desk,
  dryRun: boolean,
  work: (ctx: TenantCtx) => Promise<unknown>,
  done: string,
) {
  if (!dryRun) {
    await work(desk.root);
    return say(done);
  }
  await transact(desk.root, async (ctx) => {
    await work(ctx);
    throw new Rehearsed();
  }).catch((error) => {
    if (!(error instanceof Rehearsed)) throw error;
  });
  say("Nothing stands in the way. Nothing was changed (--dry-run).");
}

async function showStatus(desk: Desk) {
  for (const key of await status(desk.root, desk.keyring)) {
    const { holding, live } = key.instances;
    console.log(
      `${key.id}  ${key.state}  here: ${key.here}  data keys: ${key.dataKeys}  ` +
        `instances: ${holding} of ${live}`,
    );
  }
}

const heldHere = () => process.env.ENCRYPTION_KEYS ? keyringOf(process.env.ENCRYPTION_KEYS) : null;

/** `k3` after k1 and k2. */
function nextId(taken: readonly string[]): string {
  const numbers = taken.map((id) => Number(/^k(\d{1,9})$/.exec(id)?.[1] ?? 0));
  return `k${Math.max(0, ...numbers) + 1}`;
}

async function addKey(id: string | undefined, { dryRun }: Arguments) {
  const held = heldHere();
  if (id !== undefined && held?.has(id)) {
    return await atDesk((desk) =>
      change(desk, dryRun, (ctx) => add(ctx, desk.keyring, id), `${id} is registered.`)
    );
  }
  const wanted = id ?? nextId(held?.ids ?? []);
  const entry = newKek(wanted);
  keyringOf(entry); // Refuses an id that could not be read back.
  say(
    held
      ? "Put a comma and this behind what ENCRYPTION_KEYS holds, on every instance; restart them;"
      : "Set ENCRYPTION_KEYS to this on every instance; restart them;",
  );
  say(`then run: deno task keys add ${wanted}. Keep a copy: what it encrypts is lost with it.`);
  console.log(entry);
}

async function runReencrypt(desk: Desk, { dryRun, batch, graceMs }: Arguments): Promise<number> {
  let shown = 0;
  const progress = (o: Readonly<Outcome>) => {
    if (Date.now() - shown < 1_000) return;
    shown = Date.now();
    say(`pass ${o.passes}: ${o.tenants} tenants, ${o.values} values sealed anew`);
  };
  const outcome = await reencrypt({ ...desk, batch, graceMs, dryRun, progress });
  console.log(
    `${dryRun ? "To do" : "Done"}: ${outcome.values} values sealed anew, ` +
      `${outcome.keysMade} data keys made, ${outcome.keysWrapped} wrapped anew, ` +
      `${outcome.keysDropped} dropped, in ${outcome.tenants} tenants and ${outcome.passes} passes.`,
  );
  if (outcome.keysKept > 0) {
    say(`${outcome.keysKept} old data keys stay for now. Run it again later to drop them.`);
  }
  for (const { tenantId, table, row, column } of outcome.examples) {
    say(`Cannot be read: ${table}.${column} of row ${row}, tenant ${tenantId}`);
  }
  if (outcome.unreadable > 0) say(`${outcome.unreadable} values cannot be read; they were left.`);
  for (const { tenantId, message } of outcome.failures) say(`Tenant ${tenantId}: ${message}`);
  return outcome.unreadable + outcome.failures.length > 0 ? 1 : 0;
}

/** One stage of the keys that sign tokens: prints the list to set, or says why it is not time. */
async function turnSigningKeys(verb: string | undefined, kid: string | undefined, clock: Clock) {
  const keys = readSigningKeys(process.env.SIGNING_KEYS);
  if (verb === "status") return console.log(statusOf(keys, clock).join("\n"));
  if (verb === "add" && kid !== undefined) throw new Usage(`${kid} is one word too many`);
  const turned = verb === "add"
    ? await added(keys, clock)
    : verb === "promote"
    ? promoted(keys, clock, kid)
    : verb === "retire"
    ? retired(keys, clock, kid)
    : null;
  if (!turned) throw new Usage(`There is no "signing ${verb ?? ""}"`);
  say("Set SIGNING_KEYS to this, on every instance, and restart them:");
  console.log(JSON.stringify(turned));
  for (const line of statusOf(turned, clock)) say(line);
}

const named = (id: string | undefined): string => {
  if (id === undefined) throw new Usage("Name the key");
  return id;
};

const promoteKey = (id: string, { dryRun }: Arguments) =>
  atDesk((desk) => {
    const done = `${id} is primary. Next: deno task keys reencrypt`;
    return change(desk, dryRun, (ctx) => promote(ctx, desk.keyring, id), done);
  });

const retireKey = (id: string, { dryRun }: Arguments) =>
  atDesk((desk) => {
    const done = `${id} is retired. Take it out of ENCRYPTION_KEYS once no backup needs it.`;
    return change(desk, dryRun, (ctx) => retire(ctx, id), done);
  });

async function run(args: Arguments): Promise<number> {
  const [verb, id, ...rest] = args.words;
  if (args.help || verb === undefined) console.log(HELP);
  else if (verb === "signing" && rest.length <= 1) {
    await turnSigningKeys(id, rest[0], { now: new Date(), rolloutMs: args.rolloutMs });
  } else if (rest.length > 0) throw new Usage(`${rest[0]} is one word too many`);
  else if (verb === "status") await atDesk(showStatus);
  else if (verb === "add") await addKey(id, args);
  else if (verb === "reencrypt") return await atDesk((desk) => runReencrypt(desk, args));
  else if (verb === "promote") await promoteKey(named(id), args);
  else if (verb === "retire") await retireKey(named(id), args);
  else throw new Usage(`There is no "${args.words.join(" ")}"`);
  return 0;
}

/** Runs one command line; answers the exit code: 1 refused or unfinished, 2 not understood. */
async function main(args: string[]): Promise<number> {
  try {
    return await run(readArguments(args));
  } catch (error) {
    const isParsing = error instanceof TypeError && "code" in error;
    if (error instanceof Usage || isParsing) {
      say(`${error.message}. See: deno task keys --help`);
      return 2;
    }
    const isRefusal = [Fault, KeyringError, NotYet].some((kind) => error instanceof kind);
    if (!isRefusal || !(error instanceof Error)) throw error;
    say(error.message);
    return 1;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
