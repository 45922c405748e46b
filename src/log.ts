/** Structured logs: one JSON object a line, with the request's id, never a secret. */
export type Level = "debug" | "info" | "warn" | "error";
export type Log = (level: Level, message: string, fields?: Record<string, unknown>) => void;

const rank: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Writes lines at `least` and above. `write` takes the finished line. */
export const log =
  (least: Level, write: (line: string) => void = console.log): Log =>
  (level, message, fields = {}) => {
    if (rank[level] < rank[least]) return;
    const head = { time: new Date().toISOString(), level, message };
    write(lineOf({ ...head, ...fields, ...head }));
  };

/** What cannot be written as JSON is told as text: a log never fails the work it tells of. */
function lineOf(line: Record<string, unknown>): string {
  try {
    return JSON.stringify(line, (_, value) => typeof value === "bigint" ? String(value) : value);
  } catch {
    const { time, level, message } = line;
    return JSON.stringify({ time, level, message, unwritable: Object.keys(line) });
  }
}

/** An error with its causes, for a log: where it was thrown, and no value that was part of a query. */
export function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const text = (error.stack ?? error.message).replace(/\nparams: [^]*?(?=\n {4}at |$)/, "");
  return error.cause === undefined ? text : `${text}\nbecause ${told(error.cause)}`;
}
