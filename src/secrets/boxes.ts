/** A box: bytes locked with AES-256-GCM, so that changing one bit of it, or its place, shows. */
import type { Bytes } from "./bytes.ts";

/** What cannot be opened. It never says why, nor what: the message holds no data. */
export class Unreadable extends Error {
  override name = "Unreadable";
  constructor() {
    super("A sealed value cannot be read: it was altered, moved, or its key is gone");
  }
}

export const nonceBytes = 12;
const tagBytes = 16;

/** A key that can lock and unlock but never be read out again. The bytes are wiped. */
export async function boxKey(bytes: Bytes): Promise<CryptoKey> {
  const key = await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]);
  bytes.fill(0);
  return key;
}

/**
 * Locks `plain` into nonce (12 bytes), ciphertext, tag (16 bytes).
 *
 * The nonce is random, so one key may lock at most 2^32 boxes (NIST SP 800-38D, section 8.3); a
 * data key serves one tenant and is replaced by every re-encryption.
 */
export async function lock(key: CryptoKey, aad: Bytes, plain: Bytes): Promise<Bytes> {
  const box = new Uint8Array(nonceBytes + plain.length + tagBytes);
  const iv = crypto.getRandomValues(box.subarray(0, nonceBytes));
  const locked = await crypto.subtle.encrypt(
    { name: "AES-GCM", iv, additionalData: aad },
    key,
    plain,
  );
  box.set(new Uint8Array(locked), nonceBytes);
  return box;
}

/** Opens what `lock` made under the same key and associated data; anything else is Unreadable. */
export async function unlock(key: CryptoKey, aad: Bytes, box: Bytes): Promise<Bytes> {
  if (box.length < nonceBytes + tagBytes) throw new Unreadable();
  const iv = box.subarray(0, nonceBytes);
  try {
    const algorithm = { name: "AES-GCM", iv, additionalData: aad };
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, box.subarray(nonceBytes)));
  } catch {
    throw new Unreadable();
  }
}
