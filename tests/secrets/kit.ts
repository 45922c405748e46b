/** What tests of secrets share: keys, and a store of data keys in memory for many vaults. */
import { type Keyring, keyringOf, newKek } from "../../src/secrets/keyring.ts";
import type { WrappedKey } from "../../src/secrets/data_keys.ts";
import type { Place } from "../../src/secrets/envelope.ts";
import type { DataKeyStore, KekMark, Scope, Spot } from "../../src/secrets/vault.ts";

export const keyring = (...ids: string[]): Keyring => keyringOf(ids.map(newKek).join(","));

export const tenantA = "0190c0de-0000-7000-8000-00000000000a";
export const tenantB = "0190c0de-0000-7000-8000-00000000000b";

export const place: Place = {
  tenantId: tenantA,
  table: "platform_credentials",
  row: "0190c0de-0000-7000-8000-000000000001",
  column: "client_secret",
};

export const spot: Spot = { table: place.table, row: place.row, column: place.column };

/** Keeps every key it was given; `rows` lets a test play the thief of the database. */
export function memoryStore() {
  const rows: WrappedKey[] = [];
  const asked = { current: 0, byId: 0, add: 0 };
  let primary: KekMark | null = null;
  const newest = (tenantId: string, purpose: string) =>
    rows.findLast((row) => row.tenantId === tenantId && row.purpose === purpose) ?? null;
  const pause = () => new Promise((done) => setTimeout(done, 1));
  const store: DataKeyStore<Scope> = {
    current: async ({ tenantId }, purpose) => {
      asked.current++;
      await pause();
      return newest(tenantId, purpose);
    },
    byId: async ({ tenantId }, id) => {
      asked.byId++;
      await pause();
      return rows.find((row) => row.tenantId === tenantId && row.id === id) ?? null;
    },
    add: async (_ctx, key) => {
      asked.add++;
      await pause();
      if (key.kekId !== primary?.id) return null;
      const there = newest(key.tenantId, key.purpose);
      if (!there) rows.push(key);
      return there ?? key;
    },
    primary: (_ctx, first) => Promise.resolve(primary ??= first),
  };
  return { store, rows, asked, promote: (mark: KekMark) => primary = mark };
}
