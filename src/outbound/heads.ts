/** The head of a request as it is written, and the head of an answer as RFC 9112 lets it be read. */

import { joined } from "../joined.ts";
import { type Call, maxHeaderBytes, type Pairs } from "./answers.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** The far side said what HTTP/1.1 does not allow, or not unambiguously; no byte after it counts. */
export class NotHttp extends Error {
  override name = "NotHttp";
  readonly code = "NOT_HTTP";
}

/** How the end of an answer's body is known (RFC 9112, 6.3). */
export type Framing = { by: "length"; bytes: number } | { by: "chunks" } | { by: "close" };

export type Head = {
  status: number;
  headers: Pairs;
  framing: Framing;
  /** Milliseconds the far side would keep the connection at rest; 0 when it would close it. */
  keepMs: number;
};

/** A request line and header lines, with a body in one piece after them. */
export function requestBytes(
  o: {
    method: string;
    target: string;
    host: string;
    headers: Call["headers"];
    body: Uint8Array | null;
  },
): Bytes {
  let head = `${o.method} ${o.target} HTTP/1.1\r\nhost: ${o.host}\r\nconnection: keep-alive\r\n`;
  for (const [name, value] of o.headers) head += `${name}: ${value}\r\n`;
  head += "\r\n";
  const bytes = new Uint8Array(head.length + (o.body?.byteLength ?? 0));
  // `headersOf` lets only bytes through as characters, and no line end.
  for (let i = 0; i < head.length; i++) bytes[i] = head.charCodeAt(i);
  if (o.body !== null) bytes.set(o.body, head.length);
  return bytes;
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/;

/** The headers of a request without those in `own`: as `Headers` has them, for a third of its time. */
export function headersOf(init: HeadersInit | undefined, own: ReadonlySet<string>) {
  const isPlain = !(init instanceof Headers || Array.isArray(init));
  const headers = new Map<string, string>();
  for (const [given, text] of isPlain ? Object.entries(init ?? {}) : new Headers(init)) {
    const name = given.toLowerCase();
    if (own.has(name)) continue;
    const value = bare(text, 0, text.length);
    if (!token.test(name)) throw new TypeError(`"${name}" is no name of a header`);
    if (!fieldValue.test(value)) throw new TypeError(`The header ${name} has no valid value`);
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

/**
 * Reads up to the end of an answer's head, past interim ones (RFC 9110, 15.2), and answers it with
 * what has come of the body. `null` when the far side ended before that.
 */
export async function readHead(
  read: () => Promise<Bytes | null>,
): Promise<{ head: Head; rest: Bytes } | null> {
  let bytes: Bytes = new Uint8Array(0);
  for (let interim = 0, from = 0;;) {
    const end = headEnd(bytes, from);
    const size = interim + (end < 0 ? bytes.length : end);
    if (size > maxHeaderBytes) throw new NotHttp("its head is too long");
    if (end >= 0) {
      const head = parseHead(latin1(bytes.subarray(0, end)));
      bytes = bytes.subarray(end + 4);
      if (head.status >= 200) return { head, rest: bytes };
      if (head.status === 101) throw new NotHttp("it changes to a protocol nobody asked for");
      interim += end;
      from = 0;
      continue;
    }
    from = Math.max(0, bytes.length - 3);
    const more = await read();
    if (more === null) return null;
    bytes = bytes.length === 0 ? more : joined([bytes, more]);
  }
}

/** Where the empty line that ends a head begins; -1 when it has not come. */
function headEnd(bytes: Bytes, from: number): number {
  for (let at = bytes.indexOf(13, from); at >= 0; at = bytes.indexOf(13, at + 1)) {
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  return -1;
}

/** One character a byte. What the platform calls latin1 is windows-1252 (WHATWG Encoding). */
function latin1(bytes: Bytes): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

const statusLine = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;

/** A head without its empty line. Folded lines, bare line ends and names that are none are refused. */
export function parseHead(text: string): Head {
  let end = lineEnd(text, 0);
  const [, minor, status] = statusLine.exec(text.slice(0, end)) ?? [];
  if (status === undefined) throw new NotHttp("it begins with no status line");
  const headers: Pairs = [];
  const about = { length: "", codings: "", connection: "", keep: "" };
  while (end < text.length) {
    const start = end + 2;
    end = lineEnd(text, start);
    const colon = nameEnd(text, start);
    if (colon === start || text[colon] !== ":" || !isFieldValue(text, colon + 1, end)) {
      throw new NotHttp("a header line is none");
    }
    const name = text.slice(start, colon);
    const value = bare(text, colon + 1, end);
    headers.push([name, value]);
    note(about, name.toLowerCase(), value);
  }
  const isOld = minor === "0";
  const framing = framingOf(about, { isOld });
  const closes = isOld || (about.connection !== "" && /\bclose\b/i.test(about.connection));
  return { status: Number(status), headers, framing, keepMs: closes ? 0 : keepMsOf(about.keep) };
}

/** Where the line ends that begins at `start`. */
function lineEnd(text: string, start: number): number {
  const end = text.indexOf("\r\n", start);
  return end < 0 ? text.length : end;
}

/** The characters of a token (RFC 9110, 5.6.2), by their codes. */
const ofToken = Array.from({ length: 256 }, (_, code) => token.test(String.fromCharCode(code)));

/** Behind the token that begins at `start`. */
function nameEnd(text: string, start: number): number {
  let at = start;
  while (ofToken[text.charCodeAt(at)]) at++;
  return at;
}

/** As `fieldValue`, of a part: looked at by hand, since there are many and most are short. */
function isFieldValue(text: string, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const code = text.charCodeAt(at);
    if ((code < 32 && code !== 9) || code === 127 || code > 255) return false;
  }
  return true;
}

/** From `start` to `end`, without spaces and tabs around it. */
function bare(line: string, start: number, end: number): string {
  const isBlank = (at: number) => line[at] === " " || line[at] === "\t";
  while (start < end && isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return line.slice(start, end);
}

type About = { length: string; codings: string; connection: string; keep: string };

/** A comma between repeated headers makes of two lengths one that is no number. */
function note(about: About, name: string, value: string) {
  const add = (before: string) => before === "" ? value || "," : `${before},${value}`;
  if (name === "content-length") about.length = add(about.length);
  else if (name === "transfer-encoding") about.codings = add(about.codings);
  else if (name === "connection") about.connection = add(about.connection);
  else if (name === "keep-alive") about.keep = add(about.keep);
}

/** Two ways to tell the end are two answers to whoever believes the other one (RFC 9112, 6.3 and 11.2). */
function framingOf({ length, codings }: About, { isOld }: { isOld: boolean }): Framing {
  if (codings !== "") {
    if (length !== "" || isOld || codings.toLowerCase() !== "chunked") {
      throw new NotHttp("its transfer coding is ambiguous or was not asked for");
    }
    return { by: "chunks" };
  }
  if (length === "") return { by: "close" };
  if (!/^\d{1,15}$/.test(length)) throw new NotHttp("its length is no number");
  return { by: "length", bytes: Number(length) };
}

/** `Keep-Alive: timeout=5` less the second that an answer may be under way. */
function keepMsOf(keep: string): number {
  if (keep === "") return Infinity;
  const [, seconds] = /(?:^|[,\s])timeout=(\d{1,6})/i.exec(keep) ?? [];
  return seconds === undefined ? Infinity : Math.max(0, Number(seconds) - 1) * 1_000;
}
