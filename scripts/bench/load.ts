/** Sends the same request over many kept connections, as fast as the answers come. */

export type Load = { host: string; port: number; path: string; headers: Record<string, string> };

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

const requestOf = ({ host, port, path, headers }: Load) =>
  encoder.encode([
    `GET ${path} HTTP/1.1`,
    `Host: ${host}:${port}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "",
    "",
  ].join("\r\n"));

/** Bytes of the answer that begins `text`, or null while its head is not whole. Throws unless 200. */
function sizeOf(text: string): number | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  if (!text.startsWith("HTTP/1.1 200")) throw new Error(`Answered ${text.slice(0, 600)}`);
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1];
  if (length === undefined) throw new Error("The load needs answers with a content-length");
  return end + 4 + Number(length);
}

/** One connection's round trips until `isOver`. */
async function drive(load: Load, isOver: () => boolean): Promise<number> {
  const connection = await Deno.connect({ hostname: load.host, port: load.port });
  connection.setNoDelay(true);
  const request = requestOf(load);
  const buffer = new Uint8Array(64 * 1024);
  let answers = 0;
  try {
    while (!isOver()) {
      await connection.write(request);
      for (let filled = 0, size: number | null = null; size === null || filled < size;) {
        const read = await connection.read(buffer.subarray(filled));
        if (read === null) throw new Error("The server closed the connection");
        filled += read;
        size ??= sizeOf(decoder.decode(buffer.subarray(0, filled)));
      }
      answers++;
    }
  } finally {
    connection.close();
  }
  return answers;
}

/** Answers per second over `connections` connections during `ms`. */
export async function requestsPerSecond(load: Load, ms: number, connections = 16): Promise<number> {
  const began = performance.now();
  const isOver = () => performance.now() - began >= ms;
  const all = await Promise.all(Array.from({ length: connections }, () => drive(load, isOver)));
  const answers = all.reduce((sum, n) => sum + n, 0);
  return answers / (performance.now() - began) * 1000;
}
