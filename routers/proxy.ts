/** The token proxy's route: any method, the host and the path as they stand in the address. */
import type { Context, Env, Hono } from "hono";
import type { Ctx } from "../src/context.ts";
import { Fault, notFound } from "../src/errors.ts";
import { type Forward, forward, MAX_REQUEST_BYTES } from "../src/platforms/proxy.ts";
import { withoutStyle } from "./conventions.ts";
import { readBytes } from "./json.ts";
import { failed, type Host } from "./rest.ts";
import type { Json } from "./schemas.ts";
import { enter } from "./trpc.ts";

/** An app whose contexts are ours. */
export type CtxHost<E extends Env> = Pick<Host<E>, "requestId" | "report"> & {
  context: (c: Context<E>) => Promise<Ctx>;
};

const PATH = "/api/v1/bindings/:id/proxy/:host";

export function mountProxy<E extends Env>(app: Hono<E>, host: CtxHost<E>): void {
  const serve = async (c: Context<E>): Promise<Response> => {
    try {
      const ctx = enter(await host.context(c), "bindings.proxy");
      const response = await forward(ctx, await forwardOf(c.req.raw));
      // Not c.body: the answer's status and headers are the provider's.
      return c.newResponse(response.body, response);
    } catch (error) {
      return failed(c, error, host);
    }
  };
  app.all(PATH, serve);
  app.all(`${PATH}/*`, serve);
}

/** Hono decodes what it matches, so the address is taken apart again as it was sent. */
const place =
  /^[a-z]+:\/\/[^/]+\/api\/v1\/bindings\/([^/?#]+)\/proxy\/([^/?#]+)([^?#]*)(\?[^#]*)?/i;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

async function forwardOf(request: Request): Promise<Forward> {
  const [, id, host, path, query] = place.exec(request.url) ?? [];
  if (id === undefined || host === undefined || !uuid.test(id)) throw notFound("binding");
  return {
    id,
    host: host.replaceAll(/%3a/gi, ":").replaceAll(/%5b/gi, "[").replaceAll(/%5d/gi, "]"),
    method: request.method,
    path: path ?? "",
    query: query ?? "",
    headers: theirs(request.headers),
    body: await bodyOf(request),
    signal: request.signal,
  };
}

/** What is said to the provider: of the preferences, all but the one that only we know. */
function theirs(given: Headers): Headers {
  const headers = new Headers(given);
  const prefer = withoutStyle(given.get("prefer") ?? "");
  if (prefer === null) headers.delete("prefer");
  else headers.set("prefer", prefer);
  return headers;
}

const MAX_KEPT_BYTES = 1024 * 1024;

/**
 * A body that says it is small is read first: it then has a length, which many providers insist on,
 * and can be sent again. Others are streamed.
 */
async function bodyOf(request: Request): Promise<Forward["body"]> {
  const { body, headers } = request;
  if (body === null) return null;
  const length = Number(headers.get("content-length") ?? Infinity);
  if (length <= MAX_KEPT_BYTES) return new Uint8Array(await readBytes(request, MAX_KEPT_BYTES));
  if (Number.isFinite(length) && length > MAX_REQUEST_BYTES) throw tooLarge();
  let bytes = 0;
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength;
        if (bytes > MAX_REQUEST_BYTES) controller.error(tooLarge());
        else controller.enqueue(chunk);
      },
    }),
  );
}

const tooLarge = () =>
  new Fault("PayloadTooLarge", "body.too_large", `Send at most ${MAX_REQUEST_BYTES} bytes`);

const parameter = (name: string, description: string, schema: Json): Json => ({
  name,
  in: "path",
  required: true,
  description,
  schema: { type: "string", ...schema },
});
const refusal = (name: string) => ({ $ref: `#/components/responses/${name}` });

const operation = (method: string): Json => ({
  operationId: `platforms.bindings.proxy.${method}`,
  tags: ["platforms"],
  summary: `Send a ${method.toUpperCase()} through a connected account`,
  description: "Forwards the request to one of the platform's hosts with the account's token put " +
    "in. Redirects, errors and bodies come back as the provider gave them. Needs the permission " +
    "`bindings.proxy`.",
  security: [{ bearer: [] }, { apiKey: [] }],
  "x-permission": "bindings.proxy",
  parameters: [
    parameter("id", "Which connected account.", { format: "uuid", maxLength: 36 }),
    parameter("host", "One of the platform's hosts, with the port if it has one.", {
      maxLength: 255,
      pattern: "^[A-Za-z0-9.:\\[\\]%-]+$",
    }),
    parameter("path", "The path at the provider; may hold slashes.", {
      maxLength: 8192,
      pattern: "^.*$",
    }),
  ],
  responses: {
    200: { description: "What the provider answered, with its own status and body." },
    default: { description: "What the provider answered, or a problem of ours." },
    ...Object.fromEntries(
      Object.entries({
        400: "BadRequest",
        401: "Unauthorized",
        403: "Forbidden",
        404: "NotFound",
        409: "Conflict",
        413: "PayloadTooLarge",
        429: "TooManyRequests",
        500: "InternalError",
        502: "ProviderFailed",
        503: "Unavailable",
        504: "ProviderTimeout",
      }).map(([status, name]) => [status, refusal(name)]),
    ),
  },
});

/** For the OpenAPI document: paths that are no procedures. */
export const pathItems: Record<string, Json> = {
  "/api/v1/bindings/{id}/proxy/{host}/{path}": Object.fromEntries(
    ["get", "post", "put", "patch", "delete"].map((method) => [method, operation(method)]),
  ),
};
