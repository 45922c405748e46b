/** The AI SDK and its provider for OpenAI-compatible servers, unmodified, at our gateway. */
import assert from "node:assert/strict";
import { type Answered, type ClientHouse, clientHouse, outcomeOf } from "./clients.ts";
import { cutOnceRead, models, others, said } from "./house.ts";

let h: ClientHouse;
Deno.test.beforeAll(async () => {
  h = await clientHouse();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

type Call = "generate" | "stream";
const calls = ["generate", "stream"] as const;
const ai = (call: Call, more: { content?: string; model?: string } = {}) => ({
  client: "ai" as const,
  call,
  model: more.model ?? models[0],
  messages: said(more.content ?? "Hello!"),
});
const answer = `This is the development upstream, not a real model. ${models[0]} was asked: Hello!`;
const refusal = ({ error }: Answered) => [error?.status, error?.code, error?.isRetryable];

Deno.test("AI SDK: a completion and a stream, with their usage", async () => {
  const { key } = await h.team();
  for (const call of calls) {
    const { text, finishReason, usage, error } = await h.ask(key, ai(call));
    assert.deepEqual([text, finishReason, error], [answer, "stop", null]);
    assert.equal(usage?.inputTokens, 8);
  }
});

Deno.test("AI SDK: tools are called, answered and told of", async () => {
  const { key } = await h.team();
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const tools = { get_weather: { description: "The weather", parameters } };
  for (const call of calls) {
    const ask = { ...ai(call, { content: 'get_weather {"city":"Oslo"}' }), tools, steps: 2 };
    const { toolCalls, text, error, arrived } = await h.ask(key, ask);
    assert.deepEqual(toolCalls.map(({ name, arguments: given }) => [name, given]), [
      ["get_weather", { city: "Oslo" }],
    ]);
    assert.match(text, /The tool said: \{"city":"Oslo"\}$/);
    assert.deepEqual([error, arrived], [null, 2]);
  }
});

Deno.test("AI SDK: leaving a stream ends the upstream's work", async () => {
  const { key, id } = await h.team();
  h.upstream.hang({ afterChunks: 3 });
  const { text, finishReason } = await h.ask(key, ai("stream"), { abortAfter: 2 });
  assert.deepEqual([text, finishReason], ["This is", "abort"]);
  const [call] = h.upstream.calls;
  await call?.ended;
  assert.equal(call?.outcome, "aborted");
  assert.deepEqual(await outcomeOf(h, id), [["aborted", "counted"]]);
});

Deno.test("AI SDK: 401 and 403 are told as such, and sent once", async () => {
  const { key } = await h.team();
  for (const call of calls) {
    const more = { maxRetries: 2 };
    const nobody = await h.ask("sb_test_nobody", ai(call), more);
    assert.deepEqual([...refusal(nobody), nobody.arrived], [401, "invalid_api_key", false, 1]);
    const it = await h.ask(key, ai(call, { model: others[0] }), more);
    assert.deepEqual([...refusal(it), it.arrived], [403, "model_not_allowed", false, 1]);
  }
  assert.equal(h.upstream.calls.length, 0);
});

Deno.test("AI SDK: a rate is waited for, and then it goes through", async () => {
  const team = () => h.team({ rateLimit: 1 });
  const refused = await h.askTooFast((await team()).key, ai("generate"));
  assert.deepEqual([...refusal(refused), refused.headers["retry-after"]], [...[
    429,
    "rate_limit_exceeded",
    true,
  ], "1"]);
  const waited = await h.askTooFast((await team()).key, ai("generate"), { maxRetries: 2 });
  assert.deepEqual([waited.text, waited.error, waited.arrived], [answer, null, 2]);
});

Deno.test("AI SDK: a quota that is used up is not asked for again", async () => {
  const { key } = await h.team({ dailyQuota: 0 });
  for (const call of calls) {
    const it = await h.ask(key, ai(call), { maxRetries: 5 });
    // It asks again after any 429, so it is told by another status.
    assert.deepEqual([...refusal(it), it.arrived], [403, "insufficient_quota", false, 1]);
  }
  assert.equal(h.upstream.calls.length, 0);
});

Deno.test("AI SDK: an upstream's 500 may be tried again", async () => {
  const { key } = await h.team();
  for (const call of calls) {
    h.upstream.fail({ status: 500 });
    const it = await h.ask(key, ai(call));
    assert.deepEqual([...refusal(it), it.arrived], [502, "upstream_error", true, 1]);
  }
  h.upstream.fail({ status: 503, headers: { "retry-after": "0" } });
  const well = await h.ask(key, ai("generate"), { maxRetries: 1 });
  assert.deepEqual([well.text, well.arrived], [answer, 2]);
});

Deno.test("AI SDK: a stream that breaks off is an error and no end", async () => {
  const { key, id } = await h.team();
  const cut = cutOnceRead(h, 3);
  let read = 0;
  const it = await h.ask(key, ai("stream"), {}, () => {
    if (++read === cut.chunks - 1) cut.release();
  });
  assert.equal(it.text, "This is");
  assert.match(it.error?.message ?? "", /The model broke off its answer/);
  assert.deepEqual(await outcomeOf(h, id), [["cut", "counted"]]);
});
