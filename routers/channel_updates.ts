/** Where platforms send what is said to a team: verified, written down and acknowledged at once. */
import type { Context, Env, Hono } from "hono";
import { Fault, notFound } from "../src/errors.ts";
import type { Services } from "../src/context.ts";
import { take } from "../src/teams/channels/arrivals.ts";
import { begin } from "../src/teams/channels/desks.ts";
import { readBytes } from "./json.ts";
import type { CtxHost } from "./proxy.ts";
import { allowOf, failed } from "./rest.ts";
import type { Json } from "./schemas.ts";

/** Platforms send for many channels from few addresses: only what is not true counts against one. */
async function weighed<E extends Env>(c: Context<E>, error: unknown, host: CtxHost<E>) {
  if (!(error instanceof Fault)) return error;
  try {
    await host.context(c);
    return error;
  } catch (limited) {
    return limited;
  }
}

const MAX_UPDATE_BYTES = 512 * 1024;
const PATH = "/v1/channels/:id/updates";
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function mountChannelUpdates<E extends Env>(
  app: Hono<E>,
  services: Services,
  host: CtxHost<E>,
): void {
  app.post(PATH, async (c: Context<E>) => {
    const ctx = { ...services, requestId: host.requestId(c) };
    try {
      const id = c.req.param("id") ?? "";
      if (!uuid.test(id)) throw notFound("channel");
      const body = await readBytes(c.req.raw, MAX_UPDATE_BYTES);
      const chat = await take(ctx, id, { headers: c.req.raw.headers, body });
      if (chat) begin(ctx, chat); // Not waited for: what is not worked off here, another finds.
      return c.json({ ok: true });
    } catch (error) {
      return failed(c, await weighed(c, error, host), host);
    }
  });
  app.all(PATH, (c) => {
    c.header("Allow", allowOf(["POST"]));
    if (c.req.method === "OPTIONS") return c.body(null, 204);
    const message = `This path takes ${allowOf(["POST"])}`;
    return failed(c, new Fault("MethodNotAllowed", "method.not_allowed", message), host);
  });
}

const text = (maxLength: number, description: string): Json => ({
  type: "string",
  minLength: 1,
  maxLength,
  pattern: "^[^\\u0000]*$",
  description,
});
const header = (name: string, description: string): Json => ({
  name,
  in: "header",
  description,
  schema: { type: "string", maxLength: 4096, pattern: "^[\\x20-\\x7e]*$" },
});
const refusal = (name: string): Json => ({ $ref: `#/components/responses/${name}` });

/** For the OpenAPI document: a path that is no procedure. */
export const pathItems: Record<string, Json> = {
  "/v1/channels/{id}/updates": {
    post: {
      operationId: "teams.channels.receive",
      tags: ["teams"],
      summary: "Say something to a team over a channel",
      description: "Where Telegram sends updates, with the channel's secret in a header; and any " +
        "other sender messages, signed with it after Standard Webhooks. Acknowledged at once: the " +
        "answer goes out to where the channel sends answers. The same id again is the same message.",
      security: [{}],
      parameters: [
        {
          name: "id",
          in: "path",
          required: true,
          description: "Which channel.",
          schema: { type: "string", format: "uuid", maxLength: 36 },
        },
        header("X-Telegram-Bot-Api-Secret-Token", "Telegram: the channel's secret."),
        header("Webhook-Id", "Others: the message's own id, without a full stop."),
        header("Webhook-Timestamp", "Others: when it is sent, in seconds since 1970."),
        header("Webhook-Signature", "Others: `v1,` and the HMAC-SHA256 of `id.timestamp.body`."),
      ],
      requestBody: {
        required: true,
        description: "What is said; Telegram sends an Update of its own.",
        content: {
          "application/json": {
            schema: {
              type: "object",
              properties: {
                chat_id: text(255, "Where: what is said in one chat is answered in order."),
                user_id: text(255, "Who says it: each has a conversation of their own."),
                text: text(100_000, "What is said."),
              },
            },
          },
        },
      },
      responses: {
        200: {
          description: "It is written down, or was before, or is not for us.",
          content: {
            "application/json": {
              schema: { type: "object", properties: { ok: { type: "boolean", enum: [true] } } },
            },
          },
        },
        ...Object.fromEntries(
          Object.entries({
            400: "BadRequest",
            401: "Unauthorized",
            404: "NotFound",
            413: "PayloadTooLarge",
            429: "TooManyRequests",
            500: "InternalError",
            503: "Unavailable",
          }).map(([status, name]) => [status, refusal(name)]),
        ),
      },
    },
  },
};
