/** A network that fails at the worst moment: it carries bytes to a Postgres and drops one commit. */

/** What becomes of the next commit: it never arrives, or it arrives and its answer does not. */
export type Cut = "before it arrives" | "before its answer";

export interface CuttingProxy extends AsyncDisposable {
  /** The same login and database, through this network. */
  readonly url: string;
  /** Breaks the connection at the next `commit`, once. */
  cutNextCommit(cut: Cut): void;
  /** Breaks every connection, and each new one at once; or lets all through again. */
  setDown(isDown: boolean): void;
  /** Holds back what is sent to the server, connections left open; or lets it through again. */
  setHung(isHung: boolean): void;
  /** Commits that were dropped so far. */
  readonly cuts: number;
  stop(): Promise<void>;
}

export function cuttingProxy(postgresUrl: string): CuttingProxy {
  const target = new URL(postgresUrl);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.Conn>();
  let next: Cut | undefined;
  let cuts = 0;
  let isDown = false;
  let hung = Promise.withResolvers<void>();
  hung.resolve();
  const breakAll = () => {
    for (const connection of open) close(connection);
  };
  const take = async (chunk: Uint8Array): Promise<Cut | undefined> => {
    await hung.promise;
    if (!next || !/\bcommit\b/i.test(new TextDecoder("latin1").decode(chunk))) return undefined;
    const cut = next;
    next = undefined;
    cuts++;
    return cut;
  };
  const serving = (async () => {
    for await (const client of listener) {
      if (isDown) {
        close(client);
        continue;
      }
      open.add(client);
      carry(client, { hostname: target.hostname, port: Number(target.port) }, take)
        .catch(() => {}).finally(() => open.delete(client));
    }
  })();
  const url = new URL(postgresUrl);
  url.hostname = "127.0.0.1";
  url.port = String(listener.addr.port);
  const stop = async () => {
    hung.resolve();
    listener.close();
    breakAll();
    await serving;
  };
  return {
    url: url.href,
    cutNextCommit: (cut) => void (next = cut),
    setDown: (down) => {
      isDown = down;
      if (down) breakAll();
    },
    setHung: (isHung) => {
      hung.resolve();
      if (isHung) hung = Promise.withResolvers<void>();
    },
    get cuts() {
      return cuts;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Until one side closes, or a commit is to be dropped. */
async function carry(
  client: Deno.Conn,
  to: Deno.ConnectOptions,
  take: (chunk: Uint8Array) => Promise<Cut | undefined>,
): Promise<void> {
  const server = await Deno.connect(to);
  let isDeaf = false;
  const upward = (async () => {
    for await (const chunk of chunksOf(client)) {
      const cut = await take(chunk);
      if (cut === "before it arrives") break;
      isDeaf ||= cut !== undefined;
      await writeAll(server, chunk);
    }
    close(server);
  })();
  const downward = (async () => {
    for await (const chunk of chunksOf(server)) {
      if (isDeaf) break; // The server has answered: the commit took place, and nobody hears it.
      await writeAll(client, chunk);
    }
    close(client);
  })();
  await Promise.allSettled([upward, downward]);
  close(server);
  close(client);
}

async function* chunksOf(connection: Deno.Conn): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const size = await connection.read(buffer).catch(() => null);
    if (size === null) return;
    yield buffer.slice(0, size);
  }
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array) {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function close(connection: Deno.Conn) {
  try {
    connection.close();
  } catch {
    // Closed already, by the other direction.
  }
}
