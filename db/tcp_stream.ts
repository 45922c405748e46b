/**
 * The part of a socket that `pg` asks of one, over Deno's own TCP: Node's streams take longer on
 * Deno than a small statement takes to be answered. The shape is pg-cloudflare's, pg's own for Workers.
 */
import { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";

const READ_BYTES = 64 * 1024;

/** Deno gives a name that leads nowhere no code; this is Node's. */
const coded = (error: unknown) =>
  error instanceof Error && /^failed to lookup address/.test(error.message)
    ? Object.assign(error, { code: "ENOTFOUND" })
    : error;

const READY_BYTES = 6;
/** Whether bytes end with ReadyForQuery, as every answer does (PostgreSQL, 55.7). */
function isReady(bytes: Uint8Array): boolean {
  const at = bytes.length - READY_BYTES;
  return bytes[at] === 90 && bytes[at + 1] === 0 && bytes[at + 2] === 0 && bytes[at + 3] === 0 &&
    bytes[at + 4] === 5;
}
const nothing = new Uint8Array();

/** An unencrypted connection; emits `connect`, `data` with bytes of its own, `error` and `close`. */
export class TcpStream extends EventEmitter {
  writable = false;
  #conn: Deno.Conn | undefined;
  readonly #ending = new AbortController();
  #isReferenced = true;
  #corks = 0;
  #pending: Uint8Array[] = [];
  #written: Promise<void> = Promise.resolve();
  #writes = 0;
  /** How many looks of the watch have found the same question open. */
  #looks = 0;
  #isAsked = false;
  /** The end of what has come of an answer, where that may be the beginning of its end. */
  #tail: Uint8Array = nothing;
  #watch: ReturnType<typeof setInterval> | undefined;
  readonly #answerWithinMs: number;

  /**
   * A question that is open for `answerWithinMs`, or at most twice that, ends the connection. The
   * driver's own limit is a timer for each question, which takes longer to make than that to send.
   */
  constructor(answerWithinMs: number) {
    super();
    this.#answerWithinMs = answerWithinMs;
  }

  /** To a port of a host, or to the path of a Unix socket. */
  connect(where: number | string, host?: string): this {
    this.#open(where, host).catch((error) => this.destroy(coded(error)));
    return this;
  }

  async #open(where: number | string, hostname = "localhost") {
    const { signal } = this.#ending;
    const conn = typeof where === "string" && where.startsWith("/")
      ? await Deno.connect({ transport: "unix", path: where })
      : await Deno.connect({ hostname, port: Number(where), signal });
    if (signal.aborted) return conn.close();
    this.#conn = conn;
    if ("setNoDelay" in conn) {
      conn.setNoDelay(true);
      conn.setKeepAlive(true);
    }
    if (!this.#isReferenced) conn.unref();
    this.writable = true;
    this.#watch = setInterval(() => this.#look(), this.#answerWithinMs);
    Deno.unrefTimer(this.#watch);
    this.emit("connect");
    await this.#read(conn);
  }

  #hear(bytes: Uint8Array) {
    const end = bytes.length < READY_BYTES ? Buffer.concat([this.#tail, bytes]) : bytes;
    this.#isAsked &&= !isReady(end);
    this.#tail = this.#isAsked ? Uint8Array.from(end.subarray(1 - READY_BYTES)) : nothing;
  }

  #look() {
    if (!this.#isAsked || this.#looks++ === 0) return;
    const late = new Error(`The server did not answer within ${this.#answerWithinMs} ms`);
    this.destroy(Object.assign(late, { code: "ETIMEDOUT" }));
  }

  async #read(conn: Deno.Conn) {
    let buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return this.destroy();
      const isSmall = count * 4 < READ_BYTES;
      const bytes = isSmall ? buffer.slice(0, count) : buffer.subarray(0, count);
      this.#hear(bytes);
      if (!isSmall) buffer = new Uint8Array(READ_BYTES);
      this.emit("data", Buffer.from(bytes.buffer, 0, count));
    }
  }

  cork() {
    this.#corks++;
  }

  uncork() {
    if (this.#corks > 0 && --this.#corks === 0) this.#flush();
  }

  write(bytes: Uint8Array, done?: () => void): boolean {
    this.#pending.push(bytes);
    if (this.#corks === 0) this.#flush();
    if (done) this.#written.then(done);
    return true;
  }

  #flush() {
    const pieces = this.#pending;
    this.#pending = [];
    const [first] = pieces;
    const conn = this.#conn;
    if (!first || !conn) return;
    if (!this.#isAsked) this.#looks = 0;
    this.#isAsked = true;
    const bytes = pieces.length === 1 ? first : Buffer.concat(pieces);
    // At once when it is its turn, and not when others have gone on with theirs.
    const written = this.#writes++ === 0
      ? this.#send(conn, bytes)
      : this.#written.then(() => this.#send(conn, bytes));
    this.#written = written.catch((error) => void this.destroy(error));
  }

  async #send(conn: Deno.Conn, bytes: Uint8Array) {
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    this.#writes--;
  }

  end() {
    this.#written.then(() => this.destroy());
  }

  destroy(error?: unknown): this {
    if (this.#ending.signal.aborted) return this;
    this.#ending.abort();
    clearInterval(this.#watch);
    this.writable = false;
    if (error) this.emit("error", error);
    this.#conn?.close();
    this.emit("close");
    return this;
  }

  // Every connection is made so.
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    this.#isReferenced = true;
    this.#conn?.ref();
    return this;
  }

  unref(): this {
    this.#isReferenced = false;
    this.#conn?.unref();
    return this;
  }
}
