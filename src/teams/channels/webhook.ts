/**
 * The generic channel: whoever has no adapter of their own sends what is said as a signed webhook
 * (`{"chat_id", "user_id", "text"}`) and is sent the answer as one.
 */
import { z } from "zod";
import { Refused } from "../../outbound.ts";
import { signedHeaders, verified } from "../../webhook_signatures.ts";
import { spelled } from "../commands.ts";
import type { Adapter, Delivery } from "./adapter.ts";

const Said = z.object({
  chat_id: z.string().min(1).max(255),
  user_id: z.string().min(1).max(255),
  text: z.string().min(1).max(100_000),
});

const storable = (text: string) => text.toWellFormed().replaceAll("\0", "").trim();

function parsed(body: Uint8Array) {
  try {
    return Said.safeParse(JSON.parse(new TextDecoder().decode(body))).data ?? null;
  } catch {
    return null;
  }
}

const SECONDS_DIGITS = 12;

export const webhook: Adapter = {
  async receive({ headers, body, now }, secret) {
    const signed = await verified(secret, headers, { body, now });
    if (!signed) return null;
    const said = parsed(body);
    if (!said) return "nothing";
    const { id, timestamp } = signed;
    return {
      updateKey: id,
      chatKey: storable(said.chat_id),
      position: `${String(timestamp).padStart(SECONDS_DIGITS, "0")}.${id}`,
      payload: { ...said, text: storable(said.text), user_id: storable(said.user_id), id },
    };
  },

  hear(_channel, payload) {
    const { data } = Said.safeParse(payload);
    if (!data || data.text === "" || data.user_id === "") return null;
    const { chat_id, user_id: userId, text } = data;
    return {
      platform: "webhook",
      userId,
      content: text,
      command: spelled(text),
      place: { chat_id, user_id: userId, in_reply_to: payload.id },
    };
  },

  divide: (text) => [{ text }],

  async send(ctx, channel, place, part, id): Promise<Delivery> {
    const body = new TextEncoder().encode(JSON.stringify({ ...place, ...part }));
    try {
      const response = await ctx.outbound(channel.apiRoot, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...await signedHeaders(channel.secret, { id, body, now: ctx.now() }),
        },
        body,
      });
      await response.body?.cancel();
      if (response.ok) return { what: "sent" };
      const why = `It answered ${response.status}`;
      if (response.status === 410) return { what: "gone", why };
      const asked = Number(response.headers.get("retry-after") ?? NaN);
      return { what: "later", afterMs: asked > 0 ? asked * 1_000 : 5_000, why };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      // Its id tells the receiver that it is the same one again.
      return { what: "later", afterMs: 5_000, why: error.message };
    }
  },
};
