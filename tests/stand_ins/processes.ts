/**
 * Servers that tests start: on a free port, never as root, and gone when the test process is gone,
 * even when that process was killed with -9.
 */

export interface Account {
  uid: number;
  gid: number;
}

export interface Leashed {
  /** Everything the server wrote so far. */
  log(): Promise<string>;
  /** True once the server has ended by itself. */
  hasEnded(): boolean;
  /** Ends the server and removes its folder. */
  stop(): Promise<void>;
}

/** The account servers run as when we are root, which Postgres and PgBouncer refuse to run as. */
export function unprivileged(): Account | undefined {
  if (Deno.uid() !== 0) return undefined;
  const accounts = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  const found = ["postgres", "nobody"].map((name) => accounts.find((row) => row[0] === name))
    .find((row) => row !== undefined);
  return { uid: Number(found?.[2] ?? 65534), gid: Number(found?.[3] ?? 65534) };
}

/** A temporary folder owned by the account the server runs as. */
export async function folderFor(account: Account | undefined, prefix: string): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix });
  if (account) await Deno.chown(folder, account.uid, account.gid);
  return folder;
}

export async function writeFor(account: Account | undefined, path: string, text: string) {
  await Deno.writeTextFile(path, text, { mode: 0o600 });
  if (account) await Deno.chown(path, account.uid, account.gid);
}

/** Below what systems give to whoever asks for any, so that nobody else is given it meanwhile. */
export function freePort(): number {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** Where a program is installed, or nothing. */
export function programPath(name: string): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"];
  return folders.filter((folder) => folder !== "").map((folder) => `${folder}/${name}`)
    .find(exists);
}

export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    const { NotFound, NotADirectory, PermissionDenied } = Deno.errors;
    if ([NotFound, NotADirectory, PermissionDenied].some((kind) => error instanceof kind)) {
      return false;
    }
    throw error;
  }
}

/** Runs a program to its end; a failure says what the program printed. */
export async function runToEnd(command: string[], account: Account | undefined): Promise<string> {
  const [program = "", ...args] = command;
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    ...account,
    cwd: "/",
    stdin: "null",
    env: { LC_ALL: "C" },
  }).output();
  const printed = new TextDecoder().decode(stdout);
  if (success) return printed;
  throw new Error(`${program} failed: ${printed}${new TextDecoder().decode(stderr)}`);
}

/**
 * The shell holds our end of a pipe open. When the test process ends, however it ends, the pipe
 * closes, the shell ends the server and removes its folder.
 */
const leashScript = `
folder=$1 signal=$2; shift 2
"$@" >"$folder/server.log" 2>&1 </dev/null & server=$!
exec 3<&0
{ read -r _ <&3; kill -s "$signal" "$server"; } 2>/dev/null & reader=$!
wait "$server"
echo "$?" >"$folder/ended"
kill "$reader" 2>/dev/null
read -r _ <&3
rm -rf "$folder"
`;

export function leash(
  command: string[],
  options: { folder: string; account: Account | undefined; signal: "QUIT" | "TERM" | "KILL" },
): Leashed {
  const { folder, account, signal } = options;
  const shell = new Deno.Command("/bin/sh", {
    args: ["-c", leashScript, "leash", folder, signal, ...command],
    ...account,
    cwd: "/",
    stdin: "piped",
    stdout: "null",
    stderr: "null",
    env: { LC_ALL: "C" },
  }).spawn();
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    await shell.stdin.close().catch(() => {});
    await shell.status;
  };
  return {
    log: () => Deno.readTextFile(`${folder}/server.log`).catch(() => ""),
    hasEnded: () => exists(`${folder}/ended`),
    stop: () => stopping ??= stop(),
  };
}

/** Waits until `isReady` says so; a server that ends or dawdles is an error with its log. */
export async function untilReady(server: Leashed, isReady: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!await isReady()) {
    if (server.hasEnded() || Date.now() > deadline) {
      const log = await server.log();
      await server.stop();
      throw new Error(`The server did not start. It wrote:\n${log}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function isListening(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

/** Waits, but not longer than until the stand-in stops, so that no timer outlives a test. */
export function pause(ms: number, stopping: AbortSignal): Promise<void> {
  if (ms <= 0 || stopping.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stopping.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    stopping.addEventListener("abort", done);
  });
}
