/** Streams: forwarded event by event as they come, ended in words wherever they end. */
import assert from "node:assert/strict";
import { tokensOf } from "../../src/teams/gateway/requests.ts";
import {
  chunksOf,
  cutOnceRead,
  eventsIn,
  hello,
  type House,
  house,
  said,
  textOf,
} from "./house.ts";
import { oddUpstream } from "./odd_upstream.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const streamed = { ...hello, stream: true };
const inputOf = (messages: unknown) => tokensOf(JSON.stringify(messages));

Deno.test("a stream's first event is forwarded before there is a second", async () => {
  const { key } = await h.team();
  const release = h.upstream.hang({ afterChunks: 1 });
  const response = await h.post(key, streamed);
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  assert.ok(response.body);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  const events = eventsIn(value ?? "");
  assert.deepEqual([events.length, h.upstream.calls[0]?.chunks], [1, 1]);
  assert.deepEqual(JSON.parse(events[0] ?? "").choices[0].delta.role, "assistant");
  release();
  let rest = "";
  for (let it = await reader.read(); !it.done; it = await reader.read()) rest += it.value;
  assert.match(rest, /data: \[DONE\]\n\n$/);
});

Deno.test("a stream's usage is asked of the upstream always, and shown to who asked for it", async () => {
  const { key, id } = await h.team();
  const silent = await chunksOf(await h.post(key, streamed));
  assert.ok(silent.every(({ choices, usage }) => Object(choices).length === 1 && !usage));
  assert.deepEqual(Object(h.upstream.calls[0]?.body).stream_options, { include_usage: true });
  const not = { ...streamed, stream_options: { include_usage: false, made_up: 1 } };
  assert.ok((await chunksOf(await h.post(key, not))).every(({ usage }) => !usage));
  const asked = { include_usage: true, made_up: 1 };
  assert.deepEqual(Object(h.upstream.calls[1]?.body).stream_options, asked);
  const text = JSON.stringify({ ...streamed, stream_options: asked });
  const told = await chunksOf(await h.post(key, text));
  assert.equal(h.upstream.calls[2]?.text, text);
  const last = told.pop();
  assert.deepEqual(last?.choices, []);
  assert.equal(textOf(told), textOf(silent));
  const usage = Object(last?.usage);
  const rows = await h.usage(id);
  for (const row of rows) {
    assert.deepEqual(
      [row.outcome, row.usage_source, row.input_tokens, row.output_tokens, row.is_streamed],
      ["answered", "provider", usage.prompt_tokens, usage.completion_tokens, true],
    );
    assert.ok(Number(row.first_byte_ms) >= 0);
  }
  assert.equal(rows.length, 3);
});

Deno.test("a stream without a usage is counted: a quarter of its bytes, and of what was sent", async () => {
  const { key, id } = await h.team();
  h.upstream.plan({ noUsage: true, text: "Grüße aus Täbris" });
  const text = textOf(await chunksOf(await h.post(key, streamed)));
  const [row] = await h.usage(id);
  assert.deepEqual(
    [row?.usage_source, row?.input_tokens, row?.output_tokens],
    ["counted", inputOf(hello.messages), Math.ceil((text.length + 3) / 4)],
  );
});

Deno.test("a stream that breaks off ends with an error event and [DONE], settled as cut", async () => {
  const { key, id } = await h.team();
  const cut = cutOnceRead(h, 4);
  const response = await h.post(key, streamed);
  const chunks = await chunksOf(response, cut);
  const { error, ...rest } = chunks.pop() ?? {};
  assert.deepEqual(rest, {});
  const { message, ...kind } = Object(error);
  assert.deepEqual(kind, { type: "server_error", param: null, code: "upstream_cut" });
  assert.ok(message.includes(response.headers.get("x-request-id")));
  assert.equal(textOf(chunks), "This is the");
  h.upstream.errorMidStream(3);
  const told = await chunksOf(await h.post(key, streamed));
  assert.match(Object(told.pop()?.error).message, /^The server had an error/);
  assert.equal(textOf(told), "This is");
  h.upstream.cutAfter(0);
  const nothing = await chunksOf(await h.post(key, streamed));
  assert.equal(Object(nothing[0]?.error).code, "upstream_cut");
  const rows = (await h.usage(id)).map((row) => [
    row.outcome,
    row.usage_source,
    row.input_tokens,
    row.output_tokens,
  ]);
  const input = inputOf(hello.messages);
  assert.deepEqual(rows, [
    ["cut", "counted", input, tokensOf("This is the")],
    ["cut", "counted", input, tokensOf("This is")],
    ["cut", "input_floor", input, 0],
  ]);
});

const chunk = (content: string, finish_reason: string | null = null) =>
  JSON.stringify({ id: "x", choices: [{ index: 0, delta: { content }, finish_reason }] });
const odd = { ...streamed, model: "odd/model" };
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("streams of other servers than OpenAI's come through, however they are cut up", async () => {
  await using on = await oddUpstream(h);
  const { key, id } = on.team;
  const whole = `: comment\n\ndata: ${chunk("Grüße ")}\n\nevent: x\ndata: ${
    chunk("你😀", "stop")
  }\n\n`;
  const done = "data: [DONE]\n\n";
  const raw = bytes(whole + done);
  const ways: [string, (string | Uint8Array)[], string][] = [
    ["at once", [raw], whole + done],
    ["byte by byte", [...raw].map((byte) => Uint8Array.of(byte)), whole + done],
    [
      "with CRLF",
      [(whole + done).replaceAll("\n", "\r\n")],
      (whole + done).replaceAll("\n", "\r\n"),
    ],
    [
      "with ends of both kinds",
      [(whole + done).replaceAll("\n\n", "\n\r\n")],
      (whole + done).replaceAll("\n\n", "\n\r\n"),
    ],
    ["without [DONE]", [whole], whole + done],
    ["without the last line", [whole, "data: [DONE]"], whole + done],
    ["with more behind [DONE]", [whole + done, `data: ${chunk("late")}\n\n`, done], whole + done],
    ["with half a letter behind an event", [
      bytes(whole),
      bytes("é").slice(0, 1),
      bytes("é").slice(1),
      `: x\n\n${done}`,
    ], `${whole}é: x\n\n${done}`],
  ];
  for (const [how, pieces, expected] of ways) {
    on.streams(pieces);
    const response = await h.post(key, odd);
    assert.equal(await response.text(), expected, how);
  }
  const rows = await h.usage(id);
  assert.deepEqual(
    rows.map(({ outcome, usage_source, output_tokens }) => [outcome, usage_source, output_tokens]),
    ways.map(() => ["answered", "counted", tokensOf("Grüße 你😀")]),
  );
});

Deno.test("a stream's error about our account is told in our words, and settled as cut", async () => {
  await using on = await oddUpstream(h);
  const spent = { code: 402, message: "Insufficient credits: acme has 3 left", user_id: "acme" };
  on.streams([`data: ${chunk("Half")}\n\ndata: ${JSON.stringify({ error: spent })}\n\n`]);
  const [half, told, ...more] = await chunksOf(await h.post(on.team.key, odd));
  assert.deepEqual([textOf(half ? [half] : []), more], ["Half", []]);
  const message = "What was paid the model's provider is used up";
  const error = { message, type: "server_error", param: null, code: "upstream_quota" };
  assert.deepEqual(told, { error });
  const [row] = await h.usage(on.team.id);
  assert.deepEqual([row?.outcome, row?.output_tokens], ["cut", tokensOf("Half")]);
});

Deno.test("a stream ends with [DONE], whether its server hangs up or not", async () => {
  await using on = await oddUpstream(h);
  const finished = Promise.withResolvers<void>();
  on.side.answer = (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`data: ${chunk("x", "stop")}\n\ndata: [DONE]\n\n`);
    response.once("close", () => finished.resolve());
  };
  assert.match(await (await h.post(on.team.key, odd)).text(), /\[DONE\]\n\n$/);
  await finished.promise;
  const [row] = await h.usage(on.team.id);
  assert.equal(row?.outcome, "answered");
});

Deno.test("a stream that is finished and broken off before its usage was whole all the same", async () => {
  await using on = await oddUpstream(h);
  const { promise, resolve } = Promise.withResolvers<void>();
  const last = `data: ${JSON.stringify({ choices: [{ delta: {}, finish_reason: "stop" }] })}\n\n`;
  on.streams([`data: ${chunk("All of it")}\n\n${last}`], promise);
  const { body } = await h.post(on.team.key, odd);
  let text = "";
  for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += piece;
    resolve();
  }
  assert.equal(text, `data: ${chunk("All of it")}\n\n${last}data: [DONE]\n\n`);
  const [row] = await h.usage(on.team.id);
  assert.deepEqual([row?.outcome, row?.usage_source], ["answered", "counted"]);
});

Deno.test("a stream counts every choice, its refusals, reasoning and the calls it wants made", async () => {
  await using on = await oddUpstream(h);
  const deltas = [
    { content: "Hello" },
    { reasoning: "because" },
    { reasoning_content: "so" },
    { refusal: "never" },
    { tool_calls: [{ index: 0, function: { name: "get", arguments: '{"a":1}' } }] },
  ];
  const events = deltas.map((delta, index) =>
    `data: ${JSON.stringify({ choices: [{ index, delta, finish_reason: "stop" }] })}\n\n`
  );
  on.streams([...events, "data: [DONE]\n\n"]);
  await (await h.post(on.team.key, odd)).text();
  const [row] = await h.usage(on.team.id);
  const all = "Hello" + "because" + "so" + "never" + 'get{"a":1}';
  assert.deepEqual([row?.output_tokens, row?.usage_source], [tokensOf(all), "counted"]);
});

Deno.test("a stream's upstream that pauses for too long is left", async () => {
  await using on = await oddUpstream(h);
  const upstreams = h.w.as(on.team.admin).teams.upstreams;
  await upstreams.update({ id: on.upstream.id, idleMs: 100 });
  on.side.answer = (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`data: ${chunk("x")}\n\n`);
  };
  const chunks = await chunksOf(await h.post(on.team.key, odd));
  assert.equal(Object(chunks[1]?.error).code, "upstream_cut");
  const [row] = await h.usage(on.team.id);
  assert.deepEqual([row?.outcome, row?.usage_source], ["cut", "counted"]);
});

Deno.test("a stream that would never end is ended when its upstream's time is over", async () => {
  await using on = await oddUpstream(h, { timeoutMs: 1_000 });
  const upstreams = h.w.as(on.team.admin).teams.upstreams;
  await upstreams.update({ id: on.upstream.id, idleMs: 400 });
  let firstMs = 0;
  on.side.answer = (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    firstMs = performance.now();
    const timer = setInterval(() => response.write(`data: ${chunk("more ")}\n\n`), 20);
    response.once("close", () => clearInterval(timer));
  };
  const chunks = await chunksOf(await h.post(on.team.key, odd));
  assert.equal(Object(chunks.at(-1)?.error).code, "upstream_cut");
  assert.ok(performance.now() - firstMs > 4_000, "it was left for a pause");
  const [row] = await h.usage(on.team.id);
  assert.deepEqual([row?.outcome, row?.usage_source], ["cut", "counted"]);
});

Deno.test("a streamed request that is answered in one piece gets it in one piece", async () => {
  await using on = await oddUpstream(h);
  on.answers(200, "application/json", '{"choices":[{"message":{"content":"whole"}}]}');
  const response = await h.post(on.team.key, odd);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal((await response.json()).choices[0].message.content, "whole");
  const [row] = await h.usage(on.team.id);
  assert.deepEqual([row?.usage_source, row?.output_tokens], ["counted", tokensOf("whole")]);
});

Deno.test("tools are called through the gateway, streamed and not", async () => {
  const { key } = await h.team();
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const body = {
    ...hello,
    messages: said('get_weather {"city":"Oslo"}'),
    tools: [{ type: "function", function: { name: "get_weather", parameters } }],
  };
  const { choices: [{ message, finish_reason }] } = await (await h.post(key, body)).json();
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.tool_calls[0].function.arguments, '{"city":"Oslo"}');
  const chunks = await chunksOf(await h.post(key, { ...body, stream: true }));
  const pieces = chunks.map(({ choices }) =>
    Object(choices)[0].delta.tool_calls?.[0].function.arguments ?? ""
  );
  assert.equal(pieces.join(""), '{"city":"Oslo"}');
});
