import assert from "node:assert/strict";
import { limitHeaders } from "../../src/limits/headers.ts";

const limit = { name: "default", max: 100, windowSeconds: 60 };
const verdict = { allowed: true, limit: 100, remaining: 50, resetSeconds: 30 };
const hourly = {
  limit: { name: "hourly", max: 1_000, windowSeconds: 3_600 },
  verdict: { allowed: false, limit: 1_000, remaining: 0, resetSeconds: 900 },
};

Deno.test("limitHeaders writes the draft's own examples", () => {
  assert.deepEqual(limitHeaders([{ limit, verdict }]), {
    "RateLimit-Policy": '"default";q=100;w=60',
    "RateLimit": '"default";r=50;t=30',
  });
});

Deno.test("limitHeaders lists every limit, and asks to wait for the slowest that refused", () => {
  const refused = { ...verdict, allowed: false, remaining: 0, resetSeconds: 12 };
  assert.deepEqual(limitHeaders([{ limit, verdict: refused }, hourly]), {
    "RateLimit-Policy": '"default";q=100;w=60, "hourly";q=1000;w=3600',
    "RateLimit": '"default";r=0;t=12, "hourly";r=0;t=900',
    "Retry-After": "900",
  });
});

Deno.test("limitHeaders does not wait for a limit that let the request through", () => {
  const refused = { ...verdict, allowed: false, remaining: 0, resetSeconds: 12 };
  const open = { ...hourly, verdict: { ...hourly.verdict, allowed: true, remaining: 7 } };
  assert.equal(limitHeaders([{ limit, verdict: refused }, open])["Retry-After"], "12");
});

Deno.test("limitHeaders escapes a name as a structured field's String, or refuses it", () => {
  const named = (name: string) => limitHeaders([{ limit: { ...limit, name }, verdict }]);
  assert.equal(named('a"b\\c')["RateLimit"], '"a\\"b\\\\c";r=50;t=30');
  for (const name of ["", "naïve", "a\r\nSet-Cookie: x", "\0"]) {
    assert.throws(() => named(name), TypeError);
  }
});

Deno.test("limitHeaders of no limits are none", () => {
  assert.deepEqual(limitHeaders([]), {});
});
