/** Lists of groups, members and roles read along their indexes, in a tenant with very many of them. */
import assert from "node:assert/strict";
import { Client } from "@neondatabase/serverless";
import connect from "postgres";
import { open } from "../../db/client.ts";
import { neonProxy } from "../stand_ins/neon_proxy.ts";
import { world } from "../kit.ts";
import { house } from "./house.ts";

const ROWS = Deno.env.get("PROVE") ? 1_000_000 : 40_000;
const TENANTS = 20; // The first has half of everything.
const GROUPS = 20_000;
const BELOW = 200; // Groups in the first, each with members of its own.

type Asked = { text: string; values: unknown[] };

/** What the driver is asked while `work` runs. */
async function heard(work: () => Promise<unknown>): Promise<Asked[]> {
  const asked: Asked[] = [];
  const { query } = Client.prototype;
  const listening = function (this: Client, ...said: [{ text?: string }, unknown[]?]): unknown {
    const [{ text }, values = []] = said;
    if (text && /^select/i.test(text) && !text.includes("set_config")) asked.push({ text, values });
    return Reflect.apply(query, this, said);
  };
  Object.assign(Client.prototype, { query: listening });
  try {
    await work();
  } finally {
    Object.assign(Client.prototype, { query });
  }
  return asked;
}

const tenantOf = (n: string) => `(case when ${n} % 2 = 0 then 1 else 1 + ${n} % ${TENANTS} end)`;
/** An id from a number; as SQL. */
const idOf = (n: string) => `('00000000-0000-7000-8001-' || lpad((${n})::text, 12, '0'))::uuid`;
const id = (n: number) => `00000000-0000-7000-8001-${String(n).padStart(12, "0")}`;

/** As the superuser, without triggers and checks of foreign keys: only the planner looks at these rows. */
const seed = `set session_replication_role = replica;
  insert into tenants (id, name) select ${
  idOf("n")
}, 'T' || n from generate_series(1, ${TENANTS}) n;
  insert into tenant_closure (tenant_id, ancestor_id, depth)
  select id, id, 0 from tenants where name like 'T%';
  insert into groups (tenant_id, id, name)
  select ${idOf(tenantOf("n"))}, ${idOf("n")}, 'G' || n from generate_series(1, ${GROUPS}) n;
  insert into group_closure (tenant_id, group_id, ancestor_id) select tenant_id, id, id from groups;
  insert into group_members (tenant_id, id, group_id, member_group_id)
  select ${idOf("1")}, ${idOf("9000000 + n")}, ${idOf("2")}, ${idOf("2 + 2 * n")}
  from generate_series(1, ${BELOW}) n;
  insert into group_closure (tenant_id, group_id, ancestor_id)
  select ${idOf("1")}, ${idOf("2 + 2 * n")}, ${idOf("2")} from generate_series(1, ${BELOW}) n;
  insert into group_members (tenant_id, id, group_id, owner_user_id)
  select ${idOf(tenantOf("n"))}, ${idOf("n")}, ${idOf(`1 + n % ${GROUPS}`)}, ${idOf("n / 4")}
  from generate_series(1, ${ROWS}) n;
  insert into group_members (tenant_id, id, group_id, owner_user_id)
  select ${idOf("1")}, ${idOf("5000000 + n")}, ${idOf("2")}, ${idOf("4000000 + n")}
  from generate_series(1, ${ROWS / 10}) n;
  insert into roles (tenant_id, id, name)
  select ${idOf(tenantOf("n"))}, ${idOf("n")}, 'R' || n from generate_series(1, ${GROUPS}) n;
  insert into permission_bindings (tenant_id, id, role_id, permission, reach)
  select tenant_id, gen_random_uuid(), id, p, 'tenant' from roles, unnest(array['audit.read', 'events.read']) p;
  insert into role_bindings (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role)
  select ${idOf(tenantOf("n"))}, ${idOf("n")}, ${idOf("n")}, ${idOf(`1 + n % ${TENANTS}`)}, 'member'
  from generate_series(1, ${ROWS}) n;
  insert into role_bindings (tenant_id, id, group_id, applies_to_tenant_id, role_id)
  select ${idOf(tenantOf("n"))}, ${idOf("6000000 + n")}, ${idOf(`1 + n % ${GROUPS}`)},
    ${idOf(tenantOf("n"))}, ${idOf(`1 + n / 7 % ${GROUPS}`)}
  from generate_series(1, ${ROWS / 10}) n on conflict do nothing;
  set session_replication_role = origin;
  analyze;`;

type Plan = Record<string, unknown>;
function nodesOf(plan: Plan): Plan[] {
  const below = Array.isArray(plan.Plans) ? plan.Plans : [];
  return [plan, ...below.flatMap(nodesOf)];
}
/** As the driver takes it with a statement of its own. */
const plain = (value: unknown) => typeof value === "boolean" ? value : String(value);

const looked = (node: Plan) =>
  (Number(node["Actual Rows"]) + Number(node["Rows Removed by Filter"] ?? 0)) *
  Number(node["Actual Loops"] ?? 1);

Deno.test("lists of groups, members, roles and role bindings read along an index", async () => {
  await using home = await house();
  await using neon = neonProxy(home.url);
  const w = await world({
    database: open(home.url, { driver: "neon", webSocketProxy: neon.address }),
  });
  await home.admin(seed);
  const sql = connect(home.url, { max: 1 });
  const [tenantId, userId, groupId] = [id(1), id(50), id(2)];
  const { groups, groupMembers, roles, roleBindings } =
    w.as({ ...w.operator, tenantId, userId }).identity;
  const mine = w.as({
    ...w.operator,
    tenantId,
    userId,
    grants: { "groups.read": "self", "roles.read": "self", "role_bindings.read": "self" },
  }).identity;
  const cursor = id(4_000_000 + ROWS / 20);
  const lists: Record<string, () => Promise<{ [noun: string]: unknown }>> = {
    "groups": () => groups.list({}),
    "groups of a user": () => groups.list({ userId }),
    "groups of a user, transitive": () => groups.list({ userId, transitive: true }),
    "groups in a group": () => groups.list({ parentId: groupId }),
    "groups in a group, transitive": () => groups.list({ parentId: groupId, transitive: true }),
    "one's own groups": () => mine.groups.list({}),
    "members": () => groupMembers.list({ groupId }),
    "members after a cursor": () => groupMembers.list({ groupId, cursor }),
    "members, transitive": () => groupMembers.list({ groupId, transitive: true }),
    "members, transitive after a cursor": () =>
      groupMembers.list({ groupId, transitive: true, cursor }),
    "roles": () => roles.list({}),
    "role bindings": () => roleBindings.list({}),
    "role bindings of a user": () => roleBindings.list({ userId, includeEnded: true }),
    "role bindings of a group": () => roleBindings.list({ groupId: id(3) }),
    "role bindings of a role": () => roleBindings.list({ roleId: id(8) }),
    "role bindings below": () => roleBindings.list({ appliesToTenantId: id(5) }),
    "one's own roles": () => mine.roles.list({}),
    "one's own role bindings": () => mine.roleBindings.list({}),
  };
  const took: string[] = [];
  for (const [name, call] of Object.entries(lists)) {
    const asked = await heard(call);
    assert.ok(asked.length > 0, name);
    let [ms, read] = [0, 0];
    for (const { text, values } of asked) {
      const [row] = await sql.begin(async (sql) => {
        await sql`select set_config('app.tenant_id', ${tenantId}, true)`;
        return await sql.unsafe(`explain (analyze, format json) ${text}`, values.map(plain));
      });
      const [{ Plan: plan, "Execution Time": took }] = row?.["QUERY PLAN"];
      const scans = nodesOf(plan).filter((node) => String(node["Node Type"]).endsWith("Scan"));
      const slow = scans.filter((node) => node["Node Type"] === "Seq Scan" && looked(node) > 0);
      assert.deepEqual(slow, [], `${name} scans a whole table`);
      read += scans.reduce((sum, node) => sum + looked(node), 0);
      ms += Number(took);
    }
    took.push(`${name} ${ms.toFixed(1)} ms, ${read} rows`);
  }
  console.log(`With ${ROWS} memberships and bindings, as the service's role: ${took.join("; ")}`);
  for (const line of took) {
    const read = Number(/(\d+) rows$/.exec(line)?.[1]);
    // Those that name a tenant below have no index in the order of the list: they are sorted.
    const most = line.startsWith("role bindings below") ? ROWS / 15 : 5_000;
    assert.ok(read <= most, line);
  }
  await sql.end();
  await w.close();
});
