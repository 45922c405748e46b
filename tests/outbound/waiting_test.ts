/** How the guarded fetch ends: its waits, the caller's signal, and nothing left behind. */

import assert from "node:assert/strict";
import { outbound, type RefusalReason, Refused } from "../../src/outbound.ts";
import { http, tcp, until } from "./servers.ts";

const fetch = outbound({ allowPrivateHosts: true, timeoutMs: 150, idleMs: 150 });
/** For what is to be answered, however busy this machine is. */
const patient = outbound({ allowPrivateHosts: true, timeoutMs: 5_000, idleMs: 150 });
const at = ({ port }: { port: number }) => `http://127.0.0.1:${port}/secret?key=hidden`;
const refused = (reason: RefusalReason, message: RegExp) => (error: unknown) =>
  error instanceof Refused && error.reason === reason && message.test(error.message);

async function within(ms: number, call: () => Promise<unknown>) {
  const start = performance.now();
  await call();
  const took = performance.now() - start;
  assert.ok(took < ms, `took ${took} ms`);
}

Deno.test("outbound gives up on a name that is not resolved in time", async () => {
  const resolve = () => new Promise<string[]>(() => {});
  const call = outbound({ allowPrivateHosts: true, resolve, timeoutMs: 50 });
  await within(
    1_000,
    () =>
      assert.rejects(
        call("http://slow.example/"),
        refused("timeout", /was not found within 50 ms/),
      ),
  );
});

Deno.test("outbound says unresolvable for no address and for a failing resolver", async () => {
  for (const resolve of [() => Promise.resolve([]), () => Promise.reject(new Error("SERVFAIL"))]) {
    const call = outbound({ allowPrivateHosts: true, resolve });
    await assert.rejects(call("http://x.example/"), refused("unresolvable", /x\.example/));
  }
});

Deno.test("outbound gives up on a far side that accepts and says nothing", async () => {
  await using server = await tcp((socket) => void socket.resume());
  await within(
    1_000,
    () => assert.rejects(fetch(at(server)), refused("timeout", /did not answer/)),
  );
  await until(() => server.open() === 0);
});

Deno.test("outbound gives up on a far side that does not take the request", async () => {
  await using server = await tcp((socket) => void socket.pause());
  const chunk = new Uint8Array(1 << 20);
  const body = new ReadableStream<Uint8Array>({ pull: (to) => to.enqueue(chunk) });
  await within(3_000, () =>
    assert.rejects(
      fetch(at(server), { method: "POST", body }),
      refused("timeout", /did not take the request/),
    ));
});

Deno.test("outbound errors a body that rests, whoever rests, and lets go", async () => {
  await using server = await http((_req, res) => void res.write("first"));
  const reading = await patient(at(server));
  await assert.rejects(reading.text(), refused("timeout", /did not go on with its answer/));
  const forgotten = await patient(at(server));
  await until(() => server.open() === 0);
  await assert.rejects(forgotten.text(), refused("timeout", /was not read on/));
});

Deno.test("outbound lets an answer run longer than every wait while it moves", async () => {
  const call = outbound({ allowPrivateHosts: true, timeoutMs: 1_000, idleMs: 1_000 });
  await using server = await http((_req, res) => {
    let beats = 0;
    const timer = setInterval(() => {
      res.write(".");
      if (++beats === 30) res.end(() => clearInterval(timer));
    }, 40);
  });
  assert.equal(await (await call(at(server))).text(), ".".repeat(30));
});

Deno.test("outbound rejects with the caller's reason at every stage, and lets go", async () => {
  const reason = new Error("the client left");
  await using server = await http((req, res) => {
    if (req.url !== "/silent") res.write("first");
  });
  const call = outbound({ allowPrivateHosts: true });
  const is = (error: unknown) => error === reason;

  await assert.rejects(call(at(server), { signal: AbortSignal.abort(reason) }), is);
  assert.equal(server.connections(), 0);

  const waiting = new AbortController();
  const silent = call(`http://127.0.0.1:${server.port}/silent`, { signal: waiting.signal });
  await until(() => server.open() === 1);
  waiting.abort(reason);
  await assert.rejects(silent, is);
  await until(() => server.open() === 0);

  const reading = new AbortController();
  const response = await call(at(server), { signal: reading.signal });
  const text = response.text();
  reading.abort(reason);
  await assert.rejects(text, is);
  await until(() => server.open() === 0);
});

Deno.test("outbound leaves no listener on a signal that outlives the call", async () => {
  await using server = await http((_req, res) => void res.end("ok"));
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener: add, removeEventListener: remove } = signal;
  signal.addEventListener = (
    ...all: Parameters<typeof add>
  ) => (listeners++, add.apply(signal, all));
  signal.removeEventListener = (...all: Parameters<typeof remove>) => {
    listeners--;
    remove.apply(signal, all);
  };
  for (let i = 0; i < 5; i++) await (await patient(at(server), { signal })).text();
  assert.equal(listeners, 0);
});

Deno.test("outbound asks the system's resolver when it is given none", async () => {
  await using server = await http((_req, res) => void res.end("ok"));
  assert.equal(await (await patient(`http://localhost:${server.port}/`)).text(), "ok");
  const guarded = outbound({ allowPrivateHosts: false });
  await assert.rejects(guarded("https://no-such.invalid/"), refused("unresolvable", /no-such/));
});

Deno.test("outbound reports a closed port as unreachable, without path or query", async () => {
  const server = await http(() => {});
  await server[Symbol.asyncDispose]();
  await assert.rejects(
    fetch(at(server)),
    refused("unreachable", /^127\.0\.0\.1 could not be reached \(ECONNREFUSED\)$/),
  );
});
