/** Sealing: a text locked under a tenant's data key so that it opens in one place only. */
import { invalid } from "../errors.ts";
import { lock, nonceBytes, unlock, Unreadable } from "./boxes.ts";
import { base64url, canonicalId, framed, fromBase64url, textOf, utf8 } from "./bytes.ts";

export { Unreadable };

/** A tenant's data key, unwrapped. The key itself cannot be read out. */
export type DataKey = { id: string; tenantId: string; key: CryptoKey };

/** Where a sealed value stands: names as the database spells them, `row` the row's id. */
export type Place = { tenantId: string; table: string; row: string; column: string };

const version = "sb1";
const uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const form = new RegExp(`^${version}\\.(${uuid})\\.([A-Za-z0-9_-]{16})\\.([A-Za-z0-9_-]{22,})$`);

/** The associated data: moved to another tenant, table, row or column, a value does not open. */
const aadOf = (keyId: string, { tenantId, table, row, column }: Place) =>
  framed(version, canonicalId(tenantId), table, canonicalId(row), column, keyId);

const isOfTenant = (key: DataKey, place: Place) =>
  canonicalId(key.tenantId) === canonicalId(place.tenantId);

/** Text that is not Unicode would come back changed (RFC 3629, section 3), so it is refused. */
export function wellFormed(plain: string, field: string): string {
  if (plain.isWellFormed()) return plain;
  throw invalid(field, "must be well-formed Unicode: it holds half of a surrogate pair");
}

/**
 * Seals `plain` for `place`: `sb1.<data key id>.<nonce>.<ciphertext and tag>`, the last two in
 * canonical base64url. AES-256-GCM (NIST SP 800-38D). The length of the text is not hidden.
 *
 * Errors: Fault ValidationError for text with lone surrogates; a key of another tenant is a bug.
 */
export async function seal(key: DataKey, place: Place, plain: string): Promise<string> {
  if (!isOfTenant(key, place)) throw new Error("A data key seals only for its own tenant");
  const text = wellFormed(plain, place.column);
  const box = await lock(key.key, aadOf(key.id, place), utf8(text));
  const nonce = base64url(box.subarray(0, nonceBytes));
  return `${version}.${key.id}.${nonce}.${base64url(box.subarray(nonceBytes))}`;
}

/** Opens what `seal` made with this key for this place. Anything else is Unreadable. */
export async function open(key: DataKey, place: Place, sealed: string): Promise<string> {
  const [, keyId, nonce = "", locked = ""] = form.exec(sealed) ?? [];
  if (keyId !== key.id || !isOfTenant(key, place)) throw new Unreadable();
  const head = fromBase64url(nonce);
  const tail = fromBase64url(locked);
  if (!head || !tail) throw new Unreadable();
  const box = new Uint8Array(head.length + tail.length);
  box.set(head);
  box.set(tail, head.length);
  return textOf(await unlock(key.key, aadOf(key.id, place), box));
}

/** The data key a sealed text names. Unreadable when the text is not of the sealed form. */
export function keyIdOf(sealed: string): string {
  const [, keyId] = form.exec(sealed) ?? [];
  if (keyId === undefined) throw new Unreadable();
  return keyId;
}
