/** What several providers have in common: an authorization server, or a way to present a key. */

import { type Quirks, type TokenHeader, usual } from "../quirks.ts";

/** The usual, with what most providers do and RFC 6749 leaves open; then what is given. */
export const quirks = (its: Partial<Quirks> = {}): Quirks => ({
  ...usual,
  tokenAuthMethod: "client_secret_post",
  pkce: "none",
  ...its,
});

/** Google's authorization server, the same for each of its products. */
export const google = {
  authUrl: "https://accounts.google.com/o/oauth2/v2/auth",
  tokenUrl: "https://oauth2.googleapis.com/token",
  revocationUrl: "https://oauth2.googleapis.com/revoke",
  userinfoUrl: "https://openidconnect.googleapis.com/v1/userinfo",
  quirks: quirks({
    authorizationParams: { access_type: "offline", prompt: "consent" },
    refreshTokenLifetimeDays: 180,
    accessTokenLifetimeSeconds: 3600,
    pkce: "S256",
    requiredScopes: ["openid"],
    accountId: "/sub",
    notes: [
      "Without access_type=offline and prompt=consent a second sign-in has no refresh token.",
      "While the app's publishing status is Testing, refresh tokens die after 7 days.",
    ],
  }),
};

/** Microsoft's identity platform for work, school and personal accounts. */
export const microsoft = {
  authUrl: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
  tokenUrl: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
  revocationUrl: null,
  userinfoUrl: "https://graph.microsoft.com/v1.0/me",
  apiHosts: ["https://graph.microsoft.com"],
  quirks: quirks({
    rotatesRefreshToken: true,
    refreshTokenLifetimeDays: 90,
    accessTokenLifetimeSeconds: 3600,
    pkce: "S256",
    requiredScopes: ["offline_access", "https://graph.microsoft.com/User.Read"],
    accountId: "/id",
    notes: [
      "Without offline_access there is no refresh token.",
      "The service's tenant_id, a directory of one's own, takes the place of `common` in both " +
      "addresses; an app known in that directory alone needs it.",
    ],
  }),
};

/** Facebook Login, for WhatsApp and Messenger; a version of the Graph API lives two years. */
export const meta = {
  authUrl: "https://www.facebook.com/v24.0/dialog/oauth",
  tokenUrl: "https://graph.facebook.com/v24.0/oauth/access_token",
  revocationUrl: null,
  userinfoUrl: "https://graph.facebook.com/v24.0/me",
  apiHosts: ["https://graph.facebook.com"],
  quirks: quirks({
    scopeSeparator: ",",
    accountId: "/id",
    notes: [
      "There are no refresh tokens: exchange a short token for a 60-day one with the grant " +
      "fb_exchange_token, and connect again before it ends.",
      "Revoke with DELETE /me/permissions.",
    ],
  }),
};

/** A provider whose calls carry a key of the tenant's own: no authorization server at all. */
export const keyed = { authUrl: null, tokenUrl: null, revocationUrl: null, defaultScopes: [] };

export const header = (name: string, prefix = ""): TokenHeader => ({
  kind: "header",
  name,
  prefix,
});
export const bearer = header("Authorization", "Bearer ");
export const basic = (username: string | null = null): TokenHeader => ({ kind: "basic", username });
