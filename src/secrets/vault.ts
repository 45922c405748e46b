/**
 * The vault: seals and opens secrets, and gives each a fingerprint that tells two apart.
 *
 * Envelope encryption: a text is sealed under its tenant's data key, the data key is wrapped by a
 * key-encryption key of the keyring. Data keys are unwrapped once and kept, so a warm vault asks
 * nobody.
 */
import type { TenantCtx } from "../context.ts";
import { boxKey, Unreadable } from "./boxes.ts";
import { canonicalId, utf8 } from "./bytes.ts";
import { mint, type NewWrappedKey, type Purpose, unwrap, type WrappedKey } from "./data_keys.ts";
import * as envelope from "./envelope.ts";
import { keep } from "./kept.ts";
import { type Keyring, KeyringError } from "./keyring.ts";
import { plainOf, Secret } from "./secret.ts";

/** A key-encryption key by id and check value (see Keyring.check). */
export type KekMark = { id: string; check: string };

/** On whose behalf: `db` is set while a transaction is open. */
export type Scope = { tenantId: string; db?: unknown };

/** Where wrapped data keys are kept. Each call joins the open transaction, or opens its own. */
export type DataKeyStore<C extends Scope = TenantCtx> = {
  /** The key new values are sealed with; for `fingerprint` the only one. */
  current(ctx: C, purpose: Purpose): Promise<WrappedKey | null>;
  byId(ctx: C, id: string): Promise<WrappedKey | null>;
  /**
   * Makes the key current unless there is one, in one statement, and answers the one that is.
   * Null when the key that wraps it is the primary one no longer.
   */
  add(ctx: C, key: NewWrappedKey): Promise<WrappedKey | null>;
  /** The key-encryption key that wraps new data keys; where none is yet, `first` becomes it. */
  primary(ctx: C, first: KekMark): Promise<KekMark>;
};

/** Where in its tenant a sealed value stands: names as the database spells them, the row's id. */
export type Spot = Omit<envelope.Place, "tenantId">;

/**
 * Each method acts in `ctx.tenantId`. Errors: `open` rejects with Unreadable, all with
 * KeyringError when a key-encryption key is missing or wrong, `seal` and `fingerprint` with Fault
 * ValidationError for malformed Unicode.
 */
export type Vault<C extends Scope = TenantCtx> = {
  /**
   * Makes the tenant's keys where there are none, and only outside a transaction: another request
   * may have used a key that a rollback then takes away. Inside one it finds them or refuses.
   */
  ready(ctx: C): Promise<void>;
  seal(ctx: C, spot: Spot, plain: string | Secret): Promise<string>;
  open(ctx: C, spot: Spot, sealed: string): Promise<Secret>;
  /** `fp:` and 12 hex digits (48 bits) of HMAC-SHA-256 under a key only this tenant has. */
  fingerprint(ctx: C, plain: string | Secret): Promise<string>;
};

export type VaultParts<C extends Scope = TenantCtx> = {
  store: DataKeyStore<C>;
  keyring: Keyring;
  /** How many data keys of each kind are kept unwrapped. */
  cacheSize?: number;
  /** A clock in milliseconds, for tests. */
  now?: () => number;
};

/** How long a process may go on sealing under a data key after another became current. */
export const TAKE_UP_MS = 5_000;
const ATTEMPTS = 5;

/** Refuses to work with a key-encryption key whose bytes are not those registered under its id. */
export async function sameKey(keyring: Keyring, { id, check }: KekMark): Promise<string> {
  if (await keyring.check(id) === check) return id;
  throw new KeyringError(
    `Key-encryption key ${id} of this process holds other bytes than the registered one: ` +
      "copy the ENCRYPTION_KEYS of an instance that works",
  );
}

async function currentOf<C extends Scope>(parts: VaultParts<C>, ctx: C, purpose: Purpose) {
  const { store, keyring } = parts;
  const current = await store.current(ctx, purpose);
  if (current) return current;
  if (ctx.db) throw new Error("The tenant has no keys yet: call ready before the transaction");
  const [firstId] = keyring.ids;
  const first = { id: firstId, check: await keyring.check(firstId) };
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const kekId = await sameKey(keyring, await store.primary(ctx, first));
    const { tenantId } = ctx;
    const added = await store.add(ctx, await mint(keyring, kekId, { tenantId, purpose }));
    if (added) return added;
  }
  throw new Error("The primary key-encryption key changed again and again: try once more");
}

/** The data keys of many tenants, unwrapped and kept. */
function keysOf<C extends Scope>(parts: VaultParts<C>) {
  const { store, keyring, cacheSize: max = 10_000, now } = parts;
  const opened = keep<envelope.DataKey>({ max });
  const current = keep<envelope.DataKey>({ max, ttlMs: TAKE_UP_MS, now });
  const prints = keep<CryptoKey>({ max });
  const shares = (ctx: C) => !ctx.db;

  const unwrapped = (ctx: C, id: string, find: () => Promise<WrappedKey | null>) =>
    opened(`${canonicalId(ctx.tenantId)}/${id}`, shares(ctx), async () => {
      const row = await find();
      if (!row) throw new Unreadable();
      const { tenantId } = ctx;
      const bytes = await unwrap(keyring, { tenantId, id, purpose: "encrypt" }, row);
      return { id, tenantId, key: await boxKey(bytes) };
    });

  return {
    byId: (ctx: C, id: string) => unwrapped(ctx, id, () => store.byId(ctx, id)),
    current: (ctx: C) =>
      current(canonicalId(ctx.tenantId), shares(ctx), async () => {
        const row = await currentOf(parts, ctx, "encrypt");
        return await unwrapped(ctx, row.id, () => Promise.resolve(row));
      }),
    print: (ctx: C) =>
      prints(canonicalId(ctx.tenantId), shares(ctx), async () => {
        const row = await currentOf(parts, ctx, "fingerprint");
        const name = { id: row.id, tenantId: ctx.tenantId, purpose: "fingerprint" as const };
        const bytes = await unwrap(keyring, name, row);
        const hmac = { name: "HMAC", hash: "SHA-256" };
        const key = await crypto.subtle.importKey("raw", bytes, hmac, false, ["sign"]);
        bytes.fill(0);
        return key;
      }),
  };
}

/** Builds a vault; one per process. */
export function vault<C extends Scope = TenantCtx>(parts: VaultParts<C>): Vault<C> {
  const keys = keysOf(parts);
  const placeOf = ({ tenantId }: C, { table, row, column }: Spot) => ({
    tenantId,
    table,
    row,
    column,
  });
  return {
    ready: async (ctx) => {
      await keys.current(ctx);
      await keys.print(ctx);
    },
    seal: async (ctx, spot, plain) =>
      await envelope.seal(await keys.current(ctx), placeOf(ctx, spot), plainOf(plain)),
    open: async (ctx, spot, sealed) => {
      const key = await keys.byId(ctx, envelope.keyIdOf(sealed));
      return new Secret(await envelope.open(key, placeOf(ctx, spot), sealed));
    },
    fingerprint: async (ctx, plain) => {
      const text = utf8(envelope.wellFormed(plainOf(plain), "secret"));
      const mac = await crypto.subtle.sign("HMAC", await keys.print(ctx), text);
      return `fp:${new Uint8Array(mac).toHex().slice(0, 12)}`;
    },
  };
}
