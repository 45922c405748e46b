/**
 * Reads what callers send as JSON and turns away what could not be stored or would not come back
 * the same: every refusal is a 400 that names the place.
 */
import { Fault, type FieldProblem } from "../src/errors.ts";
import { joined } from "../src/joined.ts";

/** How deeply objects and lists may lie in each other. */
export const maxDepth = 32;
/** How many values one input may hold; also stops references that unfold without end (superjson). */
export const maxValues = 100_000;

type Bad = { path: string[]; message: string };
type Tally = { left: number };

const dangerous = new Set(["__proto__", "constructor", "prototype"]);

const badText = (text: string): string | null =>
  text.includes("\0")
    ? "must not hold the NUL character (U+0000)"
    : text.isWellFormed()
    ? null
    : "must be valid Unicode: it holds half of a surrogate pair";

function badNumber(value: number): string | null {
  if (!Number.isFinite(value)) return "must be a finite number";
  if (!Number.isInteger(value) || Number.isSafeInteger(value)) return null;
  return "is beyond 2^53 and would lose digits: send it as text";
}

/**
 * Refuses, naming the field: NUL and lone surrogates (Postgres cannot store them), keys that reach
 * for prototypes, numbers JSON cannot carry exactly (RFC 7493), depth over `maxDepth`, more than
 * `maxValues` values, and anything but plain objects, lists, dates and scalars. tRPC inputs pass
 * through it after superjson has read them.
 */
export function checkJson(value: unknown): void {
  const bad = findBad(value, 0, { left: maxValues });
  if (!bad) return;
  const field = bad.path.join(".").replaceAll("\0", "\\0").toWellFormed().slice(0, 200);
  const detail = field ? `\`${field}\` ${bad.message}` : `The body ${bad.message}`;
  const fields: FieldProblem[] = field ? [{ field, message: bad.message }] : [];
  throw new Fault("ValidationError", "input.unacceptable", detail, { fields });
}

// The path is put together on the way out of a failure only: good input costs no allocation.
function findBad(value: unknown, depth: number, tally: Tally): Bad | null {
  if (--tally.left < 0) return { path: [], message: `must not hold over ${maxValues} values` };
  const message = typeof value === "string"
    ? badText(value)
    : typeof value === "number"
    ? badNumber(value)
    : null;
  if (message) return { path: [], message };
  if (typeof value !== "object" || value === null) return null;
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? { path: [], message: "must be a real date" } : null;
  }
  if (depth >= maxDepth) return { path: [], message: `must not lie over ${maxDepth} levels deep` };
  return Array.isArray(value)
    ? findBadItem(value, depth, tally)
    : findBadField(value, depth, tally);
}

function findBadItem(list: unknown[], depth: number, tally: Tally): Bad | null {
  for (let index = 0; index < list.length; index++) {
    const bad = findBad(list[index], depth + 1, tally);
    if (bad) return below(String(index), bad);
  }
  return null;
}

function findBadField(value: object, depth: number, tally: Tally): Bad | null {
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    return { path: [], message: "must be plain JSON" };
  }
  for (const [key, item] of Object.entries(value)) {
    const message = dangerous.has(key) ? "is a name that is never accepted" : badText(key);
    const bad = message ? { path: [], message } : findBad(item, depth + 1, tally);
    if (bad) return below(key, bad);
  }
  return null;
}

const below = (key: string, bad: Bad): Bad => {
  bad.path.unshift(key);
  return bad;
};

const mediaType = /^application\/(?:[\w!#$&^.+-]+\+)?json\s*(?:;|$)/i;
const charset = /;\s*charset\s*=\s*"?([^\s";]*)/i;

/** Throws UnsupportedMediaType for anything but JSON in UTF-8. */
export function requireJson(contentType: string | null): void {
  if (contentType === "application/json") return;
  const isUtf8 = ["utf-8", "utf8"].includes(
    charset.exec(contentType ?? "")?.[1]?.toLowerCase() ?? "utf-8",
  );
  if (contentType && mediaType.test(contentType.trim()) && isUtf8) return;
  throw new Fault(
    "UnsupportedMediaType",
    "body.not_json",
    "Send the body as JSON in UTF-8, with the header Content-Type: application/json",
  );
}

const tooLarge = (maxBytes: number) =>
  new Fault("PayloadTooLarge", "body.too_large", `The body must not exceed ${maxBytes} bytes`);

const AT_ONCE_BYTES = 64 * 1024;
/** How long a large body may pause. */
const PAUSE_MS = 30_000;
const paused = () =>
  new Fault("ValidationError", "body.paused", "Send the body without long pauses");

/** A body's pieces. Throws ValidationError when none comes for so long. */
async function* piecesOf({ body }: Request, pauseMs: number) {
  const reader = body?.getReader();
  if (!reader) return;
  let isLate = false;
  const leave = () => {
    isLate = true;
    reader.cancel().catch(() => {});
  };
  try {
    for (;;) {
      const timer = setTimeout(leave, pauseMs);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (isLate) throw paused();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {}); // Where it was not read to its end.
  }
}

/**
 * The body's bytes; stops reading as soon as there are more than `maxBytes` (413), when they pause, or
 * when `came`, told of each piece, throws.
 */
export async function readBytes(
  request: Request,
  maxBytes: number,
  came: (bytes: number) => void = () => {},
  pauseMs = PAUSE_MS,
): Promise<Uint8Array> {
  const told = Number(request.headers.get("content-length") ?? 0);
  if (told > maxBytes) throw tooLarge(maxBytes);
  if (told > 0 && told <= AT_ONCE_BYTES) { // A server passes on no more than was told.
    const bytes = new Uint8Array(await request.arrayBuffer());
    if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
    came(bytes.byteLength);
    return bytes;
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of piecesOf(request, pauseMs)) {
    length += chunk.byteLength;
    if (length > maxBytes) throw tooLarge(maxBytes); // Leaving the loop cancels the stream.
    came(chunk.byteLength);
    chunks.push(chunk);
  }
  return joined(chunks);
}

const malformed = (detail: string) => new Fault("ValidationError", "body.malformed", detail);

/** The checked JSON value of a body, undefined when it is empty. A byte order mark is ignored. */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  if (!request.body) return undefined;
  const bytes = await readBytes(request, maxBytes);
  if (bytes.byteLength === 0) return undefined;
  requireJson(request.headers.get("content-type"));
  const value = parse(decode(bytes));
  checkJson(value);
  return value;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw malformed("The body is not valid UTF-8");
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // V8 quotes the text around the fault, which may hold a secret: only the position is passed on.
    const position = /position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    throw malformed(
      `The body is not valid JSON${position ? `: look near character ${position}` : ""}`,
    );
  }
}
