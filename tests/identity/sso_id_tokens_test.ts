/** An identity provider that lies, and answers that are not the provider's: nobody is signed in by them. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { exportSPKI, generateKeyPair, importJWK } from "jose";
import { type Asked, type EvilIssuer, evilIssuer, type Lies } from "../stand_ins/evil_issuer.ts";
import { type Attacks, repelled } from "./sso_attacks.ts";
import { clientSecret, type SsoHome, ssoHome } from "./sso_house.ts";

let h: SsoHome;
let evil: EvilIssuer;
Deno.test.beforeAll(async () => {
  h = await ssoHome();
  evil = await evilIssuer("ada");
});
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now(); // What a provider signs is of now.
  evil.lies = {};
});
Deno.test.afterAll(async () => {
  await evil[Symbol.asyncDispose]();
  await h.close();
});

type Claims = Record<string, unknown>;
const CLIENT = "client-of-ours";
const base64url = { alphabet: "base64url", omitPadding: true } as const;
const encoded = (value: unknown) =>
  new TextEncoder().encode(JSON.stringify(value)).toBase64(base64url);
const decoded = (part: string): Claims =>
  JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(part, { alphabet: "base64url" })));

/** A tenant whose provider is the liar, where ada is known already, and the way through. */
async function scene() {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: "owner" });
  const ada = await h.login(tenantId);
  const idp = await h.w.as(owner).identity.identityProviders.create({
    name: "Liar",
    issuer: evil.issuer,
    clientId: CLIENT,
    clientSecret,
  });
  await h.sql(
    `insert into user_identities (tenant_id, id, owner_user_id, identity_provider_id, subject, last_sign_in_at)
     values ($1, gen_random_uuid(), $2, $3, 'ada', now())`,
    [tenantId, ada.userId, idp.id],
  );
  const through = (lies: Lies) => async () => {
    evil.lies = lies;
    const { body } = await h.start({ identity_provider_id: idp.id });
    const back = await evil.authorize(String(body.authorization_url));
    assert.equal((await h.land(back)).status, 200);
    return await h.complete({ id: body.id, secret: body.secret });
  };
  return { tenantId, owner, ada, idp, through };
}

const nowSeconds = () => Math.floor(Date.now() / 1000);

Deno.test("an ID token with claims that are not for us, now, is refused", async () => {
  const { through } = await scene();
  const saying = (claims: Claims) => through({ claims: () => claims });
  const iss = evil.issuer;
  const attacks: Attacks = {
    "another issuer": saying({ iss: "https://evil.example" }),
    "an issuer with a slash more": saying({ iss: `${iss}/` }),
    "an issuer in capitals": saying({ iss: iss.toUpperCase() }),
    "no issuer": saying({ iss: undefined }),
    "a list of issuers": saying({ iss: [iss] }),
    "another audience": saying({ aud: "client-of-others" }),
    "no audience": saying({ aud: undefined }),
    "an empty audience": saying({ aud: [] }),
    "an audience that begins like ours": saying({ aud: `${CLIENT}-2` }),
    "others beside us and nobody it was issued to": saying({ aud: [CLIENT, "other"] }),
    "others beside us and issued to them": saying({ aud: [CLIENT, "other"], azp: "other" }),
    "us alone and issued to others": saying({ azp: "other" }),
    "expired": saying({ exp: nowSeconds() - 3_600 }),
    "without an end": saying({ exp: undefined }),
    "an end as text": saying({ exp: "9999999999" }),
    "without a beginning": saying({ iat: undefined }),
    "of tomorrow": saying({ iat: nowSeconds() + 86_400, exp: nowSeconds() + 90_000 }),
    "not before tomorrow": saying({ nbf: nowSeconds() + 86_400 }),
    "another nonce": saying({ nonce: "n".repeat(43) }),
    "no nonce": saying({ nonce: undefined }),
    "an empty nonce": saying({ nonce: "" }),
    "our nonce in a list": through({ claims: ({ nonce }) => ({ nonce: [nonce] }) }),
    "the state for a nonce": through({ claims: ({ state }) => ({ nonce: state }) }),
    "no subject": saying({ sub: undefined }),
    "an empty subject": saying({ sub: "" }),
    "a subject that is a number": saying({ sub: 1 }),
    "a subject in a list": saying({ sub: ["ada"] }),
    "a subject with a zero byte": saying({ sub: "ada\u0000" }),
    "a subject too long": saying({ sub: "a".repeat(256) }),
    "a subject that looks alike": saying({ sub: "аda" }),
    "a subject in another case": saying({ sub: "ADA" }),
    "a subject with a space": saying({ sub: "ada " }),
  };
  await repelled(h, "claims", attacks, through({}));
  await repelled(h, "claims, once more", { another: saying({ sub: "bob" }) }, through({}));
});

Deno.test("an ID token that no key of the issuer has signed is refused", async () => {
  const { through } = await scene();
  const [stranger, rsa] = [await generateKeyPair("ES256"), await generateKeyPair("RS256")];
  const publicKey = await importJWK(evil.publicJwk, "ES256");
  if (publicKey instanceof Uint8Array) throw new Error("no key");
  const publicPem = await exportSPKI(publicKey);
  const token = (make: (honest: string, asked: Asked) => Promise<string> | string) =>
    through({ idToken: (asked, honest) => make(honest, asked) });
  const parts = (text: string) => {
    const [head = "", body = "", signature = ""] = text.split(".");
    return { head, body, signature };
  };
  const none = (alg: string, signature = "") =>
    token((honest) => `${encoded({ alg })}.${parts(honest).body}.${signature}`);
  const hs256 = (key: string, alg = "HS256") =>
    token((honest) => {
      const signed = `${encoded({ alg, kid: evil.kid })}.${parts(honest).body}`;
      const mac = createHmac("sha256", key).update(signed).digest("base64url");
      return `${signed}.${mac}`;
    });
  const by = (key: typeof stranger.privateKey, header: Claims) =>
    token((honest) => evil.sign(decoded(parts(honest).body), header, key));
  const changed = (change: Claims) =>
    token((honest) => {
      const { head, body, signature } = parts(honest);
      return `${head}.${encoded({ ...decoded(body), ...change })}.${signature}`;
    });
  const { kty, crv, x, y } = evil.publicJwk;
  const attacks: Attacks = {
    "alg none": none("none"),
    "alg None": none("None"),
    "alg NONE with a signature": none("NONE", "c2ln"),
    "an empty alg": none(""),
    "HS256 with the client secret": hs256(clientSecret),
    "HS256 with the public key as PEM": hs256(publicPem),
    "HS256 with the public key as JWK": hs256(JSON.stringify({ kty, crv, x, y })),
    "HS256 with the key's x": hs256(x ?? ""),
    "HS256 with an empty key": hs256(""),
    "HS384 by name": hs256(clientSecret, "HS384"),
    "another key under the issuer's name": by(stranger.privateKey, {}),
    "another key under its own name": by(stranger.privateKey, { kid: "stranger" }),
    "another key it brings itself": by(stranger.privateKey, { jwk: { kty, crv, x, y } }),
    "another key at an address": by(stranger.privateKey, { jku: `${evil.issuer}/jwks` }),
    "another key with a certificate": by(stranger.privateKey, { x5c: ["MIIB"] }),
    "an RSA key": by(rsa.privateKey, { alg: "RS256" }),
    "an RSA name on an EC signature": token((honest) =>
      `${encoded({ alg: "RS256", kid: evil.kid })}.${parts(honest).body}.${parts(honest).signature}`
    ),
    "a critical extension": by(evil.privateKey, { crit: ["exp"], exp: 1 }),
    "a subject changed after signing": changed({ sub: "bob" }),
    "an audience changed after signing": changed({ aud: [CLIENT] }),
    "no signature": token((honest) => honest.replace(/[^.]*$/, "")),
    "half a signature": token((honest) => honest.slice(0, -43)),
    "a signature of zeros": token((honest) =>
      honest.replace(/[^.]*$/, new Uint8Array(64).toBase64(base64url))
    ),
    "two parts": token((honest) => honest.replace(/\.[^.]*$/, "")),
    "five parts": token((honest) => `${honest}.x.y`),
    "no ID token": through({ idToken: () => undefined }),
    "an empty ID token": token(() => ""),
    "keys that are none": through({ keys: [{ kty: "oct", k: "c2VjcmV0", kid: evil.kid }] }),
    "no keys": through({ keys: [] }),
    "two keys of one name": through({ keys: [evil.publicJwk, evil.publicJwk] }),
    "a key for sealing": through({ keys: [{ ...evil.publicJwk, use: "enc" }] }),
  };
  await repelled(h, "signatures", attacks, through({}));
});

Deno.test("an ID token of another flow or another provider is refused", async () => {
  const [here, there, unlinked] = [await scene(), await scene(), await scene()];
  await h.sql("delete from user_identities where tenant_id = $1", [unlinked.tenantId]);
  const tokens: string[] = [];
  const keeping = (idToken: string) => {
    tokens.push(idToken);
    return idToken;
  };
  assert.equal((await here.through({ idToken: (_, honest) => keeping(honest) })()).status, 200);
  await using other = await evilIssuer("ada");
  const { owner, tenantId } = here;
  const second = await h.w.as(owner).identity.identityProviders.create({
    name: "Another",
    issuer: other.issuer,
    clientId: CLIENT,
    clientSecret,
  });
  await repelled(h, "ID tokens", {
    "of an earlier flow": here.through({ idToken: () => tokens[0] }),
    "of an earlier flow of another tenant": there.through({ idToken: () => tokens[0] }),
    "of an issuer that is another provider's here": here.through({
      idToken: ({ nonce, clientId: aud }) =>
        other.sign({
          ...{ iss: other.issuer, aud, nonce, sub: "ada" },
          ...{ iat: nowSeconds(), exp: nowSeconds() + 300 },
        }),
    }),
    "of ours, signed by that issuer": here.through({
      idToken: ({ nonce, clientId: aud }) =>
        other.sign({
          ...{ iss: evil.issuer, aud, nonce, sub: "ada" },
          ...{ iat: nowSeconds(), exp: nowSeconds() + 300 },
        }),
    }),
    "of the same subject at another provider of the tenant": async () => {
      const { body } = await h.start({ identity_provider_id: second.id });
      await h.land(await other.authorize(String(body.authorization_url)));
      return await h.complete({ id: body.id, secret: body.secret });
    },
    "of the same subject at the same issuer in another tenant": unlinked.through({}),
  }, here.through({}));
  const rows = await h.sql("select 1 from user_identities where tenant_id = $1", [tenantId]);
  assert.equal(rows.length, 1);
});

Deno.test("an answer that names another issuer, or none where it must, is refused", async () => {
  const { idp, through } = await scene();
  /** RFC 9207: what the browser comes back with beside the code. */
  const naming =
    (back: (code: string) => Record<string, string>, metadata: Claims = {}) => async () => {
      evil.lies = { back, metadata };
      const { body } = await h.start({ identity_provider_id: idp.id });
      const landed = await h.land(await evil.authorize(String(body.authorization_url)));
      if (landed.status !== 200) return landed;
      return await h.complete({ id: body.id, secret: body.secret });
    };
  await repelled(h, "issuers of answers", {
    "another": naming((code) => ({ code, iss: "https://evil.example" })),
    "one with a slash more": naming((code) => ({ code, iss: `${evil.issuer}/` })),
    "one with a path": naming((code) => ({ code, iss: `${evil.issuer}/auth` })),
    "the honest provider": naming((code) => ({ code, iss: h.provider.issuer })),
    "an empty one": naming((code) => ({ code, iss: "" })),
    "none, though it always does": naming((code) => ({ code })),
    "another one in a refusal": naming(() => ({
      error: "access_denied",
      iss: "https://a.example",
    })),
  }, through({}));
  const { owner } = await scene();
  const silent = await evilIssuer("ada");
  await using _ = silent;
  silent.lies = {
    metadata: { authorization_response_iss_parameter_supported: undefined },
    back: (code) => ({ code }),
  };
  const quiet = await h.w.as(owner).identity.identityProviders.create({
    name: "Quiet",
    issuer: silent.issuer,
    clientId: CLIENT,
    clientSecret,
  });
  const { body } = await h.start({ identity_provider_id: quiet.id });
  await h.land(await silent.authorize(String(body.authorization_url)));
  const unknown = await h.complete({ id: body.id, secret: body.secret });
  assert.equal(unknown.body.reason, "sso.not_known", "it never names itself, so it need not");
});

Deno.test("a token answer that is none signs nobody in, and costs a clear answer", async () => {
  const { through } = await scene();
  const answer = (text: string, status = 200, headers: Record<string, string> = {}) =>
    through({
      answer: (response) => {
        response.writeHead(status, { "content-type": "application/json", ...headers });
        response.end(text);
      },
    });
  const bearing = (more: Claims) =>
    through({
      answer: (response, id_token) => {
        response.setHeader("content-type", "application/json");
        response.end(
          JSON.stringify({ access_token: "a", token_type: "Bearer", id_token, ...more }),
        );
      },
    });
  await repelled(h, "token answers", {
    "an error": answer('{"error":"invalid_grant"}', 400),
    "an error with markup": answer('{"error":"<script>"}', 400),
    "an error and a token": bearing({ error: "invalid_client", access_token: undefined }),
    "another kind of token": bearing({ token_type: "mac" }),
    "no access token": bearing({ access_token: undefined }),
    "a redirect": answer("", 302, { location: `${evil.issuer}/token` }),
    "markup": answer("<html>", 200, { "content-type": "text/html" }),
    "broken JSON": answer('{"access_token":'),
    "a list": answer("[]"),
    "null": answer("null"),
    "nothing": answer(""),
    "too much": answer(`{"a":"${"a".repeat(300_000)}"}`),
    "a failure": answer("oops", 500),
    "silence": through({ answer: (response) => void response.destroy() }),
  }, bearing({}));
});

Deno.test("metadata that leads astray is refused before anybody is sent anywhere", async () => {
  const { owner } = await scene();
  const starting = (metadata: Claims) => async () => {
    await using liar = await evilIssuer();
    liar.lies = { metadata };
    const { id } = await h.w.as(owner).identity.identityProviders.create({
      name: `Liar ${crypto.randomUUID()}`,
      issuer: liar.issuer,
      clientId: CLIENT,
      clientSecret,
    });
    return await h.start({ identity_provider_id: id });
  };
  await repelled(
    h,
    "metadata",
    {
      "another issuer": starting({ issuer: "https://evil.example" }),
      "no issuer": starting({ issuer: undefined }),
      "a script for an address": starting({ authorization_endpoint: "javascript:alert(1)//" }),
      "data for an address": starting({ authorization_endpoint: "data:text/html,x" }),
      "no address": starting({ authorization_endpoint: undefined }),
      "a number for an address": starting({ token_endpoint: 1 }),
      "no token endpoint": starting({ token_endpoint: undefined }),
      "a file of keys": starting({ jwks_uri: "file:///etc/passwd" }),
      "shared secrets alone": starting({
        id_token_signing_alg_values_supported: ["HS256", "none"],
      }),
    },
    starting({}),
    [502],
  );
});
