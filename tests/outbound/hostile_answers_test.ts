/** Answers made to be misunderstood, over a kept connection: refused, and never the next call's. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { outbound, type RefusalReason, Refused } from "../../src/outbound.ts";
import { bodyOf } from "../../src/outbound/bodies.ts";
import { readHead } from "../../src/outbound/heads.ts";
import { tcp, until } from "./servers.ts";

const line = "HTTP/1.1 200 OK\r\n";
const chunked = `${line}transfer-encoding: chunked\r\n\r\n`;
const length = (value: string) => `${line}content-length: ${value}\r\n\r\nhello`;
const header = (text: string) => `${line}${text}\r\ncontent-length: 5\r\n\r\nhello`;

/** What no two readers may understand differently, so that nobody gets to. */
const ambiguous: Record<string, string> = {
  "a length and chunks": `${line}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  "chunks and a length": `${line}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n`,
  "two lengths": `${line}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`,
  "one length twice": `${line}content-length: 5\r\nContent-Length: 5\r\n\r\nhello`,
  "a list of lengths": length("5, 5"),
  "a negative length": length("-5"),
  "a signed length": length("+5"),
  "a hexadecimal length": length("0x5"),
  "half a length": length("5.0"),
  "an empty length": length(""),
  "a length beyond numbers": length("99999999999999999999"),
  "another coding": `${line}transfer-encoding: gzip\r\n\r\nhello`,
  "two codings": `${line}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  "chunked twice": `${line}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
  "chunked in two lines":
    `${line}transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n`,
  "no coding": `${line}transfer-encoding: \r\ncontent-length: 5\r\n\r\nhello`,
  "an odd coding": `${line}transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n`,
  "a tab within it": `${line}transfer-encoding: chun\tked\r\n\r\n0\r\n\r\n`,
  "chunks of HTTP/1.0": "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  "a folded line": header("x: a\r\n b"),
  "a folded first line": `${line} x: a\r\n\r\n`,
  "a space before the colon": header("x : a"),
  "a name with a space": header("x y: a"),
  "no name": header(": a"),
  "no colon": header("x"),
  "a bare line feed": header("x: a\ny: b"),
  "a bare carriage return": header("x: a\ry: b"),
  "a null": header("x: a\0b"),
  "another version": "HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  "an old version": "HTTP/0.9 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  "a lower-case version": "http/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  "a status of two digits": "HTTP/1.1 20 OK\r\ncontent-length: 5\r\n\r\nhello",
  "a status of four": "HTTP/1.1 2000 OK\r\ncontent-length: 5\r\n\r\nhello",
  "a status of none": "HTTP/1.1  OK\r\ncontent-length: 5\r\n\r\nhello",
  "a line before the status": `\r\n${length("5")}`,
  "another protocol": "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nhello",
  "no HTTP": "SSH-2.0-OpenSSH_9.9\r\n\r\n",
  "a swollen header": `${line}x: ${"y".repeat(70_000)}\r\n\r\n`,
  "a thousand headers": `${line}${"x: 12345678901234567890\r\n".repeat(4_000)}\r\n`,
  "endless interim answers": "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(4_000),
};

const odd: Record<string, string> = {
  "a size that is no number": `${chunked}x\r\n`,
  "a negative size": `${chunked}-5\r\nhello\r\n0\r\n\r\n`,
  "a size with a prefix": `${chunked}0x5\r\nhello\r\n0\r\n\r\n`,
  "a size with a space": `${chunked}5 \r\nhello\r\n0\r\n\r\n`,
  "an empty size": `${chunked}\r\nhello\r\n0\r\n\r\n`,
  "a size beyond numbers": `${chunked}${"f".repeat(16)}\r\nhello`,
  "zeros without end": `${chunked}${"0".repeat(8_000)}`,
  "a size ended by a bare line feed": `${chunked}5\nhello\r\n0\r\n\r\n`,
  "a chunk longer than its size": `${chunked}3\r\nhello\r\n0\r\n\r\n`,
  "a chunk shorter than its size": `${chunked}7\r\nhello\r\n0\r\n\r\n`,
  "a chunk ended by a bare line feed": `${chunked}5\r\nhello\n0\r\n\r\n`,
  "an extension with a bare line feed": `${chunked}5;a\nb\r\nhello\r\n0\r\n\r\n`,
  "an extension without end": `${chunked}5;${"a".repeat(5_000)}`,
  "more extensions than body": `${chunked}${`1;${"a".repeat(900)}\r\nx\r\n`.repeat(100)}0\r\n\r\n`,
  "a trailer that is none": `${chunked}5\r\nhello\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n`,
  "trailers without end": `${chunked}0\r\n${"x: 12345678901234567890\r\n".repeat(4_000)}\r\n`,
  "chunks without their end": `${chunked}5\r\nhello\r\n`,
  "an end without its empty line": `${chunked}5\r\nhello\r\n0\r\n`,
  "a body that is short": length("6"),
};

async function refuses(says: Record<string, string>, reason: RefusalReason) {
  using call = outbound({ allowPrivateHosts: true, timeoutMs: 2_000, idleMs: 2_000 });
  for (const [what, bytes] of Object.entries(says)) {
    await using server = await tcp((socket) => {
      socket.once("data", () => void socket.end(bytes, "latin1"));
    });
    const url = `http://127.0.0.1:${server.port}/`;
    const text = async () => await (await call(url, { keepAlive: true })).text();
    const isRefused = (error: unknown) => error instanceof Refused && error.reason === reason;
    await assert.rejects(text(), isRefused, what);
    await until(() => server.open() === 0);
    assert.equal(server.connections(), 1, what);
  }
}

Deno.test("keepAlive refuses a head that may be understood in two ways", async () => {
  await refuses(ambiguous, "unreachable");
});

Deno.test("keepAlive refuses a body that is not framed as it says", async () => {
  await refuses(odd, "bad_answer");
});

Deno.test("keepAlive gives up on an answer that drips", async () => {
  await using server = await tcp((socket) => {
    socket.once("data", () => { // Else it may answer before it is asked.
      const timer = setInterval(() => void socket.write("H"), 20);
      socket.on("close", () => clearInterval(timer));
    });
  });
  using call = outbound({ allowPrivateHosts: true, timeoutMs: 150 });
  await assert.rejects(
    call(`http://127.0.0.1:${server.port}/`, { keepAlive: true }),
    /did not answer within 150 ms/,
  );
  await until(() => server.open() === 0);
});

const bytesOf = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

/** The answer, come in pieces cut at these places. */
async function readIn(cuts: readonly number[], text: string) {
  const bytes = bytesOf(text);
  const pieces = [0, ...cuts].map((cut, i) => bytes.slice(cut, cuts[i] ?? bytes.length));
  const read = () => Promise.resolve(pieces.shift() ?? null);
  const found = await readHead(read);
  if (found === null) return null;
  const body = bodyOf(found.head.framing);
  let [content, piece]: [string, Uint8Array<ArrayBuffer> | null] = ["", found.rest];
  for (; piece !== null; piece = await read()) {
    content += String.fromCharCode(...body.take(piece));
    if (body.isWhole) break;
  }
  const { isWhole, hasSurplus } = body;
  return { ...found.head, content, isWhole, hasSurplus };
}

/** Unusual, and allowed. */
const allowed: Record<string, string> = {
  hello: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n${length("5")}`,
  "": `${chunked}0\r\n\r\n`,
  "hello, world":
    `${chunked}5\r\nhello\r\n00007;a="b;c" ; d\r\n, world\r\n0;e\r\nX: y\r\nZ:\r\n\r\n`,
  [`${"ab".repeat(100)}`]: `HTTP/1.1 200\r\nTransfer-Encoding:\tChunked \r\n\r\n${
    "2\r\nab\r\n".repeat(99)
  }02\r\nab\r\n0\r\n\r\n`,
  "\x80\xff": `${line}x: caf\xe9 \x93\x81\r\nContent-Length: 0000002\r\n\r\n\x80\xff`,
};

Deno.test("an answer reads the same wherever it is cut, and trailers and extensions are dropped", async () => {
  for (const [content, text] of Object.entries(allowed)) {
    const whole = await readIn([], text);
    assert.equal(whole?.content, content);
    assert.deepEqual([whole.isWhole, whole.hasSurplus], [true, false], content);
    const bytewise = Array.from({ length: text.length - 1 }, (_, i) => i + 1);
    assert.deepEqual(await readIn(bytewise, text), whole);
    const cuts = fc.uniqueArray(fc.nat(text.length)).map((all) => all.sort((a, b) => a - b));
    await fc.assert(
      fc.asyncProperty(cuts, async (cuts) => {
        assert.deepEqual(await readIn(cuts, text), whole);
      }),
      { numRuns: 50 },
    );
  }
  const found = await readIn([], allowed["\x80\xff"] ?? "");
  assert.deepEqual(found?.headers[0], ["x", "caf\xe9 \x93\x81"]);
});

Deno.test("an answer says when bytes came after it", async () => {
  for (const text of [length("4"), `${chunked}0\r\n\r\n\r\n`, `${length("0")}`]) {
    assert.equal((await readIn([], text))?.hasSurplus, true, text);
  }
});
