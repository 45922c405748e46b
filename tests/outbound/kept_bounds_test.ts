/** How many connections are kept, for how long, and that each is one call's at a time. */

import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { outbound, type OutboundInit, type OutboundOptions } from "../../src/outbound.ts";
import { type Far, http, tcp, until } from "./servers.ts";

const at = ({ port }: Pick<Far, "port">, path = "/") => `http://127.0.0.1:${port}${path}`;

function keeping(kept: OutboundOptions["kept"] = {}) {
  const call = outbound({ allowPrivateHosts: true, timeoutMs: 5_000, kept });
  return {
    get: (url: string, init: OutboundInit = {}) => call(url, { ...init, keepAlive: true }),
    [Symbol.dispose]: () => call[Symbol.dispose](),
  };
}

/** A server that answers none before it has `count` requests. */
async function together(count: number) {
  let waiting: (() => void)[] = [];
  return await http((_req, res) => {
    waiting.push(() => res.end("ok"));
    if (waiting.length < count) return;
    for (const answer of waiting) answer();
    waiting = [];
  });
}

const many = (count: number, call: () => Promise<Response>) =>
  Promise.all(Array.from({ length: count }, async () => await (await call()).text()));

Deno.test("keepAlive keeps no more connections than its bounds, and the latest of them", async () => {
  await using first = await together(5);
  await using second = await together(2);
  using kept = keeping({ perOrigin: 3, inAll: 4 });
  await many(5, () => kept.get(at(first)));
  await until(() => first.open() === 3);
  await many(2, () => kept.get(at(second)));
  await until(() => first.open() + second.open() === 4);
  assert.deepEqual([first.open(), second.open()], [2, 2]);
  await many(2, () => kept.get(at(second)));
  assert.equal(second.connections(), 2);
});

Deno.test("keepAlive closes a connection that rested for long, and keeps none that is old", async () => {
  await using server = await http((_req, res) => void res.end("ok"));
  using brief = keeping({ restMs: 30 });
  await (await brief.get(at(server))).text();
  await until(() => server.open() === 0);
  using young = keeping({ lifeMs: 0 });
  for (let i = 0; i < 3; i++) await (await young.get(at(server))).text();
  await until(() => server.open() === 0);
  assert.equal(server.connections(), 4);
});

Deno.test("keepAlive keeps no connection that the far side said it would close", async () => {
  const ends = ["connection: close", "keep-alive: timeout=1", "Connection: x, Close"];
  let says = "";
  await using server = await tcp((socket) => {
    socket.on("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\n${says}\r\ncontent-length: 2\r\n\r\nok`);
    });
  });
  using kept = keeping();
  for (says of ends) {
    await (await kept.get(at(server))).text();
    await until(() => server.open() === 0);
  }
  says = "keep-alive: max=9, timeout=5";
  for (let i = 0; i < 3; i++) await (await kept.get(at(server))).text();
  assert.equal(server.connections(), ends.length + 1);
});

Deno.test("keepAlive leaves an answer that nobody reads in nobody's way", async () => {
  await using server = await http((req, res) => {
    res.write("first");
    if (req.url !== "/endless") res.end();
  });
  using kept = keeping();
  const unread = await Promise.all([1, 2, 3].map(() => kept.get(at(server, "/endless"))));
  for (let i = 0; i < 3; i++) assert.equal(await (await kept.get(at(server))).text(), "first");
  assert.equal(server.connections(), 4);
  for (const answer of unread) await answer.body?.cancel();
});

Deno.test("keepAlive cannot be made to close a connection that is another call's by now", async () => {
  await using server = await http((req, res) => {
    res.flushHeaders();
    if (req.url === "/") return void setTimeout(() => res.end("whole"), 20);
    res.write("sec");
    setTimeout(() => res.end("ond"), 50);
  });
  using kept = keeping();
  const { signal } = new AbortController();
  const { promise: isThrough, resolve } = Promise.withResolvers<void>();
  const { removeEventListener: remove } = signal;
  signal.removeEventListener = (...all: Parameters<typeof remove>) => {
    resolve(); // A call that is through listens to its caller no more.
    remove.apply(signal, all);
  };
  const first = await kept.get(at(server), { signal });
  const reader = first.body?.getReader();
  const read = reader?.read();
  reader?.releaseLock(); // What is read now waits in the stream, which is through and not closed.
  await assert.rejects(async () => await read, TypeError);
  await isThrough;
  const second = await kept.get(at(server, "/second"));
  await first.body?.cancel();
  assert.equal(await second.text(), "second");
  assert.equal(server.connections(), 1);
});

Deno.test("keepAlive takes what comes after an answer, or between two, for no answer", async () => {
  const stray = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
  const own = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown";
  for (
    const [pause, last] of [[0, own + stray], [10, own], [0, own.replace(/3\r/, "2\r")]] as const
  ) {
    await using server = await tcp((socket) => {
      socket.on("data", () => {
        socket.write(last);
        if (pause > 0) setTimeout(() => socket.destroyed || socket.write(stray), pause);
      });
    });
    using kept = keeping();
    for (let i = 1; i <= 3; i++) {
      assert.match(await (await kept.get(at(server))).text(), /^own?$/);
      await until(() => server.open() === 0);
      assert.equal(server.connections(), i);
    }
  }
});

Deno.test("outbound disposed closes what it keeps, and keeps nothing any more", async () => {
  await using server = await http((_req, res) => void res.end("ok"));
  const kept = keeping();
  await (await kept.get(at(server))).text();
  const late = await kept.get(at(server));
  kept[Symbol.dispose]();
  assert.equal(await late.text(), "ok");
  await until(() => server.open() === 0);
  assert.equal(await (await kept.get(at(server))).text(), "ok");
  await until(() => server.open() === 0);
});

/** Numbers that look random and are the same for the same seed (mulberry32). */
const dice = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

/** Says three times who called, taking its time, and now and then hangs up instead. */
async function name(req: IncomingMessage, res: ServerResponse) {
  const parts: string[] = [];
  for await (const part of req) parts.push(String(part));
  const caller = parts.join("");
  const random = dice(Number(caller));
  for (let i = 0; i < 3; i++) {
    if (random() < 0.4) await new Promise((go) => setTimeout(go, 4 * random()));
    if (random() < 0.03) return void res.destroy();
    res.write(`${caller};`);
  }
  res.end();
}

Deno.test("keepAlive gives each of 200 callers its own answer while others leave at random", async () => {
  await using server = await http((req, res) => void name(req, res).catch(() => res.destroy()));
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = dice(seed);
  using kept = keeping();
  let [answered, left] = [0, 0];
  const call = async (caller: number) => {
    const client = new AbortController();
    if (random() < 0.15) setTimeout(() => client.abort(new Error("left")), 100 * random());
    const init = { method: "POST", body: String(caller), signal: client.signal };
    try {
      const text = await (await kept.get(at(server), init)).text();
      assert.equal(text, `${caller};`.repeat(3), `seed ${seed}`);
      answered++;
    } catch (error) {
      assert.match(String(error), /left|broke off|could not be reached/, `seed ${seed}`);
      left++;
    }
  };
  const calls = async (caller: number) => {
    for (let i = 0; i < 5; i++) await call(caller * 5 + i);
  };
  await Promise.all(Array.from({ length: 200 }, (_, caller) => calls(caller)));
  const open = server.connections();
  assert.ok(answered > 500 && left > 50, `${answered} answered, ${left} left, seed ${seed}`);
  assert.ok(open < answered, `${open} connections for ${answered} answers, seed ${seed}`);
});
