/** What tests may do to the token endpoint: count, delay, hold, fail and drop its answers. */
import type { IncomingMessage } from "node:http";
import type { Context } from "./oidc_boundary.ts";
import { readAll } from "./oidc_resources.ts";
import { pause } from "./processes.ts";

export interface TokenRequest {
  readonly grantType: string;
  readonly params: URLSearchParams;
}

export type ClientAuth = "client_secret_basic" | "client_secret_post";

export interface TokenFailure {
  /**
   * An HTTP status, or the connection closed without an answer. Deno's own `fetch` repeats a POST
   * once, unasked, when a reused connection is closed so: the caller sees the second answer.
   */
  kind: 500 | 503 | "drop";
  /** "before" the provider did anything (default), or "after" it issued and rotated. */
  when?: "before" | "after";
  /** Only requests of this grant type; all when left out. */
  grantType?: "authorization_code" | "refresh_token";
}

export interface Settings {
  /** Whether a refresh hands out a new refresh token and retires the old one. */
  rotate: boolean;
  /** Who gets a refresh token: everybody, or who asked for `offline_access` with consent. */
  refreshTokens: "always" | "offline_access";
  accessTokenSeconds: number;
  /** How long the token endpoint waits between its work and its answer. */
  tokenDelayMs: number;
  /** Awaited before the provider looks at a token request. */
  beforeToken: ((request: TokenRequest) => Promise<void> | void) | undefined;
  /** Awaited after the provider issued and rotated, before its answer is sent. */
  afterToken: ((request: TokenRequest) => Promise<void> | void) | undefined;
  /** What is said of an account beyond or instead of the usual; undefined takes a claim away. */
  claims: ((account: string) => Record<string, unknown>) | undefined;
}

export interface Counts {
  /** Successful exchanges of a code. */
  codeExchanges: number;
  /** Refresh requests that arrived, whatever became of them. */
  refreshRequests: number;
  refreshesInFlight: number;
  maxRefreshesInFlight: number;
  refreshSuccesses: number;
  /** Retired refresh tokens that were presented again; each revokes its whole grant. */
  reuses: number;
  revokedGrants: number;
  /** Requests of the revocation endpoint. */
  revocations: number;
  userinfos: number;
  apiRequests: number;
  apiRefusals: number;
}

export const noCounts = (): Counts => ({
  codeExchanges: 0,
  refreshRequests: 0,
  refreshesInFlight: 0,
  maxRefreshesInFlight: 0,
  refreshSuccesses: 0,
  reuses: 0,
  revokedGrants: 0,
  revocations: 0,
  userinfos: 0,
  apiRequests: 0,
  apiRefusals: 0,
});

export interface TokenDesk {
  settings: Settings;
  counts: Counts;
  failures: TokenFailure[];
  /** By client id; `oidc-provider` takes a secret either way, real providers often one way. */
  onlyAuth: Map<string, ClientAuth | undefined>;
  stopping: AbortSignal;
}

/**
 * The provider's work is done one request at a time, as a provider with a transactional database
 * does it: two refreshes at once with one token must not both find it fresh.
 */
export function tokenMiddleware(desk: TokenDesk) {
  let turn: Promise<void> = Promise.resolve();
  return async (context: Context, next: () => Promise<void>): Promise<void> => {
    const raw = await readAll(context.req);
    replay(context.req, raw);
    const params = new URLSearchParams(raw.toString("utf8"));
    const request: TokenRequest = { grantType: params.get("grant_type") ?? "", params };
    const leave = enter(desk.counts, request);
    try {
      await desk.settings.beforeToken?.(request);
      if (failed(context, takeFailure(desk, request, "before"))) return;
      if (provesItselfWrongly(context, desk, params)) return;
      const work = turn.then(next);
      turn = work.catch(() => {});
      await work;
      if (context.status === 200) countSuccess(desk.counts, request);
      await desk.settings.afterToken?.(request);
      await pause(desk.settings.tokenDelayMs, desk.stopping);
      failed(context, takeFailure(desk, request, "after"));
    } finally {
      leave();
    }
  };
}

function enter(counts: Counts, { grantType }: TokenRequest): () => void {
  if (grantType !== "refresh_token") return () => {};
  counts.refreshRequests++;
  counts.refreshesInFlight++;
  counts.maxRefreshesInFlight = Math.max(counts.maxRefreshesInFlight, counts.refreshesInFlight);
  return () => counts.refreshesInFlight--;
}

function countSuccess(counts: Counts, { grantType }: TokenRequest): void {
  if (grantType === "refresh_token") counts.refreshSuccesses++;
  if (grantType === "authorization_code") counts.codeExchanges++;
}

function provesItselfWrongly(
  context: Context,
  { onlyAuth }: TokenDesk,
  params: URLSearchParams,
): boolean {
  const credentials = /^Basic (.+)$/i.exec(context.get("authorization"))?.[1];
  const used: ClientAuth = credentials ? "client_secret_basic" : "client_secret_post";
  const clientId = credentials
    ? decodeURIComponent(atob(credentials).split(":")[0] ?? "")
    : params.get("client_id") ?? "";
  if ((onlyAuth.get(clientId) ?? used) === used) return false;
  context.status = 401;
  context.body = { error: "invalid_client", error_description: `${used} is not taken` };
  return true;
}

function takeFailure(
  { failures }: TokenDesk,
  { grantType }: TokenRequest,
  when: "before" | "after",
): TokenFailure | undefined {
  const at = failures.findIndex((failure) =>
    (failure.when ?? "before") === when && (failure.grantType ?? grantType) === grantType
  );
  return at < 0 ? undefined : failures.splice(at, 1)[0];
}

function failed(context: Context, failure: TokenFailure | undefined): boolean {
  if (!failure) return false;
  if (failure.kind === "drop") {
    context.respond = false;
    context.req.socket.destroy();
    return true;
  }
  context.status = failure.kind;
  context.body = failure.kind === 503 ? "Service Unavailable" : "Internal Server Error";
  return true;
}

/** Lets the provider read a body that we have read already, through the one door it uses. */
function replay(request: IncomingMessage, body: Uint8Array): void {
  Object.defineProperties(request, {
    readable: { value: true },
    iterator: {
      value: async function* () {
        yield await Promise.resolve(body);
      },
    },
  });
}
