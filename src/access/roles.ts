/** The system roles every tenant has: which permissions each collects and how far they reach. */
import type { Grants, Reach } from "../context.ts";
import { isPermission, ladder, type Permission, permissions, union } from "./permissions.ts";

const all = (reach: Reach, of: readonly Permission[]): Grants =>
  Object.fromEntries(of.map((permission) => [permission, reach]));

const operators: readonly Permission[] = [
  "platforms.create",
  "platforms.update",
  "platforms.delete",
];
const tenants = permissions.filter((permission) => !operators.includes(permission));

const member: Grants = {
  ...all("tenant", ["platforms.read", "service_platforms.read"]),
  ...all("self", [
    "bindings.read",
    "bindings.connect",
    "bindings.token",
    "bindings.proxy",
    "bindings.update",
    "bindings.revoke",
    "api_keys.read",
    "api_keys.create",
    "api_keys.revoke",
    "sessions.revoke",
    "users.read",
  ]),
};

const auditor = all("tenant", [
  "platforms.read",
  "service_platforms.read",
  "credentials.read",
  "bindings.read",
  "audit.read",
  "events.read",
  "api_keys.read",
  "users.read",
  "tenants.read",
]);

/** Whoever runs a tenant sees and ends every binding, but uses only their own: a token acts as its person. */
const personal: readonly Permission[] = ["bindings.token", "bindings.proxy"];
const impersonal = (of: readonly Permission[]) => of.filter((p) => !personal.includes(p));

/** What everybody signed in may do, whatever their roles: know who they are, and sign out. */
const everybodys = all("self", ["users.read", "sessions.revoke"]);

export const systemRoles: Readonly<Record<string, Grants>> = {
  owner: union(all("subtree", impersonal(tenants)), member),
  admin: union(all("tenant", impersonal(tenants)), member),
  member,
  auditor,
  operator: union(all("global", impersonal(permissions)), member),
};

/** One row of `effective_grants`: a system role, or one permission of a tenant's own role. */
export type GrantRow = {
  systemRole: string | null;
  permission: string | null;
  reach: string | null;
  /** Tenants between the binding's and the one acted in. */
  depth: number;
};

/** A system role's grants; null for a name that is none, `constructor` included. */
export const systemRole = (key: string): Grants | null =>
  Object.hasOwn(systemRoles, key) ? systemRoles[key] ?? null : null;

const reachOf = (word: string | null) => ladder.find((reach) => reach === word);

const given = ({ systemRole: key, permission, reach }: GrantRow): [string, Reach | undefined][] =>
  key === null ? [[permission ?? "", reachOf(reach)]] : Object.entries(systemRole(key) ?? {});

/**
 * The union over all that was given. What comes from a tenant above counts only where it reaches
 * down. `global` counts from the root tenant alone. A role or permission this code does not know
 * gives nothing and is reported.
 */
export function grantsOf(
  rows: readonly GrantRow[],
  isRoot: boolean,
  unknown: (what: string) => void,
): Grants {
  return union(...rows.map((row): Grants => {
    const { systemRole: key } = row;
    if (key !== null && !systemRole(key)) unknown(`role ${key}`);
    const entries = given(row).flatMap(([permission, reach]) => {
      if (!reach || !isPermission(permission)) {
        unknown(`permission ${permission}`);
        return [];
      }
      if (row.depth > 0 && reach !== "subtree" && reach !== "global") return [];
      return [[permission, reach === "global" && !isRoot ? "subtree" : reach] as const];
    });
    return Object.fromEntries(entries);
  }));
}

/** What the holder of `rows` may do, with what everybody may. */
export const heldBy: typeof grantsOf = (...given) => union(grantsOf(...given), everybodys);
