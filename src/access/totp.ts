/**
 * Second factors: codes of an authenticator (TOTP, RFC 6238, as every authenticator computes them)
 * and recovery codes, each of which stands in for one once.
 */
import { createHash } from "node:crypto";
import { Secret, TOTP } from "otpauth";

/** RFC 4226, 4: at least 128 bits, 160 recommended. */
const SECRET_BYTES = 20;
const PERIOD_SECONDS = 30;
/** RFC 6238, 5.2: one step back for the way here; one ahead for a clock that runs so. */
const WINDOW_STEPS = 1;

const totpOf = (secret: string, more: { issuer?: string; label?: string } = {}) =>
  new TOTP({ ...more, secret, algorithm: "SHA1", digits: 6, period: PERIOD_SECONDS });

/** A secret in base32, as an authenticator takes it. */
export const newTotpSecret = (): string => new Secret({ size: SECRET_BYTES }).base32;

/** What an authenticator reads from a QR code. */
export const totpUri = (secret: string, issuer: string, label: string): string =>
  totpOf(secret, { issuer, label }).toString();

/** The code of the moment. */
export const totpCode = (secret: string, at: Date): string =>
  totpOf(secret).generate({ timestamp: at.getTime() });

/** The time step a code belongs to, near `now`; null when it belongs to none. */
export function totpStep(secret: string, code: string, now: Date): number | null {
  const totp = totpOf(secret);
  const timestamp = now.getTime();
  const delta = totp.validate({ token: plain(code), timestamp, window: WINDOW_STEPS });
  return delta === null ? null : totp.counter({ timestamp }) + delta;
}

/** Crockford's: no letter in it looks like a digit. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const CODE_LENGTH = 16; // Five bits each: 80 in all, more than anybody can try.

/** Like `7g2k-0x4d-m9pq-w3tz`. */
export function newRecoveryCode(): string {
  const letters = [...crypto.getRandomValues(new Uint8Array(CODE_LENGTH))]
    .map((byte) => ALPHABET[byte & 31]).join("");
  return letters.replaceAll(/(.{4})(?=.)/g, "$1-");
}

/** As it is stored. So many random bits need no slow hash. */
export const hashRecoveryCode = (code: string): string =>
  createHash("sha256")
    .update(plain(code).toLowerCase().replaceAll("o", "0").replaceAll(/[il]/g, "1")).digest("hex");

/** Without what a person puts between the characters. */
const plain = (code: string) => code.replaceAll(/[\s-]/g, "");
