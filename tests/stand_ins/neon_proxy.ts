/** Neon's WebSocket door in front of any Postgres: bytes go through, one socket per connection. */

export interface NeonProxy extends AsyncDisposable {
  /** Host, port and path, without a scheme: what `neonConfig.wsProxy` wants. */
  readonly address: string;
  /** For `neonConfig.wsProxy`; the proxy serves only the server it was started for. */
  wsProxy(host: string, port: number | string): string;
  /** Breaks every open connection, as Neon does when it moves or suspends a database. */
  dropConnections(): void;
  readonly openConnections: number;
  stop(): Promise<void>;
}

export function neonProxy(postgresUrl: string): NeonProxy {
  const { hostname, port } = new URL(postgresUrl);
  const target = { hostname, port: Number(port || "5432") };
  const open = new Map<WebSocket, Deno.Conn>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const asked = new URL(request.url).searchParams.get("address");
    if (asked !== `${target.hostname}:${target.port}`) {
      return new Response("this proxy does not serve that address", { status: 403 });
    }
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return new Response("expected a WebSocket", { status: 426 });
    }
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.binaryType = "arraybuffer";
    carry(socket, target, open);
    return response;
  });
  const dropConnections = () => {
    for (const [socket, connection] of open) {
      close(connection);
      socket.close();
    }
  };
  const stop = async () => {
    dropConnections();
    await server.shutdown();
  };
  const address = `127.0.0.1:${server.addr.port}/v2`;
  return {
    address,
    wsProxy: (host, wanted) => `${address}?address=${host}:${wanted}`,
    dropConnections,
    get openConnections() {
      return open.size;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Writes are chained, for bytes must keep their order while a write waits. */
function carry(
  socket: WebSocket,
  target: Deno.ConnectOptions,
  open: Map<WebSocket, Deno.Conn>,
): void {
  const connecting = Deno.connect(target);
  connecting.then(async (connection) => {
    if (socket.readyState > WebSocket.OPEN) return close(connection);
    open.set(socket, connection);
    for await (const chunk of connection.readable) {
      if (socket.readyState === WebSocket.OPEN) socket.send(chunk);
    }
  }).catch(() => {}).finally(() => socket.close());
  let written = connecting.then((connection) => connection.writable.getWriter());
  socket.onmessage = ({ data }) => {
    written = written.then(async (writer) => {
      if (data instanceof ArrayBuffer) await writer.write(new Uint8Array(data));
      return writer;
    });
    written.catch(() => socket.close());
  };
  socket.onclose = () => {
    open.delete(socket);
    connecting.then(close, () => {});
  };
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // The other side, or the finished stream, has closed it already.
  }
}
