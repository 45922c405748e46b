/** The stand-in breaks as it is told to, and the clients people use see what OpenAI's would show. */
import assert from "node:assert/strict";
import { openaiClients } from "../clients/openai_clients.ts";
import { openaiUpstream, quotaExceeded } from "./openai.ts";

const model = "gpt-4o";
const messages = [{ role: "user" as const, content: "Hello!" }];

async function stage(models = [model, "gpt-4o-mini"]) {
  const upstream = await openaiUpstream({ models });
  const clients = openaiClients();
  const at = { url: upstream.url, key: upstream.keys[0] ?? "" };
  type More = { maxRetries?: number; key?: string };
  const body = { model, messages };
  const asks = {
    /** The same request of both clients, each streamed and not. */
    all: (more: More & { model?: string } = {}) => {
      const named = more.model ?? model;
      return [true, false].flatMap((stream) => [
        () =>
          clients.ask({
            client: "openai",
            call: "chat",
            body: { ...body, model: named, stream },
            ...at,
            ...more,
          }),
        () =>
          clients.ask({
            client: "ai",
            call: stream ? "stream" : "generate",
            messages,
            ...at,
            ...more,
            model: named,
          }),
      ]);
    },
  };
  return {
    upstream,
    ...asks,
    async [Symbol.asyncDispose]() {
      await clients[Symbol.asyncDispose]();
      await upstream.stop();
    },
  };
}

Deno.test("openaiUpstream's refusals are the clients' own errors", async () => {
  await using on = await stage();
  for (const ask of on.all({ key: "sk-stranger-0123456789" })) {
    const { error } = await ask();
    assert.deepEqual([error?.status, error?.code], [401, "invalid_api_key"]);
  }
  for (const ask of on.all({ model: "gpt-5" })) {
    const { error } = await ask();
    assert.deepEqual([error?.status, error?.code], [404, "model_not_found"]);
  }
  const [openai] = on.all({ key: "sk-stranger-0123456789" });
  assert.equal((await openai?.())?.error?.name, "AuthenticationError");
});

Deno.test("openaiUpstream fails as often as planned, for the model it is planned for", async () => {
  await using on = await stage();
  const headers = { "retry-after": "0", "retry-after-ms": "1" };
  for (const ask of on.all({ maxRetries: 1 })) {
    for (const status of [429, 500, 503]) {
      on.upstream.fail({ status, headers });
      on.upstream.fail({ status: 503 }, { model: "gpt-4o-mini", times: 2 });
      const { attempts, error } = await ask();
      assert.deepEqual([attempts, error], [2, null], `${status}`);
      on.upstream.clearPlans();
    }
  }
  on.upstream.resetCounts();
  for (const ask of on.all()) {
    on.upstream.fail({ status: 500 });
    const { error } = await ask();
    assert.equal(error?.status, 500);
    assert.match(error?.message ?? "", /The server had an error while processing your request/);
    on.upstream.fail({ ...quotaExceeded, headers: { "x-should-retry": "false" } });
    assert.equal((await ask()).error?.code, "insufficient_quota");
    assert.equal((await ask()).error, null);
  }
  const statuses = on.upstream.calls.map(({ status }) => status);
  assert.deepEqual(statuses, [1, 2, 3, 4].flatMap(() => [500, 429, 200]));
});

Deno.test("openaiUpstream breaks a stream by its socket or by an error, and the clients see it", async () => {
  await using on = await stage();
  const [openai, ai] = on.all();
  for (const ask of [openai, ai]) {
    on.upstream.cutAfter(3);
    const { error, text } = await ask?.() ?? {};
    assert.ok(error, "A cut must not look like an end");
    assert.equal(text, "This is");
    assert.deepEqual([error.status ?? 200, error.code], [200, null]);
    const call = on.upstream.calls.at(-1);
    assert.deepEqual([call?.outcome, call?.chunks], ["cut", 3]);

    on.upstream.errorMidStream(2);
    const told = await ask?.();
    assert.match(told?.error?.message ?? "", /^The server had an error while processing/);
    assert.deepEqual([told?.text, on.upstream.calls.at(-1)?.outcome], ["This", "answered"]);
  }
  for (const ask of on.all().slice(2)) {
    on.upstream.cutAfter(0);
    assert.ok((await ask()).error, "Half a JSON answer is none");
    assert.equal(on.upstream.calls.at(-1)?.outcome, "cut");
  }
});

Deno.test("openaiUpstream dawdles where it is told to", async () => {
  await using upstream = await openaiUpstream({ models: [model] });
  const body = JSON.stringify({ model, messages, stream: true });
  const headers = { authorization: `Bearer ${upstream.keys[0]}` };
  const timed = async () => {
    const began = performance.now();
    const response = await fetch(`${upstream.url}/chat/completions`, {
      method: "POST",
      headers,
      body,
    });
    const head = performance.now() - began;
    const text = await response.text();
    assert.match(text, /\[DONE\]/);
    return { head, whole: performance.now() - began }; // A busy client hears of its head late.
  };
  upstream.delay({ headers: 60 }, { times: 1 });
  assert.ok((await timed()).head >= 55);
  upstream.delay({ firstChunk: 60 }, { times: 1 });
  assert.ok((await timed()).whole >= 55);
  upstream.delay({ betweenChunks: 5 }, { times: 1 });
  assert.ok((await timed()).whole >= 55);
});

Deno.test("openaiUpstream's own models do what their names say", async () => {
  await using upstream = await openaiUpstream();
  const ask = async (name: string, stream = false) => {
    const body = JSON.stringify({ model: `dev/${name}`, messages, stream });
    const headers = { authorization: `Bearer ${upstream.keys[0]}` };
    const init = { method: "POST", headers, body };
    const response = await fetch(`${upstream.url}/chat/completions`, init);
    return { status: response.status, text: await response.text().catch(() => "broken") };
  };
  assert.match((await ask("echo")).text, /dev\/echo was asked: Hello!/);
  for (const status of [402, 429, 500, 503]) {
    assert.equal((await ask(`error-${status}`)).status, status);
  }
  assert.match((await ask("no-quota")).text, /insufficient_quota/);
  assert.doesNotMatch((await ask("no-usage")).text, /"usage"/);
  assert.equal((await ask("cut", true)).text, "broken");
  assert.match((await ask("error-mid-stream", true)).text, /"error":.*server_error/);
  assert.match((await ask("long")).text, / 999 1000"/);
  upstream.resetCounts();
  const hanging = ask("hang").catch(() => "gone");
  await upstream.arrived(1);
  await upstream.stop();
  assert.equal(await hanging, "gone");
});
