/**
 * Where a browser lands when a provider sends a person back: the answer is read strictly and kept,
 * and the page says nothing of it.
 */
import type { Context, Env, Hono } from "hono";
import type { Ctx } from "../src/context.ts";
import { Fault } from "../src/errors.ts";
import type { Limit } from "../src/limits/limiter.ts";
import type { CtxHost } from "./proxy.ts";
import { failed } from "./rest.ts";
import type { Json } from "./schemas.ts";

/** What a provider sends a browser back with. */
export type Returned = {
  state: string;
  code: string | null;
  error: string | null;
  issuer: string | null;
};

export type Landing = {
  path: string;
  limit: Limit;
  /** A wrong, used and expired state read alike. */
  sentences: Readonly<Record<"kept" | "refused" | "invalid", string>>;
  /** Keeps it. Null: the state is not one that works. A browser is sent on where `goOnTo` says. */
  keep(
    ctx: Ctx,
    returned: Returned,
  ): Promise<{ word: "kept" | "refused"; goOnTo: string | null } | null>;
};

export function mountLanding<E extends Env>(app: Hono<E>, host: CtxHost<E>, landing: Landing) {
  app.all(landing.path, async (c) => {
    try {
      // A HEAD would use the state up: link scanners send them before the person arrives.
      if (c.req.raw.method !== "GET") {
        c.header("Allow", "GET");
        throw new Fault("MethodNotAllowed", "method.not_allowed", "This path takes GET");
      }
      const ctx = await host.context(c);
      requireFew(ctx, landing.limit);
      return await answer(c, ctx, landing);
    } catch (error) {
      return failed(c, error, host);
    }
  });
}

function requireFew({ limiter, address }: Ctx, limit: Limit) {
  const verdict = limiter.take(limit, address);
  if (verdict.allowed) return;
  throw new Fault("RateLimited", `${limit.name}.rate`, "Too many requests: slow down", {
    retryAfterSeconds: verdict.resetSeconds,
  });
}

async function answer(c: Context, ctx: Ctx, landing: Landing): Promise<Response> {
  const returned = returnedIn(c.req.url);
  const landed = returned && await landing.keep(ctx, returned);
  c.header("Cache-Control", "no-store");
  c.header("Referrer-Policy", "no-referrer");
  if (!landed) return page(c, 400, "invalid", landing);
  return landed.goOnTo === null
    ? page(c, 200, landed.word, landing)
    : c.redirect(landed.goOnTo, 303);
}

/** Null for what is too long, twice there, or without a state. */
function returnedIn(url: string): Returned | null {
  const query = new URL(url).searchParams;
  const value = (name: string, most: number) => {
    const [first = null, ...others] = query.getAll(name);
    return others.length > 0 || (first?.length ?? 0) > most ? undefined : first;
  };
  const [state, code] = [value("state", 256), value("code", 4096)];
  const [error, issuer] = [value("error", 256), value("iss", 2048)];
  return typeof state === "string" && code !== undefined && error !== undefined &&
      issuer !== undefined
    ? { state, code, error, issuer }
    : null;
}

function page(
  c: Context,
  status: 200 | 400,
  word: keyof Landing["sentences"],
  { sentences }: Landing,
) {
  c.header("X-Content-Type-Options", "nosniff");
  c.header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  c.header("Vary", "Accept", { append: true });
  if (/\bapplication\/json\b/.test(c.req.header("accept") ?? "")) {
    return c.json({ status: word, message: sentences[word] }, status);
  }
  return c.html(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Switchboard</title>` +
      `<meta name="viewport" content="width=device-width">` +
      `<style>body{font:1.1rem/1.5 system-ui;margin:20vh auto;max-width:32rem;padding:0 1rem;` +
      `text-align:center}</style><p>${sentences[word]}</p></html>\n`,
    status,
  );
}

const parameter = (name: string, description: string, maxLength: number): Json => ({
  name,
  in: "query",
  description,
  schema: { type: "string", maxLength, pattern: "^.*$" },
});
const content = (description: string, words: string[]): Json => ({
  description,
  content: {
    "text/html": { schema: { type: "string", maxLength: 4096, pattern: "^<!doctype html>" } },
    "application/json": {
      schema: {
        type: "object",
        properties: {
          status: { type: "string", enum: words },
          message: { type: "string", maxLength: 200, pattern: "^.+$" },
        },
      },
    },
  },
});

export type About = {
  operationId: string;
  tag: string;
  summary: string;
  description: string;
  /** Which procedure made the state. */
  starter: string;
  /** What else it may answer, by its status. */
  responses?: Json;
};

/** For the OpenAPI document: a path that is no procedure. */
export const landingItem = ({ path, sentences }: Landing, about: About): Record<string, Json> => {
  const words = Object.keys(sentences);
  return {
    [path]: {
      get: {
        operationId: about.operationId,
        tags: [about.tag],
        summary: about.summary,
        description: about.description,
        security: [{}],
        parameters: [
          { ...parameter("state", `What \`${about.starter}\` made.`, 256), required: true },
          parameter("code", "The authorization code.", 4096),
          parameter("error", "Why there is none.", 256),
          parameter("iss", "Who answers (RFC 9207).", 2048),
        ],
        responses: {
          200: content("The code, or the provider's refusal, is kept.", words),
          ...about.responses,
          400: content("The state is wrong, used or expired.", words),
          429: { $ref: "#/components/responses/TooManyRequests" },
          500: { $ref: "#/components/responses/InternalError" },
        },
      },
    },
  };
};
