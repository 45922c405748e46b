/** Tables as CSV (RFC 4180), written so that a spreadsheet computes nothing of what others said. */

export type Cell = string | number | null;

/** What spreadsheets take for a formula (OWASP, CSV injection). */
const formula = /^[=+\-@\t\r]/;

/** Somebody else's words: defused by an apostrophe, which spreadsheets take for "this is text". */
export const inert = (cell: Cell): Cell =>
  typeof cell === "string" && formula.test(cell) ? `'${cell}` : cell;

/** Nothing is empty; a text without letters is quoted, so that the two stay apart. */
function written(cell: Cell): string {
  if (cell === null) return "";
  const text = String(cell);
  return text === "" || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csvLine = (cells: readonly Cell[]): string => `${cells.map(written).join(",")}\r\n`;
