/** What the gateway holds of a request, what it holds back of an answer, and what an ending process says. */
import assert from "node:assert/strict";
import v8 from "node:v8";
import vm from "node:vm";
import { windUp } from "../../src/teams/gateway/exchanges.ts";
import { until } from "../db/house.ts";
import { errorOf, hello, type House, house, onSocket, said } from "./house.ts";
import { oddUpstream } from "./odd_upstream.ts";

let h: House;
Deno.test.beforeAll(async () => void (h = await house()));
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const MiB = 1024 * 1024;

/** Bytes in use, once what nobody needs is gone. */
function held(): number {
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

Deno.test("a stream under way holds nothing of the request it answers, however large that was", async () => {
  await using odd = await oddUpstream(h);
  await using at = onSocket(h);
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  odd.streams([`data: {"choices":[{"delta":{"content":"Hm"}}]}\n\n`], over);
  const bodyOf = (weight: number) =>
    new TextEncoder().encode(
      JSON.stringify({ model: "odd/model", stream: true, messages: said("x".repeat(weight)) }),
    );
  const headers = { authorization: `Bearer ${odd.team.key}`, "content-type": "application/json" };
  const open = async (body: Uint8Array<ArrayBuffer>) => {
    const answer = await fetch(`${at.url}/chat/completions`, { method: "POST", headers, body });
    const reader = answer.body?.getReader();
    assert.ok((await reader?.read())?.value);
    return reader;
  };
  const [small, large] = [bodyOf(10), bodyOf(8 * MiB)];
  const readers = [await open(small)];
  const before = held();
  for (let n = 0; n < 5; n++) readers.push(await open(large));
  const each = (held() - before) / 5;
  end();
  for (const reader of readers) await reader?.cancel();
  assert.ok(each < MiB, `each holds ${(each / MiB).toFixed(1)} MiB`);
});

Deno.test("a process that ends says so to who waits for an answer that has begun", async () => {
  await using odd = await oddUpstream(h);
  const { promise: asked, resolve: begin } = Promise.withResolvers<void>();
  odd.side.answer = (_, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.write(" ", () => begin()); // Some send blanks until they know.
  };
  const answer = h.post(odd.team.key, { model: "odd/model", messages: said("Hello!") });
  await asked;
  await new Promise((heard) => setTimeout(heard, 50));
  await windUp(h.w.process, 10);
  const { status, code, retry } = await errorOf(await answer);
  assert.deepEqual({ status, code, retry }, { status: 503, code: "process.ending", retry: "true" });
  const [row] = await h.usage(odd.team.id);
  assert.deepEqual([row?.outcome, row?.status], ["failed", null]);
});

Deno.test("large requests of one tenant wait for their answers, and keep nobody else out", async () => {
  await using odd = await oddUpstream(h);
  await using others = await oddUpstream(h);
  const waiting: (() => void)[] = [];
  for (const { side } of [odd, others]) {
    side.answer = (_, response) =>
      void waiting.push(() => {
        response.writeHead(200, { "content-type": "application/json" });
        response.end(JSON.stringify({ choices: [] }));
      });
  }
  const post = (key: string, weight: number) => {
    return h.post(key, { model: "odd/model", messages: said("x".repeat(weight)) });
  };
  const { key } = odd.team;
  const large = [post(key, 15 * MiB), post(key, 15 * MiB), post(others.team.key, 15 * MiB)];
  await until(() => waiting.length === 3, "three wait");
  const { status, code, retry } = await errorOf(await post(key, 3 * MiB));
  assert.deepEqual({ status, code, retry }, { status: 503, code: "gateway.busy", retry: "true" });
  large.push(post(key, 1_000));
  await until(() => waiting.length === 4, "a small one goes beside them");
  for (const answer of waiting.splice(0)) answer();
  for (const { status } of await Promise.all(large)) assert.equal(status, 200);
  const next = post(key, 15 * MiB);
  await until(() => waiting.length === 1, "the next is let in");
  waiting[0]?.();
  assert.equal((await next).status, 200);
});

for (const stream of [false, true]) {
  Deno.test(`who has the end of an answer may say the next thing at once (stream: ${stream})`, async () => {
    const { key } = await h.team();
    const { database } = h.w.process;
    const { transaction } = database;
    const say = () => h.post(key, { ...hello, stream }, { headers: { "x-session-user": "ada" } });
    h.upstream.resetCounts();
    const goOn = h.upstream.hang();
    const answer = say();
    await h.upstream.arrived(1);
    const late: typeof transaction = async (...given) => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      return await transaction(...given);
    };
    Object.assign(database, { transaction: late });
    goOn();
    const reader = (await answer).body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (let it = await reader?.read(); it && !it.done; it = await reader?.read()) {
      text += it.value;
      if (text.endsWith("[DONE]\n\n")) break;
    }
    Object.assign(database, { transaction });
    const next = await say();
    assert.equal(next.status, 200, await next.text());
  });
}
