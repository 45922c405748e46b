/** The tree of tenants stays a tree, and what is kept of it true, however many change it at once. */
import assert from "node:assert/strict";
import fc from "fast-check";
import connect from "postgres";
import { ROOT_TENANT } from "../../src/topics.ts";
import { until } from "../db/house.ts";
import { actingIn, bind, somebody } from "../identity/bound.ts";
import { type Home, home } from "../identity/house.ts";
import { said } from "../identity/said.ts";
import { treeFaults } from "../identity/tree.ts";
import { onServer, type Server } from "../identity/on_server.ts";

/** Processes of one installation, each with connections of its own. */
const PROCESSES = 3;
const ROUNDS = Deno.env.get("PROVE") ? 100 : 10;
const STORM = Deno.env.get("PROVE") ? 2_000 : 200;

let server: Server;
let homes: Home[];
let close = () => Promise.resolve();

Deno.test.beforeAll(async () => {
  server = await onServer();
  homes = [];
  for (let n = 0; n < PROCESSES; n++) homes.push(await home(server.ground(8)));
  close = async () => {
    for (const { w } of homes) await w.close();
    await server.close();
  };
});
Deno.test.afterAll(() => close());

function homeOf(n: number): Home {
  const h = homes[n % PROCESSES];
  assert.ok(h);
  return h;
}
/** The procedures of tenants in one of the processes, called by an operator. */
function tenantsOf(n: number) {
  const { w } = homeOf(n);
  return w.as(w.operator).identity.tenants;
}

let named = 0;
const made = async (parentId = ROOT_TENANT) =>
  (await tenantsOf(0).create({ name: `Tenant ${named++}`, parentId })).id;
const threeMade = async (): Promise<[string, string, string]> => [
  await made(),
  await made(),
  await made(),
];

/**
 * Does `first` in a transaction and keeps it open until all the calls wait for a lock it took, then
 * commits; what each call came to, sorted.
 */
async function after(first: string[], calls: (() => Promise<unknown>)[]): Promise<string[]> {
  const latch = connect(server.adminUrl, { max: 1, onnotice: () => {} });
  let answers: Promise<string[]> | undefined;
  await latch.begin(async (sql) => {
    for (const statement of first) await sql.unsafe(statement);
    answers = Promise.all(calls.map((call) => said(call())));
    await until(
      async () =>
        await server.count(`select count(*) from pg_stat_activity
          where datname = current_database() and wait_event = 'advisory'`) === calls.length,
      `${calls.length} callers wait`,
    );
  });
  await latch.end();
  assert.ok(answers);
  return (await answers).sort();
}

const together = (calls: (() => Promise<unknown>)[]) => after(["select lock_tree()"], calls);
const assertTree = async () => assert.deepEqual(await treeFaults(server.admin), []);

Deno.test("move lets one of two win that together would make a circle, always", async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const [a, b] = await threeMade();
    const answers = await together([
      () => tenantsOf(1).move({ id: a, parentId: b }),
      () => tenantsOf(2).move({ id: b, parentId: a }),
    ]);
    assert.deepEqual(answers, ["done", "tenant.cycle"]);
  }
  await assertTree();
});

Deno.test("move lets two of three win that together would make a circle", async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const [a, b, c] = await threeMade();
    const answers = await together([
      () => tenantsOf(0).move({ id: a, parentId: b }),
      () => tenantsOf(1).move({ id: b, parentId: c }),
      () => tenantsOf(2).move({ id: c, parentId: a }),
    ]);
    assert.deepEqual(answers, ["done", "done", "tenant.cycle"]);
  }
  await assertTree();
});

Deno.test("create below a tenant that is moved and suspended at that moment ends consistent", async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const [above, id, elsewhere] = await threeMade();
    const parentId = await made(id);
    const answers = await together([
      () => tenantsOf(0).create({ name: "Late", parentId }),
      () => tenantsOf(1).move({ id, parentId: above }),
      () => tenantsOf(2).create({ name: "Later", parentId: id }),
      () => tenantsOf(1).suspend({ id: elsewhere }),
      () => tenantsOf(2).move({ id: elsewhere, parentId: id }),
      () => tenantsOf(0).suspend({ id: parentId }),
    ]);
    assert.deepEqual(answers.filter((answer) => !/^(done|tenant.not_open)$/.test(answer)), []);
    await assertTree();
  }
});

Deno.test("create waits for its parent to be suspended, and is then refused", async () => {
  const [parentId, beside] = await threeMade();
  const suspend = `update tenants set status = 'suspended' where id = '${parentId}'`;
  const answers = await after(["select lock_tree()", suspend], [
    () => tenantsOf(0).create({ name: "Late", parentId }),
    () => tenantsOf(1).create({ name: "Elsewhere", parentId: beside }),
  ]);
  assert.deepEqual(answers, ["done", "tenant.not_open"]);
});

/** Somebody who may move below `top` and read its audit, with a tenant to move and one to move it to. */
async function moving() {
  const h = homeOf(0);
  const top = await made();
  const [id, parentId, who] = [await made(top), await made(top), await somebody(h, top)];
  await bind(h, who, top, { "tenants.move": "subtree", "audit.read": "subtree" });
  const { move } = h.w.as(await actingIn(h, who, top)).identity.tenants;
  const owner = await somebody(h, parentId);
  const give = (role: string) =>
    `insert into role_bindings (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role)
     values ('${parentId}', gen_random_uuid(), '${owner.id}', '${parentId}', '${role}')`;
  const strip = `update role_bindings set revoked_at = now() where owner_user_id = '${who.id}'`;
  return { give, strip, owner, call: () => move({ id, parentId }) };
}
const changing = "select lock_tree_shared()";

Deno.test("move waits for a role that is being given above the new place, and counts it", async () => {
  const { give, call } = await moving();
  assert.deepEqual(await after([changing, give("owner")], [call]), ["grant.beyond"]);
  const harmless = await moving();
  assert.deepEqual(await after([changing, harmless.give("admin")], [harmless.call]), ["done"]);
});

Deno.test("move waits for its mover to lose a right, and counts that", async () => {
  const { owner, strip, call } = await moving();
  await bind(homeOf(0), owner, owner.home, { "audit.read": "subtree" });
  assert.deepEqual(await after([changing, strip], [call]), ["grant.beyond"]);
  const unharmed = await moving();
  await bind(homeOf(0), unharmed.owner, unharmed.owner.home, { "audit.read": "subtree" });
  assert.deepEqual(await after([changing], [unharmed.call]), ["done"]);
});

const anyone = fc.nat();
const step = fc.record({
  kind: fc.constantFrom(
    ...["create", "create below", "move", "move", "suspend", "activate", "activate"] as const,
    ...["inherit", "stop", "rename"] as const,
  ),
  who: anyone,
  where: anyone,
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One change by one process, of tenants there are by then. */
function change(ids: string[], n: number, { kind, who, where }: Step) {
  const tenants = tenantsOf(n);
  const id = ids[who % ids.length] ?? ROOT_TENANT;
  const parentId = [ROOT_TENANT, ...ids][where % (ids.length + 1)] ?? ROOT_TENANT;
  const under = async (parentId: string) =>
    ids.push((await tenants.create({ name: `Storm ${n}`, parentId })).id);
  const changes: Record<typeof kind, () => Promise<unknown>> = {
    "create": () => under(parentId),
    "create below": () => under(id),
    "move": () => tenants.move({ id, parentId }),
    "suspend": () => tenants.suspend({ id }),
    "activate": () => tenants.activate({ id }),
    "inherit": () => tenants.update({ id, inheritsAccess: true }),
    "stop": () => tenants.update({ id, inheritsAccess: false }),
    "rename": () => tenants.update({ id, name: `Renamed ${n}` }),
  };
  return changes[kind]();
}

Deno.test("a storm of creates, moves, suspensions and barriers leaves what is kept of the tree true", async () => {
  const seed = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);
  const steps = fc.sample(step, { seed, numRuns: STORM });
  const ids = [await made(), await made(), await made(), await made()];
  const seen = new Map<string, number>();
  let next = 0;
  const caller = async () => {
    for (let n = next++; n < steps.length; n = next++) {
      const drawn = steps[n];
      assert.ok(drawn);
      const answer = await said(change(ids, n, drawn));
      seen.set(answer, (seen.get(answer) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 20 }, caller));
  console.log(`storm of ${STORM}, seed ${seed}: ${JSON.stringify(Object.fromEntries(seen))}`);
  const expected = ["done", "tenant.cycle", "tenant.not_open"];
  assert.deepEqual([...seen.keys()].filter((answer) => !expected.includes(answer)), []);
  assert.ok((seen.get("done") ?? 0) > STORM / 4);
  await assertTree();
});

Deno.test("verify lets one of two tenants win that show one name to be theirs at once", async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const name = `name${round}.example`;
    const records: string[][] = [];
    const resolveTxt = () => Promise.resolve(records);
    const claims = await Promise.all([0, 1].map(async (n) => {
      const { w } = homeOf(n);
      const { domains } = w.as(await w.person(await made(), "admin"), { resolveTxt }).identity;
      const domain = await domains.create({ name });
      records.push([domain.txtRecord.value]);
      return { domains, domain };
    }));
    const answers = await after(
      [`select pg_advisory_xact_lock(hashtextextended('${name}', 2))`],
      claims.map(({ domains, domain }) => () => domains.verify({ id: domain.id })),
    );
    assert.deepEqual(answers, ["domain.taken", "done"]);
  }
});
