/** Sends requests over many kept connections, as fast as the answers come. */

/** Requests that differ in their headers alone, taken in turn: as from callers with their own keys. */
export type Target = {
  host: string;
  port: number;
  path: string;
  headersOf(i: number): Record<string, string>;
  /** How many there are; 1 when left out. */
  variants?: number;
  /** Makes it a POST of JSON. */
  body?: string;
};

export type Figures = { perSecond: number; p50Ms: number; p99Ms: number };

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

function requestOf({ host, port, path, headersOf, body }: Target, i: number): Uint8Array {
  const sent = body === undefined ? [] : [
    "content-type: application/json",
    `content-length: ${encoder.encode(body).length}`,
  ];
  return encoder.encode(
    [
      `${body === undefined ? "GET" : "POST"} ${path} HTTP/1.1`,
      `Host: ${host}:${port}`,
      ...Object.entries(headersOf(i)).map(([name, value]) => `${name}: ${value}`),
      ...sent,
      "",
      body ?? "",
    ].join("\r\n"),
  );
}

const requestsOf = (target: Target) =>
  Array.from({ length: target.variants ?? 1 }, (_, i) => requestOf(target, i));

const nothing = new Uint8Array();

/** What ends an answer in chunks, after the last chunk's own line end. */
const LAST_CHUNK = "\r\n0\r\n\r\n";

/** One kept connection, with one request under way at a time. */
async function connect({ host, port }: Target) {
  const connection = await Deno.connect({ hostname: host, port });
  connection.setNoDelay(true);
  const buffer = new Uint8Array(64 * 1024);

  async function read(from: number): Promise<number> {
    const count = await connection.read(buffer.subarray(from));
    if (count === null) throw new Error("The server closed the connection");
    return count;
  }

  /** Reads to the end of an answer; when its first byte after the head came. Throws unless 200. */
  async function answered(): Promise<number> {
    let [filled, text, head] = [0, "", -1];
    while (head < 0) {
      filled += await read(filled);
      text = decoder.decode(buffer.subarray(0, filled));
      head = text.indexOf("\r\n\r\n");
    }
    if (!text.startsWith("HTTP/1.1 200")) throw new Error(`Answered ${text.slice(0, 600)}`);
    let first = filled > head + 4 ? performance.now() : NaN;
    const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head))?.[1];
    let missing = length === undefined ? 0 : head + 4 + Number(length) - filled;
    let tail = text.slice(-LAST_CHUNK.length);
    while (length === undefined ? tail !== LAST_CHUNK : missing > 0) {
      const count = await read(0);
      if (Number.isNaN(first)) first = performance.now();
      missing -= count;
      const last = buffer.subarray(Math.max(0, count - LAST_CHUNK.length), count);
      tail = (tail + decoder.decode(last)).slice(-LAST_CHUNK.length);
    }
    return first;
  }

  return {
    /** Sends a request and waits for its answer; times are from `performance.now()`. */
    exchange: async (request: Uint8Array) => {
      const began = performance.now();
      for (let sent = 0; sent < request.length;) {
        sent += await connection.write(request.subarray(sent));
      }
      const first = await answered();
      return { began, first, ended: performance.now() };
    },
    close: () => connection.close(),
  };
}

const quantile = (sorted: number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;

/** Answers a second over `connections` connections during `ms`, and how long each took. */
export async function figures(target: Target, ms: number, connections: number): Promise<Figures> {
  const requests = requestsOf(target);
  const times: number[] = [];
  let next = 0;
  const start = performance.now();
  const drive = async () => {
    const connection = await connect(target);
    try {
      while (performance.now() - start < ms) {
        const { began, ended } = await connection.exchange(
          requests[next++ % requests.length] ?? nothing,
        );
        times.push(ended - began);
      }
    } finally {
      connection.close();
    }
  };
  await Promise.all(Array.from({ length: connections }, drive));
  const seconds = (performance.now() - start) / 1000;
  times.sort((a, b) => a - b);
  return {
    perSecond: times.length / seconds,
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
  };
}

/** Answers a second over `connections` connections during `ms`. */
export const requestsPerSecond = async (target: Target, ms: number, connections = 16) =>
  (await figures(target, ms, connections)).perSecond;

/** How long the first byte after the head takes, one request after the other: the middle one. */
export async function firstByteMs(target: Target, times: number): Promise<number> {
  const requests = requestsOf(target);
  const connection = await connect(target);
  const waits: number[] = [];
  try {
    for (let i = 0; i < times; i++) {
      const { began, first } = await connection.exchange(requests[i % requests.length] ?? nothing);
      waits.push(first - began);
    }
  } finally {
    connection.close();
  }
  return quantile(waits.sort((a, b) => a - b), 0.5);
}
