/** A world whose teams chat with a stand-in for OpenAI, through the front door and over a socket. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { settled } from "../../src/teams/admission.ts";
import { environment, freshDatabase, type Person, world } from "../kit.ts";
import { type OpenaiUpstream, openaiUpstream } from "../stand_ins/openai.ts";
import { noonZone } from "./noon.ts";

/** What both platform types may use where nobody says otherwise. */
export const models = ["openai/gpt-4o-mini", "openai/gpt-4", "anthropic/claude-sonnet-4"] as const;
/** Models the stand-in serves and no team may use unless it says so. */
export const others = ["openai/gpt-5", "other/large", "other/small", "openai/embedding"] as const;

type Row = Record<string, unknown>;
export type Json = Record<string, unknown>;

export async function house() {
  const clock: { aheadMs: number; frozenMs: number | null } = { aheadMs: 0, frozenMs: null };
  const lines: string[] = [];
  const database = await freshDatabase();
  await database.admin(`alter table tenants alter column time_zone set default '${noonZone()}'`);
  const w = await world({
    database,
    env: await environment({ LOG_LEVEL: "debug" }),
    now: () => new Date((clock.frozenMs ?? Date.now()) + clock.aheadMs),
    write: (line) => void lines.push(line),
  });
  const upstream = await openaiUpstream({ models: [...models, ...others] });
  const [key = ""] = upstream.keys;
  const root = w.as(w.operator);
  const everything = await root.teams.upstreams.create({
    name: "Everything",
    baseUrl: upstream.url,
    apiKey: key,
    maxAttempts: 1,
  });

  /** Asked as the superuser, past every policy. */
  const sql = database.admin;

  type TeamInput = Parameters<typeof root.teams.teams.create>[0];
  /** A team with a key, in a tenant of its own unless one is given. */
  const team = async (more: Partial<TeamInput> = {}, by?: Person) => {
    const admin = by ?? (await w.tenant()).admin;
    const name = v7();
    const made = await w.as(admin).teams.teams.create({
      displayName: `Team ${name}`,
      platformName: name,
      platformType: "private",
      rateLimit: 1_000,
      ...more,
    });
    return { admin, tenantId: admin.tenantId, id: made.id, key: made.apiKey, made };
  };

  /** What a team's requests came to, oldest first, once all of it is written. */
  const usage = async (teamId: string) => {
    await settled(w.process);
    return await sql(
      `select model, requested_model, outcome, status, attempts, input_tokens, output_tokens,
        usage_source, cost_micros, is_streamed, user_id, session_id, first_byte_ms
       from usage_logs where team_id = $1 order by id`,
      [teamId],
    );
  };

  return {
    w,
    clock,
    lines,
    sql,
    upstream,
    everything,
    /** What the upstream takes: nobody but it may see it. */
    upstreamKey: key,
    team,
    ...doors((path, init) => w.hono.fetch(new Request(`${w.env.PUBLIC_URL}${path}`, init))),
    usage,
    async [Symbol.asyncDispose]() {
      await upstream.stop();
      await w.close();
    },
  };
}
/** The front door, with a key. */
function doors(fetched: (path: string, init: RequestInit) => Response | Promise<Response>) {
  type Post = RequestInit & { path?: string; headers?: Record<string, string> };
  return {
    /** The body as JSON unless it is a text. */
    post: async (key: string, body: unknown, { path, headers, ...init }: Post = {}) =>
      await fetched(path ?? "/v1/chat/completions", {
        method: "POST",
        headers: {
          authorization: `Bearer ${key}`,
          "content-type": "application/json",
          ...headers,
        },
        body: typeof body === "string" ? body : JSON.stringify(body),
        ...init,
      }),
    get: async (key: string, path: string, init: RequestInit = {}) =>
      await fetched(path, { headers: { authorization: `Bearer ${key}` }, ...init }),
  };
}

export type House = Awaited<ReturnType<typeof house>>;

export const said = (content: string) => [{ role: "user" as const, content }];
export const hello = { model: models[0], messages: said("Hello!") };

/** The JSON of an answer, which must be one. */
export async function jsonOf(response: Response): Promise<Json> {
  const text = await response.text();
  assert.match(response.headers.get("content-type") ?? "", /^application\/json/, text);
  const value: unknown = JSON.parse(text);
  assert.ok(typeof value === "object" && value !== null, text);
  return { ...value };
}

/** An answer's error, which must have OpenAI's shape. */
export async function errorOf(response: Response) {
  const { error, ...rest } = await jsonOf(response);
  assert.deepEqual(rest, {});
  assert.ok(typeof error === "object" && error !== null);
  assert.deepEqual(Object.keys(error).sort(), ["code", "message", "param", "type"]);
  const { message, type, param, code } = Object(error);
  return {
    status: response.status,
    message: String(message),
    type: String(type),
    param: param === null ? null : String(param),
    code: String(code),
    retry: response.headers.get("x-should-retry"),
  };
}

/** Asks until it is so, for what the other side of a socket takes a moment to notice. */
export async function eventually<T>(ask: () => Promise<T>, isSo: (it: T) => boolean): Promise<T> {
  for (const deadline = Date.now() + 15_000;;) {
    const it = await ask();
    if (isSo(it)) return it;
    if (Date.now() > deadline) throw new Error(`It did not come true: ${JSON.stringify(it)}`);
    await new Promise((go) => setTimeout(go, 10));
  }
}

/** The `data:` of each event of a stream's text. */
export const eventsIn = (text: string): string[] =>
  text.split("\n\n").filter((event) => event !== "").map((event) => event.replace(/^data: /, ""));

/** Breaks the next stream after so many chunks, once `release` is called: all of them have arrived. */
export function cutOnceRead(
  { upstream }: House,
  chunks: number,
): { chunks: number; release: () => void } {
  const release = upstream.hang({ afterChunks: chunks });
  upstream.cutAfter(chunks);
  return { chunks, release };
}

/** The chunks of a whole stream, which must end as OpenAI's do; it is cut once they were read. */
export async function chunksOf(
  { headers, body }: Response,
  cut?: ReturnType<typeof cutOnceRead>,
): Promise<Json[]> {
  let text = "";
  for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += piece;
    if (cut && eventsIn(text).length >= cut.chunks) cut.release();
  }
  assert.match(headers.get("content-type") ?? "", /^text\/event-stream/, text);
  const events = eventsIn(text);
  assert.equal(events.pop(), "[DONE]", text);
  return events.map((event) => JSON.parse(event));
}

/** The text the first choice's chunks make. */
export const textOf = (chunks: readonly Json[]): string =>
  chunks.map((chunk) => Object(chunk.choices)[0]?.delta?.content ?? "").join("");

/** A chat's model calls as the stand-in saw them. */
export const modelsAsked = (upstream: OpenaiUpstream) =>
  upstream.calls.map(({ model, body }) => [model, ...Object(body).models ?? []].join(" "));

/** The service on a port of its own: what a client's leaving does can only be seen there. */
export function onSocket({ w }: House) {
  const arrived: string[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request, info) => {
      arrived.push(`${request.method} ${new URL(request.url).pathname}`);
      return w.hono.fetch(request, { remoteAddr: info.remoteAddr });
    },
  );
  const origin = `http://127.0.0.1:${server.addr.port}`;
  return {
    origin,
    url: `${origin}/v1`,
    /** Every request, first to last. */
    arrived,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
