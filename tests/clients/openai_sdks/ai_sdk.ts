/** Calls of the AI SDK through its provider for OpenAI-compatible servers. */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  generateText,
  jsonSchema,
  type LanguageModelUsage,
  Output,
  RetryError,
  stepCountIs,
  streamText,
  tool,
  type ToolSet,
} from "ai";
import type { Answered, Ask, At, Json, Refused } from "../asks.ts";
import type { Use } from "./observed.ts";

type AiAsk = At & Extract<Ask, { client: "ai" }>;

const member = (of: unknown, name: string): unknown =>
  typeof of === "object" && of !== null
    ? Object.entries(of).find(([key]) => key === name)?.[1]
    : null;

const textOf = (value: unknown) => typeof value === "string" ? value : null;

function refusedBy(error: unknown): Refused {
  if (RetryError.isInstance(error)) return { ...refusedBy(error.lastError), name: error.name };
  if (!(error instanceof Error)) {
    const { name, message } = { name: "unknown", message: JSON.stringify(error) };
    return { name, message, status: null, code: null, type: null, param: null, isRetryable: null };
  }
  const call = APICallError.isInstance(error) ? error : undefined;
  const told = member(call?.data, "error");
  return {
    name: error.name,
    message: error.message,
    status: call?.statusCode ?? null,
    code: textOf(member(told, "code")),
    type: textOf(member(told, "type")),
    param: textOf(member(told, "param")),
    isRetryable: call?.isRetryable ?? null,
  };
}

/** Tools that answer with what they were called with. */
const toolsOf = ({ tools = {} }: AiAsk): ToolSet =>
  Object.fromEntries(
    Object.entries(tools).map(([name, { description, parameters }]) => [
      name,
      tool({
        description,
        inputSchema: jsonSchema<Json>(parameters),
        execute: (input) => Promise.resolve(input),
      }),
    ]),
  );

const usageOf = ({ inputTokens, outputTokens, totalTokens }: LanguageModelUsage): Json => ({
  inputTokens,
  outputTokens,
  totalTokens,
});

const settingsOf = (ask: AiAsk, use: Use) => ({
  model: createOpenAICompatible({
    name: "switchboard",
    baseURL: ask.url,
    apiKey: ask.key,
    headers: ask.headers ?? {},
    includeUsage: true,
    supportsStructuredOutputs: true,
    fetch: use.fetch,
  })(ask.model),
  messages: ask.messages,
  allowSystemInMessages: true,
  tools: toolsOf(ask),
  maxRetries: ask.maxRetries ?? 0,
  abortSignal: use.signal,
  stopWhen: stepCountIs(ask.steps ?? 1),
});

async function generate(ask: AiAsk, use: Use): Promise<void> {
  const { answered } = use;
  const { schema } = ask;
  const settings = settingsOf(ask, use);
  const output = schema ? { output: Output.object({ schema: jsonSchema<Json>(schema) }) } : {};
  const result = await generateText({ ...settings, ...output });
  answered.text = result.text;
  if (schema) answered.answer = result.output;
  answered.finishReason = result.finishReason;
  answered.usage = usageOf(result.totalUsage);
  for (const { toolCallId, toolName, input } of result.steps.flatMap((step) => step.toolCalls)) {
    answered.toolCalls.push({ id: toolCallId, name: toolName, arguments: input });
  }
}

async function stream(ask: AiAsk, use: Use): Promise<void> {
  const { answered, onChunk } = use;
  const result = streamText({ ...settingsOf(ask, use), onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "error") answered.error = refusedBy(part.error);
    else if (part.type === "tool-call") {
      const { toolCallId: id, toolName: name, input } = part;
      answered.toolCalls.push({ id, name, arguments: input });
    } else if (part.type === "text-delta") {
      answered.text += part.text;
      onChunk({ text: part.text });
    } else if (part.type === "finish") {
      answered.finishReason = part.finishReason;
      answered.usage = usageOf(part.totalUsage);
    } else if (part.type === "abort") answered.finishReason = "abort";
  }
}

export async function askAi(ask: AiAsk, use: Use): Promise<Answered> {
  try {
    await (ask.call === "stream" ? stream(ask, use) : generate(ask, use));
  } catch (error) {
    use.answered.error = refusedBy(error);
  }
  return use.answered;
}
