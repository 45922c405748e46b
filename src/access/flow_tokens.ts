/** The words that carry a flow through a browser and back: its tenant, itself and 256 random bits. */

const SHAPE = /^[\w-]{86}$/;

/** The tenant is found by it; nothing is believed from it before its hash is compared. */
export function newFlowToken(tenantId: string, flowId: string): string {
  const ids = Uint8Array.fromHex((tenantId + flowId).replaceAll("-", ""));
  const bytes = new Uint8Array([...ids, ...crypto.getRandomValues(new Uint8Array(32))]);
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

const uuidOf = (hex: string) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

/** Which flow a token claims to be of; null when it is none. */
export function flowNamedBy(token: string): { tenantId: string; flowId: string } | null {
  if (!SHAPE.test(token)) return null;
  const hex = Uint8Array.fromBase64(token, { alphabet: "base64url" }).toHex();
  return { tenantId: uuidOf(hex.slice(0, 32)), flowId: uuidOf(hex.slice(32, 64)) };
}
