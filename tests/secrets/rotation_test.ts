/** Key-encryption keys come and go in order, and re-encryption finishes wherever it was stopped. */
import assert from "node:assert/strict";
import { getTableColumns, is, Table } from "drizzle-orm";
import { PgColumn } from "drizzle-orm/pg-core";
import type { Database } from "../../db/client.ts";
import * as identity from "../../db/schema/identity.ts";
import * as machinery from "../../db/schema/machinery.ts";
import * as platforms from "../../db/schema/platforms.ts";
import * as keys from "../../src/secrets/encryption_keys.ts";
import { transact } from "../../src/context.ts";
import { mint } from "../../src/secrets/data_keys.ts";
import { databaseStore } from "../../src/secrets/store.ts";
import { announce, depart } from "../../src/secrets/instances.ts";
import { type Keyring, KeyringError, newKek } from "../../src/secrets/keyring.ts";
import { at } from "../../src/secrets/places.ts";
import { reencrypt } from "../../src/secrets/reencryption.ts";
import { exchange, othersThan, sealedColumns } from "../../src/secrets/sealed_columns.ts";
import {
  embeddedHouse,
  k1,
  k2,
  keepSecrets,
  type Kept,
  newTenant,
  type Process,
  processOf,
  sealedUnder,
  wrongIn,
} from "./house.ts";

const quick = { batch: 3, settleMs: 40, graceMs: 40 };
const both = `${k1},${k2}`;

/** Tenants with secrets under k1, and k2 promoted. */
async function rotating(tenants = 2, secretsEach = 2) {
  const house = await embeddedHouse();
  const process = processOf(house.database, both);
  const kept = [];
  for (let i = 0; i < tenants; i++) {
    const tenantId = await newTenant(house.admin);
    for (let j = 0; j < secretsEach; j++) {
      kept.push(await keepSecrets(process, tenantId, `canary${i}${j}`));
    }
    await process.vault.ready(process.ctxOf(tenantId));
  }
  await keys.add(process.root, process.keyring, "k2");
  await keys.promote(process.root, process.keyring, "k2");
  return { ...house, process, kept };
}

const rejectsWith = (promise: Promise<unknown>, sentence: RegExp) =>
  assert.rejects(promise, { message: sentence });

Deno.test("reencrypt brings every value and key under the promoted key; the old one retires", async () => {
  await using house = await rotating(3, 3);
  const { process, kept, admin } = house;
  assert.deepEqual(await sealedUnder(admin), { "k1/current": 36 });
  const tenants = [...new Set(kept.map(({ tenantId }) => process.ctxOf(tenantId)))];
  const prints = await Promise.all(tenants.map((ctx) => process.vault.fingerprint(ctx, "x")));
  const versions = () => admin("select id, updated_at from platform_credentials order by id");
  const before = await versions();
  await rejectsWith(
    keys.retire(process.root, "k1"),
    /k1 still wraps 6 data keys: re-encrypt first/,
  );

  const outcome = await reencrypt({ ...process, ...quick });
  assert.deepEqual([outcome.values, outcome.keysMade], [36, 3]);
  assert.deepEqual([outcome.keysDropped, outcome.keysKept], [3, 0]);
  assert.deepEqual([outcome.unreadable, outcome.failures], [0, []]);
  assert.deepEqual(await sealedUnder(admin), { "k2/current": 36 });
  assert.deepEqual(await versions(), before, "a row's version changed though it says the same");

  await keys.retire(process.root, "k1");
  const later = processOf(house.database, k2);
  for (const secrets of kept) assert.deepEqual(await wrongIn(later, secrets), []);
  const printsLater = tenants.map(({ tenantId }) =>
    later.vault.fingerprint(later.ctxOf(tenantId), "x")
  );
  assert.deepEqual(await Promise.all(printsLater), prints);
  const again = await reencrypt({ ...later, ...quick });
  assert.deepEqual([again.values, again.keysMade, again.passes], [0, 0, 1]);
});

Deno.test("reencrypt with dryRun counts what it would do and changes nothing", async () => {
  await using house = await rotating();
  const state = () => house.admin("select id, state, wrapped from data_keys order by id");
  const before = await state();
  const plan = await reencrypt({ ...house.process, ...quick, dryRun: true });
  assert.deepEqual([plan.values, plan.keysMade, plan.keysWrapped], [16, 2, 4]);
  assert.deepEqual(await state(), before);
  assert.deepEqual(await sealedUnder(house.admin), { "k1/current": 16 });
});

/** Ends, as a killed process does: from one of its transactions on, nothing reaches the database. */
function mortal(database: Database, transactions: number, lastIsCommitted: boolean): Database {
  let left = transactions;
  return {
    ...database,
    transaction: async (work, access) => {
      left--;
      if (left < 0 && !(left === -1 && lastIsCommitted)) throw new Error("killed");
      const value = await database.transaction(work, access);
      if (left < 0) throw new Error("killed");
      return value;
    },
  };
}

Deno.test("reencrypt killed at any transaction loses nothing and finishes when started again", async () => {
  for (const lastIsCommitted of [false, true]) {
    await using house = await rotating(2, 1);
    const { process, kept, admin } = house;
    let kills = 0;
    for (let n = 0; n < 200; n++) {
      const doomed = processOf(mortal(house.database, n, lastIsCommitted), both);
      const end = await reencrypt({ ...doomed, ...quick }).catch(() => null);
      for (const secrets of kept) {
        assert.deepEqual(await wrongIn(processOf(house.database, both), secrets), [], `after ${n}`);
      }
      if (end && end.failures.length === 0) break;
      kills++;
    }
    assert.ok(kills > 10, `${kills}`);
    await reencrypt({ ...process, ...quick });
    assert.deepEqual(await sealedUnder(admin), { "k2/current": 8 });
    await keys.retire(process.root, "k1");
    const [row] = await admin("select count(*)::int as keys from data_keys");
    assert.equal(row?.keys, 4, "an old data key was left");
  }
});

Deno.test("reencrypt run twice at once ends as one", async () => {
  await using house = await rotating(3, 2);
  const other = processOf(house.database, both);
  const runs = [reencrypt({ ...house.process, ...quick }), reencrypt({ ...other, ...quick })];
  for (const { failures } of await Promise.all(runs)) assert.deepEqual(failures, []);
  assert.deepEqual(await sealedUnder(house.admin), { "k2/current": 24 });
  for (const secrets of house.kept) assert.deepEqual(await wrongIn(other, secrets), []);
});

Deno.test("reencrypt keeps an old data key for the grace, so late commits stay readable", async () => {
  await using house = await rotating(1, 1);
  const { process, admin } = house;
  const tenantId = house.kept[0]?.tenantId ?? "";
  const slow = processOf(house.database, both); // Has the old key in hand for up to five seconds.
  await slow.vault.seal(slow.ctxOf(tenantId), at(platforms.oauthFlows.code, "x"), "warm");
  const outcome = await reencrypt({ ...process, ...quick, graceMs: 60_000 });
  assert.deepEqual([outcome.keysDropped, outcome.keysKept], [0, 1]);

  const late = await keepSecrets(slow, tenantId, "late");
  assert.deepEqual(await sealedUnder(admin), { "k2/current": 4, "k2/old": 4 });
  assert.deepEqual(await wrongIn(processOf(house.database, k2), late), []);
  const more = await reencrypt({ ...process, ...quick });
  assert.deepEqual([more.values, more.keysDropped], [4, 1]);
  assert.deepEqual(await sealedUnder(admin), { "k2/current": 8 });
  assert.deepEqual(await wrongIn(processOf(house.database, k2), late), []);
});

Deno.test("reencrypt sweeps up what a process still seals under the old key while it runs", async () => {
  await using house = await rotating(2, 1);
  const { process, admin, kept } = house;
  const slow = processOf(house.database, both);
  const tenantId = kept[0]?.tenantId ?? "";
  await slow.vault.seal(slow.ctxOf(tenantId), at(platforms.oauthFlows.code, "x"), "warm");
  let late: Promise<Kept> | undefined;
  const progress = (sofar: { passes: number; tenants: number; keysMade: number }) => {
    if (sofar.keysMade === 2) late ??= keepSecrets(slow, tenantId, "late");
  };
  await reencrypt({ ...process, ...quick, settleMs: 400, progress });
  assert.ok(late);
  assert.deepEqual(await wrongIn(processOf(house.database, k2), await late), []);
  assert.deepEqual(await sealedUnder(admin), { "k2/current": 12 });
});

Deno.test("reencrypt stops when another key is promoted meanwhile", async () => {
  await using house = await rotating(1, 1);
  const three = processOf(house.database, `${both},${newKek("k3")}`);
  await keys.add(three.root, three.keyring, "k3");
  const wrap: Keyring["wrap"] = async (kekId, aad, bytes) => {
    await keys.promote(three.root, three.keyring, "k3");
    return await three.keyring.wrap(kekId, aad, bytes);
  };
  const stale = await reencrypt({ ...three, keyring: { ...three.keyring, wrap }, ...quick });
  assert.match(stale.failures[0]?.message ?? "", /k2 is primary no longer: start again/);
  const rows = await house.admin("select distinct encryption_key_id as k from data_keys");
  assert.deepEqual(rows, [{ k: "k1" }]);
});

Deno.test("exchange leaves a value alone that somebody changed meanwhile", async () => {
  await using house = await rotating(1, 2);
  const { process, admin, kept } = house;
  const ctx = process.ctxOf(kept[0]?.tenantId ?? "");
  const column = { table: "platform_credentials", column: "client_secret" };
  const seen = await othersThan(ctx, column, { keyId: "none", after: null, most: 10 });
  assert.equal(seen.length, 2);
  await admin(`update platform_credentials set client_secret = 'sb1.newer'
    where id = '${seen[0]?.id}'`);
  const pairs = seen.map((value) => ({ ...value, fresh: "sb1.fresh" }));
  assert.equal(await exchange(ctx, column, pairs), 1);
  const rows = await admin("select client_secret::text as s from platform_credentials order by id");
  assert.deepEqual(rows.map(({ s }) => s), ["sb1.newer", "sb1.fresh"]);
});

Deno.test("exchange and othersThan stay in their tenant", async () => {
  await using house = await rotating(2, 1);
  const { process, kept } = house;
  const [mine, theirs] = kept.map(({ tenantId }) => process.ctxOf(tenantId));
  assert.ok(mine && theirs);
  const column = { table: "platform_credentials", column: "client_secret" };
  const seen = await othersThan(theirs, column, { keyId: "none", after: null, most: 10 });
  const pairs = seen.map((value) => ({ ...value, fresh: "sb1.fresh" }));
  assert.equal(seen.length, 1);
  assert.equal(await exchange(mine, column, pairs), 0);
});

Deno.test("reencrypt leaves what it cannot read, says where, and keeps its data key", async () => {
  await using house = await rotating(2, 2);
  const { process, admin, kept } = house;
  const [one, two] = kept;
  assert.ok(one && two);
  await admin(`update platform_credentials a set client_secret = b.client_secret
    from platform_credentials b where a.id = '${one.credentialId}' and b.id = '${two.credentialId}'`);
  const outcome = await reencrypt({ ...process, ...quick });
  assert.equal(outcome.unreadable, 1);
  assert.deepEqual(outcome.examples, [{
    tenantId: one.tenantId,
    table: "platform_credentials",
    column: "client_secret",
    row: one.credentialId,
  }]);
  assert.deepEqual([outcome.values, outcome.keysKept], [15, 1]);
  assert.ok(!JSON.stringify(outcome).includes("canary"));
  await keys.retire(process.root, "k1"); // The data key itself is under k2 already.
});

Deno.test("reencrypt finishes the other tenants when one tenant's key is broken", async () => {
  await using house = await rotating(3, 1);
  const { process, admin, kept } = house;
  const broken = kept[1]?.tenantId;
  await admin(`update data_keys set wrapped = 'broken' where tenant_id = '${broken}'`);
  const { failures } = await reencrypt({ ...process, ...quick });
  assert.deepEqual(failures.map(({ tenantId }) => tenantId), [broken]);
  assert.match(failures[0]?.message ?? "", /k1 does not open a data key/);
  const under = await sealedUnder(admin);
  assert.equal(under["k2/current"], 8);
});

Deno.test("reencrypt refuses with other bytes under the primary key's id", async () => {
  await using house = await rotating(1, 1);
  const wrong = processOf(house.database, `${k1},${newKek("k2")}`);
  await assert.rejects(reencrypt({ ...wrong, ...quick }), KeyringError);
  await assert.rejects(reencrypt({ ...processOf(house.database, k1), ...quick }), KeyringError);
});

Deno.test("sealedColumns finds every sealed column of the schema under the names at() gives", async () => {
  await using house = await embeddedHouse();
  const tables = Object.values({ ...identity, ...machinery, ...platforms });
  const columns = tables.filter((table) => is(table, Table))
    .flatMap((table) => Object.values(getTableColumns(table)))
    .filter((column) => is(column, PgColumn))
    .filter((column) => column.getSQLType() === "sealed")
    .map((column) => at(column, ""));
  const names = columns.map(({ table, column }) => `${table}.${column}`).sort();
  const found = await sealedColumns(processOf(house.database, k1).root);
  assert.deepEqual(found.map(({ table, column }) => `${table}.${column}`).sort(), names);
  assert.ok(names.includes("platform_credentials.client_secret"), names.join());
  assert.throws(() => at(platforms.platformCredentials.clientId, ""), /not a sealed column/);
});

Deno.test("sealedColumns refuses a table it could not rotate", async () => {
  await using house = await embeddedHouse();
  await house.admin("create table stray (secret sealed)");
  await rejectsWith(
    sealedColumns(processOf(house.database, k1).root),
    /stray has a sealed column and no tenant_id and id/,
  );
});

Deno.test("add registers a held key once; the first one ever is primary", async () => {
  await using house = await embeddedHouse();
  const { root, keyring } = processOf(house.database, both);
  assert.equal(await keys.add(root, keyring, "k1"), "primary");
  assert.equal(await keys.add(root, keyring, "k2"), "added");
  assert.equal(await keys.add(root, keyring, "k2"), "added");
  await rejectsWith(keys.add(root, keyring, "k3"), /k3 is not in ENCRYPTION_KEYS/);
  const other = processOf(house.database, `${k1},${newKek("k2")}`);
  await rejectsWith(keys.add(other.root, other.keyring, "k2"), /holds other bytes/);
});

const present = (process: Process, id = crypto.randomUUID()) =>
  announce(process.root, id, process.keyring).then(() => id);

Deno.test("promote refuses until every running instance holds the key with the same bytes", async () => {
  await using house = await embeddedHouse();
  const process = processOf(house.database, both);
  const { root, keyring } = process;
  const promote = () => keys.promote(root, keyring, "k2");
  await keys.add(root, keyring, "k1");
  await rejectsWith(promote(), /k2 is not registered: add it first/);
  await keys.add(root, keyring, "k2");

  await present(process);
  const behind = await present(processOf(house.database, k1));
  const wrong = await present(processOf(house.database, `${k1},${newKek("k2")}`));
  await rejectsWith(
    promote(),
    /^2 of 3 running instances do not hold k2 \(1 hold other bytes under that id\): put it into/,
  );
  await present(process, behind); // Restarted with both keys.
  await rejectsWith(promote(), /^1 of 3 running/);
  await house.admin(`update instances set seen_at = now() - interval '61 s' where id = '${wrong}'`);
  await promote();
  await promote();
  const [first, second] = await keys.status(root, keyring);
  assert.deepEqual([first?.id, first?.state], ["k1", "added"]);
  assert.deepEqual(second, {
    id: "k2",
    state: "primary",
    here: "held",
    dataKeys: 0,
    instances: { holding: 2, live: 2 },
  });
  const trail = await house.admin(
    "select action, diff::text from audit_entries where action like 'encryption_key.%' order by id",
  );
  const actions = trail.map(({ action }) => action);
  assert.deepEqual(actions, ["encryption_key.added", "encryption_key.promoted"]);
});

Deno.test("promote refuses a key this process holds with other bytes, and a retired one", async () => {
  await using house = await embeddedHouse();
  const { root, keyring } = processOf(house.database, both);
  await keys.add(root, keyring, "k1");
  await keys.add(root, keyring, "k2");
  const wrong = processOf(house.database, `${k1},${newKek("k2")}`);
  await rejectsWith(keys.promote(wrong.root, wrong.keyring, "k2"), /holds other bytes/);
  await keys.retire(root, "k2");
  await rejectsWith(keys.promote(root, keyring, "k2"), /k2 is retired: add a key with another id/);
  await rejectsWith(keys.add(root, keyring, "k2"), /k2 is retired/);
});

Deno.test("retire refuses the primary key and one nobody knows", async () => {
  await using house = await embeddedHouse();
  const { root, keyring } = processOf(house.database, k1);
  await keys.add(root, keyring, "k1");
  await rejectsWith(keys.retire(root, "k1"), /k1 is primary: promote another key first/);
  await rejectsWith(keys.retire(root, "k9"), /No such encryption key/);
});

Deno.test("announce refuses a process without the primary key, and depart takes it off", async () => {
  await using house = await rotating(1, 1);
  const id = await present(house.process);
  await rejectsWith(present(processOf(house.database, k1)), /k2 is primary and not in ENCRYPTION_/);
  const wrong = processOf(house.database, `${k1},${newKek("k2")}`);
  await rejectsWith(present(wrong), /other bytes than the registered one/);
  await depart(house.process.root, id);
  assert.deepEqual(await house.admin(`select id from instances where id = '${id}'`), []);
});

Deno.test("databaseStore takes no data key under a key that is primary no longer", async () => {
  await using house = await rotating(1, 1);
  const { ctxOf, keyring } = house.process;
  const tenantId = await newTenant(house.admin);
  const late = await mint(keyring, "k1", { tenantId, purpose: "encrypt" });
  assert.equal(await databaseStore.add(ctxOf(tenantId), late), null);
  const made = await mint(keyring, "k2", { tenantId, purpose: "encrypt" });
  assert.deepEqual(await databaseStore.add(ctxOf(tenantId), made), made);
  const second = await mint(keyring, "k2", { tenantId, purpose: "encrypt" });
  assert.deepEqual(await databaseStore.add(ctxOf(tenantId), second), made);
});

Deno.test("Vault on the database seals and opens inside the caller's transaction", async () => {
  await using house = await rotating(1, 1);
  const { ctxOf, vault } = processOf(house.database, both);
  const ctx = ctxOf(await newTenant(house.admin));
  const spot = at(platforms.oauthFlows.code, "row");
  await rejectsWith(transact(ctx, (ctx) => vault.seal(ctx, spot, "x")), /call ready before/);
  await vault.ready(ctx);
  await transact(ctx, async (ctx) => {
    const cold = processOf(house.database, both).vault;
    const sealed = await cold.seal(ctx, spot, "x");
    assert.equal((await cold.open(ctx, spot, sealed)).reveal(), "x");
    assert.match(await cold.fingerprint(ctx, "x"), /^fp:/);
  });
  await transact(ctx, async () => {
    const cold = processOf(house.database, both).vault;
    await rejectsWith(cold.seal(ctx, spot, "x"), /A transaction is open on this call/);
  });
});

Deno.test("Vault on the database seals and fingerprints at one time in one call", async () => {
  await using house = await rotating(1, 1);
  const { ctxOf, vault } = house.process;
  const ctx = ctxOf(await newTenant(house.admin));
  const spot = at(platforms.oauthFlows.code, "row");
  const [sealed, print] = await Promise.all([
    vault.seal(ctx, spot, "x"),
    vault.fingerprint(ctx, "x"),
  ]);
  assert.match(`${sealed} ${print}`, /^sb1\..* fp:/);
});
