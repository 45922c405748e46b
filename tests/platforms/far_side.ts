/** An account whose platform has two hosts: the provider's own API, and one that does as a test wants. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { environment, type Person } from "../kit.ts";
import { type Far, http } from "../outbound/servers.ts";
import { connect, type House, house, tenantWith } from "./accounts.ts";

type Seen = { method: string; url: string; headers: IncomingMessage["headers"]; body: string };

export let at: House;
export let far: Far;
export let origin: string;
export const clock = { aheadMs: 0 };
/** What the far side does next. */
type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const fine: Answer = (_, response) => void response.end("fine");
export const side = { answer: fine };
/** What it has seen, and what the service wrote into its log. */
export const seen: Seen[] = [];
export const lines: string[] = [];

Deno.test.beforeAll(async () => {
  const env = await environment({ LOG_LEVEL: "debug" });
  const now = () => new Date(Date.now() + clock.aheadMs);
  at = await house({ env, now, write: (line) => void lines.push(line) });
  far = await http(async (request, response) => {
    let body = "";
    try {
      for await (const chunk of request) body += chunk;
    } catch {
      return; // The proxy broke the upload off.
    }
    seen.push({
      method: request.method ?? "",
      url: request.url ?? "",
      headers: request.headers,
      body,
    });
    side.answer(request, response);
  });
  origin = `http://127.0.0.1:${far.port}`;
});
Deno.test.beforeEach(() => {
  clock.aheadMs = 0;
  seen.length = 0;
  side.answer = fine;
  at.provider.resetCounts();
});
Deno.test.afterAll(async () => {
  await far[Symbol.asyncDispose]();
  await at[Symbol.asyncDispose]();
});

export async function scene() {
  const apiHosts = [new URL(at.provider.apiUrl).origin, origin];
  const tenant = await tenantWith(at, { apiHosts });
  const { id } = await connect(at, tenant.member, tenant);
  const { accessToken } = await at.as(tenant.member).platforms.bindings.accessToken({ id });
  const call = (path: string, init: RequestInit = {}, person: Person | null = tenant.member) =>
    at.request(`/api/v1/bindings/${id}/proxy/${path}`, init, person);
  const toFar = (path = "", init: RequestInit = {}) => call(`127.0.0.1:${far.port}${path}`, init);
  const toApi = (path = "", init: RequestInit = {}) =>
    call(`${new URL(origin).hostname}:${new URL(at.provider.apiUrl).port}${path}`, init);
  at.provider.resetCounts();
  return { tenant, id, accessToken, call, toFar, toApi };
}
