/** An API that belongs to the provider: it answers whoever brings a living access token. */
import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import type { AccessToken, Context } from "./oidc_boundary.ts";

export interface ApiAnswer {
  account: string;
  clientId: string;
  scope: string;
  method: string;
  path: string;
  query: Record<string, string>;
  headers: Record<string, string>;
  body: string;
}

/** Answers `/api/stream` in slow pieces and every other `/api/…` with an echo of the request. */
export async function answerApi(
  context: Context,
  findToken: (token: string) => Promise<AccessToken | undefined>,
  counts: { apiRequests: number; apiRefusals: number },
): Promise<void> {
  counts.apiRequests++;
  const presented = /^Bearer (.+)$/i.exec(context.get("authorization"))?.[1];
  const token = presented === undefined ? undefined : await findToken(presented);
  if (!token) {
    counts.apiRefusals++;
    const problem = presented === undefined ? "" : ', error="invalid_token"';
    context.set("www-authenticate", `Bearer realm="api"${problem}`);
    context.status = 401;
    context.body = { error: "invalid_token" };
    return;
  }
  context.status = 200;
  if (context.path === "/api/stream") {
    context.type = "text/plain";
    context.body = Readable.from(slowly(new URLSearchParams(context.querystring)));
    return;
  }
  const answer: ApiAnswer = {
    account: token.accountId,
    clientId: token.clientId,
    scope: token.scope ?? "",
    method: context.method,
    path: context.path,
    query: Object.fromEntries(new URLSearchParams(context.querystring)),
    headers: Object.fromEntries(
      Object.entries(context.req.headers).map(([name, value]) => [name, String(value)]),
    ),
    body: (await readAll(context.req)).toString("utf8"),
  };
  context.body = answer;
}

/** `?chunks=5&everyMs=50` by default. */
async function* slowly(query: URLSearchParams): AsyncGenerator<string> {
  const chunks = Number(query.get("chunks") ?? "5");
  const everyMs = Number(query.get("everyMs") ?? "50");
  for (let at = 1; at <= chunks; at++) {
    yield `chunk ${at}\n`;
    if (at < chunks) await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

export async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
