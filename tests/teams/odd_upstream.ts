/** A server that is no model's: it answers what a test writes, byte by byte, and counts who leaves. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { http } from "../outbound/servers.ts";
import type { House } from "./house.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A team whose models `odd/…` it serves. */
export async function oddUpstream(
  h: House,
  more: { maxAttempts?: number; timeoutMs?: number } = {},
) {
  const side: { answer: Answer; seen: number } = {
    answer: (_, response) => void response.end(),
    seen: 0,
  };
  const far = await http(async (request, response) => {
    side.seen++;
    for await (const _ of request);
    side.answer(request, response);
  });
  const team = await h.team({ availableModels: ["odd/model", "openai/gpt-4"] });
  const upstream = await h.w.as(team.admin).teams.upstreams.create({
    name: "Odd",
    modelPrefix: "odd/",
    baseUrl: `http://127.0.0.1:${far.port}/secret/path/`,
    apiKey: "sk-odd-secret-key",
    maxAttempts: 1,
    ...more,
  });
  return {
    team,
    upstream,
    side,
    far,
    /** What the next requests are answered. */
    answers: (status: number, type: string | null, body: string) => {
      side.answer = (_, response) => {
        response.writeHead(status, type === null ? {} : { "content-type": type });
        response.end(body);
      };
    },
    /** The next streams are these pieces, each written for itself, and then the end, or `cut`. */
    streams: (pieces: (string | Uint8Array)[], cut?: Promise<void>) => {
      side.answer = async (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.flushHeaders();
        for (const piece of pieces) {
          await new Promise<void>((written) => response.write(piece, () => written()));
        }
        if (!cut) return response.end();
        await cut;
        response.destroy();
      };
    },
    [Symbol.asyncDispose]: () => far[Symbol.asyncDispose](),
  };
}
