/** Which internet addresses belong to the open internet, and which lead inside somebody's house. */

import { BlockList, isIP } from "node:net";

/**
 * IPv4 blocks nobody outside may be sent to: the IANA special-purpose registry (RFC 6890 and what
 * was added to it since), multicast (RFC 5771), class E (RFC 1112), and one public address that
 * answers inside a cloud only.
 */
const innerIpv4: readonly (readonly [address: string, bits: number])[] = [
  ["0.0.0.0", 8], // this network, RFC 791
  ["10.0.0.0", 8], // private, RFC 1918
  ["100.64.0.0", 10], // carrier-grade NAT, RFC 6598
  ["127.0.0.0", 8], // loopback, RFC 1122
  ["168.63.129.16", 32], // Azure's wire server
  ["169.254.0.0", 16], // link-local and cloud metadata, RFC 3927
  ["172.16.0.0", 12], // private, RFC 1918
  ["192.0.0.0", 24], // protocol assignments, RFC 6890
  ["192.0.2.0", 24], // documentation, RFC 5737
  ["192.88.99.0", 24], // 6to4 relays, RFC 7526
  ["192.168.0.0", 16], // private, RFC 1918
  ["198.18.0.0", 15], // benchmarking, RFC 2544
  ["198.51.100.0", 24], // documentation, RFC 5737
  ["203.0.113.0", 24], // documentation, RFC 5737
  ["224.0.0.0", 4], // multicast, RFC 5771
  ["240.0.0.0", 4], // reserved and broadcast, RFC 1112, RFC 919
];

/**
 * IPv6 is allowed by list: global unicast (RFC 4291), and the two forms that only wrap an IPv4
 * address, mapped (RFC 4291) and NAT64 (RFC 6052), which IPv6-only networks need. The rest (::1,
 * fc00::/7, fe80::/10, ff00::/8, ::ffff:0:0:0/96, 64:ff9b:1::/48, …) is refused by being absent.
 */
const ipv4Wrappers = ["::ffff:", "64:ff9b::"] as const;

/** Blocks within global unicast that are not for us: tunnels, documentation, segment routing. */
const innerIpv6: readonly (readonly [address: string, bits: number])[] = [
  ["2001::", 23], // protocol assignments: Teredo, benchmarking, ORCHID; RFC 2928
  ["2001:db8::", 32], // documentation, RFC 3849
  ["2002::", 16], // 6to4 may wrap any IPv4 address, RFC 3056
  ["3ffe::", 16], // the former 6bone, RFC 3701
  ["3fff::", 20], // documentation, RFC 9637
];

const inner = new BlockList();
const outerIpv6 = new BlockList();

outerIpv6.addSubnet("2000::", 3, "ipv6");
for (const wrapper of ipv4Wrappers) outerIpv6.addSubnet(`${wrapper}0.0.0.0`, 96, "ipv6");
for (const [address, bits] of innerIpv6) inner.addSubnet(address, bits, "ipv6");
for (const [address, bits] of innerIpv4) {
  inner.addSubnet(address, bits, "ipv4");
  for (const wrapper of ipv4Wrappers) {
    inner.addSubnet(`${wrapper}${address}`, 96 + bits, "ipv6");
  }
}

/**
 * Whether a plain IPv4 or IPv6 address (no brackets, no port) lies on the open internet. Anything
 * that is not an address, and an address with a zone (`fe80::1%eth0`), is not.
 */
export function isPublic(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !inner.check(address, "ipv4");
  if (family === 6) return outerIpv6.check(address, "ipv6") && !inner.check(address, "ipv6");
  return false;
}
