/** A model outside a team's list is never sent upstream: the stand-in says which it was asked for. */
import assert from "node:assert/strict";
import { openaiUpstream } from "../stand_ins/openai.ts";
import { errorOf, hello, type House, house, modelsAsked, said } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const [first, second] = ["openai/gpt-4o-mini", "other/small"];
const list: string[] = [first, second];
const evil = "openai/gpt-5";

/** A team with an upstream of its own that falls back, in order, on these. */
async function falling(fallbackModels: string[], more: Record<string, unknown> = {}) {
  const team = await h.team({ availableModels: list });
  const [apiKey = ""] = h.upstream.keys;
  const own = h.w.as(team.admin).teams.upstreams;
  const upstream = await own.create({
    name: "Falling",
    modelPrefix: "openai/",
    baseUrl: h.upstream.url,
    apiKey,
    maxAttempts: 1,
    fallbackModels,
    ...more,
  });
  return { ...team, upstream, own };
}

Deno.test("a model that is not in the list goes nowhere, by whatever way it comes", async () => {
  const { key, id } = await h.team({ availableModels: list, allowModelSwitch: true });
  const messages = said("Hello!");
  const bodies: unknown[] = [
    { model: evil, messages },
    { model: "OPENAI/GPT-4O-MINI", messages },
    { model: `${first} `, messages },
    { model: `${first}:online`, messages },
    { model: first, models: [first, evil], messages },
    { models: [evil], messages },
    { model: first, fallbacks: [evil], messages },
    { model: first, fallbacks: [{ model: evil }], messages },
    { model: first, providerOptions: { gateway: { models: [evil] } }, messages },
    { model: first, stream_options: { include_usage: true, fallbacks: [evil] }, messages },
    { model: first, router: { stream: { model: evil } }, messages },
    `{"model":"${first}","model":"${evil}","messages":[{"role":"user","content":"x"}]}`,
    `{"model":"${first}","Model":"${evil}","messages":[{"role":"user","content":"x"}]}`,
    `{"model":"${first}","mod\\u0065l":"${evil}","messages":[{"role":"user","content":"x"}]}`,
    `{"model":"${first}","modelſ":["${evil}"],"messages":[{"role":"user","content":"x"}]}`,
  ];
  const headers = { "x-model": evil, "openai-model": evil, "x-portkey-config": evil };
  for (const more of [{}, { "x-session-user": "ada" }]) {
    for (const body of bodies) {
      const { status, code } = await errorOf(
        await h.post(key, body, { headers: { ...headers, ...more } }),
      );
      const isModel = status === 403 && code === "model_not_allowed";
      assert.ok(isModel || status === 400, `${status} ${code} ${JSON.stringify(body)}`);
    }
  }
  const path = `/v1/chat/completions?model=${encodeURIComponent(evil)}`;
  await (await h.post(key, { messages }, { path, headers })).body?.cancel();
  const say = (content: string) => {
    const url = "/api/v1/chat/messages";
    return h.post(key, { user_id: "ada", content }, { path: url });
  };
  for (const content of [`/model ${evil}`, `/model@bot ${evil}`, `/MODEL\t${evil}`, "Hello!"]) {
    assert.equal((await say(content)).status, 200);
  }
  assert.deepEqual(modelsAsked(h.upstream), [first, first]);
  assert.ok(!h.upstream.calls.some(({ text }) => text.includes(`"${evil}"`)));
  assert.ok(!h.upstream.calls.some((call) => Object.values(call.headers).includes(evil)));
  assert.equal((await h.usage(id)).length, 2);
});

Deno.test("a fallback stands in where the team may use it, and only there", async () => {
  const { key, id, own, upstream } = await falling([evil, "other/large", "other/small"]);
  h.upstream.fail({ status: 500 }, { model: first });
  const response = await h.post(key, hello);
  assert.deepEqual([response.status, response.headers.get("x-model")], [200, "other/small"]);
  await response.body?.cancel();
  assert.deepEqual(modelsAsked(h.upstream), [first, "other/small"]);
  h.upstream.fail({ status: 500 }, { times: 5 });
  assert.equal((await errorOf(await h.post(key, hello))).status, 502);
  assert.equal(h.upstream.calls.length, 4);
  assert.ok(modelsAsked(h.upstream).every((model) => list.includes(model)));
  await own.update({ id: upstream.id, fallbackModels: [evil] });
  h.upstream.clearPlans();
  h.upstream.fail({ status: 429, headers: {} });
  assert.equal((await errorOf(await h.post(key, hello))).code, "upstream_busy");
  assert.equal(h.upstream.calls.length, 5);
  const rows = (await h.usage(id)).map((row) => [
    row.model,
    row.requested_model,
    row.attempts,
    row.status,
    row.outcome,
  ]);
  assert.deepEqual(rows, [
    ["other/small", first, 2, 200, "answered"],
    ["other/small", first, 2, 500, "failed"],
    [first, first, 1, 429, "failed"],
  ]);
});

Deno.test("a list that was narrowed counts at once, for model, fallback and conversation", async () => {
  const { key, id, admin } = await falling(["other/small"]);
  const teams = h.w.as(admin).teams.teams;
  const say = (content: string) =>
    h.post(key, { user_id: "ada", content }, { path: "/api/v1/chat/messages" });
  assert.match(
    (await (await say("/model other/small")).json()).content,
    /From now on other\/small/,
  );
  await (await say("Hello!")).body?.cancel();
  await teams.update({ id, availableModels: ["openai/gpt-4o-mini"] });
  await (await say("Hello!")).body?.cancel();
  h.upstream.fail({ status: 500 });
  assert.equal((await errorOf(await h.post(key, hello))).status, 502);
  assert.deepEqual(modelsAsked(h.upstream), ["other/small", first, first]);
});

Deno.test("an upstream that knows its models by shorter names is asked by those, of the list alone", async () => {
  await using router = await openaiUpstream({ models: ["openai/gpt-4", "small", "large"] });
  const availableModels = ["or/openai/gpt-4", "or/small", "other/small", "small"];
  const { key, admin } = await h.team({ availableModels });
  const [apiKey = ""] = router.keys;
  await h.w.as(admin).teams.upstreams.create({
    name: "Router",
    modelPrefix: "or/",
    stripsPrefix: true,
    baseUrl: router.url,
    apiKey,
    maxAttempts: 1,
    fallbackModels: ["or/large", "or/openai/gpt-4", "other/small"],
  });
  const ask = async (body: Record<string, unknown>) => {
    const response = await h.post(key, { messages: said("Hello!"), ...body });
    await response.body?.cancel();
    return response.status;
  };
  assert.equal(await ask({ model: "or/small" }), 200);
  assert.equal(await ask({ model: "or/large" }), 403);
  assert.equal(await ask({ model: "or/small", models: ["or/openai/gpt-4", "or/small"] }), 200);
  assert.deepEqual(modelsAsked(router), ["small", "small openai/gpt-4 small"]);
  // Allowed by name, but the router would take them for others of its own.
  assert.equal(await ask({ model: "or/small", models: ["small"] }), 400);
  assert.equal(await ask({ model: "or/small", fallbacks: ["small"] }), 400);
  assert.equal(await ask({ model: "or/small", models: ["or/large"] }), 403);
  router.resetCounts();
  router.fail({ status: 503 }, { times: 2 });
  assert.equal(await ask({ model: "or/small", models: ["or/openai/gpt-4"] }), 200);
  assert.deepEqual(modelsAsked(router), ["small openai/gpt-4", "openai/gpt-4 openai/gpt-4"]);
  assert.deepEqual(modelsAsked(h.upstream), ["other/small other/small"]);
});

Deno.test("what may pass is tried again as often as the upstream allows, what may not is not", async () => {
  const { key, id, own, upstream } = await falling(["other/small"], { maxAttempts: 3 });
  const asked = async (plan: () => void) => {
    h.upstream.resetCounts();
    plan();
    const response = await h.post(key, hello);
    await response.body?.cancel();
    h.upstream.clearPlans();
    return [
      response.status,
      modelsAsked(h.upstream).map((model) => model === first ? "a" : "b")
        .join(""),
    ];
  };
  const fail = (status: number, times: number, headers: Record<string, string> = {}) => () =>
    h.upstream.fail({ status, headers }, { times, model: first });
  assert.deepEqual(await asked(fail(500, 2)), [200, "aaa"]);
  assert.deepEqual(await asked(fail(503, 3)), [200, "aaab"]);
  assert.deepEqual(await asked(fail(429, 1, { "retry-after": "0" })), [200, "aa"]);
  assert.deepEqual(await asked(fail(429, 1, { "retry-after": "60" })), [200, "ab"]);
  assert.deepEqual(await asked(fail(408, 1)), [200, "aa"]);
  assert.deepEqual(await asked(fail(401, 3)), [200, "ab"]);
  assert.deepEqual(await asked(fail(404, 3)), [200, "ab"]);
  assert.deepEqual(await asked(fail(400, 1)), [400, "a"]);
  assert.deepEqual(await asked(fail(422, 1)), [422, "a"]);
  const html = { status: 200, body: "<html>", headers: { "content-type": "text/html" } };
  assert.deepEqual(await asked(() => h.upstream.fail(html, { times: 3 })), [200, "aaab"]);
  await own.update({ id: upstream.id, timeoutMs: 1_000 });
  assert.deepEqual(await asked(() => h.upstream.hang({ model: first })), [200, "ab"]);
  const rows = await h.usage(id);
  assert.deepEqual(rows.map(({ attempts }) => attempts), [3, 4, 2, 2, 2, 2, 2, 1, 1, 4, 2]);
});

Deno.test("a quota that is used up is used up for fallbacks too, whatever ails the first upstream", async () => {
  const { key, id, admin, upstream } = await falling([second]);
  await h.w.as(admin).teams.teams.update({ id, dailyQuota: 1 });
  // Refused before a connection is made: the next is tried at once.
  await h.sql("update upstreams set base_url = 'ftp://far.example' where id = $1", [upstream.id]);
  const answer = await h.post(key, hello);
  assert.deepEqual([answer.status, answer.headers.get("x-model")], [200, second]);
  await answer.body?.cancel();
  assert.equal(h.upstream.calls.length, 1);
  for (const stream of [false, true]) {
    const { status, code } = await errorOf(await h.post(key, { ...hello, stream }));
    assert.deepEqual([status, code], [429, "insufficient_quota"]);
  }
  await new Promise((resolve) => setTimeout(resolve, 200)); // Sent too early it comes after the refusal.
  assert.equal(h.upstream.calls.length, 1);
});
