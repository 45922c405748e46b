/** Key-encryption keys come and go in one order: added, distributed, promoted, retired. */
import assert from "node:assert/strict";
import * as keys from "../../src/secrets/encryption_keys.ts";
import { announce, depart } from "../../src/secrets/instances.ts";
import { newKek } from "../../src/secrets/keyring.ts";
import { both, k1, plainHouse, type Process, processOf, rejectsWith, rotating } from "./house.ts";

Deno.test("add registers a held key once; the first one ever is primary", async () => {
  await using house = await plainHouse();
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
  await using house = await plainHouse();
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
  await using house = await plainHouse();
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
  await using house = await plainHouse();
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
