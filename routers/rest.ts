/** The REST face of the procedures: one route each, with the documents' paths and status codes. */
import { type AnyTRPCRouter, callTRPCProcedure } from "@trpc/server";
import type { Context, Env, Handler, Hono, Next } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { Fault } from "../src/errors.ts";
import { etagOf, isListed } from "../src/etags.ts";
import { type Style, styleOf } from "./conventions.ts";
import { readInput } from "./inputs.ts";
import { problemOf, type Reading } from "./problems.ts";
import { restEntriesOf, type RestEntry, subjectKey, subjectOf } from "./procedures.ts";
import { readingOf } from "./wire.ts";

/** What REST needs of the app it is mounted on. */
export type Host<E extends Env, C = unknown> = {
  /** The procedures' ctx; may throw a Fault. The body has not been read when it is called. */
  context: (c: Context<E>) => C | Promise<C>;
  /** Procedures that are run by this in the place of tRPC's chain. */
  swift?: Map<string, (ctx: C, getRawInput: () => unknown) => Promise<unknown>>;
  requestId: (c: Context<E>) => string;
  /** Told every failure that answers 500: the answer itself says nothing. */
  report: (error: unknown, c: Context<E>) => void;
  maxBodyBytes?: number;
};

const MIB = 1024 * 1024;

/** Registers a route for every procedure that has a place in REST, and 405 for its other methods. */
export function mountRest<E extends Env, C>(
  app: Hono<E>,
  router: AnyTRPCRouter,
  host: Host<E, C>,
): void {
  const entries = restEntriesOf(router);
  const readable = new Set(entries.map(({ rest }) => `${rest.method} ${rest.path}`));
  const methods = new Map<string, string[]>();
  for (const entry of entries) {
    const { method, path } = entry.rest;
    const item = `GET ${path}/{}`;
    const hasItem = [...readable].some((place) => place.replace(/\{[^}]*\}$/, "{}") === item);
    const route = routeOf(path);
    if (methods.get(route)?.includes(method)) {
      throw new Error(`Two procedures at ${method} ${path}`);
    }
    app.on(method, route, serve(router, entry, host, hasItem));
    methods.set(route, [...methods.get(route) ?? [], method]);
  }
  // Last, so that `/platforms/search` is not taken for a method `/platforms/{id}` does not have.
  for (const [route, allowed] of methods) app.all(route, refuseMethod(allowed, host));
}

const routeOf = (path: string) => path.replaceAll(/\{([^}]*)\}/g, ":$1");

function serve<E extends Env, C>(
  router: AnyTRPCRouter,
  entry: RestEntry,
  host: Host<E, C>,
  hasItem: boolean,
) {
  const { path, type } = entry;
  const maxBytes = host.maxBodyBytes ?? MIB;
  const reading = entry.in ? readingOf(entry.in, "wire") : undefined;
  const answer = answerer(entry, hasItem);
  const swift = host.swift?.get(path);
  return async (c: Context<E>): Promise<Response> => {
    try {
      const ctx = await host.context(c);
      // Read when a procedure's guards have let the caller through, and once for all who ask.
      let input: Promise<unknown> | undefined;
      const getRawInput = () => input ??= readInput(c, entry, maxBytes);
      // No verb heeds the request's signal, and making one costs more than the rest of the call.
      const call = { router, path, type, ctx, getRawInput, signal: undefined, batchIndex: 0 };
      const data = swift ? await swift(ctx, getRawInput) : await callTRPCProcedure(call) as unknown;
      c.header("X-Request-Id", host.requestId(c));
      return answer(c, data);
    } catch (error) {
      return failed(c, error, host, reading);
    }
  };
}

/** Writes a procedure's result as the answer its place promises. */
function answerer({ path, rest, out, output }: RestEntry, hasItem: boolean) {
  const place = subjectKey(output);
  const status = statusOf(rest.status, path);
  const kept = new WeakMap<object, Map<string, string>>();
  /** The body's text; of an answer that is kept in the cache, made once in each style. */
  const written = (data: unknown, style: Style): string => {
    if (typeof data !== "object" || data === null || !Object.isFrozen(data)) {
      return JSON.stringify(out.write(data, style));
    }
    const texts = kept.get(data) ?? new Map<string, string>();
    kept.set(data, texts);
    const text = texts.get(style.name) ?? JSON.stringify(out.write(data, style));
    texts.set(style.name, text);
    return text;
  };
  return (c: Context, data: unknown): Response => {
    if (rest.status === 204) {
      c.header("Cache-Control", "no-store");
      return c.body(null, 204);
    }
    const style = styleOf(c.req.header("prefer"));
    const subject = subjectOf(data, place);
    const etag = subject?.updatedAt && etagOf(subject.id, subject.updatedAt, style.name);
    const isKnown = rest.method === "GET" && etag && isIn(c.req.header("if-none-match"), etag);
    // Written before the headers, so that a value that cannot be written leaves none behind.
    const body = isKnown ? null : written(data, style);
    c.header("Cache-Control", "no-store");
    c.header("Vary", "Prefer", { append: true });
    if (style.name) c.header("Preference-Applied", `conventions=${style.name}`);
    if (etag) c.header("ETag", etag);
    if (body === null) return c.body(null, 304);
    if (subject && rest.status === 201 && hasItem) {
      c.header("Location", `${c.req.path}/${encodeURIComponent(subject.id)}`);
    }
    c.header("Content-Type", "application/json; charset=utf-8");
    return c.body(body, status);
  };
}

const isIn = (ifNoneMatch: string | undefined, etag: string) =>
  ifNoneMatch !== undefined && isListed(ifNoneMatch, etag);

function statusOf(status: number, path: string): ContentfulStatusCode {
  if (isStatus(status)) return status;
  throw new Error(`${path}: ${status} is not a status an answer can have`);
}

const isStatus = (status: number): status is ContentfulStatusCode => status >= 200 && status < 600;

/** Answers a failure as a problem; what answers 500 is reported first. */
export function failed<E extends Env>(
  c: Context<E>,
  error: unknown,
  host: Pick<Host<E>, "requestId" | "report">,
  reading?: Reading,
): Response {
  const { status, body, headers } = problemOf(error, host.requestId(c), reading);
  if (status === 500) host.report(error, c);
  c.header("X-Request-Id", body.request_id);
  for (const [name, value] of Object.entries(headers)) c.header(name, value);
  return c.body(JSON.stringify(body), statusOf(status, body.code));
}

/** For `app.notFound`: no such path. */
export const noSuchPath = <E extends Env>(
  c: Context<E>,
  host: Pick<Host<E>, "requestId" | "report">,
): Response => failed(c, new Fault("NotFound", "path.not_found", "There is nothing here"), host);

/** `Allow` of a path that takes these methods. */
export const allowOf = (methods: string[]) =>
  [...methods, "OPTIONS"].flatMap((method) => method === "GET" ? ["GET", "HEAD"] : [method])
    .join(", ");

/** Answers OPTIONS, and 405 to a method that is not of these. */
function refuseMethod<E extends Env>(
  methods: string[],
  host: Pick<Host<E>, "requestId" | "report">,
) {
  const allowed = allowOf(methods);
  return async (c: Context<E>, next: Next): Promise<Response | void> => {
    const { method } = c.req;
    if (methods.includes(method === "HEAD" ? "GET" : method)) return await next();
    c.header("Allow", allowed);
    if (method === "OPTIONS") return c.body(null, 204);
    const message = `This path takes ${allowed}`;
    return failed(c, new Fault("MethodNotAllowed", "method.not_allowed", message), host);
  };
}

/** A path that is only read and is no procedure. */
export function mountPage<E extends Env>(
  app: Hono<E>,
  path: string,
  handler: Handler<E>,
  host: Pick<Host<E>, "requestId" | "report">,
): void {
  app.get(path, handler);
  app.all(path, refuseMethod(["GET"], host));
}
