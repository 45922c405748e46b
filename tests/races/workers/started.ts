/** Starts a worker script as a process of its own and speaks with it in lines. */
import { TextLineStream } from "./lines.ts";

export type Started = AsyncDisposable & {
  readonly child: Deno.ChildProcess;
  say(line: string): Promise<void>;
  /** The next line it writes; fails when it ends first. */
  hear(): Promise<string>;
  /** -9, as a machine that loses power. */
  kill(): Promise<void>;
};

/** `script` is a path below the project's root. */
export function started(script: string, env: Record<string, string> = {}): Started {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script],
    cwd: new URL("../../../", import.meta.url),
    env: { NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  const writer = child.stdin.getWriter();
  const hear = async () => {
    const { value, done } = await lines.read();
    if (done) throw new Error(`${script} ended without a word`);
    return value;
  };
  const end = async () => {
    await writer.close().catch(() => {});
    await lines.cancel().catch(() => {});
    await child.status;
  };
  const kill = async () => {
    child.kill("SIGKILL");
    await end();
  };
  return {
    child,
    say: (line) => writer.write(new TextEncoder().encode(line + "\n")),
    hear,
    kill,
    [Symbol.asyncDispose]: end,
  };
}
