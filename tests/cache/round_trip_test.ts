import assert from "node:assert/strict";
import { limiter } from "../../src/limits/limiter.ts";
import { redis } from "../../src/redis.ts";
import { upstash, type UpstashMode } from "../stand_ins/upstash.ts";
import { house, PLACE } from "./house.ts";

const patient = ({ url, token }: { url: string; token: string }) =>
  redis({ url, token, timeoutMs: 10_000 });

Deno.test("cache.get shares one fill over two processes and a real Redis", async () => {
  await using server = await upstash();
  const { process, commit, clock } = house();
  const [one, two] = [server, server].map((at) => process({ redis: patient(at) }));
  const value = { at: new Date(0), name: "Grüße \u{1f44b}", none: undefined };
  assert.deepEqual(await one?.get(PLACE, () => Promise.resolve(value)), value);
  while (server.requests < 2 || server.waiting > 0) await new Promise((r) => setTimeout(r, 1));
  const never = () => Promise.reject(new Error("not asked"));
  assert.deepEqual(await two?.get<unknown>(PLACE, never), value);
  commit("v1");
  clock.ms += 4_000;
  assert.equal(await two?.get(PLACE, () => Promise.resolve("v1")), "v1");
});

for (const mode of ["hang", "refuse", "nonsense", "error500"] satisfies UpstashMode[]) {
  Deno.test(`cache.get answers over HTTP when Redis is in mode ${mode}`, async () => {
    await using server = await upstash();
    const { process, fill } = house();
    const shared = redis({ url: server.url, token: server.token });
    const ours = process({ redis: shared });
    await server.setMode(mode);
    for (const key of ["a", "b", "c", "d"]) {
      assert.equal(await ours.get({ ...PLACE, key }, fill), "v0");
    }
    assert.equal(shared.healthy(), false);
  });
}

Deno.test("limiter.take agrees over a real Redis", async () => {
  await using server = await upstash();
  if (!server.isReal) return;
  const limit = { name: "requests", max: 5, windowSeconds: 60 };
  const [one, two] = [server, server].map((at) =>
    limiter({ redis: patient(at), now: Date.now, syncMs: 1 })
  );
  assert.equal(one?.take(limit, "ada", 5).allowed, true);
  while (two?.take(limit, "ada", 0).remaining) await new Promise((r) => setTimeout(r, 1));
  assert.equal(two?.take(limit, "ada").allowed, false);
  while (server.waiting > 0) await new Promise((r) => setTimeout(r, 1));
});
