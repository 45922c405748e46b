/** Which answers are passed on, and how: the rules that hold over any kind of connection. */

import type { Patience } from "./patience.ts";
import { joined } from "../joined.ts";
import type { Bytes } from "./heads.ts";
import { Refused } from "./screen.ts";

/** An answer's headers in their order, a name as often as it came. */
export type Pairs = (readonly [name: string, value: string])[];

/** An answer's body as it comes; `cancel` gives up what is still to come. */
export type Pieces = {
  /** Null at the end. Rejects with Refused, or with what the caller's signal was aborted with. */
  next: () => Promise<Bytes | null>;
  cancel: () => void;
};

/** An answer of which no Response was made: that takes as long as all else. */
export type Answer = { status: number; headers: Pairs; body: Bytes | Pieces | null };

/** What one call needs, whatever it is sent over. */
export type Call = {
  url: URL;
  method: string;
  headers: ReadonlyMap<string, string>;
  body: Uint8Array | ReadableStream<Uint8Array> | null;
  /** Milliseconds to connect, and again from the request's end to the answer's first byte. */
  timeoutMs: number;
  /** Milliseconds the far side may pause within the answer while it is being read. */
  idleMs: number;
  /** Bytes of the answer's body; beyond them the body errors with Refused("too_large"). */
  maxBytes: number;
  passRedirects: boolean;
  ca: string | undefined;
  patience: Patience;
};

export const maxHeaderBytes = 64 * 1024;

/** Statuses whose answer has no body, as `Response` insists (WHATWG Fetch, null body status). */
const bodiless = new Set([204, 205, 304]);
const redirects = new Set([301, 302, 303, 307, 308]);

export const isBodiless = (call: Call, status: number) =>
  bodiless.has(status) || call.method === "HEAD";

/** A header's value, several as one list; null when there is none. The name in lower case. */
export function headerOf({ headers }: Answer, name: string): string | null {
  let all: string | null = null;
  for (const [given, value] of headers) {
    if (given.toLowerCase() === name) all = all === null ? value : `${all}, ${value}`;
  }
  return all;
}

/** A body as pieces, whichever way it came. */
export function piecesOf(body: Answer["body"]): Pieces {
  if (body !== null && "next" in body) return body;
  let left = body;
  return {
    next: () => {
      const piece = left;
      left = null;
      return Promise.resolve(piece);
    },
    cancel: () => left = null,
  };
}

/** All of a body. */
export async function bytesOf(body: Answer["body"]): Promise<Bytes> {
  if (body === null) return new Uint8Array();
  if (!("next" in body)) return body;
  const pieces: Bytes[] = [];
  for (let piece = await body.next(); piece !== null; piece = await body.next()) pieces.push(piece);
  return joined(pieces);
}

/** Pieces as a stream that asks for the next when it is read. */
const streamOf = ({ next, cancel }: Pieces) =>
  new ReadableStream<Uint8Array>({
    async pull(controller) {
      const piece = await next();
      if (piece === null) controller.close();
      else controller.enqueue(piece);
    },
    cancel,
  }, { highWaterMark: 0 });

export const responseFrom = (call: Call, { body, ...head }: Answer): Response =>
  responseOf(call, body !== null && "next" in body ? streamOf(body) : body, head);

/** Throws when the answer is one that is refused by its head; `bytes` is the length it announces. */
export function permit(call: Call, status: number, bytes: number) {
  if (redirects.has(status) && !call.passRedirects) {
    const { hostname } = call.url;
    throw new Refused("redirect", `${hostname} answered with a redirect, which is not followed`);
  }
  if (status > 599) throw notHttp(call);
  if (!isBodiless(call, status) && bytes > call.maxBytes) throw tooLarge(call);
}

export function responseOf(
  call: Call,
  body: BodyInit | null,
  { status, headers }: { status: number; headers: Pairs },
): Response {
  try {
    const response = new Response(body, { status });
    // A quarter of what the constructor takes for them.
    for (const [name, value] of headers) response.headers.append(name, value);
    return response;
  } catch (cause) {
    throw notHttp(call, cause);
  }
}

const notHttp = (call: Call, cause?: unknown) =>
  new Refused("bad_answer", `${call.url.hostname} answered with what is not HTTP`, { cause });

export const unreachable = (call: Call, cause: unknown) => {
  const why = cause instanceof Error && "code" in cause ? ` (${cause.code})` : "";
  return new Refused("unreachable", `${call.url.hostname} could not be reached${why}`, { cause });
};

export const brokeOff = (call: Call, cause: unknown) =>
  new Refused("bad_answer", `${call.url.hostname} broke off its answer`, { cause });

export const tooLarge = (call: Call) =>
  new Refused("too_large", `${call.url.hostname} answered with more than ${call.maxBytes} bytes`);
