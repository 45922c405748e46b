/** Bytes as text and text as bytes, each with exactly one spelling. */

export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();
// A decoder drops a leading U+FEFF unless told otherwise, and a secret may begin with one.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const utf8 = (text: string): Bytes => encoder.encode(text);

/** Throws a TypeError on bytes that are not UTF-8. */
export const textOf = (bytes: Bytes): string => decoder.decode(bytes);

export const base64url = (bytes: Bytes): string =>
  bytes.toBase64({ alphabet: "base64url", omitPadding: true });

/**
 * Decodes base64url without padding (RFC 4648, section 5), or answers null.
 *
 * Only the one canonical spelling is taken: decoders forgive white space, padding and stray bits
 * behind the last byte (section 3.5), and then two texts would mean the same bytes.
 */
export function fromBase64url(text: string): Bytes | null {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
    return base64url(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}

/** Each part behind its length (32 bits, big-endian), so that no two lists give the same bytes. */
export function framed(...parts: string[]): Bytes {
  const encoded = parts.map(utf8);
  const whole = new Uint8Array(encoded.reduce((sum, part) => sum + 4 + part.length, 0));
  const view = new DataView(whole.buffer);
  let offset = 0;
  for (const part of encoded) {
    view.setUint32(offset, part.length);
    whole.set(part, offset + 4);
    offset += 4 + part.length;
  }
  return whole;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Postgres takes a UUID in capitals for the same row, so it must be the same id here. */
export const canonicalId = (id: string): string => uuid.test(id) ? id.toLowerCase() : id;
