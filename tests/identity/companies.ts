/** A company with a branch, and words to bind, group and give roles in them. */
import { v7 } from "uuid";
import type { Grants, Reach } from "../../src/context.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import type { Person } from "../kit.ts";
import type { Home } from "./house.ts";

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
  async function bind(homeId: string, what: What): Promise<string> {
    const id = v7();
    await h.sql(
      `insert into role_bindings
         (tenant_id, id, owner_user_id, group_id, applies_to_tenant_id, system_role, role_id, starts_at, ends_at)
       values ($1, $2, $3, $4, $5, $6, $7, now() + $8::interval, now() + $9::interval)`,
      [
        homeId,
        id,
        what.user ?? null,
        what.group ?? null,
        what.at,
        what.systemRole ?? null,
        what.role ?? null,
        what.from ?? null,
        what.to ?? null,
      ],
    );
    return id;
  }

  async function group(homeId: string, name: string, members: { user?: string; group?: string }[]) {
    const id = v7();
    await h.sql("insert into groups (tenant_id, id, name) values ($1, $2, $3)", [homeId, id, name]);
    for (const { user = null, group = null } of members) {
      await h.sql(
        `insert into group_members (tenant_id, id, group_id, owner_user_id, member_group_id)
         values ($1, $2, $3, $4, $5)`,
        [homeId, v7(), id, user, group],
      );
    }
    return id;
  }

  async function role(homeId: string, name: string, gives: Record<string, Reach>, isActive = true) {
    const id = v7();
    await h.sql("insert into roles (tenant_id, id, name, is_active) values ($1, $2, $3, $4)", [
      homeId,
      id,
      name,
      isActive,
    ]);
    for (const [permission, reach] of Object.entries(gives)) {
      await h.sql(
        `insert into permission_bindings (tenant_id, id, role_id, permission, reach)
         values ($1, $2, $3, $4, $5)`,
        [homeId, v7(), id, permission, reach],
      );
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
