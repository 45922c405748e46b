/** People whose rights stand in the database as a test needs them, and what a refusal says. */
import assert from "node:assert/strict";
import { TRPCError } from "@trpc/server";
import { v7 } from "uuid";
import { permissions } from "../../src/access/permissions.ts";
import type { Grants, Principal, Reach } from "../../src/context.ts";
import { Fault } from "../../src/errors.ts";
import type { Person } from "../kit.ts";
import { everything } from "../contract/house.ts";
import type { Home } from "./house.ts";

export const all = everything;

/** Every permission as far as `reach`, but one. */
export const allBut = (permission: string, reach: Reach = "tenant"): Grants =>
  everything(reach, permission);

/** A role of the tenant as a row, past every check. */
export async function roleOf({ sql }: Pick<Home, "sql">, tenantId: string, grants: Grants) {
  const id = v7();
  await sql("insert into roles (tenant_id, id, name) values ($1, $2, $3)", [
    tenantId,
    id,
    `role ${id}`,
  ]);
  const list = permissions.flatMap((permission) => {
    const reach = grants[permission];
    return reach ? [{ tenant_id: tenantId, id: v7(), role_id: id, permission, reach }] : [];
  });
  await sql(
    `insert into permission_bindings (tenant_id, id, role_id, permission, reach)
     select tenant_id, id, role_id, permission, reach
     from jsonb_populate_recordset(null::permission_bindings, $1::jsonb)`,
    [JSON.stringify(list)],
  );
  return id;
}

/** A role binding as a row, past every check. */
export async function bind(
  { sql }: Pick<Home, "sql">,
  tenantId: string,
  to: { userId: string } | { groupId: string },
  roleId: string,
  appliesTo = tenantId,
) {
  const id = v7();
  const [userId, groupId] = "userId" in to ? [to.userId, null] : [null, to.groupId];
  await sql(
    `insert into role_bindings (tenant_id, id, owner_user_id, group_id, applies_to_tenant_id, role_id)
     values ($1, $2, $3, $4, $5, $6)`,
    [tenantId, id, userId, groupId, appliesTo, roleId],
  );
  return id;
}

/** A user who holds just `grants`, by the database. Their token claims every permission there is. */
export async function holder(
  h: Pick<Home, "sql" | "w">,
  tenantId: string,
  grants: Grants,
  appliesTo = tenantId,
): Promise<Person> {
  const person = await h.w.person(tenantId, "member", { grants: everything("tenant") });
  const { userId } = person;
  await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [userId]);
  await bind(h, tenantId, { userId }, await roleOf(h, tenantId, grants), appliesTo);
  return person;
}

/** `NotFound user.not_found user_id`: what a refused call says, and the fields it blames. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "done";
  } catch (error) {
    const fault = error instanceof TRPCError ? error.cause : error;
    if (!(fault instanceof Fault)) throw error;
    const fields = (fault.more.fields ?? []).map(({ field }) => field);
    return [fault.code, fault.reason, ...fields].join(" ");
  }
}

export const assertRefused = async (work: Promise<unknown>, expected: string) =>
  assert.equal(await refusal(work), expected);

/** Pages through a list to its end. */
export async function paged<T>(
  turn: (cursor: string | undefined) => Promise<{ items: T[]; nextCursor: string | null }>,
): Promise<T[]> {
  const found: T[] = [];
  for (let cursor: string | undefined, pages = 0;; pages++) {
    assert.ok(pages < 500, "the pages never end");
    const { items, nextCursor } = await turn(cursor);
    found.push(...items);
    if (nextCursor === null) return found;
    cursor = nextCursor;
  }
}

export const selfish = <P extends Principal>(person: P): P => ({
  ...person,
  grants: everything("self"),
});
