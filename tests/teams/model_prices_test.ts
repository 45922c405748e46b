/** What a request cost: exact to the last digit, by the price of its moment, and null where none is known. */
import assert from "node:assert/strict";
import { hello, type House, house, models, said } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const MILLION = 1_000_000n;
/** Tokens times the price of a million of them, as a decimal of six places. */
function costOf(input: number, inputMicros: number, output: number, outputMicros: number): string {
  const micros = BigInt(input) * BigInt(inputMicros) + BigInt(output) * BigInt(outputMicros);
  return `${micros / MILLION}.${String(micros % MILLION).padStart(6, "0")}`;
}

Deno.test("a request costs its tokens at the price of its moment, exactly", async () => {
  const prices = h.w.as(h.w.operator).teams.modelPrices;
  const { key, id } = await h.team();
  const day = 24 * 3_600_000;
  const at = (days: number) => new Date(Date.now() + days * day);
  const add = (
    inputMicros: number,
    outputMicros: number,
    startsAt: Date,
    model: string = hello.model,
  ) => prices.create({ model, inputMicros, outputMicros, startsAt });
  await add(1, 1, at(-30));
  await add(150_007, 600_011, at(-1));
  await add(999_999_999_999, 999_999_999_999, at(1));
  await add(5, 5, at(-2), models[1]);
  await (await h.post(key, hello)).body?.cancel();
  const [first] = await h.usage(id);
  const [input, output] = [Number(first?.input_tokens), Number(first?.output_tokens)];
  assert.ok(input > 0 && output > 0);
  assert.equal(first?.cost_micros, costOf(input, 150_007, output, 600_011));
  // Beyond what a double could hold: nothing is rounded.
  await add(1_000_000_000_000, 999_999_999_937, new Date(Date.now() - 60_000));
  await (await h.post(key, { ...hello, messages: said("word ".repeat(2_000)) })).body?.cancel();
  const [, second] = await h.usage(id);
  const cost = costOf(
    Number(second?.input_tokens),
    1_000_000_000_000,
    Number(second?.output_tokens),
    999_999_999_937,
  );
  assert.ok(Number(second?.input_tokens) > 2_000);
  assert.equal(second?.cost_micros, cost);
  const [day1] = await h.sql("select cost_micros, unpriced from usage_days where team_id = $1", [
    id,
  ]);
  const micros = (text: unknown) => BigInt(String(text).replace(".", ""));
  assert.equal(micros(day1?.cost_micros), micros(first?.cost_micros) + micros(cost));
  assert.equal(Number(day1?.unpriced), 0);
});

Deno.test("a request of a model without a price costs nobody knows what, not nothing", async () => {
  const { key, id } = await h.team();
  await (await h.post(key, { ...hello, model: models[2] })).body?.cancel();
  const [row] = await h.usage(id);
  assert.equal(row?.cost_micros, null);
  const [day] = await h.sql("select cost_micros, unpriced from usage_days where team_id = $1", [
    id,
  ]);
  assert.deepEqual([Number(day?.cost_micros), Number(day?.unpriced)], [0, 1]);
});

Deno.test("model_prices are the operators' to write and everybody's to read; a past cost stays", async () => {
  const prices = h.w.as(h.w.operator).teams.modelPrices;
  const { key, id, admin } = await h.team({ availableModels: ["other/small"] });
  const startsAt = new Date(Date.now() - 1_000);
  const price = { model: "other/small", inputMicros: 0, outputMicros: 7, startsAt };
  const made = await prices.create(price);
  await assert.rejects(() => prices.create(price), /a price from that moment on already/);
  const mine = { ...admin, grants: h.w.operator.grants };
  await assert.rejects(() => h.w.as(mine).teams.modelPrices.create(price), /Only operators/);
  await assert.rejects(() => h.w.as(mine).teams.modelPrices.delete({ id: made.id }), /Only operat/);
  const listed = await h.w.as(admin).teams.modelPrices.list({ model: "other/small" });
  assert.deepEqual(listed.modelPrices.map(({ outputMicros }) => outputMicros), [7]);
  await (await h.post(key, { ...hello, model: "other/small" })).body?.cancel();
  const before = await h.usage(id);
  assert.match(String(before[0]?.cost_micros), /^0\.000\d{3}$/);
  await prices.delete({ id: made.id });
  assert.deepEqual(await h.usage(id), before);
  assert.deepEqual((await prices.list({ model: "other/small" })).modelPrices, []);
  for (const wrong of [{ inputMicros: -1 }, { inputMicros: 0.5 }, { currency: "usd" }]) {
    await assert.rejects(() => prices.create({ ...price, ...wrong }));
  }
});

Deno.test("model_prices are all in one currency, since what they cost is added up", async () => {
  await using other = await house();
  const prices = other.w.as(other.w.operator).teams.modelPrices;
  const price = { inputMicros: 1, outputMicros: 1, startsAt: new Date() };
  const first = await prices.create({ ...price, model: "a", currency: "EUR" });
  const second = await prices.create({ ...price, model: "b" });
  assert.deepEqual([first.currency, second.currency], ["EUR", "EUR"]);
  await assert.rejects(
    () => prices.create({ ...price, model: "c", currency: "USD" }),
    /in EUR: give this one in it too/,
  );
});
