/** A call that waits for something else first: until that has happened the far side hears nothing. */
import assert from "node:assert/strict";
import { outbound, type OutboundInit } from "../../src/outbound.ts";
import { waitFor } from "../../src/waits.ts";
import { http, until } from "./servers.ts";

const TIMEOUT_MS = 5_000;
const calling = (resolve?: (host: string) => Promise<string[]>) =>
  outbound({ allowPrivateHosts: true, timeoutMs: TIMEOUT_MS, ...resolve ? { resolve } : {} });
const ways: OutboundInit[] = [{ keepAlive: true }, {}];
/** Once a call is made ready: lets all that waits be told that so much time has gone by. */
async function later(ms: number) {
  await wait(0);
  const { now } = performance;
  const isTold = new Promise<void>((resolve) => waitFor(1_000, resolve));
  performance.now = () => now.call(performance) + ms;
  await isTold.finally(() => performance.now = now);
}
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

for (const way of ways) {
  const name = way.keepAlive ? "a kept connection" : "a connection of its own";
  Deno.test(`after: nobody is asked over ${name} before it resolves, however long that is`, async () => {
    await using server = await http((_req, res) => void res.end("ok"));
    const asked: string[] = [];
    using call = calling((host) => (asked.push(host), Promise.resolve(["127.0.0.1"])));
    const turns = way.keepAlive ? [1, 2] : [1];
    for (const turn of turns) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const connections = server.connections();
      const answer = call(`http://far.test:${server.port}/`, { ...way, after: promise });
      await later(2 * TIMEOUT_MS);
      assert.deepEqual([asked.length, server.connections()], [turn - 1, connections]);
      resolve();
      assert.equal(await (await answer).text(), "ok");
    }
    await call(`http://far.test:${server.port}/`, way).then((answer) => answer.text());
    assert.equal(server.connections(), way.keepAlive ? 1 : 2);
  });

  Deno.test(`after: what it rejects with is the call's, and ${name} is not made`, async () => {
    await using server = await http((_req, res) => void res.end("ok"));
    using call = calling();
    const refusal = new Error("not let in");
    const url = `http://127.0.0.1:${server.port}/`;
    await assert.rejects(call(url, { ...way, after: Promise.reject(refusal) }), refusal);
    assert.equal(server.connections(), 0);
    assert.equal(await (await call(url, { ...way, after: Promise.resolve() })).text(), "ok");
  });

  Deno.test(`after: a caller that leaves meanwhile leaves ${name} unmade`, async () => {
    await using server = await http((_req, res) => void res.end("ok"));
    using call = calling();
    const leaving = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    const { signal } = leaving;
    const answer = call(`http://127.0.0.1:${server.port}/`, { ...way, after: promise, signal });
    const failed = assert.rejects(answer, /gone/);
    leaving.abort(new Error("gone"));
    await failed;
    resolve();
    await wait(50);
    await until(() => server.open() === 0);
    assert.equal(server.connections(), 0);
  });
}
