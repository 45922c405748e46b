/** The gateway takes what OpenAI's clients send and answers as OpenAI does, on every path. */
import assert from "node:assert/strict";
import { MAX_REQUEST_BYTES } from "../../src/teams/gateway/requests.ts";
import { errorOf, hello, type House, house, jsonOf, models, said } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const lastCall = () => {
  const call = h.upstream.calls.at(-1);
  assert.ok(call);
  return call;
};

Deno.test("the gateway passes fields it does not know, in both directions, byte for byte", async () => {
  const { key } = await h.team();
  const text =
    ` {"seed" : 12345678901234567890,\t"made_up":{"deep":[1.10, -0, 1e400, "\\u00e9\\/"]},
    "mod\\u0065l":"openai\\/gpt-4","messages":[{"role":"user","content":"Hi","name":"x","own":1e2}]}`;
  const answer = await h.post(key, text);
  const raw = await answer.text();
  assert.equal(answer.status, 200, raw);
  assert.equal(lastCall().text, text.replace('"openai\\/gpt-4"', '"openai/gpt-4"'));
  const body = JSON.parse(raw);
  assert.deepEqual(Object.keys(body.development_upstream.unknown_fields), ["made_up"]);
  assert.equal(body.system_fingerprint, "fp_development");
  assert.ok(raw.startsWith('{"id":"chatcmpl-dev-'));
});

Deno.test("the gateway sends its own key upstream, and nothing of the client's", async () => {
  const { key } = await h.team();
  const headers = {
    cookie: "a=b",
    "x-api-key": "sb_mine",
    "openai-organization": "org",
    forwarded: "x",
  };
  const answer = await h.post(key, hello, { headers });
  await answer.body?.cancel();
  const { headers: got, path } = lastCall();
  assert.equal(path, "/v1/chat/completions");
  assert.equal(got.authorization, `Bearer ${h.upstreamKey}`);
  assert.equal(got["x-request-id"], answer.headers.get("x-request-id"));
  assert.deepEqual(
    Object.keys(got).sort(),
    ["accept", "authorization", "connection", "content-length", "content-type", "host"]
      .concat("x-request-id").filter((name) => name in got),
  );
  for (const [name] of answer.headers) assert.ok(!name.startsWith("openai-"), name);
});

Deno.test("the gateway says what is left of rate and quotas, and under which request", async () => {
  const { key } = await h.team({ dailyQuota: 2, monthlyQuota: 5, rateLimit: 10 });
  const ask = () => h.post(key, hello, { headers: { "x-request-id": "mine-0123456789" } });
  const first = await ask();
  await first.body?.cancel();
  const head = (name: string, of = first) => of.headers.get(name);
  assert.equal(head("x-request-id"), "mine-0123456789");
  assert.deepEqual([head("x-ratelimit-limit-requests"), head("x-ratelimit-remaining-requests")], [
    ...["10", "9"],
  ]);
  assert.match(head("ratelimit") ?? "", /^"team";r=9;t=\d+$/);
  assert.deepEqual([head("x-quota-limit-day"), head("x-quota-remaining-day")], ["2", "1"]);
  assert.deepEqual([head("x-quota-limit-month"), head("x-quota-remaining-month")], ["5", "4"]);
  assert.ok(Date.parse(head("x-quota-reset-day") ?? "") > Date.now());
  h.upstream.fail({ status: 500 });
  const broken = await ask();
  assert.equal((await errorOf(broken)).status, 502);
  assert.equal(head("x-quota-remaining-day", broken), "0");
  const over = await ask();
  const { status, type, code, retry, message } = await errorOf(over);
  assert.deepEqual([status, type, code], [429, "insufficient_quota", "insufficient_quota"]);
  assert.deepEqual([retry, head("x-quota-remaining-day", over)], ["false", "0"]);
  assert.match(message, /quota of 2 requests a day is used up until 20\d\d-/);
  const wait = Number(head("retry-after", over));
  const ends = Date.parse(head("x-quota-reset-day", over) ?? "");
  assert.ok(Math.abs(wait * 1_000 - (ends - Date.now())) < 10_000);
  assert.equal(head("x-ratelimit-remaining-requests", over), "7");
  assert.equal(h.upstream.calls.length, 2);
  const unlimited = await h.team();
  const plain = await h.post(unlimited.key, hello);
  await plain.body?.cancel();
  assert.equal(head("x-quota-limit-day", plain), null);
});

Deno.test("the gateway says what is left of rate and quotas on whatever it answers a team", async () => {
  const { key } = await h.team({ dailyQuota: 5, monthlyQuota: 9, rateLimit: 7 });
  const left = ({ status, headers }: Response) => [
    status,
    headers.get("x-ratelimit-limit-requests"),
    ...["limit", "remaining"].map((what) => headers.get(`x-quota-${what}-day`)),
    headers.get("x-quota-remaining-month"),
    headers.has("x-quota-reset-month"),
  ];
  const large = `{"messages":"${"x".repeat(17 * 1024 * 1024)}"}`;
  const text = { headers: { "content-type": "text/plain" } };
  const answers: [number, () => Promise<Response>][] = [
    [200, () => h.get(key, "/v1/models")],
    [404, () => h.get(key, "/v1/models/none")],
    [400, () => h.post(key, "{")],
    [403, () => h.post(key, { ...hello, model: "openai/gpt-5" })],
    [413, () => h.post(key, large)],
    [415, () => h.post(key, hello, text)],
    [200, () => h.post(key, hello)],
  ];
  for (const [nth, [status, ask]] of answers.entries()) {
    const answer = await ask();
    const [day, month] = nth === answers.length - 1 ? ["4", "8"] : ["5", "9"];
    assert.deepEqual(left(answer), [status, "7", "5", day, month, true]);
    await answer.body?.cancel();
  }
  const over = await h.get(key, "/v1/models");
  assert.deepEqual(left(over), [429, "7", "5", "4", "8", true]);
  await over.body?.cancel();
});

Deno.test("the gateway takes a team's rate a minute, and says when to come again", async () => {
  const { key } = await h.team({ rateLimit: 2 });
  for (const status of [200, 200, 429]) {
    const response = await h.post(key, hello);
    assert.equal(response.status, status);
    if (status === 200) {
      await response.body?.cancel();
      continue;
    }
    const wait = Number(response.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 72, String(wait));
    assert.equal(response.headers.get("x-ratelimit-remaining-requests"), "0");
    const { type, code, retry } = await errorOf(response);
    assert.deepEqual([type, code, retry], ["requests", "rate_limit_exceeded", "true"]);
  }
  assert.equal(h.upstream.calls.length, 2);
  h.clock.aheadMs = 72_000;
  assert.equal((await h.post(key, hello)).status, 200);
  h.clock.aheadMs = 0;
});

Deno.test("the gateway refuses who is nobody, in OpenAI's words", async () => {
  for (const key of ["sb_test_nothing", "sk-openai", ""]) {
    for (const path of ["/v1/chat/completions", "/v1/embeddings"]) {
      const response = await h.post(key, hello, { path });
      assert.ok(response.headers.get("x-request-id"));
      const { status, type, code, retry } = await errorOf(response);
      assert.deepEqual([status, type, code], [401, "invalid_request_error", "invalid_api_key"]);
      assert.equal(retry, "false");
    }
    assert.equal((await errorOf(await h.get(key, "/v1/models"))).status, 401);
  }
  const { key } = await h.team();
  const byHeader = await h.post("", hello, { headers: { authorization: "", "x-api-key": key } });
  assert.equal(byHeader.status, 401);
  const init = { method: "POST", body: JSON.stringify(hello) };
  const headers = { "x-api-key": key, "content-type": "application/json" };
  const alone = await h.w.hono.fetch(
    new Request(`${h.w.env.PUBLIC_URL}/v1/chat/completions`, { ...init, headers }),
  );
  assert.equal(alone.status, 200);
  const { admin } = await h.w.tenant();
  const person = await h.w.request("/v1/chat/completions", init, admin);
  const { status, code } = await errorOf(person);
  assert.deepEqual([status, code], [403, "forbidden"]);
});

Deno.test("the gateway lists a team's models, its default first, and shows each", async () => {
  const { key } = await h.team({ defaultModel: models[1] });
  const response = await h.get(key, "/v1/models");
  assert.ok(response.headers.get("x-ratelimit-limit-requests"));
  const { object, data } = await jsonOf(response);
  const entry = (id: string) => ({ id, object: "model", created: 0, owned_by: "Everything" });
  assert.deepEqual([object, data], ["list", [models[1], models[0], models[2]].map(entry)]);
  assert.deepEqual(await jsonOf(await h.get(key, `/v1/models/${models[2]}`)), entry(models[2]));
  const escaped = `/v1/models/${encodeURIComponent(models[2])}`;
  assert.deepEqual(await jsonOf(await h.get(key, escaped)), entry(models[2]));
  const { status, code } = await errorOf(await h.get(key, "/v1/models/openai/gpt-5"));
  assert.deepEqual([status, code], [404, "not_found"]);
  const head = await h.get(key, "/v1/models", {
    method: "HEAD",
    headers: { authorization: `Bearer ${key}` },
  });
  assert.deepEqual([head.status, await head.text()], [200, ""]);
});

Deno.test("the gateway takes embeddings under the same admission", async () => {
  const model = "openai/embedding";
  const { key, id } = await h.team({ availableModels: [model], dailyQuota: 1 });
  const ask = (body: unknown) => h.post(key, body, { path: "/v1/embeddings" });
  const wrong = await errorOf(await ask({ model: models[0], input: "x" }));
  assert.deepEqual([wrong.status, wrong.code], [403, "model_not_allowed"]);
  assert.deepEqual((await errorOf(await ask({ model }))).param, "input");
  const response = await ask({
    model,
    input: ["a b c", "d"],
    dimensions: 8,
    made_up: 1,
    user: "u",
  });
  const { data, usage } = await jsonOf(response);
  assert.deepEqual([response.status, Object(data).length], [200, 2]);
  const { path, text } = lastCall();
  assert.equal(path, "/v1/embeddings");
  assert.deepEqual(JSON.parse(text).made_up, 1);
  const [row] = await h.usage(id);
  assert.deepEqual(
    [row?.input_tokens, row?.output_tokens, row?.usage_source, row?.user_id],
    [Object(usage).prompt_tokens, 0, "provider", "u"],
  );
  assert.equal((await errorOf(await ask({ model, input: "x" }))).code, "insufficient_quota");
});

Deno.test("the gateway bounds what is sent: size, media type, UTF-8", async () => {
  const { key, id } = await h.team();
  const messages = (length: number) => JSON.stringify(hello).replace("Hello!", "x".repeat(length));
  const most = MAX_REQUEST_BYTES - JSON.stringify(hello).length + "Hello!".length;
  const over = await errorOf(await h.post(key, messages(most + 1)));
  assert.deepEqual([over.status, over.code, over.retry], [413, "request_too_large", "false"]);
  // Without a length to go by it is found out on the way.
  const stream = new Response(messages(most + 1)).body;
  const init = { method: "POST", headers: { "content-type": "application/json" } };
  const streamed = new Request(`${h.w.env.PUBLIC_URL}/v1/chat/completions`, {
    ...init,
    body: stream,
    headers: { ...init.headers, authorization: `Bearer ${key}` },
  });
  assert.equal((await errorOf(await h.w.hono.fetch(streamed))).status, 413);
  const types = {
    "application/json": 200,
    "application/json; charset=UTF-8": 200,
    "application/vnd.api+json": 200,
    "text/plain;charset=UTF-8": 415, // What `fetch` says of a text by itself.
    "application/x-www-form-urlencoded": 415, // What `curl -d` does.
    "application/json; charset=iso-8859-1": 415,
    "multipart/form-data; boundary=x": 415,
  };
  for (const [type, status] of Object.entries(types)) {
    const response = await h.post(key, hello, { headers: { "content-type": type } });
    assert.equal(response.status, status, type);
    if (status === 200) await response.body?.cancel();
    else assert.match((await errorOf(response)).message, /Content-Type: application\/json/);
  }
  const bytes = new TextEncoder().encode(JSON.stringify(hello));
  const untyped = (body: Uint8Array<ArrayBuffer>) =>
    h.w.hono.fetch(
      new Request(`${h.w.env.PUBLIC_URL}/v1/chat/completions`, {
        method: "POST",
        body,
        headers: { authorization: `Bearer ${key}` },
      }),
    );
  const plain = await untyped(bytes);
  assert.equal(plain.status, 200);
  await plain.body?.cancel();
  const latin = await errorOf(await untyped(bytes.map((byte) => byte === 33 ? 0xe9 : byte)));
  assert.deepEqual([latin.status, latin.message], [400, "The body is not UTF-8"]);
  for (const body of ["", "{", "[]", "null", '"x"']) {
    assert.equal((await errorOf(await h.post(key, body))).status, 400);
  }
  assert.equal((await h.usage(id)).length, 4, "What is refused is not admitted");
});

Deno.test("the gateway's other paths and methods answer in OpenAI's shape", async () => {
  const { key } = await h.team();
  const cases: [string, string, number, string | null][] = [
    ["GET", "/v1/chat/completions", 405, "POST, OPTIONS"],
    ["DELETE", "/v1/embeddings", 405, "POST, OPTIONS"],
    ["POST", "/v1/models", 405, "GET, HEAD, OPTIONS"],
    ["PUT", "/v1/models/openai/gpt-4", 405, "GET, HEAD, OPTIONS"],
    ["POST", "/v1/completions", 404, null],
    ["GET", "/v1/", 404, null],
    ["POST", "/v1//chat/completions", 404, null],
    ["POST", "/v1/chat/completions/", 404, null],
    ["POST", "/v1/Chat/Completions", 404, null],
    ["POST", "/v1/chat%2Fcompletions", 404, null],
  ];
  for (const [method, path, status, allow] of cases) {
    const response = await h.get(key, path, { method });
    assert.equal(response.headers.get("allow"), allow, path);
    assert.ok(response.headers.get("x-request-id"));
    const { status: got, type } = await errorOf(response);
    assert.deepEqual([got, type], [status, "invalid_request_error"], `${method} ${path}`);
  }
  const options = await h.get(key, "/v1/chat/completions", { method: "OPTIONS" });
  assert.deepEqual([options.status, options.headers.get("allow")], [204, "POST, OPTIONS"]);
  const head = await h.get(key, "/v1/chat/completions", { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [405, ""]);
  assert.equal(h.upstream.calls.length, 0);
});

Deno.test("the gateway takes whatever a client calls its user, and writes down what can be", async () => {
  const { key, id } = await h.team();
  for (const user of ["ada", "x".repeat(300), "nul\0nul", "half \ud83d", 7, null, ""]) {
    const response = await h.post(key, { ...hello, user });
    // The stand-in, like OpenAI, takes texts alone.
    assert.equal(response.status, user === 7 ? 400 : 200);
    await response.body?.cancel();
  }
  assert.deepEqual((await h.usage(id)).map(({ user_id }) => user_id), [
    ...["ada", "x".repeat(255), "nul\ufffdnul", "half \ufffd", null, null, null],
  ]);
});

Deno.test("the gateway uses the team's default where no model is named", async () => {
  const { key } = await h.team({ defaultModel: models[2] });
  const response = await h.post(key, { messages: said("Hello!") });
  assert.equal((await jsonOf(response)).model, models[2]);
  assert.equal(response.headers.get("x-model"), models[2]);
});
