import assert from "node:assert/strict";
import { Hono } from "hono";
import { mountDocs } from "../../routers/docs.ts";
import type { Document } from "../../routers/openapi.ts";

let made = 0;
const document: Document = {
  openapi: "3.1.0",
  info: {},
  servers: [],
  tags: [],
  paths: {},
  components: { schemas: {}, responses: {}, headers: {}, parameters: {}, securitySchemes: {} },
};
const app = new Hono();
mountDocs(app, () => {
  made++;
  return document;
}, { requestId: () => "r", report: () => {} });

Deno.test("/docs loads nothing from elsewhere, and the browser is told so", async () => {
  const response = await app.request("/docs");
  assert.equal(response.status, 200);
  const html = await response.text();
  assert.doesNotMatch(html, /https?:|\/\//);
  const policy = response.headers.get("content-security-policy") ?? "";
  assert.doesNotMatch(policy, /https?:|\*/);
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'(;|$)/);
  for (const [, path = ""] of html.matchAll(/(?:src|href)="(\/[^"]*)"/g)) {
    assert.equal((await app.request(path)).status, 200, path);
  }
});

Deno.test("/docs/reader.js is the reader, kept by caches and known by its tag", async () => {
  const response = await app.request("/docs/reader.js");
  assert.equal(response.headers.get("content-type"), "text/javascript; charset=utf-8");
  assert.match(response.headers.get("cache-control") ?? "", /max-age=86400/);
  const script = await response.text();
  assert.match(script, /SwaggerUIBundle\(\{"url":"\/openapi.json".*"validatorUrl":null\}\)/);
  const etag = response.headers.get("etag") ?? "";
  for (const known of [etag, `W/${etag}`]) {
    const again = await app.request("/docs/reader.js", { headers: { "if-none-match": known } });
    assert.deepEqual([again.status, await again.text()], [304, ""]);
  }
});

Deno.test("/openapi.json is made once", async () => {
  made = 0;
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await (await app.request("/openapi.json")).json(), document);
  }
  assert.ok(made <= 1);
});

Deno.test("/problems/{code} explains every code and no other", async () => {
  assert.match(await (await app.request("/problems/PlatformNotFound")).text(), /404/);
  assert.equal((await app.request("/problems/Nonsense")).status, 404);
});
