/** What is peculiar to a provider, so that connecting an account works the first time. */
import { z } from "zod";

const shortText = z.string().max(500);

/** Every field has the meaning RFC 6749 and RFC 7636 give its subject; absent means the usual. */
export const Quirks = z.strictObject({
  /** Sent along to the authorization endpoint: `access_type=offline`. */
  authorizationParams: z.record(z.string().max(64), shortText).default({}),
  tokenAuthMethod: z.enum(["client_secret_basic", "client_secret_post"])
    .default("client_secret_basic"),
  rotatesRefreshToken: z.boolean().default(false),
  refreshTokenLifetimeDays: z.number().positive().max(36_500).nullable().default(null),
  accessTokenLifetimeSeconds: z.number().positive().max(315_360_000).nullable().default(null),
  pkce: z.enum(["S256", "none"]).default("S256"),
  scopeSeparator: z.enum([" ", ","]).default(" "),
  /** Asked for whatever the caller asks, because nothing works without: `offline_access`. */
  requiredScopes: z.array(z.string().max(255)).max(20).default([]),
  /** How a key or bot token is presented; null is an OAuth bearer token. */
  tokenHeader: z.string().max(255).nullable().default(null),
  notes: z.array(shortText).max(20).default([]),
});
export type Quirks = z.infer<typeof Quirks>;
