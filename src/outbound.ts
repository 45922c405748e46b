/** The one way out to an address a tenant can influence: token endpoint, issuer, proxy, webhook. */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { isPublic } from "./outbound/addresses.ts";
import { type Call, exchange } from "./outbound/exchange.ts";
import { Patience } from "./outbound/patience.ts";
import { bareHost, leadsInside, Refused, screen } from "./outbound/screen.ts";

export { type RefusalReason, Refused, screen } from "./outbound/screen.ts";

/** What a call may set beyond `fetch`'s own; each replaces the default of the `Outbound`. */
export type OutboundInit = RequestInit & {
  timeoutMs?: number;
  idleMs?: number;
  maxBytes?: number;
  /** Answers a redirect as it came instead of refusing it; it is not followed in any case. */
  passRedirects?: boolean;
};

/** `fetch`, guarded; fits oauth4webapi's `customFetch`. */
export type Outbound = (url: string | URL, init?: OutboundInit) => Promise<Response>;

export type OutboundOptions = {
  /** Development only: permits `http:`, any port and private addresses. */
  allowPrivateHosts: boolean;
  /** Every address of a name; asked exactly once a call. Default: the system's resolver. */
  resolve?: (host: string) => Promise<string[]>;
  /** Which addresses may be connected to when private hosts may not. Default: `isPublic`. */
  mayReach?: (address: string) => boolean;
  /** PEM certificates trusted instead of the public ones. */
  ca?: string;
  /** To connect, and again from the request's end to the answer's headers. Default 10,000. */
  timeoutMs?: number;
  /** A pause within the answer's body, of the far side or of its reader. Default 60,000. */
  idleMs?: number;
  /** Of the answer's body. Default 16 MiB; Infinity lifts it. */
  maxBytes?: number;
};

/** Headers about the connection and not the request (RFC 9110, 7.6.1), or that we set. */
const ownHeaders = [
  ...["host", "content-length", "expect"],
  ...[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
  ],
];

/** What `fetch` forbids too: CONNECT opens a tunnel, TRACE echoes the token (WHATWG Fetch). */
const tunnels = new Set(["CONNECT", "TRACE", "TRACK"]);

/**
 * Makes a `fetch` that resolves a name once, checks every address it has, and makes a connection of
 * its own to a checked one, so that a name which changes its mind (DNS rebinding) gains nothing.
 *
 * Unlike `fetch` it: throws Refused for what it will not do or could not finish; never follows a
 * redirect, whatever `init.redirect` says; asks for no compression and undoes none, so that bytes
 * pass through as sent; speaks HTTP/1.1. An aborted `init.signal` rejects with the signal's reason.
 * The body errors with Refused when longer than `maxBytes`, broken off, or at rest for `idleMs`;
 * cancelling it closes the connection, so cancel what you do not read.
 */
export function outbound(o: OutboundOptions): Outbound {
  const mayReach = o.allowPrivateHosts ? () => true : o.mayReach ?? isPublic;
  const resolve = o.resolve ?? resolveAll;

  return async (address, init = {}) => {
    const url = screen(address, o);
    const timeoutMs = init.timeoutMs ?? o.timeoutMs ?? 10_000;
    const patience = new Patience(url.hostname, init.signal ?? undefined);
    try {
      patience.wait(timeoutMs, "was not found");
      const request = await patience.bound(requestOf(init));
      const addresses = await patience.bound(addressesOf(url, resolve));
      if (!addresses.every(mayReach)) throw leadsInside(url);
      return await exchange({
        ...request,
        url,
        addresses,
        timeoutMs,
        idleMs: init.idleMs ?? o.idleMs ?? 60_000,
        maxBytes: init.maxBytes ?? o.maxBytes ?? 16 * 1024 * 1024,
        passRedirects: init.passRedirects ?? false,
        ca: o.ca,
        patience,
      });
    } catch (error) {
      patience.end();
      throw error;
    }
  };
}

async function resolveAll(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

async function addressesOf(url: URL, resolve: (host: string) => Promise<string[]>) {
  const host = bareHost(url);
  if (isIP(host) !== 0) return [host];
  const addresses = await resolve(host).catch((cause) => {
    throw new Refused("unresolvable", `${host} has no address`, { cause });
  });
  if (addresses.length === 0) throw new Refused("unresolvable", `${host} has no address`);
  return addresses;
}

/** The request as it is sent: a stream stays one, anything else is bytes with a length. */
async function requestOf(init: RequestInit): Promise<Pick<Call, "method" | "headers" | "body">> {
  // `Response` knows how every kind of body is encoded and typed.
  const encoded = new Response(init.body ?? null);
  const body = init.body === undefined || init.body === null
    ? null
    : init.body instanceof ReadableStream
    ? init.body
    : new Uint8Array(await encoded.arrayBuffer());
  const headers = new Headers(init.headers);
  for (const name of ownHeaders) headers.delete(name);
  const type = encoded.headers.get("content-type");
  if (type !== null && !headers.has("content-type")) headers.set("content-type", type);
  if (!headers.has("accept")) headers.set("accept", "*/*");

  const method = (init.method ?? "GET").toUpperCase();
  if (tunnels.has(method)) throw new TypeError(`The method ${method} is not forwarded`);
  if (body instanceof Uint8Array) headers.set("content-length", String(body.byteLength));
  if (body === null && ["POST", "PUT", "PATCH"].includes(method)) {
    headers.set("content-length", "0");
  }
  return { method, headers, body };
}
