/**
 * A provider's OAuth endpoints as a tenant's credential uses them: RFC 6749 through oauth4webapi,
 * RFC 7636, RFC 7009 and OpenID Connect, with the provider's quirks; every call leaves through the
 * guarded fetch.
 */
import { and, eq } from "drizzle-orm";
import { decodeJwt } from "jose";
import * as oauth from "oauth4webapi";
import { platformCredentials, platforms, servicePlatforms } from "../../db/schema/platforms.ts";
import type { Services, TxCtx } from "../context.ts";
import { found } from "../rows.ts";
import { at } from "../secrets/places.ts";
import type { Secret } from "../secrets/secret.ts";
import { directoryUrl } from "./directories.ts";
import { type Quirks, quirksOf } from "./quirks.ts";
import {
  asFailure,
  failure,
  type Granted,
  grantedOf,
  idIn,
  jsonOf,
  normalized,
} from "./token_answers.ts";

export type Provider = {
  clientId: string;
  clientSecret: Secret;
  tokenUrl: string | null;
  revocationUrl: string | null;
  userinfoUrl: string | null;
  /** Known only where the catalogue's metadata says it. */
  issuer: string | null;
  quirks: Quirks;
};

type Outside = Pick<Services, "outbound" | "now" | "log">;

const MAX_ANSWER_BYTES = 256 * 1024;
const CLOCK_TOLERANCE_SECONDS = 60;

export const issuerOf = (metadata: Record<string, unknown>) =>
  typeof metadata.issuer === "string" ? metadata.issuer : null;

/** The provider with the client that a binding or a flow names, whether in use or retired. */
export async function providerOf(
  ctx: TxCtx,
  { platformId, credentialId }: { platformId: string; credentialId: string },
): Promise<Provider> {
  const rows = await ctx.db.select({
    clientId: platformCredentials.clientId,
    clientSecret: platformCredentials.clientSecret,
    credentialTokenUrl: platformCredentials.tokenUrl,
    tokenUrl: platforms.tokenUrl,
    revocationUrl: platforms.revocationUrl,
    userinfoUrl: platforms.userinfoUrl,
    metadata: platforms.metadata,
    quirks: platforms.quirks,
    directory: servicePlatforms.providerTenantId,
  }).from(platformCredentials)
    .innerJoin(platforms, eq(platforms.id, platformId))
    .leftJoin(
      servicePlatforms,
      and(
        eq(servicePlatforms.tenantId, ctx.tenantId),
        eq(servicePlatforms.platformId, platformId),
      ),
    )
    .where(and(
      eq(platformCredentials.tenantId, ctx.tenantId),
      eq(platformCredentials.id, credentialId),
    ));
  const row = found(rows, "credential");
  const spot = at(platformCredentials.clientSecret, credentialId);
  return {
    clientId: row.clientId,
    clientSecret: await ctx.secrets.open(ctx, spot, row.clientSecret),
    tokenUrl: row.credentialTokenUrl ?? directoryUrl(row.tokenUrl, row.directory),
    revocationUrl: row.revocationUrl,
    userinfoUrl: row.userinfoUrl,
    issuer: issuerOf(row.metadata),
    quirks: quirksOf(row.quirks),
  };
}

export type AuthorizationRequest = {
  authUrl: string;
  clientId: string;
  redirectUri: string;
  scopes: string[];
  state: string;
  nonce: string;
  verifier: string;
  loginHint: string | null;
  quirks: Quirks;
};

/** Where the person is sent. What a quirk adds never replaces what we must send. */
export async function authorizationUrl(request: AuthorizationRequest): Promise<string> {
  const { quirks, scopes } = request;
  const url = new URL(request.authUrl);
  const set = (params: Record<string, string>) => {
    for (const [name, value] of Object.entries(params)) url.searchParams.set(name, value);
  };
  set(quirks.authorizationParams);
  set({
    response_type: "code",
    client_id: request.clientId,
    redirect_uri: request.redirectUri,
    state: request.state,
  });
  if (scopes.length > 0) set({ scope: scopes.join(quirks.scopeSeparator) });
  if (scopes.includes("openid")) set({ nonce: request.nonce });
  if (request.loginHint !== null) set({ login_hint: request.loginHint });
  if (quirks.pkce === "S256") {
    set({
      code_challenge: await oauth.calculatePKCECodeChallenge(request.verifier),
      code_challenge_method: "S256",
    });
  }
  return url.href;
}

/** oauth4webapi takes RS256 alone where no metadata says more. */
const signatures = ["RS", "PS", "ES"].flatMap((kind) => [256, 384, 512].map((bits) => kind + bits));

const serverOf = (provider: Provider, issuer: string): oauth.AuthorizationServer => ({
  issuer,
  id_token_signing_alg_values_supported: [...signatures, "EdDSA", "Ed25519"],
  ...provider.tokenUrl === null ? {} : { token_endpoint: provider.tokenUrl },
  ...provider.revocationUrl === null ? {} : { revocation_endpoint: provider.revocationUrl },
});

const clientOf = ({ clientId }: Provider): oauth.Client => ({
  client_id: clientId,
  [oauth.clockTolerance]: CLOCK_TOLERANCE_SECONDS,
});

const authOf = ({ clientSecret, quirks }: Provider): oauth.ClientAuth =>
  quirks.tokenAuthMethod === "client_secret_post"
    ? oauth.ClientSecretPost(clientSecret.reveal())
    : oauth.ClientSecretBasic(clientSecret.reveal());

type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** `http:` is judged by the guarded fetch alone, which knows whether this is a laptop. */
const through = (fetch: Fetch, timeoutMs: number) => ({
  [oauth.customFetch]: fetch,
  [oauth.allowInsecureRequests]: true,
  signal: AbortSignal.timeout(timeoutMs),
});

type Call = { timeoutMs: number; withIdToken: boolean };

const tokenCall = ({ outbound }: Outside, { quirks }: Provider, { timeoutMs, withIdToken }: Call) =>
  through(
    async (url, init) =>
      await normalized(
        await outbound(url, { ...init, timeoutMs, maxBytes: MAX_ANSWER_BYTES }),
        quirks,
        withIdToken,
      ),
    timeoutMs,
  );

const NOBODY = "https://issuer.invalid";

export type Exchange = {
  code: Secret;
  verifier: Secret;
  nonce: string;
  redirectUri: string;
  scopes: string[];
};

/**
 * Trades a code for tokens. With `openid` the ID token is validated: audience, times, nonce, and
 * the issuer where it is known; that it came from the token endpoint over TLS stands for its
 * signature (OpenID Connect Core, 3.1.3.7). Throws ProviderFailure.
 */
export async function exchangeCode(
  ctx: Outside,
  provider: Provider,
  exchange: Exchange,
  timeoutMs: number,
): Promise<Granted & { subject: string | null }> {
  const askedAt = ctx.now();
  const isOpenId = exchange.scopes.includes("openid");
  const [server, client] = [serverOf(provider, provider.issuer ?? NOBODY), clientOf(provider)];
  try {
    const code = new URLSearchParams({ code: exchange.code.reveal() });
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      authOf(provider),
      oauth.validateAuthResponse(server, client, code, oauth.expectNoState),
      exchange.redirectUri,
      provider.quirks.pkce === "S256" ? exchange.verifier.reveal() : oauth.nopkce,
      tokenCall(ctx, provider, { timeoutMs, withIdToken: isOpenId }),
    );
    const issuer = provider.issuer ?? await claimedIssuer(response.clone());
    const answer = await oauth.processAuthorizationCodeResponse(
      serverOf(provider, issuer),
      client,
      response,
      isOpenId ? { expectedNonce: exchange.nonce } : {},
    );
    const subject = oauth.getValidatedIdTokenClaims(answer)?.sub ?? null;
    return { ...grantedOf(answer, provider.quirks, askedAt), subject };
  } catch (error) {
    throw asFailure(error);
  }
}

async function claimedIssuer(response: Response): Promise<string> {
  const { id_token: idToken } = await response.json();
  return (typeof idToken === "string" ? decodeJwt(idToken).iss : undefined) ?? NOBODY;
}

/** Trades a refresh token for new tokens. Throws ProviderFailure. */
export async function refreshTokens(
  ctx: Outside,
  provider: Provider,
  refreshToken: Secret,
  timeoutMs: number,
): Promise<Granted> {
  const askedAt = ctx.now();
  const [server, client] = [serverOf(provider, NOBODY), clientOf(provider)];
  try {
    const response = await oauth.refreshTokenGrantRequest(
      server,
      client,
      authOf(provider),
      refreshToken.reveal(),
      tokenCall(ctx, provider, { timeoutMs, withIdToken: false }),
    );
    const answer = await oauth.processRefreshTokenResponse(server, client, response);
    return grantedOf(answer, provider.quirks, askedAt);
  } catch (error) {
    throw asFailure(error);
  }
}

const REVOKE_MS = 5_000;

/** Tells the provider that a token is not wanted any more. A failure is only logged. */
export async function revokeAtProvider(ctx: Outside, provider: Provider, token: Secret) {
  if (provider.revocationUrl === null) return;
  try {
    const response = await oauth.revocationRequest(
      serverOf(provider, NOBODY),
      clientOf(provider),
      authOf(provider),
      token.reveal(),
      through((url, init) => ctx.outbound(url, { ...init, timeoutMs: REVOKE_MS }), REVOKE_MS),
    );
    await response.body?.cancel();
    if (!response.ok) throw failure("refused", `status_${response.status}`);
  } catch (error) {
    const { word } = asFailure(error);
    const { host } = new URL(provider.revocationUrl);
    ctx.log("warn", "a provider was not told of a revocation", { host, word });
  }
}

/** Puts the token where this provider looks for it, and answers the header's name. */
export function present(headers: Headers, token: Secret, { tokenHeader }: Quirks): string {
  const { name, prefix } = tokenHeader?.kind === "header"
    ? tokenHeader
    : { name: "Authorization", prefix: "Bearer " };
  headers.set(name, prefix + token.reveal());
  return name;
}

/** Who the account is at the provider, or null when that cannot be learnt. */
export async function accountOf(
  ctx: Outside,
  { userinfoUrl, quirks }: Provider,
  token: Secret,
  timeoutMs: number,
): Promise<string | null> {
  if (userinfoUrl === null) return null;
  const headers = new Headers({ accept: "application/json" });
  present(headers, token, quirks);
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const init = { headers, signal, timeoutMs, maxBytes: MAX_ANSWER_BYTES };
    const response = await ctx.outbound(userinfoUrl, init);
    const text = await response.text();
    return response.ok ? idIn(jsonOf(text) ?? {}, quirks.accountId) : null;
  } catch (error) {
    const { word } = asFailure(error);
    const { host } = new URL(userinfoUrl);
    ctx.log("warn", "a provider did not say whose account it is", { host, word });
    return null;
  }
}
