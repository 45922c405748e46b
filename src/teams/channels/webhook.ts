/**
 * The generic channel: whoever has no adapter of their own sends what is said as a signed webhook
 * (`{"chat_id", "user_id", "text"}`) and is sent the answer as one.
 */
import { z } from "zod";
import { type RefusalReason, Refused } from "../../outbound.ts";
import { Fault } from "../../errors.ts";
import { signedHeaders, verified } from "../../webhook_signatures.ts";
import { spelled } from "../commands.ts";
import type { Adapter, Delivery } from "./adapter.ts";

const storable = (text: string) => text.toWellFormed().replaceAll("\0", "").trim();
const text = (what: string, most: number) =>
  z.string(`Give ${what} as text`).max(most, `Give at most ${most} characters`)
    .transform(storable).refine((text) => text !== "", `Give ${what}`);

const Said = z.object({
  chat_id: text("the chat it is said in", 255),
  user_id: text("who says it", 255),
  text: text("what is said", 100_000),
}, "Send a JSON object");

/** Throws ValidationError with each field that is not as it should be. */
function said(body: Uint8Array): z.infer<typeof Said> {
  const { data, error } = Said.safeParse(json(body));
  if (data) return data;
  const fields = error.issues.map(({ path, message }) => ({ field: path.join("."), message }));
  const [first] = fields;
  const sentence = first?.field ? `\`${first.field}\`: ${first.message}` : "Send a JSON object";
  const named = fields.filter(({ field }) => field !== "");
  throw new Fault("ValidationError", "body.malformed", sentence, { fields: named });
}

function json(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return null;
  }
}

const SECONDS_DIGITS = 12;

/** Nothing changes that by trying again. */
const lasting = new Set<RefusalReason>([
  ...["address", "scheme", "credentials_in_url", "port", "private_address"] as const,
]);

/** As the receiver asks for: seconds, or a moment (RFC 9110, 10.2.3). */
function pauseMs(headers: Headers, now: Date): number {
  const asked = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(asked) ? Number(asked) * 1_000 : Date.parse(asked) - now.getTime();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

export const webhook: Adapter = {
  async receive({ headers, body, now }, { secrets }) {
    const signed = await verified(secrets, headers, { body, now });
    if (!signed) return null;
    const { chat_id: chatKey, user_id: userId, text: content } = said(body);
    return {
      updateKey: signed.id,
      chatKey,
      position: String(signed.timestamp).padStart(SECONDS_DIGITS, "0"),
      heard: {
        platform: "webhook",
        userId,
        content,
        command: spelled(content),
        place: { chat_id: chatKey, user_id: userId, in_reply_to: signed.id },
      },
    };
  },

  divide: (text) => text.trim() === "" ? [] : [{ text }],

  async send(ctx, channel, place, part, id): Promise<Delivery> {
    const body = new TextEncoder().encode(JSON.stringify({ ...place, ...part }));
    try {
      const response = await ctx.outbound(channel.apiRoot, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...await signedHeaders(channel.secrets, { id, body, now: ctx.now() }),
        },
        body,
      });
      await response.body?.cancel();
      if (response.ok) return { what: "sent" };
      const why = `It answered ${response.status}`;
      if (response.status === 410) return { what: "gone", why };
      return { what: "later", afterMs: pauseMs(response.headers, ctx.now()), why };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const why = error.message;
      // Its id tells the receiver that it is the same one again.
      return lasting.has(error.reason)
        ? { what: "refused", why }
        : { what: "later", afterMs: 0, why };
    }
  },
};
