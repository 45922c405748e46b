/** PgBouncer gives each transaction another server connection, and lets nobody in unproven. */
import assert from "node:assert/strict";
import connect from "postgres";
import { hasPgBouncer, pgbouncer } from "./pgbouncer.ts";
import { freshDatabase, postgres } from "./postgres.ts";

Deno.test({
  name: "pgbouncer carries transactions, keeps no session and checks passwords",
  ignore: !hasPgBouncer(),
  fn: async () => {
    await using server = await postgres();
    await using database = await freshDatabase(server);
    await using pooler = await pgbouncer(database.ownerUrl, { poolSize: 1 });
    const sql = connect(pooler.url, { max: 2, prepare: false });
    const tenant = () => sql`select current_setting('app.tenant_id', true) as id`;
    await sql.begin(async (inside) => {
      await inside`select set_config('app.tenant_id', 'acme', true)`;
      const [row] = await inside`select current_setting('app.tenant_id', true) as id`;
      assert.equal(row?.["id"], "acme");
    });
    assert.equal((await tenant())[0]?.["id"], "");
    const pids = await Promise.all([1, 2, 3].map(() => sql`select pg_backend_pid() as pid`));
    assert.equal(new Set(pids.map(([row]) => row?.["pid"])).size, 1);
    await sql.end();

    const wrong = new URL(pooler.url);
    wrong.password = "wrong";
    await assert.rejects(connect(wrong.href, { max: 1 })`select 1`, { code: "08P01" });
    const stranger = connect(pooler.through(server.url), { max: 1 });
    await assert.rejects(stranger`select 1`, { code: "08P01" });
  },
});
