/** An answer's body, cut out of the bytes of its connection (RFC 9112, 6 and 7). */

import { maxHeaderBytes } from "./answers.ts";
import { type Bytes, type Framing, NotHttp } from "./heads.ts";

export interface Body {
  /** What of these bytes is body. The piece may be written over: it is the caller's no more. */
  take(piece: Bytes): Bytes;
  /** All of it has come. */
  readonly isWhole: boolean;
  /** Bytes came after its end, which nobody asked for. */
  readonly hasSurplus: boolean;
  /** Whether the end of the connection is the end of the body. */
  readonly endsByClose: boolean;
}

export function bodyOf(framing: Framing): Body {
  if (framing.by === "chunks") return new Chunks();
  return framing.by === "length" ? new Length(framing.bytes) : new UntilClose();
}

class Length implements Body {
  #left: number;
  hasSurplus = false;
  readonly endsByClose = false;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  get isWhole() {
    return this.#left === 0;
  }

  take(piece: Bytes): Bytes {
    if (piece.length > this.#left) {
      this.hasSurplus = true;
      piece = piece.subarray(0, this.#left);
    }
    this.#left -= piece.length;
    return piece;
  }
}

class UntilClose implements Body {
  readonly isWhole = false;
  readonly hasSurplus = false;
  readonly endsByClose = true;

  take(piece: Bytes): Bytes {
    return piece;
  }
}

const maxLineBytes = 4_096;
const chunkLine = /^([0-9A-Fa-f]{1,13})((?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?)\r\n$/;
const trailerLine = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n$/;

/** Chunks that come together leave together; extensions and trailers are read and dropped. */
class Chunks implements Body {
  isWhole = false;
  hasSurplus = false;
  readonly endsByClose = false;
  #reads: "size" | "data" | "end of data" | "trailer" = "size";
  #left = 0;
  #line = "";
  #dropped = 0;

  take(piece: Bytes): Bytes {
    let [at, kept] = [0, 0];
    while (at < piece.length && !this.isWhole) {
      if (this.#reads !== "data") {
        at = this.#readLine(piece, at);
        continue;
      }
      const end = Math.min(at + this.#left, piece.length);
      if (kept !== at) piece.copyWithin(kept, at, end);
      this.#left -= end - at;
      kept += end - at;
      at = end;
      if (this.#left === 0) this.#reads = "end of data";
    }
    this.hasSurplus = at < piece.length;
    return piece.subarray(0, kept);
  }

  /** Takes bytes up to the end of the line, or all there are; answers where to go on. */
  #readLine(piece: Bytes, at: number): number {
    const feed = piece.indexOf(10, at);
    const end = feed < 0 ? piece.length : feed + 1;
    if (this.#line.length + end - at > maxLineBytes) {
      throw new NotHttp("a chunk's line is too long");
    }
    for (; at < end; at++) this.#line += String.fromCharCode(piece[at] ?? 0);
    if (feed >= 0) {
      const line = this.#line;
      this.#line = "";
      this.#follow(line);
    }
    return end;
  }

  #follow(line: string) {
    if (this.#reads === "end of data") {
      if (line !== "\r\n") throw new NotHttp("a chunk is longer than it says");
      this.#reads = "size";
    } else if (this.#reads === "size") {
      const [, size, extension] = chunkLine.exec(line) ?? [];
      if (size === undefined) throw new NotHttp("a chunk's size is no number");
      this.#drop(extension?.length ?? 0);
      this.#left = parseInt(size, 16);
      this.#reads = this.#left === 0 ? "trailer" : "data";
    } else if (line === "\r\n") {
      this.isWhole = true;
    } else {
      if (!trailerLine.test(line)) throw new NotHttp("a trailer is none");
      this.#drop(line.length);
    }
  }

  #drop(bytes: number) {
    this.#dropped += bytes;
    if (this.#dropped > maxHeaderBytes) throw new NotHttp("its chunks say more than they hold");
  }
}
