/** Addresses and the networks they lie in: one address is one number, however it is written. */
import { createHash } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";

type Address = { bits: 32 | 128; value: bigint };
/** All addresses that share the first `prefix` bits of `value`. */
export type Network = Address & { prefix: number };

const MAPPED_PREFIX = 96;
const MAPPED = 0xffffn; // ::ffff:0:0/96 (RFC 4291, 2.5.5.2).

function groupsOf(ipv6: string): string[] {
  const canonical = new URL(`http://[${ipv6}]`).hostname.slice(1, -1);
  const [left = [], right = []] = canonical.split("::")
    .map((part) => part === "" ? [] : part.split(":"));
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right];
}

const numberOf = (digits: readonly string[], radix: number, bits: bigint) =>
  digits.reduce((sum, digit) => (sum << bits) + BigInt(Number.parseInt(digit, radix)), 0n);

/** Null for what is no address, one with a zone included: it means something on one machine alone. */
function written(text: string): Address | null {
  if (isIPv4(text)) return { bits: 32, value: numberOf(text.split("."), 10, 8n) };
  if (!isIPv6(text) || text.includes("%")) return null;
  return { bits: 128, value: numberOf(groupsOf(text), 16, 16n) };
}

const isMapped = ({ bits, value }: Address) => bits === 128 && value >> 32n === MAPPED;
const unmapped = (address: Address): Address =>
  isMapped(address) ? { bits: 32, value: address.value & 0xffffffffn } : address;

function addressOf(text: string): Address | null {
  const address = written(text.replace(/%.*$/, ""));
  return address && unmapped(address);
}

/** Reads an address or a network (RFC 4632, RFC 4291); an IPv4-mapped one is the IPv4 one. */
export function readNetwork(text: string): Network | null {
  const [, bare = "", digits] = /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? [];
  const address = written(bare);
  if (!address) return null;
  const prefix = digits === undefined ? address.bits : Number(digits);
  if (prefix > address.bits) return null;
  return isMapped(address) && prefix >= MAPPED_PREFIX
    ? { ...unmapped(address), prefix: prefix - MAPPED_PREFIX }
    : { ...address, prefix };
}

/** The same network without the bits behind its prefix. */
export function baseOf({ bits, value, prefix }: Network): Network {
  const behind = BigInt(bits - prefix);
  return { bits, value: (value >> behind) << behind, prefix };
}

/** The one way we write a network: CIDR, an IPv6 address as RFC 5952 has it. */
export function networkText({ bits, value, prefix }: Network): string {
  const size = bits === 32 ? 8 : 16;
  const parts = Array.from(
    { length: bits / size },
    (_, i) => ((value >> BigInt(bits - size * (i + 1))) & ((1n << BigInt(size)) - 1n)),
  );
  const address = bits === 32
    ? parts.join(".")
    : new URL(`http://[${parts.map((part) => part.toString(16)).join(":")}]`).hostname.slice(1, -1);
  return `${address}/${prefix}`;
}

/** What a list holds, by the length of the prefix: one look each, however long the list. */
type Heads = { bits: number; behind: bigint; values: Set<bigint> }[];
const compiled = new WeakMap<readonly string[], Heads>();

function headsOf(networks: readonly string[]): Heads {
  const known = compiled.get(networks);
  if (known) return known;
  const heads: Heads = [];
  for (const { bits, value, prefix } of networks.map(readNetwork).filter((it) => it !== null)) {
    const behind = BigInt(bits - prefix);
    const alike = heads.find((head) => head.bits === bits && head.behind === behind);
    if (alike) alike.values.add(value >> behind);
    else heads.push({ bits, behind, values: new Set([value >> behind]) });
  }
  compiled.set(networks, heads);
  return heads;
}

/** Whether an address lies in one of the networks. What is no address lies in none. */
export function isWithin(address: string, networks: readonly string[]): boolean {
  const at = addressOf(address);
  return at !== null &&
    headsOf(networks).some(({ bits, behind, values }) =>
      bits === at.bits && values.has(at.value >> behind)
    );
}

/**
 * The network an address counts as: an IPv4 address itself, of IPv6 the first 64 bits, since who
 * has one of a /64 has them all (RFC 6177). Anything else is its own text.
 */
export function networkOf(address: string): string {
  const at = addressOf(address);
  if (!at) return address;
  if (at.bits === 32) return networkText({ ...at, prefix: 32 }).replace("/32", "");
  return `${groupsOf(address.replace(/%.*$/, "")).slice(0, 4).join(":")}::/64`;
}

/** A key for a limiter: of bounded length, and not readable where it is kept. */
export const digestOf = (...parts: readonly string[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
