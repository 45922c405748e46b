/**
 * Redis over HTTP as Upstash offers it, in front of a real `redis-server` where one is installed,
 * and able to hang, refuse, dawdle or talk nonsense when a test asks for it.
 */
import { hasRedis, isError, type Redis, type Reply, startRedis } from "./redis.ts";
import { freePort, pause } from "./processes.ts";
import { memoryRedis } from "./redis_memory.ts";

export type UpstashMode =
  | "ok"
  | "hang"
  | "refuse"
  | "nonsense"
  | "error500"
  | { readonly delayMs: number };

export interface Upstash extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** Whether a real Redis answers; the one in memory knows no scripts. */
  readonly isReal: boolean;
  readonly mode: UpstashMode;
  /** Requests that arrived, whatever became of them; refused connections are not seen. */
  readonly requests: number;
  /** Requests that wait for an answer now. */
  readonly waiting: number;
  /** Done when the mode holds: with "refuse" the port is closed. Hanging requests go on. */
  setMode(mode: UpstashMode): Promise<void>;
  /** Runs a command behind the door's back, for arranging and looking. */
  run(...command: string[]): Promise<Reply>;
  stop(): Promise<void>;
}

const isClosed = (mode: UpstashMode) => mode === "hang" || mode === "refuse";

/** Commands that Upstash does not offer over REST. */
const unavailable = new Set([
  ...["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "SELECT", "SUBSCRIBE", "PSUBSCRIBE"],
  ...["BLPOP", "BRPOP", "BLMOVE", "BZPOPMIN", "BZPOPMAX", "CONFIG", "SHUTDOWN", "MONITOR"],
]);

export async function upstash(options: { inMemory?: boolean } = {}): Promise<Upstash> {
  const isReal = !options.inMemory && hasRedis();
  const redis = isReal ? await startRedis() : memoryRedis();
  const token = crypto.randomUUID();
  let mode: UpstashMode = "ok";
  let requests = 0;
  let changed = Promise.withResolvers<void>();
  const stopping = new AbortController();
  const inFlight = new Set<Promise<Response>>();
  const answerInMode = async (request: Request): Promise<Response> => {
    while (isClosed(mode) && !stopping.signal.aborted) await changed.promise;
    if (typeof mode === "object") await pause(mode.delayMs, stopping.signal);
    if (stopping.signal.aborted) return json({ error: "ERR going away" }, 503);
    if (mode === "nonsense") return new Response("<html>What a lovely day</html>");
    if (mode === "error500") return json({ error: "ERR internal server error" }, 500);
    return await answer(redis, token, request);
  };
  const door = openDoor((request) => {
    requests++;
    const answering = answerInMode(request).finally(() => inFlight.delete(answering));
    inFlight.add(answering);
    return answering;
  });
  const setMode = async (wanted: UpstashMode) => {
    mode = wanted;
    changed.resolve();
    changed = Promise.withResolvers();
    await (wanted === "refuse" ? door.close() : door.open());
  };
  const stop = async () => {
    stopping.abort();
    changed.resolve();
    await door.close();
    await Promise.allSettled(inFlight);
    await redis.stop();
  };
  return {
    url: `http://127.0.0.1:${door.port}`,
    token,
    isReal,
    get mode() {
      return mode;
    },
    get requests() {
      return requests;
    },
    get waiting() {
      return inFlight.size;
    },
    setMode,
    run: (...command) => redis.run(command),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

const isOpen = (port: number) =>
  Deno.connect({ hostname: "127.0.0.1", port }).then((conn) => (conn.close(), true), () => false);

/** A server that can be closed, so that connections are refused, and opened on the same port. */
function openDoor(handler: (request: Request) => Promise<Response>) {
  const listen = (port: number) => {
    const closing = new AbortController();
    const { signal } = closing;
    const server = Deno.serve(
      { hostname: "127.0.0.1", port, signal, onListen: () => {} },
      handler,
    );
    return { closing, server };
  };
  let current: ReturnType<typeof listen> | undefined = listen(freePort());
  const { port } = current.server.addr;
  return {
    port,
    open: () => {
      current ??= listen(port);
      return Promise.resolve();
    },
    close: async () => {
      const leaving = current;
      current = undefined;
      leaving?.closing.abort();
      await leaving?.server.finished;
      // A process that another test starts at this moment may still hold the port open.
      while (await isOpen(port)) continue;
    },
  };
}

async function answer(redis: Redis, token: string, request: Request): Promise<Response> {
  if (request.headers.get("authorization") !== `Bearer ${token}`) {
    return json({ error: "Unauthorized" }, 401);
  }
  const { pathname } = new URL(request.url);
  const body: unknown = await request.json().catch(() => undefined);
  const asBase64 = request.headers.get("upstash-encoding") === "base64";
  const shown = (reply: Reply) => isError(reply) ? reply : { result: show(reply, asBase64) };
  if (request.method !== "POST") return json({ error: "ERR method not allowed" }, 405);
  if (pathname === "/") {
    const command = asCommand(body);
    const reply = command ? await run(redis, command) : notACommand;
    return json(shown(reply), isError(reply) ? 400 : 200);
  }
  if (pathname !== "/pipeline" && pathname !== "/multi-exec") {
    return json({ error: "ERR not found" }, 404);
  }
  const commands = Array.isArray(body) ? body.map(asCommand) : [undefined];
  const known = commands.filter((command) => command !== undefined);
  if (known.length === 0 || known.length < commands.length) return json(notACommand, 400);
  if (pathname === "/pipeline") {
    const replies: Reply[] = [];
    for (const command of known) replies.push(await run(redis, command));
    return json(replies.map(shown), 200);
  }
  const refused = known.map(refusal).find((reply) => reply !== undefined);
  const reply = refused ?? await redis.transact(known);
  return Array.isArray(reply) ? json(reply.map(shown), 200) : json(shown(reply), 400);
}

const notACommand = { error: "ERR failed to parse command" };

function asCommand(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const parts: unknown[] = value;
  const isPart = (part: unknown) => ["string", "number", "boolean"].includes(typeof part);
  return parts.every(isPart) ? parts.map(String) : undefined;
}

function refusal([name = ""]: string[]): { error: string } | undefined {
  if (!unavailable.has(name.toUpperCase())) return undefined;
  return { error: `ERR Command is not available: '${name.toUpperCase()}'.` };
}

async function run(redis: Redis, command: string[]): Promise<Reply> {
  return refusal(command) ?? await redis.run(command);
}

/** Upstash leaves the status OK as it is and encodes every other text. */
function show(reply: Reply, asBase64: boolean): unknown {
  if (reply === null || typeof reply === "number") return reply;
  if (Array.isArray(reply)) return reply.map((each) => show(each, asBase64));
  if ("error" in reply) return reply.error;
  if ("status" in reply) {
    return asBase64 && reply.status !== "OK" ? btoa(reply.status) : reply.status;
  }
  return asBase64 ? reply.bulk.toBase64() : new TextDecoder().decode(reply.bulk);
}

const json = (body: unknown, status: number) => Response.json(body, { status });
