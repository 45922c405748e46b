/** Says what would be right, field by field, where a schema only says what is wrong. */
import type { z } from "zod";
import type { FieldProblem } from "../src/errors.ts";
import { misnamed } from "./wire_scalars.ts";
import { snake } from "../src/wire_names.ts";

type Issue = z.core.$ZodIssue;
type Path = PropertyKey[];
/** A field at fault before its path is spelled: where, and what would be right there. */
export type Complaint = { path: Path; message: string };

/** How many fields one answer names. */
export const maxComplaints = 50;

/** What a schema found, one complaint a field; an unknown field is its own complaint. */
export function complaintsOf(issues: readonly Issue[]): Complaint[] {
  const complaints: Complaint[] = [];
  for (const issue of issues) {
    if (complaints.length >= maxComplaints) break;
    complaints.push(...expand(issue, [], maxComplaints - complaints.length));
  }
  return complaints;
}

function expand(issue: Issue, above: Path, most: number): Complaint[] {
  const path = [...above, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.slice(0, most).map((key) => unknownField(path, key));
  }
  const nearest = issue.code === "invalid_union" && isOurs(issue) ? nearestOption(issue) : null;
  if (nearest) return nearest.slice(0, most).flatMap((inner) => expand(inner, path, most));
  return [{ path, message: isOurs(issue) ? improved(issue) : issue.message }];
}

function unknownField(path: Path, key: string): Complaint {
  const name = key.slice(0, 100).replace(misnamed, "");
  const hint = key.endsWith(misnamed) ? `; it is spelled \`${snake(name)}\`` : "";
  return {
    path: [...path, key.endsWith(misnamed) ? name + misnamed : name],
    message: `\`${name}\` is not a field of this request${hint}`,
  };
}

/** Whether the message is zod's own and not one that a schema's author wrote. */
const isOurs = (issue: Issue) =>
  /^(Invalid |Too (big|small): |Unrecognized key)/.test(issue.message);

/** The option of a union whose complaints lie inside the value: it had at least the right kind. */
function nearestOption(issue: Issue & { code: "invalid_union" }): Issue[] | null {
  const inside = issue.errors.filter((option) => option.every((inner) => inner.path.length > 0));
  return inside[0] ?? (issue.errors.length === 1 ? issue.errors[0] ?? null : null);
}

function improved(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.message.endsWith("received undefined") ? "is required" : kindOf(issue.expected);
    case "too_big":
      return `must ${bound(issue, issue.maximum, issue.inclusive ? "at most" : "less than")}`;
    case "too_small":
      return `must ${bound(issue, issue.minimum, issue.inclusive ? "at least" : "more than")}`;
    case "invalid_format":
      return formats[issue.format] ?? `must be a valid ${issue.format}`;
    case "invalid_value":
      return valueOf(issue.values);
    case "not_multiple_of":
      return `must be a multiple of ${issue.divisor}`;
    case "invalid_union":
      return "options" in issue && issue.options
        ? valueOf(issue.options)
        : "has none of the accepted forms";
    case "invalid_key":
      return "is not an accepted name";
    default:
      return "is not as it should be";
  }
}

const quoted = (value: unknown) => typeof value === "string" ? `"${value}"` : String(value);

const valueOf = (values: readonly unknown[]) =>
  values.length === 1
    ? `must be ${quoted(values[0])}`
    : `must be one of ${values.slice(0, 50).map(quoted).join(", ")}`;

const dateForm = "must be a date and time such as 2026-11-22T10:00:00Z or 20261122100000 (UTC)";

const kinds: Record<string, string> = {
  string: "must be text",
  number: "must be a number",
  int: "must be a whole number",
  bigint: "must be a whole number, written as text",
  boolean: "must be true or false",
  date: dateForm,
  array: "must be a list",
  object: "must be an object",
  record: "must be an object",
  null: "must be null",
};

const kindOf = (expected: string) => kinds[expected] ?? `must be of kind ${expected}`;

const formats: Record<string, string> = {
  datetime: dateForm,
  date: "must be a date such as 2026-11-22",
  time: "must be a time such as 10:00:00",
  uuid: "must be a UUID",
  guid: "must be a UUID",
  email: "must be an e-mail address",
  url: "must be a URL",
  e164: "must be a telephone number such as +4930123456",
  ipv4: "must be an IPv4 address",
  ipv6: "must be an IPv6 address",
  regex: "does not have the accepted form",
};

function bound(
  { origin, exact }: { origin: string; exact?: boolean },
  limit: number | bigint,
  comparison: string,
): string {
  const many = (unit: string) =>
    `have ${exact ? "exactly" : comparison} ${limit} ${unit}${Number(limit) === 1 ? "" : "s"}`;
  if (origin === "string") return many("character");
  if (origin === "array" || origin === "set") return many("item");
  if (origin === "object" || origin === "record") return many("field");
  const value = origin === "date" ? new Date(Number(limit)).toISOString() : limit;
  return `be ${comparison} ${value}`;
}

/** One sentence for the whole, out of the first few fields. */
export function summarize(fields: FieldProblem[]): string {
  const sentences = fields.slice(0, 3).map(({ field, message }) => {
    if (message.startsWith("`") || !field) return message;
    return /^[A-Z]/.test(message) ? `\`${field}\`: ${message}` : `\`${field}\` ${message}`;
  });
  const more = fields.length - sentences.length;
  return sentences.join("; ") + (more > 0 ? `; and ${more} more` : "");
}
