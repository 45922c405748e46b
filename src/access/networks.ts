/** Where a caller comes from, as far as it tells one household or office from another. */
import { createHash } from "node:crypto";
import { BlockList, isIP, isIPv6 } from "node:net";
import { LRUCache } from "lru-cache";

/**
 * The network an address counts as: an IPv4 address itself, of IPv6 the first 64 bits, since who
 * has one of a /64 has them all (RFC 6177). Anything else is its own text.
 */
export function networkOf(address: string): string {
  const bare = address.replace(/%.*$/, "");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
  if (mapped) return mapped;
  if (!isIPv6(bare)) return address;
  const canonical = new URL(`http://[${bare}]`).hostname.slice(1, -1);
  const [left = [], right = []] = canonical.split("::")
    .map((part) => part === "" ? [] : part.split(":"));
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return `${[...left, ...zeros, ...right].slice(0, 4).join(":")}::/64`;
}

/** A key for a limiter: of bounded length, and not readable where it is kept. */
export const digestOf = (...parts: readonly string[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("base64url");

const blocks = new LRUCache<string, BlockList>({ max: 1_000 });

function blockOf(networks: readonly string[]): BlockList {
  const name = networks.join(" ");
  const known = blocks.get(name);
  if (known) return known;
  const made = new BlockList();
  for (const network of networks) {
    const [address = "", prefix = ""] = network.split("/");
    made.addSubnet(address, Number(prefix), isIPv6(address) ? "ipv6" : "ipv4");
  }
  blocks.set(name, made);
  return made;
}

/** Whether an address lies in one of the networks (CIDR). What is no address lies in none. */
export function isWithin(address: string, networks: readonly string[]): boolean {
  const bare = address.replace(/%.*$/, "");
  const family = isIP(bare);
  return family !== 0 && blockOf(networks).check(bare, family === 6 ? "ipv6" : "ipv4");
}
