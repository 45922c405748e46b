/** The web application: one wall around every surface. Order: request id, limits, then the surface itself. */
import { sql } from "drizzle-orm";
import { type Context, Hono } from "hono";
import { mountChannelUpdates } from "../routers/channel_updates.ts";
import { openApi } from "../routers/about.ts";
import { KnownPaths } from "../routers/known_paths.ts";
import { mountDocs } from "../routers/docs.ts";
import { appRouter } from "../routers/mod.ts";
import { mountOauthCallback } from "../routers/oauth_callback.ts";
import { mountOpenAi } from "../routers/openai.ts";
import { mountProxy } from "../routers/proxy.ts";
import { failed, mountPage, mountRest, noSuchPath } from "../routers/rest.ts";
import { mountSsoCallback } from "../routers/sso_callback.ts";
import { swiftQueries } from "../routers/swift.ts";
import { mountTrpc } from "../routers/trpc_http.ts";
import { mountUsageCsv } from "../routers/usage_csv.ts";
import { principals } from "./access/principals.ts";
import { JWKS_SECONDS } from "./access/tokens.ts";
import type { Ctx, Services } from "./context.ts";
import { Fault } from "./errors.ts";
import { type Judged, limitHeaders } from "./limits/headers.ts";
import { told } from "./log.ts";

export const MAX_BODY_BYTES = 1024 * 1024;

const MAX_URL_LENGTH = 16 * 1024;
const urlTooLong = () =>
  new Fault("UriTooLong", "url.too_long", `Send at most ${MAX_URL_LENGTH} characters as address`);

export type AppOptions = {
  requestsPerMinute: number;
  tenantRequestsPerMinute: number;
  /** Behind a proxy of ours that sets X-Forwarded-For. */
  trustForwardedFor: boolean;
};

type Variables = { requestId: string; judged?: Judged[] };
type AppEnv = { Variables: Variables; Bindings: { remoteAddr?: Deno.Addr } };
type AppContext = Context<AppEnv>;

const requestIdOf = (c: AppContext) => c.get("requestId");

function addressOf(c: AppContext, trustForwardedFor: boolean): string {
  const forwarded = trustForwardedFor ? c.req.header("x-forwarded-for") : undefined;
  const last = forwarded?.split(",").at(-1)?.trim();
  const remote = c.env?.remoteAddr;
  return last || (remote && "hostname" in remote ? remote.hostname : "unknown");
}

/** Makes a request's ctx: who asks, how much they have asked lately. Throws RateLimited. */
function contextMaker(services: Services, options: AppOptions) {
  const { find } = principals(services);
  const perPrincipal = { name: "principal", max: options.requestsPerMinute, windowSeconds: 60 };
  const perTenant = { name: "tenant", max: options.tenantRequestsPerMinute, windowSeconds: 60 };
  return async (c: AppContext, calls = 1): Promise<Ctx> => {
    const header = (name: string) => c.req.header(name) ?? null;
    const askAddress = () => addressOf(c, options.trustForwardedFor);
    const [authorization, apiKey, at] = [
      header("authorization"),
      header("x-api-key"),
      services.now(),
    ];
    const again = () => find(authorization, apiKey, askAddress, at);
    const principal = await again();
    // Asked of the socket for strangers only: whoever is known is limited by who they are.
    const address = principal ? "" : askAddress();
    const asked = principal
      ? [
        { limit: perPrincipal, key: `${principal.actor.type}:${principal.actor.id}` },
        { limit: perTenant, key: principal.tenantId },
      ]
      : [{ limit: perPrincipal, key: `address:${address}` }];
    const judged: Judged[] = [];
    for (const { limit, key } of asked) {
      const verdict = services.limiter.take(limit, key, calls);
      judged.push({ limit, verdict });
      if (!verdict.allowed) break; // A noisy principal does not use up what its tenant has left.
    }
    c.set("judged", judged);
    const refused = judged.find(({ verdict }) => !verdict.allowed);
    if (refused) {
      throw new Fault("RateLimited", `${refused.limit.name}.rate`, "Too many requests: slow down", {
        retryAfterSeconds: refused.verdict.resetSeconds,
      });
    }
    return {
      ...services,
      requestId: requestIdOf(c),
      principal,
      isRefused: !principal && Boolean(authorization ?? apiKey),
      address,
      addressOf: askAddress,
      presented: () => {
        const bearer = /^Bearer (\S+)$/i.exec(authorization ?? "")?.[1];
        return bearer ? services.tokens.read(bearer, services.now()) : Promise.resolve(null);
      },
      again,
      userAgent: header("user-agent"),
      ifMatch: header("if-match"),
      idempotencyKey: header("idempotency-key"),
    };
  };
}

/** The whole service as one `fetch`. */
export function app(services: Services, options: AppOptions): Hono<AppEnv> {
  const hono = new Hono<AppEnv>({ router: new KnownPaths() });
  const context = contextMaker(services, options);
  const report = (error: unknown, c: AppContext) =>
    services.log("error", "a request failed", {
      requestId: requestIdOf(c),
      path: c.req.path,
      error: told(error),
    });
  const host = { context, requestId: requestIdOf, report, maxBodyBytes: MAX_BODY_BYTES };

  hono.use(async (c, next) => {
    const given = c.req.header("x-request-id");
    const requestId = given && /^[\w.-]{8,64}$/.test(given) ? given : crypto.randomUUID();
    c.set("requestId", requestId);
    const began = Date.now();
    if (c.req.url.length <= MAX_URL_LENGTH) await next();
    else c.res = failed(c, urlTooLong(), host);
    // A surface may know of a nearer limit.
    const limits = c.res.headers.has("RateLimit") ? {} : limitHeaders(c.get("judged") ?? []);
    for (const [name, value] of Object.entries(limits)) c.res.headers.set(name, value);
    c.res.headers.set("X-Request-Id", requestId);
    c.res.headers.set("X-Content-Type-Options", "nosniff");
    services.log("info", "request", {
      requestId,
      method: c.req.method,
      path: c.req.path.slice(0, 2048),
      status: c.res.status,
      ms: Date.now() - began,
    });
  });
  hono.onError((error, c) => failed(c, error, host));
  hono.notFound((c) => noSuchPath(c, host));

  mountPage(hono, "/health", (c) => c.json({ status: "ok" }), host);
  mountPage(hono, "/ready", (c) => ready(services, c), host);
  mountPage(hono, "/.well-known/jwks.json", (c) => {
    c.header("Cache-Control", `public, max-age=${JWKS_SECONDS}`);
    return c.json(services.tokens.jwks);
  }, host);
  mountTrpc(hono, appRouter, host);
  mountProxy(hono, host);
  mountUsageCsv(hono, host);
  mountOauthCallback(hono, host);
  mountSsoCallback(hono, host);
  mountRest(hono, appRouter, {
    ...host,
    context: async (c) => ({ held: await context(c) }),
    swift: swiftQueries(appRouter),
  });
  mountChannelUpdates(hono, services, host);
  mountOpenAi(hono, host);
  mountDocs(hono, () => openApi(services.publicUrl), host);
  return hono;
}

async function ready({ database, log }: Services, c: AppContext) {
  try {
    const [row] = await Promise.race([
      database.query(sql`select to_regclass('audit_entries_' ||
        to_char((now() at time zone 'UTC') + interval '1 month', 'YYYY_MM')) is not null as next_month`),
      new Promise<never>((_, refuse) =>
        Deno.unrefTimer(setTimeout(() => refuse(new Error("no answer within 2 s")), 2_000))
      ),
    ]);
    return c.json({ status: "ready", database: "up", partitions: row?.next_month === true });
  } catch (error) {
    log("warn", "not ready", { error: told(error) });
    return c.json({ status: "not ready", database: "down" }, 503);
  }
}
