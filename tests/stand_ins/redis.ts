/** What Redis answers, and a small client that speaks RESP 2 to a real `redis-server`. */
import {
  folderFor,
  freePort,
  isListening,
  leash,
  programPath,
  unprivileged,
  untilReady,
} from "./processes.ts";

export type Reply =
  | { status: string }
  | { error: string }
  | { bulk: Uint8Array }
  | number
  | null
  | Reply[];

export interface Redis {
  run(command: string[]): Promise<Reply>;
  /** All commands in one MULTI … EXEC; one error for all when a command cannot be queued. */
  transact(commands: string[][]): Promise<Reply>;
  stop(): Promise<void>;
}

export const hasRedis = (): boolean => programPath("redis-server") !== undefined;

export const isError = (reply: Reply): reply is { error: string } =>
  typeof reply === "object" && reply !== null && "error" in reply;

/** Starts `redis-server` on a free port, without persistence, and connects to it. */
export async function startRedis(): Promise<Redis> {
  const program = programPath("redis-server");
  if (program === undefined) throw new Error("redis-server is not installed");
  const account = unprivileged();
  const folder = await folderFor(account, "switchboard-redis-");
  const port = freePort();
  const server = leash([
    program,
    ...["--port", String(port), "--bind", "127.0.0.1", "--dir", folder],
    ...["--save", "", "--appendonly", "no"],
  ], { folder, account, signal: "TERM" });
  await untilReady(server, () => isListening(port));
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const client = speakResp(connection);
  return {
    ...client,
    stop: async () => {
      connection.close();
      await server.stop();
    },
  };
}

/** Commands take turns on the one connection, for a transaction must not be interleaved. */
function speakResp(connection: Deno.Conn): Pick<Redis, "run" | "transact"> {
  const reader = replies(connection);
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = turn.then(work);
    turn = mine.catch(() => {});
    return mine;
  };
  const exchange = async (command: string[]): Promise<Reply> => {
    await writeAll(connection, encodeCommand(command));
    return await reader.next();
  };
  return {
    run: (command) => inTurn(() => exchange(command)),
    transact: (commands) =>
      inTurn(async () => {
        await exchange(["MULTI"]);
        for (const command of commands) await exchange(command);
        return await exchange(["EXEC"]);
      }),
  };
}

function encodeCommand(command: string[]): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const parts = command.map((part) => {
    const { byteLength } = encoder.encode(part);
    return `$${byteLength}\r\n${part}\r\n`;
  });
  return encoder.encode(`*${command.length}\r\n${parts.join("")}`);
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
}

function replies(connection: Deno.Conn): { next(): Promise<Reply> } {
  let buffer = new Uint8Array(0);
  const fill = async () => {
    const chunk = new Uint8Array(64 * 1024);
    const count = await connection.read(chunk);
    if (count === null) throw new Error("Redis closed the connection");
    const joined = new Uint8Array(buffer.length + count);
    joined.set(buffer);
    joined.set(chunk.subarray(0, count), buffer.length);
    buffer = joined;
  };
  const take = async (count: number): Promise<Uint8Array> => {
    while (buffer.length < count + 2) await fill();
    const taken = buffer.slice(0, count);
    buffer = buffer.slice(count + 2);
    return taken;
  };
  const line = async (): Promise<string> => {
    let end = buffer.indexOf(13);
    while (end < 0) {
      await fill();
      end = buffer.indexOf(13);
    }
    return new TextDecoder().decode(await take(end));
  };
  const next = async (): Promise<Reply> => {
    const text = await line();
    const rest = text.slice(1);
    switch (text[0]) {
      case "+":
        return { status: rest };
      case "-":
        return { error: rest };
      case ":":
        return Number(rest);
      case "$":
        return rest === "-1" ? null : { bulk: await take(Number(rest)) };
      case "*": {
        if (rest === "-1") return null;
        const list: Reply[] = [];
        for (let left = Number(rest); left > 0; left--) list.push(await next());
        return list;
      }
      default:
        throw new Error(`Redis answered something that is not RESP 2: ${text}`);
    }
  };
  return { next };
}
