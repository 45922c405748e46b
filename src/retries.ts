/** Tries again what a failing database interrupted, and asks whether a broken commit took place. */
import { type SQL, sql } from "drizzle-orm";
import type { Named } from "../db/named_queries.ts";
import type { Database } from "../db/client.ts";
import { codesOf, isBroken, isRetryable } from "../db/failures.ts";
import { Fault } from "./errors.ts";

export { isRetryable } from "../db/failures.ts";

/** How often one statement or transaction is tried, and the pause before the next try. */
export const ATTEMPTS = 4;
export const backoff = (attempt: number) =>
  new Promise((resolve) => setTimeout(resolve, 2 ** attempt * (5 + Math.random() * 10)));

/** What the database refuses because of what is there, in words a caller can act on; anything else as it came. */
export function refusalOf(error: unknown): unknown {
  const codes = codesOf(error);
  if (codes.includes("23505")) {
    return new Fault(
      "Conflict",
      "row.already_exists",
      "Something with these values exists already",
    );
  }
  if (codes.includes("23503")) {
    return new Fault("Conflict", "row.gone", "Something this refers to is not there any more");
  }
  if (codes.some((code) => busy.has(code))) return crowded(error);
  return isBroken(error) ? away(error) : error;
}

/** PostgreSQL, Appendix A: query_canceled by its timeout, lock_not_available, and lost races once too often. */
const busy = new Set(["57014", "55P03", "40001", "40P01"]);

function crowded(cause: unknown): Fault {
  const sentence = "Too much is changed at once here: try again shortly";
  const fault = new Fault("Unavailable", "database.busy", sentence, { retryAfterSeconds: 2 });
  fault.cause = cause;
  return fault;
}

function away(cause: unknown): Fault {
  const sentence = "The database cannot be reached: try again shortly";
  const fault = new Fault("Unavailable", "database.away", sentence, { retryAfterSeconds: 1 });
  fault.cause = cause;
  return fault;
}

/** What is asked, or what that is when an answer to it may have been lost. */
export type Question = SQL | Named | ((again: boolean) => SQL | Named);
export type Patient = Omit<Database, "query"> & {
  query(question: Question): ReturnType<Database["query"]>;
};

/** The same database, whose `query` survives a dropped connection. What it asks may be asked twice. */
export function patient(database: Database): Patient {
  const query: Patient["query"] = async (question) => {
    for (let attempt = 1;; attempt++) {
      try {
        const statement = typeof question === "function" ? question(attempt > 1) : question;
        return await database.query(statement);
      } catch (error) {
        if (attempt === ATTEMPTS || !isRetryable(error)) throw refusalOf(error);
      }
      await backoff(attempt);
    }
  };
  return { ...database, query };
}

const SETTLED_WITHIN_MS = 5_000;

/** Whether the transaction was committed. Waits while the server still works on it. */
export async function settled(database: Database, transactionId: string): Promise<boolean> {
  const deadline = performance.now() + SETTLED_WITHIN_MS;
  for (let tries = 0; performance.now() < deadline; tries++) {
    try {
      const [row] = await database.query(
        sql`select pg_xact_status(${transactionId}::text::xid8) as status`,
      );
      if (row?.status !== "in progress") return row?.status === "committed";
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(250, 10 * 2 ** tries)));
  }
  throw new Fault(
    "Unavailable",
    "commit.unknown",
    "The database went away at the commit: look whether the change was made before trying again",
  );
}
