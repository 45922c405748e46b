/** A database whose conversation with the service can be listened to, bent, and gone around. */
import type { QueryOptions } from "@electric-sql/pglite";
import { freshDatabase } from "../kit.ts";

/** One statement of the service: its text, its parameters, and which transaction it was part of. */
export type Statement = { text: string; params: unknown[]; transaction: number };
export type Row = Record<string, unknown>;
type Query = (
  text: string,
  params?: unknown[],
  options?: QueryOptions,
) => Promise<{ rows: Row[] }>;

const bent = <S extends object>(session: S, query: Query): S =>
  new Proxy(session, {
    get: (target, name) => name === "query" ? query : Reflect.get(target, name, target),
  });

/** Every verb goes through the tap; `superuser` goes around it and around row security. */
export async function tapped() {
  const database = await freshDatabase();
  const { client } = database;
  const ask = client.query.bind(client);
  const superuser: Query = (...said) => ask(...said);
  const transaction = client.transaction.bind(client);
  const tap = { rewrite: (text: string) => text, heard: [] as Statement[], listening: false };
  let transactions = 0;
  const through = (query: Query, number: number): Query => (text, params = [], options) => {
    if (tap.listening) tap.heard.push({ text, params, transaction: number });
    return query(tap.rewrite(text), params, options);
  };
  Object.assign(client, {
    query: through(superuser, 0),
    transaction: (work: (session: object) => Promise<unknown>) => {
      const number = ++transactions;
      return transaction((session) => {
        const query: Query = (...said) => session.query(...said);
        return work(bent(session, through(query, number)));
      });
    },
  });
  return {
    database,
    tap,
    superuser: async (text: string, params: unknown[] = []) => (await superuser(text, params)).rows,
  };
}
export type Tapped = Awaited<ReturnType<typeof tapped>>;

const predicate = /(?:"?\w+"?\.)?(?<!\w)"?tenant_id"? = (\$\d+)(?:::uuid)?/g;

/** The statement with its tenant predicates made true; the parameters stay used, so it stays valid. */
export const withoutTenantPredicates = (text: string): string =>
  text.replaceAll(predicate, "($1::uuid is not null)");
