/** One good call of each procedure of single sign-on, at an issuer that is everywhere and nowhere. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { v7 } from "uuid";
import type { Principal } from "../../../src/context.ts";
import type { Outbound } from "../../../src/outbound.ts";
import type { House, Side } from "../house.ts";
import { fresh, type Make, secret } from "./shape.ts";

const ISSUER = "https://issuer.example";
/** What the issuer's answer says is what its code says, signed. */
const codeOf = (claims: Record<string, string>) =>
  new TextEncoder().encode(JSON.stringify(claims)).toBase64({ alphabet: "base64url" });

const issuers = new WeakMap<House, Promise<void>>();

/** Puts the issuer into the house's outside world, once. */
function openIssuer(house: House): Promise<void> {
  const known = issuers.get(house) ?? putIssuer(house);
  issuers.set(house, known);
  return known;
}

async function putIssuer({ w: { process } }: House) {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  const jwk = { ...await exportJWK(publicKey), kid: "1", alg: "ES256", use: "sig" };
  const others = process.outbound;
  const idToken = (code: string) =>
    new SignJWT(JSON.parse(new TextDecoder().decode(
      Uint8Array.fromBase64(code, { alphabet: "base64url" }),
    ))).setProtectedHeader({ alg: "ES256", kid: "1" })
      .setIssuer(ISSUER).setIssuedAt().setExpirationTime("5m").sign(privateKey);
  const outbound: Outbound = async (url, init) => {
    const { origin, pathname } = new URL(url);
    if (origin !== ISSUER) return await others(url, init);
    if (pathname === "/jwks") return Response.json({ keys: [jwk] });
    if (pathname === "/token") {
      const code = new URLSearchParams(String(init?.body)).get("code") ?? "";
      const id_token = await idToken(code);
      return Response.json({ access_token: fresh(), token_type: "Bearer", id_token });
    }
    return Response.json({
      issuer: ISSUER,
      authorization_endpoint: `${ISSUER}/authorize`,
      token_endpoint: `${ISSUER}/token`,
      jwks_uri: `${ISSUER}/jwks`,
      id_token_signing_alg_values_supported: ["ES256"],
    });
  };
  Object.assign(process, { outbound });
}

async function provider(house: House, boss: Principal) {
  await openIssuer(house);
  return await house.w.as(boss).identity.identityProviders.create({
    name: `Provider ${fresh()}`,
    issuer: ISSUER,
    clientId: `client-${fresh()}`,
    clientSecret: secret(),
  });
}

async function mapping({ w }: House, { boss }: Side) {
  const { id } = await w.as(boss).identity.groups.create({ name: `Group ${fresh()}` });
  return { claimValue: `word ${fresh()}`, groupId: id };
}

/** The side's boss was at the provider and came back with a code. */
async function authorized(house: House, side: Side) {
  const { id: identityProviderId, clientId } = await provider(house, side.boss);
  await house.superuser(
    `insert into user_identities (tenant_id, id, owner_user_id, identity_provider_id, subject, last_sign_in_at)
     values ($1, $2, $3, $4, $5, now())`,
    [side.tenantId, v7(), side.boss.userId, identityProviderId, side.boss.userId],
  );
  const { id, authorizationUrl, secret } = await house.w.as(null).identity.sso
    .start({ identityProviderId });
  const asked = new URL(authorizationUrl).searchParams;
  const [state, nonce] = [asked.get("state") ?? "", asked.get("nonce") ?? ""];
  const code = codeOf({ sub: side.boss.userId, aud: clientId, nonce });
  const query = new URLSearchParams({ state, code });
  const back = await house.w.request(`/api/v1/auth/sso/callback?${query}`);
  if (!back.ok) throw new Error(`The callback answered ${back.status}: ${await back.text()}`);
  await back.body?.cancel();
  return { id, secret, secrets: [secret, state, code] };
}

/** A tenant of its own, found by its domain: there is nobody yet who acts in it. */
async function begun(house: House, side: Side) {
  const { w, superuser } = house;
  const { id: tenantId } = await w.as(side.boss).identity.tenants
    .create({ name: `Tenant ${fresh()}` });
  await provider(house, await w.person(tenantId, "owner"));
  const domain = `d${crypto.randomUUID()}.example`;
  await superuser(
    "insert into domains (tenant_id, id, name, challenge, verified_at) values ($1, $2, $3, 'c', now())",
    [tenantId, v7(), domain],
  );
  const actor = { type: "anonymous", tenantId, id: null } as const;
  const nobody: Principal = { actor, tenantId, userId: null, sessionId: null, grants: {} };
  return { email: `ada@${domain}`, nobody };
}

const madeBy = async (house: House, { boss }: Side) => ({
  input: { id: (await provider(house, boss)).id },
});

export const sso: Record<string, Make> = {
  "identity.identityProviders.create": async (house, side) => {
    const clientSecret = secret();
    const input = {
      name: `Provider ${fresh()}`,
      issuer: ISSUER,
      clientId: `client-${fresh()}`,
      clientSecret,
      groupClaim: "groups",
      returnUris: ["https://app.example/back"],
      mappings: [await mapping(house, side)],
    };
    return { input, secrets: [clientSecret] };
  },
  "identity.identityProviders.get": madeBy,
  "identity.identityProviders.update": async (house, side) => {
    const { id } = await provider(house, side.boss);
    const clientSecret = secret();
    const input = {
      ...{ id, clientSecret, name: `Renamed ${fresh()}` },
      mappings: [await mapping(house, side)],
    };
    return { input, secrets: [clientSecret] };
  },
  "identity.identityProviders.delete": madeBy,
  "identity.identityProviders.activate": async (house, side) => {
    const { id } = await provider(house, side.boss);
    await house.w.as(side.boss).identity.identityProviders.delete({ id });
    return { input: { id } };
  },
  "identity.identityProviders.test": madeBy,
  "identity.identityProviders.list": async (house, side) => {
    await provider(house, side.boss);
    return { input: { isActive: true, limit: 5 } };
  },
  "identity.sso.start": async (house, side) => {
    const { email, nobody } = await begun(house, side);
    // Whoever has no such address finds no provider by it.
    return { input: { email }, as: nobody, secrets: [email] };
  },
  "identity.sso.complete": async (house, side) => {
    const { id, secret, secrets } = await authorized(house, side);
    return { input: { id, secret }, secrets };
  },
};
