/** What OpenAI refuses the stand-in refuses, in the same words. */
import assert from "node:assert/strict";
import { type OpenaiUpstream, openaiUpstream } from "./openai.ts";

const model = "gpt-4o";
const messages = [{ role: "user" as const, content: "Hello!" }];

async function answerTo(upstream: OpenaiUpstream, path: string, init: RequestInit) {
  const authorization = `Bearer ${upstream.keys[0]}`;
  const response = await fetch(upstream.url + path, { headers: { authorization }, ...init });
  return [response.status, (await response.json()).error];
}

const error = (message: string, param: string | null = null, code: string | null = null) => (
  { message, type: "invalid_request_error", param, code }
);

/** Bodies of chat completions and OpenAI's refusals. */
const refusals: [object, ReturnType<typeof error>][] = [
  [{ model: undefined }, error("you must provide a model parameter")],
  [
    { messages: undefined },
    error("Missing required parameter: 'messages'.", "messages", "missing_required_parameter"),
  ],
  [
    { messages: [] },
    error(
      "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an " +
        "empty array instead.",
      "messages",
      "empty_array",
    ),
  ],
  [
    { messages: "ping" },
    error(
      "Invalid type for 'messages': expected an array of objects, but got a string instead.",
      "messages",
      "invalid_type",
    ),
  ],
  [
    { messages: ["ping"] },
    error(
      "Invalid type for 'messages[0]': expected an object, but got a string instead.",
      "messages[0]",
      "invalid_type",
    ),
  ],
  [
    { messages: [{ role: "user", content: 7 }] },
    error(
      "Invalid type for 'messages[0].content': expected one of a string or array of objects, " +
        "but got an integer instead.",
      "messages[0].content",
      "invalid_type",
    ),
  ],
  [
    { messages: [{ role: "robot", content: "ping" }] },
    error(
      "Invalid value: 'robot'. Supported values are: 'system', 'assistant', 'user', 'function', " +
        "'tool', and 'developer'.",
      "messages[0].role",
      "invalid_value",
    ),
  ],
  [
    { messages: [...messages, { role: "tool", tool_call_id: "a", content: "ping" }] },
    error(
      "Invalid parameter: messages with role 'tool' must be a response to a preceeding message " +
        "with 'tool_calls'.",
      "messages.[1].role",
    ),
  ],
  [
    { max_tokens: 0 },
    error(
      "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
      "max_tokens",
      "integer_below_min_value",
    ),
  ],
  [
    { temperature: 3 },
    error(
      "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 " +
        "instead.",
      "temperature",
      "decimal_above_max_value",
    ),
  ],
  [
    { stream: "yes" },
    error(
      "Invalid type for 'stream': expected a boolean, but got a string instead.",
      "stream",
      "invalid_type",
    ),
  ],
  [
    { stream_options: { include_usage: true } },
    error(
      "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
      "stream_options",
    ),
  ],
  [
    { response_format: { type: "json_object" } },
    error(
      "'messages' must contain the word 'json' in some form, to use 'response_format' of type " +
        "'json_object'.",
      "messages",
    ),
  ],
];

Deno.test("openaiUpstream refuses bodies in OpenAI's words", async () => {
  await using upstream = await openaiUpstream({ models: [model] });
  for (const [fields, told] of refusals) {
    const body = JSON.stringify({ model, messages, ...fields });
    const refused = await answerTo(upstream, "/chat/completions", { method: "POST", body });
    assert.deepEqual(refused, [400, told], body);
  }
  for (const body of ['{"model": "gpt-4o", ', "[]"]) {
    const chat = await answerTo(upstream, "/chat/completions", { method: "POST", body });
    assert.match(JSON.stringify(chat), /400,.*We could not parse the JSON body of your request/);
  }
  for (const input of [undefined, "", [], 7, ["a", 1.5]]) {
    const body = JSON.stringify({ model, input });
    const [status, told] = await answerTo(upstream, "/embeddings", { method: "POST", body });
    assert.deepEqual([status, told.param], [400, "input"], body);
  }
});

Deno.test("openaiUpstream refuses addresses, methods, keys and models in OpenAI's words", async () => {
  await using upstream = await openaiUpstream({ models: [model], keys: ["sk-right-0123456789"] });
  assert.deepEqual(
    await answerTo(upstream, "/completion", { method: "POST" }),
    [404, error("Invalid URL (POST /v1/completion)")],
  );
  const [status, told] = await answerTo(upstream, "/chat/completions", {});
  assert.deepEqual([status, told.code], [405, "method_not_supported"]);
  for (
    const [headers, code, words] of [
      [{}, null, /^You didn't provide an API key/],
      [
        { authorization: "Bearer sk-wrong-0123456789" },
        "invalid_api_key",
        /^Incorrect API key provided: sk-wrong\*+6789\. You can find/,
      ],
    ] as const
  ) {
    const [status, told] = await answerTo(upstream, "/models", { headers });
    assert.deepEqual([status, told.code], [401, code]);
    assert.match(told.message, words);
  }
  const body = JSON.stringify({ model: "gpt-5", messages });
  const message = "The model `gpt-5` does not exist or you do not have access to it.";
  assert.deepEqual(
    await answerTo(upstream, "/chat/completions", { method: "POST", body }),
    [404, error(message, null, "model_not_found")],
  );
});
