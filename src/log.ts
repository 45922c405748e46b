/** Structured logs: one JSON object a line, with the request's id, never a secret. */
export type Level = "debug" | "info" | "warn" | "error";
export type Log = (level: Level, message: string, fields?: Record<string, unknown>) => void;

const rank: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Writes lines at `least` and above. `write` takes the finished line. */
export const log =
  (least: Level, write: (line: string) => void = console.log): Log =>
  (level, message, fields = {}) => {
    if (rank[level] < rank[least]) return;
    write(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }));
  };
