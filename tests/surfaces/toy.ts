/** A small router with the shapes the documents use, for the tests of the surfaces alone. */
import { initTRPC, TRPCError } from "@trpc/server";
import { Hono } from "hono";
import superjson from "superjson";
import { z } from "zod";
import { Fault, notFound } from "../../src/errors.ts";
import { requireMatch } from "../../src/etags.ts";
import { faultCodes } from "../../src/fault_codes.ts";
import { failed, mountRest, noSuchPath } from "../../routers/rest.ts";

export const ids = {
  gmail: "0192f1a0-0000-7000-8000-000000000001",
  broken: "0192f1a0-0000-7000-8000-000000000bad",
};
export const at = new Date("2026-11-22T10:11:12.345Z");

export type ToyCtx = { caller: string | null; ifMatch: string | null; seen: unknown[] };

type Meta = {
  permission?: string;
  summary?: string;
  rest?: { method: "GET" | "POST" | "PUT" | "DELETE"; path: string; status: number };
};
const t = initTRPC.context<ToyCtx>().meta<Meta>().create({ transformer: superjson, isDev: false });

const may = (permission: string) =>
  t.procedure.meta({ permission }).use(({ ctx, next }) => {
    if (!ctx.caller) throw new Fault("Unauthorized", "principal.missing", "Sign in first");
    if (ctx.caller === "mallory") throw new TRPCError({ code: "FORBIDDEN", message: "Not you" });
    return next();
  });

const serviceType = z.enum(["email", "chat", "sms", "call"])
  .register(faultCodes, { code: "InvalidPlatformType" });
const config = z.strictObject({
  clientId: z.string().min(1).max(255),
  additionalData: z.record(z.string(), z.unknown()).nullable().optional(),
}).register(faultCodes, { code: "InvalidPlatformConfig" });

export const Platform = z.object({
  id: z.uuid(),
  name: z.string().min(1).max(255),
  serviceType,
  isActive: z.boolean(),
  metadata: z.record(z.string(), z.unknown()).describe("Free-form settings of the platform."),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Platform", description: "A service this installation can connect to." });

export const Create = z.strictObject({
  name: z.string().min(1).max(255),
  serviceType,
  isActive: z.boolean().default(true),
  metadata: z.record(z.string(), z.unknown()).default({}),
  config: config.optional(),
  startsAt: z.date().optional(),
});

const Answer = z.object({
  platform: Platform,
  success: z.literal(true),
  message: z.string().max(255),
});
const Id = z.strictObject({ id: z.uuid() });

const gmail = {
  id: ids.gmail,
  name: "Gmail",
  serviceType: "email" as const,
  isActive: true,
  metadata: { helpURL: "x", isActive: true },
  createdAt: at,
  updatedAt: at,
};

function find(id: string) {
  if (id === ids.broken) throw new Error("select secret_column from platforms failed");
  if (id !== ids.gmail) throw notFound("platform", "PlatformNotFound");
  return gmail;
}

const place = (
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  summary: string,
  status = 200,
) => ({ rest: { method, path: `/api/v1${path}`, status }, summary });

export const toy = t.router({
  platforms: {
    create: may("platforms.create").meta(place("POST", "/platforms", "Create a platform", 201))
      .input(Create).output(Answer).mutation(({ ctx, input }) => {
        ctx.seen.push(input);
        const { name, metadata } = input;
        return { platform: { ...gmail, name, metadata }, success: true as const, message: "Made" };
      }),
    get: may("platforms.read").meta(place("GET", "/platforms/{id}", "Read a platform"))
      .input(Id).output(Platform).query(({ input }) => find(input.id)),
    update: may("platforms.update").meta(place("PUT", "/platforms/{id}", "Change a platform"))
      .input(Id.extend({ name: z.string().min(1).max(255).optional() })).output(Platform)
      .mutation(({ ctx, input }) => {
        const row = find(input.id);
        requireMatch(ctx.ifMatch, row);
        return { ...row, name: input.name ?? row.name, updatedAt: new Date(at.getTime() + 1) };
      }),
    delete: may("platforms.delete").meta(
      place("DELETE", "/platforms/{id}", "Delete a platform", 204),
    )
      .input(Id).output(z.null()).mutation(({ ctx, input }) => {
        requireMatch(ctx.ifMatch, find(input.id));
        return null;
      }),
    list: may("platforms.read").meta(place("GET", "/platforms", "List the platforms"))
      .input(z.strictObject({
        limit: z.int().min(1).max(100).default(50),
        cursor: z.string().max(500).optional(),
        isActive: z.boolean().optional(),
        serviceTypes: z.array(serviceType).max(4).optional(),
        createdAfter: z.date().optional(),
      }))
      .output(z.object({
        platforms: z.array(Platform).max(100),
        nextCursor: z.string().max(500).nullable(),
      }))
      .query(({ ctx, input }) => {
        ctx.seen.push(input);
        return { platforms: [gmail], nextCursor: null };
      }),
    search: t.procedure.meta(place("GET", "/platforms/search", "Search the platforms"))
      .output(z.object({ found: z.int().min(0).max(100) })).query(() => ({ found: 0 })),
  },
});

/** The toy router behind an app as the real one will be. `reports` collects what answered 500. */
export function toyApp() {
  const [seen, reports]: [unknown[], unknown[]] = [[], []];
  const app = new Hono();
  const host = {
    requestId: () => "req-1",
    report: (error: unknown) => void reports.push(error),
    context: (c: { req: { header(name: string): string | undefined } }): ToyCtx => ({
      caller: c.req.header("authorization") ?? null,
      ifMatch: c.req.header("if-match") ?? null,
      seen,
    }),
    maxBodyBytes: 4096,
  };
  mountRest(app, toy, host);
  app.notFound((c) => noSuchPath(c, host));
  app.onError((error, c) => failed(c, error, host));
  const ask = async (line: string, init: RequestInit & { json?: unknown } = {}) => {
    const [method = "GET", path = "/"] = line.split(" ");
    const { json, headers, ...rest } = init;
    const response = await app.request(path, {
      method,
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...rest,
      headers: {
        authorization: "ann",
        ...(json === undefined ? {} : { "content-type": "application/json" }),
        ...Object.fromEntries(new Headers(headers)),
      },
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") ?? false;
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text ? JSON.parse(text) : text,
    };
  };
  return { app, ask, seen, reports };
}
