/** A company with a branch, and words to bind, group and give roles in them. */
import { v7 } from "uuid";
import type { Grants, Reach } from "../../src/context.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import type { Person } from "../kit.ts";
import type { Ground, Home } from "./house.ts";

type What = {
  user?: string;
  group?: string;
  at: string;
  systemRole?: string;
  role?: string;
  from?: string;
  to?: string;
};

export const asking = (reach: Reach): Grants => ({ "access.check": reach });

/** Everything is written as the superuser would: what a verb refuses can be there all the same. */
export function companies(h: Home) {
  const insert = inserting(h.sql);

  const bind = (homeId: string, { user, group, at, systemRole, role, from, to }: What) =>
    insert("role_bindings", homeId, {
      owner_user_id: user,
      group_id: group,
      applies_to_tenant_id: at,
      system_role: systemRole,
      role_id: role,
      starts_at: from && away(from),
      ends_at: to && away(to),
    });

  async function group(homeId: string, name: string, members: { user?: string; group?: string }[]) {
    const id = await insert("groups", homeId, { name });
    for (const { user, group } of members) {
      const member = { group_id: id, owner_user_id: user, member_group_id: group };
      await insert("group_members", homeId, member);
    }
    return id;
  }

  async function role(homeId: string, name: string, gives: Record<string, Reach>, isActive = true) {
    const id = await insert("roles", homeId, { name, is_active: isActive });
    for (const [permission, reach] of Object.entries(gives)) {
      await insert("permission_bindings", homeId, { role_id: id, permission, reach });
    }
    return id;
  }

  /** As a verb ends that changed who may do what; and past the time this process takes to see it. */
  async function changed(tenantId: string) {
    await h.sql(
      `insert into cache_epochs as e (tenant_id, topic) values ($1, 'access')
       on conflict (tenant_id, topic) do update set epoch = e.epoch + 1`,
      [tenantId],
    );
    h.clock.ms += 10_000;
  }

  /** A company with a branch below, its people and theirs. */
  async function company() {
    const company = await h.tenantBelow(ROOT_TENANT, "Harbour Bakery");
    const branch = await h.tenantBelow(company, "Harbour Bakery Oslo");
    return {
      company,
      branch,
      owner: await h.w.person(company, "owner"),
      auditor: await h.w.person(company, "auditor"),
      clerk: await h.w.person(branch, "member"),
    };
  }

  /** The questions, asked by somebody. */
  const of = (person: Person, reach: Reach) =>
    h.w.as({ ...person, grants: asking(reach) }).identity.access;
  return { bind, group, role, changed, company, of };
}

const units: Readonly<Record<string, number>> = { hour: 3_600_000, day: 86_400_000 };
/** `-1 hour` from now. */
function away(words: string): Date {
  const [count = "0", unit = ""] = words.split(" ");
  return new Date(Date.now() + Number(count) * (units[unit] ?? NaN));
}

/** Writes one row of a tenant and answers its id. */
function inserting(sql: Ground["sql"]) {
  return async (table: string, tenantId: string, row: Record<string, unknown>) => {
    const id = v7();
    const all = { tenant_id: tenantId, id, ...row };
    const places = Object.keys(all).map((_, i) => `$${i + 1}`);
    await sql(
      `insert into ${table} (${Object.keys(all).join(", ")}) values (${places.join(", ")})`,
      Object.values(all).map((value) => value ?? null),
    );
    return id;
  };
}
