/** Data keys: each tenant has its own, wrapped by a key-encryption key before it is stored. */
import { v7 } from "uuid";
import { type Bytes, canonicalId, framed } from "./bytes.ts";
import type { Keyring } from "./keyring.ts";

/**
 * `encrypt` keys are replaced by rotation. The one `fingerprint` key of a tenant never is, only
 * wrapped anew: with another one the fingerprints in the audit trail could not be compared.
 */
export type Purpose = "encrypt" | "fingerprint";

/** A data key as it is stored: `wrapped` is base64url, useless without the key `kekId`. */
export type WrappedKey = {
  id: string;
  tenantId: string;
  purpose: Purpose;
  kekId: string;
  wrapped: string;
};
export type NewWrappedKey = WrappedKey;

/** Which data key: what the wrapping is bound to, so that a stored key cannot be exchanged. */
export type KeyName = Pick<WrappedKey, "id" | "tenantId" | "purpose">;

const aadOf = ({ tenantId, id, purpose }: KeyName) =>
  framed("switchboard data key v1", canonicalId(tenantId), id, purpose);

/** A new random data key, wrapped. Nobody but a later `unwrap` sees its bytes. */
export async function mint(
  keyring: Keyring,
  kekId: string,
  { tenantId, purpose }: Omit<KeyName, "id">,
): Promise<NewWrappedKey> {
  const name = { id: v7(), tenantId, purpose };
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const wrapped = await keyring.wrap(kekId, aadOf(name), bytes);
  bytes.fill(0);
  return { ...name, kekId, wrapped };
}

/**
 * The bytes of a data key; `name` is what the caller asked the store for, never what the row says
 * of itself. Errors: KeyringError.
 */
export const unwrap = (
  keyring: Keyring,
  name: KeyName,
  { kekId, wrapped }: Pick<WrappedKey, "kekId" | "wrapped">,
): Promise<Bytes> => keyring.unwrap(kekId, aadOf(name), wrapped);

/** The same data key under another key-encryption key. */
export async function rewrap(
  keyring: Keyring,
  key: WrappedKey,
  kekId: string,
): Promise<Pick<WrappedKey, "kekId" | "wrapped">> {
  const bytes = await unwrap(keyring, key, key);
  const wrapped = await keyring.wrap(kekId, aadOf(key), bytes);
  bytes.fill(0);
  return { kekId, wrapped };
}
