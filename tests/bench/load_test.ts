/** A measure is worth what its load is worth: it asks in turn, reads to the end and hides no refusal. */
import assert from "node:assert/strict";
import fake from "../../scripts/bench/fake_openai.ts";
import { figures, firstByteMs, type Target } from "../../scripts/bench/load.ts";

type Handler = (request: Request) => Response | Promise<Response>;

function serving(handler: Handler) {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  const target: Target = {
    host: "127.0.0.1",
    port: server.addr.port,
    path: "/v1/chat/completions",
    headersOf: (i) => ({ authorization: `Bearer key-${i}` }),
    body: JSON.stringify({ model: "gpt-4o-mini" }),
  };
  return { target, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("figures takes the variants of a request in turn, and counts whole answers", async () => {
  const asked: string[] = [];
  const body = "x".repeat(200_000);
  await using on = serving(async (request) => {
    assert.deepEqual(await request.json(), { model: "gpt-4o-mini" });
    asked.push(request.headers.get("authorization") ?? "");
    const isWhole = asked.length % 2 === 0;
    return new Response(isWhole ? body : new Blob([body]).stream());
  });
  const { perSecond, p50Ms, p99Ms } = await figures({ ...on.target, variants: 3 }, 1_000, 1);
  const names = ["Bearer key-0", "Bearer key-1", "Bearer key-2"];
  assert.deepEqual(asked, asked.map((_, i) => names[i % 3]));
  assert.ok(asked.length >= 3);
  assert.ok(perSecond > 0 && p50Ms <= p99Ms);
});

Deno.test("figures throws at the first answer that is not 200", async () => {
  await using on = serving(() => new Response("No more today", { status: 429 }));
  await assert.rejects(figures(on.target, 100, 4), /Answered HTTP\/1\.1 429[\s\S]*No more today/);
});

Deno.test("firstByteMs ends its watch when the first chunk comes, not the last", async () => {
  const pauseMs = 300;
  await using on = serving(() => {
    const rest = (): Promise<string> =>
      new Promise((resolve) => setTimeout(() => resolve("data: [DONE]\n\n"), pauseMs));
    return new Response(ReadableStream.from(pieces(rest)).pipeThrough(new TextEncoderStream()));
  });
  assert.ok(await firstByteMs(on.target, 3) < pauseMs);
});

async function* pieces(rest: () => Promise<string>) {
  yield "data: {}\n\n";
  yield await rest();
}

Deno.test("the bench's upstream answers as OpenAI does, usage last", async () => {
  const ask = (stream: boolean) => {
    const body = JSON.stringify({ stream });
    return fake.fetch(new Request("http://upstream/v1/chat/completions", { method: "POST", body }));
  };
  const whole = await (await ask(false)).json();
  const events = (await (await ask(true)).text()).split("\n\n");
  assert.deepEqual(events.splice(-2), ["data: [DONE]", ""]);
  const chunks = events.map((event) => JSON.parse(event.replace(/^data: /, "")));
  const text = chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual([chunks.at(-1).choices, chunks.at(-1).usage], [[], whole.usage]);
});
