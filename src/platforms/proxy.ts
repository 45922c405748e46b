/**
 * The token proxy: a caller's request goes to the provider with the binding's token put in, so that
 * the caller never sees it. Only the hosts the catalogue names are reached.
 */
import { eq } from "drizzle-orm";
import type { Database } from "../../db/client.ts";
import { platforms } from "../../db/schema/platforms.ts";
import { BoundedMap } from "../bounded_map.ts";
import { read, type TenantCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { Refused } from "../outbound.ts";
import type { Secret } from "../secrets/secret.ts";
import { openAccessToken } from "./binding_rows.ts";
import { usable, use, type Used } from "./bindings.ts";
import { present } from "./provider_client.ts";
import { type Quirks, quirksOf } from "./quirks.ts";
import { refresh, type Timing, usual } from "./refresh.ts";

export const MAX_REQUEST_BYTES = 10 * 1024 * 1024;
const MAX_ANSWER_BYTES = 100 * 1024 * 1024;
const TIMEOUT_MS = 30_000;

export type Forward = {
  id: string;
  /** `graph.microsoft.com`, with the port where it is not the scheme's own. */
  host: string;
  method: string;
  /** As it came, percent-encoding and all, from the slash on. */
  path: string;
  /** With its question mark, or empty. */
  query: string;
  headers: Headers;
  body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
  signal: AbortSignal;
};

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** Sends the request on and answers what the provider answers, without what is not the caller's. */
export async function forward(
  ctx: TenantCtx,
  request: Forward,
  timing: Timing = usual,
): Promise<Response> {
  if (!methods.has(request.method)) {
    const message = `The proxy takes ${[...methods].join(", ")}`;
    throw new Fault("MethodNotAllowed", "proxy.method", message);
  }
  const { quirks, apiHosts } = await platformOf(ctx, request.id);
  const url = targetOf(apiHosts, request);
  const { method } = request;
  const data = { method, host: url.host, path: url.pathname.slice(0, 2048) };
  const used = await use(ctx, request.id, { action: "binding.proxied", data }, timing);
  const first = await send(ctx, url, request, used.token, quirks);
  if (first.response.status !== 401 || request.body instanceof ReadableStream) return answer(first);
  const token = await another(ctx, used, timing);
  if (!token) return answer(first);
  await first.response.body?.cancel();
  return answer(await send(ctx, url, request, token, quirks));
}

const platformOf = (ctx: TenantCtx, id: string) =>
  read(ctx, async (ctx) => {
    const { platformId } = await usable(ctx, id);
    const [row] = await ctx.db.select({ apiHosts: platforms.apiHosts, quirks: platforms.quirks })
      .from(platforms).where(eq(platforms.id, platformId));
    return { apiHosts: row?.apiHosts ?? [], quirks: quirksOf(row?.quirks) };
  });

/** The address on one of the platform's own origins; nothing in a path can lead to another. */
function targetOf(apiHosts: string[], { host, path, query }: Forward): URL {
  const origin = apiHosts.find((origin) => new URL(origin).host === host.toLowerCase());
  if (origin === undefined) {
    const known = apiHosts.map((origin) => new URL(origin).host).join(", ") || "none";
    const message = `This platform's token is not sent to that host; its hosts: ${known}`;
    throw new Fault("Forbidden", "proxy.host", message);
  }
  const url = new URL(origin + (path || "/") + query);
  if (url.origin !== origin) throw new Fault("Forbidden", "proxy.host", "The path leaves the host");
  return url;
}

/** RFC 9110, 7.6.1; what concerns us and not the provider; what would tell who the caller is. */
const notSent = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"],
  ...["upgrade", "proxy-authenticate", "proxy-authorization", "expect", "max-forwards"],
  ...["host", "content-length", "authorization", "cookie", "x-api-key", "via"],
  ...["forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip"],
  ...["origin", "referer", "x-request-id", "traceparent", "tracestate", "baggage"],
]);
const isNotSent = (name: string) => notSent.has(name) || /^(x-forwarded-|sec-)/.test(name);

/** Besides the connection's own: what would act on our origin instead of the provider's. */
const notAnswered = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"],
  ...["upgrade", "proxy-authenticate", "set-cookie", "set-cookie2", "content-length"],
  ...["strict-transport-security", "alt-svc", "clear-site-data", "service-worker-allowed"],
  ...["content-security-policy", "content-security-policy-report-only", "nel", "report-to"],
  ...["reporting-endpoints", "refresh", "x-content-type-options", "x-request-id", "ratelimit"],
  ...["ratelimit-policy"],
]);
const isNotAnswered = (name: string) => notAnswered.has(name) || name.startsWith("access-control-");

/** The names a Connection header declares to be the connection's own. */
const named = (headers: Headers) =>
  new Set((headers.get("connection") ?? "").toLowerCase().split(",").map((name) => name.trim()));

function copied(headers: Headers, isLeftOut: (name: string) => boolean): Headers {
  const local = named(headers);
  const kept = new Headers();
  for (const [name, value] of headers) {
    if (!local.has(name) && !isLeftOut(name)) kept.append(name, value);
  }
  return kept;
}

type Sent = { response: Response; token: Secret };

async function send(
  { outbound }: TenantCtx,
  url: URL,
  { method, headers: given, body, signal }: Forward,
  token: Secret,
  quirks: Quirks,
): Promise<Sent> {
  const headers = copied(given, isNotSent);
  present(headers, token, quirks);
  const limits = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_ANSWER_BYTES, passRedirects: true };
  try {
    const response = await outbound(url, { method, headers, body, signal, ...limits });
    return { response, token };
  } catch (error) {
    if (signal.aborted) throw new Fault("ProviderError", "proxy.aborted", "The caller went away");
    if (!(error instanceof Refused)) throw error;
    const reason = `proxy.${error.reason}`;
    if (error.reason === "timeout") throw new Fault("ProviderTimeout", reason, error.message);
    throw new Fault("ProviderError", reason, error.message);
  }
}

/** The provider's content stands on our origin, so a browser must not take it for ours. */
function answer({ response: { status, headers: given, body }, token }: Sent): Response {
  const headers = copied(given, isNotAnswered);
  const secret = token.reveal();
  for (const [name, value] of [...headers]) if (value.includes(secret)) headers.delete(name);
  headers.set("content-security-policy", "sandbox; default-src 'none'");
  headers.set("x-content-type-options", "nosniff");
  headers.set("cache-control", headers.get("cache-control") ?? "no-store");
  return new Response(body, { status, headers });
}

const forced = new WeakMap<Database, BoundedMap<number>>();
const AGAIN_MS = 60_000;

/**
 * Another token after the provider refused this one: refreshed at once, from the version that was
 * refused. Once a minute for a binding, for some providers answer 401 whatever the token.
 */
async function another(ctx: TenantCtx, { row }: Used, timing: Timing): Promise<Secret | null> {
  const key = `${ctx.tenantId}/${row.id}`;
  const lately = forced.get(ctx.database) ?? new BoundedMap<number>(10_000);
  forced.set(ctx.database, lately);
  const sinceMs = performance.now() - (lately.get(key) ?? -Infinity);
  if (row.refreshToken === null || sinceMs < AGAIN_MS) return null;
  lately.set(key, performance.now());
  const { id, tokenVersion } = row;
  try {
    await refresh(ctx, { id, tokenVersion, isGood: false }, timing);
    return await newer(ctx, row.id, tokenVersion);
  } catch (error) {
    if (error instanceof Fault) return null; // The provider's own 401 says it as well.
    throw error;
  }
}

/** The token of a later version. The call it serves is written down already. */
const newer = (ctx: TenantCtx, id: string, than: number) =>
  read(ctx, async (ctx) => {
    const { accessToken, tokenVersion } = await usable(ctx, id);
    if (accessToken === null || tokenVersion === than) return null;
    return await openAccessToken(ctx, id, accessToken);
  });
