/** One connection to an address that was checked before, read and written as bytes. */

import type { Call } from "./answers.ts";
import type { Bytes } from "./heads.ts";
import { bareHost } from "./screen.ts";

const readBytes = 16 * 1024;

/** How long an address may keep the next one waiting (RFC 8305, 5). */
const headStartMs = 250;

export class Connection {
  readonly madeAt = performance.now();
  /** A byte has come since it was made or woken. */
  hasHeard = false;
  isClosed = false;
  readonly #conn: Deno.Conn;
  #buffer: Bytes = new Uint8Array(readBytes);
  #reading: Promise<number | null> | undefined;
  #isAtRest = false;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** The bytes that come next; `null` at the end. */
  async read(): Promise<Bytes | null> {
    const reading = this.#reading ?? this.#conn.read(this.#buffer);
    this.#reading = undefined;
    const count = await reading;
    if (count === null) return null;
    this.hasHeard ||= count > 0;
    // A few bytes must not hold a whole buffer for as long as somebody keeps them.
    if (count * 4 < readBytes) return this.#buffer.slice(0, count);
    const bytes = this.#buffer.subarray(0, count);
    this.#buffer = new Uint8Array(readBytes);
    return bytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  /**
   * Leaves it in peace, keeping no process alive. Whatever comes now, a byte or its end, belongs to
   * no call, and `gone` is told.
   */
  rest(gone: () => void) {
    this.#isAtRest = true;
    const reading = this.#conn.read(this.#buffer);
    this.#reading = reading;
    this.#conn.unref();
    const ended = () => this.#isAtRest && gone();
    reading.then(ended, ended);
  }

  wake() {
    this.#isAtRest = false;
    this.hasHeard = false;
    this.#conn.ref();
  }

  close() {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#isAtRest = false;
    this.#conn.close();
  }
}

/** Connects to the first of the addresses that answers, and to nothing else. */
export async function dial(call: Call, addresses: readonly string[]): Promise<Connection> {
  const { url, patience } = call;
  const port = Number(url.port || (url.protocol === "http:" ? 80 : 443));
  const tcp = await reach(addresses, port, patience.signal);
  tcp.setNoDelay();
  if (url.protocol === "http:") return new Connection(tcp);
  const tls = await Deno.startTls(tcp, {
    hostname: bareHost(url),
    alpnProtocols: ["http/1.1"],
    caCerts: call.ca === undefined ? [] : [call.ca],
  });
  const connection = new Connection(tls);
  patience.whenOver(() => connection.close());
  try {
    await tls.handshake();
    return connection;
  } catch (error) {
    connection.close();
    throw certificateFault(error);
  }
}

async function reach(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const others = new AbortController();
  const either = AbortSignal.any([signal, others.signal]);
  const attempts: Promise<Deno.TcpConn>[] = [];
  let won: Deno.TcpConn | undefined;
  try {
    for (const hostname of addresses) {
      const attempt = Deno.connect({ hostname, port, signal: either });
      attempts.push(attempt);
      if (attempts.length < addresses.length) won = await headStart(attempts, attempt);
      if (won !== undefined) return won;
    }
    return won = await Promise.any(attempts);
  } catch (error) {
    throw error instanceof AggregateError ? error.errors.at(-1) : error;
  } finally {
    others.abort();
    for (const attempt of attempts) attempt.then((conn) => conn === won || conn.close(), () => {});
  }
}

/** The first connection of these, if it comes before the last attempt has failed or taken too long. */
async function headStart(attempts: Promise<Deno.TcpConn>[], last: Promise<Deno.TcpConn>) {
  const later = Promise.withResolvers<undefined>();
  const timer = setTimeout(later.resolve, headStartMs, undefined);
  try {
    const failed = last.then(() => later.promise, () => undefined);
    return await Promise.race([Promise.any(attempts), failed, later.promise]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** Node's and OpenSSL's names for what rustls says, because those are the ones people look up. */
const faults: readonly (readonly [RegExp, string])[] = [
  [/not valid for name/, "ERR_TLS_CERT_ALTNAME_INVALID"],
  [/not valid yet|NotValidYet/i, "CERT_NOT_YET_VALID"],
  [/expired/i, "CERT_HAS_EXPIRED"],
  [/peer certificate/, "CERT_UNTRUSTED"],
];

function certificateFault(error: unknown): unknown {
  const [, code] = faults.find(([words]) => words.test(String(error))) ?? [];
  return code === undefined ? error : Object.assign(new Error(code, { cause: error }), { code });
}
