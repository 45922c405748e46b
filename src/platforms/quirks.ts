/** The little ways in which a provider differs from RFC 6749, so that connecting works the first time. */
import { z } from "zod";

const word = z.string().max(500);

/**
 * Where a call carries the token, when that is not `Authorization: Bearer`:
 * `header` sends `name: prefix + token`; `path` puts `prefix + token` before the path that is asked
 * for; `basic` is HTTP Basic (RFC 7617) with the token as password and, as user name, `username`
 * or, when that is null, the credential's client id.
 */
export const TokenHeader = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("header"), name: z.string().min(1).max(64), prefix: word }),
  z.strictObject({ kind: z.literal("path"), prefix: word.startsWith("/") }),
  z.strictObject({ kind: z.literal("basic"), username: word.min(1).nullable() }),
]);
export type TokenHeader = z.infer<typeof TokenHeader>;

export const Quirks = z.strictObject({
  /** Added to the authorization request as they stand. */
  authorizationParams: z.record(z.string().max(64), word),
  /** How the client shows its secret at the token endpoint (RFC 6749, 2.3.1). */
  tokenAuthMethod: z.enum(["client_secret_basic", "client_secret_post"]),
  /** A refresh may answer a new refresh token, which must replace the old one. */
  rotatesRefreshToken: z.boolean(),
  /** Days after which an unused refresh token is dead; null: no such limit is documented. */
  refreshTokenLifetimeDays: z.int().positive().max(315_360_000).nullable(),
  /** Assumed when a token answer has no `expires_in`; null: such a token does not expire. */
  accessTokenLifetimeSeconds: z.int().positive().max(315_360_000).nullable(),
  pkce: z.enum(["S256", "none"]),
  /** Between scopes in the authorization request; a comma is not RFC 6749 but is what some want. */
  scopeSeparator: z.enum([" ", ","]),
  /** Without these the connection breaks later, so connecting adds them to what is asked for. */
  requiredScopes: z.array(word.min(1)).max(20),
  /** `token_type`s beyond `bearer` that this provider answers and that are used like it. */
  tokenTypes: z.array(z.string().regex(/^[a-z_]{1,32}$/)).max(5),
  /** JSON pointer (RFC 6901) to the account's stable id in the answer of `userinfoUrl`. */
  accountId: word.startsWith("/").nullable(),
  tokenHeader: TokenHeader.nullable(),
  /** What a person connecting this provider has to know. */
  notes: z.array(z.string().min(1).max(1000)).max(20),
});
export type Quirks = z.infer<typeof Quirks>;

/** What holds where the catalogue says nothing. */
export const usual: Quirks = {
  authorizationParams: {},
  tokenAuthMethod: "client_secret_basic",
  rotatesRefreshToken: false,
  refreshTokenLifetimeDays: null,
  accessTokenLifetimeSeconds: null,
  pkce: "S256",
  scopeSeparator: " ",
  requiredScopes: [],
  tokenTypes: [],
  accountId: null,
  tokenHeader: null,
  notes: [],
};

/** A platform's own quirks over the usual ones. */
export const quirksOf = (own: unknown): Quirks => Quirks.parse({ ...usual, ...Object(own) });
