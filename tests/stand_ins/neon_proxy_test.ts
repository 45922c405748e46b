/** Neon's own driver reaches a real Postgres through the WebSocket stand-in. */
import assert from "node:assert/strict";
import { neonConfig, Pool } from "@neondatabase/serverless";
import { neonProxy } from "./neon_proxy.ts";
import { postgres } from "./postgres.ts";

function configure(wsProxy: (host: string, port: number | string) => string) {
  neonConfig.wsProxy = wsProxy;
  neonConfig.useSecureWebSocket = false;
  neonConfig.pipelineConnect = false;
  neonConfig.pipelineTLS = false;
}

Deno.test("neonProxy carries transactions of Neon's driver to Postgres", async () => {
  await using server = await postgres();
  await using proxy = neonProxy(server.url);
  configure(proxy.wsProxy);
  const pool = new Pool({ connectionString: server.url, max: 2 });
  pool.on("error", () => {});
  const [one, two] = [await pool.connect(), await pool.connect()];
  await one.query("create temporary table seen (word text)");
  await one.query("begin");
  await one.query("insert into seen values ($1)", ["x".repeat(100_000)]);
  assert.equal((await one.query("select length(word) from seen")).rows[0].length, 100_000);
  await one.query("rollback");
  assert.equal((await one.query("select * from seen")).rowCount, 0);
  assert.equal(proxy.openConnections, 2);
  two.release();

  one.on("error", () => {});
  const cut = assert.rejects(one.query("select pg_sleep(30)"), /terminated unexpectedly/);
  proxy.dropConnections();
  await cut;
  one.release(true);
  assert.equal((await pool.query("select 41 + 1 as sum")).rows[0].sum, 42);
  await pool.end();
});

Deno.test("neonProxy serves no other address", async () => {
  await using proxy = neonProxy("postgres://nobody@127.0.0.1:1/none");
  const answer = await fetch(`http://${proxy.wsProxy("127.0.0.1", 22)}`);
  assert.equal(answer.status, 403);
  await answer.body?.cancel();
});
