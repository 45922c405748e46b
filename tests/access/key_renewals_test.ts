/** Keys in use: read again and their use written off the caller's path, many at a time. */
import assert from "node:assert/strict";
import { KEPT_MS } from "../../src/access/known_keys.ts";
import { LATER_MS } from "../../src/batches.ts";
import { until } from "../db/house.ts";
import { minutes } from "../identity/house.ts";
import { keyHouse, passed } from "./key_house.ts";

const { h, process, minted } = await keyHouse();

Deno.test("find renews a key in use ahead of its end, off the caller's path", async () => {
  const { key } = await minted();
  const { find, count, gate } = process();
  await find(null, key);
  h.clock.ms += KEPT_MS / 2;
  await find(null, key); // Knows the epoch again, and will renew.
  assert.equal(count.queries, 1);
  await until(() => count.read === 2, "renewed");
  h.clock.ms += KEPT_MS / 2;
  assert.ok(await find(null, key));
  await until(() => count.read === 3, "renewed again");
  const held = Promise.withResolvers<void>();
  gate.hold = held.promise;
  h.clock.ms += 2_000;
  assert.ok(await find(null, key)); // Answered although every query hangs.
  held.resolve();
});

Deno.test("find renews all keys that are due in one query, and writes their uses in one", async () => {
  const { owner, id, key } = await minted();
  const create = () => h.w.as(owner).identity.apiKeys.create({ name: "k", scopes: ["audit.read"] });
  const keys = await Promise.all(Array.from({ length: 20 }, create));
  const { find, count } = process();
  const all = () => Promise.all([key, ...keys.map(({ key }) => key)].map((key) => find(null, key)));
  const uses = async () => {
    const rows = await h.sql(
      "select distinct extract(epoch from last_used_at) * 1000 as ms from api_keys where tenant_id = $1",
      [owner.tenantId],
    );
    return rows.map(({ ms }) => Number(ms));
  };
  const first = h.clock.ms;
  await all(); // Rows are read one after another: uses may be written in several goes.
  await until(async () => String(await uses()) === String(first), "their uses are written");
  await h.sql("update api_keys set revoked_at = now() where id = $1", [id]);
  h.clock.ms += KEPT_MS - 1; // From here all of them come in one moment.
  const before = { ...count };
  assert.ok((await all()).every((principal) => principal !== null));
  await until(() => count.read > before.read, "read again");
  const [revoked, ...others] = await all();
  assert.equal(revoked, null);
  assert.ok(others.every((principal) => principal?.grants["audit.read"]));
  assert.deepEqual(await uses(), [first]);
  h.clock.ms++;
  await all();
  await until(async () => (await uses()).includes(h.clock.ms), "their uses are written again");
  assert.deepEqual((await uses()).toSorted(), [first, h.clock.ms]);
  assert.deepEqual(
    [count.queries - before.queries, count.writes - before.writes],
    [1, 1],
  );
});

Deno.test("find writes the last use once a minute, whoever sees the key, and makes no new version of it", async () => {
  const { key, id } = await minted();
  const [one, two] = [process(), process()];
  const kept = async () => {
    const [row] = await h.sql("select last_used_at, updated_at from api_keys where id = $1", [id]);
    return [row?.last_used_at, row?.updated_at].map((at) =>
      at instanceof Date ? at.getTime() : null
    );
  };
  const [, version] = await kept();
  await one.find(null, key);
  await until(async () => (await kept())[0] === h.clock.ms, "written");
  const first = h.clock.ms;
  for (let second = 0; second < 59; second += 6) {
    h.clock.ms = first + second * 1_000;
    await Promise.all([one.find(null, key), two.find(null, key)]);
  }
  await passed(2 * LATER_MS);
  assert.deepEqual(await kept(), [first, version]);
  assert.deepEqual([one.count.writes, two.count.writes], [1, 0]);
  h.clock.ms = first + minutes(1);
  await two.find(null, key);
  await until(async () => (await kept())[0] === h.clock.ms, "written again");
  assert.equal((await kept())[1], version);
});
