/** Every block of addresses that leads inside, at both its edges, and the ones that do not. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { isPublic } from "../../src/outbound/addresses.ts";

const inner = [
  ...["0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255"],
  ...["127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.0.0", "169.254.169.254"],
  ...["172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.192", "192.0.2.1", "192.88.99.1"],
  ...["192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7"],
  ...["203.0.113.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
];
const outer = [
  ...["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"],
  ...["128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0"],
  ...["192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"],
];

Deno.test("isPublic refuses every inner IPv4 block and not its neighbours", () => {
  for (const address of inner) assert.equal(isPublic(address), false, address);
  for (const address of outer) assert.equal(isPublic(address), true, address);
});

Deno.test("isPublic judges a wrapped IPv4 address by the address inside", () => {
  for (const wrapper of ["::ffff:", "64:ff9b::", "0:0:0:0:0:FFFF:", "0064:FF9B::0:0:"]) {
    for (const address of inner) assert.equal(isPublic(wrapper + address), false, address);
    for (const address of outer) assert.equal(isPublic(wrapper + address), true, address);
  }
  assert.equal(isPublic("::ffff:7f00:1"), false);
  assert.equal(isPublic("64:ff9b::a9fe:a9fe"), false);
});

Deno.test("isPublic allows global unicast IPv6 and nothing else", () => {
  const refused = [
    ...["::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b:1::808:808"],
    ...["100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1"],
    ...["2001:1ff:ffff::1", "2001:db8::1", "2002:808:808::1", "2002:7f00:1::", "3ffe::1"],
    ...["3fff::1", "3fff:fff:ffff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1"],
    ...["febf::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1", "fe80::1%eth0", "2606:4700::1%1"],
  ];
  for (const address of refused) assert.equal(isPublic(address), false, address);
  const allowed = ["2606:4700:4700::1111", "2a00:1450:4001::200e", "2001:200::1", "2001:db7::1"];
  for (const address of allowed) assert.equal(isPublic(address), true, address);
});

Deno.test("isPublic refuses what is no address", () => {
  const nonsense = ["", "localhost", "1.1.1", "1.1.1.1.", "0x7f.1", "01.1.1.1", "[2606:4700::1]"];
  for (const text of [...nonsense, "1.1.1.1:443", " 1.1.1.1"]) {
    assert.equal(isPublic(text), false, text);
  }
});

Deno.test("isPublic agrees with arithmetic on any IPv4 address", () => {
  const privateByArithmetic = (n: number) =>
    n >>> 24 === 0 || n >>> 24 === 10 || n >>> 24 === 127 || n >>> 28 >= 14 ||
    n >>> 22 === (100 << 2 | 1) || n >>> 16 === (169 << 8 | 254) || n === 0xa83f8110 ||
    n >>> 20 === (172 << 4 | 1) || n >>> 16 === (192 << 8 | 168) || n >>> 17 === (198 << 7 | 9) ||
    [0xc00000, 0xc00002, 0xc05863, 0xc63364, 0xcb0071].includes(n >>> 8);
  fc.assert(fc.property(fc.nat(0xffffffff), (n) => {
    const dotted = [24, 16, 8, 0].map((shift) => n >>> shift & 255).join(".");
    assert.equal(isPublic(dotted), !privateByArithmetic(n), dotted);
    assert.equal(isPublic(`::ffff:${dotted}`), !privateByArithmetic(n), dotted);
  }));
});
