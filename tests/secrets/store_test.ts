/** Data keys in the database: one is current, wrapped by the primary key. */
import assert from "node:assert/strict";
import * as platforms from "../../db/schema/platforms.ts";
import { transact } from "../../src/context.ts";
import { mint } from "../../src/secrets/data_keys.ts";
import { databaseStore } from "../../src/secrets/store.ts";
import { at } from "../../src/secrets/places.ts";
import { both, newTenant, processOf, rejectsWith, rotating } from "./house.ts";

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
