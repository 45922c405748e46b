/** The one way out to an address a tenant can influence: token endpoint, issuer, proxy, webhook. */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { isPublic } from "./outbound/addresses.ts";
import { type Answer, type Call, responseFrom } from "./outbound/answers.ts";
import { headersOf } from "./outbound/heads.ts";
import { exchange } from "./outbound/exchange.ts";
import { KeptConnections, type KeptOptions } from "./outbound/kept_connections.ts";
import { keptExchange } from "./outbound/kept_exchange.ts";
import { Patience } from "./outbound/patience.ts";
import { bareHost, leadsInside, Refused, screen } from "./outbound/screen.ts";

export { type Answer, bytesOf, headerOf, type Pieces, piecesOf } from "./outbound/answers.ts";
export { type RefusalReason, Refused, screen } from "./outbound/screen.ts";

/** What a call may set beyond `fetch`'s own; each replaces the default of the `Outbound`. */
export type OutboundInit = RequestInit & {
  timeoutMs?: number;
  idleMs?: number;
  maxBytes?: number;
  /** Answers a redirect as it came instead of refusing it; it is not followed in any case. */
  passRedirects?: boolean;
  /**
   * Takes a connection that an earlier call to the same scheme, host and port left, or leaves one.
   * A call that finds it closed by the far side is sent again, a POST too. Not for streamed bodies.
   */
  keepAlive?: boolean;
  /** Nothing leaves and nobody is asked before this resolves; the call is made ready meanwhile. */
  after?: Promise<unknown>;
};

/** `fetch`, guarded; fits oauth4webapi's `customFetch`. */
export type Outbound = (url: string | URL, init?: OutboundInit) => Promise<Response>;

/** The same with `keepAlive`, where no Response is made of what is answered. For bodies that are bytes. */
export type Answering = (url: string | URL, init: OutboundInit) => Promise<Answer>;

export type Outside = Outbound & { answer: Answering } & Disposable;

export type OutboundOptions = {
  /** Development only: permits `http:`, any port and private addresses. */
  allowPrivateHosts: boolean;
  /** Every address of a name; asked exactly once a call. Default: the system's resolver. */
  resolve?: (host: string) => Promise<string[]>;
  /** Which addresses may be connected to when private hosts may not. Default: `isPublic`. */
  mayReach?: (address: string) => boolean;
  /** PEM certificates trusted instead of the public ones; with `keepAlive` besides them. */
  ca?: string;
  /** To connect, and again from the request's end to the answer's headers. Default 10,000. */
  timeoutMs?: number;
  /** A pause within the answer's body, of the far side or of its reader. Default 60,000. */
  idleMs?: number;
  /** Of the answer's body. Default 16 MiB; Infinity lifts it. */
  maxBytes?: number;
  /** How many connections `keepAlive` leaves at rest, and for how long. */
  kept?: KeptOptions;
};

/** Headers about the connection and not the request (RFC 9110, 7.6.1), or that we set. */
const ownHeaders = new Set([
  ...["host", "content-length", "expect"],
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"],
  "upgrade",
]);

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
 *
 * With `keepAlive` the check is the one made when the connection was; disposing ends what is kept.
 */
export function outbound(o: OutboundOptions): Outside {
  const mayReach = o.allowPrivateHosts ? () => true : o.mayReach ?? isPublic;
  const resolve = o.resolve ?? resolveAll;
  const kept = new KeptConnections(o.kept);

  /** A call made ready, and given up where that or what is done with it fails. */
  async function calling<T>(
    address: string | URL,
    init: OutboundInit,
    work: (call: Call, addresses: () => Promise<string[]>) => Promise<T>,
  ): Promise<T> {
    const url = screen(address, o);
    const patience = new Patience(url.hostname, init.signal ?? undefined);
    const addresses = async () => {
      const found = await addressesOf(url, resolve);
      if (!found.every(mayReach)) throw leadsInside(url);
      return found;
    };
    try {
      const call = {
        ...await requestOf(init, patience),
        url,
        timeoutMs: init.timeoutMs ?? o.timeoutMs ?? 10_000,
        idleMs: init.idleMs ?? o.idleMs ?? 60_000,
        maxBytes: init.maxBytes ?? o.maxBytes ?? 16 * 1024 * 1024,
        passRedirects: init.passRedirects ?? false,
        ca: o.ca,
        patience,
      };
      return await work(call, addresses);
    } catch (error) {
      patience.end();
      throw error;
    }
  }

  const call: Outbound = (address, init = {}) =>
    calling(address, init, async (call, addresses) => {
      const { body, patience, timeoutMs } = call;
      if (init.keepAlive && !(body instanceof ReadableStream)) {
        const answer = await keptExchange({ ...call, body, addresses, after: init.after }, kept);
        return responseFrom(call, answer);
      }
      if (init.after) await patience.bound(init.after);
      patience.wait(timeoutMs, "was not found");
      return await exchange({ ...call, addresses: await patience.bound(addresses()) });
    });
  const answer: Answering = (address, init) =>
    calling(address, init, (call, addresses) => {
      const { body } = call;
      if (body instanceof ReadableStream) throw new TypeError("Give the body as bytes");
      return keptExchange({ ...call, body, addresses, after: init.after }, kept);
    });
  return Object.assign(call, { answer, [Symbol.dispose]: () => kept.end() });
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

type Request = Pick<Call, "method" | "headers" | "body">;

/** The request as it is sent: a stream stays one, anything else is bytes with a length. */
async function requestOf(init: RequestInit, patience: Patience): Promise<Request> {
  const { body, type } = init.body instanceof Uint8Array
    ? { body: init.body, type: null }
    : await patience.bound(encoded(init.body ?? null));
  const headers = headersOf(init.headers, ownHeaders);
  if (type !== null && !headers.has("content-type")) headers.set("content-type", type);
  if (!headers.has("accept")) headers.set("accept", "*/*");

  const method = (init.method ?? "GET").toUpperCase();
  if (tunnels.has(method) || !/^[A-Z][A-Z-]*$/.test(method)) {
    throw new TypeError(`The method ${method} is not forwarded`);
  }
  if (body instanceof Uint8Array) headers.set("content-length", String(body.byteLength));
  if (body === null && ["POST", "PUT", "PATCH"].includes(method)) {
    headers.set("content-length", "0");
  }
  return { method, headers, body };
}

/** `Response` knows how every kind of body is encoded and typed. */
async function encoded(body: BodyInit | null) {
  const response = new Response(body);
  const bytes = body === null || body instanceof ReadableStream
    ? body
    : new Uint8Array(await response.arrayBuffer());
  return { body: bytes, type: response.headers.get("content-type") };
}
