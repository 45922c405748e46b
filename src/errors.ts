/** The failures a caller can act on. Anything else that is thrown is a bug and answers 500. */

/**
 * Every failure code with its HTTP status and the tRPC code it travels under. The documents' names
 * (PlatformNotFound, ValidationError, …) stand without "Error" where they are ours to spell.
 */
export const faults = {
  ValidationError: { status: 400, trpc: "BAD_REQUEST", title: "The input is not as it should be" },
  InvalidPlatformType: { status: 400, trpc: "BAD_REQUEST", title: "Unknown service type" },
  InvalidPlatformConfig: { status: 400, trpc: "BAD_REQUEST", title: "The config cannot work" },
  CredentialValidation: { status: 400, trpc: "BAD_REQUEST", title: "The credential cannot work" },
  Unauthorized: { status: 401, trpc: "UNAUTHORIZED", title: "Sign in first" },
  Forbidden: { status: 403, trpc: "FORBIDDEN", title: "Not permitted" },
  NotFound: { status: 404, trpc: "NOT_FOUND", title: "Not found" },
  PlatformNotFound: { status: 404, trpc: "NOT_FOUND", title: "No such platform" },
  MethodNotAllowed: { status: 405, trpc: "METHOD_NOT_SUPPORTED", title: "Method not allowed" },
  Conflict: { status: 409, trpc: "CONFLICT", title: "It conflicts with what is there" },
  PlatformAlreadyExists: { status: 409, trpc: "CONFLICT", title: "The platform exists already" },
  PlatformInUse: { status: 409, trpc: "CONFLICT", title: "The platform is in use" },
  BindingNotUsable: { status: 409, trpc: "CONFLICT", title: "The account must be connected again" },
  PreconditionFailed: { status: 412, trpc: "PRECONDITION_FAILED", title: "It has changed since" },
  PayloadTooLarge: { status: 413, trpc: "PAYLOAD_TOO_LARGE", title: "The body is too large" },
  UriTooLong: { status: 414, trpc: "BAD_REQUEST", title: "The address is too long" },
  UnsupportedMediaType: {
    status: 415,
    trpc: "UNSUPPORTED_MEDIA_TYPE",
    title: "Send application/json",
  },
  IdempotencyKeyReused: {
    status: 422,
    trpc: "UNPROCESSABLE_CONTENT",
    title: "The key was used with another body",
  },
  ModelNotAllowed: { status: 403, trpc: "FORBIDDEN", title: "The team may not use this model" },
  SessionNotYours: { status: 403, trpc: "FORBIDDEN", title: "The conversation is another key's" },
  RateLimited: { status: 429, trpc: "TOO_MANY_REQUESTS", title: "Too many requests" },
  QuotaExceeded: { status: 429, trpc: "TOO_MANY_REQUESTS", title: "The quota is used up" },
  ProviderError: { status: 502, trpc: "BAD_GATEWAY", title: "The provider refused" },
  Unavailable: { status: 503, trpc: "SERVICE_UNAVAILABLE", title: "Try again shortly" },
  ProviderTimeout: { status: 504, trpc: "GATEWAY_TIMEOUT", title: "The provider did not answer" },
} as const;

export type FaultCode = keyof typeof faults;

/** One field that is not as it should be: its wire path (`config.client_id`) and what would be right. */
export type FieldProblem = { field: string; message: string };

export class Fault extends Error {
  override name = "Fault";
  constructor(
    readonly code: FaultCode,
    /** A stable machine word, `noun.fact`: `service_platform.already_exists`. */
    readonly reason: string,
    message: string,
    readonly more: { fields?: FieldProblem[]; retryAfterSeconds?: number } = {},
  ) {
    super(message);
  }
}

/** Nobody's fault who asked: what is asked is away, or too much goes on there. */
export const isAway = (error: unknown) => error instanceof Fault && error.code === "Unavailable";

/** Absent and forbidden-to-see answer alike, so that ids cannot be probed. */
export const notFound = (noun: string, code: FaultCode = "NotFound") =>
  new Fault(code, `${noun}.not_found`, `No such ${noun.replaceAll("_", " ")}`);

export const conflict = (reason: string, message: string, code: FaultCode = "Conflict") =>
  new Fault(code, reason, message);

/** A refusal of one field, said in the field's wire name. */
export const invalid = (
  field: string,
  message: string,
  code: FaultCode = "ValidationError",
) =>
  new Fault(code, `${field.split(".").at(-1)}.invalid`, message, { fields: [{ field, message }] });
