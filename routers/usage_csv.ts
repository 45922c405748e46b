/**
 * Usage as a table to download: the sums of `GET /api/v1/usage`, all of them, read a page at a time as
 * fast as they are taken. Whoever loses the right to read them meanwhile gets no further page.
 */
import type { Env, Hono } from "hono";
import type { TenantCtx } from "../src/context.ts";
import { Fault } from "../src/errors.ts";
import { Ask, type Question, questionOf, sumsOf, UsageSum } from "../src/teams/usage.ts";
import { snake } from "../src/wire_names.ts";
import { type Cell, csvLine, inert } from "./csv.ts";
import { readInput } from "./inputs.ts";
import { queryParameters, refusals } from "./operations.ts";
import type { CtxHost } from "./proxy.ts";
import { allowOf, failed } from "./rest.ts";
import type { Json } from "./schemas.ts";
import { enter } from "./trpc.ts";
import { compile, readingOf } from "./wire.ts";

const PATH = "/api/v1/usage.csv";
const PERMISSION = "usage.read";
const ROWS_A_PAGE = 2_000;
const LONGEST_MS = 600_000; // Whoever has not taken it all by then is cut off.
const [MOST_OPEN, MOST_OPEN_OF_TENANT] = [2, 8];

const wire = compile(Ask);
const reading = readingOf(wire, "wire");
const place = { method: "GET", path: PATH, status: 200 } as const;

export function mountUsageCsv<E extends Env>(
  app: Hono<E>,
  host: CtxHost<E>,
  longestMs = LONGEST_MS,
): void {
  const admit = gate();
  app.all(PATH, async (c) => {
    try {
      const { method } = c.req.raw;
      if (method === "OPTIONS") return c.body(null, 204, { Allow: allowOf(["GET"]) });
      const ctx = enter(await host.context(c), PERMISSION);
      if (method !== "GET" && method !== "HEAD") {
        c.header("Allow", allowOf(["GET"]));
        const message = `This path takes ${allowOf(["GET"])}`;
        throw new Fault("MethodNotAllowed", "method.not_allowed", message);
      }
      const question = await questionOf(
        ctx,
        Ask.parse(await readInput(c, { in: wire, rest: place }, 0)),
      );
      const body = method === "HEAD"
        ? null
        : await bodyOf(chunksOf({ ctx, question }, admit(ctx)), longestMs, (error) =>
          host.report(error, c));
      return c.newResponse(body, 200, {
        "Content-Type": "text/csv; charset=utf-8; header=present",
        "Content-Disposition": `attachment; filename="usage_${question.from}_${question.to}.csv"`,
        "Cache-Control": "no-store",
      });
    } catch (error) {
      return failed(c, error, host, reading);
    }
  });
}

/** Lets a few in at a time; answers how to let go, once. */
function gate() {
  const open = new Map<string, number>();
  return ({ actor, tenantId }: TenantCtx): () => void => {
    const places = [
      { name: `${actor.type}:${actor.id}`, most: MOST_OPEN },
      { name: `tenant:${tenantId}`, most: MOST_OPEN_OF_TENANT },
    ];
    if (places.some(({ name, most }) => (open.get(name) ?? 0) >= most)) {
      const message = "Too many exports are open: let one of them end first";
      throw new Fault("RateLimited", "usage.exports_open", message, { retryAfterSeconds: 10 });
    }
    for (const { name } of places) open.set(name, (open.get(name) ?? 0) + 1);
    return () => {
      for (const { name } of places) {
        const left = (open.get(name) ?? 0) - 1;
        if (left > 0) open.set(name, left);
        else open.delete(name);
      }
    };
  };
}

type Export = { ctx: TenantCtx; question: Question };

type Bytes = Uint8Array<ArrayBuffer>;

/** Rejects where not even the first chunk can be made; what fails later breaks the transfer off. */
async function bodyOf(
  chunks: AsyncGenerator<Bytes>,
  longestMs: number,
  report: (error: unknown) => void,
): Promise<ReadableStream<Bytes>> {
  let ahead: IteratorResult<Bytes> | null = await chunks.next();
  const source = new ReadableStream<Bytes>({
    pull: async (controller) => {
      try {
        const { done, value } = ahead ?? await chunks.next();
        ahead = null;
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        report(error);
        throw error;
      }
    },
    cancel: async () => void await chunks.return(undefined),
  }, { highWaterMark: 0 });
  // Reads one chunk ahead.
  return source.pipeThrough(new TransformStream(), { signal: AbortSignal.timeout(longestMs) });
}

async function* chunksOf({ ctx, question }: Export, letGo: () => void): AsyncGenerator<Bytes> {
  try {
    let page = await sumsOf(ctx, question, null, ROWS_A_PAGE);
    yield written(page, true);
    while (page.last) {
      const principal = await ctx.again?.() ?? null;
      const now = enter({ ...ctx, principal, isRefused: true }, PERMISSION);
      page = await sumsOf(now, question, page.last, ROWS_A_PAGE);
      yield written(page, false);
    }
  } finally {
    letGo();
  }
}

type Name = keyof UsageSum;
const names: Name[] = UsageSum.keyof().options;
/** What others named. */
const foreign: ReadonlySet<Name> = new Set(["model", "userId"]);
const encoder = new TextEncoder();

function written({ sums }: { sums: UsageSum[] }, isFirst: boolean): Bytes {
  const cellOf = (row: UsageSum) => (name: Name): Cell =>
    foreign.has(name) ? inert(row[name]) : row[name];
  const lines = sums.map((row) => csvLine(names.map(cellOf(row))));
  return encoder.encode((isFirst ? csvLine(names.map(snake)) : "") + lines.join(""));
}

const statuses = [400, 401, 403, 404, 429, 500, 503];

/** For the OpenAPI document: a path that is no procedure. */
export const pathItems: Record<string, Json> = {
  [PATH]: {
    get: {
      operationId: "teams.usage.csv",
      tags: ["teams"],
      summary: "What was used, as a table to download",
      description:
        "All rows of `GET /api/v1/usage` as CSV (RFC 4180), streamed. Models and users " +
        "that begin like a formula get an apostrophe in front. An answer that breaks off is not " +
        `whole. Needs the permission \`${PERMISSION}\`.`,
      security: [{ bearer: [] }, { apiKey: [] }],
      "x-permission": PERMISSION,
      parameters: queryParameters(Ask),
      responses: {
        200: {
          description: "The table, its names in the first line.",
          headers: {
            "X-Request-Id": { $ref: "#/components/headers/XRequestId" },
            RateLimit: { $ref: "#/components/headers/RateLimit" },
          },
          content: {
            "text/csv": {
              schema: { type: "string", maxLength: 2 ** 31 - 1, pattern: "^team_id," },
            },
          },
        },
        ...Object.fromEntries(
          statuses.map((status) => [
            status,
            { $ref: `#/components/responses/${refusals[status]}` },
          ]),
        ),
      },
    },
  },
};
