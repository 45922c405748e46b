/** The service as an operator starts it: with the permissions it needs and no more. */
import { serving } from "../../scripts/serving.ts";
import { environment } from "../kit.ts";
import type { House } from "../db/house.ts";
import { freePort } from "../stand_ins/processes.ts";
import { until } from "../db/house.ts";

export type Variables = Record<string, string>;

const root = new URL("../../", import.meta.url);
/** Nothing of the machine that runs the tests reaches the service but where programs are. */
const machine = () => ({
  PATH: Deno.env.get("PATH") ?? "",
  HOME: Deno.env.get("HOME") ?? "",
  NO_COLOR: "1",
  ...(Deno.env.get("DENO_DIR") ? { DENO_DIR: Deno.env.get("DENO_DIR") ?? "" } : {}),
});

/** All variables the service must have, for one database. */
export async function variablesFor(home: Pick<House, "url">): Promise<Variables> {
  const env = await environment();
  return {
    DATABASE_URL: home.url,
    PUBLIC_URL: "http://switchboard.test",
    SIGNING_KEYS: JSON.stringify(env.SIGNING_KEYS),
    ENCRYPTION_KEYS: env.ENCRYPTION_KEYS,
  };
}

export type Ran = { code: number; out: string; err: string };

function spawn(args: string[], variables: Variables) {
  return new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    clearEnv: true,
    env: { ...machine(), ...variables },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Collects what a child writes while it runs. */
export function listened(child: Deno.ChildProcess) {
  const said = { out: "", err: "" };
  const collect = async (name: "out" | "err", stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) said[name] += text;
  };
  const done = Promise.all([collect("out", child.stdout), collect("err", child.stderr)]);
  const ended = done.then(async (): Promise<Ran> => ({ code: (await child.status).code, ...said }));
  return { said, ended };
}

/** Runs a program of this project to its end. */
export const run = (args: string[], variables: Variables): Promise<Ran> =>
  listened(spawn(args, variables)).ended;

const serve = (port: number) => [...serving, "--no-prompt", "--host=127.0.0.1", `--port=${port}`];

/** A start that is to fail. One that does not is ended, and its exit code tells. */
export async function failedStart(variables: Variables, program = "src/main.ts"): Promise<Ran> {
  const child = spawn([...serve(freePort()), program], variables);
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  try {
    return await listened(child).ended;
  } finally {
    clearTimeout(timer);
  }
}

/** Any program of this project that listens on PORT; ready when it answers /health. */
export async function listening(args: string[], variables: Variables, port: number) {
  const child = spawn(args, variables);
  const { said, ended } = listened(child);
  let isOver = false;
  ended.then(() => isOver = true);
  const url = `http://127.0.0.1:${port}`;
  const answers = async () => {
    if (isOver) throw new Error(`It ended: ${said.out}${said.err}`);
    const answer = await fetch(`${url}/health`).catch(() => null);
    await answer?.body?.cancel();
    return answer?.ok === true;
  };
  await until(answers, "it answers", 120_000);
  const stop = async (signal: Deno.Signal = "SIGTERM") => {
    if (!isOver) child.kill(signal);
    return await ended;
  };
  return { url, said, child, stop, [Symbol.asyncDispose]: async () => void await stop() };
}

/** The service, started and answering. */
export function started(variables: Variables) {
  const port = freePort();
  return listening([...serve(port), "src/main.ts"], variables, port);
}

export const signIn = (url: string, { email, password }: { email: string; password: string }) =>
  fetch(`${url}/api/v1/auth/sign-in`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ email, password }),
  });
