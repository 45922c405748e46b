/** What the catalogue knows about a provider, and the little ways in which each differs from RFC 6749. */

import { z } from "zod";

const HttpsUrl = z.url({ protocol: /^https$/ });
/** Scheme and host alone, as `URL.origin` writes them. */
const HttpsOrigin = HttpsUrl.refine((url) => new URL(url).origin === url, "Give the origin alone");

/**
 * Where a call carries the token, when that is not `Authorization: Bearer`:
 * `header` sends `name: prefix + token`; `path` puts `prefix + token` before the path that is asked
 * for; `basic` is HTTP Basic (RFC 7617) with the token as password and, as user name, `username`
 * or, when that is null, the credential's client id.
 */
export const TokenHeader = z.discriminatedUnion("in", [
  z.strictObject({ in: z.literal("header"), name: z.string().min(1), prefix: z.string() }),
  z.strictObject({ in: z.literal("path"), prefix: z.string().startsWith("/") }),
  z.strictObject({ in: z.literal("basic"), username: z.string().min(1).nullable() }),
]);
export type TokenHeader = z.infer<typeof TokenHeader>;

export const Quirks = z.strictObject({
  /** Added to the authorization request as they stand. */
  authorizationParams: z.record(z.string(), z.string()),
  /** How the client shows its secret at the token endpoint (RFC 6749, 2.3.1). */
  tokenAuthMethod: z.enum(["client_secret_basic", "client_secret_post"]),
  /** A refresh may answer a new refresh token, which must replace the old one. */
  rotatesRefreshToken: z.boolean(),
  /** Days after which an unused refresh token is dead; null: no such limit is documented. */
  refreshTokenLifetimeDays: z.number().int().positive().nullable(),
  /** Assumed when a token answer has no `expires_in`; null: such a token does not expire. */
  accessTokenLifetimeSeconds: z.number().int().positive().nullable(),
  pkce: z.enum(["S256", "none"]),
  /** Between scopes in the authorization request; a comma is not RFC 6749 but is what some want. */
  scopeSeparator: z.enum([" ", ","]),
  /** Without these the connection breaks later, so connecting adds them to whatever is asked for. */
  requiredScopes: z.array(z.string().min(1)),
  /** `token_type`s beyond `bearer` that this provider answers and that are used like it. */
  tokenTypes: z.array(z.string().regex(/^[a-z_]+$/)),
  /** JSON pointer (RFC 6901) to the account's stable id in the answer of `userinfoUrl`. */
  accountId: z.string().startsWith("/").nullable(),
  tokenHeader: TokenHeader.nullable(),
  /** What a person connecting this provider has to know. */
  notes: z.array(z.string().min(1)),
});
export type Quirks = z.infer<typeof Quirks>;

export const Provider = z.strictObject({
  name: z.string().min(1).max(100),
  description: z.string().min(1),
  serviceType: z.enum(["email", "chat", "sms", "call"]),
  authKind: z.enum(["oauth2", "bot_token", "api_key", "basic"]),
  authUrl: HttpsUrl.nullable(),
  tokenUrl: HttpsUrl.nullable(),
  /** Only when it follows RFC 7009; other ways to revoke are in the notes. */
  revocationUrl: HttpsUrl.nullable(),
  /** Answers a GET carrying the token with who it belongs to. */
  userinfoUrl: HttpsUrl.nullable(),
  /** The only origins a token of this provider is ever sent to by the proxy; the first is usual. */
  apiHosts: z.array(HttpsOrigin).min(1),
  defaultScopes: z.array(z.string().min(1)),
  documentationUrl: HttpsUrl,
  metadata: z.record(z.string(), z.unknown()),
  quirks: Quirks,
});
export type Provider = z.infer<typeof Provider>;
