/** Redis hangs, refuses or talks nonsense: requests are answered as before, hardly later. */
import assert from "node:assert/strict";
import { environment, freshDatabase, world } from "../kit.ts";
import { upstash, type UpstashMode } from "../stand_ins/upstash.ts";

const ROUNDS = Deno.env.get("PROVE") ? 200 : 20;
const modes: UpstashMode[] = ["ok", "hang", "refuse", "nonsense", "error500", { delayMs: 30 }];

const median = (times: number[]) => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;

async function stage(variables: Record<string, string>) {
  const w = await world({ database: await freshDatabase(), env: await environment(variables) });
  const { admin } = await w.tenant();
  const { platform } = await w.as(w.operator).platforms.catalogue
    .create({ name: "Outlook", serviceType: "email" });
  const put = (description: string) =>
    w.request(`/api/v1/platforms/${platform.id}`, {
      method: "PUT",
      body: JSON.stringify({ description }),
    }, w.operator);
  const get = () => w.request(`/api/v1/platforms/${platform.id}`, {}, admin);
  return { w, put, get };
}
type Stage = Awaited<ReturnType<typeof stage>>;

/** Writes and reads in turn; every read sees the write before it. Answers the median read's time. */
async function timed({ put, get }: Stage, name: string): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const description = `${name} ${round}`;
    const written = await put(description);
    assert.equal(written.status, 200, await written.text());
    for (let reads = 0; reads < 2; reads++) {
      const began = performance.now();
      const answer = await get();
      const told = await answer.json();
      times.push(performance.now() - began);
      assert.deepEqual([answer.status, told.description], [200, description]);
    }
  }
  return median(times);
}

Deno.test("the app answers rightly whatever becomes of Redis", async () => {
  const alone = await stage({});
  await timed(alone, "warm");
  const without = await timed(alone, "none");
  await alone.w.close();

  await using redis = await upstash();
  const s = await stage({
    UPSTASH_REDIS_REST_URL: redis.url,
    UPSTASH_REDIS_REST_TOKEN: redis.token,
  });
  const added: string[] = [];
  for (const mode of modes) {
    await redis.setMode(mode);
    const name = typeof mode === "string" ? mode : `answers after ${mode.delayMs} ms`;
    const ms = await timed(s, name) - without;
    added.push(`${name} ${ms.toFixed(2)} ms`);
  }
  await redis.setMode("ok");
  assert.ok(redis.requests > 0, "Redis was never asked");
  console.log(`Redis adds to a median read of ${without.toFixed(2)} ms: ${added.join(", ")}`);
  await s.w.close();
  await new Promise((resolve) => setTimeout(resolve, 100)); // The last request to Redis ends.
});
