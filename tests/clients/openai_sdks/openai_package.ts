/** Calls of the `openai` package. */
import OpenAI, { APIError } from "openai";
import type { Answered, Ask, At, Refused } from "../asks.ts";
import type { Use } from "./observed.ts";

type OpenaiAsk = At & Extract<Ask, { client: "openai" }>;

function refusedBy(error: unknown): Refused {
  if (!(error instanceof Error)) throw error;
  const told = error instanceof APIError ? error : undefined;
  return {
    name: error.constructor.name,
    message: error.message,
    status: told?.status ?? null,
    code: told?.code ?? null,
    type: told?.type ?? null,
    param: told?.param ?? null,
    isRetryable: null,
  };
}

function keep(answered: Answered, { choices: [choice], usage }: OpenAI.ChatCompletion): void {
  answered.text = choice?.message.content ?? "";
  answered.finishReason = choice?.finish_reason ?? null;
  answered.usage = usage ? { ...usage } : null;
  for (const call of choice?.message.tool_calls ?? []) {
    if (call.type !== "function") continue;
    const { name, arguments: text } = call.function;
    answered.toolCalls.push({ id: call.id, name, arguments: JSON.parse(text) });
  }
}

async function chat(client: OpenAI, body: OpenAI.ChatCompletionCreateParams, use: Use) {
  const { answered, signal, onChunk } = use;
  if (body.stream !== true) {
    const answer = await client.chat.completions.create({ ...body, stream: false }, { signal });
    answered.answer = answer;
    return keep(answered, answer);
  }
  const stream = client.chat.completions.stream(body, { signal });
  for await (const chunk of stream) {
    answered.text += chunk.choices[0]?.delta.content ?? "";
    onChunk({ ...chunk });
  }
  keep(answered, await stream.finalChatCompletion());
}

export async function askOpenai(ask: OpenaiAsk, use: Use): Promise<Answered> {
  const { answered, signal } = use;
  const client = new OpenAI({
    baseURL: ask.url,
    apiKey: ask.key,
    maxRetries: ask.maxRetries ?? 0,
    defaultHeaders: ask.headers,
    fetch: use.fetch,
  });
  try {
    if (ask.call === "models") {
      const { data } = await client.models.list({ signal });
      answered.answer = data;
    } else if (ask.call === "model") {
      answered.answer = await client.models.retrieve(ask.id, { signal });
    } else {
      const text = JSON.stringify(ask.body);
      if (ask.call === "chat") await chat(client, JSON.parse(text), use);
      else answered.answer = await client.embeddings.create(JSON.parse(text), { signal });
    }
  } catch (error) {
    answered.error = refusedBy(error);
  }
  return answered;
}
