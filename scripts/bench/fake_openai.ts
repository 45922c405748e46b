/**
 * The quickest upstream a gateway can have: the same completion to whoever asks, with usage, as
 * JSON or in chunks. Nothing is checked; the first chunk comes at once, the rest in one go after
 * a while, so that a gateway that waits for the end is seen to.
 */

const CHUNKS = 20;
const REST_AFTER_MS = 10;

const encoder = new TextEncoder();
const head = { created: 1_750_000_000, model: "gpt-4o-mini", system_fingerprint: null };
const usage = { prompt_tokens: 19, completion_tokens: CHUNKS - 3, total_tokens: CHUNKS + 16 };

const completion = encoder.encode(JSON.stringify({
  id: "chatcmpl-bench",
  object: "chat.completion",
  ...head,
  choices: [{
    index: 0,
    message: { role: "assistant", content: " word".repeat(CHUNKS - 3), refusal: null },
    logprobs: null,
    finish_reason: "stop",
  }],
  usage,
}));

const event = (choices: unknown[], counted: unknown = null) => {
  const chunk = { id: "chatcmpl-bench", object: "chat.completion.chunk", ...head };
  return `data: ${JSON.stringify({ ...chunk, choices, usage: counted })}\n\n`;
};
const choice = (delta: object, reason: string | null = null) => [
  { index: 0, delta, logprobs: null, finish_reason: reason },
];
const first = encoder.encode(event(choice({ role: "assistant", content: "", refusal: null })));
const rest = encoder.encode([
  ...Array.from({ length: CHUNKS - 3 }, () => event(choice({ content: " word" }))),
  event(choice({}, "stop")),
  event([], usage),
  "data: [DONE]\n\n",
].join(""));

function stream(): Response {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(first);
      timer = setTimeout(() => {
        controller.enqueue(rest);
        controller.close();
      }, REST_AFTER_MS);
    },
    cancel: () => clearTimeout(timer),
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

async function fetch(request: Request): Promise<Response> {
  const text = request.body ? await request.text() : "";
  if (text.includes('"stream":true')) return stream();
  return new Response(completion, { headers: { "content-type": "application/json" } });
}

export default { fetch };
