/**
 * The key-encryption keys this process holds. They lock data keys and nothing else, live outside
 * the database, and are the one thing a thief of the database does not have.
 */
import { boxKey, lock, unlock } from "./boxes.ts";
import { base64url, type Bytes, fromBase64url, utf8 } from "./bytes.ts";

/** The keys are wrong or missing. The operator must act; the message says how. */
export class KeyringError extends Error {
  override name = "KeyringError";
}

/**
 * What the vault needs of key-encryption keys. The environment is one implementation; a KMS is
 * another (`wrap` and `unwrap` are its Encrypt and Decrypt, `aad` its encryption context, `check`
 * its key's identity), which is why every method may wait.
 *
 * Errors: every method rejects with KeyringError for an id the ring does not hold, and `unwrap`
 * for what the key did not wrap.
 */
export type Keyring = {
  /** In the order the operator wrote them; the first serves until one is promoted. */
  readonly ids: readonly [string, ...string[]];
  has(kekId: string): boolean;
  /** Locks a data key. Answers base64url. */
  wrap(kekId: string, aad: Bytes, bytes: Bytes): Promise<string>;
  unwrap(kekId: string, aad: Bytes, wrapped: string): Promise<Bytes>;
  /** 16 hex digits that two processes share only when they hold the same bytes under this id. */
  check(kekId: string): Promise<string>;
};

/** One key-encryption key: its id and 32 random bytes. */
export type Kek = { id: string; bytes: Bytes };

const kekBytes = 32;
const kekId = /^[a-z0-9_-]{1,32}$/;
const mostKeks = 16;
const howTo = "make one with `openssl rand -base64 32` and write it as k1:<that text>";

const refuse = (what: string) => new KeyringError(`ENCRYPTION_KEYS ${what}`);

/** A new random key-encryption key in the form of one ENCRYPTION_KEYS entry. */
export const newKek = (id: string): string =>
  `${id}:${crypto.getRandomValues(new Uint8Array(kekBytes)).toBase64()}`;

/**
 * Reads `k1:<base64 of 32 bytes>,k2:<…>`: ids of `a-z 0-9 _ -`, at most 16 keys, white space
 * around entries ignored, base64 of either alphabet. Errors are sentences that never hold a key.
 */
export function readKeks(text: string): [Kek, ...Kek[]] {
  if (text.trim() === "") throw refuse(`is empty: ${howTo}`);
  const entries = text.split(",");
  if (entries.length > mostKeks) {
    throw refuse(`holds ${entries.length} keys: retire old ones, at most ${mostKeks} are taken`);
  }
  const [first, ...rest] = entries.map(readKek);
  if (first === undefined) throw refuse(`is empty: ${howTo}`);
  const keks: [Kek, ...Kek[]] = [first, ...rest];
  keks.forEach((kek, at) => refuseRepeat(kek, keks.slice(0, at)));
  return keks;
}

function readKek(entry: string, at: number): Kek {
  const [id = "", ...rest] = entry.trim().split(":");
  const nth = `entry ${at + 1}`;
  // What stands before a missing colon may be the key itself, so it is not repeated.
  if (rest.length !== 1) throw refuse(`${nth} is not of the form id:key: ${howTo}`);
  if (!kekId.test(id)) {
    throw refuse(`${nth} has an id that is not 1 to 32 of a-z, 0-9, _ and -: name it like k1`);
  }
  const key = rest.join("").trim().replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  const bytes = fromBase64url(key);
  if (bytes === null) throw refuse(`key ${id} is not base64: ${howTo}`);
  if (bytes.length !== kekBytes) {
    throw refuse(`key ${id} is ${bytes.length} bytes, not ${kekBytes}: ${howTo}`);
  }
  // 32 random bytes with fewer than 16 different ones: less likely than 1 in 2^50.
  if (new Set(bytes).size < kekBytes / 2) throw refuse(`key ${id} is not random: ${howTo}`);
  return { id, bytes };
}

function refuseRepeat({ id, bytes }: Kek, earlier: Kek[]) {
  for (const other of earlier) {
    if (other.id === id) throw refuse(`has two keys named ${id}: give the newer another id`);
    if (base64url(other.bytes) === base64url(bytes)) {
      throw refuse(`has the same key under ${other.id} and ${id}: a rotation needs a new one`);
    }
  }
}

type Parts = { wrapping: CryptoKey; check: string };

/** Two independent values from one key, so that publishing the check tells nothing (RFC 5869). */
async function partsOf({ bytes }: Kek): Promise<Parts> {
  const root = await crypto.subtle.importKey("raw", bytes, "HKDF", false, ["deriveBits"]);
  bytes.fill(0);
  const derive = async (purpose: string, length: number) => {
    const info = utf8(`switchboard key-encryption key, ${purpose}, v1`);
    const salt = new Uint8Array();
    return new Uint8Array(
      await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, root, length),
    );
  };
  const [wrapping, check] = await Promise.all([derive("wrap", 256), derive("check", 64)]);
  return { wrapping: await boxKey(wrapping), check: check.toHex() };
}

/** The keyring of `ENCRYPTION_KEYS`. Throws KeyringError at once when the text is wrong. */
export function keyringOf(text: string): Keyring {
  const [first, ...rest] = readKeks(text);
  const parts = new Map([first, ...rest].map((kek) => [kek.id, partsOf(kek)]));
  const part = async (id: string) => {
    const found = await parts.get(id);
    if (found) return found;
    throw new KeyringError(
      `Key-encryption key ${id} is not in ENCRYPTION_KEYS of this process: ` +
        "put it there, it is still in use",
    );
  };
  return {
    ids: [first.id, ...rest.map(({ id }) => id)],
    has: (id) => parts.has(id),
    check: async (id) => (await part(id)).check,
    wrap: async (id, aad, bytes) => base64url(await lock((await part(id)).wrapping, aad, bytes)),
    unwrap: async (id, aad, wrapped) => {
      const { wrapping } = await part(id);
      try {
        return await unlock(wrapping, aad, fromBase64url(wrapped) ?? new Uint8Array());
      } catch {
        throw new KeyringError(
          `Key-encryption key ${id} does not open a data key said to be wrapped by it: this ` +
            "process holds other bytes under that id, or the stored data key was altered",
        );
      }
    },
  };
}
