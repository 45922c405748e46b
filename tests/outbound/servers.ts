/** Servers on this machine that play the far side of a guarded call. */

import { createServer, type RequestListener, type Server as PlainServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";

/** A server that listens, what has reached it, and its end. */
export type Far = AsyncDisposable & {
  port: number;
  /** Connections accepted so far. */
  connections: () => number;
  /** Connections open now. */
  open: () => number;
  /** Closes them, and listens on. */
  hangUp: () => void;
};

async function far(server: Server | PlainServer, host = "127.0.0.1"): Promise<Far> {
  let connections = 0;
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  await new Promise<void>((ready) => server.listen(0, host, ready));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    connections: () => connections,
    open: () => sockets.size,
    hangUp,
    async [Symbol.asyncDispose]() {
      hangUp();
      await new Promise((done) => server.close(done));
    },
  };
}

export const http = (listener: RequestListener) => far(createServer(listener));

export const https = (pair: { cert: string; key: string }, listener: RequestListener) =>
  far(createTlsServer(pair, listener));

/** A server that answers a connection with what `talk` writes, HTTP or not. */
export const tcp = (talk: (socket: Socket) => void) => far(createTcpServer(talk));

/** Waits until `so`, for what the other side of a socket takes a moment to notice. */
export async function until(so: () => boolean, ms = 15_000) {
  for (const end = Date.now() + ms; !so();) {
    if (Date.now() > end) throw new Error("it did not come true");
    await new Promise((go) => setTimeout(go, 5));
  }
}
