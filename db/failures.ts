/** What a failure of the database means, whichever driver said it. */

/** The codes along the chain of causes: SQLSTATE (`40001`) or the driver's and system's (`EPIPE`). */
export function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let at = error, depth = 0; at instanceof Object && depth < 5; depth++) {
    const [code, message] = [Reflect.get(at, "code"), Reflect.get(at, "message")];
    if (typeof code === "string") codes.push(code);
    if (at instanceof ErrorEvent || lost.test(String(message))) codes.push("ECONNRESET");
    if (late.test(String(message))) codes.push("ETIMEDOUT");
    at = Reflect.get(at, "cause");
  }
  return codes;
}

/** The driver says these in words only, or throws the WebSocket's event itself. */
const lost = /Connection terminated|connection error and is not queryable|Client was closed/;
const late = /Query read timeout|timeout exceeded when trying to connect/;

/** Class 08, the server's shutdowns, no connection left; the operating system's words for the same. */
const broken =
  /^(08...|57P0[1-5]|53300|CONNECTION_.*|ECONN.*|EPIPE|ETIMEDOUT|E(HOST|NET)UNREACH|CONNECT_TIMEOUT)$/;

/** PostgreSQL, Appendix A: serialization_failure, deadlock_detected. */
const lostRace = new Set(["40001", "40P01"]);

/** PostgreSQL, Appendix A: invalid_sql_statement_name, duplicate_prepared_statement. Nothing was done. */
const forgotten = new Set(["26000", "42P05"]);

/** A statement that was prepared is not there, or one of its name that we did not prepare is. */
export const isForgotten = (error: unknown): boolean =>
  codesOf(error).some((code) => forgotten.has(code));

/** The connection is gone, or there was none: what was asked may have happened or not. */
export const isBroken = (error: unknown): boolean =>
  codesOf(error).some((code) => broken.test(code));

/** Worth another try: nothing of it stays, and nobody has waited long for it. */
export function isRetryable(error: unknown): boolean {
  const codes = codesOf(error);
  if (codes.includes("ETIMEDOUT")) return false;
  return isBroken(error) || codes.some((code) => lostRace.has(code));
}
