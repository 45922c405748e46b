/**
 * How a failure leaves the building: a problem document (RFC 9457) with a stable code, the fields at
 * fault and the request id, and never anything of our insides.
 */
import { TRPCError } from "@trpc/server";
import { HTTPException } from "hono/http-exception";
import { z } from "zod";
import { Fault, type FaultCode, faults, type FieldProblem } from "../src/errors.ts";
import { complaintsOf, summarize } from "./field_messages.ts";

/** The body of every answer from 400 upward, as `application/problem+json`. */
export type Problem = {
  /** Where the code is explained; an address relative to this service. */
  type: string;
  title: string;
  status: number;
  detail: string;
  code: FaultCode | "InternalError";
  /** A stable machine word, `noun.fact`. */
  reason: string;
  errors?: FieldProblem[];
  request_id: string;
};

/** How the paths of one input are spelled on a surface, and which codes its fields answer with. */
export type Reading = {
  nameOf: (path: PropertyKey[]) => string;
  codeOf: (path: PropertyKey[]) => FaultCode | null;
};

const asWritten: Reading = { nameOf: (path) => path.map(String).join("."), codeOf: () => null };

export const broken = "Something broke on our side";

/**
 * The problem a thrown value amounts to, with the headers that belong to it (`Retry-After`,
 * `WWW-Authenticate`). `Fault`s and refusals of an input say what they are, also inside a TRPCError;
 * everything else is a bug of ours and answers 500 without its message.
 */
export function problemOf(
  error: unknown,
  requestId: string,
  reading: Reading = asWritten,
): { status: number; body: Problem; headers: Record<string, string> } {
  const fault = faultOf(error, reading);
  const body = fault ? bodyOf(fault, requestId) : internal(requestId);
  const headers: Record<string, string> = {
    "content-type": "application/problem+json; charset=utf-8",
    "cache-control": "no-store",
  };
  const { retryAfterSeconds } = fault?.more ?? {};
  if (retryAfterSeconds !== undefined) {
    headers["retry-after"] = String(Math.max(0, Math.ceil(retryAfterSeconds)));
  }
  if (body.status === 401) {
    // RFC 6750, 3.1: what was sent does not hold, so a new one may be asked for.
    const isRefused = body.reason === "principal.refused";
    headers["www-authenticate"] = isRefused ? 'Bearer error="invalid_token"' : "Bearer";
  }
  return { status: body.status, body, headers };
}

function bodyOf(fault: Fault, requestId: string): Problem {
  const { status, title } = faults[fault.code];
  const { fields } = fault.more;
  return {
    type: `/problems/${fault.code}`,
    title,
    status,
    detail: fault.message,
    code: fault.code,
    reason: fault.reason,
    ...(fields && fields.length > 0 ? { errors: fields } : {}),
    request_id: requestId,
  };
}

const internal = (requestId: string): Problem => ({
  type: "/problems/InternalError",
  title: broken,
  status: 500,
  detail: `${broken}; when you ask about it, quote the request id ${requestId}`,
  code: "InternalError",
  reason: "server.broken",
  request_id: requestId,
});

/** The failure a caller can act on, or null for a bug of ours. */
export function faultOf(error: unknown, reading: Reading = asWritten): Fault | null {
  if (error instanceof Fault) return error;
  if (error instanceof z.core.$ZodError) return refusal(error, reading);
  if (error instanceof HTTPException) return byStatus(error);
  if (!(error instanceof TRPCError)) return null;
  if (error.cause instanceof Fault) return error.cause;
  // A ZodError in a 500 is an output or a stored value that broke its own schema: not the caller's.
  if (error.code === "BAD_REQUEST" && error.cause instanceof z.core.$ZodError) {
    return refusal(error.cause, reading);
  }
  return byTrpcCode(error);
}

function refusal(error: z.core.$ZodError, reading: Reading): Fault {
  const complaints = complaintsOf(error.issues);
  const fields = complaints.map(({ path, message }): FieldProblem => ({
    field: reading.nameOf(path).toWellFormed().slice(0, 200),
    message,
  }));
  const codes = new Set(complaints.map(({ path }) => reading.codeOf(path)));
  const code = codes.size === 1 ? [...codes][0] : null;
  return new Fault(code ?? "ValidationError", "input.invalid", summarize(fields), { fields });
}

function byTrpcCode(error: TRPCError): Fault | null {
  if (error.code === "INTERNAL_SERVER_ERROR") return null;
  const wanted = error.code === "PARSE_ERROR" ? "BAD_REQUEST" : error.code;
  const code = codes.find((code) => faults[code].trpc === wanted);
  if (!code) return null;
  // A cause's message may quote the body or the machinery; a message without a cause is our own.
  return new Fault(code, "request.refused", error.cause ? faults[code].title : error.message);
}

function byStatus({ status }: HTTPException): Fault | null {
  const code = codes.find((code) => faults[code].status === status);
  return code ? new Fault(code, "request.refused", faults[code].title) : null;
}

const codes = Object.keys(faults).filter((code): code is FaultCode => code in faults);
