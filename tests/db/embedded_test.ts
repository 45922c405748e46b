/** The embedded database of a laptop does what the real ones do, as the role the service has there. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { freshEmbedded } from "../databases.ts";
import { behaves } from "./behaviours.ts";

behaves("embedded", freshEmbedded);

Deno.test("embedded puts the service's role on, in which a tenant's rows cannot be passed", async () => {
  const database = await freshEmbedded();
  const who = sql`select current_user::text as name`;
  const [outside] = await database.query(who);
  assert.equal(outside?.name, "switchboard_service");
  await assert.rejects(database.query(sql`alter table users disable row level security`));
  await assert.rejects(database.query(sql`select * from idempotency_keys_of_all`));
  await assert.rejects(database.query(sql`delete from audit_entries`));
  await database.close();
});
