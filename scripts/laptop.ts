/** What a laptop needs to run the service with nothing set up: a locked folder, keys, an embedded database. */
import { embedded } from "../db/embedded.ts";
import { migrate, ownerOf } from "../db/migrate.ts";
import { type Database, open } from "../db/client.ts";
import { readEnv } from "../src/env.ts";
import { newKek } from "../src/secrets/keyring.ts";
import { type Process, services } from "../src/services.ts";

export class InUse extends Error {
  override name = "InUse";
}

type Kept = { SIGNING_KEYS: string; ENCRYPTION_KEYS: string };

/** A new Ed25519 key in the form of SIGNING_KEYS. */
export async function newSigningKey(state: "current" | "next") {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new Error("Ed25519 makes pairs");
  const { x = "", d = "" } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  return { kid: crypto.randomUUID().slice(0, 8), state, x, d };
}

/** The keys of this folder, made once. They protect nothing but what lies beside them. */
async function keptKeys(folder: string): Promise<Kept> {
  const file = `${folder}/keys.json`;
  const text = await Deno.readTextFile(file).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  });
  if (text !== null) return readKept(text, file);
  const kept = {
    SIGNING_KEYS: JSON.stringify([await newSigningKey("current")]),
    ENCRYPTION_KEYS: newKek("laptop"),
  };
  await Deno.writeTextFile(`${file}.new`, JSON.stringify(kept), { mode: 0o600 });
  await Deno.rename(`${file}.new`, file);
  return kept;
}

/** A damaged file is never replaced: what the old keys sealed would be lost with them. */
function readKept(text: string, file: string): Kept {
  try {
    const { SIGNING_KEYS, ENCRYPTION_KEYS } = JSON.parse(text);
    if (typeof SIGNING_KEYS === "string" && typeof ENCRYPTION_KEYS === "string") {
      return { SIGNING_KEYS, ENCRYPTION_KEYS };
    }
  } catch { /* The sentence below says what to do; the text itself is a secret. */ }
  throw new InUse(
    `${file} is damaged: put back a copy, or remove the whole folder to start afresh`,
  );
}

/** Holds the folder for this process: an embedded database takes one opener. */
async function lockFolder(folder: string): Promise<() => void> {
  const file = await Deno.open(`${folder}/lock`, { create: true, write: true });
  const won = await Promise.race([
    file.lock(true).then(() => true),
    new Promise<false>((resolve) => setTimeout(() => resolve(false), 500)),
  ]);
  if (!won) {
    throw new InUse(
      `Another process has ${folder} open: stop it, or set DATA_DIR to another folder`,
    );
  }
  return () => file.close();
}

export type Laptop = { process: Process; folder: string; port: number; close(): Promise<void> };

/** Opens DATA_DIR (or the database DATABASE_URL names), migrated, with keys of its own. */
export async function openLaptop(
  variables: Record<string, string | undefined>,
  progress: (line: string) => void = () => {},
): Promise<Laptop> {
  const folder = variables.DATA_DIR || ".data";
  const port = Number(variables.PORT || 8787);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new InUse(`PORT is ${variables.PORT}: give a port number, like 8787`);
  }
  await Deno.mkdir(folder, { recursive: true });
  const unlock = await lockFolder(folder);
  const env = readEnv({
    PUBLIC_URL: `http://localhost:${port}`,
    KEY_ENVIRONMENT: "dev",
    LOG_LEVEL: "warn",
    ALLOW_PRIVATE_HOSTS: "1",
    ...await keptKeys(folder),
    ...variables,
    DATABASE_URL: variables.DATABASE_URL || "postgres://embedded/switchboard",
  });
  const database = await openDatabase(variables, folder, progress);
  const process = await services({ env, database });
  const close = async () => {
    process[Symbol.dispose]();
    await database.close();
    unlock();
  };
  return { process, folder, port, close };
}

async function openDatabase(
  variables: Record<string, string | undefined>,
  folder: string,
  progress: (line: string) => void,
): Promise<Database> {
  if (variables.DATABASE_URL) {
    if (variables.MIGRATE_DATABASE_URL) {
      const owner = ownerOf(variables.MIGRATE_DATABASE_URL);
      for (const name of await migrate(owner)) progress(`  applied ${name}`);
      await owner.close();
    }
    return open(variables.DATABASE_URL);
  }
  progress(`Opening the embedded database in ${folder} …`);
  return await openEmbedded(folder, progress);
}

async function openEmbedded(folder: string, progress: (line: string) => void): Promise<Database> {
  const path = `${folder}/database`;
  const mark = unfinished(folder);
  const isHalf = await exists(mark);
  if (isHalf) await Deno.remove(path, { recursive: true }).catch(() => {});
  const isNew = isHalf || !await exists(path);
  if (isNew) await Deno.writeTextFile(mark, "");
  const database = await embedded(path);
  for (const name of await migrate(database)) progress(`  applied ${name}`);
  if (isNew) await Deno.remove(mark);
  return database;
}

/**
 * Stands in the folder while a database is made or the first world is put in. Found at a start, it
 * tells that the one who did that was killed: nobody was told a password yet, so it begins again.
 */
export const unfinished = (folder: string) => `${folder}/unfinished`;

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);
