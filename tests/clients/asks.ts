/** What is asked of the real OpenAI clients, and what they answer, as both processes see it. */

export interface At {
  /** The base address, ending in `/v1`. */
  url: string;
  key: string;
  headers?: Record<string, string>;
  /** How often the client may try again of itself; 0 when left out. */
  maxRetries?: number;
  /** Leaves after so many chunks of a stream. */
  abortAfter?: number;
}

export type Json = Record<string, unknown>;

export type Ask =
  /** `body` is sent as it is; with `stream: true` in it the answer is streamed. */
  | { client: "openai"; call: "chat" | "embeddings"; body: Json }
  | { client: "openai"; call: "models" }
  | { client: "openai"; call: "model"; id: string }
  /** The tools answer with their input; up to `steps` rounds with the model. */
  | {
    client: "ai";
    call: "generate" | "stream";
    model: string;
    messages: { role: "user" | "assistant" | "system"; content: string }[];
    tools?: Record<string, { description: string; parameters: Json }>;
    steps?: number;
    schema?: Json;
  };

export interface Refused {
  /** The error's class, by which programs tell errors apart. */
  name: string;
  message: string;
  status: number | null;
  code: string | null;
  type: string | null;
  param: string | null;
  /** What the AI SDK makes of it; null for the other, which tries again of itself. */
  isRetryable: boolean | null;
}

export interface Answered {
  text: string;
  toolCalls: { id: string; name: string; arguments: unknown }[];
  finishReason: string | null;
  /** As the client names its members. */
  usage: Json | null;
  /** Chunks of the stream that came, and what they were. */
  chunks: Json[];
  /** The answer that was not streamed. */
  answer: unknown;
  /** Requests the client made. */
  attempts: number;
  /** Of the last response. */
  status: number | null;
  headers: Record<string, string>;
  error: Refused | null;
}

/** Lines to the client process. */
export type Order = { id: number; ask: At & Ask } | { id: number; abort: true };

/** Lines from it. */
export type Word = { id: number; chunk: Json } | { id: number; answered: Answered };
