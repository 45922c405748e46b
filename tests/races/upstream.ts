/** A model of the least kind: OpenAI's API, JSON and SSE, as slow as it is told to be. */

export type Upstream = AsyncDisposable & {
  /** The base address an upstream is configured with. */
  readonly url: string;
  /** How often each first message came. */
  readonly seen: Map<string, number>;
  /** Before the answer to a first message, and before each part of a stream. */
  delayMs: (said: string) => number;
  /** No answer begins before this. */
  held: Promise<void>;
  stop(): Promise<void>;
};

type Asked = { model: string; stream?: boolean; messages: { content: string }[] };

const usage = { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 };
const words = ["Good", " morning", ", ", "baker", "."];
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export function upstream(): Upstream {
  const seen = new Map<string, number>();
  const parts = ({ model }: Asked) => {
    const chunk = (choices: unknown[], more = {}) =>
      `data: ${
        JSON.stringify({ id: "c1", object: "chat.completion.chunk", model, choices, ...more })
      }\n\n`;
    const said = words.map((content) => chunk([{ index: 0, delta: { content } }]));
    const end = chunk([{ index: 0, delta: {}, finish_reason: "stop" }]);
    return [...said, end, chunk([], { usage }), "data: [DONE]\n\n"];
  };
  const streamed = (asked: Asked, said: string) => {
    const left = parts(asked);
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        await pause(it.delayMs(said));
        const next = left.shift();
        if (next === undefined) controller.close();
        else controller.enqueue(new TextEncoder().encode(next));
      },
    }, { highWaterMark: 0 });
  };
  const answer = async (request: Request): Promise<Response> => {
    const asked: Asked = await request.json();
    const said = asked.messages[0]?.content ?? "";
    seen.set(said, (seen.get(said) ?? 0) + 1);
    await it.held;
    await pause(it.delayMs(said));
    if (asked.stream) {
      return new Response(streamed(asked, said), {
        headers: { "content-type": "text/event-stream" },
      });
    }
    const message = { role: "assistant", content: words.join("") };
    const choices = [{ index: 0, message, finish_reason: "stop" }];
    return Response.json({
      id: "c1",
      object: "chat.completion",
      model: asked.model,
      choices,
      usage,
    });
  };
  const closing = new AbortController();
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    signal: closing.signal,
    onListen: () => {},
    onError: () => new Response(null, { status: 500 }),
  }, answer);
  const stop = async () => {
    closing.abort();
    await server.finished;
  };
  const it: Upstream = {
    url: `http://127.0.0.1:${server.addr.port}/v1`,
    seen,
    delayMs: () => 0,
    held: Promise.resolve(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
  return it;
}
