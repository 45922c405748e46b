/** tRPC over HTTP: the same wall as REST before the library's own adapter sees anything. */
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import type { Context, Env, Hono } from "hono";
import superjson from "superjson";
import type { Ctx } from "../src/context.ts";
import { Fault } from "../src/errors.ts";
import { checkJson, readJson } from "./json.ts";
import type { appRouter } from "./mod.ts";
import { problemOf } from "./problems.ts";
import { allowOf, type Host } from "./rest.ts";
import { type Swift, swiftQueries } from "./swift.ts";

/** How many calls one request may carry. */
export const MAX_BATCH = 20;
const MIB = 1024 * 1024;

type Router = typeof appRouter;
export type TrpcHost<E extends Env> = Omit<Host<E>, "context"> & {
  /** Makes the ctx of a request with so many calls. Throws Fault. */
  context: (c: Context<E>, calls: number) => Promise<Ctx>;
};

export function mountTrpc<E extends Env>(app: Hono<E>, router: Router, host: TrpcHost<E>): void {
  const queries = pathsOf(router, "query");
  const subscriptions = pathsOf(router, "subscription");
  const isGet = (path: string) => queries.has(path) || subscriptions.has(path);
  const swift = swiftQueries(router);
  const allowed = (path: string) =>
    allowOf(path.includes(",") ? ["GET", "POST"] : [isGet(path) ? "GET" : "POST"]);
  const answer = async (c: Context<E>, path: string): Promise<Response> => {
    try {
      const calls = path.split(",").length;
      if (calls > MAX_BATCH) throw tooMany();
      const held = await host.context(c, calls);
      if (!methods.has(c.req.method)) throw noMethod(allowed(path));
      if (c.req.method === "GET" && queries.has(path)) {
        const run = swift.get(path);
        const answered = run ? await oneQuery(c, run, held) : null;
        if (answered) return answered;
      }
      const response = await handle(c, router, held, host);
      response.headers.set("Cache-Control", "no-store");
      return response;
    } catch (error) {
      return refused(c, error, host);
    }
  };
  app.all("/trpc/:path{.+}", async (c) => {
    const path = c.req.param("path") ?? "";
    if (c.req.method === "OPTIONS") return c.body(null, 204, { Allow: allowed(path) });
    const response = await answer(c, path);
    if (response.status === 405) response.headers.set("Allow", allowed(path));
    return response;
  });
}

const pathsOf = (router: Router, type: string) =>
  new Set(
    Object.entries(router._def.procedures)
      .filter(([, procedure]) => Reflect.get(Object(procedure), "_def")?.type === type)
      .map(([path]) => path),
  );

const methods = new Set(["GET", "HEAD", "POST"]);
const noMethod = (allowed: string) =>
  new Fault("MethodNotAllowed", "method.not_allowed", `This path takes ${allowed}`);

const tooMany = () =>
  new Fault("ValidationError", "batch.too_long", `Send at most ${MAX_BATCH} calls at once`);

/**
 * The answer of one query, written as tRPC's protocol says (https://trpc.io/docs/rpc), without the
 * adapter, which is made for streams and batches. Null when the query was not answered:
 * the adapter then runs it again and words the failure.
 */
async function oneQuery(c: Context, run: Swift, held: Ctx): Promise<Response | null> {
  const isBatch = c.req.query("batch") === "1";
  const text = c.req.query("input");
  const envelope = text === undefined ? undefined : parsed(text);
  checkJson(envelope);
  const own: unknown = isBatch ? Reflect.get(Object(envelope), "0") : envelope;
  const getRawInput = () =>
    Promise.resolve(own === undefined ? undefined : superjson.deserialize(Object(own)));
  try {
    const result = `{"result":{"data":${written(await run({ held }, getRawInput))}}}`;
    return new Response(isBatch ? `[${result}]` : result, {
      headers: {
        "content-type": "application/json",
        vary: "trpc-accept, accept",
        "cache-control": "no-store",
      },
    });
  } catch {
    return null;
  }
}

const texts = new WeakMap<object, string>();

/** superjson's text of an answer; of one that is kept in the cache, made once. */
function written(data: unknown): string {
  const isKept = typeof data === "object" && data !== null && Object.isFrozen(data);
  const known = isKept ? texts.get(data) : undefined;
  if (known !== undefined) return known;
  const text = JSON.stringify(superjson.serialize(data));
  if (isKept) texts.set(data, text);
  return text;
}

async function handle<E extends Env>(
  c: Context<E>,
  router: Router,
  held: Ctx,
  host: TrpcHost<E>,
): Promise<Response> {
  return await fetchRequestHandler({
    endpoint: "/trpc",
    req: await checked(c, host.maxBodyBytes ?? MIB),
    router,
    createContext: () => ({ held }),
    maxBatchSize: MAX_BATCH,
    onError: ({ error }) => {
      if (problemOf(error, "").status === 500) host.report(error.cause ?? error, c);
    },
  });
}

/** The request with its JSON proved harmless: superjson would choke on some of it. */
async function checked(c: Context, maxBytes: number): Promise<Request> {
  const request = c.req.raw;
  if (request.method === "GET") {
    const input = c.req.query("input");
    if (input !== undefined) checkJson(parsed(input));
    return request;
  }
  const body = JSON.stringify(await readJson(request, maxBytes) ?? null);
  const { method, url, headers, signal } = request;
  return new Request(url, { method, headers, signal, ...(body === "null" ? {} : { body }) });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault("ValidationError", "input.malformed", "The input parameter is not JSON");
  }
}

/** A field's path begins inside superjson's envelope, and a batch's place, for who made the call. */
const bare = (path: string) => path.replace(/^(`?)(?:\d+\.)?json\./, "$1");

/** A refusal before tRPC was reached, in tRPC's shape. */
function refused<E extends Env>(c: Context<E>, error: unknown, host: TrpcHost<E>): Response {
  const { status, body, headers } = problemOf(error, host.requestId(c));
  if (status === 500) host.report(error, c);
  const { code, reason } = body;
  const errors = (body.errors ?? []).map(({ field, message }) => ({ field: bare(field), message }));
  const shape = {
    message: bare(body.detail),
    code: -32600,
    data: { code, httpStatus: status, fault: { code, reason, fields: errors } },
  };
  return new Response(JSON.stringify({ error: superjson.serialize(shape) }), {
    status,
    headers: { ...headers, "content-type": "application/json" },
  });
}
