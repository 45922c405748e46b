/** Watches a client from outside: what it sent for, and what came back. */
import type { Answered, Json } from "../asks.ts";

export interface Use {
  answered: Answered;
  fetch: typeof fetch;
  signal: AbortSignal;
  onChunk: (chunk: Json) => void;
}

export function observed(): Pick<Use, "answered" | "fetch"> {
  const answered: Answered = {
    text: "",
    toolCalls: [],
    finishReason: null,
    usage: null,
    chunks: [],
    answer: null,
    attempts: 0,
    status: null,
    headers: {},
    error: null,
  };
  return {
    answered,
    fetch: async (input, init) => {
      answered.attempts++;
      const response = await fetch(input, init);
      answered.status = response.status;
      answered.headers = Object.fromEntries(response.headers);
      return response;
    },
  };
}
