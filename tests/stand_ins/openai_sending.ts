/** Sends an answer as JSON or as a stream, as slowly, brokenly or not at all as it is to be. */
import type { ServerResponse } from "node:http";
import type { Behaviour } from "./openai_behaviours.ts";
import type { Call } from "./openai_calls.ts";
import { complete, type Failure, serverError } from "./openai_refusals.ts";
import { pause } from "./processes.ts";

export interface Exchange {
  call: Call;
  response: ServerResponse;
  behaviour: Behaviour;
}

/** Headers a gateway must not take for its own. */
const usualHeaders = {
  "openai-organization": "development-upstream",
  "openai-processing-ms": "1",
  "openai-version": "2020-10-01",
  "x-ratelimit-limit-requests": "10000",
  "x-ratelimit-limit-tokens": "1000000",
  "x-ratelimit-remaining-requests": "9999",
  "x-ratelimit-remaining-tokens": "999999",
  "x-ratelimit-reset-requests": "6ms",
  "x-ratelimit-reset-tokens": "0s",
};

function begin({ call, response }: Exchange, status: number, headers: Record<string, string>) {
  call.status = status;
  response.writeHead(status, { ...usualHeaders, "x-request-id": call.requestId, ...headers });
}

/** A socket that is destroyed drops what it has not sent yet: every piece is waited for. */
async function write({ call, response }: Exchange, text: string): Promise<void> {
  const written = new Promise<void>((resolve) => response.write(text, () => resolve()));
  await Promise.race([written, call.ended]);
}

function cut({ call, response }: Exchange): void {
  call.outcome = "cut";
  response.destroy();
}

/** Whether somebody still waits, after the time or the event. */
async function stillThere({ call }: Exchange, ms = 0, event?: Promise<void>): Promise<boolean> {
  await pause(ms, call.gone);
  if (event) await Promise.race([event, call.ended]);
  return !call.gone.aborted;
}

/** What comes before the first byte; false when nobody waits any more. */
export function mayAnswer(exchange: Exchange): Promise<boolean> {
  const { delayMs, hang } = exchange.behaviour;
  const event = hang && hang.afterChunks === undefined ? hang.released : undefined;
  return stillThere(exchange, delayMs?.headers, event);
}

export function sendFailure(exchange: Exchange, failure: Failure): void {
  const { status, body, headers } = complete(failure);
  const text = typeof body === "string" ? body : JSON.stringify(body);
  begin(exchange, status, { "content-type": "application/json", ...headers });
  exchange.response.end(text);
}

export async function sendJson(exchange: Exchange, body: unknown): Promise<void> {
  const { response, behaviour: { delayMs, cutAfter, errorAfter } } = exchange;
  if (errorAfter !== undefined) return sendFailure(exchange, { status: 500 });
  const text = JSON.stringify(body);
  const length = String(new TextEncoder().encode(text).length);
  begin(exchange, 200, { "content-type": "application/json", "content-length": length });
  if (delayMs?.firstChunk) {
    response.flushHeaders();
    if (!await stillThere(exchange, delayMs.firstChunk)) return;
  }
  if (cutAfter === undefined) return void response.end(text);
  await write(exchange, text.slice(0, text.length / 2));
  cut(exchange);
}

const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`;

export async function sendStream(exchange: Exchange, chunks: Iterable<unknown>): Promise<void> {
  const { call, response, behaviour: { delayMs, cutAfter, errorAfter, hang } } = exchange;
  begin(exchange, 200, { "content-type": "text/event-stream; charset=utf-8" });
  response.flushHeaders();
  for (const chunk of chunks) {
    const ms = call.chunks === 0 ? delayMs?.firstChunk : delayMs?.betweenChunks;
    const until = call.chunks === hang?.afterChunks ? hang?.released : undefined;
    if (!await stillThere(exchange, ms, until)) return;
    // After the wait: a cut that follows a chunk at once may overtake it.
    if (call.chunks === cutAfter) return cut(exchange);
    if (call.chunks === errorAfter) {
      await write(exchange, event(serverError));
      return void response.end();
    }
    await write(exchange, event(chunk));
    if (call.gone.aborted) return;
    call.chunks++;
  }
  response.end("data: [DONE]\n\n");
}
