/** The guarded fetch against servers that answer well, slowly, badly or not at all. */

import assert from "node:assert/strict";
import type { CustomFetchOptions } from "oauth4webapi";
import { type Outbound, outbound, type RefusalReason, Refused } from "../../src/outbound.ts";
import { http, tcp, until } from "./servers.ts";

const fetch = outbound({ allowPrivateHosts: true });
const at = ({ port }: { port: number }, path = "/") => `http://127.0.0.1:${port}${path}`;
const refused = (reason: RefusalReason) => (error: unknown) =>
  error instanceof Refused && error.reason === reason;

/** One mebibyte at a time, `count` times, and how many were asked for. */
function mebibytes(count: number) {
  const chunk = new Uint8Array(1 << 20).fill(7);
  const asked = { chunks: 0 };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (asked.chunks++ === count) controller.close();
      else controller.enqueue(chunk);
    },
  }, { highWaterMark: 0 });
  return { asked, body };
}

Deno.test("outbound answers like fetch: status, headers, repeated headers and body", async () => {
  await using server = await http((req, res) => {
    res.writeHead(201, { "x-path": req.url ?? "", "set-cookie": ["a=1", "b=2"] });
    res.end(`${req.method} ${req.headers.host}`);
  });
  const response = await fetch(at(server, "/a?b=c#d"));
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("x-path"), "/a?b=c");
  assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
  assert.equal(await response.text(), `GET 127.0.0.1:${server.port}`);
  await until(() => server.open() === 0);
});

Deno.test("outbound sends every kind of body with its type and its length", async () => {
  await using server = await http(async (req, res) => {
    const parts: string[] = [];
    for await (const part of req) parts.push(String(part));
    const { "content-type": type, "content-length": length } = req.headers;
    res.end(JSON.stringify([req.method, type ?? null, length ?? null, parts.join("")]));
  });
  const post = async (body: BodyInit | null) =>
    await (await fetch(at(server), { method: "POST", body })).json();
  const form = "application/x-www-form-urlencoded;charset=UTF-8";
  assert.deepEqual(await post("héé"), ["POST", "text/plain;charset=UTF-8", "5", "héé"]);
  assert.deepEqual(await post(new URLSearchParams({ a: "b c" })), ["POST", form, "5", "a=b+c"]);
  assert.deepEqual(await post(new TextEncoder().encode("raw")), ["POST", null, "3", "raw"]);
  assert.deepEqual(await post(new Blob(["blob"])), ["POST", null, "4", "blob"]);
  assert.deepEqual(await post(ReadableStream.from([new Uint8Array([104, 105])])), [
    ...["POST", null, null, "hi"],
  ]);
  assert.deepEqual(await post(null), ["POST", null, "0", ""]);
});

Deno.test("outbound sets Host itself and drops what speaks about the connection", async () => {
  await using server = await http((req, res) => void res.end(JSON.stringify(req.headers)));
  const headers = {
    ...{ host: "evil.example", connection: "upgrade", "transfer-encoding": "chunked" },
    ...{ te: "trailers", upgrade: "h2c", "content-length": "99", authorization: "Bearer t" },
  };
  const seen = await (await fetch(at(server), { headers })).json();
  assert.deepEqual(seen, {
    ...{ host: `127.0.0.1:${server.port}`, connection: "close" },
    ...{ accept: "*/*", authorization: "Bearer t" },
  });
});

Deno.test("outbound forwards no method that opens a tunnel or echoes the request", async () => {
  await using server = await http((_req, res) => void res.end());
  for (const method of ["CONNECT", "trace", "TRACK", "GET /\r\n"]) {
    await assert.rejects(fetch(at(server), { method }), TypeError);
  }
  assert.equal(server.connections(), 0);
});

Deno.test("outbound asks for no compression and passes compressed bytes through", async () => {
  const gzip = new Uint8Array([31, 139, 8, 0, 1, 2, 3]);
  await using server = await http((req, res) => {
    assert.equal(req.headers["accept-encoding"], undefined);
    res.writeHead(200, { "content-encoding": "gzip" }).end(gzip);
  });
  const response = await fetch(at(server));
  assert.equal(response.headers.get("content-encoding"), "gzip");
  assert.deepEqual(await response.bytes(), gzip);
});

Deno.test("outbound refuses every redirect and lets other 3xx through", async () => {
  await using server = await http((req, res) => {
    res.writeHead(Number(req.url?.slice(1)), { location: "/200" }).end("x");
  });
  for (const status of [301, 302, 303, 307, 308]) {
    for (const redirect of ["follow", "manual", "error"] as const) {
      await assert.rejects(fetch(at(server, `/${status}`), { redirect }), refused("redirect"));
    }
  }
  assert.equal(server.connections(), 15);
  assert.equal((await fetch(at(server, "/304"))).status, 304);
  await until(() => server.open() === 0);
});

Deno.test("outbound has no body for HEAD, 204 and 304, and leaves no connection", async () => {
  await using server = await http((req, res) =>
    void res.writeHead(Number(req.url?.slice(1))).end()
  );
  for (const [method, status] of [["HEAD", 200], ["GET", 204], ["GET", 304]] as const) {
    const response = await fetch(at(server, `/${status}`), { method });
    assert.equal(response.status, status);
    assert.equal(response.body, null);
  }
  await until(() => server.open() === 0);
});

Deno.test("outbound reads a big answer only as fast as it is read", async () => {
  let sent = 0;
  await using server = await http((_req, res) => {
    const more = () => {
      while (sent < 200) {
        sent++;
        if (!res.write(new Uint8Array(1 << 20))) return void res.once("drain", more);
      }
      res.end();
    };
    more();
  });
  const response = await fetch(at(server), { maxBytes: Infinity });
  await new Promise((go) => setTimeout(go, 200));
  assert.ok(sent < 50, `${sent} of 200 MiB left the server unread`);
  let bytes = 0;
  for await (const chunk of response.body ?? []) bytes += chunk.byteLength;
  assert.equal(bytes, 200 << 20);
});

Deno.test("outbound takes a streamed request body only as fast as the far side does", async () => {
  let read = 0;
  const slow = Promise.withResolvers<void>();
  await using server = await http(async (req, res) => {
    await slow.promise;
    for await (const chunk of req) read += chunk.length;
    res.end("done");
  });
  const { asked, body } = mebibytes(64);
  const answer = fetch(at(server), { method: "POST", body });
  await new Promise((go) => setTimeout(go, 200));
  assert.ok(asked.chunks < 40, `${asked.chunks} of 64 MiB were taken ahead`);
  slow.resolve();
  assert.equal(await (await answer).text(), "done");
  assert.equal(read, 64 << 20);
});

Deno.test("outbound answers before the request is through, and goes on sending", async () => {
  await using server = await http((req, res) => {
    res.flushHeaders();
    req.pipe(res);
  });
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const response = await fetch(at(server), { method: "POST", body: readable });
  const writer = writable.getWriter();
  const reader = response.body?.getReader();
  for (const byte of [1, 2, 3]) {
    await writer.write(new Uint8Array([byte]));
    assert.deepEqual((await reader?.read())?.value, new Uint8Array([byte]));
  }
  await reader?.cancel();
  await until(() => server.open() === 0);
});

Deno.test("outbound errors a body that is longer than maxBytes, announced or not", async () => {
  await using server = await http((req, res) => {
    if (req.url === "/announced") res.setHeader("content-length", 2_000);
    res.write(new Uint8Array(1_000));
    res.end(new Uint8Array(1_000));
  });
  const maxBytes = 1_999;
  await assert.rejects(fetch(at(server, "/announced"), { maxBytes }), refused("too_large"));
  const response = await fetch(at(server, "/chunked"), { maxBytes });
  await assert.rejects(response.bytes(), refused("too_large"));
  assert.equal((await (await fetch(at(server), { maxBytes: 2_000 })).bytes()).length, 2_000);
  await until(() => server.open() === 0);
});

Deno.test("outbound's body cancelled, read or not, closes the connection", async () => {
  await using server = await http((_req, res) => void res.write("first"));
  const unread = await fetch(at(server));
  const read = await fetch(at(server));
  const reader = read.body?.getReader();
  await reader?.read();
  await until(() => server.open() === 2);
  await unread.body?.cancel();
  await reader?.cancel();
  await until(() => server.open() === 0);
});

Deno.test("outbound fails when a streamed request body fails, and lets go", async () => {
  await using server = await http((req) => void req.resume());
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new Uint8Array([1])),
    pull: () => Promise.reject(new Error("the file ended early")),
  });
  await assert.rejects(fetch(at(server), { method: "POST", body }), /the file ended early/);
  await until(() => server.open() === 0);
});

Deno.test("outbound says bad_answer for what is not HTTP or breaks off", async () => {
  const head = "HTTP/1.1 200 OK\r\n";
  await using half = await tcp((socket) => void socket.end(`${head}content-length: 9\r\n\r\nhalf`));
  await assert.rejects((await fetch(at(half))).text(), refused("bad_answer"));
  await using odd = await tcp((socket) => void socket.end("HTTP/1.1 999 Odd\r\n\r\n"));
  await assert.rejects(fetch(at(odd)), refused("bad_answer"));
  const swollen = `${head}x: ${"y".repeat(70_000)}\r\n\r\n`;
  await using headers = await tcp((socket) => void socket.end(swollen));
  await assert.rejects(fetch(at(headers)), refused("unreachable"));
  await using ssh = await tcp((socket) => void socket.end("SSH-2.0-OpenSSH_9.9\r\n"));
  await assert.rejects(fetch(at(ssh)), refused("unreachable"));
});

Deno.test("outbound fits oauth4webapi's customFetch", () => {
  const custom: (
    url: string,
    options: CustomFetchOptions<"GET" | "POST", URLSearchParams>,
  ) => Promise<Response> = fetch satisfies Outbound;
  assert.equal(typeof custom, "function");
});
