/** What somebody could send in the place of a token or key that holds, made from one that does. */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { v7 } from "uuid";
import { newKey } from "../../src/access/key_text.ts";
import type { SigningKey } from "../../src/access/tokens.ts";

export type Words = Record<string, unknown>;
/** One thing to send; `kind` is what it is counted under. */
export type Attempt = {
  kind: string;
  headers?: Record<string, string>;
  query?: Record<string, string>;
};

/** What an attacker may have got hold of, and where their own server listens. */
export type Loot = {
  token: string;
  refreshToken: string;
  key: string;
  /** The key that signs here: only to sign what would hold but for one word. */
  signing: SigningKey;
  publicKey: Words;
  listener: string;
  now: Date;
};

export const base64 = (value: string | Uint8Array<ArrayBuffer>) =>
  (typeof value === "string" ? new TextEncoder().encode(value) : value)
    .toBase64({ alphabet: "base64url", omitPadding: true });
const bytesOf = (part: string) => Uint8Array.fromBase64(part, { alphabet: "base64url" });
const wordsOf = (part: string): Words => JSON.parse(new TextDecoder().decode(bytesOf(part)));
export const partsOf = (token: string) => {
  const [head = "", body = "", signature = ""] = token.split(".");
  return { head, body, signature };
};

export const bearer = (kind: string, token: string): Attempt => ({
  kind,
  headers: { authorization: `Bearer ${token}` },
});
const bearers = (kind: string, tokens: string[]) => tokens.map((token) => bearer(kind, token));

type Signer = (text: Uint8Array) => Uint8Array;
const eddsa = (key: KeyObject): Signer => (text) => sign(null, text, key);

/** The honest token anew: other words in it (undefined takes one out), another signature under it. */
function forger({ token, signing: { x, d } }: Loot) {
  const { head, body } = partsOf(token);
  const [header, claims] = [wordsOf(head), wordsOf(body)];
  const ours = eddsa(
    createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", x, d }, format: "jwk" }),
  );
  const raw = (headText: string, bodyText: string, by: Signer = ours) => {
    const text = `${base64(headText)}.${base64(bodyText)}`;
    return `${text}.${base64(new Uint8Array(by(new TextEncoder().encode(text))))}`;
  };
  const made = (more: { header?: Words; claims?: Words; by?: Signer }) =>
    raw(
      JSON.stringify({ ...header, ...more.header }),
      JSON.stringify({ ...claims, ...more.claims }),
      more.by,
    );
  return { header, claims, raw, made };
}
type Forger = ReturnType<typeof forger>;

/** The honest token signed again, word for word: it must hold, or the forgeries prove nothing. */
export const resigned = (loot: Loot): string => forger(loot).made({});

const someone = { iss: "https://switchboard.example.evil.example", aud: "another" };

/** Signed with our own key, but not what we sign. */
function wrongClaims({ made, claims }: Forger, now: Date): Attempt[] {
  const seconds = Math.floor(now.getTime() / 1000);
  const { iss, aud } = { iss: String(claims.iss), aud: String(claims.aud) };
  const odd: Record<string, Words[]> = {
    expired: [{ exp: seconds - 1 }, { exp: 0 }, { exp: -1 }, { exp: undefined }, { exp: "never" }],
    "not yet valid": [{ nbf: seconds + 3600 }, { nbf: "soon" }],
    "another issuer": [
      { iss: someone.iss },
      { iss: `${iss}/` },
      { iss: iss.toUpperCase() },
      { iss: [someone.iss] },
      { iss: null },
      { iss: undefined },
    ],
    "another audience": [
      { aud: someone.aud },
      { aud: [someone.aud] },
      { aud: [] },
      { aud: `${aud} ` },
      { aud: { [aud]: true } },
      { aud: undefined },
    ],
    "no or odd claims": [
      ...["sub", "tid", "hid", "jti", "perm", "ep"].flatMap((name) => [
        { [name]: undefined },
        { [name]: null },
        { [name]: 1 },
        { [name]: { toString: "x" } },
      ]),
      { iat: "now" },
      { sub: [claims.sub] },
      { tid: "" },
    ],
    "another type": ["JWT", "jwt", "at+jwt2", "dpop+jwt", "refresh+jwt", "", null, undefined, 7]
      .map((typ) => ({ typ })),
  };
  return Object.entries(odd).flatMap(([kind, list]) =>
    list.map((words) =>
      bearer(kind, "typ" in words ? made({ header: words }) : made({ claims: words }))
    )
  );
}

/** No signature, or one by whoever knows only what is published. */
function keyless({ raw, header, claims }: Forger, loot: Loot): Attempt[] {
  const { body, signature } = partsOf(loot.token);
  const lie = JSON.stringify(claims);
  const none = ["none", "None", "NONE", "nOnE", "", null].flatMap((alg) => {
    const head = base64(JSON.stringify({ ...header, alg }));
    return [`${head}.${body}.`, `${head}.${body}`, `${head}.${body}.${signature}`];
  });
  const spki = createPublicKey({ key: loot.publicKey, format: "jwk" });
  const { x } = loot.signing;
  const secrets: (string | Uint8Array)[] = [
    x,
    bytesOf(x),
    JSON.stringify(loot.publicKey),
    JSON.stringify({ keys: [loot.publicKey] }),
    spki.export({ type: "spki", format: "pem" }).toString(),
    new Uint8Array(spki.export({ type: "spki", format: "der" })),
    "",
    "secret",
  ];
  const macs = ["HS256", "HS384", "HS512"].flatMap((alg) =>
    secrets.map((secret) =>
      raw(JSON.stringify({ ...header, alg }), lie, (text) =>
        new Uint8Array(
          createHmac(alg.replace("HS", "sha"), secret).update(text).digest(),
        ))
    )
  );
  return [...bearers("alg none", none), ...bearers("a MAC with our public key", macs)];
}

/** Keys of a thief's own, made once. */
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ed25519 = generateKeyPairSync("ed25519");
const ed448 = generateKeyPairSync("ed448");
const PSS = 6; // RSA_PKCS1_PSS_PADDING.

const thieves: Record<string, Signer> = {
  EdDSA: eddsa(ed25519.privateKey),
  Ed25519: eddsa(ed25519.privateKey),
  Ed448: eddsa(ed448.privateKey),
  ES256: (text) => sign("sha256", text, { key: p256.privateKey, dsaEncoding: "ieee-p1363" }),
  RS256: (text) => sign("sha256", text, rsa.privateKey),
  RS512: (text) => sign("sha512", text, rsa.privateKey),
  PS256: (text) => sign("sha256", text, { key: rsa.privateKey, padding: PSS, saltLength: 32 }),
};

/** Signed by somebody else, who also says with which key to check it. */
function foreign({ made, header }: Forger, { listener }: Loot): Attempt[] {
  const by = thieves.EdDSA;
  const jwk = ed25519.publicKey.export({ format: "jwk" });
  const der = ed25519.publicKey.export({ type: "spki", format: "der" }).toString("base64");
  const led: Record<string, Words[]> = {
    "another's key under our kid": [{}, { alg: "Ed25519" }],
    "another installation's key": [{ kid: v7() }, { kid: "current" }],
    "a key in the token": [{ jwk }, { jwk, kid: undefined }, { jwk: { ...jwk, kid: header.kid } }],
    "an address of keys": ["jku", "x5u"].flatMap((name) => [
      { [name]: listener },
      { [name]: listener, kid: "theirs" },
      { [name]: listener, kid: undefined },
    ]),
    "a certificate in the token": [{ x5c: [der] }, { x5c: [der], kid: undefined }, { x5t: der }],
  };
  const algs = Object.entries(thieves).flatMap(([alg, by]) => [
    bearer("another algorithm", made({ header: { alg }, by })),
    bearer("another algorithm", made({ header: { alg: "EdDSA" }, by })),
  ]);
  return [
    ...algs,
    ...Object.entries(led).flatMap(([kind, list]) =>
      list.map((words) => bearer(kind, made({ header: words, ...(by ? { by } : {}) })))
    ),
  ];
}

/** Signed with our own key, under a name it does not have, or with an extension nobody knows. */
function oddHeaders({ made, header }: Forger): Attempt[] {
  const kid = String(header.kid);
  const kids = [undefined, null, "", " ", 7, true, [kid], { kid }, `${kid}x`, `${kid}\u0000`]
    .concat(["__proto__", "constructor", "toString", "../../dev/null", "/etc/passwd", "%00"])
    .concat(["' or 1=1 --", "x' union select 'AA'--", "| sleep 5", "a".repeat(2_000), v7()]);
  const crits: Words[] = [
    { crit: ["exp"], exp: 1 },
    { crit: [] },
    { crit: "kid" },
    { crit: ["b64"], b64: false },
    { crit: ["__proto__"] },
    { crit: ["x"], x: 1 },
  ];
  const algs = ["HS256", "ES256", "Ed25519", "EdDSA ", "eddsa", ["EdDSA"], undefined];
  return [
    ...bearers("an odd kid", kids.map((kid) => made({ header: { kid } }))),
    ...bearers("an unknown extension", crits.map((words) => made({ header: words }))),
    ...bearers("another algorithm's name", algs.map((alg) => made({ header: { alg } }))),
  ];
}

/** JSON that says two things, or is none, or is too much; signed by a thief and by ourselves. */
function oddJson({ raw, header, claims }: Forger, { token }: Loot): Attempt[] {
  const [head, body] = [JSON.stringify(header), JSON.stringify(claims)];
  const { head: ours, signature } = partsOf(token);
  const twice = (text: string, words: string) => `${text.slice(0, -1)},${words}}`;
  const wrong = ['"tid":"x","tid":7', '"exp":1', '"aud":"x"', '"sub":null', '"hid":{}', '"ep":[]'];
  const bodies = [
    ...wrong.map((words) => twice(body, words)),
    "null",
    "[]",
    '"text"',
    "7",
    "{}",
    "",
    `[${body}]`,
    `{"claims":${body}}`,
    `{"__proto__":${body}}`,
    `{"constructor":{"prototype":${body}}}`,
    `${body}${body}`,
    "[".repeat(2_000),
    `\ufeff{"a":1}`,
  ];
  const heads = ["null", "[]", "{}", "", `[${head}]`, `{"__proto__":${head}}`, `${head},`]
    .concat(twice(head, '"alg":"none"'), twice(head, '"kid":"x"'), twice(head, '"typ":"JWT"'));
  const huge = JSON.stringify({ ...header, pad: "a".repeat(64 * 1024) });
  const by = thieves.EdDSA;
  return [
    ...bearers("odd claims, ours", bodies.map((text) => raw(head, text))),
    ...bearers("odd claims, a thief's", [body, ...bodies].map((text) => raw(head, text, by))),
    ...bearers("an odd head", heads.map((text) => raw(text, body))),
    ...bearers("64 KiB of head", [raw(huge, body), raw(huge, body, by)]),
    ...bearers("64 KiB of claims", [raw(head, twice(body, `"pad":"${"a".repeat(65_536)}"`))]),
    ...bearers(
      "changed claims",
      wrong.map((words) => `${ours}.${base64(twice(body, words))}.${signature}`),
    ),
  ];
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** The same token, spelled otherwise. */
function spellings(token: string): Attempt[] {
  const { head, body, signature } = partsOf(token);
  const last = digits.indexOf(token.slice(-1));
  const texts = [
    ...Array.from({ length: 15 }, (_, n) => token.slice(0, -1) + digits[last ^ (n + 1)]),
    `${head}=.${body}=.${signature}==`,
    `${token}=`,
    `${token}A`,
    `${token}.`,
    `.${token}`,
    `${token}.${signature}`,
    `${head}..${signature}`,
    `${body}.${head}.${signature}`,
    `${head}.${body}.${signature}.${head}.${body}`,
    token.replaceAll(".", "%2E"),
    token.replace(".", "\t."),
    `"${token}"`,
    JSON.stringify({ protected: head, payload: body, signature }),
    token.toLowerCase(),
    token.toUpperCase(),
  ];
  return bearers("another spelling", texts);
}

/** The token where none belongs, or with another word before it. */
function places({ token, key }: Loot): Attempt[] {
  const words = ["Basic", "Token", "JWT", "DPoP", "Bearer:", "Bearer=", "Bearer Bearer", "", "sb"];
  const headers = ["x-access-token", "x-authorization", "proxy-authorization", "x-auth-token"];
  const names = ["access_token", "token", "authorization", "api_key", "x-api-key", "jwt"];
  const put = (kind: string, headers: Record<string, string>): Attempt => ({ kind, headers });
  return [
    { kind: "nothing" },
    ...names.map((name): Attempt => ({ kind: "in the address", query: { [name]: token } })),
    ...names.map((name): Attempt => ({ kind: "a key in the address", query: { [name]: key } })),
    ...names.map((name) => put("in a cookie", { cookie: `${name}=${token}` })),
    ...headers.map((name) => put("in another header", { [name]: `Bearer ${token}` })),
    put("a token as a key", { "x-api-key": token }),
    put("a key in a cookie", { cookie: `x-api-key=${key}` }),
    ...words.map((word) => put("another scheme", { authorization: `${word} ${token}`.trim() })),
    put("two tokens", { authorization: `Bearer ${token} ${token}` }),
    put("two tokens", { authorization: `Bearer ${token}, Bearer ${token}` }),
    put("two tokens", { authorization: `Bearer ${token},${token}` }),
    put("a key behind a bad header", { authorization: "Bearer x", "x-api-key": key }),
    put("a key behind a bad header", { authorization: "", "x-api-key": key }),
    put("two keys", { "x-api-key": `${key}, ${key}` }),
    put("a key twice", { "x-api-key": key + key }),
  ];
}

/** Strings that are tokens of another kind, or none. */
function strangers({ refreshToken, key }: Loot): Attempt[] {
  const secret = base64(crypto.getRandomValues(new Uint8Array(32)));
  const ids = `${v7()}_${v7()}`.replaceAll("-", "");
  const garbage = ["x", "null", "undefined", "a.b.c", "e30.e30.e30", "..", ".".repeat(4_000)];
  return [
    ...bearers("a refresh token", [refreshToken, `sbr_${ids}_0_${secret}`]),
    ...bearers("an invitation's token", [`sbi_${ids}_${secret}`, `sbp_${ids}_${secret}`]),
    ...bearers("garbage", [...garbage, secret, crypto.randomUUID(), "a".repeat(65_536)]),
    ...[refreshToken, "x", "sb_", "null", "a".repeat(65_536)].map((text): Attempt => ({
      kind: "garbage as a key",
      headers: { "x-api-key": text },
    })),
    ...[...spoiledKeys(key)].flatMap(([kind, text]): Attempt[] => [
      { kind, headers: { "x-api-key": text } },
      bearer(kind, text),
    ]),
  ];
}

/** Keys that are almost one of ours. */
function* spoiledKeys(key: string): Generator<[string, string]> {
  const [, environment = "", id = ""] = key.split("_");
  const turned = (at: number) => {
    const byte = key.charCodeAt(at) ^ 1;
    return key.slice(0, at) + String.fromCharCode(byte) + key.slice(at + 1);
  };
  for (let at = 0; at < key.length; at += 7) yield ["a key with a bit turned over", turned(at)];
  for (const length of [3, 10, 44, key.length - 6, key.length - 1]) {
    yield ["a key cut short", key.slice(0, length)];
  }
  yield ["a key with another secret", newKey(environment, id).text];
  yield ["a key nobody made", newKey(environment, v7()).text];
  yield ["a key of another installation", newKey("other", id).text];
  yield ["a key in capitals", key.toUpperCase()];
}

/** The honest token cut short at `length`. */
const cut = (token: string, length: number) => bearer("cut short", token.slice(0, length));

/** The honest token with one bit of its bytes, or of its letters, turned over. */
function turned(token: string, bit: number): Attempt {
  const [at, mask] = [bit >> 3, 1 << (bit & 7)];
  const letter = String.fromCharCode(token.charCodeAt(at) ^ mask);
  const isSent = /[\x21-\x7e]/.test(letter);
  const text = token.slice(0, at) + (isSent ? letter : "*") + token.slice(at + 1);
  return bearer("a bit turned over", text);
}

/** Every cut and every bit; there are thousands of them. */
export const damages = ({ token }: Loot): Attempt[] => [
  ...Array.from({ length: token.length }, (_, length) => cut(token, length)),
  ...Array.from({ length: token.length * 8 }, (_, bit) => turned(token, bit)),
];

/** Everything but damage. */
export function forgeries(loot: Loot): Attempt[] {
  const f = forger(loot);
  return [
    ...wrongClaims(f, loot.now),
    ...keyless(f, loot),
    ...foreign(f, loot),
    ...oddHeaders(f),
    ...oddJson(f, loot),
    ...spellings(loot.token),
    ...places(loot),
    ...strangers(loot),
  ];
}
