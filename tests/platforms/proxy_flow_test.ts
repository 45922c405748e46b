/** The proxy streams, breaks off with its caller, and renews a token the provider refuses. */
import assert from "node:assert/strict";
import { until } from "../outbound/servers.ts";
import { connect, count, tenantWith, trailOf } from "./accounts.ts";
import { at, clock, far, scene, seen, side } from "./far_side.ts";

Deno.test("the proxy streams both ways, bounded", async () => {
  const { toFar } = await scene();
  const { promise: isRead, resolve: goOn } = Promise.withResolvers<void>();
  side.answer = async (_, response) => {
    response.write("first");
    await isRead; // An answer that is held back would never end.
    response.end("second");
  };
  let text = "";
  for await (
    const piece of (await toFar("/stream")).body?.pipeThrough(new TextDecoderStream()) ?? []
  ) {
    text += piece;
    goOn();
  }
  assert.equal(text, "firstsecond");
  side.answer = (_, response) => void response.end("fine");
  const chunk = new Uint8Array(1024 * 1024);
  const megabytes = (most: number) => {
    let left = most;
    return new ReadableStream<Uint8Array>({
      pull: (controller) => left-- > 0 ? controller.enqueue(chunk) : controller.close(),
    });
  };
  const upload = (most: number) => toFar("/upload", { method: "POST", body: megabytes(most) });
  const fits = await upload(10);
  assert.equal(fits.status, 200);
  await fits.body?.cancel();
  assert.equal(seen.at(-1)?.body.length, 10 * chunk.byteLength);
  const before = seen.length;
  const tooMuch = await upload(11);
  assert.equal(tooMuch.status, 413);
  await tooMuch.body?.cancel();
  const said = { "content-length": String(11 * chunk.byteLength) };
  const declared = await toFar("/upload", { method: "POST", body: "x", headers: said });
  assert.equal(declared.status, 413);
  await declared.body?.cancel();
  assert.equal(seen.length, before);
});

Deno.test("a caller who goes away takes the provider's connection along", async () => {
  const { toFar } = await scene();
  side.answer = (_, response) => void response.write("first");
  const gone = new AbortController();
  const response = await toFar("/endless", { signal: gone.signal });
  await until(() => far.open() === 1);
  await response.body?.getReader().cancel();
  await until(() => far.open() === 0);
  side.answer = () => {};
  const waiting = toFar("/silent", { signal: gone.signal });
  await until(() => far.open() === 1);
  gone.abort();
  await (await waiting).body?.cancel();
  await until(() => far.open() === 0);
});

Deno.test("a refused token is renewed once and the request repeated where it can be", async () => {
  const { toFar, accessToken, tenant } = await scene();
  side.answer = (request, response) => {
    const isOld = request.headers.authorization === `Bearer ${accessToken}`;
    response.writeHead(isOld ? 401 : 200).end(isOld ? "stale" : "fresh");
  };
  const response = await toFar("/mail");
  assert.deepEqual([response.status, await response.text()], [200, "fresh"]);
  assert.equal(seen.length, 2);
  assert.equal(at.provider.counts.refreshRequests, 1);
  const { entries } = await trailOf(at, tenant.tenantId);
  assert.equal(count(entries, ({ action }) => action === "binding.proxied"), 1);
  side.answer = (_, response) => void response.writeHead(401).end("never");
  for (let i = 0; i < 5; i++) {
    const refused = await toFar("/mail");
    assert.deepEqual([refused.status, await refused.text()], [401, "never"]);
  }
  assert.equal(at.provider.counts.refreshRequests, 1, "every 401 caused a refresh");
});

Deno.test("a refused token is not renewed for a body that is gone, but is for a small one", async () => {
  const { toFar, accessToken } = await scene();
  side.answer = (request, response) => {
    const isOld = request.headers.authorization === `Bearer ${accessToken}`;
    response.writeHead(isOld ? 401 : 200).end();
  };
  const stream = () => new Blob(["gone"]).stream();
  const streamed = await toFar("/mail", { method: "POST", body: stream() });
  assert.equal(streamed.status, 401);
  assert.equal(at.provider.counts.refreshRequests, 0);
  const headers = { "content-length": "5" };
  const small = await toFar("/mail", { method: "POST", body: "small", headers });
  assert.equal(small.status, 200);
  assert.deepEqual(seen.map(({ body }) => body), ["gone", "small", "small"]);
  assert.equal(seen.at(-1)?.headers["content-length"], "5");
});

Deno.test("the proxy renews a token that is due before it sends anything", async () => {
  const { toFar, accessToken } = await scene();
  clock.aheadMs = 3601_000;
  const response = await toFar("/mail");
  assert.equal(response.status, 200);
  await response.body?.cancel();
  assert.equal(seen.length, 1);
  assert.notEqual(seen[0]?.headers.authorization, `Bearer ${accessToken}`);
  assert.equal(at.provider.counts.refreshRequests, 1);
});

Deno.test("a provider that is away is said so", async () => {
  const tenant = await tenantWith(at, { apiHosts: ["http://127.0.0.1:9"] });
  const { id } = await connect(at, tenant.member, tenant);
  const path = `/api/v1/bindings/${id}/proxy/127.0.0.1:9/x`;
  const response = await at.request(path, {}, tenant.member);
  const { code, reason } = await response.json();
  assert.deepEqual([response.status, code, reason], [502, "ProviderError", "proxy.unreachable"]);
});
