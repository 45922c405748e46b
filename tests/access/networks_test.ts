/** Which addresses count as one network, and the keys that limits are counted under. */
import assert from "node:assert/strict";
import { digestOf, networkOf } from "../../src/access/networks.ts";

Deno.test("networkOf takes all of an IPv6 /64 for one, and each IPv4 address for itself", () => {
  const home = "2001:db8:1:2::/64";
  const same = ["2001:db8:1:2::1", "2001:0DB8:0001:0002:ffff:1:2:3", "2001:db8:1:2:0:0:1.2.3.4"];
  for (const address of same) assert.equal(networkOf(address), home, address);
  assert.equal(networkOf("2001:db8:1:3::1"), "2001:db8:1:3::/64");
  assert.equal(networkOf("fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.equal(networkOf("::1"), "0:0:0:0::/64");
  assert.equal(networkOf("203.0.113.7"), "203.0.113.7");
  assert.equal(networkOf("::ffff:203.0.113.7"), "203.0.113.7");
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
