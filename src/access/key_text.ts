/**
 * The text of an API key: `sb_<env>_<id>_<secret><checksum>`. The checksum tells a typing error or
 * a random string from a key without a database, and lets secret scanners be sure (as GitHub's do).
 *
 * For a scanner: whatever matches
 *
 *     \bsb_[a-z]{2,8}_[0-9a-f]{32}_[0-9A-Za-z]{38}\b
 *
 * is a key when its last six characters are the CRC-32 (IEEE 802.3, as zlib's `crc32`) of all that
 * stands before them, written in base 62 with the digits 0-9, A-Z, a-z and zeros in front.
 */
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_LENGTH = 32;
const CHECK_LENGTH = 6;
const shape = new RegExp(
  `^sb_([a-z]{2,8})_([0-9a-f]{32})_([0-9A-Za-z]{${SECRET_LENGTH}})([0-9A-Za-z]{${CHECK_LENGTH}})$`,
);

/** CRC-32 (IEEE 802.3) as six base-62 digits. */
function checksum(text: string): string {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  let left = (crc ^ 0xffffffff) >>> 0;
  let digits = "";
  for (let i = 0; i < CHECK_LENGTH; i++) {
    digits = alphabet.charAt(left % 62) + digits;
    left = Math.floor(left / 62);
  }
  return digits;
}

function randomText(length: number): string {
  let out = "";
  while (out.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      // 248 is four times 62: above it a digit would be likelier than others.
      if (byte < 248 && out.length < length) out += alphabet.charAt(byte % 62);
    }
  }
  return out;
}

/** A new key for the row `id`: 190 bits of secret. */
export function newKey(environment: string, id: string): { text: string; secret: string } {
  const secret = randomText(SECRET_LENGTH);
  const head = `sb_${environment}_${id.replaceAll("-", "")}_${secret}`;
  return { text: head + checksum(head), secret };
}

/** The row and the secret a key names, or null when it is not a key at all. */
export function readKey(text: string): { id: string; secret: string } | null {
  const [, , id, secret, check] = shape.exec(text) ?? [];
  if (!id || !secret || checksum(text.slice(0, -CHECK_LENGTH)) !== check) return null;
  return { id: id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"), secret };
}

/** What is stored of a secret. It has 190 random bits, so a plain hash cannot be guessed back. */
export async function hashSecret(secret: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
  return new Uint8Array(hash).toHex();
}
