/** People with just the rights a test needs, and what they may do where as the database says it. */
import { v7 } from "uuid";
import { grantRows } from "../../src/access/grant_rows.ts";
import { grantsOf } from "../../src/access/roles.ts";
import { readStanding } from "../../src/access/standings.ts";
import type { Grants, Principal } from "../../src/context.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import type { Home } from "./house.ts";

export type Bound = { home: string; id: string };

/** Somebody of `home` without a role. */
export async function somebody({ sql }: Home, home: string): Promise<Bound> {
  const id = v7();
  await sql(
    "insert into users (tenant_id, id, email, display_name) values ($1, $2, $3, 'Somebody')",
    [home, id, `${id}@people.example`],
  );
  return { home, id };
}

/** Binds a role of the home's own, or a system role, to somebody in a tenant. */
export async function bind(
  { sql }: Home,
  { home, id }: Bound,
  at: string,
  role: Grants | string,
  more: { endsAt?: Date; startsAt?: Date } = {},
): Promise<string> {
  const [roleId, bindingId] = [v7(), v7()];
  if (typeof role !== "string") {
    await sql("insert into roles (tenant_id, id, name) values ($1, $2, $3)", [
      home,
      roleId,
      roleId,
    ]);
    for (const [permission, reach] of Object.entries(role)) {
      await sql(
        `insert into permission_bindings (tenant_id, id, role_id, permission, reach)
         values ($1, $2, $3, $4, $5)`,
        [home, v7(), roleId, permission, reach],
      );
    }
  }
  const [systemRole, own] = typeof role === "string" ? [role, null] : [null, roleId];
  await sql(
    `insert into role_bindings
       (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role, role_id, starts_at, ends_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [home, bindingId, id, at, systemRole, own, more.startsAt ?? null, more.endsAt ?? null],
  );
  return bindingId;
}

/** What somebody may do in a tenant now. */
export async function heldBy({ w }: Home, { home, id }: Bound, acting: string): Promise<Grants> {
  const whose = { home, subject: id, session: null, acting };
  return (await readStanding(w.process.database.query, whose, () => {})).grants;
}

/** What each of these people may do in each of these tenants now, in one question. */
export async function heldByAll(
  { sql }: Home,
  people: Bound[],
  tenants: string[],
): Promise<Grants[][]> {
  const rows = await sql(
    `select p.home, s.holds, s.grants
     from unnest($1::uuid[], $2::uuid[]) with ordinality p (home, id, n)
     cross join unnest($3::uuid[]) with ordinality t (id, m)
     cross join lateral standing_of(p.home, p.id, null, t.id) s order by n, m`,
    [people.map(({ home }) => home), people.map(({ id }) => id), tenants],
  );
  const grants = rows.map((row) =>
    row.holds === true ? grantsOf(grantRows(row.grants), row.home === ROOT_TENANT, () => {}) : {}
  );
  return people.map((_, n) => grants.slice(n * tenants.length, (n + 1) * tenants.length));
}

/** Somebody with a token for a tenant, as an exchange would give it them. */
export async function actingIn(h: Home, who: Bound, acting: string): Promise<Principal> {
  return {
    actor: { type: "user", tenantId: who.home, id: who.id },
    tenantId: acting,
    userId: who.home === acting ? who.id : null,
    sessionId: null,
    grants: await heldBy(h, who, acting),
  };
}
