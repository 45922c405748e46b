/** Every policy is needed: with the queries' own predicates out, opening any one of them shows. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { type Battlefield, battlefield, campaign, type Only } from "./campaign.ts";
import { belongsTo, everyones, type Table } from "./catalogue.ts";
import { trpc } from "./doors.ts";
import { example } from "./examples.ts";
import { entries } from "./house.ts";
import { withoutTenantPredicates } from "./tap.ts";

type Policy = { table: string; name: string; command: string; using: string; check: string };

/** Tables no procedure reads or writes by a caller's word yet: only a probe of the rows can tell. */
const unreached: Readonly<Record<string, string>> = {
  cache_epochs: "Written beside a change, read by a definer function; never shown",
  channel_chats: "Held and given back by whoever works a chat off; never shown",
  channel_updates: "Asked for behind a channel, which is hidden by its own policy",
  data_keys: "Read by the vault under the tenant of the call; never shown",
  group_closure: "Asked for behind a group, which is hidden by its own policy",
  group_members: "Asked for behind a group, which is hidden by its own policy",
  idempotency_keys: "Found under the caller's own principal, which another tenant cannot have",
  identity_provider_groups: "Asked for behind a provider, which is hidden by its own policy",
  oauth_flows: "Completed by the person who started it: the user is asked for as well",
  permission_bindings: "Asked for behind a role, which is hidden by its own policy",
  messages: "Asked for behind a conversation, which is hidden by its own policy",
  model_prices: "The verbs refuse every tenant but the root before they ask the database",
  password_resets: "Found by a token of the message, whose hash nobody can guess",
  platform_configs: "The verbs refuse every tenant but the root before they ask the database",
  platforms: "The verbs refuse every tenant but the root before they ask the database",
  quota_counters: "Asked for behind a team, which is hidden by its own policy",
  quota_leases: "Read and written by admission and settlement alone, past every caller's word",
  sso_flows: "Found by a state or a secret, whose hash must fit",
  user_identities: "Found by what the tenant's own provider has signed",
  tenant_closure: "The queries ask the tree; tests/identity/tenants_test.ts asks without them",
  tenants: "The queries ask the tree; tests/identity/tenants_test.ts asks without them",
  recovery_codes: "Asked for by their owner alone, by the owner's id",
  revoked_tokens: "Written by the token's own holder, read by a definer function",
};

const isProof = Deno.env.get("PROVE") === "1";

/** Policies whose opening lets nobody see or change a tenant's rows. */
const harmless: Readonly<Record<string, string>> = {
  "model_prices.catalogue_read": "Open already: prices are everyone's to read",
  "platform_configs.catalogue_read": "Open already: the types' defaults are everyone's to read",
  "platforms.catalogue_read": "Open already: the catalogue is everyone's to read",
  "tenants.tenants_below_change":
    "A row not shown is not found to be changed; a blind change is in tests/identity/tenants_test.ts",
};

async function policies({ h }: Battlefield): Promise<Policy[]> {
  const rows = await h.superuser(
    `select tablename, policyname, cmd, coalesce(qual, '') as using, coalesce(with_check, '') as chk
     from pg_policies where schemaname = 'public' and roles = '{public}' order by 1, 2`,
  );
  return rows.map((row) => ({
    table: String(row.tablename),
    name: String(row.policyname),
    command: String(row.cmd),
    using: String(row.using),
    check: String(row.chk),
  }));
}

const alter = ({ table, name, using, check }: Policy) =>
  `alter policy "${name}" on "${table}"${using && ` using (${using})`}${
    check && ` with check (${check})`
  }`;

/** What another tenant gets at with plain SQL under the service's role: read, changed, planted. */
async function probe(field: Battlefield, table: Table, command: string): Promise<string | null> {
  const { h, ours, theirs } = field;
  const mine = belongsTo(table) ?? "false";
  const as = async (text: string, params: unknown[]) => {
    await h.superuser("begin");
    try {
      await h.superuser("set local role switchboard_service");
      await h.superuser("select set_config('app.tenant_id', $1, true)", [theirs.tenantId]);
      return (await h.superuser(text, params)).length;
    } catch {
      return 0; // Refused: by the policy, or for want of a grant.
    } finally {
      await h.superuser("rollback");
    }
  };
  const [key = "id"] = table.primaryKey.toReversed();
  const columns = table.columns.map(({ name }) => `"${name}"`).join(", ");
  const [row] = await h.superuser(`select * from "${table.name}" where ${mine} limit 1`, [
    ours.tenantId,
  ]);
  const seen = await as(`select 1 from "${table.name}" where ${mine}`, [ours.tenantId]);
  const changed = await as(
    `update "${table.name}" set "${key}" = "${key}" where ${mine} returning 1`,
    [ours.tenantId],
  );
  // A row of theirs may not be put into our tenant either.
  const planted = command === "SELECT" || !row ? 0 : await as(
    `insert into "${table.name}" (${columns}) select ${columns}
     from jsonb_populate_record(null::"${table.name}", $1::jsonb) on conflict do nothing returning 1`,
    [JSON.stringify({ ...row, ...fresh(table, row) })],
  );
  const found = [seen && "seen", changed && "changed", planted && "planted"].filter(Boolean);
  return found.length > 0 ? found.join(", ") : null;
}

/** A new key and new values where they must be unique. */
const fresh = ({ columns, links }: Table, row: Record<string, unknown>) =>
  Object.fromEntries(
    columns.filter(({ name }) =>
      row[name] !== null && name !== "tenant_id" && name !== "parent_id" &&
      !links.some((link) => link.columns.includes(name))
    ).flatMap(({ name, type }) =>
      type === "uuid" || type === "text" && name !== "state" &&
          name !== "reach" && name !== "purpose"
        ? [[name, v7()]]
        : []
    ),
  );

const field = await battlefield();
field.h.tap.rewrite = withoutTenantPredicates;
const table = (name: string) => field.h.tables.find((table) => table.name === name);

/** The attacks that reach rows: by id and in lists. */
const reaching = (way: string) => way === "our call over tRPC" || way.startsWith("our id as");

/** Which procedures ask for or write a table, found out by listening to one call of each. */
async function touching(name: string): Promise<Set<string>> {
  const { h, ours } = field;
  if (touched.size === 0) {
    for (const entry of entries) {
      const { input, as } = await example(h, ours, entry.path);
      h.tap.heard = [];
      h.tap.listening = true;
      const { url, init } = trpc(entry, input);
      await (await h.w.request(url, init, as)).body?.cancel();
      h.tap.listening = false;
      touched.set(entry.path, h.tap.heard.map(({ text }) => text).join("\n"));
    }
  }
  const isNamed = new RegExp(`\\b${name}\\b`);
  return new Set([...touched].filter(([, text]) => isNamed.test(text)).map(([path]) => path));
}
const touched = new Map<string, string>();

Deno.test("neither the probe nor the attacks find anything while every policy stands", async () => {
  for (const { table: name, command } of await policies(field)) {
    const there = table(name);
    if (there && !everyones.has(name)) assert.equal(await probe(field, there, command), null, name);
  }
  const some = isProof
    ? /^identity\.(users|apiKeys)\./
    : /^identity\.(users|apiKeys)\.(get|update)$/;
  const entry = ({ path }: { path: string }) => some.test(path);
  assert.deepEqual(await breaches({ entry, way: reaching, isShort: true }), []);
});

/** What a short campaign finds; that ours cannot even do their own work is a find too. */
async function breaches(only: Only): Promise<string[]> {
  try {
    return (await campaign(field, only)).breaches;
  } catch (error) {
    return [`Our own call fails: ${error}`];
  }
}

Deno.test("every policy is missed when it is opened", async () => {
  for (const policy of await policies(field)) {
    const { table: name } = policy;
    const label = `${name}.${policy.name}`;
    if (harmless[label]) continue;
    const open = { ...policy, using: policy.using && "true", check: policy.check && "true" };
    await field.h.superuser(alter(open));
    const there = table(name);
    const probed = there && await probe(field, there, policy.command);
    const paths = await touching(name);
    const entry = ({ path }: { path: string }) => paths.has(path);
    const only = { entry, way: reaching, isShort: true };
    const noticed = name in unreached ? [] : await breaches(only);
    await field.h.superuser(alter(policy));
    assert.ok(probed, `${label} open: nothing of ours was seen. What is it for?`);
    assert.ok(name in unreached || noticed.length > 0, `${label} open: no attack noticed it`);
    console.log(`policy ${label} open: ${probed}; ${noticed[0]?.slice(0, 60) ?? "-"}`);
  }
});

Deno.test("the lists of this test name only what is there", async () => {
  const all = await policies(field);
  const labels = all.map(({ table, name }) => `${table}.${name}`);
  assert.deepEqual(Object.keys(harmless).filter((label) => !labels.includes(label)), []);
  assert.deepEqual(Object.keys(unreached).filter((name) => !table(name)), []);
  await field.h.close();
});
