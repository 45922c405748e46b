/** The reference at `/docs`: a page that reads `/openapi.json` and fetches nothing from elsewhere. */
import type { Context, Env, Handler, Hono } from "hono";
import { faults } from "../src/errors.ts";
import type { Document } from "./openapi.ts";
import { broken } from "./problems.ts";
import { type Host, mountPage } from "./rest.ts";

/**
 * Nothing but our own origin, enforced by the browser. The reader sets styles on its elements; what
 * is loaded, run or asked is ours alone, and no page may frame it.
 */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const shell = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchboard: reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/reader.css">
</head>
<body>
<div id="reader"><p><a href="/openapi.json">The OpenAPI document</a></p></div>
<script src="/docs/reader.js" defer></script>
</body>
</html>
`;

/** What the reader shows and, said outright, that no document is sent to a validator elsewhere. */
const start = {
  url: "/openapi.json",
  dom_id: "#reader",
  deepLinking: true,
  displayOperationId: true,
  validatorUrl: null,
};

/**
 * The reader's script and style. Imported as text, not read from a path, so that they belong to the
 * module graph and go wherever the program goes; loaded when first asked for.
 */
const script = async () => {
  const { default: bundle } = await import("swagger-ui-dist/swagger-ui-bundle.js", {
    with: { type: "text" },
  });
  return `${bundle}\nSwaggerUIBundle(${JSON.stringify(start)});\n`;
};
const style = async () =>
  (await import("swagger-ui-dist/swagger-ui.css", { with: { type: "text" } })).default;

type Asset = { body: string; etag: string };

async function assetOf(body: string): Promise<Asset> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(body));
  return { body, etag: `"${new Uint8Array(hash).toHex().slice(0, 32)}"` };
}

/** Made at the first request and kept. A failure is not kept. */
function lazily(make: () => Promise<string> | string): () => Promise<Asset> {
  let asset: Promise<Asset> | undefined;
  return () =>
    asset ??= Promise.resolve().then(make).then(assetOf).catch((error) => {
      asset = undefined;
      throw error;
    });
}

/** `/docs`, its script, `/openapi.json`, and `/problems/{code}`, where a problem's `type` leads. */
export function mountDocs<E extends Env>(
  app: Hono<E>,
  makeDocument: () => Document,
  host: Pick<Host<E>, "requestId" | "report">,
): void {
  const assets = {
    page: lazily(() => shell),
    script: lazily(script),
    style: lazily(style),
    document: lazily(() => JSON.stringify(makeDocument())),
  };
  const page = (path: string, handler: Handler<E>) => mountPage(app, path, handler, host);
  page("/docs", async (c) => {
    c.header("Content-Security-Policy", policy);
    return answer(c, await assets.page(), "text/html", 300);
  });
  page(
    "/docs/reader.js",
    async (c) => answer(c, await assets.script(), "text/javascript", 86_400),
  );
  page("/docs/reader.css", async (c) => answer(c, await assets.style(), "text/css", 86_400));
  page("/openapi.json", async (c) => answer(c, await assets.document(), "application/json", 300));
  page("/problems/:code", async (c, next) => {
    const known = explained.get(c.req.param("code") ?? "");
    if (!known) return await next();
    return answer(c, await assetOf(known), "text/html", 86_400);
  });
}

function answer(c: Context, { body, etag }: Asset, type: string, seconds: number): Response {
  c.header("ETag", etag);
  c.header("Cache-Control", `public, max-age=${seconds}`);
  c.header("X-Content-Type-Options", "nosniff");
  // A server that compresses on the way makes the tag weak: compared weakly (RFC 9110, 13.1.2).
  const known = c.req.header("if-none-match")?.includes(etag.slice(1, -1)) ?? false;
  if (known) return c.body(null, 304);
  c.header("Content-Type", `${type}; charset=utf-8`);
  return c.body(body);
}

const explanation = (code: string, title: string, status: number) =>
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${code}</title>
<h1>${code}</h1>
<p>${title}. Answered with status ${status}.</p>
<p><a href="/docs">The reference</a></p>
</html>
`;

const explained = new Map([
  ...Object.entries(faults).map(([code, { title, status }]) =>
    [code, explanation(code, title, status)] as const
  ),
  ["InternalError", explanation("InternalError", broken, 500)] as const,
]);
