/** The vault keeps tenants apart, asks the store rarely, and agrees with its sister processes. */
import assert from "node:assert/strict";
import { Unreadable } from "../../src/secrets/envelope.ts";
import { mint } from "../../src/secrets/data_keys.ts";
import { KeyringError, keyringOf, newKek } from "../../src/secrets/keyring.ts";
import { Secret } from "../../src/secrets/secret.ts";
import { TAKE_UP_MS, vault } from "../../src/secrets/vault.ts";
import { keyring, memoryStore, spot, tenantA, tenantB } from "./kit.ts";

function house(ids = ["k1"]) {
  const memory = memoryStore();
  const clock = { ms: 1_000 };
  const text = ids.map(newKek).join();
  const open = (encryptionKeys = text, cacheSize = 100) =>
    vault({
      store: memory.store,
      keyring: keyringOf(encryptionKeys),
      cacheSize,
      now: () => clock.ms,
    });
  return { ...memory, clock, text, open, keyring: keyringOf(text) };
}
const inA = { tenantId: tenantA };
const inB = { tenantId: tenantB };

Deno.test("Vault.open gives a Secret of what seal took, in another process too", async () => {
  const { open } = house();
  const sealed = await open().seal(inA, spot, new Secret("hunter2"));
  const secret = await open().open(inA, spot, sealed);
  assert.ok(secret instanceof Secret);
  assert.equal(secret.reveal(), "hunter2");
});

Deno.test("Vault.open refuses another tenant's value, and every other place", async () => {
  const { open } = house();
  const v = open();
  const sealed = await v.seal(inA, spot, "canary");
  await v.seal(inB, spot, "something of B");
  await assert.rejects(v.open(inB, spot, sealed), Unreadable);
  await assert.rejects(v.open(inA, { ...spot, table: "tenants" }, sealed), Unreadable);
  await assert.rejects(v.open(inA, { ...spot, row: "other" }, sealed), Unreadable);
  await assert.rejects(v.open(inA, { ...spot, column: "other" }, sealed), Unreadable);
  await assert.rejects(v.open(inA, spot, "not sealed"), Unreadable);
  const stranger = sealed.replace(/\.[0-9a-f-]{36}\./, `.${crypto.randomUUID()}.`);
  await assert.rejects(v.open(inA, spot, stranger), Unreadable);
});

Deno.test("Vault refuses a wrapped data key copied to another tenant or purpose", async () => {
  const { open, rows } = house();
  const v = open();
  const sealed = await v.seal(inA, spot, "canary");
  await v.fingerprint(inA, "canary");
  const key = rows.find(({ purpose }) => purpose === "encrypt");
  assert.ok(key);
  rows.push({ ...key, tenantId: tenantB });
  await assert.rejects(open().open(inB, spot, sealed), KeyringError);
  await assert.rejects(open().seal(inB, spot, "mine"), KeyringError);
  rows.push({ ...key, purpose: "fingerprint" });
  await assert.rejects(open().fingerprint(inA, "canary"), KeyringError);
});

Deno.test("Vault asks the store once for 50 callers, and not at all when warm", async () => {
  const { open, asked } = house();
  const v = open();
  const sealed = await Promise.all(Array.from({ length: 50 }, () => v.seal(inA, spot, "x")));
  await Promise.all(sealed.map((one) => v.open(inA, spot, one)));
  assert.deepEqual(asked, { current: 1, byId: 0, add: 1 });
  const other = open();
  await Promise.all(sealed.map((one) => other.open(inA, spot, one)));
  assert.deepEqual(asked, { current: 1, byId: 1, add: 1 });
});

Deno.test("two processes that make a tenant's first data key end with one", async () => {
  const { open, rows } = house();
  const vaults = Array.from({ length: 8 }, () => open());
  const sealed = await Promise.all(vaults.map((v) => v.seal(inA, spot, "x")));
  const prints = await Promise.all(vaults.map((v) => v.fingerprint(inA, "x")));
  assert.equal(rows.length, 2);
  assert.equal(new Set(prints).size, 1);
  for (const v of vaults) {
    for (const one of sealed) assert.equal((await v.open(inA, spot, one)).reveal(), "x");
  }
});

Deno.test("Vault takes up a new data key within five seconds and still opens the old", async () => {
  const { open, rows, clock, keyring } = house();
  const v = open();
  const old = await v.seal(inA, spot, "x");
  const next = await mint(keyring, "k1", { tenantId: tenantA, purpose: "encrypt" });
  rows.push(next);
  clock.ms += TAKE_UP_MS - 1;
  assert.ok(!(await v.seal(inA, spot, "x")).includes(next.id));
  clock.ms += 2;
  assert.ok((await v.seal(inA, spot, "x")).includes(next.id));
  assert.equal((await v.open(inA, spot, old)).reveal(), "x");
  assert.equal(TAKE_UP_MS, 5_000);
});

Deno.test("Vault forgets a failed look-up at once", async () => {
  const { store, text } = house();
  let failing = true;
  const current: typeof store.current = (...args) =>
    failing ? Promise.reject(new Error("no connection")) : store.current(...args);
  const v = vault({ store: { ...store, current }, keyring: keyringOf(text) });
  await assert.rejects(v.seal(inA, spot, "x"), /no connection/);
  failing = false;
  assert.ok(await v.seal(inA, spot, "x"));
});

Deno.test("Vault keeps no more data keys than it is told, and works beyond", async () => {
  const { open, asked } = house();
  const v = open(undefined, 2);
  const tenants = Array.from({ length: 6 }, () => ({ tenantId: crypto.randomUUID() }));
  const sealed = await Promise.all(
    tenants.map(async (ctx) => [ctx, await v.seal(ctx, spot, "x")] as const),
  );
  for (const [ctx, one] of sealed) assert.equal((await v.open(ctx, spot, one)).reveal(), "x");
  assert.ok(asked.byId >= 4, `${asked.byId}`);
});

Deno.test("Vault takes a tenant's id in capitals for the same tenant", async () => {
  const { open } = house();
  const v = open();
  const sealed = await v.seal(inA, spot, "x");
  const shouting = { tenantId: tenantA.toUpperCase() };
  assert.equal((await v.open(shouting, spot, sealed)).reveal(), "x");
});

Deno.test("Vault.fingerprint tells secrets apart, within one tenant only", async () => {
  const { open, rows } = house();
  const v = open();
  const one = await v.fingerprint(inA, "hunter2");
  assert.match(one, /^fp:[0-9a-f]{12}$/);
  assert.equal(await open().fingerprint(inA, new Secret("hunter2")), one);
  assert.notEqual(await v.fingerprint(inA, "hunter3"), one);
  assert.notEqual(await v.fingerprint(inB, "hunter2"), one);
  await assert.rejects(v.fingerprint(inA, "\ud800"), /surrogate/);
  await v.seal(inA, spot, "x");
  assert.equal(rows.filter(({ purpose }) => purpose === "fingerprint").length, 2);
});

Deno.test("Vault wraps new data keys under the primary key, not the first it holds", async () => {
  const { open, rows, promote, keyring } = house(["k1", "k2"]);
  promote({ id: "k2", check: await keyring.check("k2") });
  await open().seal(inA, spot, "x");
  assert.deepEqual(rows.map(({ kekId }) => kekId), ["k2"]);
});

Deno.test("Vault notices a key-encryption key with other bytes under the right id", async () => {
  const { open, rows } = house();
  const sealed = await open().seal(inA, spot, "canary");
  const wrong = open(newKek("k1"));
  await assert.rejects(wrong.open(inA, spot, sealed), /k1 does not open a data key/);
  await assert.rejects(wrong.seal(inA, spot, "x"), /other bytes under that id/);
  await assert.rejects(wrong.seal(inB, spot, "x"), /other bytes than the registered one/);
  assert.equal(rows.length, 1, "a data key was wrapped by the wrong key");
  await assert.rejects(open(newKek("k2")).open(inA, spot, sealed), /k1 is not in ENCRYPTION_KEYS/);
});

Deno.test("keyring and vault together refuse what a thief without keys puts in the store", async () => {
  const { open, rows } = house();
  const foreign = await mint(keyring("k1"), "k1", { tenantId: tenantA, purpose: "encrypt" });
  rows.push(foreign);
  await assert.rejects(open().seal(inA, spot, "canary"), KeyringError);
});

Deno.test("Vault makes no key inside a transaction, which may be rolled back", async () => {
  const { open, rows } = house();
  const v = open();
  const inside = { ...inA, db: {} };
  await assert.rejects(v.seal(inside, spot, "x"), /call ready before the transaction/);
  await assert.rejects(v.fingerprint(inside, "x"), /call ready before the transaction/);
  await assert.rejects(v.ready(inside), /call ready before the transaction/);
  assert.equal(rows.length, 0);
  await v.ready(inA);
  assert.deepEqual(rows.map(({ purpose }) => purpose).sort(), ["encrypt", "fingerprint"]);
  const sealed = await v.seal(inside, spot, "x");
  assert.equal((await open().open(inside, spot, sealed)).reveal(), "x");
  assert.match(await open().fingerprint(inside, "x"), /^fp:/);
});

Deno.test("Vault never lets a transaction wait for a caller without one", async () => {
  const { open, store, text } = house();
  await open().ready(inA);
  // The caller outside waits for the one connection, which the transaction holds until it is done.
  const release = Promise.withResolvers<void>();
  const current: typeof store.current = async (ctx, purpose) => {
    if (!ctx.db) await release.promise;
    return await store.current(ctx, purpose);
  };
  const v = vault({ store: { ...store, current }, keyring: keyringOf(text) });
  const outside = v.seal(inA, spot, "outside");
  const inside = await v.seal({ ...inA, db: {} }, spot, "inside");
  release.resolve();
  assert.equal((await v.open(inA, spot, inside)).reveal(), "inside");
  assert.equal((await v.open(inA, spot, await outside)).reveal(), "outside");
});

Deno.test("Vault tries again when the primary key changes while it makes a data key", async () => {
  const { open, rows, store, promote, keyring, text } = house(["k1", "k2"]);
  const k2 = { id: "k2", check: await keyring.check("k2") };
  const add: typeof store.add = (ctx, key) => {
    promote(k2);
    return store.add(ctx, key);
  };
  await vault({ store: { ...store, add }, keyring: keyringOf(text) }).ready(inA);
  assert.deepEqual(rows.map(({ kekId }) => kekId), ["k2", "k2"]);
  assert.ok(await open().fingerprint(inA, "x"));
});
