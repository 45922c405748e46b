/**
 * How values are spelled on the wire: normal JSON to everyone, and the telephone platform's own
 * forms (`YYYYMMDDHHMMSS` in UTC, `YES`/`NO`) accepted from all and answered to those who prefer it.
 */

/** How dates and booleans are written into one answer. */
export type Style = {
  /** Empty for plain JSON; otherwise the name of the convention, which entity tags carry too. */
  name: string;
  date: (at: Date) => string;
  flag: (value: boolean) => boolean | string;
};

/** RFC 3339 in UTC with milliseconds, and JSON booleans. */
export const plain: Style = {
  name: "",
  date: (at) => at.toISOString(),
  flag: (value) => value,
};

/** `Prefer: conventions=platform-api`. */
export const platformApi: Style = {
  name: "platform-api",
  date: (at) => at.toISOString().replace(/[-:T]|\..*/g, ""),
  flag: (value) => value ? "YES" : "NO",
};

const rfc3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;
const compact = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/;

/** The moment an RFC 3339 or `YYYYMMDDHHMMSS` text names; null when there is no such moment. */
export function parseDate(text: string): Date | null {
  const parts = rfc3339.exec(text) ?? compact.exec(text);
  if (!parts) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1, 7).map(
    Number,
  );
  if (year < 1 || hour > 23 || minute > 59 || second > 59) return null;
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return null;
  if (text.length !== 14) return new Date(text.toUpperCase());
  const [, y, mo, d, h, mi, s] = parts;
  return new Date(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

/** A boolean as S4's clients send it in JSON; anything else comes back as it was. */
export const readFlag = (value: unknown): unknown =>
  value === "YES" ? true : value === "NO" ? false : value;

/** A boolean in a query or path. */
export const readFlagText = (value: unknown): unknown =>
  value === "true" ? true : value === "false" ? false : readFlag(value);

/**
 * The style a Prefer header asks for (RFC 7240): names in any case, values bare or quoted, several
 * preferences in a line, of which the first of a name counts. What cannot be read is not heeded.
 */
export function styleOf(prefer: string | null | undefined): Style {
  if (!prefer || prefer.length > 1000) return plain;
  for (const preference of split(prefer, ",")) {
    const [pair = ""] = split(preference, ";");
    const [name = "", ...value] = pair.split("=");
    if (name.trim().toLowerCase() !== "conventions") continue;
    return unquoted(value.join("=").trim()).toLowerCase() === platformApi.name
      ? platformApi
      : plain;
  }
  return plain;
}

/** A Prefer header without the preference that is ours; null when nothing is left of it. */
export function withoutStyle(prefer: string): string | null {
  const left = split(prefer, ",").filter((preference) => styleOf(preference) === plain)
    .map((preference) => preference.trim()).filter((preference) => preference !== "");
  return left.length > 0 ? left.join(", ") : null;
}

/** Splits where the separator stands outside quotes. One pass: callers choose this text. */
function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let [start, isQuoted] = [0, false];
  for (let at = 0; at < text.length; at++) {
    if (isQuoted && text[at] === "\\") at++;
    else if (text[at] === '"') isQuoted = !isQuoted;
    else if (!isQuoted && text[at] === separator) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return [...parts, text.slice(start)];
}

const unquoted = (value: string) =>
  value.length > 1 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1).replace(/\\(.)/g, "$1")
    : value;
