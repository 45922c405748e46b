/** The clients people use take the stand-in for OpenAI, and its failures can be had on demand. */
import assert from "node:assert/strict";
import { type Answered, type Ask, openaiClients } from "../clients/openai_clients.ts";
import { DISCLAIMER, type OpenaiUpstream, openaiUpstream, tokensOf } from "./openai.ts";

const models = ["gpt-4o", "gpt-4o-mini"];
const said = (content: string) => [{ role: "user" as const, content }];

async function stage() {
  const upstream = await openaiUpstream({ models });
  const clients = openaiClients();
  const [key = ""] = upstream.keys;
  const ask = (what: Ask & { abortAfter?: number; maxRetries?: number }, onChunk?: () => void) =>
    clients.ask({ url: upstream.url, key, ...what }, onChunk);
  const [openai, ai] = [{ client: "openai" as const }, { client: "ai" as const }];
  return {
    upstream,
    ask,
    /** One request of either client, streamed. */
    both: (content: string, more: { maxRetries?: number } = {}) =>
      [
        () => {
          const body = { model: "gpt-4o", messages: said(content), stream: true };
          return ask({ ...openai, call: "chat", body, ...more });
        },
        () => ask({ ...ai, call: "stream", model: "gpt-4o", messages: said(content), ...more }),
      ] as const,
    async [Symbol.asyncDispose]() {
      await clients[Symbol.asyncDispose]();
      await upstream.stop();
    },
  };
}

const post = (upstream: OpenaiUpstream, body: unknown, path = "/chat/completions") =>
  fetch(upstream.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${upstream.keys[0]}`, "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

/** The events of a stream as they stand on the wire. */
async function events(upstream: OpenaiUpstream, body: object) {
  const response = await post(upstream, { model: "gpt-4o", stream: true, ...body });
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const lines = (await response.text()).split("\n\n");
  assert.deepEqual(lines.splice(-2), ["data: [DONE]", ""]);
  return lines.map((line) => JSON.parse(line.replace(/^data: /, "")));
}

const hello = `${DISCLAIMER} gpt-4o was asked: Hello!`;

Deno.test("openaiUpstream answers the openai package and the AI SDK, streamed or not", async () => {
  await using on = await stage();
  const body = { model: "gpt-4o", messages: said("Hello!"), provider: { order: ["a"] } };
  const usage = { prompt_tokens: 3 + 3 + 2, completion_tokens: tokensOf(hello) };
  const whole = await on.ask({ client: "openai", call: "chat", body });
  const streamed = await on.ask({
    client: "openai",
    call: "chat",
    body: { ...body, stream: true, stream_options: { include_usage: true } },
  });
  for (const { text, finishReason, usage: counted, error } of [whole, streamed]) {
    assert.deepEqual([text, finishReason, error], [hello, "stop", null]);
    assert.deepEqual({ ...counted, ...usage }, counted);
  }
  const note = { is_real_model: false, unknown_fields: { provider: { order: ["a"] } } };
  for (const answer of [whole.answer, streamed.chunks[0]]) {
    assert.deepEqual(Object(answer).development_upstream, note);
  }
  assert.equal(whole.headers["x-request-id"], "req_dev_1");
  for (const call of ["generate", "stream"] as const) {
    const { model, messages } = body;
    const answered = await on.ask({ client: "ai", call, model, messages });
    assert.deepEqual([answered.text, answered.finishReason], [hello, "stop"]);
    assert.equal(answered.usage?.outputTokens, usage.completion_tokens);
  }
  assert.deepEqual(on.upstream.calls.map(({ outcome, chunks }) => [outcome, chunks]), [
    ["answered", 0],
    ["answered", tokensOf(hello) + 3],
    ["answered", 0],
    ["answered", tokensOf(hello) + 3],
  ]);
});

Deno.test("openaiUpstream tells the usage of a stream in its last chunk, and only if asked", async () => {
  await using upstream = await openaiUpstream({ models });
  const silent = await events(upstream, { messages: said("Hello!") });
  assert.ok(silent.every((chunk) => !("usage" in chunk) && chunk.choices.length === 1));
  const stream_options = { include_usage: true };
  const told = await events(upstream, { messages: said("Hello!"), stream_options });
  const last = told.pop();
  assert.deepEqual([last.choices, last.usage.total_tokens], [[], 8 + tokensOf(hello)]);
  assert.ok(told.every((chunk) => chunk.usage === null));
  assert.deepEqual(told[0].choices[0].delta, { role: "assistant", content: "", refusal: null });
  assert.deepEqual(told.at(-1).choices, [
    { index: 0, delta: {}, logprobs: null, finish_reason: "stop" },
  ]);
});

const weather = {
  description: "The weather",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

Deno.test("openaiUpstream calls the tools a message names, in OpenAI's pieces", async () => {
  await using on = await stage();
  const messages = said('get_weather {"city":"Oslo"}');
  const tools = ["get_weather", "get_time"].map((name) => (
    { type: "function", function: { name, ...weather } }
  ));
  const [head, piece, ...more] = await events(on.upstream, { messages, tools });
  assert.deepEqual(head.choices[0].delta, {
    role: "assistant",
    content: null,
    tool_calls: [{
      index: 0,
      id: "call_1_0",
      type: "function",
      function: { name: "get_weather", arguments: "" },
    }],
    refusal: null,
  });
  assert.deepEqual(piece.choices[0].delta.tool_calls, [{ index: 0, function: { arguments: "{" } }]);
  assert.equal(more.at(-1).choices[0].finish_reason, "tool_calls");
  for (const stream of [true, false]) {
    const body = { model: "gpt-4o", messages, tools, stream };
    const { toolCalls, finishReason } = await on.ask({ client: "openai", call: "chat", body });
    assert.equal(finishReason, "tool_calls");
    assert.deepEqual(toolCalls.map(({ name, arguments: given }) => [name, given]), [
      ["get_weather", { city: "Oslo" }],
    ]);
  }
  const offered = { get_weather: weather };
  for (const call of ["generate", "stream"] as const) {
    const use = { model: "gpt-4o", messages, tools: offered, steps: 2 };
    const { text, attempts, toolCalls } = await on.ask({ client: "ai", call, ...use });
    assert.deepEqual(toolCalls.map((each) => each.arguments), [{ city: "Oslo" }]);
    assert.equal(text, `${DISCLAIMER} The tool said: {"city":"Oslo"}`);
    assert.equal(attempts, 2);
  }
});

Deno.test("openaiUpstream heeds n, max_tokens, stop and response_format", async () => {
  await using on = await stage();
  const chat = async (more: object): Promise<Answered> => {
    const body = { model: "gpt-4o", messages: said("json: one two three"), ...more };
    return await on.ask({ client: "openai", call: "chat", body });
  };
  for (const stream of [false, true]) {
    const short = await chat({ max_tokens: 2, stream });
    assert.deepEqual([short.text, short.finishReason], ["This is", "length"]);
    assert.equal((await chat({ stop: [" two", "three"], stream })).text.slice(-4), " one");
  }
  const { answer, usage } = await chat({ n: 2, max_completion_tokens: 5 });
  assert.deepEqual([Object(answer).choices.length, usage?.completion_tokens], [2, 10]);
  const { text } = await chat({ response_format: { type: "json_object" } });
  assert.deepEqual(JSON.parse(text).asked, "json: one two three");
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const use = { model: "gpt-4o", messages: said("Oslo"), schema };
  const shaped = await on.ask({ client: "ai", call: "generate", ...use });
  assert.deepEqual(shaped.answer, { city: "Oslo" });
});

Deno.test("openaiUpstream lists models that say they are none, and embeds", async () => {
  await using on = await stage();
  const { answer } = await on.ask({ client: "openai", call: "models" });
  const listed = Object(answer);
  assert.deepEqual(listed.map(({ id }: { id: string }) => id), models);
  assert.ok(listed[0].description.startsWith(DISCLAIMER));
  const one = await on.ask({ client: "openai", call: "model", id: "gpt-4o" });
  assert.deepEqual(one.answer, listed[0]);
  const none = await on.ask({ client: "openai", call: "model", id: "gpt-5" });
  assert.deepEqual([none.error?.status, none.error?.code], [404, "model_not_found"]);
  const vectors = [];
  for (const encoding_format of ["float", "base64", undefined]) {
    const body = { model: "gpt-4o", input: ["Hello!", "Bye!"], encoding_format };
    const embedded = Object((await on.ask({ client: "openai", call: "embeddings", body })).answer);
    assert.deepEqual(embedded.usage, { prompt_tokens: 4, total_tokens: 4 });
    vectors.push(embedded.data.map(({ embedding }: { embedding: unknown }) => embedding));
  }
  assert.equal(vectors[0].length, 2);
  assert.notDeepEqual(vectors[0][0], vectors[0][1]);
  assert.deepEqual(vectors[0], vectors[2]); // The client asks for base64 and reads it.
});

Deno.test("openaiUpstream hangs until the client leaves or it is let go", async () => {
  await using on = await stage();
  const { upstream } = on;
  for (const afterChunks of [undefined, 3]) {
    for (const ask of on.both("Hello!")) {
      upstream.resetCounts();
      upstream.hang(afterChunks === undefined ? {} : { afterChunks });
      const asking = ask();
      await upstream.arrived(1);
      const [call] = upstream.calls;
      while (call && call.chunks < (afterChunks ?? 0)) await new Promise((go) => setTimeout(go, 1));
      await asking.abort();
      await call?.ended;
      assert.deepEqual([call?.outcome, call?.chunks], ["aborted", afterChunks ?? 0]);
      const { error, finishReason } = await asking;
      assert.ok(error?.name === "APIUserAbortError" || finishReason === "abort");
    }
  }
  const seen = Promise.withResolvers<void>();
  const release = upstream.hang({ afterChunks: 1 });
  const body = { model: "gpt-4o", messages: said("Hello!"), stream: true };
  const asking = on.ask({ client: "openai", call: "chat", body }, seen.resolve);
  await seen.promise; // The first chunk is not kept back until the second.
  release();
  assert.equal((await asking).text, hello);
});

Deno.test("openaiUpstream stops at once while requests hang or wait", async () => {
  const upstream = await openaiUpstream({ models });
  upstream.hang();
  upstream.delay({ headers: 60_000 });
  const body = { model: "gpt-4o", messages: said("Hello!") };
  const asked = [1, 2].map(() => post(upstream, body).then(() => "answered", () => "gone"));
  await upstream.arrived(2);
  await upstream.stop();
  assert.deepEqual(await Promise.all(asked), ["gone", "gone"]);
});
