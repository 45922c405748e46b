/**
 * Signs and verifies webhooks after Standard Webhooks 1.0 (standardwebhooks.com): `webhook-id`,
 * `webhook-timestamp` in seconds and `webhook-signature`, one or more of `v1,<base64>` with spaces
 * between, each an HMAC-SHA256 of `id.timestamp.body` under the bytes behind `whsec_`.
 */
import { timingSafeEqual } from "node:crypto";
import type { Secret } from "./secrets/secret.ts";

const PREFIX = "whsec_";
/** How far a sender's clock may be off, in seconds. */
export const TOLERANCE_SECONDS = 300;
const encoder = new TextEncoder();

/** A new secret of 32 random bytes. */
export const newWebhookSecret = (): string =>
  PREFIX + crypto.getRandomValues(new Uint8Array(32)).toBase64();

async function mac(secret: Secret, id: string, timestamp: string, body: Uint8Array) {
  const bytes = Uint8Array.fromBase64(secret.reveal().slice(PREFIX.length));
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytes, hmac, false, ["sign"]);
  const head = encoder.encode(`${id}.${timestamp}.`);
  const text = new Uint8Array(head.byteLength + body.byteLength);
  text.set(head);
  text.set(body, head.byteLength);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, text));
}

/** The headers of one message. The same `id` again is the same message. */
export async function signedHeaders(
  secret: Secret,
  { id, body, now }: { id: string; body: Uint8Array; now: Date },
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(now.getTime() / 1_000));
  const signature = (await mac(secret, id, timestamp, body)).toBase64();
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": `v1,${signature}`,
  };
}

/** The message's id and time when it is signed with the secret and not old; else null. */
export async function verified(
  secret: Secret,
  headers: Headers,
  { body, now }: { body: Uint8Array; now: Date },
): Promise<{ id: string; timestamp: number } | null> {
  const [id, timestamp, signatures] = [
    headers.get("webhook-id") ?? "",
    headers.get("webhook-timestamp") ?? "",
    headers.get("webhook-signature") ?? "",
  ];
  if (!/^[\x21-\x2d\x2f-\x7e]{1,255}$/.test(id) || !/^\d{1,12}$/.test(timestamp)) return null;
  const ageSeconds = Math.abs(now.getTime() / 1_000 - Number(timestamp));
  if (ageSeconds > TOLERANCE_SECONDS) return null;
  const expected = await mac(secret, id, timestamp, body);
  const isSigned = signatures.split(" ").slice(0, 10).some((each) => {
    const [version, text = ""] = each.split(",");
    if (version !== "v1" || !/^[A-Za-z0-9+/]{43}=$/.test(text)) return false;
    return timingSafeEqual(Uint8Array.fromBase64(text), expected);
  });
  return isSigned ? { id, timestamp: Number(timestamp) } : null;
}
