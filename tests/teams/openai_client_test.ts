/** The `openai` package, unmodified, takes our gateway for OpenAI's. */
import assert from "node:assert/strict";
import { type Answered, type ClientHouse, clientHouse, outcomeOf } from "./clients.ts";
import { cutOnceRead, hello, models, others, said } from "./house.ts";

let h: ClientHouse;
Deno.test.beforeAll(async () => {
  h = await clientHouse();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const chat = (body: Record<string, unknown> = {}) =>
  ({ client: "openai", call: "chat", body: { ...hello, ...body } }) as const;
const answer = `This is the development upstream, not a real model. ${models[0]} was asked: Hello!`;
const refusal = ({ error }: Answered) => [error?.name, error?.status, error?.code];

Deno.test("openai: a completion, with its usage and our headers", async () => {
  const { key } = await h.team({ dailyQuota: 10 });
  const { text, usage, finishReason, headers, error } = await h.ask(key, chat());
  assert.deepEqual([text, finishReason, error], [answer, "stop", null]);
  assert.equal(usage?.prompt_tokens, 8);
  assert.ok(headers["x-request-id"] && headers["x-ratelimit-remaining-requests"]);
  assert.equal(headers["x-quota-remaining-day"], "9");
});

Deno.test("openai: a stream, with the usage for who asks for it", async () => {
  const { key } = await h.team();
  const silent = await h.ask(key, chat({ stream: true }));
  assert.deepEqual([silent.text, silent.usage, silent.error], [answer, null, null]);
  assert.ok(silent.chunks.length > 10);
  const told = await h.ask(key, chat({ stream: true, stream_options: { include_usage: true } }));
  assert.deepEqual([told.text, told.usage?.prompt_tokens], [answer, 8]);
});

Deno.test("openai: models, one model, embeddings", async () => {
  const { key } = await h.team({ availableModels: [models[0], "openai/embedding"] });
  const listed = await h.ask(key, { client: "openai", call: "models" });
  assert.deepEqual(Object(listed.answer).map(({ id }: { id: string }) => id), [
    ...[models[0], "openai/embedding"],
  ]);
  const one = await h.ask(key, { client: "openai", call: "model", id: "openai/embedding" });
  assert.equal(Object(one.answer).id, "openai/embedding");
  const none = await h.ask(key, { client: "openai", call: "model", id: others[0] });
  assert.deepEqual(refusal(none), ["NotFoundError", 404, "not_found"]);
  const body = { model: "openai/embedding", input: ["a", "b"], dimensions: 4 };
  const vectors = await h.ask(key, { client: "openai", call: "embeddings", body });
  assert.deepEqual([Object(vectors.answer).data.length, vectors.error], [2, null]);
});

Deno.test("openai: tools, streamed and not", async () => {
  const { key } = await h.team();
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
  const messages = said('get_weather {"city":"Oslo"}');
  for (const stream of [false, true]) {
    const { toolCalls, finishReason } = await h.ask(key, chat({ messages, tools, stream }));
    assert.deepEqual([toolCalls.map(({ name, arguments: given }) => [name, given]), finishReason], [
      [["get_weather", { city: "Oslo" }]],
      "tool_calls",
    ]);
  }
});

Deno.test("openai: leaving a stream ends the upstream's work", async () => {
  const { key, id } = await h.team();
  h.upstream.hang({ afterChunks: 3 });
  const { text, error } = await h.ask(key, chat({ stream: true }), { abortAfter: 3 });
  assert.deepEqual([text, error?.name], ["This is", "APIUserAbortError"]);
  const [call] = h.upstream.calls;
  await call?.ended;
  assert.equal(call?.outcome, "aborted");
  assert.deepEqual(await outcomeOf(h, id), [["aborted", "counted"]]);
});

Deno.test("openai: 401 and 403 are errors of their own, sent once", async () => {
  const { key } = await h.team();
  const more = { maxRetries: 2 };
  const nobody = await h.ask("sb_test_nobody", chat(), more);
  assert.deepEqual([...refusal(nobody), nobody.arrived], [
    ...["AuthenticationError", 401, "invalid_api_key", 1],
  ]);
  const forbidden = await h.ask(key, chat({ model: others[0] }), more);
  assert.deepEqual([...refusal(forbidden), forbidden.arrived], [
    ...["PermissionDeniedError", 403, "model_not_allowed", 1],
  ]);
  assert.equal(forbidden.error?.param, "model");
  assert.equal(h.upstream.calls.length, 0);
});

Deno.test("openai: a rate is waited for, and then it goes through", async () => {
  const team = () => h.team({ rateLimit: 1 });
  const refused = await h.askTooFast((await team()).key, chat());
  assert.deepEqual([...refusal(refused), refused.headers["retry-after"]], [...[
    "RateLimitError",
    429,
    "rate_limit_exceeded",
  ], "1"]);
  const waited = await h.askTooFast((await team()).key, chat(), { maxRetries: 2 });
  assert.deepEqual([waited.text, waited.error, waited.arrived], [answer, null, 2]);
});

Deno.test("openai: a quota that is used up is not asked for again", async () => {
  for (const quota of [{ dailyQuota: 0 }, { monthlyQuota: 0 }]) {
    const { key } = await h.team(quota);
    for (const stream of [false, true]) {
      const it = await h.ask(key, chat({ stream }), { maxRetries: 5 });
      assert.deepEqual([...refusal(it), it.arrived], [
        ...["RateLimitError", 429, "insufficient_quota", 1],
      ]);
    }
  }
  assert.equal(h.upstream.calls.length, 0);
});

Deno.test("openai: an upstream's 500 is tried again, and told where it stays so", async () => {
  const { key } = await h.team();
  h.upstream.fail({ status: 500 });
  const well = await h.ask(key, chat(), { maxRetries: 1 });
  assert.deepEqual([well.text, well.error, well.arrived], [answer, null, 2]);
  h.upstream.fail({ status: 500 }, { times: 2 });
  const broken = await h.ask(key, chat({ stream: true }), { maxRetries: 1 });
  assert.deepEqual([...refusal(broken), broken.arrived], [
    ...["InternalServerError", 502, "upstream_error", 2],
  ]);
  h.upstream.fail({ status: 401 });
  const ours = await h.ask(key, chat(), { maxRetries: 1 });
  assert.deepEqual([...refusal(ours), ours.arrived], [
    ...["InternalServerError", 502, "upstream_auth", 1],
  ]);
});

Deno.test("openai: a stream that breaks off is an error and no end", async () => {
  const { key, id } = await h.team();
  const cut = cutOnceRead(h, 3);
  let read = 0;
  const it = await h.ask(key, chat({ stream: true }), {}, () => {
    if (++read === cut.chunks) cut.release();
  });
  assert.deepEqual([it.text, it.error?.code], ["This is", "upstream_cut"]);
  assert.match(it.error?.message ?? "", /The model broke off its answer/);
  h.upstream.errorMidStream(2);
  const told = await h.ask(key, chat({ stream: true }));
  assert.match(told.error?.message ?? "", /^The server had an error while processing/);
  assert.deepEqual(await outcomeOf(h, id), [["cut", "counted"], ["cut", "counted"]]);
});
