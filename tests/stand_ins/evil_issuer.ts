/**
 * An OpenID issuer that says what a test wants it to: keys of its own, discovery, and a token
 * endpoint that asks for no proof and lies. Left alone it is honest.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import { readAll } from "./oidc_resources.ts";

/** What the client asked for in the flow whose code it now brings. */
export type Asked = { nonce: string; clientId: string; state: string };
type Claims = Record<string, unknown>;
type Key = Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];
export type Lies = {
  /** Replaces members of the metadata; undefined takes one away. */
  metadata?: Claims;
  /** Replaces or takes away claims of the ID token that is honest otherwise. */
  claims?: (asked: Asked) => Claims;
  header?: Claims;
  /** The whole ID token, instead of one made of `claims` and `header`. */
  idToken?: (asked: Asked, honest: string) => Promise<string | undefined> | string | undefined;
  /** The whole token answer. */
  answer?: (response: ServerResponse, honest: string) => void;
  /** What the browser comes back with, besides state. */
  back?: (code: string) => Record<string, string>;
  keys?: Claims[];
};

export interface EvilIssuer extends AsyncDisposable {
  readonly issuer: string;
  readonly kid: string;
  readonly privateKey: Key;
  readonly publicJwk: JWK;
  /** Change at will; the next request sees it. */
  lies: Lies;
  /** Goes where a client sends a browser; answers where it comes back to. */
  authorize(authorizationUrl: string | URL): Promise<URL>;
  sign(claims: Claims, header?: Claims, key?: Key): Promise<string>;
}

const withoutUndefined = (claims: Claims): Claims =>
  Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));

function json(response: ServerResponse, body: unknown) {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(body));
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no port was given");
  return `http://127.0.0.1:${address.port}`;
}

/** What the issuer answers at its four addresses. `sub` is who it says everybody is. */
function answering(evil: EvilIssuer, sub: string) {
  const { issuer } = evil;
  const asked = new Map<string, Asked>();

  async function idTokenFor(of: Asked): Promise<string> {
    const iat = Math.floor(Date.now() / 1000);
    const honest = { iss: issuer, aud: of.clientId, sub, iat, exp: iat + 300, nonce: of.nonce };
    return await evil.sign({ ...honest, ...evil.lies.claims?.(of) }, evil.lies.header);
  }

  async function token(request: IncomingMessage, response: ServerResponse) {
    const params = new URLSearchParams((await readAll(request)).toString("utf8"));
    const of = asked.get(params.get("code") ?? "") ?? { nonce: "", clientId: "", state: "" };
    const honest = await idTokenFor(of);
    if (evil.lies.answer) return evil.lies.answer(response, honest);
    const idToken = evil.lies.idToken ? await evil.lies.idToken(of, honest) : honest;
    const more = idToken === undefined ? {} : { id_token: idToken };
    json(response, { access_token: crypto.randomUUID(), token_type: "Bearer", ...more });
  }

  function authorization(url: URL, response: ServerResponse) {
    const value = (name: string) => url.searchParams.get(name) ?? "";
    const [code, state] = [crypto.randomUUID(), value("state")];
    asked.set(code, { nonce: value("nonce"), clientId: value("client_id"), state });
    const back = new URL(value("redirect_uri"));
    const more = evil.lies.back?.(code) ?? { code, iss: issuer };
    back.search = new URLSearchParams({ state, ...more }).toString();
    response.writeHead(303, { location: back.href }).end();
  }

  return async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? "/", issuer);
    if (url.pathname === "/token") return await token(request, response);
    if (url.pathname === "/auth") return authorization(url, response);
    if (url.pathname === "/jwks") {
      return json(response, { keys: evil.lies.keys ?? [evil.publicJwk] });
    }
    json(response, {
      issuer,
      authorization_endpoint: `${issuer}/auth`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`,
      response_types_supported: ["code"],
      id_token_signing_alg_values_supported: ["ES256", "RS256", "HS256", "none"],
      authorization_response_iss_parameter_supported: true,
      ...evil.lies.metadata,
    });
  };
}

export async function evilIssuer(sub = "mallory"): Promise<EvilIssuer> {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  const kid = "evil";
  const server = createServer();
  const issuer = await listening(server);
  const evil: EvilIssuer = {
    issuer,
    kid,
    privateKey,
    publicJwk: { ...await exportJWK(publicKey), kid, alg: "ES256", use: "sig" },
    lies: {},
    authorize: async (authorizationUrl) => {
      const response = await fetch(authorizationUrl, { redirect: "manual" });
      await response.body?.cancel();
      return new URL(response.headers.get("location") ?? "", issuer);
    },
    sign: (claims, header = {}, key = privateKey) =>
      new SignJWT(withoutUndefined(claims)).setProtectedHeader({ alg: "ES256", kid, ...header })
        .sign(key),
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
  const answer = answering(evil, sub);
  server.on("request", (request, response) => {
    answer(request, response).catch((error) => response.destroy(error));
  });
  return evil;
}
