/** What an address may look like before anybody is asked where it leads. */

import { isIP } from "node:net";
import { isPublic } from "./addresses.ts";

/**
 * Why a call was not made, or not finished. The first six are found before any connection, so the
 * far side saw nothing; `address` means it is no URL at all.
 */
export type RefusalReason =
  | "address"
  | "scheme"
  | "credentials_in_url"
  | "port"
  | "private_address"
  | "unresolvable"
  | "unreachable"
  | "timeout"
  | "redirect"
  | "too_large"
  | "bad_answer";

/**
 * A call to the outside that was refused or broke off. The message names the host and never the
 * path, the query or the address it led to, so it may be shown to a tenant.
 */
export class Refused extends Error {
  override name = "Refused";
  constructor(readonly reason: RefusalReason, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Names that by definition lead inside: RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`. */
const innerNames = ["localhost", "local", "internal", "home.arpa"];

/** Ports above the system range that browsers do not speak to either (WHATWG Fetch, bad ports). */
const badPorts = new Set([
  ...[1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566],
  ...[6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080],
]);

const isInnerName = (host: string) =>
  !host.includes(".") || innerNames.some((name) => host === name || host.endsWith(`.${name}`));

const isGoodPort = (port: string) =>
  port === "" || Number(port) === 443 || (Number(port) >= 1024 && !badPorts.has(Number(port)));

/** A URL's host as `lookup` and TLS want it: `[::1]` becomes `::1`. */
export const bareHost = (url: URL) => url.hostname.replace(/^\[(.*)\]$/, "$1");

/**
 * The parsed address, or Refused when it can be refused by looking at it: use it where a tenant
 * saves an address, so that the mistake is named there. Passing promises nothing about where a name
 * leads; only `outbound` finds that out. The URL standard's parser has already turned every odd
 * spelling of an IP address (decimal, octal, hex, full-width) into the plain one, and the root dot
 * of `example.com.` is dropped, because certificates are not issued for it.
 */
export function screen(address: string | URL, o: { allowPrivateHosts: boolean }): URL {
  const url = URL.parse(address);
  if (url === null) throw new Refused("address", "This is not an address");
  if (url.protocol !== "https:" && !(o.allowPrivateHosts && url.protocol === "http:")) {
    throw new Refused("scheme", `Use https:, not ${url.protocol}`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new Refused("credentials_in_url", `Leave user and password out of ${url.hostname}`);
  }
  if (url.hostname.endsWith(".")) url.hostname = url.hostname.slice(0, -1);
  if (o.allowPrivateHosts) return url;

  if (!isGoodPort(url.port)) {
    throw new Refused("port", `Port ${url.port} of ${url.hostname} is not a web service's`);
  }
  const host = bareHost(url);
  if (isIP(host) === 0 ? isInnerName(host) : !isPublic(host)) throw leadsInside(url);
  return url;
}

export const leadsInside = (url: URL) =>
  new Refused("private_address", `${url.hostname} does not lead to the open internet`);
