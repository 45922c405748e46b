/** The tRPC kernel: who may knock, where REST finds the door, and how a failure leaves the building. */
import { initTRPC, TRPCError } from "@trpc/server";
import superjson from "superjson";
import type { Permission } from "../src/access/permissions.ts";
import { type Ctx, frame, type TenantCtx } from "../src/context.ts";
import { Fault, faults } from "../src/errors.ts";
import { once } from "../src/idempotency.ts";
import { checkJson } from "./json.ts";
import { problemOf, type Reading } from "./problems.ts";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type RestPlace = { method: Method; path: string; status: number };
export type Meta = {
  /** Absent on a procedure anyone may call. */
  permission?: Permission;
  rest?: RestPlace;
  /** A second path of the documents' for the same thing. */
  also?: RestPlace;
  summary?: string;
  /** Why this mutation is not one transaction: it calls a provider and is repeatable by nature. */
  repeatable?: string;
  /** Why this mutation is done anew for each request, whatever its Idempotency-Key. */
  anew?: string;
};

/** How each procedure's fields are spelled in a refusal. Written once, by mod.ts. */
export const readings = new Map<string, Reading>();

/**
 * What tRPC passes along. It copies its context at every step of a call, key by key: so it is given
 * one key, and the ctx of the verbs is behind it.
 */
export type Held = { held: Ctx };

const t = initTRPC.context<Held>().meta<Meta>().create({
  transformer: superjson,
  isDev: false, // Left alone, tRPC reads NODE_ENV, which Deno does not set, and sends stack traces out.
  errorFormatter: ({ shape, error, ctx, path }) => {
    const { status, body } = problemOf(error, ctx?.held.requestId ?? "", readings.get(path ?? ""));
    const { code, reason, errors = [] } = body;
    return {
      ...shape,
      message: body.detail,
      data: { ...shape.data, httpStatus: status, fault: { code, reason, fields: errors } },
    };
  },
});

export const router = t.router;
export const callerOf = t.createCallerFactory;

/** A Fault leaves with the tRPC code that gives it its HTTP status. */
function passed<R extends { ok: true } | { ok: false; error: TRPCError }>(result: R): R {
  if (result.ok || !(result.error.cause instanceof Fault)) return result;
  throw travelling(result.error.cause);
}

function travelling(cause: unknown): unknown {
  if (!(cause instanceof Fault)) return cause;
  return new TRPCError({ code: faults[cause.code].trpc, message: cause.message, cause });
}

/** A procedure anyone may call. Each one is listed in the access test with its reason. */
export const open = t.procedure.use(async ({ next, getRawInput }) => {
  checkJson(await getRawInput());
  return passed(await next());
});

const unauthorized = ({ isRefused }: Ctx) =>
  isRefused
    ? new Fault("Unauthorized", "principal.refused", "This token or key does not hold (any more)")
    : new Fault("Unauthorized", "principal.missing", "Sign in, or send an API key");
const forbidden = (permission: Permission) =>
  new Fault("Forbidden", "permission.missing", `This needs the permission ${permission}`);

/** What a caller may do here, or why not. */
export function enter(ctx: Ctx, permission: Permission): TenantCtx {
  const { principal } = ctx;
  if (!principal) throw unauthorized(ctx);
  const reach = principal.grants[permission];
  if (!reach) throw forbidden(permission);
  const { tenantId, actor, userId } = principal;
  return { ...ctx, tenantId, actor, userId, reach, frame: frame() };
}

function admitted(ctx: Ctx, permission: Permission): TenantCtx {
  try {
    return enter(ctx, permission);
  } catch (error) {
    throw travelling(error);
  }
}

/** What a replayed call answers instead of running its verb again. */
type Replay = { replay?: { answer: unknown } | undefined };

/** A procedure for those who hold `permission` in the tenant of their token. */
export const may = (permission: Permission) =>
  t.procedure.meta({ permission }).use(async ({ ctx, next, type, path, meta, getRawInput }) => {
    const held: TenantCtx & Replay = admitted(ctx.held, permission);
    const input = await getRawInput(); // Read only now that the caller may.
    checkJson(input); // superjson can build cycles and classes out of harmless JSON.
    if (type !== "mutation" || held.idempotencyKey === null || meta?.anew !== undefined) {
      return passed(await next({ ctx: { held } }));
    }
    let result: Awaited<ReturnType<typeof next<{ held: typeof held }>>> | undefined;
    const work = async (ctx: TenantCtx & Replay) => {
      result = await next({ ctx: { held: ctx } });
      if (!result.ok) throw result.error; // Rolls the effect back.
      return result.data;
    };
    const replay = (answer: unknown) => work({ ...held, replay: { answer } });
    const atomic = meta?.repeatable === undefined;
    await once(held, { procedure: path, input, atomic }, work, replay).catch((error: unknown) => {
      // What the database refused was put into words on the way out: not the raw result then.
      if (!result || result.ok || result.error !== error) throw travelling(error);
    });
    if (!result) throw new Error("An idempotent call ended without a result");
    return passed(result);
  });

/** Where REST finds a procedure: `rest("POST /service-platforms", "Register a service", 201)`. */
export function rest(place: `${Method} /${string}`, summary: string, status = 200): Meta {
  const [method, path] = place.split(" ") as [Method, string];
  return {
    summary,
    rest: { method, path: path.startsWith("/v1/") ? path : `/api/v1${path}`, status },
  };
}

/** The same at another path of the documents'. */
export function alsoAt(place: `${Method} /${string}`, meta: Meta): Meta {
  const also = rest(place, meta.summary ?? "", meta.rest?.status).rest;
  return { ...meta, ...also ? { also } : {} };
}

/** Adapts a verb `(ctx, input)` to the shape tRPC calls. */
export const call = <C, I, O>(verb: (ctx: C, input: I) => O) =>
(
  { ctx: { held }, input }: { ctx: { held: C & Replay }; input: I },
): O => held.replay ? held.replay.answer as O : verb(held, input);
