/** Where providers send people back to: keeps the code and says that the window can be closed. */
import type { Context, Env, Hono } from "hono";
import type { Ctx } from "../src/context.ts";
import { Fault } from "../src/errors.ts";
import { callback } from "../src/platforms/connections.ts";
import type { CtxHost } from "./proxy.ts";
import { failed } from "./rest.ts";
import type { Json } from "./schemas.ts";

const PATH = "/api/v1/oauth/callback";
const limit = { name: "oauth_callback", max: 60, windowSeconds: 60 };

export function mountOauthCallback<E extends Env>(app: Hono<E>, host: CtxHost<E>): void {
  app.all(PATH, async (c) => {
    try {
      // A HEAD would use the state up: link scanners send them before the person arrives.
      if (c.req.raw.method !== "GET") {
        c.header("Allow", "GET");
        throw new Fault("MethodNotAllowed", "method.not_allowed", "This path takes GET");
      }
      const ctx = await host.context(c);
      requireFew(ctx);
      return await answer(c, ctx);
    } catch (error) {
      return failed(c, error, host);
    }
  });
}

function requireFew({ limiter, address }: Ctx) {
  const verdict = limiter.take(limit, address);
  if (verdict.allowed) return;
  throw new Fault("RateLimited", "oauth_callback.rate", "Too many requests: slow down", {
    retryAfterSeconds: verdict.resetSeconds,
  });
}

async function answer(c: Context, ctx: Ctx): Promise<Response> {
  const query = new URL(c.req.url).searchParams;
  const value = (name: string, most: number) => {
    const [first = null, ...others] = query.getAll(name);
    return others.length > 0 || (first?.length ?? 0) > most ? undefined : first;
  };
  const [state, code] = [value("state", 256), value("code", 4096)];
  const [error, issuer] = [value("error", 256), value("iss", 2048)];
  const isWhole = typeof state === "string" && code !== undefined && error !== undefined &&
    issuer !== undefined;
  const kept = isWhole ? await callback(ctx, { state, code, error, issuer }) : null;
  if (kept === null) return page(c, 400, "invalid", sentences.invalid);
  return page(c, 200, kept, sentences[kept]);
}

/** Nothing of the request is repeated, and a wrong, used and expired state read alike. */
const sentences = {
  kept: "You can close this window.",
  refused: "The account was not connected. You can close this window.",
  invalid: "This link does not work, or not any more. Start connecting again.",
};

function page(c: Context, status: 200 | 400, word: keyof typeof sentences, sentence: string) {
  c.header("Cache-Control", "no-store");
  c.header("Referrer-Policy", "no-referrer");
  c.header("X-Content-Type-Options", "nosniff");
  c.header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  c.header("Vary", "Accept", { append: true });
  if (/\bapplication\/json\b/.test(c.req.header("accept") ?? "")) {
    return c.json({ status: word, message: sentence }, status);
  }
  return c.html(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Switchboard</title>` +
      `<meta name="viewport" content="width=device-width">` +
      `<style>body{font:1.1rem/1.5 system-ui;margin:20vh auto;max-width:32rem;padding:0 1rem;` +
      `text-align:center}</style><p>${sentence}</p></html>\n`,
    status,
  );
}

const parameter = (name: string, description: string, maxLength: number): Json => ({
  name,
  in: "query",
  description,
  schema: { type: "string", maxLength, pattern: "^.*$" },
});
const content = (description: string): Json => ({
  description,
  content: {
    "text/html": { schema: { type: "string", maxLength: 4096, pattern: "^<!doctype html>" } },
    "application/json": {
      schema: {
        type: "object",
        properties: {
          status: { type: "string", enum: Object.keys(sentences) },
          message: { type: "string", maxLength: 200, pattern: "^.+$" },
        },
      },
    },
  },
});

/** For the OpenAPI document: a path that is no procedure. */
export const pathItems: Record<string, Json> = {
  [PATH]: {
    get: {
      operationId: "platforms.connections.callback",
      tags: ["platforms"],
      summary: "Where a provider sends a person back to",
      description: "Keeps the code for the person who started. It connects nothing by itself.",
      security: [{}],
      parameters: [
        { ...parameter("state", "What `connections.start` made.", 256), required: true },
        parameter("code", "The authorization code.", 4096),
        parameter("error", "Why there is none.", 256),
        parameter("iss", "Who answers (RFC 9207).", 2048),
      ],
      responses: {
        200: content("The code, or the provider's refusal, is kept."),
        400: content("The state is wrong, used or expired."),
        429: { $ref: "#/components/responses/TooManyRequests" },
        500: { $ref: "#/components/responses/InternalError" },
      },
    },
  },
};
