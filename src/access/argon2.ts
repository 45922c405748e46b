/**
 * Argon2id (RFC 9106) by the runtime's own WebCrypto, which works it out beside the thread that
 * serves. Written as the PHC string format has it: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
 */
import { timingSafeEqual } from "node:crypto";

type Argon2Params = {
  name: "Argon2id";
  nonce: Uint8Array<ArrayBuffer>;
  /** KiB. */
  memory: number;
  passes: number;
  parallelism: number;
};

declare global {
  /** WICG, Modern Algorithms in the Web Cryptography API, 26: Deno has it, and no types of it yet. */
  interface SubtleCrypto {
    importKey(
      format: "raw-secret",
      keyData: BufferSource,
      algorithm: "Argon2id",
      extractable: boolean,
      keyUsages: KeyUsage[],
    ): Promise<CryptoKey>;
    deriveBits(algorithm: Argon2Params, baseKey: CryptoKey, bits: number): Promise<ArrayBuffer>;
  }
}

/** Memory in KiB. */
export type Cost = { memory: number; passes: number; parallelism: number };

const HASH_BYTES = 32;
const encoder = new TextEncoder();
const unpadded = (bytes: Uint8Array) => bytes.toBase64({ omitPadding: true });

async function derive(password: string, salt: Uint8Array<ArrayBuffer>, bytes: number, cost: Cost) {
  const { subtle } = crypto;
  const secret = encoder.encode(password);
  const key = await subtle.importKey("raw-secret", secret, "Argon2id", false, ["deriveBits"]);
  const params: Argon2Params = { name: "Argon2id", nonce: salt, ...cost };
  return new Uint8Array(await subtle.deriveBits(params, key, bytes * 8));
}

/** Whether the runtime has it: Deno since 2.9. */
export const hasArgon2 = (): Promise<boolean> =>
  derive("", new Uint8Array(8), 4, { memory: 8, passes: 1, parallelism: 1 })
    .then(() => true, () => false);

/** A new hash, salted with 16 random bytes. */
export async function argon2id(password: string, cost: Cost): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const hash = await derive(password, salt, HASH_BYTES, cost);
  const { memory, passes, parallelism } = cost;
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${
    unpadded(hash)
  }`;
}

const written = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** What a hash was made at, or null for what is no hash of this kind. */
export function costOf(stored: string): Cost | null {
  const [, memory, passes, parallelism] = written.exec(stored) ?? [];
  if (memory === undefined) return null;
  return { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) };
}

/** Whether the hash is this password's, compared in constant time. Rejects what is no hash of this kind. */
export async function argon2Verify(password: string, stored: string): Promise<boolean> {
  const [, , , , salt = "", hash = ""] = written.exec(stored) ?? [];
  const cost = costOf(stored);
  if (!cost) throw new TypeError("Not an argon2id hash");
  const known = Uint8Array.fromBase64(hash);
  const made = await derive(password, Uint8Array.fromBase64(salt), known.length, cost);
  return timingSafeEqual(made, known);
}
