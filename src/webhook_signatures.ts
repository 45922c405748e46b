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
const MOST_SIGNATURES = 10;
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

type Secrets = readonly [Secret, ...Secret[]];

/**
 * The headers of one message; the same `id` again is the same message. Signed with each secret, so that
 * who has one of them can verify it while secrets change.
 */
export async function signedHeaders(
  secrets: Secrets,
  { id, body, now }: { id: string; body: Uint8Array; now: Date },
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(now.getTime() / 1_000));
  const macs = await Promise.all(secrets.map((secret) => mac(secret, id, timestamp, body)));
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": macs.map((mac) => `v1,${mac.toBase64()}`).join(" "),
  };
}

/** The message's id and time when it is signed with one of the secrets and not old; else null. */
export async function verified(
  secrets: Secrets,
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
  const given = signatures.split(" ").slice(0, MOST_SIGNATURES).flatMap((each) => {
    const [version, text = ""] = each.split(",");
    const isOne = version === "v1" && /^[A-Za-z0-9+/]{43}=$/.test(text);
    return isOne ? [Uint8Array.fromBase64(text)] : [];
  });
  const expected = await Promise.all(secrets.map((secret) => mac(secret, id, timestamp, body)));
  const equal = expected.flatMap((mac) => given.map((text) => timingSafeEqual(text, mac)));
  return equal.includes(true) ? { id, timestamp: Number(timestamp) } : null;
}
