/**
 * An identity provider's OpenID endpoints: OpenID Connect Discovery, Core and RFC 9207 through
 * oauth4webapi. Every call leaves through the guarded fetch.
 */
import * as oauth from "oauth4webapi";
import { cached, type TenantCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { Refused } from "../outbound.ts";
import type { Secret } from "../secrets/secret.ts";

const CALL_MS = 15_000;
const MAX_ANSWER_BYTES = 256 * 1024;
const CLOCK_TOLERANCE_SECONDS = 60;

/** What we need of an issuer's metadata, every address in it looked at. Plain data: it is cached. */
export type Server = oauth.AuthorizationServer & {
  authorization_endpoint: string;
  token_endpoint: string;
  jwks_uri: string;
  id_token_signing_alg_values_supported: string[];
};

/** Public keys alone: a secret that both sides have proves nobody, and `none` proves nothing. */
const signatures = new Set([
  ...["RS", "PS", "ES"].flatMap((kind) => [256, 384, 512].map((bits) => kind + bits)),
  ...["EdDSA", "Ed25519"],
]);

/** A provider that could not be asked, or whose answer is not to be believed. */
const failed = (word: string, sentence: string) =>
  new Fault("ProviderError", `identity_provider.${word}`, sentence);

type Call = oauth.CustomFetchOptions<string, BodyInit | null | undefined>;

/** `http:` is judged by the guarded fetch alone, which knows whether this is a laptop. */
function through({ outbound }: Pick<TenantCtx, "outbound">) {
  const signal = AbortSignal.timeout(CALL_MS);
  return {
    [oauth.customFetch]: (url: string, { method, headers, body = null }: Call) =>
      outbound(url, {
        ...{ method, headers, body, signal },
        timeoutMs: CALL_MS,
        maxBytes: MAX_ANSWER_BYTES,
      }),
    [oauth.allowInsecureRequests]: true,
    signal,
  };
}

/** The issuer's metadata as its owner publishes it now. Throws ProviderError or ProviderTimeout. */
export async function discover(ctx: Pick<TenantCtx, "outbound">, issuer: string): Promise<Server> {
  try {
    const url = new URL(issuer);
    const response = await oauth.discoveryRequest(url, through(ctx));
    return serverOf(await oauth.processDiscoveryResponse(url, response));
  } catch (error) {
    throw asFault(error);
  }
}

/** The same, for an hour at most from the cache of the tenant, whose other provider it may not touch. */
export const discovered = (ctx: TenantCtx, issuer: string): Promise<Server> =>
  cached(
    ctx,
    { tenantId: ctx.tenantId, topic: "identity_providers", key: issuer },
    () => discover(ctx, issuer),
  );

function serverOf(found: oauth.AuthorizationServer): Server {
  const isPlain = new URL(found.issuer).protocol === "http:";
  const address = (name: "authorization_endpoint" | "token_endpoint" | "jwks_uri") => {
    const text = found[name];
    const protocol = typeof text === "string" ? URL.parse(text)?.protocol : undefined;
    // A browser is sent to one of them: never to `javascript:`, and to `http:` on a laptop alone.
    if (text && (protocol === "https:" || (isPlain && protocol === "http:"))) return text;
    throw failed("no_endpoints", `The identity provider names no usable ${name}`);
  };
  const said: unknown = found.id_token_signing_alg_values_supported ?? ["RS256"];
  const algorithms = Array.isArray(said) ? said.map(String).filter((a) => signatures.has(a)) : [];
  if (algorithms.length === 0) {
    throw failed("no_signature", "The identity provider signs with no public key that we take");
  }
  const methods: unknown = found.token_endpoint_auth_methods_supported;
  return {
    issuer: found.issuer,
    authorization_endpoint: address("authorization_endpoint"),
    token_endpoint: address("token_endpoint"),
    jwks_uri: address("jwks_uri"),
    id_token_signing_alg_values_supported: algorithms,
    ...(Array.isArray(methods)
      ? { token_endpoint_auth_methods_supported: methods.map(String) }
      : {}),
    authorization_response_iss_parameter_supported:
      found.authorization_response_iss_parameter_supported === true,
  };
}

export type AuthorizationRequest = {
  clientId: string;
  redirectUri: string;
  scopes: string[];
  state: string;
  nonce: string;
  verifier: string;
  loginHint: string | null;
};

/** Where the person is sent. */
export async function authorizationUrl(
  server: Server,
  request: AuthorizationRequest,
): Promise<string> {
  const url = new URL(server.authorization_endpoint);
  const params = {
    response_type: "code",
    client_id: request.clientId,
    redirect_uri: request.redirectUri,
    scope: request.scopes.join(" "),
    state: request.state,
    nonce: request.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(request.verifier),
    code_challenge_method: "S256",
    ...(request.loginHint === null ? {} : { login_hint: request.loginHint }),
  };
  for (const [name, value] of Object.entries(params)) url.searchParams.set(name, value);
  return url.href;
}

/** An answer to our request, and what proves that the request was ours. */
export type Answered = {
  clientId: string;
  clientSecret: Secret;
  code: Secret;
  /** As the answer named it (RFC 9207). */
  issuer: string | null;
  verifier: Secret;
  nonce: string;
  redirectUri: string;
};

/**
 * Trades a code for an ID token and answers its claims: signed by a key the issuer publishes now,
 * for this client and this flow, and of this time. Throws ProviderError or ProviderTimeout.
 */
export async function idTokenOf(
  ctx: Pick<TenantCtx, "outbound" | "now">,
  server: Server,
  answered: Answered,
): Promise<oauth.IDToken> {
  const as = { ...server }; // Another object: the package would keep keys of the cached one.
  const client: oauth.Client = {
    client_id: answered.clientId,
    [oauth.clockTolerance]: CLOCK_TOLERANCE_SECONDS,
    [oauth.clockSkew]: Math.round((ctx.now().getTime() - Date.now()) / 1000),
  };
  const [calls, { issuer: iss }] = [through(ctx), answered];
  try {
    const params = new URLSearchParams({ code: answered.code.reveal(), ...(iss ? { iss } : {}) });
    const response = await oauth.authorizationCodeGrantRequest(
      as,
      client,
      authOf(server, answered.clientSecret),
      oauth.validateAuthResponse(as, client, params, oauth.expectNoState),
      answered.redirectUri,
      answered.verifier.reveal(),
      calls,
    );
    const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, {
      expectedNonce: answered.nonce,
      requireIdToken: true,
    });
    await oauth.validateApplicationLevelSignature(as, response, calls);
    return whole(oauth.getValidatedIdTokenClaims(tokens), answered.clientId, ctx.now());
  } catch (error) {
    throw asFault(error);
  }
}

/** What the package leaves open: who an only audience's token was issued to, and one of a time to come. */
function whole(claims: oauth.IDToken | undefined, clientId: string, now: Date): oauth.IDToken {
  const latest = now.getTime() / 1000 + CLOCK_TOLERANCE_SECONDS;
  if (claims && (claims.azp ?? clientId) === clientId && claims.iat <= latest) return claims;
  throw failed("id_token", NOT_BELIEVED);
}

const authOf = (server: Server, secret: Secret): oauth.ClientAuth => {
  const methods = server.token_endpoint_auth_methods_supported ?? ["client_secret_basic"];
  return methods.includes("client_secret_basic") || !methods.includes("client_secret_post")
    ? oauth.ClientSecretBasic(secret.reveal())
    : oauth.ClientSecretPost(secret.reveal());
};

const NOT_BELIEVED = "What the identity provider answered cannot be believed: start again";

/** Whatever a call threw, without anything of the answer but a word: answers hold tokens. */
function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  if (error instanceof DOMException || (error instanceof Refused && error.reason === "timeout")) {
    const sentence = "The identity provider did not answer: start again";
    return new Fault("ProviderTimeout", "identity_provider.timeout", sentence);
  }
  if (error instanceof Refused) return failed(error.reason, error.message);
  if (error instanceof oauth.ResponseBodyError && /^[a-z_]{1,64}$/.test(error.error)) {
    return failed(error.error, `The identity provider refused (${error.error}): start again`);
  }
  return failed("bad_answer", NOT_BELIEVED);
}
