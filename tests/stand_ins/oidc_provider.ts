/**
 * A certified OAuth 2.0 and OpenID provider on a free port, with an API of its own, that signs
 * people in without a screen, revokes a grant whose retired refresh token comes back, and is as
 * slow, broken or unlucky as a test wants.
 */
import { createServer, type Server } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import { type Context, newProvider, type Provider, Storage } from "./oidc_boundary.ts";
import { authorize, type Visit } from "./oidc_browser.ts";
import { answerApi } from "./oidc_resources.ts";
import {
  type ClientAuth,
  type Counts,
  noCounts,
  type Settings,
  type TokenDesk,
  type TokenFailure,
  tokenMiddleware,
} from "./oidc_tokens.ts";

export type { ApiAnswer } from "./oidc_resources.ts";
export type { Counts, Settings, TokenFailure, TokenRequest } from "./oidc_tokens.ts";
export { authorize, type Visit } from "./oidc_browser.ts";

export interface Client {
  clientId: string;
  clientSecret: string;
  redirectUris: string[];
  /** The only way this client may prove itself; either way is taken when left out. */
  onlyAuth?: ClientAuth;
}

export interface OidcProvider extends AsyncDisposable {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly userinfoEndpoint: string;
  readonly revocationEndpoint: string;
  readonly introspectionEndpoint: string;
  readonly jwksUri: string;
  /** The API that wants this provider's access tokens: `/api/…` echoes, `/api/stream` dawdles. */
  readonly apiUrl: string;
  /** Change at will; the next request sees it. */
  readonly settings: Settings;
  readonly counts: Counts;
  resetCounts(): void;
  /** Adds a client, or gives an old one new properties. */
  addClient(client: Client): void;
  /** The next `times` token requests fail so; failures queue up. */
  failTokens(failure: TokenFailure, times?: number): void;
  /** The person withdraws consent: every token of the account is dead. */
  revokeAccount(account: string): void;
  authorize(authorizationUrl: string | URL, visit?: Visit): Promise<URL>;
  stop(): Promise<void>;
}

export const scopes = [
  ...["openid", "offline_access", "profile", "email", "groups", "calls:read", "calls:write"],
];

const defaultSettings: Settings = {
  rotate: true,
  refreshTokens: "always",
  accessTokenSeconds: 3600,
  tokenDelayMs: 0,
  beforeToken: undefined,
  afterToken: undefined,
  claims: undefined,
};

export async function oidcProvider(options: Partial<Settings> = {}): Promise<OidcProvider> {
  const server = createServer();
  const issuer = await listen(server);
  const stopping = new AbortController();
  const storage = new Storage();
  const desk: TokenDesk = {
    settings: { ...defaultSettings, ...options },
    counts: noCounts(),
    failures: [],
    onlyAuth: new Map(),
    stopping: stopping.signal,
  };
  const provider = await newProvider(issuer, await setup(storage, desk.settings));
  observe(provider, desk.counts);
  provider.use(doors(provider, desk));
  server.on("request", provider.callback());
  const stop = async () => {
    stopping.abort();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };
  return {
    issuer,
    authorizationEndpoint: `${issuer}/auth`,
    tokenEndpoint: `${issuer}/token`,
    userinfoEndpoint: `${issuer}/me`,
    revocationEndpoint: `${issuer}/token/revocation`,
    introspectionEndpoint: `${issuer}/token/introspection`,
    jwksUri: `${issuer}/jwks`,
    apiUrl: `${issuer}/api`,
    settings: desk.settings,
    counts: desk.counts,
    resetCounts: () => void Object.assign(desk.counts, noCounts()),
    addClient: (client) => {
      desk.onlyAuth.set(client.clientId, client.onlyAuth);
      storage.put("Client", client.clientId, metadata(client));
    },
    failTokens: (failure, times = 1) => {
      for (let left = times; left > 0; left--) desk.failures.push(failure);
    },
    revokeAccount: (account) => storage.revokeAccount(account),
    authorize,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function listen(server: Server): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (typeof address !== "object" || address === null) reject(new Error("no port was given"));
      else resolve(`http://127.0.0.1:${address.port}`);
    });
  });
}

async function setup(storage: Storage, settings: Settings): Promise<object> {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  const key = await exportJWK(privateKey);
  return {
    adapter: storage.adapter,
    jwks: { keys: [{ ...key, alg: "ES256", use: "sig", kid: "test" }] },
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    cookies: { keys: [crypto.randomUUID()] },
    scopes,
    claims: {
      openid: ["sub"],
      email: ["email", "email_verified"],
      profile: ["name"],
      groups: ["groups"],
    },
    conformIdTokenClaims: false, // Most providers put them into the ID token, not behind userinfo.
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true, allowedPolicy: isOwnToken },
      introspection: { enabled: true, allowedPolicy: isOwnToken },
      rpInitiatedLogout: { enabled: false },
    },
    interactions: { url: (_: Context, { uid }: { uid: string }) => `/interaction/${uid}` },
    findAccount: (_: Context, accountId: string) => ({
      accountId,
      claims: () => ({
        sub: accountId,
        name: accountId,
        email: `${accountId}@example.com`,
        email_verified: true,
        ...settings.claims?.(accountId),
      }),
    }),
    expiresWithSession: () => false,
    rotateRefreshToken: () => settings.rotate,
    issueRefreshToken: (_: Context, _client: unknown, code: { scopes: Set<string> }) =>
      settings.refreshTokens === "always" || code.scopes.has("offline_access"),
    ttl: {
      AccessToken: () => settings.accessTokenSeconds,
      AuthorizationCode: 60,
      Grant: 14 * 86_400,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: 14 * 86_400,
      Session: 86_400,
    },
    renderError: (context: Context, out: object) => {
      context.type = "application/json";
      context.body = JSON.stringify(out);
    },
  };
}

const isOwnToken = (
  _: Context,
  client: { clientId: string },
  token: { clientId: string },
) => token.clientId === client.clientId;

const metadata = (client: Client) => ({
  client_id: client.clientId,
  client_secret: client.clientSecret,
  redirect_uris: client.redirectUris,
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: client.onlyAuth ?? "client_secret_basic",
});

function observe(provider: Provider, counts: Counts): void {
  provider.on("grant.revoked", () => counts.revokedGrants++);
  provider.on("grant.error", (_, error) => {
    if (error.error_detail === "refresh token already used") counts.reuses++;
  });
  provider.on("server_error", (_, error) => console.error("The provider stumbled:", error));
}

function doors(provider: Provider, desk: TokenDesk) {
  const token = tokenMiddleware(desk);
  return async (context: Context, next: () => Promise<void>): Promise<void> => {
    const { path, method } = context;
    if (path === "/token" && method === "POST") return await token(context, next);
    if (path === "/api" || path.startsWith("/api/")) {
      return await answerApi(context, (value) => provider.AccessToken.find(value), desk.counts);
    }
    if (path.startsWith("/interaction/")) return await decide(provider, context);
    if (path === "/token/revocation") desk.counts.revocations++;
    if (path === "/me") desk.counts.userinfos++;
    await next();
  };
}

/** Signs in whom `login_hint` names and grants all that is asked, or denies it. */
async function decide(provider: Provider, context: Context): Promise<void> {
  const { req, res } = context;
  const interaction = await provider.interactionDetails(req, res);
  const finish = async (result: Record<string, unknown>) =>
    context.redirect(await provider.interactionResult(req, res, result));
  if (new URLSearchParams(context.querystring).has("deny")) {
    return await finish({ error: "access_denied", error_description: "The person said no" });
  }
  const { prompt, params, session } = interaction;
  if (prompt.name === "login") {
    const hint = params["login_hint"];
    return await finish({ login: { accountId: typeof hint === "string" ? hint : "alice" } });
  }
  if (session === undefined) throw new Error("consent was asked of nobody");
  const known = interaction.grantId ? await provider.Grant.find(interaction.grantId) : undefined;
  const grant = known ?? new provider.Grant({
    accountId: session.accountId,
    clientId: String(params["client_id"]),
  });
  const { missingOIDCScope, missingOIDCClaims } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(" "));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  await finish({ consent: { grantId: await grant.save() } });
}
