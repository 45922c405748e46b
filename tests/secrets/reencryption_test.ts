/** Re-encryption finishes wherever it was stopped, and nothing is unreadable meanwhile. */
import assert from "node:assert/strict";
import { getTableColumns, is, Table } from "drizzle-orm";
import { PgColumn } from "drizzle-orm/pg-core";
import type { Database } from "../../db/client.ts";
import * as signIn from "../../db/schema/sign_in.ts";
import * as identity from "../../db/schema/identity.ts";
import * as machinery from "../../db/schema/machinery.ts";
import * as channels from "../../db/schema/channels.ts";
import * as platforms from "../../db/schema/platforms.ts";
import * as teams from "../../db/schema/teams.ts";
import * as keys from "../../src/secrets/encryption_keys.ts";
import { type Keyring, KeyringError, newKek } from "../../src/secrets/keyring.ts";
import { at } from "../../src/secrets/places.ts";
import { reencrypt } from "../../src/secrets/reencryption.ts";
import { exchange, othersThan, sealedColumns } from "../../src/secrets/sealed_columns.ts";
import { databaseStore } from "../../src/secrets/store.ts";
import { vault } from "../../src/secrets/vault.ts";
import {
  both,
  k1,
  k2,
  keepSecrets,
  type Kept,
  plainHouse,
  type Process,
  processOf,
  rejectsWith,
  rotating,
  sealedUnder,
  wrongIn,
} from "./house.ts";

const quick = { batch: 3, settleMs: 40, graceMs: 40 };

Deno.test("reencrypt brings every value and key under the promoted key; the old one retires", async () => {
  await using house = await rotating(3, 3);
  const { process, kept, admin } = house;
  assert.deepEqual(await sealedUnder(admin), { "k1/current": 36 });
  const printsBy = ({ ctxOf, vault }: Process) =>
    Promise.all(house.tenants.map((tenantId) => vault.fingerprint(ctxOf(tenantId), "x")));
  const prints = await printsBy(process);
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
  assert.deepEqual(await printsBy(later), prints);
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

/** Ends as a killed process does: from one transaction on, nothing reaches the database. */
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

/** A process whose clock stands: it goes on sealing under the data key it has seen. */
function standing(database: Database): Process {
  const process = processOf(database, both);
  const { keyring } = process;
  return { ...process, vault: vault({ store: databaseStore, keyring, now: () => 0 }) };
}

Deno.test("reencrypt keeps an old data key for the grace, so late commits stay readable", async () => {
  await using house = await rotating(1, 1);
  const { process, admin } = house;
  const tenantId = house.kept[0]?.tenantId ?? "";
  const slow = standing(house.database);
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
  for (const secretsEach of [0, 1]) {
    await using house = await rotating(2, secretsEach);
    const { admin, tenants } = house;
    const slow = standing(house.database);
    const [tenantId = ""] = tenants;
    await slow.vault.seal(slow.ctxOf(tenantId), at(platforms.oauthFlows.code, "x"), "warm");
    let late: Promise<Kept> | undefined;
    // It is committed within the time there is for that, however long this machine takes.
    const query: Database["query"] = async (...asked) => {
      await late;
      return await house.database.query(...asked);
    };
    const process = processOf({ ...house.database, query }, both);
    const progress = ({ keysMade }: { keysMade: number }) => {
      if (keysMade === 2) late ??= keepSecrets(slow, tenantId, "late");
    };
    await reencrypt({ ...process, ...quick, settleMs: 400, progress });
    assert.ok(late);
    assert.deepEqual(await wrongIn(processOf(house.database, k2), await late), []);
    assert.deepEqual(await sealedUnder(admin), { "k2/current": 8 * secretsEach + 4 });
  }
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
    from platform_credentials b
    where a.id = '${one.credentialId}' and b.id = '${two.credentialId}'`);
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
  await using house = await plainHouse();
  const tables = Object.values({
    ...identity,
    ...signIn,
    ...machinery,
    ...platforms,
    ...teams,
    ...channels,
  });
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
  await using house = await plainHouse();
  await house.admin("create table stray (secret sealed)");
  await rejectsWith(
    sealedColumns(processOf(house.database, k1).root),
    /stray has a sealed column and no tenant_id and id/,
  );
});
