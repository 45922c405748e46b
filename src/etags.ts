/**
 * The version of one resource as an entity tag, so that two people do not overwrite each other.
 *
 * A tag is made of the row's id and its `updatedAt`, which only ever grows within a row; it is
 * therefore strong (RFC 9110, 8.8.3). The answer to another `Prefer` is another representation of
 * the same version: its tag ends in `;` and the variant, which If-None-Match heeds and If-Match,
 * which asks about the row, does not.
 */
import { Fault, invalid } from "./errors.ts";

/** `"<id without dashes>-<milliseconds in base 36>"`, quotes included. */
export function etagOf(id: string, updatedAt: Date, variant = ""): string {
  const version = `${id.replaceAll("-", "")}-${updatedAt.getTime().toString(36)}`;
  return variant ? `"${version};${variant}"` : `"${version}"`;
}

type Tag = { isWeak: boolean; value: string };

const tagAt = /\s*(W\/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)/y;

/** The tags of an If-Match or If-None-Match list; null when the header is not such a list. */
export function parseTags(header: string): Tag[] | "*" | null {
  if (header.trim() === "*") return "*";
  const tags: Tag[] = [];
  tagAt.lastIndex = 0;
  while (tagAt.lastIndex < header.length) {
    const found = tagAt.exec(header);
    if (!found?.[2]) return null;
    tags.push({ isWeak: found[1] !== undefined, value: found[2] });
  }
  return tags.length > 0 ? tags : null;
}

/** Whether If-None-Match lists this tag. RFC 9110, 13.1.2: compared weakly, `*` is any version. */
export function isListed(ifNoneMatch: string, etag: string): boolean {
  const tags = parseTags(ifNoneMatch);
  return tags === "*" || (tags ?? []).some((tag) => tag.value === etag);
}

/**
 * Refuses with 412 when the caller's If-Match names other versions than the row's. RFC 9110, 13.1.1:
 * compared strongly, a weak tag never matches. Call it inside the transaction that writes.
 */
export function requireMatch(
  ifMatch: string | null | undefined,
  row: { id: string; updatedAt: Date },
): void {
  if (ifMatch === null || ifMatch === undefined) return;
  const tags = parseTags(ifMatch);
  if (tags === null) throw invalid("If-Match", 'If-Match takes entity tags such as "abc", or *');
  const current = etagOf(row.id, row.updatedAt);
  if (tags === "*" || tags.some((tag) => !tag.isWeak && versionOf(tag.value) === current)) return;
  throw new Fault(
    "PreconditionFailed",
    "row.changed",
    "It has changed since you read it: read it again and repeat your change",
  );
}

const versionOf = (tag: string) => tag.replace(/;[^;"]*"$/, '"');
