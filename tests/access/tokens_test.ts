/** Access tokens: which hold, for how long, and all the ways in which a made-up one does not. */
import assert from "node:assert/strict";
import { createHmac, createPrivateKey, sign } from "node:crypto";
import {
  ACCESS_TOKEN_SECONDS,
  type SigningKey,
  type Tokens,
  tokens,
} from "../../src/access/tokens.ts";
import type { Principal } from "../../src/context.ts";
import { newSigningKey } from "../../scripts/laptop.ts";
import { unmoved } from "../kit.ts";

const ISSUER = "https://switchboard.example";
const START = new Date("2026-11-03T12:00:00.400Z");
const later = (seconds: number) => new Date(START.getTime() + seconds * 1000);

const tenantId = "01900000-0000-7000-8000-00000000000a";
const principal: Principal = {
  actor: { type: "user", tenantId, id: "01900000-0000-7000-8000-00000000000b" },
  tenantId,
  userId: "01900000-0000-7000-8000-00000000000b",
  sessionId: "01900000-0000-7000-8000-00000000000c",
  grants: { "audit.read": "tenant", "bindings.read": "self" },
};

const key = await newSigningKey("current");
const ours = await tokens([key], ISSUER);
const signed = async () => (await ours.sign(principal, START, unmoved)).token;

const read = async (by: Tokens, token: string, now: Date) =>
  (await by.read(token, now))?.standee.principal ?? null;

const base64 = (value: string | Uint8Array<ArrayBuffer>) =>
  (typeof value === "string" ? new TextEncoder().encode(value) : value)
    .toBase64({ alphabet: "base64url", omitPadding: true });
const unpacked = (part: string): Record<string, unknown> =>
  JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(part, { alphabet: "base64url" })));
const partsOf = (token: string) => {
  const [head = "", body = "", signature = ""] = token.split(".");
  return { head, body, signature };
};

type Words = Record<string, unknown>;

/** A token signed with our own key, but with other words in it; undefined takes one out. */
async function with_(more: { claims?: Words; header?: Words; by?: SigningKey } = {}) {
  const { head, body } = partsOf(await signed());
  const { x, d } = more.by ?? key;
  const parts = [{ ...unpacked(head), ...more.header }, { ...unpacked(body), ...more.claims }];
  const text = parts.map((part) => base64(JSON.stringify(part))).join(".");
  const signer = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", x, d }, format: "jwk" });
  return `${text}.${sign(null, new TextEncoder().encode(text), signer).toString("base64url")}`;
}

async function assertRefused(token: string, what: string) {
  assert.equal(await read(ours, token, later(1)), null, what);
}

Deno.test("verify gives back the principal that sign was given", async () => {
  const { token, expiresInSeconds } = await ours.sign(principal, START, unmoved);
  assert.equal(expiresInSeconds, ACCESS_TOKEN_SECONDS);
  assert.deepEqual(await read(ours, token, later(1)), principal);
  assert.deepEqual(await read(ours, await with_(), later(1)), principal); // The positive control.
});

Deno.test("sign writes a token after RFC 9068, with its own id", async () => {
  const { head, body } = partsOf(await signed());
  assert.deepEqual(unpacked(head), { alg: "EdDSA", kid: key.kid, typ: "at+jwt" });
  const { iss, aud, exp, iat, nbf, jti, sub, client_id: client } = unpacked(body);
  const issuedAt = Math.floor(START.getTime() / 1000);
  assert.deepEqual([iss, aud, sub, client], [
    ISSUER,
    "switchboard",
    principal.userId,
    "switchboard",
  ]);
  assert.deepEqual([iat, exp, nbf], [issuedAt, issuedAt + 300, issuedAt - 10]);
  assert.notEqual(jti, unpacked(partsOf(await signed()).body).jti);
});

Deno.test("verify goes by the clock it is given, also for a token it has seen", async () => {
  const token = await signed();
  for (let round = 0; round < 2; round++) { // Once verified anew, once from memory.
    assert.equal(await read(ours, token, later(-11)), null, "not yet valid");
    assert.deepEqual(await read(ours, token, later(-9)), principal, "a clock that lags");
    assert.deepEqual(await read(ours, token, later(299)), principal);
    assert.equal(await read(ours, token, later(300)), null, "expired");
    assert.equal(await read(ours, token, later(1e6)), null, "long expired");
  }
});

Deno.test("verify refuses other issuers, audiences, types and times", async () => {
  const now = Math.floor(START.getTime() / 1000);
  const odd: Record<string, Words> = {
    "another issuer": { iss: "https://switchboard.example.evil.example" },
    "an issuer with a slash": { iss: `${ISSUER}/` },
    "no issuer": { iss: undefined },
    "another audience": { aud: "another" },
    "no audience": { aud: undefined },
    "no end": { exp: undefined },
    "an end in words": { exp: "never" },
    "an end that has come": { exp: now + 1 },
    "a beginning to come": { nbf: now + 60 },
    "no subject": { sub: undefined },
    "no tenant": { tid: undefined },
    "a tenant that is a list": { tid: [tenantId] },
    "no home": { hid: undefined },
    "no permissions": { perm: undefined },
    "permissions that are a number": { perm: 4444 },
    "no id": { jti: undefined },
  };
  for (const [what, claims] of Object.entries(odd)) {
    await assertRefused(await with_({ claims }), what);
  }
  const types = ["JWT", "at+jwt2", "", "dpop+jwt", "jwt", "at+jwt ", "text/at+jwt", null, 7, [
    "at+jwt",
  ]];
  for (const typ of [...types, undefined]) {
    await assertRefused(await with_({ header: { typ } }), `typ ${typ}`);
  }
});

Deno.test("verify refuses alg none, and HMAC with the public key for a secret", async () => {
  const { body, signature } = partsOf(await signed());
  for (const alg of ["none", "None", "NONE", "HS256", "HS512", "ES256", "RS256", "EdDSA "]) {
    const head = base64(JSON.stringify({ alg, kid: key.kid, typ: "at+jwt" }));
    for (const end of ["", signature]) await assertRefused(`${head}.${body}.${end}`, alg);
    await assertRefused(`${head}.${body}`, alg);
    const raw = Uint8Array.fromBase64(key.x, { alphabet: "base64url" });
    for (const secret of [raw, key.x, JSON.stringify(ours.jwks.keys[0])]) {
      const mac = createHmac("sha256", secret).update(`${head}.${body}`).digest("base64url");
      await assertRefused(`${head}.${body}.${mac}`, `${alg} with a MAC`);
    }
  }
});

Deno.test("verify takes no key from the token, and fetches none", async () => {
  const thief = { ...await newSigningKey("current"), kid: key.kid };
  let connections = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    connections++;
    return Response.json({ keys: [{ kty: "OKP", crv: "Ed25519", x: thief.x, kid: key.kid }] });
  });
  const url = `http://127.0.0.1:${server.addr.port}/keys`;
  const headers: Words[] = [
    {},
    { jwk: { kty: "OKP", crv: "Ed25519", x: thief.x } },
    { jku: url },
    { x5u: url },
    { jku: url, kid: "another" },
    { jwk: { kty: "OKP", crv: "Ed25519", x: thief.x }, kid: "" },
  ];
  for (const header of headers) {
    await assertRefused(await with_({ header, by: thief }), JSON.stringify(header));
  }
  await server.shutdown();
  assert.equal(connections, 0);
});

Deno.test("verify refuses every odd kid, and an extension it does not know", async () => {
  const odd = [
    "",
    "__proto__",
    "constructor",
    "../keys/1",
    "' or 1=1 --",
    "a".repeat(2_000),
    null,
    7,
    true,
    [key.kid],
    { kid: key.kid },
    key.kid.toUpperCase() + "x",
  ];
  for (const kid of [...odd, undefined]) {
    await assertRefused(
      await with_({ header: { kid } }),
      `kid ${JSON.stringify(kid)}`.slice(0, 60),
    );
  }
  for (
    const more of [{ crit: ["exp"], exp: 1 }, { crit: [] }, { crit: "kid" }, {
      b64: false,
      crit: ["b64"],
    }]
  ) {
    await assertRefused(await with_({ header: more }), JSON.stringify(more));
  }
});

Deno.test("verify refuses a token cut short anywhere, or with any bit turned over", async () => {
  const token = await signed();
  for (let length = 0; length < token.length; length++) {
    await assertRefused(token.slice(0, length), `cut to ${length}`);
  }
  const { head, body, signature } = partsOf(token);
  for (const [at, part] of [body, signature].entries()) {
    const bytes = Uint8Array.fromBase64(part, { alphabet: "base64url" });
    for (let bit = 0; bit < bytes.length * 8; bit += at === 0 ? 5 : 1) {
      const turned = bytes.slice();
      turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const forged = at === 0 ? [head, base64(turned), signature] : [head, body, base64(turned)];
      await assertRefused(forged.join("."), `bit ${bit} of part ${at}`);
    }
  }
});

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** The order of Ed25519's group (RFC 8032, 5.1). */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

/** The same signature to whoever forgets that S must be less than the order. */
function stretched(signature: string): string {
  const bytes = Uint8Array.fromBase64(signature, { alphabet: "base64url" });
  let s = bytes.slice(32).reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n) + ORDER;
  for (let at = 32; at < 64; at++, s /= 256n) bytes[at] = Number(s % 256n);
  return base64(bytes);
}

Deno.test("verify takes each token in one spelling only", async () => {
  const token = await signed();
  const { head, body, signature } = partsOf(token);
  const last = digits.indexOf(signature.slice(-1));
  for (let bits = 1; bits < 16; bits++) {
    await assertRefused(token.slice(0, -1) + digits[last ^ bits], `${bits} in the slack`);
  }
  const spellings = {
    padded: `${token}==`,
    "padded inside": `${head}=.${body}=.${signature}`,
    "with a digit more": `${token}A`,
    "in plain base64": `${head}.${body}.+${signature.slice(1)}`,
    "with a line's end": `${token}\n`,
    "broken into lines": `${head}.\r\n${body}.${signature}`,
    "with a dot at the end": `${token}.`,
    "with S beyond the order": `${head}.${body}.${stretched(signature)}`,
    "as JSON (RFC 7515, 7.2)": JSON.stringify({ protected: head, payload: body, signature }),
  };
  for (const [what, text] of Object.entries(spellings)) await assertRefused(text, what);
  assert.ok(await read(ours, token, later(1)));
});

Deno.test("sign gives a token no longer life than what it says has", async () => {
  const until = (seconds: number) => ({ ...unmoved, untilMs: later(seconds).getTime() });
  const soon = await ours.sign(principal, START, until(60));
  assert.equal(soon.expiresInSeconds, 60);
  assert.ok(await read(ours, soon.token, later(59)));
  assert.equal(await read(ours, soon.token, later(60)), null);
  const past = await ours.sign(principal, START, until(-5));
  assert.equal(past.expiresInSeconds, 0);
  await assertRefused(past.token, "what ran out before it was signed");
  const far = await ours.sign(principal, START, until(1e6));
  assert.equal(far.expiresInSeconds, ACCESS_TOKEN_SECONDS);
});

Deno.test("read says whose token it is, and under which epochs it was signed", async () => {
  const acting = "01900000-0000-7000-8000-00000000000e";
  const { token } = await ours.sign({ ...principal, tenantId: acting, userId: null }, START, {
    homeEpoch: 7,
    actingEpoch: 11,
    untilMs: Infinity,
    isListed: true,
  });
  const issued = await ours.read(token, later(1));
  const { actor: { id: subject }, sessionId: session } = principal;
  assert.deepEqual(issued?.whose, { home: tenantId, subject, session, acting });
  assert.deepEqual([issued?.homeEpoch, issued?.actingEpoch, issued?.isListed], [7, 11, true]);
  assert.deepEqual(issued?.id, unpacked(partsOf(token).body).jti);
  assert.equal(issued?.standee.principal.userId, null); // Nobody's own rows are there.
  assert.equal((await ours.read(await signed(), later(1)))?.isListed, false);
});

Deno.test("read refuses a token whose epochs nobody could compare", async () => {
  const odd = [undefined, null, 3, "3,3", [], [3], ["3", "3"], [3, null], [3.5, 3], [3, 2 ** 53]];
  for (const ep of odd) await assertRefused(await with_({ claims: { ep } }), JSON.stringify(ep));
  assert.ok(await read(ours, await with_({ claims: { ep: [3, 3] } }), later(1)));
});

Deno.test("verify refuses rubbish of any size, at once", async () => {
  const huge = base64(JSON.stringify({ alg: "EdDSA", kid: "a".repeat(64 * 1024) }));
  const rubbish = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    "null",
    "{}.{}.{}",
    "\0",
    "😀.😀.😀",
    `${huge}.e30.AA`,
    `${await signed()}.`,
    ` ${await signed()}`,
    `${await signed()} `,
    "e30.e30.",
    ".".repeat(4_000),
  ];
  const began = performance.now();
  for (const text of rubbish) await assertRefused(text, text.slice(0, 40));
  assert.ok(performance.now() - began < 500);
});

Deno.test("a key is published before it signs, and its tokens hold after it signed its last", async () => {
  const [first, second] = [await newSigningKey("current"), await newSigningKey("next")];
  const before = await tokens([first, second], ISSUER);
  const after = await tokens([
    { ...first, state: "old" },
    { ...second, state: "current" },
  ], ISSUER);
  const gone = await tokens([{ ...second, state: "current" }], ISSUER);
  const kids = ({ jwks }: typeof before) => jwks.keys.map(({ kid }) => kid);
  assert.deepEqual([kids(before), kids(after), kids(gone)], [
    [first.kid, second.kid],
    [first.kid, second.kid],
    [second.kid],
  ]);
  const [old, fresh] = [
    (await before.sign(principal, START, unmoved)).token,
    (await after.sign(principal, START, unmoved)).token,
  ];
  assert.equal(unpacked(partsOf(old).head).kid, first.kid);
  assert.equal(unpacked(partsOf(fresh).head).kid, second.kid);
  for (const process of [before, after]) { // Two that were not deployed at the same moment.
    for (const token of [old, fresh]) {
      assert.deepEqual(await read(process, token, later(1)), principal);
    }
  }
  assert.equal(await read(after, old, later(300)), null);
  assert.equal(await read(gone, old, later(1)), null);
});

Deno.test("jwks shows public keys, and no private part of any", async () => {
  const keys = [key, await newSigningKey("next")];
  const { jwks } = await tokens(keys, ISSUER);
  for (const shown of jwks.keys) {
    assert.deepEqual(Object.keys(shown).sort(), ["alg", "crv", "kid", "kty", "use", "x"]);
  }
  for (const { d } of keys) assert.ok(!JSON.stringify(jwks).includes(d));
});

Deno.test("tokens refuses keys nobody could work with", async () => {
  const [one, two] = [await newSigningKey("current"), await newSigningKey("next")];
  const states = [[], [two], [one, { ...two, state: "current" as const }]];
  for (const keys of states) await assert.rejects(tokens(keys, ISSUER), /one key must be current/);
  await assert.rejects(tokens([one, { ...two, kid: one.kid }], ISSUER), /its own kid/);
  await assert.rejects(tokens([{ ...one, d: two.d }], ISSUER), /do not belong together/);
});
