import assert from "node:assert/strict";
import { redis, unavailable } from "../../src/redis.ts";
import { type Illness, settled, smallRedis } from "./small_redis.ts";

const ILLNESSES: Illness[] = ["hangs", "is deaf", "refuses", "talks nonsense"];

function ours(more: { timeoutMs?: number; maxInFlight?: number } = {}) {
  const small = smallRedis();
  const clock = { ms: 0 };
  const shared = redis({
    url: "https://redis.example",
    token: "s3cret",
    fetch: (address, init) => small.fetch(address, init),
    timeoutMs: 3,
    now: () => clock.ms,
    random: () => 0.5,
    ...more,
  });
  const ping = () => shared.run((client) => client.ping());
  return { small, clock, shared, ping };
}

/** Whether it is settled without any timer or network having its turn. */
async function isImmediate(promise: Promise<unknown>) {
  let isDone = false;
  promise.then(() => isDone = true);
  for (let i = 0; i < 20; i++) await Promise.resolve();
  return isDone;
}

Deno.test("redis.run answers texts as they stand in Redis, JSON or not", async () => {
  const { shared } = ours({ timeoutMs: 1_000 });
  for (const text of ["123", "null", '{"a":1}', "", "ü\u{1f600}\ud800"]) {
    assert.equal(await shared.run((client) => client.set("k", text)), "OK");
    assert.equal(await shared.run((client) => client.get("k")), text);
  }
  assert.equal(await shared.run((client) => client.get("absent")), null);
});

for (const illness of ILLNESSES) {
  Deno.test(`redis.run is unavailable and does not throw when Redis ${illness}`, async () => {
    const { small, ping } = ours();
    small.illness = illness;
    assert.equal(await ping(), unavailable);
    assert.equal(small.requests, 1, "there is no second try");
    assert.equal(small.aborted, illness === "hangs" ? 1 : 0);
  });

  Deno.test(`redis.run waits for nothing once Redis ${illness} thrice in a row`, async () => {
    const { small, clock, ping, shared } = ours();
    small.illness = illness;
    for (let i = 0; i < 3; i++) await ping();
    assert.equal(shared.healthy(), false);
    assert.equal(await isImmediate(ping()), true);
    assert.equal(small.requests, 3);
    clock.ms = 60_000;
    assert.equal(await isImmediate(ping()), true, "not even for the probe");
    assert.equal(small.requests, 4);
    await new Promise((resolve) => setTimeout(resolve, 5));
  });
}

const NONSENSE: Record<string, () => Response> = {
  "HTML": () => new Response("<html>"),
  "an empty body": () => new Response(""),
  "a number": () => Response.json(7),
  "nothing": () => Response.json(null),
  "an object of something else": () => Response.json({ ok: true }),
  "a list for one command": () => Response.json([{ result: "PONG" }]),
  "a refusal": () => Response.json({ error: "WRONGPASS" }, { status: 401 }),
  "a result with a bad status": () => Response.json({ result: "PONG" }, { status: 500 }),
};

for (const [name, nonsense] of Object.entries(NONSENSE)) {
  Deno.test(`redis.run takes ${name} for a failure`, async () => {
    const { small, ping } = ours();
    Object.assign(small, { illness: "talks nonsense", nonsense });
    assert.equal(await ping(), unavailable);
  });
}

Deno.test("redis.run takes a pipeline's answer that is not whole for a failure", async () => {
  const { small, shared } = ours({ timeoutMs: 1_000 });
  const both = () => shared.run((client) => client.pipeline().ping().ping().exec());
  assert.deepEqual(await both(), ["PONG", "PONG"]);
  small.illness = "talks nonsense";
  for (const body of [[{ result: "PONG" }], [{ result: "PONG" }, {}], { result: "PONG" }]) {
    small.nonsense = () => Response.json(body);
    assert.equal(await both(), unavailable);
  }
});

Deno.test("redis.run counts an answer of a type the caller cannot use as a failure", async () => {
  const { shared } = ours();
  for (let i = 0; i < 3; i++) {
    const answer = await shared.run(async (client) => {
      if (typeof await client.get("k") !== "string") throw new TypeError("not a text");
      return "a text";
    });
    assert.equal(answer, unavailable);
  }
  assert.equal(shared.healthy(), false);
});

Deno.test("redis.run opens on failures in a row only", async () => {
  const { small, shared, ping } = ours();
  for (let i = 0; i < 6; i++) {
    small.illness = i % 3 === 2 ? null : "refuses";
    await ping();
  }
  assert.equal(shared.healthy(), true);
});

Deno.test("redis.run probes once after a pause and closes when it is answered", async () => {
  const { small, clock, shared, ping } = ours({ timeoutMs: 1_000 });
  small.illness = "refuses";
  for (let i = 0; i < 3; i++) await ping();
  clock.ms = 499;
  await ping();
  assert.equal(small.requests, 3, "the pause is not over");
  clock.ms = 500;
  small.illness = null;
  const waiting = Array.from({ length: 5 }, ping);
  assert.deepEqual(await Promise.all(waiting), Array(5).fill(unavailable));
  await settled();
  assert.equal(small.requests, 4, "one probe for five calls");
  assert.equal(shared.healthy(), true);
  assert.equal(await ping(), "PONG");
});

Deno.test("redis.run pauses longer each time the probe fails", async () => {
  const { small, clock, ping } = ours();
  small.illness = "refuses";
  for (let i = 0; i < 3; i++) await ping();
  const probesAtMs: number[] = [];
  for (; clock.ms < 8_000; clock.ms += 100) {
    const before = small.requests;
    await ping();
    await settled();
    if (small.requests > before) probesAtMs.push(clock.ms);
  }
  assert.deepEqual(probesAtMs, [500, 1_500, 3_500, 7_500]);
});

Deno.test("redis.run lets no more calls hang than maxInFlight and blames none for it", async () => {
  const { small, shared, ping } = ours({ maxInFlight: 2 });
  small.illness = "hangs";
  const hanging = [ping(), ping()];
  for (let i = 0; i < 5; i++) assert.equal(await isImmediate(ping()), true);
  await Promise.all(hanging);
  assert.equal(small.requests, 2);
  assert.equal(shared.healthy(), true);
});

/** Until it is given up a call must have come to a real server, however busy this machine is. */
const real = (port: number) =>
  redis({ url: `http://127.0.0.1:${port}`, token: "t", timeoutMs: 1_000 });

Deno.test("redis.run resolves while a real server never answers, and hangs up on it", async () => {
  const listener = Deno.listen({ port: 0 });
  const hungUp = listener.accept().then(async (connection) => {
    while (await connection.read(new Uint8Array(1_024)) !== null);
    connection.close();
  });
  const shared = real(listener.addr.port);
  assert.equal(await shared.run((client) => client.ping()), unavailable);
  await hungUp;
  listener.close();
  assert.equal(await shared.run((client) => client.ping()), unavailable, "and when it is gone");
});

Deno.test("redis.run resolves when a real server begins an answer and never ends it", async () => {
  const hungUp = Promise.withResolvers<void>();
  const endless = () => new Response(new ReadableStream({ cancel: () => hungUp.resolve() }));
  const server = Deno.serve({ port: 0, onListen: () => {} }, endless);
  const shared = real(server.addr.port);
  assert.equal(await shared.run((client) => client.ping()), unavailable);
  await hungUp.promise;
  await server.shutdown();
});

Deno.test("redis.run keeps its connection: a call that is over is not torn down", async () => {
  const ports = new Set<number>();
  const server = Deno.serve({ port: 0, onListen: () => {} }, (_, { remoteAddr }) => {
    ports.add(remoteAddr.port);
    return Response.json({ result: "PONG" });
  });
  const shared = redis({
    url: `http://localhost:${server.addr.port}`,
    token: "t",
    timeoutMs: 5_000,
  });
  for (let i = 0; i < 10; i++) assert.equal(await shared.run((c) => c.ping()), "PONG");
  assert.equal(ports.size, 1);
  await server.shutdown();
});

Deno.test("redis says at the start that the address is not http", () => {
  assert.throws(() => redis({ url: "redis://localhost:6379", token: "t" }), TypeError);
});
