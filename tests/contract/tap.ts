/** A database whose conversation with the service can be listened to, bent, and gone around. */
import { freshDatabase } from "../databases.ts";

export type { Row } from "../databases.ts";

/** One statement of the service: its text, its parameters, and which transaction it was part of. */
export type Statement = { text: string; params: unknown[]; transaction: number };
/** Every verb goes through the tap; `superuser` goes around it and around row security. */
export async function tapped() {
  const tap = { rewrite: (text: string) => text, heard: [] as Statement[], listening: false };
  const database = await freshDatabase((text, params, transaction) => {
    if (tap.listening) tap.heard.push({ text, params, transaction });
    return tap.rewrite(text);
  });
  return { database, tap, superuser: database.admin, login: database.login };
}
export type Tapped = Awaited<ReturnType<typeof tapped>>;

const predicate = /(?:"?\w+"?\.)?(?<!\w)"?tenant_id"? = (\$\d+)(?:::uuid)?/g;

/** The statement with its tenant predicates made true; the parameters stay used, so it stays valid. */
export const withoutTenantPredicates = (text: string): string =>
  text.replaceAll(predicate, "($1::uuid is not null)");
