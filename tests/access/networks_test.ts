/** Which addresses count as one network, which lie in one, and the keys that limits are counted under. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  baseOf,
  digestOf,
  isWithin,
  networkOf,
  networkText,
  readNetwork,
} from "../../src/access/networks.ts";

const canonical = (text: string) => {
  const network = readNetwork(text);
  return network && networkText(network);
};

const groups = fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .filter((groups) => groups.slice(0, 5).some((group) => group !== 0) || groups[5] !== 0xffff);
const bytes = fc.array(fc.nat(255), { minLength: 4, maxLength: 4 });

/** The ways RFC 4291 (2.2) lets one write an address: cases, zeros in front, `::`, dots at the end. */
const spellings = fc.record({
  upper: fc.infiniteStream(fc.boolean()),
  wide: fc.infiniteStream(fc.boolean()),
  gap: fc.nat(20),
  dots: fc.boolean(),
});
type Spelling = typeof spellings extends fc.Arbitrary<infer T> ? T : never;

function spelt(groups: readonly number[], { upper, wide, gap, dots }: Spelling): string {
  const next = (stream: Iterator<boolean>) => stream.next().value === true;
  const parts = groups.map((group) => {
    const digits = next(wide) ? group.toString(16).padStart(4, "0") : group.toString(16);
    return next(upper) ? digits.toUpperCase() : digits;
  });
  if (dots) {
    const [high = 0, low = 0] = groups.slice(6);
    parts.splice(6, 2, [high >> 8, high & 255, low >> 8, low & 255].join("."));
  }
  const most = dots ? 6 : 8;
  const runs = [];
  for (let from = 0; from < most; from++) {
    for (let to = from + 1; to <= most && groups[to - 1] === 0; to++) runs.push([from, to]);
  }
  const [from, to] = runs[gap % (runs.length + 1)] ?? [];
  if (from === undefined) return parts.join(":");
  return `${parts.slice(0, from).join(":")}::${parts.slice(to).join(":")}`;
}

Deno.test("readNetwork reads every spelling of one IPv6 network alike, and isWithin every one of an address", () => {
  fc.assert(
    fc.property(groups, spellings, spellings, fc.nat(128), (groups, one, other, prefix) => {
      const [a, b] = [spelt(groups, one), spelt(groups, other)];
      const read = readNetwork(`${a}/${prefix}`);
      assert.ok(read, a);
      const network = networkText(baseOf(read));
      const again = readNetwork(`${b}/${prefix}`);
      assert.ok(again, b);
      assert.equal(networkText(baseOf(again)), network, `${a} ${b}`);
      assert.equal(canonical(network), network);
      assert.equal(canonical(a), canonical(b));
      assert.match(network, /^[0-9a-f:]+\/\d+$/);
      assert.ok(isWithin(a, [network]) && isWithin(b, [network]), `${a} ${b} ${network}`);
      assert.equal(networkOf(a), networkOf(b));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("isWithin lets in what shares the prefix, and nothing that differs in one bit of it", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        bytes.map((bytes) => ({ bits: 32, address: bytes.join(".") })),
        groups.map((groups) => ({
          bits: 128,
          address: groups.map((group) => group.toString(16)).join(":"),
        })),
      ),
      fc.nat(127),
      fc.nat(128),
      ({ bits, address }, at, length) => {
        const prefix = length % (bits + 1);
        const bit = at % bits;
        const read = readNetwork(`${address}/${prefix}`);
        assert.ok(read);
        const network = networkText(baseOf(read));
        const flipped = { ...read, value: read.value ^ (1n << BigInt(bits - 1 - bit)) };
        const other = networkText({ ...flipped, prefix: bits }).replace(/\/\d+$/, "");
        assert.ok(isWithin(address, ["192.0.2.0/31", network]), `${address} ${network}`);
        const isMapped = /^::ffff:[^:]+:[^:]+$/.test(other);
        if (!isMapped) {
          assert.equal(isWithin(other, [network]), bit >= prefix, `${other} ${network}`);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

Deno.test("an IPv4-mapped address is the IPv4 one, as a network and as a caller's", () => {
  fc.assert(
    fc.property(bytes, fc.nat(32), (bytes, prefix) => {
      const ipv4 = bytes.join(".");
      const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
      const mapped = [`::ffff:${ipv4}`, `::FFFF:${hex.slice(0, 4)}:${hex.slice(4)}`];
      const read = readNetwork(`${ipv4}/${prefix}`);
      assert.ok(read);
      const network = networkText(baseOf(read));
      for (const spelling of mapped) {
        assert.equal(canonical(`${spelling}/${96 + prefix}`), canonical(`${ipv4}/${prefix}`));
        assert.equal(canonical(spelling), `${ipv4}/32`);
        assert.ok(isWithin(spelling, [network]));
        assert.equal(networkOf(spelling), ipv4);
      }
    }),
  );
});

Deno.test("networkText writes as RFC 5952 does", () => {
  const written: Record<string, string> = {
    "192.0.2.7": "192.0.2.7/32",
    "0.0.0.0/0": "0.0.0.0/0",
    "2001:DB8:0:0:0:0:0:1": "2001:db8::1/128",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1/128", // One group of zeros is not shortened …
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1/128", // … the longest run is …
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1/128", // … and of two alike the first.
    "::": "::/128",
    "::1": "::1/128",
    "0:0:0:0:0:0:0:0/0": "::/0",
  };
  for (const [text, expected] of Object.entries(written)) assert.equal(canonical(text), expected);
});

Deno.test("readNetwork refuses what is no network", () => {
  const odd = [
    "",
    "/",
    "/8",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/255.0.0.0",
    "10.0.0",
    "010.0.0.1",
    "0x0a.0.0.1",
    "167772161",
    "256.0.0.1",
    " 10.0.0.1",
    "2001:db8::/129",
    "2001:db8:::1",
    "1::2::3",
    "12345::",
    "fe80::1%eth0",
    "fe80::1%eth0/64",
    "[::1]",
    "::ffff:1.2.3.4/129",
    "example.com",
    "*",
  ];
  for (const text of odd) assert.equal(readNetwork(text), null, text);
});

Deno.test("baseOf has no bits behind the prefix", () => {
  const base = (text: string) => {
    const network = readNetwork(text);
    return network && networkText(baseOf(network));
  };
  assert.equal(base("10.1.2.3/8"), "10.0.0.0/8");
  assert.equal(base("255.255.255.255/0"), "0.0.0.0/0");
  assert.equal(base("2001:db8:ffff::1/33"), "2001:db8:8000::/33");
  assert.equal(base("::ffff:1.2.3.4/64"), "::/64"); // Wider than the mapped ones: IPv6.
});

Deno.test("isWithin lets in nothing that is no address, and nothing through what is no network", () => {
  const all = ["0.0.0.0/0", "::/0"];
  for (const odd of ["unknown", "", "127.0.0.1:80", "[::1]", "localhost", "127.0.0.1, 10.0.0.1"]) {
    assert.equal(isWithin(odd, all), false, odd);
  }
  assert.equal(isWithin("127.0.0.1", []), false);
  assert.equal(isWithin("127.0.0.1", ["rubbish", "127.0.0.1"]), true);
  assert.equal(isWithin("127.0.0.1", ["rubbish"]), false);
  assert.ok(isWithin("127.0.0.1", all) && isWithin("::1", all) && isWithin("fe80::1%eth0", all));
  assert.equal(isWithin("127.0.0.1", ["::/0"]), false); // The one is not the other.
  assert.equal(isWithin("::1", ["0.0.0.0/0"]), false);
});

Deno.test("networkOf takes all of an IPv6 /64 for one, and each IPv4 address for itself", () => {
  const home = "2001:db8:1:2::/64";
  const same = ["2001:db8:1:2::1", "2001:0DB8:0001:0002:ffff:1:2:3", "2001:db8:1:2:0:0:1.2.3.4"];
  for (const address of same) assert.equal(networkOf(address), home, address);
  assert.equal(networkOf("2001:db8:1:3::1"), "2001:db8:1:3::/64");
  assert.equal(networkOf("fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.equal(networkOf("::1"), "0:0:0:0::/64");
  assert.equal(networkOf("203.0.113.7"), "203.0.113.7");
  for (const other of ["unknown", "", "203.0.113.7:80", "[::1]"]) {
    assert.equal(networkOf(other), other);
  }
});

Deno.test("digestOf is short, does not show its text, and keeps the parts apart", () => {
  const long = digestOf("ada@people.example".repeat(1_000), "::1");
  assert.match(long, /^[\w-]{43}$/);
  assert.notEqual(digestOf("a", "bc"), digestOf("ab", "c"));
  assert.notEqual(digestOf('a","b'), digestOf("a", "b"));
});
