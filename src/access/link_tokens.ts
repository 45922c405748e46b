/**
 * The text of a token that is sent in a message and works once: `sbi_<tenant>_<id>_<secret>` of an
 * invitation, `sbp_…` of a password reset. It carries its tenant; only a hash of the secret is stored.
 */
import { hashSecret } from "./key_text.ts";

const prefixes = { invitation: "sbi", passwordReset: "sbp" } as const;
export type LinkKind = keyof typeof prefixes;
export type LinkPlace = { tenantId: string; id: string };

const bare = (id: string) => id.replaceAll("-", "");
const dashed = (id: string) => id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

/** A new token for the row at `place`: 256 bits of secret. */
export async function newLinkToken(
  kind: LinkKind,
  { tenantId, id }: LinkPlace,
): Promise<{ text: string; hash: string }> {
  const secret = crypto.getRandomValues(new Uint8Array(32))
    .toBase64({ alphabet: "base64url", omitPadding: true });
  const text = [prefixes[kind], bare(tenantId), bare(id), secret].join("_");
  return { text, hash: await hashSecret(secret) };
}

const shape = /^(sbi|sbp)_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})$/;

/** The row a token names and the hash its row must hold; null when it is no token of this kind. */
export async function readLinkToken(
  kind: LinkKind,
  text: string,
): Promise<LinkPlace & { hash: string } | null> {
  const [, prefix, tenant, id, secret] = shape.exec(text) ?? [];
  if (prefix !== prefixes[kind] || !tenant || !id || !secret) return null;
  return { tenantId: dashed(tenant), id: dashed(id), hash: await hashSecret(secret) };
}
