/** Which failures of the database are worth another try, and whether a broken commit took place. */
import { sql } from "drizzle-orm";
import type { Database } from "../db/client.ts";
import { Fault } from "./errors.ts";

/** The codes along the chain of causes: SQLSTATE (`40001`) or the driver's (`CONNECTION_CLOSED`). */
export function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string") codes.push(at.code);
    if (/Connection terminated|WebSocket|socket hang up/.test(at.message)) codes.push("ECONNRESET");
  }
  return codes;
}

/** PostgreSQL, Appendix A: serialization_failure, deadlock_detected. */
const lostRace = new Set(["40001", "40P01"]);
const broken = /^(08...|57P0[123]|CONNECTION_.*|ECONN.*|EPIPE|CONNECT_TIMEOUT)$/;

export const isBroken = (error: unknown) => codesOf(error).some((code) => broken.test(code));
export const isRetryable = (error: unknown) =>
  isBroken(error) || codesOf(error).some((code) => lostRace.has(code));

/** What the database refuses because of what is there, in words a caller can act on; anything else as it came. */
export function refusalOf(error: unknown): unknown {
  const codes = codesOf(error);
  if (codes.includes("23505")) {
    return new Fault("Conflict", "row.already_exists", "Something with these values exists already");
  }
  if (codes.includes("23503")) {
    return new Fault("Conflict", "row.gone", "Something this refers to is not there any more");
  }
  return error;
}

/** Whether the transaction was committed. Waits while the server still works on it, for 5 s at most. */
export async function settled(database: Database, transactionId: string): Promise<boolean> {
  for (let tries = 0; tries < 20; tries++) {
    try {
      const [row] = await database.query(
        sql`select pg_xact_status(${transactionId}::text::xid8) as status`,
      );
      if (row?.status !== "in progress") return row?.status === "committed";
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error("The database could not say whether a change was committed");
}
