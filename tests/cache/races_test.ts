import assert from "node:assert/strict";
import { gate, house, PLACE } from "./house.ts";
import { settled } from "./small_redis.ts";

const { tenantId, topic } = PLACE;

Deno.test("cache.get sees a change of this process at once", async () => {
  const { process, shared, commit, fill } = house();
  const ours = process({ redis: shared() });
  assert.equal(await ours.get(PLACE, fill), "v0");
  commit("v1");
  ours.moved(tenantId, topic);
  assert.equal(await ours.get(PLACE, fill), "v1");
});

Deno.test("cache.get sees another process's change once epochTtlMs is over", async () => {
  const { process, shared, commit, clock, fill } = house();
  const [one, two] = [process({ redis: shared() }), process({ redis: shared() })];
  await two.get(PLACE, fill);
  commit("v1");
  one.moved(tenantId, topic);
  clock.ms += 1_000;
  assert.equal(await one.get(PLACE, fill), "v1");
  assert.equal(await two.get(PLACE, fill), "v0", "within the bound");
  clock.ms += 3_000;
  assert.equal(await two.get(PLACE, fill), "v1", "exactly at the bound");
});

Deno.test("cache.moved: a revoked key that a slow fill writes back is not read again", async () => {
  const { process, shared, commit, clock, fill } = house();
  const [one, two] = [process({ redis: shared() }), process({ redis: shared() })];
  const slow = gate<string>();
  const before = one.get(PLACE, slow.ask);
  await settled();
  commit("revoked");
  one.moved(tenantId, topic);
  slow.open("granted");
  assert.equal(await before, "granted", "who asked before the change may get what was before");
  await settled();
  assert.equal(await one.get(PLACE, fill), "revoked");
  clock.ms += 4_000;
  assert.equal(await two.get(PLACE, fill), "revoked", "nor from Redis by another process");
});

Deno.test("cache.moved: who comes after the change gets no fill from before it", async () => {
  const { process, commit, fill } = house();
  const ours = process();
  const slow = gate<string>();
  const before = ours.get(PLACE, slow.ask);
  await settled();
  commit("v1");
  ours.moved(tenantId, topic);
  assert.equal(await ours.get(PLACE, fill), "v1");
  slow.open("v0");
  assert.equal(await before, "v0");
  assert.equal(await ours.get(PLACE, fill), "v1");
});

Deno.test("cache.moved: who comes after the change gets no epochs from before it", async () => {
  const { process, commit, truth, fill } = house();
  const slow = gate<Record<string, number>>();
  let asked = 0;
  const now = () => Promise.resolve({ [topic]: truth.epoch });
  const ours = process({ epochsOf: () => asked++ === 0 ? slow.ask() : now() });
  const before = ours.get(PLACE, fill);
  commit("v1");
  ours.moved(tenantId, topic);
  assert.equal(await ours.get(PLACE, fill), "v1");
  slow.open({ [topic]: 0 });
  await before;
  commit("v2");
  ours.moved(tenantId, topic);
  assert.equal(await ours.get(PLACE, fill), "v2", "the late answer was not kept");
});

Deno.test("cache.get: a late renewal does not bring back older epochs", async () => {
  const { process, commit, clock, truth, fill } = house();
  const slow = gate<Record<string, number>>();
  let asked = 0;
  const now = () => Promise.resolve({ [topic]: truth.epoch });
  const ours = process({ epochsOf: () => asked++ === 1 ? slow.ask() : now() });
  await ours.get(PLACE, fill);
  clock.ms += 2_000;
  await ours.get(PLACE, fill);
  assert.equal(asked, 2, "the renewal that hangs");
  commit("v1");
  clock.ms += 4_000;
  assert.equal(await ours.get(PLACE, fill), "v1", "it is not waited for past the hard age");
  slow.open({ [topic]: 0 });
  await settled();
  assert.equal(await ours.get(PLACE, fill), "v1");
});

Deno.test("cache.get counts the age of epochs from the question, not from its answer", async () => {
  const { process, commit, clock, truth, fill } = house();
  const slow = gate<Record<string, number>>();
  let asked = 0;
  const now = () => Promise.resolve({ [topic]: truth.epoch });
  const ours = process({ epochsOf: () => asked++ === 0 ? slow.ask() : now() });
  const first = ours.get(PLACE, fill);
  commit("v1");
  clock.ms += 3_000;
  slow.open({ [topic]: 0 });
  await first;
  clock.ms += 1_000;
  commit("v2");
  assert.equal(await ours.get(PLACE, fill), "v2");
});

Deno.test("cache.get does no database work while warm, and renews once at half age", async () => {
  const { process, clock, truth, fill } = house();
  const ours = process();
  for (let i = 0; i < 2_000; i++, clock.ms++) await ours.get(PLACE, fill);
  assert.equal(truth.epochReads, 1);
  await Promise.all(Array.from({ length: 100 }, () => ours.get(PLACE, fill)));
  assert.equal(truth.epochReads, 2);
  for (let i = 0; i < 1_999; i++, clock.ms++) await ours.get(PLACE, fill);
  assert.equal(truth.epochReads, 2);
  assert.equal(truth.fills, 1);
});

Deno.test("cache.get serves on while the database is down, until the age is over", async () => {
  const { process, clock, truth, fill } = house();
  const ours = process();
  await ours.get(PLACE, fill);
  truth.isDown = true;
  for (let i = 0; i < 3_999; i++) {
    clock.ms++;
    assert.equal(await ours.get(PLACE, fill), "v0");
  }
  assert.ok(truth.epochReads <= 7, `${truth.epochReads} reads: a failed renewal is not hurried`);
  clock.ms++;
  await assert.rejects(ours.get(PLACE, fill), /the database is down/);
  truth.isDown = false;
  assert.equal(await ours.get(PLACE, fill), "v0");
});

Deno.test("cache.get waits when the clock was set back", async () => {
  const { process, commit, clock, fill } = house();
  const ours = process();
  await ours.get(PLACE, fill);
  commit("v1");
  clock.ms -= 60_000;
  assert.equal(await ours.get(PLACE, fill), "v1");
});

Deno.test("cache.get does not join a fill that has hung for ten seconds", async () => {
  const { process, clock, fill } = house();
  const ours = process();
  const stuck = gate<string>();
  const first = ours.get(PLACE, stuck.ask);
  await settled();
  clock.ms += 10_000;
  assert.equal(await ours.get(PLACE, fill), "v0");
  stuck.open("v0");
  await first;
});

Deno.test("cache.moved of one tenant leaves another's epochs alone", async () => {
  const { process, truth, fill } = house();
  const ours = process();
  const other = { ...PLACE, tenantId: "other" };
  await ours.get(PLACE, fill);
  await ours.get(other, fill);
  ours.moved(tenantId, topic);
  await ours.get(other, fill);
  assert.equal(truth.epochReads, 2);
  assert.equal(truth.fills, 2);
});

Deno.test("cache.get says so when an epoch is not a whole number", async () => {
  const { process, fill } = house();
  for (const epoch of ["7", 7.5, -1, null, 2 ** 53]) {
    const answer = JSON.parse(JSON.stringify({ [topic]: epoch }));
    const ours = process({ epochsOf: () => Promise.resolve(answer) });
    await assert.rejects(ours.get(PLACE, fill), /epoch of platforms/);
  }
});
