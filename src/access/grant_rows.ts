/** The rows of `access_rows` as the evaluator reads them. */
import type { GrantRow } from "./roles.ts";

const textOf = (value: unknown) => typeof value === "string" ? value : null;
const momentOf = (value: unknown) =>
  value === null || value === undefined ? null : new Date(String(value)).getTime();

export const grantRow = (row: Record<string, unknown>): GrantRow => ({
  systemRole: textOf(row.system_role),
  permission: textOf(row.permission),
  reach: textOf(row.reach),
  depth: row.depth === null || row.depth === undefined ? null : Number(row.depth),
  passes: row.passes === true,
  isCurrent: row.is_current === true,
  isActive: row.is_active === true,
  untilMs: momentOf(row.until),
});

/** From a statement or from JSON. */
export function grantRows(rows: unknown): GrantRow[] {
  const list: unknown = typeof rows === "string" ? JSON.parse(rows) : rows;
  return (Array.isArray(list) ? list : []).map(grantRow);
}
