/** What tests of single sign-on share: tenants whose people sign in at a real provider, and a browser. */
import assert from "node:assert/strict";
import { TRPCError } from "@trpc/server";
import { v7 } from "uuid";
import { Fault } from "../../src/errors.ts";
import { type OidcProvider, oidcProvider } from "../stand_ins/oidc_provider.ts";
import { elsewhere, type Ground, type Home, home, type Login } from "./house.ts";

export type SsoHome = Awaited<ReturnType<typeof ssoHome>>;
type Create = Parameters<ReturnType<Home["w"]["as"]>["identity"]["identityProviders"]["create"]>[0];

export const clientSecret = "a+secret/with:signs";
export const returnTo = "https://app.example/signed-in?from=sso";

/** A home with a provider beside it, whose accounts are of the domain `example.com` unless said. */
export async function ssoHome(ground?: Ground) {
  const h = await home(ground);
  const provider = await oidcProvider();
  const callback = `${h.w.env.PUBLIC_URL}/api/v1/auth/sso/callback`;

  /** Registers us with `at` and writes its identity provider down, as `owner`. */
  const providerFor = async (owner: Login, more: Partial<Create> = {}, at = provider) => {
    const clientId = crypto.randomUUID();
    at.addClient({ clientId, clientSecret, redirectUris: [callback] });
    return await h.w.as(owner).identity.identityProviders.create({
      name: `Provider ${clientId}`,
      issuer: at.issuer,
      clientId,
      clientSecret,
      scopes: ["email", "profile", "groups"],
      returnUris: [returnTo],
      ...more,
    });
  };

  /** A tenant with an owner, a domain of its own and a provider that links and creates users. */
  const house = async (more: Partial<Create> = {}) => {
    const tenantId = await h.tenantBelow();
    const owner = await h.login(tenantId, { role: "owner" });
    const domain = `d${v7()}.example`;
    await verifyDomain(tenantId, domain);
    const idp = await providerFor(owner, {
      createsUsers: true,
      linksUsers: true,
      systemRole: "member",
      ...more,
    });
    return { tenantId, owner, domain, idp };
  };

  const verifyDomain = (tenantId: string, domain: string) =>
    h.sql(
      "insert into domains (tenant_id, id, name, challenge, verified_at) values ($1, $2, $3, 'c', now())",
      [tenantId, v7(), domain],
    );

  const close = async () => {
    await provider.stop();
    await h.w.close();
  };
  const parts = { provider, callback, providerFor, house, verifyDomain };
  return { ...h, ...parts, ...ways(h, provider), close };
}

/** What clients, and browsers on their way, do. */
function ways(h: Home, provider: OidcProvider) {
  const start = (input: Record<string, unknown>) =>
    h.send("/auth/sso/start", input, { address: elsewhere() });
  const complete = (input: Record<string, unknown>) =>
    h.send("/auth/sso/complete", input, { address: elsewhere() });

  /** A browser that comes back. Redirects are not followed. */
  const land = async (url: string | URL, init: RequestInit = {}) => {
    const { pathname, search } = new URL(url);
    const request = new Request(`${h.w.env.PUBLIC_URL}${pathname}${search}`, init);
    const remoteAddr = { transport: "tcp" as const, hostname: elsewhere(), port: 4_711 };
    const response = await h.w.hono.fetch(request, { remoteAddr });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };

  /** Starts and goes to the provider; answers where it sends the browser back to. */
  const visit = async (input: Record<string, unknown>, account: string, at = provider) => {
    const started = await start(input);
    assert.equal(started.status, 201, JSON.stringify(started.body));
    const { id, secret, authorization_url: url } = started.body;
    const back = await at.authorize(String(url), { account });
    return { id: String(id), secret: String(secret), url: new URL(String(url)), back };
  };

  /** The whole way, and what `complete` answers. */
  const signIn = async (identityProviderId: string, account: string, at = provider) => {
    const { id, secret, back } = await visit(
      { identity_provider_id: identityProviderId },
      account,
      at,
    );
    const landed = await land(back);
    assert.equal(landed.status, 200, landed.text);
    return await complete({ id, secret });
  };

  const me = (tokens: Record<string, unknown>) =>
    h.send("/auth/me", null, {
      method: "GET",
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });

  return { start, complete, land, visit, signIn, me };
}

/** What the provider says of accounts, by name; the domain is the tenant's. */
export const claimed = (
  provider: OidcProvider,
  claims: Record<string, Record<string, unknown>>,
) => {
  provider.settings.claims = (account) => claims[account] ?? {};
};

/** The Fault a promise rejects with. */
export async function refusal(work: Promise<unknown>): Promise<Fault> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Fault) return error;
    if (error instanceof TRPCError && error.cause instanceof Fault) return error.cause;
    throw error;
  }
  throw new Error("It was not refused");
}
