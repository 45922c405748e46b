/**
 * Access tokens: EdDSA-signed JWTs after RFC 9068 that carry who, in which tenant, with which
 * permissions, so that checking one needs no database.
 */
import { importJWK, type JWK, jwtVerify, SignJWT } from "jose";
import { v7 } from "uuid";
import { BoundedMap } from "../bounded_map.ts";
import type { Principal } from "../context.ts";
import { EnvError } from "../env.ts";
import { decode, encode } from "./permissions.ts";
import type { Standee, Whose } from "./standings.ts";

export const ACCESS_TOKEN_SECONDS = 300;
/** How long others may keep our public keys. */
export const JWKS_SECONDS = 300;
/** Another process's clock may be this far behind ours, and takes our tokens all the same. */
const SKEW_SECONDS = 10;
const AUDIENCE = "switchboard";

/** What a token is signed under: how things stood, and until when they stand so by themselves. */
export type Signing = {
  homeEpoch: number;
  actingEpoch: number;
  untilMs: number;
  /** The tenant lets its callers in from certain networks only: ask from where before believing. */
  isListed: boolean;
  /** The `jti` of the token it is traded for: whoever ends one of them ends both. */
  id?: string | undefined;
};

/** A token that is what it says, though its holder may have lost what it says since. */
export type Issued = Pick<Signing, "homeEpoch" | "actingEpoch" | "isListed"> & {
  /** Its `jti`. */
  id: string;
  whose: Whose;
  standee: Standee;
  expiresAt: number;
  notBefore: number;
};

/** A signing key: `next` is published before it signs, `old` until its tokens end. */
export type SigningKey = {
  kid: string;
  state: "current" | "next" | "old";
  x: string;
  d: string;
  /** When it came into its state, in RFC 3339. */
  since?: string | undefined;
};

const OKP = { kty: "OKP", crv: "Ed25519" } as const;

export type Tokens = {
  /** Signs a token for `principal`; `expiresInSeconds` says how long it holds. */
  sign(
    principal: Principal,
    now: Date,
    signing: Signing,
  ): Promise<{ token: string; expiresInSeconds: number }>;
  /** What a token says and who it was signed for; null when it is not a token of ours that is valid. */
  read(token: string, now: Date): Promise<Issued | null>;
  /** The public keys, as RFC 7517 writes them. */
  jwks: { keys: JWK[] };
};

/**
 * The compact form alone (RFC 7515, 3.1): decoders also take spaces, padding and, in a signature's
 * last digit, four bits that mean nothing. So each token has one spelling.
 */
const shape = /^[\w-]+\.[\w-]+\.[\w-]{85}[AQgw]$/;

type Claims = Readonly<Record<string, unknown>>;
type Verifier = Awaited<ReturnType<typeof importJWK>>;

const text = (value: unknown) => typeof value === "string" ? value : null;

const count = (value: unknown) => Number.isSafeInteger(value) ? Number(value) : null;

function issuedOf(claims: Claims): Issued | null {
  const [subject, tenantId, home, perm, id] = [
    claims.sub,
    claims.tid,
    claims.hid,
    claims.perm,
    claims.jti,
  ].map(text);
  const [homeEpoch, actingEpoch] = (Array.isArray(claims.ep) ? claims.ep : []).map(count);
  if (!subject || !tenantId || !home || !id || typeof perm !== "string") return null;
  if (typeof homeEpoch !== "number" || typeof actingEpoch !== "number") return null;
  const sessionId = text(claims.sid);
  const principal: Principal = {
    actor: { type: "user", tenantId: home, id: subject },
    tenantId,
    userId: home === tenantId ? subject : null,
    sessionId,
    grants: decode(perm),
  };
  return {
    id,
    whose: { home, subject, session: sessionId, acting: tenantId },
    standee: { principal, networks: [] },
    homeEpoch,
    actingEpoch,
    isListed: claims.ips === 1,
    expiresAt: Number(claims.exp),
    notBefore: Number(claims.nbf ?? 0),
  };
}

const unfit = (why: string) =>
  new EnvError(`Switchboard cannot start:\n  SIGNING_KEYS is not right: ${why}.`);

const signerOf = ({ x, d }: SigningKey) => importJWK({ ...OKP, x, d }, "EdDSA");

/** Halves of two keys would sign tokens that nobody takes: better not to start. */
async function checkPair(key: SigningKey, verifier: Verifier | undefined) {
  const proof = await new SignJWT({}).setProtectedHeader({ alg: "EdDSA" })
    .sign(await signerOf(key));
  try {
    await jwtVerify(proof, verifier ?? new Uint8Array());
  } catch {
    throw unfit(`x and d of the key ${key.kid} do not belong together`);
  }
}

/** Signs with the one current key, verifies with all. `issuer` is the service's public address. */
export async function tokens(keys: SigningKey[], issuer: string): Promise<Tokens> {
  const publicKeys = keys.map(({ x, kid }) => ({ ...OKP, x, kid, alg: "EdDSA", use: "sig" }));
  const verifiers = new Map(
    await Promise.all(
      publicKeys.map(async (key) => [key.kid, await importJWK(key, "EdDSA")] as const),
    ),
  );
  const [current, ...others] = keys.filter((key) => key.state === "current");
  if (!current || others.length > 0) throw unfit("one key must be current");
  if (verifiers.size < keys.length) throw unfit("give each key its own kid");
  for (const key of keys) await checkPair(key, verifiers.get(key.kid));
  const signer = await signerOf(current);
  const seen = new BoundedMap<Issued>(10_000);

  return {
    jwks: { keys: publicKeys },
    sign: async (principal, now, { homeEpoch, actingEpoch, untilMs, isListed, id = v7() }) => {
      const issuedAt = Math.floor(now.getTime() / 1000);
      const expiresAt = Math.min(issuedAt + ACCESS_TOKEN_SECONDS, Math.floor(untilMs / 1000));
      const token = await new SignJWT({
        tid: principal.tenantId,
        hid: principal.actor.tenantId,
        sid: principal.sessionId,
        client_id: AUDIENCE,
        perm: encode(principal.grants),
        ep: [homeEpoch, actingEpoch],
        ...(isListed ? { ips: 1 } : {}),
      })
        .setProtectedHeader({ alg: "EdDSA", kid: current.kid, typ: "at+jwt" })
        .setIssuer(issuer).setAudience(AUDIENCE).setSubject(principal.actor.id ?? "")
        .setIssuedAt(issuedAt).setNotBefore(issuedAt - SKEW_SECONDS)
        .setExpirationTime(expiresAt).setJti(id)
        .sign(signer);
      return { token, expiresInSeconds: Math.max(0, expiresAt - issuedAt) };
    },
    read: async (token, now) => {
      const seconds = now.getTime() / 1000;
      const known = seen.get(token);
      if (known) return seconds < known.expiresAt && seconds >= known.notBefore ? known : null;
      if (token.length > 4096 || !shape.test(token)) return null;
      try {
        const { payload } = await jwtVerify(
          token,
          ({ kid }) => verifiers.get(kid ?? "") ?? Promise.reject(new Error("unknown key")),
          {
            issuer,
            audience: AUDIENCE,
            typ: "at+jwt",
            algorithms: ["EdDSA"],
            currentDate: now,
            requiredClaims: ["sub", "tid", "exp", "iat", "jti"],
          },
        );
        const issued = issuedOf(payload);
        if (issued) seen.set(token, issued);
        return issued;
      } catch {
        return null;
      }
    },
  };
}
