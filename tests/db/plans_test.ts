/** Lists stay quick when tables are large: each is read along an index, in the months it asks for. */
import assert from "node:assert/strict";
import connect from "postgres";
import { open } from "../../db/client.ts";
import { neonProxy } from "../stand_ins/neon_proxy.ts";
import { world } from "../kit.ts";
import { heard, looked, planOf, scansOf, wholeScans } from "./asked.ts";
import { house } from "./house.ts";

const ROWS = Deno.env.get("PROVE") ? 1_000_000 : 20_000;
const TENANTS = 50; // The first has half of everything.
const PLATFORMS = 200;

const tenantOf = (n: string) => `(case when ${n} % 2 = 0 then 1 else 1 + ${n} % ${TENANTS} end)`;
/** A tenant's id from its number, and a UUIDv7 at a moment; both as SQL. */
const idOf = (n: string) => `('00000000-0000-7000-8001-' || lpad((${n})::text, 12, '0'))::uuid`;
const idAt = (moment: string) =>
  `overlay(uuid_floor(${moment})::text placing '7' || substr(gen_random_uuid()::text, 16)
    from 15)::uuid`;

const trail = (table: string, columns: string, values: string) => `
  insert into ${table} (tenant_id, id, ${columns})
  select ${idOf(tenantOf("n"))}, ${idAt(`now() - interval '25 days' * random()`)}, ${values}
  from generate_series(1, ${ROWS}) n;`;

/** As the superuser, without checks of foreign keys: only the planner looks at these rows. */
const seed = `set session_replication_role = replica;
  insert into tenants (id, name) select ${
  idOf("n")
}, 'T' || n from generate_series(1, ${TENANTS}) n;
  insert into platforms (id, name, service_type)
  select ${idOf("n")}, 'P' || n, 'email' from generate_series(1, ${PLATFORMS}) n;
  ${
  trail(
    "audit_entries",
    "actor_type, actor_tenant_id, actor_id, action, subject_type, subject_id, diff, request_id",
    `'user', ${idOf("1")}, ${idOf("n % 500")}, 'thing.' || n % 1000, 'thing', ${idOf("n % 997")},
      '{}', 'r'`,
  )
}
  ${
  trail(
    "events",
    "type, source, subject_id, data",
    `'t.' || n % 1000, '/t', ${idOf("n % 997")}, '{}'`,
  )
}
  insert into platform_credentials (tenant_id, id, platform_id, client_id, client_secret,
    secret_fingerprint)
  select ${idOf("t")}, ${idOf("p")}, ${idOf("p")}, 'c', 'sb1.x', 'fp:'
  from generate_series(1, ${TENANTS}) t, generate_series(1, ${PLATFORMS}) p;
  insert into service_platforms (tenant_id, id, platform_id, service_name, credential_id)
  select tenant_id, id, platform_id, 'P' || right(id::text, 3)::int, id from platform_credentials;
  insert into users (tenant_id, id, email, display_name)
  select ${idOf("t")}, ${idOf("n")}, 'u' || n || '@t' || t || '.example', 'U'
  from generate_series(1, ${TENANTS}) t, generate_series(0, 499) n;
  insert into user_platform_bindings (tenant_id, id, owner_user_id, platform_id, credential_id)
  select ${idOf(tenantOf("n"))}, ${idAt("now() - interval '1 minute' * n")}, ${idOf("n % 500")},
    ${idOf(`1 + n % ${PLATFORMS}`)}, ${idOf("1")} from generate_series(1, 20000) n;
  set session_replication_role = origin;
  analyze;`;

Deno.test("audit.list, events.list, services.list and bindings.list read along an index", async () => {
  await using home = await house();
  await using neon = neonProxy(home.url);
  const w = await world({
    database: open(home.url, { driver: "neon", webSocketProxy: neon.address }),
  });
  await home.admin(seed);
  const sql = connect(home.url, { max: 1 });
  const [tenantId, some] = [
    "00000000-0000-7000-8001-000000000001",
    "00000000-0000-7000-8001-000000000007",
  ];
  const as = w.as({ ...w.operator, tenantId, userId: some });
  const since = new Date(Date.now() - 3600_000);
  const [recent] = await home.admin(
    `select id from audit_entries order by id desc offset 500 limit 1`,
  );
  const cursor = String(recent?.id);
  const lists: Record<string, () => Promise<unknown>> = {
    "audit.list": () => as.audit.list({ limit: 50 }),
    "audit.list after a cursor": () => as.audit.list({ cursor, limit: 50 }),
    "audit.list of an action": () => as.audit.list({ action: "thing.2", limit: 50 }),
    "audit.list of a thing": () => as.audit.list({ subjectId: some, limit: 50 }),
    "audit.list of a person": () => as.audit.list({ actorId: some, limit: 50 }),
    "audit.list since": () => as.audit.list({ since, limit: 50 }),
    "events.list": () => as.events.list({ limit: 50 }),
    "events.list of a type": () => as.events.list({ type: "t.2", limit: 50 }),
    "services.list": () => as.platforms.services.list({ limit: 50 }),
    "services.list of a name": () => as.platforms.services.list({ serviceName: "P7", limit: 50 }),
    "bindings.list": () => as.platforms.bindings.list({ limit: 50 }),
    "bindings.list of a person": () => as.platforms.bindings.list({ userId: some, limit: 50 }),
    "bindings.list of a platform": () =>
      as.platforms.bindings.list({ platformId: some, limit: 50 }),
  };
  const took: string[] = [];
  for (const [name, call] of Object.entries(lists)) {
    const asked = await heard(call);
    assert.equal(asked.length, 1, name);
    for (const query of asked) {
      const { nodes, ms } = await planOf(sql, tenantId, query);
      const scans = scansOf(nodes);
      assert.deepEqual(wholeScans(scans), [], `${name} scans a whole table`);
      const read = scans.reduce((sum, node) => sum + looked(node), 0);
      assert.ok(read <= Math.max(2_000, ROWS / 50), `${name} reads ${read} rows`);
      if (name === "audit.list since") {
        const months = new Set(scans.map((node) => node["Relation Name"]));
        const past = new Date(Date.UTC(since.getUTCFullYear(), since.getUTCMonth() - 1, 1))
          .toISOString().slice(0, 7).replace("-", "_");
        assert.ok(!months.has(`audit_entries_${past}`), "the month before is read");
      }
      took.push(`${name} ${ms.toFixed(2)} ms`);
    }
  }
  console.log(`With ${ROWS} audit entries, as the service's role: ${took.join(", ")}`);
  await sql.end();
  await w.close();
});
