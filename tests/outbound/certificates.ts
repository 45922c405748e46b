/** A certificate for a made-up provider, so that tests speak real TLS without a key in the tree. */

import { isIPv4 } from "node:net";

type Der = Uint8Array<ArrayBuffer>;

const bytes = (...parts: (number | Uint8Array)[]): Der =>
  Uint8Array.from(parts.flatMap((part) => typeof part === "number" ? [part] : [...part]));

/** One DER value (X.690): tag, length, content. */
function der(tag: number, ...content: (number | Uint8Array)[]): Der {
  const body = bytes(...content);
  if (body.length < 0x80) return bytes(tag, body.length, body);
  if (body.length < 0x100) return bytes(tag, 0x81, body.length, body);
  return bytes(tag, 0x82, body.length >> 8, body.length & 0xff, body);
}

const ascii = (text: string) => new TextEncoder().encode(text);
const sequence = (...content: Uint8Array[]) => der(0x30, ...content);
const oid = (...arcs: number[]) => der(0x06, ...arcs);
const time = (at: Date) => der(0x17, ascii(at.toISOString().replace(/[-:T]|\.\d+/g, "").slice(2)));

const pem = (label: string, content: ArrayBuffer | Uint8Array) =>
  `-----BEGIN ${label}-----\n${
    new Uint8Array(content).toBase64().replace(/.{64}/g, "$&\n")
  }\n-----END ${label}-----\n`;

const altName = (name: string) =>
  isIPv4(name) ? der(0x87, ...name.split(".").map(Number)) : der(0x82, ascii(name));

/**
 * A self-signed Ed25519 certificate (RFC 5280, RFC 8410) for DNS names and IPv4 addresses, valid
 * for a day, that is its own root: give `cert` as the client's `ca`.
 */
export async function certificateFor(...names: string[]): Promise<{ cert: string; key: string }> {
  const keys = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  if (!("publicKey" in keys)) throw new Error("Ed25519 makes a pair");
  const ed25519 = sequence(oid(0x2b, 0x65, 0x70));
  const commonName = sequence(oid(0x55, 0x04, 0x03), der(0x0c, ascii("Switchboard test")));
  const subject = sequence(der(0x31, commonName));
  const now = Date.now();
  const validity = sequence(time(new Date(now - 864e5)), time(new Date(now + 864e5)));
  const altNames = sequence(...names.map(altName));
  const extensions = sequence(sequence(oid(0x55, 0x1d, 0x11), der(0x04, altNames)));
  const toBeSigned = sequence(
    der(0xa0, der(0x02, 2)),
    der(0x02, 1),
    ed25519,
    subject,
    validity,
    subject,
    new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey)),
    der(0xa3, extensions),
  );
  const signature = await crypto.subtle.sign("Ed25519", keys.privateKey, toBeSigned);
  const signed = sequence(toBeSigned, ed25519, der(0x03, 0, new Uint8Array(signature)));
  return {
    cert: pem("CERTIFICATE", signed),
    key: pem("PRIVATE KEY", await crypto.subtle.exportKey("pkcs8", keys.privateKey)),
  };
}
