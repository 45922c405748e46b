/** Where platforms send what is said to a team: verified, written down and acknowledged at once. */
import type { Context, Env, Hono } from "hono";
import { Fault, notFound } from "../src/errors.ts";
import type { Services } from "../src/context.ts";
import { take } from "../src/teams/channels/arrivals.ts";
import { begin } from "../src/teams/channels/desks.ts";
import { readBytes } from "./json.ts";
import type { CtxHost } from "./proxy.ts";
import { refusals } from "./operations.ts";
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

const statuses = [401, 404, 413, 429, 500, 503];

/** For the OpenAPI document: a path that is no procedure. */
export const pathItems: Record<string, Json> = {
  "/v1/channels/{id}/updates": {
    post: {
      operationId: "teams.channels.receive",
      tags: ["teams"],
      summary: "Take in what a platform sends to a channel",
      description: "Telegram's updates with their secret header, or a webhook signed after " +
        "Standard Webhooks. Acknowledged at once and answered later; a second of the same id is " +
        "acknowledged and left alone.",
      security: [{}],
      parameters: [{
        name: "id",
        in: "path",
        required: true,
        description: "Which channel.",
        schema: { type: "string", format: "uuid", maxLength: 36 },
      }],
      requestBody: {
        required: true,
        description: "As the platform sends it; of a webhook `chat_id`, `user_id` and `text`.",
        content: { "application/json": { schema: { type: "object" } } },
      },
      responses: {
        200: {
          description: "It is written down.",
          headers: { "X-Request-Id": { $ref: "#/components/headers/XRequestId" } },
          content: {
            "application/json": {
              schema: { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] },
            },
          },
        },
        ...Object.fromEntries(
          statuses.map((status) => [
            status,
            { $ref: `#/components/responses/${refusals[status]}` },
          ]),
        ),
      },
    },
  },
};
