/**
 * What providers answer at their token endpoints, brought into one shape. A token that was issued
 * may be the only copy of a grant, so whatever can be understood is not thrown away.
 */
import { Refused } from "../outbound.ts";
import { Secret } from "../secrets/secret.ts";
import type { Quirks } from "./quirks.ts";

/** Tokens as a provider granted them. */
export type Granted = {
  accessToken: Secret;
  /** Null: the provider gave none. */
  refreshToken: Secret | null;
  /** Null: it does not expire, as far as is known. */
  expiresAt: Date | null;
  /** Null: the provider did not say, so what was asked for was granted. */
  scopes: string[] | null;
};

/**
 * Why a provider gave no token. `grant`: the code or refresh token is dead; `client`: it does not
 * take the client id and secret; `busy`: nobody knows, it may work later; `refused`: it said no;
 * `unreadable`: it answered what makes no sense.
 */
export type FailureKind = "grant" | "client" | "busy" | "refused" | "unreadable";

/** Holds nothing of the answer but the provider's error word, for answers hold tokens. */
export class ProviderFailure extends Error {
  override name = "ProviderFailure";
  constructor(
    readonly kind: FailureKind,
    /** The provider's error word, or ours: `invalid_grant`, `timeout`. */
    readonly word: string,
    message: string,
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(message);
  }
}

const kinds: Readonly<Record<string, FailureKind>> = {
  invalid_grant: "grant",
  interaction_required: "grant", // Microsoft: a person has to sign in again.
  consent_required: "grant",
  login_required: "grant",
  bad_refresh_token: "grant", // GitHub.
  bad_verification_code: "grant",
  invalid_refresh_token: "grant", // Slack.
  token_revoked: "grant",
  token_expired: "grant",
  invalid_code: "grant", // Zoho.
  invalid_client: "client",
  unauthorized_client: "client",
  incorrect_client_credentials: "client",
  bad_client_secret: "client",
  temporarily_unavailable: "busy",
  server_error: "busy",
  slow_down: "busy",
};

const wordOf = (value: unknown) =>
  typeof value === "string" && /^[\w.:-]{1,64}$/.test(value) ? value : null;

const sentences: Readonly<Record<FailureKind, string>> = {
  grant: "The provider does not accept this grant any more",
  client: "The provider does not accept the client id and secret",
  busy: "The provider cannot answer now",
  refused: "The provider refused",
  unreadable: "The provider's answer could not be understood",
};

export const failure = (
  kind: FailureKind,
  word: string,
  retryAfterSeconds: number | null = null,
) => new ProviderFailure(kind, word, `${sentences[kind]} (${word})`, retryAfterSeconds);

function retryAfterOf(headers: Headers): number | null {
  const seconds = Number(headers.get("retry-after") ?? NaN);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(Math.ceil(seconds), 3600) : null;
}

type Body = Record<string, unknown>;

const isBody = (value: unknown): value is Body =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function jsonOf(text: string): Body | null {
  try {
    const value: unknown = JSON.parse(text);
    return isBody(value) ? value : null;
  } catch {
    return null;
  }
}

/** The failure a token answer amounts to, or null when it grants something. */
function failureOf({ status, headers }: Response, body: Body | null): ProviderFailure | null {
  const word = wordOf(body?.error);
  const isOk = status >= 200 && status < 300;
  // Some providers refuse with 200 and an error in the body.
  if (isOk && body && body.error === undefined && body.ok !== false) return null;
  const known = word === null ? undefined : kinds[word];
  const retryAfter = retryAfterOf(headers);
  if (known) return failure(known, word ?? "", retryAfter);
  if (status === 408 || status === 429 || status >= 500) {
    return failure("busy", word ?? `status_${status}`, retryAfter);
  }
  if (isOk && word === null) return failure("unreadable", "not_json");
  return failure(status === 401 ? "client" : "refused", word ?? `status_${status}`, retryAfter);
}

/** The scopes of an answer: RFC 6749 separates them by spaces, some providers by commas. */
export function scopesOf(value: unknown, separator: Quirks["scopeSeparator"]): string[] | null {
  if (typeof value !== "string" || value.trim() === "") return null;
  const words = value.split(separator === "," ? /[\s,]+/ : /\s+/);
  const fine = words.filter((word) => word !== "" && word.length <= 255);
  return [...new Set(fine)].slice(0, 100);
}

const LONGEST_SECONDS = 315_360_000;

function lifetimeOf(value: unknown): number | undefined {
  const seconds = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof seconds !== "number" || !Number.isFinite(seconds) || seconds <= 0) return undefined;
  return Math.min(Math.floor(seconds), LONGEST_SECONDS);
}

/**
 * The answer as RFC 6749 would have it, for oauth4webapi to read. Throws ProviderFailure when it
 * grants nothing. `withIdToken` keeps the ID token; a refresh has no use for it.
 */
export async function normalized(
  response: Response,
  quirks: Quirks,
  withIdToken: boolean,
): Promise<Response> {
  const body = jsonOf(await response.text());
  const failed = failureOf(response, body);
  if (failed) throw failed;
  if (typeof body?.access_token !== "string" || body.access_token === "") {
    throw failure("unreadable", "no_access_token");
  }
  const type = typeof body.token_type === "string" ? body.token_type.toLowerCase() : "bearer";
  const isLikeBearer = quirks.tokenTypes.some((known) => known === type);
  const { refresh_token: next, scope, id_token: idToken } = body;
  const seconds = lifetimeOf(body.expires_in) ?? quirks.accessTokenLifetimeSeconds;
  const plain = {
    access_token: body.access_token,
    token_type: isLikeBearer ? "bearer" : type,
    ...seconds === null ? {} : { expires_in: seconds },
    ...typeof next === "string" && next !== "" ? { refresh_token: next } : {},
    ...typeof scope === "string" ? { scope } : {},
    ...withIdToken && typeof idToken === "string" ? { id_token: idToken } : {},
  };
  return Response.json(plain, { status: 200 });
}

/** `expires_in` counts from when we asked: earlier than the truth rather than later. */
export function grantedOf(
  answer: Readonly<Record<string, unknown>> & { access_token: string },
  quirks: Quirks,
  askedAt: Date,
): Granted {
  const { refresh_token: next, expires_in: seconds } = answer;
  return {
    accessToken: new Secret(answer.access_token),
    refreshToken: typeof next === "string" ? new Secret(next) : null,
    expiresAt: typeof seconds === "number" ? new Date(askedAt.getTime() + seconds * 1000) : null,
    scopes: scopesOf(answer.scope, quirks.scopeSeparator),
  };
}

const misled = new Set(["address", "scheme", "credentials_in_url", "port", "private_address"]);

/** Whatever a call to a provider threw, as a ProviderFailure without anything secret. */
export function asFailure(error: unknown): ProviderFailure {
  if (error instanceof ProviderFailure) return error;
  if (error instanceof Refused) {
    if (misled.has(error.reason) || error.reason === "redirect") {
      return new ProviderFailure("refused", error.reason, error.message);
    }
    return new ProviderFailure("busy", error.reason, error.message);
  }
  if (error instanceof DOMException) return failure("busy", "timeout");
  const code = error instanceof Error && "code" in error ? wordOf(error.code) : null;
  return failure("unreadable", code ?? "unexpected");
}

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;

/** The id a JSON pointer (RFC 6901) names; without one, where most providers have it. */
export function idIn(body: Record<string, unknown>, pointer: string | null): string | null {
  const paths = pointer === null ? ["/sub", "/id", "/user_id"] : [pointer];
  for (const path of paths) {
    const names = path.split("/").slice(1)
      .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
    const id = names.reduce(memberOf, body);
    if (typeof id === "number" || (typeof id === "string" && id !== "")) {
      return String(id).slice(0, 255);
    }
  }
  return null;
}
