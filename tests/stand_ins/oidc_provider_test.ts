/** The provider stand-in keeps OAuth's rules, counts what happens and misbehaves when asked. */
import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";
import { type ApiAnswer, type OidcProvider, oidcProvider } from "./oidc_provider.ts";

const redirectUri = "http://127.0.0.1:9/callback";
const insecure = { [oauth.allowInsecureRequests]: true };
const client = { client_id: "switchboard" };
const registration = {
  clientId: client.client_id,
  clientSecret: "a+secret/with:signs",
  redirectUris: [redirectUri],
};
const basic = oauth.ClientSecretBasic("a+secret/with:signs");

async function start(settings: Parameters<typeof oidcProvider>[0] = {}) {
  const provider = await oidcProvider(settings);
  provider.addClient(registration);
  const discovered = await oauth.discoveryRequest(new URL(provider.issuer), insecure);
  const server = await oauth.processDiscoveryResponse(new URL(provider.issuer), discovered);
  assert.equal(server.token_endpoint, provider.tokenEndpoint);
  assert.equal(server.authorization_endpoint, provider.authorizationEndpoint);
  assert.equal(server.revocation_endpoint, provider.revocationEndpoint);
  assert.equal(server.userinfo_endpoint, provider.userinfoEndpoint);
  return { provider, server };
}

async function authorizationUrl(provider: OidcProvider, verifier: string) {
  const url = new URL(provider.authorizationEndpoint);
  url.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: redirectUri,
    response_type: "code",
    scope: "openid email calls:read",
    state: "here",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  }).toString();
  return url;
}

async function signIn({ provider, server }: Awaited<ReturnType<typeof start>>, account: string) {
  const verifier = oauth.generateRandomCodeVerifier();
  const back = await provider.authorize(await authorizationUrl(provider, verifier), { account });
  const params = oauth.validateAuthResponse(server, client, back, "here");
  const response = await oauth.authorizationCodeGrantRequest(
    ...[server, client, basic, params, redirectUri, verifier, insecure] as const,
  );
  return await oauth.processAuthorizationCodeResponse(server, client, response);
}

/** Never a reused connection, on which Deno's `fetch` would repeat a request by itself. */
const fresh = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });

const refresh = (provider: OidcProvider, token: string) =>
  fetch(provider.tokenEndpoint, {
    method: "POST",
    client: fresh,
    headers: {
      authorization: `Basic ${btoa(`switchboard:${encodeURIComponent("a+secret/with:signs")}`)}`,
    },
    body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: token }),
  });

async function refreshed(provider: OidcProvider, token: string): Promise<Record<string, string>> {
  const response = await refresh(provider, token);
  assert.equal(response.status, 200);
  return await response.json();
}

const call = (provider: OidcProvider, path: string, token: string, init: RequestInit = {}) =>
  fetch(provider.apiUrl + path, { ...init, headers: { authorization: `Bearer ${token}` } });

Deno.test("oidcProvider signs people in with a code and PKCE, and its API knows them", async () => {
  const world = await start();
  await using provider = world.provider;
  const tokens = await signIn(world, "bob");
  assert.equal(oauth.getValidatedIdTokenClaims(tokens)?.sub, "bob");
  const userinfo = await oauth.userInfoRequest(world.server, client, tokens.access_token, insecure);
  assert.equal((await userinfo.json()).email, "bob@example.com");
  const answer = await call(provider, "/calls/7?page=2", tokens.access_token, {
    method: "POST",
    body: "hello",
  });
  const { account, method, path, query, body, scope }: ApiAnswer = await answer.json();
  assert.deepEqual([account, method, path, query, body], [
    ...["bob", "POST", "/api/calls/7"],
    { page: "2" },
    "hello",
  ]);
  assert.match(scope, /calls:read/);
  const stream = await call(provider, "/stream?chunks=3&everyMs=5", tokens.access_token);
  assert.equal(await stream.text(), "chunk 1\nchunk 2\nchunk 3\n");
  const stranger = await call(provider, "/calls", "guessed");
  assert.equal(stranger.status, 401);
  assert.match(stranger.headers.get("www-authenticate") ?? "", /invalid_token/);
  await stranger.body?.cancel();
  assert.equal(provider.counts.codeExchanges, 1);
});

Deno.test("oidcProvider turns away a missing PKCE, a wrong secret, address, verifier or method", async () => {
  const world = await start();
  await using provider = world.provider;
  const verifier = oauth.generateRandomCodeVerifier();
  const plain = await authorizationUrl(provider, verifier);
  plain.searchParams.delete("code_challenge");
  plain.searchParams.delete("code_challenge_method");
  assert.equal((await provider.authorize(plain)).searchParams.get("error"), "invalid_request");
  const elsewhere = await authorizationUrl(provider, verifier);
  elsewhere.searchParams.set("redirect_uri", "http://127.0.0.1:9/elsewhere");
  await assert.rejects(provider.authorize(elsewhere), /answered 400.*invalid_redirect_uri/s);
  const denied = await provider.authorize(await authorizationUrl(provider, verifier), {
    deny: true,
  });
  assert.equal(denied.searchParams.get("error"), "access_denied");
  assert.equal(denied.searchParams.get("state"), "here");

  const back = await provider.authorize(await authorizationUrl(provider, verifier));
  const params = oauth.validateAuthResponse(world.server, client, back, "here");
  const attempt = async (auth: oauth.ClientAuth, words: string) => {
    const answer = await oauth.authorizationCodeGrantRequest(
      ...[world.server, client, auth, params, redirectUri, words, insecure] as const,
    );
    return [answer.status, (await answer.json()).error];
  };
  const post = oauth.ClientSecretPost("a+secret/with:signs");
  const wrongWords = oauth.generateRandomCodeVerifier();
  assert.deepEqual(await attempt(oauth.ClientSecretBasic("wrong"), verifier), [
    401,
    "invalid_client",
  ]);
  provider.addClient({ ...registration, onlyAuth: "client_secret_basic" });
  assert.deepEqual(await attempt(post, verifier), [401, "invalid_client"]);
  provider.addClient({ ...registration, onlyAuth: "client_secret_post" });
  assert.deepEqual(await attempt(basic, verifier), [401, "invalid_client"]);
  provider.addClient(registration);
  assert.deepEqual(await attempt(basic, wrongWords), [400, "invalid_grant"]);
});

Deno.test("oidcProvider rotates, and revokes the whole grant when a retired token comes back", async () => {
  const world = await start();
  await using provider = world.provider;
  const { refresh_token: first = "" } = await signIn(world, "bob");
  const next = await refreshed(provider, first);
  assert.notEqual(next["refresh_token"], first);
  assert.equal((await call(provider, "/", next["access_token"] ?? "")).status, 200);
  const again = await refresh(provider, first);
  assert.deepEqual([again.status, (await again.json()).error], [400, "invalid_grant"]);
  assert.equal((await refresh(provider, next["refresh_token"] ?? "")).status, 400);
  assert.equal((await call(provider, "/", next["access_token"] ?? "")).status, 401);
  const { reuses, revokedGrants, refreshRequests, refreshSuccesses } = provider.counts;
  assert.deepEqual([reuses, revokedGrants, refreshRequests, refreshSuccesses], [1, 1, 3, 1]);
});

Deno.test("oidcProvider lets exactly one of many simultaneous refreshes win", async () => {
  const world = await start();
  await using provider = world.provider;
  const { refresh_token: token = "" } = await signIn(world, "bob");
  const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(provider, token)));
  const statuses = await Promise.all(answers.map(async (one) => (await one.text(), one.status)));
  assert.equal(statuses.filter((status) => status === 200).length, 1);
  assert.ok(provider.counts.maxRefreshesInFlight > 1);
  assert.equal(provider.counts.refreshesInFlight, 0);
  assert.equal(provider.counts.revokedGrants, 1);
});

Deno.test("oidcProvider keeps one refresh token when told not to rotate, and ages access tokens", async () => {
  const world = await start({ rotate: false, accessTokenSeconds: 1 });
  await using provider = world.provider;
  const tokens = await signIn(world, "bob");
  const first = tokens.refresh_token ?? "";
  assert.equal(tokens.expires_in, 1);
  assert.equal((await refreshed(provider, first))["refresh_token"], first);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.equal((await call(provider, "/", tokens.access_token)).status, 401);
  provider.settings.accessTokenSeconds = 60;
  const fresh = await refreshed(provider, first);
  assert.equal((await call(provider, "/", fresh["access_token"] ?? "")).status, 200);
  provider.revokeAccount("bob");
  assert.equal((await refresh(provider, first)).status, 400);
});

Deno.test("oidcProvider delays, holds, fails and drops its token answers on demand", async () => {
  const world = await start();
  await using provider = world.provider;
  let { refresh_token: token = "" } = await signIn(world, "bob");
  provider.failTokens({ kind: 503 });
  provider.failTokens({ kind: "drop", when: "before" });
  assert.equal((await refresh(provider, token)).status, 503);
  await assert.rejects(refresh(provider, token), TypeError);

  provider.settings.tokenDelayMs = 80;
  const started = performance.now();
  token = (await refreshed(provider, token))["refresh_token"] ?? "";
  assert.ok(performance.now() - started >= 75);
  provider.settings.tokenDelayMs = 0;

  const rotated = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  provider.settings.afterToken = ({ grantType }) => {
    assert.equal(grantType, "refresh_token");
    rotated.resolve();
    return release.promise;
  };
  const held = refreshed(provider, token);
  await rotated.promise;
  assert.equal(provider.counts.refreshesInFlight, 1);
  release.resolve();
  token = (await held)["refresh_token"] ?? "";
  provider.settings.afterToken = undefined;

  provider.failTokens({ kind: "drop", when: "after", grantType: "refresh_token" });
  await assert.rejects(refresh(provider, token), TypeError);
  assert.equal((await refresh(provider, token)).status, 400);
  assert.equal(provider.counts.reuses, 1);
});

Deno.test("oidcProvider revokes, and stops at once while an answer is held", async () => {
  const world = await start({ refreshTokens: "offline_access" });
  await using provider = world.provider;
  assert.equal((await signIn(world, "bob")).refresh_token, undefined);
  provider.settings.refreshTokens = "always";
  const { refresh_token: token = "" } = await signIn(world, "bob");
  await oauth.revocationRequest(world.server, client, basic, token, insecure);
  assert.equal((await refresh(provider, token)).status, 400);
  assert.equal(provider.counts.revocations, 1);
  provider.settings.tokenDelayMs = 60_000;
  const held = assert.rejects(refresh(provider, token), TypeError);
  await new Promise((resolve) => setTimeout(resolve, 30));
  await provider.stop();
  await held;
});
