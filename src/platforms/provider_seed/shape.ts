/** What the catalogue knows about a provider, and how each differs from the standard (RFC 6749). */

import { z } from "zod";
import { Quirks } from "../quirks.ts";

const HttpsUrl = z.url({ protocol: /^https$/ });
/** Scheme and host alone, as `URL.origin` writes them. */
const HttpsOrigin = HttpsUrl.refine((url) => new URL(url).origin === url, "Give the origin alone");

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
