/** Upstash's own client works against the stand-in, and its failures can be had on demand. */
import assert from "node:assert/strict";
import { Redis } from "@upstash/redis";
import { until } from "../db/house.ts";
import { hasRedis } from "./redis.ts";
import { type Upstash, upstash } from "./upstash.ts";

const clientOf = (server: Upstash, responseEncoding?: false) =>
  new Redis({
    url: server.url,
    token: server.token,
    retry: false,
    enableTelemetry: false,
    ...responseEncoding === false ? { responseEncoding } : {},
  });

async function checkCommands(server: Upstash) {
  for (const redis of [clientOf(server), clientOf(server, false)]) {
    await server.run("FLUSHALL");
    assert.equal(await redis.set("greeting", "Grüße 🌍", { ex: 60 }), "OK");
    assert.equal(await redis.get("greeting"), "Grüße 🌍");
    assert.equal(await redis.set("greeting", "again", { nx: true }), null);
    assert.equal(await redis.set("nothing", "here", { xx: true }), null);
    assert.equal(await redis.ttl("greeting"), 60);
    assert.equal(await redis.incr("count"), 1);
    assert.equal(await redis.incrby("count", 41), 42);
    assert.equal(await redis.pexpire("count", 1), 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(await redis.get("count"), null);
    assert.deepEqual(await redis.mget("greeting", "count"), ["Grüße 🌍", null]);
    assert.equal(await redis.ping(), "PONG");
    assert.equal(await redis.del("greeting", "count"), 1);
    await redis.set("word", "one");
    await assert.rejects(redis.incr("word"), /ERR value is not an integer or out of range/);
    await assert.rejects(redis.set("word", "x", { ex: 0 }), /ERR invalid expire time in 'set'/);
    const [first, second] = await redis.pipeline().incr("word").get("word").exec({
      keepErrors: true,
    });
    assert.match(String(first?.error), /not an integer/);
    assert.equal(second?.result, "one");
    assert.deepEqual(await redis.multi().incr("sum").incr("sum").exec(), [1, 2]);
  }
}

Deno.test("upstash answers its own client as Redis would, in memory", async () => {
  await using server = await upstash({ inMemory: true });
  assert.equal(server.isReal, false);
  await checkCommands(server);
  await assert.rejects(clientOf(server).eval("return 1", [], []), /ERR unknown command 'eval'/i);
});

Deno.test({
  name: "upstash answers its own client from a real Redis, scripts included",
  ignore: !hasRedis(),
  fn: async () => {
    await using server = await upstash();
    assert.equal(server.isReal, true);
    await checkCommands(server);
    const redis = clientOf(server);
    const script = "return {KEYS[1], ARGV[1], redis.call('incr', KEYS[1])}";
    assert.deepEqual(await redis.eval(script, ["n"], ["a"]), ["n", "a", 1]);
    const together = await Promise.all(Array.from({ length: 50 }, () => redis.incr("race")));
    assert.equal(Math.max(...together), 50);
    assert.match(
      await (await post(server, "/multi-exec", [["NOSUCH"], ["PING"]])).text(),
      /EXECABORT/,
    );
  },
});

const post = (server: Upstash, path: string, body: unknown, token = server.token) =>
  fetch(server.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });

Deno.test("upstash refuses strangers, malformed commands and commands Upstash lacks", async () => {
  await using server = await upstash({ inMemory: true });
  const stranger = await post(server, "/", ["PING"], "guessed");
  assert.equal(stranger.status, 401);
  assert.deepEqual(await stranger.json(), { error: "Unauthorized" });
  for (const body of [{ not: "a command" }, [], [{ nested: true }]]) {
    const answer = await post(server, "/", body);
    assert.equal(answer.status, 400);
    assert.match((await answer.json()).error, /^ERR /);
  }
  const answer = await post(server, "/", ["SUBSCRIBE", "news"]);
  assert.match((await answer.json()).error, /Command is not available: 'SUBSCRIBE'/);
  assert.equal(
    (await (await post(server, "/pipeline", [["SET", "a"]])).json())[0].result,
    undefined,
  );
});

Deno.test("upstash hangs, refuses, dawdles, fails and talks nonsense on demand", async () => {
  await using server = await upstash({ inMemory: true });
  const redis = clientOf(server);
  await redis.set("a", "1");
  assert.equal(server.requests, 1);

  await server.setMode("hang");
  let answered = false;
  const hanging = redis.get("a").finally(() => answered = true);
  await until(() => server.waiting === 1, "it waits");
  assert.deepEqual([answered, server.requests], [false, 2]);

  await server.setMode("error500");
  await assert.rejects(hanging, /internal server error/);
  await server.setMode("nonsense");
  await assert.rejects(redis.get("a"));
  await server.setMode({ delayMs: 60 });
  const started = performance.now();
  await redis.get("a");
  assert.ok(performance.now() - started >= 55);

  await server.setMode("refuse");
  const port = Number(new URL(server.url).port);
  const knock = async () => (await Deno.connect({ hostname: "127.0.0.1", port })).close();
  await assert.rejects(knock, { name: "ConnectionRefused" });
  await assert.rejects(redis.get("a"), TypeError);
  assert.equal(server.requests, 4);
  await server.setMode("ok");
  assert.equal(await redis.get("a"), 1);
});

Deno.test("upstash closes connections that hang when it begins to refuse", async () => {
  await using server = await upstash({ inMemory: true });
  await server.setMode("hang");
  const hanging = assert.rejects(clientOf(server).get("a"), TypeError);
  await new Promise((resolve) => setTimeout(resolve, 30));
  await server.setMode("refuse");
  await hanging;
});

Deno.test("upstash stops at once while requests hang or wait", async () => {
  for (const mode of ["hang", { delayMs: 60_000 }] as const) {
    const server = await upstash();
    await server.setMode(mode);
    const hanging = clientOf(server).get("a").catch(() => "gone");
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.stop();
    assert.equal(await hanging, "gone");
  }
});
