/** Keys are rotated while the service serves, by a command that is killed again and again. */
import assert from "node:assert/strict";
import { and, eq } from "drizzle-orm";
import { open } from "../../db/client.ts";
import { platformCredentials } from "../../db/schema/platforms.ts";
import { read, transact } from "../../src/context.ts";
import { announce, ANNOUNCE_MS } from "../../src/secrets/instances.ts";
import { at } from "../../src/secrets/places.ts";
import {
  type Admin,
  both,
  k2,
  keepSecrets,
  type Kept,
  newTenant,
  postgresHouse,
  type Process,
  processOf,
  sealedUnder,
  wrongIn,
} from "../secrets/house.ts";
import { postgres } from "../stand_ins/postgres.ts";

const TENANTS = 20;
const SECRETS_EACH = 20; // Rows of four sealed values.
const REQUESTS_PER_SECOND = 50;
const KILLS = 4;

type Row = { kept: Kept; written: Set<string> };

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const any = <T>(list: T[]): T => {
  const one = list[Math.floor(Math.random() * list.length)];
  assert.ok(one);
  return one;
};

async function readSecret({ ctxOf, vault }: Process, { kept, written }: Row) {
  const ctx = ctxOf(kept.tenantId);
  const { id, tenantId, clientSecret } = platformCredentials;
  const rows = await read(ctx, ({ db }) =>
    db.select({ clientSecret }).from(platformCredentials)
      .where(and(eq(tenantId, kept.tenantId), eq(id, kept.credentialId))));
  const sealed = rows[0]?.clientSecret ?? "";
  const plain = await vault.open(ctx, at(clientSecret, kept.credentialId), sealed);
  assert.ok(written.has(plain.reveal()), "a read answered what was never written");
}

async function writeSecret({ ctxOf, vault }: Process, { kept, written }: Row) {
  const ctx = ctxOf(kept.tenantId);
  const { id, tenantId } = platformCredentials;
  const text = crypto.randomUUID();
  const spot = at(platformCredentials.clientSecret, kept.credentialId);
  const clientSecret = await vault.seal(ctx, spot, text);
  written.add(text);
  await transact(ctx, ({ db }) =>
    db.update(platformCredentials).set({ clientSecret })
      .where(and(eq(tenantId, kept.tenantId), eq(id, kept.credentialId))));
}

/** Requests at a steady rate over all processes, four reads to a write, until it is stopped. */
function load(processes: Process[], rows: Row[], newRow: (process: Process) => Promise<void>) {
  const counts = { reads: 0, writes: 0, made: 0, failures: new Array<string>() };
  const running = new Set<Promise<void>>();
  let at = 0;
  const tick = () => {
    const process = any(processes);
    at++;
    const kind = at % 25 === 0
      ? "made" as const
      : at % 5 === 0
      ? "writes" as const
      : "reads" as const;
    const work = kind === "made"
      ? newRow(process)
      : (kind === "writes" ? writeSecret : readSecret)(process, any(rows));
    const request = work.then(() => void counts[kind]++, (error) => {
      counts.failures.push(`${kind}: ${error}`);
    }).finally(() => running.delete(request));
    running.add(request);
  };
  const timer = setInterval(tick, 1_000 / REQUESTS_PER_SECOND);
  return async () => {
    clearInterval(timer);
    await Promise.all(running);
    return counts;
  };
}

function keysCommand(url: string, encryptionKeys: string, ...args: string[]) {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "scripts/keys.ts", ...args],
    cwd: new URL("../../", import.meta.url),
    env: { DATABASE_URL: url, ENCRYPTION_KEYS: encryptionKeys, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs the command to its end and answers what it wrote. */
async function keysRun(url: string, encryptionKeys: string, ...args: string[]) {
  const { code, stdout, stderr } = await keysCommand(url, encryptionKeys, ...args).output();
  return { code, written: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

/** Three processes that serve one database and announce themselves. */
async function instances(url: string) {
  const databases = [1, 2, 3].map(() => open(url, { poolSize: 5 }));
  const processes = databases.map((database) => processOf(database, both));
  const present = () =>
    Promise.all(
      processes.map(({ root, keyring }, i) => announce(root, ids[i] ?? "", keyring)),
    );
  const ids = processes.map(() => crypto.randomUUID());
  await present();
  const heart = setInterval(present, ANNOUNCE_MS);
  const stop = async () => {
    clearInterval(heart);
    await Promise.all(databases.map((database) => database.close()));
  };
  return { processes, database: any(databases), [Symbol.asyncDispose]: stop };
}

/** Rows with secrets in several tenants, and a way to make more. */
async function shelf(admin: Admin, seeder: Process) {
  const rows: Row[] = [];
  const keep = async (process: Process, tenantId: string) => {
    const kept = await keepSecrets(process, tenantId, crypto.randomUUID());
    rows.push({ kept, written: new Set([`${kept.text}-client`]) });
  };
  const tenants = await Promise.all(Array.from({ length: TENANTS }, () => newTenant(admin)));
  for (const tenantId of tenants) {
    for (let i = 0; i < SECRETS_EACH; i++) await keep(seeder, tenantId);
    await seeder.vault.ready(seeder.ctxOf(tenantId));
  }
  const newRow = async (process: Process) =>
    await keep(process, Math.random() < 0.5 ? any(tenants) : await newTenant(admin));
  return { rows, newRow };
}

/** Starts re-encryption, kills it once it has done some of its work, and so on. */
async function killAgainAndAgain(url: string, admin: Admin) {
  for (let kill = 0, done = 0; kill < KILLS; kill++) {
    const child = keysCommand(url, both, "reencrypt", "--batch", "1", "--grace-minutes", "0");
    const deadline = Date.now() + 30_000;
    for (let now = done; now < done + 100;) {
      assert.ok(Date.now() < deadline, "reencrypt gets nowhere");
      now = (await sealedUnder(admin))["k2/current"] ?? 0;
      await pause(20);
    }
    child.kill("SIGKILL");
    assert.ok(!(await child.output()).success);
    const { "k2/current": fresh = 0, ...rest } = await sealedUnder(admin);
    assert.ok(Object.values(rest).some((values) => values > 0), "it was killed after the end");
    done = fresh;
  }
}

Deno.test("keys reencrypt under load, killed and resumed, fails no request and leaves no row", async () => {
  await using server = await postgres();
  await using house = await postgresHouse(server);
  const { url, admin } = house;
  await using running = await instances(url);
  const { rows, newRow } = await shelf(admin, any(running.processes));
  const stop = load(running.processes, rows, newRow);
  const keys = (...args: string[]) => keysRun(url, both, ...args);

  assert.match((await keys("promote", "k2")).written, /not registered: add it first/);
  assert.equal((await keys("add", "k2")).code, 0);
  assert.match((await keys("promote", "k2", "--dry-run")).written, /Nothing was changed/);
  assert.match((await keys("status")).written, /k2 {2}added {2}here: held/);
  assert.equal((await keys("promote", "k2")).code, 0);
  assert.match((await keys("retire", "k1")).written, /still wraps \d+ data keys/);

  await killAgainAndAgain(url, admin);
  const { code, written } = await keys("reencrypt", "--grace-minutes", "0");
  assert.equal(code, 0, written);
  const under = await sealedUnder(admin);
  assert.deepEqual(Object.keys(under), ["k2/current"], JSON.stringify(under));
  assert.equal((await keys("retire", "k1")).code, 0);
  await pause(1_000);
  const counts = await stop();
  assert.deepEqual(counts.failures, []);

  const later = processOf(running.database, k2);
  for (const row of rows) {
    await readSecret(later, row);
    const wrong = await wrongIn(later, row.kept);
    assert.deepEqual(wrong.filter((line) => !line.includes("client_secret")), []);
  }
  assert.deepEqual(Object.keys(await sealedUnder(admin)), ["k2/current"]);
  console.log(
    `${counts.reads} reads, ${counts.writes} writes, ${counts.made} new rows, 0 failed; ` +
      `${under["k2/current"]} values; killed ${KILLS} times`,
  );
});
