/** check, list and explain against a naive walk over random graphs: they agree, and the walk finds planted mistakes. */
import assert from "node:assert/strict";
import type { Permission } from "../../src/access/permissions.ts";
import { standings } from "../../src/access/standings.ts";
import { frame, type TenantCtx } from "../../src/context.ts";
import * as access from "../../src/identity/access.ts";
import { explain } from "../../src/identity/explanations.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { freshDatabase } from "../kit.ts";
import { type Home, home } from "./house.ts";
import { type Facts, mayEnter, pathsOf, reachOf, stepsBetween } from "./oracle.ts";
import { asked, type Dice, dice, graph, happenings, written } from "./random_access.ts";

const isProof = Deno.env.get("PROVE") === "1";
const CASES = isProof ? 10_000 : 300;
const QUESTIONS = 20; // Of each graph, before and again after things have happened to it.
const SEED = Number(Deno.env.get("SEED") ?? Math.floor(Math.random() * 2 ** 31));

const database = await freshDatabase();
const h = await home({ database, sql: database.admin });
Deno.test.afterAll(() => h.w.close());

/** Somebody at the top who may ask everything, remembering nothing of earlier questions. */
function asker({ w }: Home): TenantCtx {
  const { database, log, now } = w.process;
  const actor = { type: "user" as const, tenantId: ROOT_TENANT, id: w.operator.userId };
  return {
    ...w.ctx(w.operator),
    standings: standings({
      database,
      epochOf: () => 0,
      now: () => now().getTime(),
      unknown: (what) => log("warn", what),
    }),
    tenantId: ROOT_TENANT,
    actor,
    userId: w.operator.userId,
    reach: "global",
    frame: frame(),
  };
}

type Question = { user: string; home: string; tenant: string; permission: Permission };

/** All pages of a list. */
async function listed(ctx: TenantCtx, input: Partial<Parameters<typeof access.list>[1]>) {
  const all: Awaited<ReturnType<typeof access.list>>["grants"] = [];
  const { limit = 3 } = input;
  let cursor: string | undefined;
  for (let pages = 0; pages < 100; pages++) {
    const page = await access.list(ctx, { ...input, limit, ...cursor ? { cursor } : {} });
    assert.ok(page.grants.length <= limit);
    all.push(...page.grants);
    if (page.nextCursor === null) return all;
    cursor = page.nextCursor;
  }
  throw new Error("The list does not end");
}

/** What a naive walk says that differs from what the service says; nothing, if all is well. */
type Told = string[];
const same = (what: string, ours: unknown, theirs: unknown): Told => {
  const [a, b] = [JSON.stringify(ours), JSON.stringify(theirs)];
  return a === b ? [] : [`${what}: the service says ${a}, the walk ${b}`];
};

async function checkAgrees(ctx: TenantCtx, f: Facts, q: Question): Promise<Told> {
  const reach = reachOf(f, q.user, q.tenant, q.permission);
  const { permission, user: userId, home: homeTenantId, tenant: tenantId } = q;
  const answer = await access.check(ctx, { permission, userId, homeTenantId, tenantId });
  return same("check", answer, { allowed: reach !== null, reach });
}

async function whatAgrees(ctx: TenantCtx, f: Facts, q: Question): Promise<Told> {
  const { user: userId, home: homeTenantId, tenant: tenantId } = q;
  const all = await listed(ctx, { userId, homeTenantId, tenantId, limit: 100 });
  const ours = all.filter(({ permission }) => asked.some((one) => one === permission))
    .map(({ permission, reach }) => `${permission} ${reach}`).sort();
  const theirs = asked.flatMap((permission) => {
    const reach = reachOf(f, q.user, q.tenant, permission);
    return reach ? [`${permission} ${reach}`] : [];
  }).sort();
  return same("list of a user", ours, theirs);
}

async function whoAgrees(ctx: TenantCtx, f: Facts, q: Question): Promise<Told> {
  const all = await listed(ctx, { permission: q.permission, tenantId: q.tenant });
  const ours = all.map(({ userId, homeTenantId, reach }) => `${userId} ${homeTenantId} ${reach}`);
  const theirs = f.users.flatMap(({ id, home }) => {
    const reach = reachOf(f, id, q.tenant, q.permission);
    return reach ? [`${id} ${home} ${reach}`] : [];
  }).sort();
  return same("list of a permission", ours, theirs);
}

async function whereAgrees(ctx: TenantCtx, f: Facts, q: Question): Promise<Told> {
  const { permission, user: userId, home: homeTenantId } = q;
  const all = await listed(ctx, { permission, userId, homeTenantId });
  const ours = all.map(({ tenantId, reach }) => `${tenantId} ${reach}`);
  const theirs = f.tenants.flatMap(({ id }) => {
    const reach = reachOf(f, q.user, id, q.permission);
    return reach ? [`${id} ${reach}`] : [];
  }).sort();
  return same("list of places", ours, theirs);
}

type Explained = Awaited<ReturnType<typeof explain>>;
type Because = Explained["because"][number];

/** Whether a chain is one of the graph's: a member, in each next group, bound, and down to the tenant. */
function chainOf(f: Facts, q: Question, { bindingId, groups, tenants }: Because): string {
  const ids = groups.map(({ id }) => id ?? "");
  const binding = f.bindings.find(({ id }) => id === bindingId);
  const isMember = ids.length === 0 ||
    f.members.some(({ user, group }) => user === q.user && group === ids[0]);
  const isNested = ids.every((id, i) =>
    i === 0 || f.nestings.some(({ group, member }) => group === id && member === ids[i - 1])
  );
  const isShortest = ids.length === 0 ||
    stepsBetween(f, ids[0] ?? "", ids.at(-1) ?? "") === ids.length;
  const isBound = binding ? (binding.group ?? undefined) === ids.at(-1) : ids.length === 0;
  const isDown = tenants.every(({ id }, i) =>
    i === 0 || f.tenants.find((one) => one.id === id)?.parent === tenants[i - 1]?.id
  );
  const ends = tenants[0]?.id === (binding?.at ?? q.home) && tenants.at(-1)?.id === q.tenant;
  return JSON.stringify({ isMember, isNested, isShortest, isBound, isDown, ends });
}
const whole = JSON.stringify({
  ...{ isMember: true, isNested: true, isShortest: true, isBound: true, isDown: true, ends: true },
});

async function explainAgrees(ctx: TenantCtx, f: Facts, q: Question): Promise<Told> {
  const { permission, user: userId, home: homeTenantId, tenant: tenantId } = q;
  const it = await explain(ctx, { permission, userId, homeTenantId, tenantId });
  const reach = reachOf(f, q.user, q.tenant, permission);
  const paths = pathsOf(f, q.user, q.tenant, permission);
  const counting = mayEnter(f, q.user, q.tenant) ? paths.filter(({ why }) => why === null) : [];
  return [
    ...same("explain", [it.allowed, it.reach, it.because.length > 0], [
      reach !== null,
      reach,
      reach !== null,
    ]),
    ...same(
      "because",
      it.because.filter(({ bindingId }) => bindingId !== null)
        .map(({ bindingId, groups, reach }) => `${bindingId} ${groups[0]?.id ?? null} ${reach}`)
        .sort(),
      counting.map(({ binding, entered, reach }) => `${binding.id} ${entered} ${reach}`).sort(),
    ),
    ...it.because.flatMap((one) => same("chain", chainOf(f, q, one), whole)),
    ...same(
      "missing",
      it.missing.filter(({ bindingId }) => bindingId !== null)
        .map(({ bindingId, why }) => `${bindingId} ${why}`).sort(),
      paths.filter(({ why }) => why !== null).map(({ binding, why }) => `${binding.id} ${why}`)
        .sort(),
    ),
    ...same("a refusal without a reason", it.allowed || it.missing.length > 0, true),
  ];
}

const agree = [checkAgrees, whatAgrees, whoAgrees, whereAgrees, explainAgrees];

function anyQuestion(d: Dice, f: Facts): Question {
  const { id: user, home } = d.one(f.users);
  return { user, home, tenant: d.one(f.tenants).id, permission: d.one(asked) };
}

/** Most that could be asked is refused: half of what is asked is tried to be something else. */
function question(d: Dice, f: Facts): Question {
  let q = anyQuestion(d, f);
  for (let tries = d.is(0.5) ? 12 : 0; tries > 0; tries--) {
    if (reachOf(f, q.user, q.tenant, q.permission)) return q;
    q = anyQuestion(d, f);
  }
  return q;
}

async function questions(d: Dice, f: Facts, told: Told, label: string): Promise<number> {
  const ctx = asker(h);
  let allowed = 0;
  for (let n = 0; n < QUESTIONS && told.length === 0; n++) {
    const q = question(d, f);
    for (const one of agree) {
      told.push(...(await one(ctx, f, q)).map((text) => `${label}, ${JSON.stringify(q)}: ${text}`));
    }
    if (reachOf(f, q.user, q.tenant, q.permission)) allowed++;
  }
  return allowed;
}

const tables = [
  ...["role_bindings", "permission_bindings", "roles", "group_members", "group_closure", "groups"],
  ...["users", "cache_epochs"],
];
/** Takes a graph away, so that the next does not meet it. */
const clear = () =>
  database.admin(`set session_replication_role = replica;
    ${tables.map((table) => `delete from ${table};`).join(" ")}
    delete from tenant_closure where tenant_id <> '${ROOT_TENANT}';
    delete from tenants where id <> '${ROOT_TENANT}';
    set session_replication_role = origin;`);

type Campaign = { cases: number; graphs: number; allowed: number; told: Told };

/** Asks until something differs. */
async function campaign(seed: number, cases: number): Promise<Campaign> {
  const all: Campaign = { cases: 0, graphs: 0, allowed: 0, told: [] };
  for (; all.cases < cases && all.told.length === 0; all.graphs++) {
    await clear();
    const d = dice(seed + all.graphs);
    const f = graph(d, ROOT_TENANT, h.clock.ms);
    const label = `SEED=${seed} graph ${all.graphs}`;
    await database.admin(written(f).join(";\n"));
    all.allowed += await questions(d, f, all.told, `${label} as made`);
    await database.admin(happenings(d, f).join(";\n"));
    all.allowed += await questions(d, f, all.told, `${label} as it became`);
    all.cases += 2 * QUESTIONS;
  }
  return all;
}

Deno.test("check, list and explain say what a naive walk over the graph says", async () => {
  const { cases, graphs, allowed, told } = await campaign(SEED, CASES);
  console.log(`access oracle: SEED=${SEED}, ${cases} cases, ${graphs} graphs, ${allowed} allowed`);
  assert.deepEqual(told.slice(0, 5), []);
  assert.ok(
    allowed > cases / 20 && allowed < cases * 0.8,
    `${allowed} allowed: ask better questions`,
  );
});

/** Mistakes somebody could make in the database's part: what, in which function, instead of what. */
const mistakes: readonly [string, string, string, string][] = [
  ["a tenant's end of inheritance is not heeded", "access_rows", "here.level - c.depth >=", "0 <="],
  ["a tenant counts as its child", "access_rows", "c.depth = 0 or here", "c.depth <= 1 or here"],
  [
    "a membership does not end",
    "access_rows",
    "least(b.ends_at, m.ends_at)",
    "b.ends_at::timestamptz",
  ],
  ["a binding does not end", "access_rows", "b.ends_at::timestamptz as", "null::timestamptz as"],
  [
    "a binding has begun before",
    "access_rows",
    "b.starts_at::timestamptz as",
    "null::timestamptz as",
  ],
  [
    "what is taken back counts",
    "access_rows",
    "owner_user_id = subject and b.revoked_at is null",
    "owner_user_id = subject",
  ],
  ["a home gives beside itself", "access_rows", "and h.ancestor_id = home", ""],
  ["an inactive role counts", "access_rows", "coalesce(r.is_active, false)", "true"],
  [
    "a bound group is not marked",
    "role_bindings_settle",
    "set is_bound = true",
    "set is_bound = is_bound",
  ],
  [
    "a nested group is not marked",
    "group_members_settle",
    "a.ancestor_id, a.is_bound",
    "a.ancestor_id, false",
  ],
  [
    "a group that left lies in it still",
    "group_members_settle",
    "and not exists",
    "and false and not exists",
  ],
  ["a move forgets how far it is", "tenants_settle", "b.depth + 1 + a.depth", "b.depth + a.depth"],
  ["a suspended tenant stays open", "tenants_settle", "is_open = n.is_open", "is_open = t.is_open"],
  ["everybody's is forgotten", "who_may", "where is_everybodys and", "where false and"],
  ["people of groups are forgotten", "who_may", "m.owner_user_id > begins", "false"],
  ["those from above are forgotten", "who_may", "when b.passes then", "when false then"],
  ["operators are forgotten below a stop", "who_may", "then '{global}' end", "then '{}' end"],
  [
    "a page leaves somebody out",
    "who_may",
    "b.owner_user_id limit enough",
    "b.owner_user_id desc limit 1",
  ],
  ["the tenant itself is forgotten", "where_may", "n.is_wide or n.depth = 0", "n.is_wide"],
  ["tenants below are forgotten", "where_may", "where r.is_wide", "where false"],
];

async function define(name: string, change: (text: string) => string) {
  const [row] = await h.sql("select pg_get_functiondef($1::regproc) as text", [name]);
  const text = String(row?.text);
  await database.admin(change(text));
  return () => database.admin(text);
}

Deno.test("the walk finds mistakes planted in the database", async () => {
  const missed: string[] = [];
  const tried = isProof ? mistakes : mistakes.filter((_, i) => (i + SEED) % 3 === 0);
  for (const [what, name, right, wrong] of tried) {
    const undo = await define(name, (text) => {
      assert.ok(text.includes(right), `${name} does not say ${right}`);
      return text.replace(right, wrong);
    });
    // One that the database itself does not bear is found as well.
    const broken = (error: unknown) => ({ told: [`it breaks: ${error}`], cases: "some" });
    const { told, cases } = await campaign(SEED, 20_000).catch(broken);
    await undo();
    if (told.length === 0) missed.push(what);
    else console.log(`${what}: found in ${cases} cases, ${told[0]?.split(": ")[1]}`);
  }
  assert.deepEqual(missed, []);
});
