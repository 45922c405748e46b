/** Codes of an authenticator as the RFC computes them, and recovery codes as people type them. */
import assert from "node:assert/strict";
import {
  hashRecoveryCode,
  newRecoveryCode,
  newTotpSecret,
  totpCode,
  totpStep,
  totpUri,
} from "../../src/access/totp.ts";

/** RFC 6238, appendix B: the secret "12345678901234567890" with SHA-1, to its last six digits. */
const secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const vectors: [number, string][] = [
  [59, "287082"],
  [1_111_111_109, "081804"],
  [1_111_111_111, "050471"],
  [1_234_567_890, "005924"],
  [2_000_000_000, "279037"],
  [20_000_000_000, "353130"],
];
const at = (seconds: number) => new Date(seconds * 1_000);

Deno.test("totpCode and totpStep agree with the RFC's own vectors", () => {
  for (const [seconds, code] of vectors) {
    assert.equal(totpCode(secret, at(seconds)), code);
    assert.equal(totpStep(secret, code, at(seconds)), Math.floor(seconds / 30));
  }
});

Deno.test("totpStep takes a code one step late or early, and no farther", () => {
  const [seconds = 0, code = ""] = vectors[1] ?? [];
  const step = Math.floor(seconds / 30);
  for (
    const [away, expected] of [[-2, null], [-1, step], [0, step], [1, step], [2, null]] as const
  ) {
    assert.equal(totpStep(secret, code, at(seconds + away * 30)), expected, `${away} steps`);
  }
  assert.equal(totpStep(secret, " 081-804 ", at(seconds)), step);
  for (const odd of ["", "08180", "0818044", "08180a", "081805", "٠٨١٨٠٤"]) {
    assert.equal(totpStep(secret, odd, at(seconds)), null, odd);
  }
});

Deno.test("newTotpSecret makes 160 random bits, and totpUri names whose they are", () => {
  const secrets = Array.from({ length: 100 }, newTotpSecret);
  assert.equal(new Set(secrets).size, 100);
  for (const made of secrets) assert.match(made, /^[A-Z2-7]{32}$/);
  const uri = new URL(totpUri(secret, "Switchboard", "ada+1@x.example"));
  assert.equal(`${uri.protocol}${uri.host}`, "otpauth:totp");
  assert.equal(decodeURIComponent(uri.pathname), "/Switchboard:ada+1@x.example");
  assert.equal(uri.searchParams.get("secret"), secret);
});

Deno.test("recovery codes are 80 random bits, and one however they are typed", () => {
  const codes = Array.from({ length: 1_000 }, newRecoveryCode);
  assert.equal(new Set(codes).size, 1_000);
  const letters = new Set(codes.join("").replaceAll("-", ""));
  assert.equal([...letters].sort().join(""), "0123456789abcdefghjkmnpqrstvwxyz");
  const code = "01ab-cdef-ghjk-mnpq";
  const typed = [
    "01ABCDEFGHJKMNPQ",
    "O1ab cdef ghjk mnpq",
    "oIab-cdef-ghjk-mnpq",
    "0lab-cdefghjkmnpq",
  ];
  for (const one of typed) assert.equal(hashRecoveryCode(one), hashRecoveryCode(code), one);
  assert.notEqual(hashRecoveryCode("01ab-cdef-ghjk-mnpr"), hashRecoveryCode(code));
});
