/** Which answers are passed on, and how: the rules that hold over any kind of connection. */

import type { Patience } from "./patience.ts";
import { Refused } from "./screen.ts";

/** An answer's headers in their order, a name as often as it came. */
export type Pairs = (readonly [name: string, value: string])[];

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

/** Throws when the answer is one that is refused by its head; `bytes` is the length it announces. */
export function permit(call: Call, status: number, bytes: number) {
  if (redirects.has(status) && !call.passRedirects) {
    const { hostname } = call.url;
    throw new Refused("redirect", `${hostname} answered with a redirect, which is not followed`);
  }
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
    const { hostname } = call.url;
    throw new Refused("bad_answer", `${hostname} answered with what is not HTTP`, { cause });
  }
}

export const unreachable = (call: Call, cause: unknown) => {
  const why = cause instanceof Error && "code" in cause ? ` (${cause.code})` : "";
  return new Refused("unreachable", `${call.url.hostname} could not be reached${why}`, { cause });
};

export const brokeOff = (call: Call, cause: unknown) =>
  new Refused("bad_answer", `${call.url.hostname} broke off its answer`, { cause });

export const tooLarge = (call: Call) =>
  new Refused("too_large", `${call.url.hostname} answered with more than ${call.maxBytes} bytes`);
