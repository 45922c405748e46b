/** Why the service did not start, in a sentence for whoever starts it; a secret is never in it. */
import { codesOf, isBroken } from "../db/failures.ts";
import { EnvError } from "./env.ts";
import { KeyringError } from "./secrets/keyring.ts";

/** SQLSTATE (PostgreSQL, Appendix A) and what to do about it. */
const sentences: Record<string, string> = {
  "28000": "the server refuses this login: check its user, its password and pg_hba.conf",
  "28P01": "the server refuses this user and password: check them",
  "3D000": "the server has no such database: check the name, or create it",
  "42501": "this login may not use the tables: grant switchboard_service to it",
  "42883": 'the database has not this version\'s schema: run "deno task db:migrate"',
  "42P01": 'the database has not this version\'s schema: run "deno task db:migrate"',
};

/** What is wrong with the database behind a variable, or null for a bug of ours. Tells its host alone. */
export function databaseFailure(error: unknown, variable: string, url = ""): string | null {
  const known = codesOf(error).map((code) => sentences[code]).find((sentence) => sentence);
  const away = isBroken(error) || codesOf(error).includes("ENOTFOUND");
  if (!known && !away) return null;
  const host = URL.canParse(url) ? new URL(url).host : "the database";
  return `${variable}: ` +
    (known ?? `${host} does not answer: start the database, or check the address`);
}

/** Why the service does not start, or null for a bug of ours. */
export function startFailure(error: unknown, url: string | undefined): string | null {
  if (error instanceof EnvError) return error.message;
  const sentence = error instanceof KeyringError
    ? error.message
    : databaseFailure(error, "DATABASE_URL", url);
  return sentence && `Switchboard cannot start:\n  ${sentence}`;
}
