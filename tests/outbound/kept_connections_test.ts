/** Connections kept between calls: who gets them, when they end, and that no answer goes astray. */

import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import type { Socket } from "node:net";
import { outbound, type OutboundOptions, type RefusalReason, Refused } from "../../src/outbound.ts";
import { certificateFor } from "./certificates.ts";
import { type Far, http, https, tcp, until } from "./servers.ts";

const at = ({ port }: Pick<Far, "port">, path = "/") => `http://127.0.0.1:${port}${path}`;
const refused = (reason: RefusalReason) => (error: unknown) =>
  error instanceof Refused && error.reason === reason;

/** An `outbound` that keeps its connections, as every call of these tests asks it to. */
function keeping(o: Partial<OutboundOptions> = {}) {
  const call = outbound({ allowPrivateHosts: true, timeoutMs: 2_000, idleMs: 2_000, ...o });
  return {
    get: (url: string, init: RequestInit & { maxBytes?: number; passRedirects?: boolean } = {}) =>
      call(url, { ...init, keepAlive: true }),
    [Symbol.dispose]: () => call[Symbol.dispose](),
  };
}

const post = (body: string) => ({ method: "POST", body });

/** A far side without HTTP's own help: told the requests of each connection, it says the bytes. */
function raw(say: (request: string, nth: number, socket: Socket, connection: number) => void) {
  let connections = 0;
  return tcp((socket) => {
    const connection = ++connections;
    let [text, nth] = ["", 0];
    socket.on("data", (bytes) => {
      text += bytes;
      const [, length = "0"] = /content-length: (\d+)/.exec(text) ?? [];
      const end = text.indexOf("\r\n\r\n") + 4 + Number(length);
      if (!text.includes("\r\n\r\n") || text.length < end) return;
      const request = text.slice(0, end);
      text = text.slice(end);
      say(request, ++nth, socket, connection);
    });
  });
}
const ok = (body: string, more = "") =>
  `HTTP/1.1 200 OK\r\n${more}content-length: ${body.length}\r\n\r\n${body}`;

/** Answers what it was sent, in the way its path asks for. */
const echo: RequestListener = async (req, res) => {
  const parts: string[] = [];
  for await (const part of req) parts.push(String(part));
  const body = parts.join("");
  if (req.url === "/chunked") { for (const letter of body) res.write(letter); }
  else if (req.url === "/slow") {
    res.flushHeaders();
    for (const letter of body) {
      await new Promise((go) => setTimeout(go, 2));
      res.write(letter);
    }
  } else if (req.url === "/empty") res.statusCode = 204;
  else res.write(body);
  res.end();
};

Deno.test("keepAlive makes one connection for calls one after the other, however they end", async () => {
  await using server = await http(echo);
  using kept = keeping();
  for (const path of ["/", "/chunked", "/slow", "/empty", "/"]) {
    const answer = await kept.get(at(server, path), post("hello"));
    assert.equal(await answer.text(), path === "/empty" ? "" : "hello", path);
  }
  assert.equal((await kept.get(at(server))).status, 200);
  assert.equal(server.connections(), 1);
});

Deno.test("keepAlive sends what other calls send, but asks to stay", async () => {
  await using server = await http((req, res) => void res.end(JSON.stringify(req.headers)));
  using kept = keeping();
  const headers = {
    Host: "evil.example",
    TE: "trailers",
    "X-Name": " d\u00e9j\u00e0 ",
    authorization: "k",
  };
  assert.deepEqual(await (await kept.get(at(server), { ...post("{}"), headers })).json(), {
    ...{ host: `127.0.0.1:${server.port}`, connection: "keep-alive", "content-length": "2" },
    ...{ "content-type": "text/plain;charset=UTF-8", accept: "*/*", authorization: "k" },
    "x-name": "d\u00e9j\u00e0",
  });
  for (const headers of [{ "a b": "c" }, { a: "b\r\nc: d" }, { a: "\u0394" }]) {
    await assert.rejects(kept.get(at(server), { headers }), TypeError);
  }
  await assert.rejects(kept.get(at(server), { method: "GET / HTTP/1.1\r\nx: y\r\n" }), TypeError);
});

Deno.test("keepAlive has a connection of its own for a streamed body", async () => {
  await using server = await http((req, res) => void res.end(req.headers.connection));
  using kept = keeping();
  for (let i = 0; i < 2; i++) {
    const body = ReadableStream.from([new Uint8Array(3)]);
    assert.equal(await (await kept.get(at(server), { method: "POST", body })).text(), "close");
  }
  assert.equal(server.connections(), 2);
});

Deno.test("keepAlive holds over TLS, to the name the certificate was checked for", async () => {
  const pair = await certificateFor("provider.test");
  await using server = await https(pair, (req, res) => void res.end(req.headers.host));
  using kept = keeping({ ca: pair.cert, resolve: () => Promise.resolve(["127.0.0.1"]) });
  const url = (host: string) => `https://${host}:${server.port}/`;
  for (let i = 0; i < 3; i++) {
    assert.equal(
      await (await kept.get(url("provider.test"))).text(),
      `provider.test:${server.port}`,
    );
  }
  assert.equal(server.connections(), 1);
  await assert.rejects(kept.get(url("other.test")), /ERR_TLS_CERT_ALTNAME_INVALID/);
  using stranger = keeping({ resolve: () => Promise.resolve(["127.0.0.1"]) });
  await assert.rejects(stranger.get(url("provider.test")), /CERT_UNTRUSTED/);
});

Deno.test("keepAlive never follows a name that moves inside, with or without a connection", async () => {
  const pair = await certificateFor("provider.test");
  await using server = await https(pair, (_req, res) => void res.end("outside"));
  using inside = Deno.listen({ hostname: "127.0.0.2", port: server.port });
  let isReached = false;
  inside.accept().then(() => isReached = true, () => {});
  let address = "127.0.0.1";
  using kept = keeping({
    ...{ allowPrivateHosts: false, ca: pair.cert, mayReach: (found) => found === "127.0.0.1" },
    resolve: () => Promise.resolve([address]),
  });
  const url = `https://provider.test:${server.port}/`;
  await (await kept.get(url)).text();
  address = "127.0.0.2";
  assert.equal(await (await kept.get(url)).text(), "outside");
  await assert.rejects(kept.get(url.replace("//", "//user@")), refused("credentials_in_url"));
  assert.equal(server.connections(), 1);
  server.hangUp();
  await until(() => server.open() === 0);
  await assert.rejects(kept.get(url), refused("private_address"));
  assert.deepEqual([server.connections(), isReached], [1, false]);
});

Deno.test("keepAlive does without a connection the far side has closed", async () => {
  await using server = await http(echo);
  using kept = keeping();
  for (let i = 1; i <= 3; i++) {
    assert.equal(await (await kept.get(at(server), post("again"))).text(), "again");
    server.hangUp();
    await until(() => server.open() === 0);
    assert.equal(server.connections(), i);
  }
});

Deno.test("keepAlive sends a call once more that met the end of its connection, and only once", async () => {
  const seen: string[] = [];
  await using server = await raw((request, nth, socket, connection) => {
    seen.push(`${connection}.${nth}${request.slice(-1)}`);
    if (nth === 1 && connection < 4) return void socket.write(ok(request.slice(-1)));
    if (connection === 2) socket.write("HTTP/1.1 408 Late\r\nconnection: close\r\n\r\n");
    socket.end();
  });
  using kept = keeping();
  const call = async (body: string) => await (await kept.get(at(server), post(body))).text();
  for (const body of ["a", "b", "c"]) assert.equal(await call(body), body);
  assert.deepEqual(seen, ["1.1a", "1.2b", "2.1b", "2.2c", "3.1c"]);
  await assert.rejects(call("d"), /^Refused: 127.0.0.1 could not be reached \(ECONNRESET\)$/);
  assert.deepEqual(seen.slice(5), ["3.2d", "4.1d"]);
});

Deno.test("keepAlive sends no call again of whose answer a byte came", async () => {
  let requests = 0;
  await using server = await raw((_request, nth, socket) => {
    requests++;
    if (nth === 1) socket.write(ok("first"));
    else socket.end("H");
  });
  using kept = keeping();
  await (await kept.get(at(server), post("x"))).text();
  await assert.rejects(kept.get(at(server), post("x")), refused("unreachable"));
  assert.equal(requests, 2);
});

Deno.test("keepAlive refuses a body that breaks off and does not use its connection again", async () => {
  await using server = await raw((request, _nth, socket) => {
    if (request.startsWith("GET /whole")) return void socket.write(ok("whole"));
    socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
  });
  using kept = keeping();
  await (await kept.get(at(server, "/whole"))).text();
  await assert.rejects((await kept.get(at(server, "/half"))).text(), refused("bad_answer"));
  assert.equal(await (await kept.get(at(server, "/whole"))).text(), "whole");
  assert.equal(server.connections(), 2);
});

Deno.test("keepAlive closes the connection of a call that is aborted, cancelled or cut short", async () => {
  await using server = await http((req, res) => {
    res.write("first");
    if (req.url === "/ends") res.end("second".repeat(1_000));
  });
  using kept = keeping();
  using brief = keeping({ idleMs: 150 });
  const [client, reason] = [new AbortController(), new Error("the client left")];
  const aborted = await kept.get(at(server), { signal: client.signal });
  const cancelled = await kept.get(at(server));
  const text = aborted.text();
  client.abort(reason);
  await assert.rejects(text, (error) => error === reason);
  await cancelled.body?.cancel();
  await until(() => server.open() === 0);
  const long = kept.get(at(server, "/ends"), { maxBytes: 100 }).then((answer) => answer.text());
  await assert.rejects(long, refused("too_large"));
  await assert.rejects((await brief.get(at(server))).text(), /did not go on with its answer/);
  const forgotten = await brief.get(at(server));
  await until(() => server.open() === 0);
  await assert.rejects(forgotten.text(), /was not read on/);
  assert.equal(server.connections(), 5);
});

Deno.test("keepAlive tries the next checked address, and refuses redirects like any call", async () => {
  await using server = await http((_req, res) => void res.writeHead(302, { location: "/" }).end());
  const resolve = () => Promise.resolve(["127.0.0.3", "127.0.0.4", "127.0.0.1"]);
  using kept = keeping({ resolve });
  const url = `http://provider.test:${server.port}/`;
  await assert.rejects(kept.get(url), refused("redirect"));
  assert.equal((await kept.get(url, { passRedirects: true })).status, 302);
  await server[Symbol.asyncDispose]();
  const gone = /^Refused: provider\.test could not be reached \(ECONNREFUSED\)$/;
  await assert.rejects(kept.get(url), gone);
  const none = keeping({ resolve: () => Promise.resolve([]) });
  await assert.rejects(none.get(url), refused("unresolvable"));
});
