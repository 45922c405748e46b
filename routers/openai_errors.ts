/** How a failure leaves the gateway: in OpenAI's shape, with the headers its clients act on. */
import { type FaultCode, faults } from "../src/errors.ts";
import { limitHeaders } from "../src/limits/headers.ts";
import { isObject } from "../src/objects.ts";
import { type Quota, QuotaExceeded } from "../src/teams/admission.ts";
import { isTheirs, UpstreamFailed } from "../src/teams/gateway/upstream_calls.ts";
import { betweenUs, isUsedUp, saidBy } from "../src/teams/gateway/upstream_errors.ts";
import { RateExceeded } from "../src/teams/rates.ts";
import { faultOf, problemOf } from "./problems.ts";

type Kind = { type: string; code: string };

/** The types and codes OpenAI's own answers use, where there is one. */
const kinds: Partial<Record<FaultCode, Kind>> = {
  Unauthorized: { type: "invalid_request_error", code: "invalid_api_key" },
  Forbidden: { type: "permission_error", code: "forbidden" },
  ModelNotAllowed: { type: "invalid_request_error", code: "model_not_allowed" },
  SessionNotYours: { type: "permission_error", code: "session_not_yours" },
  NotFound: { type: "invalid_request_error", code: "not_found" },
  MethodNotAllowed: { type: "invalid_request_error", code: "method_not_allowed" },
  PayloadTooLarge: { type: "invalid_request_error", code: "request_too_large" },
  QuotaExceeded: { type: "insufficient_quota", code: "insufficient_quota" },
  RateLimited: { type: "requests", code: "rate_limit_exceeded" },
  Conflict: { type: "invalid_request_error", code: "conflict" },
};
const server = { type: "server_error" };

export type OpenAiError = {
  error: { message: string; type: string; param: string | null; code: string };
};

/** Clients that ask again after every 429, whatever `x-should-retry` says. */
const isDeaf = (userAgent: string) => userAgent.includes("ai-sdk");

/**
 * Status, body and headers. `x-should-retry` is what OpenAI's clients obey: a quota that is used up is
 * over at midnight and not in a second. Clients that do not know it are told so with a 403.
 */
export function openAiErrorOf(
  error: unknown,
  requestId: string,
  userAgent = "",
): { status: number; body: OpenAiError; headers: Record<string, string> } {
  const { status: usual, body, headers } = problemOf(error, requestId);
  const fault = faultOf(error);
  const status = fault?.code === "QuotaExceeded" && isDeaf(userAgent) ? 403 : usual;
  const kind = (fault && kinds[fault.code]) ??
    (status < 500
      ? { type: "invalid_request_error", code: body.reason }
      : { ...server, code: body.reason });
  const mayHelp = status === 429 ? fault?.code === "RateLimited" : status === 409 || status >= 500;
  return {
    status,
    body: {
      error: {
        message: body.detail,
        type: kind.type,
        param: fault?.more.fields?.[0]?.field ?? null,
        code: kind.code,
      },
    },
    headers: {
      ...headers,
      ...tellsQuota(fault) ? quotaHeaders(fault.quota) : {},
      ...fault instanceof RateExceeded ? rateHeaders(fault) : {},
      "content-type": "application/json; charset=utf-8",
      "x-should-retry": String(mayHelp),
    },
  };
}

/** Whether it says itself what is left of the team's quotas. */
export const tellsQuota = (fault: unknown): fault is { quota: Quota } =>
  fault instanceof QuotaExceeded || (fault instanceof UpstreamFailed && fault.quota !== null);

const MOST_MOMENTS = 100;
/** Days and months end at few moments, each told again and again. */
const moments = new Map<number, string>();

function written(at: Date): string {
  const known = moments.get(at.getTime());
  if (known !== undefined) return known;
  const text = at.toISOString().replace(".000Z", "Z");
  if (moments.size >= MOST_MOMENTS) moments.clear();
  moments.set(at.getTime(), text);
  return text;
}

/** What is left of the team's quotas; nothing of one that has no end. */
export function quotaHeaders({ day, month }: Quota): Record<string, string> {
  return {
    ...day.limit !== null && {
      "x-quota-limit-day": String(day.limit),
      "x-quota-remaining-day": String(day.remaining),
      "x-quota-reset-day": written(day.endsAt),
    },
    ...month.limit !== null && {
      "x-quota-limit-month": String(month.limit),
      "x-quota-remaining-month": String(month.remaining),
      "x-quota-reset-month": written(month.endsAt),
    },
  };
}

/** The team's rate, as the house says it and as OpenAI does. */
export const rateHeaders = ({ judged }: Pick<RateExceeded, "judged">): Record<string, string> => ({
  ...limitHeaders([judged]),
  "x-ratelimit-limit-requests": String(judged.limit.max),
  "x-ratelimit-remaining-requests": String(judged.verdict.remaining),
  "x-ratelimit-reset-requests": `${judged.verdict.resetSeconds}s`,
});

type Refusal = { status: number; body: OpenAiError | null; mayHelp: boolean };

/**
 * What an upstream's own refusal becomes: what is between us and it is none of the client's business,
 * what is about the request goes on as it came, in OpenAI's shape at least. A null body is its own.
 */
export function upstreamRefusal(status: number, text: string): Refusal {
  const told = parsed(text);
  if (isTheirs(status)) {
    if (isObject(told) && isObject(told.error) && typeof told.error.message === "string") {
      return { status, body: null, mayHelp: false };
    }
    const message = saidBy(told) ?? "The model's provider refused the request";
    const type = "invalid_request_error";
    const error = { message, type, param: null, code: "upstream_refused" };
    return { status, body: { error }, mayHelp: false };
  }
  const { message, code, mayHelp, ...ours } =
    betweenUs(status === 429 && isUsedUp(told) ? 402 : status) ?? {
      status: 502,
      message: `${faults.ProviderError.title}: ${status}`,
      code: "upstream_error",
      mayHelp: status >= 500,
    };
  return { ...ours, body: { error: { message, ...server, param: null, code } }, mayHelp };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
