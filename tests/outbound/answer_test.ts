/** Answers of which no Response is made: the same bytes, the same refusals, the same care for connections. */
import assert from "node:assert/strict";
import { type Answer, bytesOf, headerOf, outbound, piecesOf, Refused } from "../../src/outbound.ts";
import { http, tcp, until } from "./servers.ts";

const out = () => outbound({ allowPrivateHosts: true });
const text = async ({ body }: Answer) => new TextDecoder().decode(await bytesOf(body));

Deno.test("answer gives status, headers and body as they came, whole or in pieces, over one connection", async () => {
  await using far = await http(({ url }, response) => {
    response.writeHead(url === "/none" ? 204 : 201, [["X-One", "1"], ["x-one", "2"]].flat());
    if (url === "/none") return void response.end();
    response.write("one ");
    if (url === "/whole") return void response.end("two");
    setTimeout(() => response.end("two"), 20);
  });
  using call = out();
  for (const path of ["/whole", "/pieces", "/pieces", "/none"]) {
    const answer = await call.answer(`http://127.0.0.1:${far.port}${path}`, { method: "POST" });
    assert.equal(answer.status, path === "/none" ? 204 : 201);
    assert.equal(headerOf(answer, "x-one"), "1, 2");
    assert.equal(headerOf(answer, "x-two"), null);
    assert.equal(await text(answer), path === "/none" ? "" : "one two");
  }
  assert.equal(far.connections(), 1);
});

Deno.test("a body's pieces come as they are sent, end once, and a call given up closes its connection", async () => {
  const { promise: heard, resolve: hear } = Promise.withResolvers<void>();
  await using far = await http((_, response) => {
    response.write("one");
    heard.then(() => response.write("two")); // Else both may come in one piece.
  });
  using call = out();
  const { body } = await call.answer(`http://127.0.0.1:${far.port}/`, {});
  const { next, cancel } = piecesOf(body);
  const said = async () => new TextDecoder().decode((await next()) ?? new Uint8Array());
  assert.equal(await said(), "one");
  hear();
  assert.equal(await said(), "two");
  assert.equal(far.open(), 1);
  cancel();
  await until(() => far.open() === 0);
  await assert.rejects(next());
  const whole = piecesOf(new Uint8Array([1]));
  assert.deepEqual([await whole.next(), await whole.next()], [new Uint8Array([1]), null]);
});

Deno.test("answer refuses what a call refuses: too much, broken off, no status of HTTP's, another network", async () => {
  const answering = (head: string, body = "") =>
    tcp((socket) => socket.once("data", () => socket.end(`HTTP/1.1 ${head}\r\n\r\n${body}`)));
  const cases: [string, string, Refused["reason"]][] = [
    ["200 OK\r\ncontent-length: 99", "x", "too_large"],
    ["200 OK\r\ncontent-length: 9", "short", "bad_answer"],
    ["799 What", "", "bad_answer"],
    ["302 Found\r\nlocation: /", "", "redirect"],
  ];
  for (const [head, body, reason] of cases) {
    await using far = await answering(head, body);
    using call = out();
    await assert.rejects(
      call.answer(`http://127.0.0.1:${far.port}/`, { maxBytes: 10 }).then(text),
      (error) => error instanceof Refused && error.reason === reason,
      head,
    );
  }
  using strict = outbound({ allowPrivateHosts: false });
  await assert.rejects(strict.answer("https://127.0.0.1/", {}), Refused);
  using call = out();
  const body = new ReadableStream<Uint8Array>();
  await assert.rejects(call.answer("http://127.0.0.1:9/", { method: "POST", body }), TypeError);
});
