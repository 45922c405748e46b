/** Where identity providers send people back to: keeps the code, and sends the browser on to the client. */
import type { Env, Hono } from "hono";
import { callback } from "../src/identity/sso.ts";
import { type Landing, landingItem, mountLanding } from "./landings.ts";
import type { CtxHost } from "./proxy.ts";

const landing: Landing = {
  path: "/api/v1/auth/sso/callback",
  limit: { name: "sso_callback", max: 60, windowSeconds: 60 },
  sentences: {
    kept: "You are recognised. You can close this window.",
    refused: "You were not signed in. You can close this window.",
    invalid: "This link does not work, or not any more. Start signing in again.",
  },
  keep: callback,
};

export const mountSsoCallback = <E extends Env>(app: Hono<E>, host: CtxHost<E>): void =>
  mountLanding(app, host, landing);

export const pathItems = landingItem(landing, {
  operationId: "identity.sso.callback",
  tag: "identity",
  summary: "Where an identity provider sends a person back to",
  description: "Keeps the code for whoever started. It signs nobody in by itself.",
  starter: "sso.start",
  responses: {
    303: { description: "Kept; the browser goes on to `return_to`, which learns the flow's id." },
  },
});
