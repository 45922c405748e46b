/** Chains of tenants and of groups, of every length that counts, among thousands of other people. */
import { v7 } from "uuid";
import type { Whose } from "../../src/access/standings.ts";
import { ROOT_TENANT } from "../../src/topics.ts";

export const DEPTHS = [1, 10, 100, 1_000] as const;
export const KINDS = ["tenants", "groups"] as const;
export type Depth = typeof DEPTHS[number];
export type Kind = typeof KINDS[number];

/** People who hold one role that far up, by what lies between them and where it counts. */
export type Depths = Record<Kind, Record<Depth, Whose[]>>;

/** Runs one statement; as the superuser or as the service, whose tenant each statement sets itself. */
export type Run = (text: string) => Promise<unknown>;

const NOISE_TENANTS = Deno.env.get("PROVE") === "1" ? 100 : 20;
const PEOPLE = 200; // In each tenant that somebody lives in.
const STEP = 100; // Links a statement makes, so that none runs into a time limit.

const as = (tenant: string) => `perform set_config('app.tenant_id', ${tenant}, true);`;
const block = (body: string) => `do $$ declare n uuid; p uuid; begin ${body} end $$`;

/** People with a role each at home, three groups in a row, and a role bound to the last. */
const people = (tenant: string, count = PEOPLE) =>
  block(`${as(`'${tenant}'`)}
    insert into users (tenant_id, id, email, display_name)
    select '${tenant}', gen_random_uuid(), gen_random_uuid() || '@people.example', 'Somebody'
    from generate_series(1, ${count});
    insert into role_bindings (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role)
    select '${tenant}', gen_random_uuid(), u.id, '${tenant}', 'member'
    from users u where u.tenant_id = '${tenant}';
    for i in 1..3 loop
      n := gen_random_uuid();
      insert into groups (tenant_id, id, name) values ('${tenant}', n, 'Noise ' || n);
      insert into group_members (tenant_id, id, group_id, member_group_id)
      select '${tenant}', gen_random_uuid(), n, p where p is not null;
      insert into group_members (tenant_id, id, group_id, owner_user_id)
      select '${tenant}', gen_random_uuid(), n, u.id from users u where u.tenant_id = '${tenant}'
      order by u.id limit 20;
      p := n;
    end loop;
    insert into role_bindings (tenant_id, id, group_id, applies_to_tenant_id, system_role)
    values ('${tenant}', gen_random_uuid(), p, '${tenant}', 'auditor');`);

const tenant = (id: string, parent: string) =>
  block(`${as(`'${parent}'`)}
    insert into tenants (id, name, parent_id) values ('${id}', 'Of a chain', '${parent}');`);

/** A tenant with that many people. */
export async function peopled(run: Run, count: number): Promise<string> {
  const id = v7();
  await run(tenant(id, ROOT_TENANT));
  await run(people(id, count));
  return id;
}

/** Makes `links` more tenants below `from`; answers the last. */
async function chainOfTenants(run: Run, from: string, links: number): Promise<string> {
  let last = from;
  for (let made = 0; made < links; made += STEP) {
    const ids = Array.from({ length: Math.min(STEP, links - made) }, () => v7());
    await run(block(`p := '${last}';
      foreach n in array array['${ids.join("', '")}']::uuid[] loop
        ${as("p::text")}
        insert into tenants (id, name, parent_id) values (n, 'Of a chain', p);
        p := n;
      end loop;`));
    last = ids.at(-1) ?? last;
  }
  return last;
}

/** Makes `links` groups, each in the one before, below `outermost`; answers the innermost. */
async function chainOfGroups(run: Run, home: string, outermost: string, links: number) {
  let last = outermost;
  for (let made = 0; made < links; made += STEP) {
    const ids = Array.from({ length: Math.min(STEP, links - made) }, () => v7());
    await run(block(`${as(`'${home}'`)} p := '${last}';
      foreach n in array array['${ids.join("', '")}']::uuid[] loop
        insert into groups (tenant_id, id, name) values ('${home}', n, 'Of a chain ' || n);
        insert into group_members (tenant_id, id, group_id, member_group_id)
        values ('${home}', gen_random_uuid(), p, n);
        p := n;
      end loop;`));
    last = ids.at(-1) ?? last;
  }
  return last;
}

const chosen = (home: string, count: number) =>
  Array.from({ length: count }, () => v7()).map((id) => ({ id, home }));

const insertUser = (home: string, id: string) =>
  `insert into users (tenant_id, id, email, display_name)
   values ('${home}', '${id}', '${id}@people.example', 'Chosen');`;

/** Those of one tenant hold a role there; asked about `depth` tenants below. */
async function throughTenants(run: Run, depth: Depth, count: number): Promise<Whose[]> {
  const home = await peopled(run, PEOPLE);
  const some = chosen(home, count);
  await run(block(
    as(`'${home}'`) + some.map(({ id }) =>
      `${insertUser(home, id)}
       insert into role_bindings (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role)
       values ('${home}', '${v7()}', '${id}', '${home}', 'owner');`
    ).join("\n"),
  ));
  const acting = await chainOfTenants(run, home, depth);
  return some.map(({ id }) => ({ home, subject: id, session: null, acting }));
}

/** Those of one group hold what is bound to a group `depth` groups around it. */
async function throughGroups(run: Run, depth: Depth, count: number): Promise<Whose[]> {
  const [home, outermost] = [await peopled(run, PEOPLE), v7()];
  await run(block(`${as(`'${home}'`)}
    insert into groups (tenant_id, id, name) values ('${home}', '${outermost}', 'Outermost');
    insert into role_bindings (tenant_id, id, group_id, applies_to_tenant_id, system_role)
    values ('${home}', '${v7()}', '${outermost}', '${home}', 'owner');`));
  const innermost = await chainOfGroups(run, home, outermost, depth);
  const some = chosen(home, count);
  await run(block(
    as(`'${home}'`) + some.map(({ id }) =>
      `${insertUser(home, id)}
       insert into group_members (tenant_id, id, group_id, owner_user_id)
       values ('${home}', '${v7()}', '${innermost}', '${id}');`
    ).join("\n"),
  ));
  return some.map(({ id }) => ({ home, subject: id, session: null, acting: home }));
}

/** Builds it all; `lap` is told what took how long. The root tenant must be there. */
export async function depths(
  run: Run,
  count: number,
  lap: (what: string, ms: number) => void = () => {},
): Promise<Depths> {
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const made = await work();
    lap(what, performance.now() - began);
    return made;
  };
  await timed(`${NOISE_TENANTS * PEOPLE} people with roles and groups`, async () => {
    for (let n = 0; n < NOISE_TENANTS; n++) await peopled(run, PEOPLE);
  });
  const all: Depths = {
    tenants: { 1: [], 10: [], 100: [], 1_000: [] },
    groups: { 1: [], 10: [], 100: [], 1_000: [] },
  };
  for (const depth of DEPTHS) {
    all.tenants[depth] = await timed(`${depth} tenants`, () => throughTenants(run, depth, count));
    all.groups[depth] = await timed(`${depth} groups`, () => throughGroups(run, depth, count));
  }
  return all;
}
