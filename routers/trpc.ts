/** The tRPC kernel: who may knock, where REST finds the door, and how a failure leaves the building. */
import { initTRPC, TRPCError } from "@trpc/server";
import superjson from "superjson";
import type { Permission } from "../src/access/permissions.ts";
import { type Ctx, frame, type TenantCtx } from "../src/context.ts";
import { Fault, faults } from "../src/errors.ts";
import { once } from "../src/idempotency.ts";
import { problemOf, type Reading } from "./problems.ts";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type RestPlace = { method: Method; path: string; status: number };
export type Meta = {
  /** Absent on a procedure anyone may call. */
  permission?: Permission;
  rest?: RestPlace;
  summary?: string;
  /** Why this mutation is not one transaction: it calls a provider and is repeatable by nature. */
  repeatable?: string;
};

/** How each procedure's fields are spelled in a refusal. Written once, by mod.ts. */
export const readings = new Map<string, Reading>();

const t = initTRPC.context<Ctx>().meta<Meta>().create({
  transformer: superjson,
  isDev: false, // Left alone, tRPC reads NODE_ENV, which Deno does not set, and sends stack traces out.
  errorFormatter: ({ shape, error, ctx, path }) => {
    const { status, body } = problemOf(error, ctx?.requestId ?? "", readings.get(path ?? ""));
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

const base = t.procedure.use(async ({ next }) => {
  const result = await next();
  if (!result.ok && result.error.cause instanceof Fault) {
    const { cause } = result.error;
    throw new TRPCError({ code: faults[cause.code].trpc, message: cause.message, cause });
  }
  return result;
});

/** A procedure anyone may call. Each one is listed in the access test with its reason. */
export const open = base;

const unauthorized = () =>
  new Fault("Unauthorized", "principal.missing", "Sign in, or send an API key");
const forbidden = (permission: Permission) =>
  new Fault("Forbidden", "permission.missing", `This needs the permission ${permission}`);

/** What a caller may do here, or why not. */
export function enter(ctx: Ctx, permission: Permission): TenantCtx {
  const { principal } = ctx;
  if (!principal) throw unauthorized();
  const reach = principal.grants[permission];
  if (!reach) throw forbidden(permission);
  const { tenantId, actor, userId } = principal;
  return { ...ctx, tenantId, actor, userId, reach, frame: frame() };
}

/** What a replayed call answers instead of running its verb again. */
type Replay = { replay?: { answer: unknown } | undefined };

/** A procedure for those who hold `permission` in the tenant of their token. */
export const may = (permission: Permission) =>
  base.meta({ permission }).use(async ({ ctx, next, type, path, meta, getRawInput }) => {
    const tenant: TenantCtx & Replay = enter(ctx, permission);
    if (type !== "mutation" || ctx.idempotencyKey === null) return await next({ ctx: tenant });
    const input = await getRawInput();
    let result: Awaited<ReturnType<typeof next<typeof tenant>>> | undefined;
    const work = async (ctx: TenantCtx & Replay) => {
      result = await next({ ctx });
      if (!result.ok) throw result.error; // Rolls the effect back.
      return result.data;
    };
    const replay = (answer: unknown) => work({ ...tenant, replay: { answer } });
    const atomic = meta?.repeatable === undefined;
    await once(tenant, { procedure: path, input, atomic }, work, replay);
    if (!result) throw new Error("An idempotent call ended without a result");
    return result;
  });

/** Where REST finds a procedure: `rest("POST /service-platforms", "Register a service", 201)`. */
export function rest(place: `${Method} /${string}`, summary: string, status = 200): Meta {
  const [method, path] = place.split(" ") as [Method, string];
  return {
    summary,
    rest: { method, path: path.startsWith("/v1/") ? path : `/api/v1${path}`, status },
  };
}

/** Adapts a verb `(ctx, input)` to the shape tRPC calls. */
export const call =
  <C, I, O>(verb: (ctx: C, input: I) => O) => ({ ctx, input }: { ctx: C & Replay; input: I }): O =>
    ctx.replay ? ctx.replay.answer as Awaited<O> & O : verb(ctx, input);
