/** Where providers send people back to: keeps the code and says that the window can be closed. */
import type { Env, Hono } from "hono";
import { callback } from "../src/platforms/connections.ts";
import { type Landing, landingItem, mountLanding } from "./landings.ts";
import type { CtxHost } from "./proxy.ts";

const landing: Landing = {
  path: "/api/v1/oauth/callback",
  limit: { name: "oauth_callback", max: 60, windowSeconds: 60 },
  sentences: {
    kept: "You can close this window.",
    refused: "The account was not connected. You can close this window.",
    invalid: "This link does not work, or not any more. Start connecting again.",
  },
  keep: async (ctx, returned) => {
    const word = await callback(ctx, returned);
    return word && { word, goOnTo: null };
  },
};

export const mountOauthCallback = <E extends Env>(app: Hono<E>, host: CtxHost<E>): void =>
  mountLanding(app, host, landing);

export const pathItems = landingItem(landing, {
  operationId: "platforms.connections.callback",
  tag: "platforms",
  summary: "Where a provider sends a person back to",
  description: "Keeps the code for the person who started. It connects nothing by itself.",
  starter: "connections.start",
});
