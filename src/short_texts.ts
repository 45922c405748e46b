/**
 * Short texts by hand: the platform's coders are trips to another language, which take a process that
 * has just slept several times as long as a few hundred letters do.
 */

const SHORT = 1_024;
const encoder = new TextEncoder();

/** What `decoder` makes of bytes that are whole; it is spared where they are few and all of ASCII. */
export function textOf(bytes: Uint8Array, decoder: Pick<TextDecoder, "decode">): string {
  if (bytes.length > SHORT) return decoder.decode(bytes);
  let text = "";
  for (const byte of bytes) {
    if (byte > 127) return decoder.decode(bytes);
    text += String.fromCharCode(byte);
  }
  return text;
}

/** How many bytes of UTF-8 a text takes; half a surrogate pair stands as U+FFFD. */
export function bytesIn(text: string): number {
  if (text.length > SHORT) return encoder.encode(text).byteLength;
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 0x80) continue;
    bytes += code < 0x800 ? 1 : 2;
    // The two halves of a pair take four together.
    if (isHigh(code) && isLow(text.charCodeAt(at + 1))) at++;
  }
  return bytes;
}

const isHigh = (code: number) => code >= 0xd800 && code <= 0xdbff;
const isLow = (code: number) => code >= 0xdc00 && code <= 0xdfff;
