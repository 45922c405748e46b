/** The system roles every tenant has: which permissions each collects and how far they reach. */
import type { Grants, Reach } from "../context.ts";
import { isPermission, ladder, type Permission, permissions, union } from "./permissions.ts";

const all = (reach: Reach, of: readonly Permission[]): Grants =>
  Object.fromEntries(of.map((permission) => [permission, reach]));

const operators: readonly Permission[] = [
  "platforms.create",
  "platforms.update",
  "platforms.delete",
  "platform_configs.update",
  "model_prices.create",
  "model_prices.delete",
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
    "api_keys.rotate",
    "api_keys.revoke",
    "users.update",
    "foreign_ids.read",
    "groups.read",
    "role_bindings.read",
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
  "domains.read",
  "invitations.read",
  "foreign_ids.read",
  "groups.read",
  "roles.read",
  "role_bindings.read",
  "access.check",
  "sessions.read",
  "client_access.read",
  "identity_providers.read",
  "teams.read",
  "team_keys.read",
  "platform_configs.read",
  "upstreams.read",
  "model_prices.read",
  "usage.read",
  "channels.read",
]);

/** Whoever runs a tenant sees and ends every binding, but uses only their own: a token acts as its person. */
export const personal: readonly Permission[] = [
  "bindings.token",
  "bindings.proxy",
  "sign_in.update",
];
const impersonal = (of: readonly Permission[]) => of.filter((p) => !personal.includes(p));

/**
 * What everybody signed in may do at home, whatever their roles: know who they are and what they may,
 * keep their sign-in in order, act elsewhere where they may, and sign out.
 */
export const everybodys = all("self", [
  "users.read",
  "access.check",
  "sign_in.update",
  "sessions.read",
  "sessions.exchange",
  "sessions.revoke",
]);

/** What a team's key may do: chat as the team, and read what was said with it. */
export const teamsKeys = all("self", ["chat.send", "chat.read"]);

export const systemRoles: Readonly<Record<string, Grants>> = {
  owner: union(all("subtree", impersonal(tenants)), member, everybodys),
  admin: union(all("tenant", impersonal(tenants)), member, everybodys),
  member: union(member, everybodys),
  auditor: union(auditor, everybodys),
  operator: union(all("global", impersonal(permissions)), member, everybodys),
};

/** One row of `access_rows`: a system role, or one permission of a tenant's own role. */
export type GrantRow = {
  systemRole: string | null;
  permission: string | null;
  reach: string | null;
  /** Tenants between the binding's and the one acted in; null when it does not lie below. */
  depth: number | null;
  /** No tenant between them has stopped inheritance. */
  passes: boolean;
  /** It has begun and not ended. */
  isCurrent: boolean;
  /** The role is in use. */
  isActive: boolean;
  /** When `isCurrent` turns next, in milliseconds since 1970; null: never. */
  untilMs: number | null;
};

/** A system role's grants; null for a name that is none, `constructor` included. */
export const systemRole = (key: string): Grants | null =>
  Object.hasOwn(systemRoles, key) ? systemRoles[key] ?? null : null;

const reachOf = (word: string | null) => ladder.find((reach) => reach === word);

const given = ({ systemRole: key, permission, reach }: GrantRow): [string, Reach | undefined][] =>
  key === null
    ? permission === null ? [] : [[permission, reachOf(reach)]]
    : Object.entries(systemRole(key) ?? {});

/** Why a binding that gives a permission somewhere does not give it where somebody acts. */
export type Miss = "elsewhere" | "not_current" | "inactive_role" | "stopped" | "reach";

/**
 * Whether a reach given by `row` counts where somebody acts: the one rule behind check, list and
 * explain. From above only `subtree` counts, unless a tenant between has stopped inheritance, and
 * `global`, which nobody stops.
 */
export function missOf(row: GrantRow, reach: Reach): Miss | null {
  if (!row.isCurrent) return "not_current";
  if (!row.isActive) return "inactive_role";
  if (row.depth === null) return "elsewhere";
  if (row.depth === 0 || reach === "global") return null;
  if (reach !== "subtree") return "reach";
  return row.passes ? null : "stopped";
}

/**
 * What one row gives: each permission with its reach, as far as this code knows them. `global` counts
 * for people of the root tenant alone. What is unknown gives nothing and is reported.
 */
export function offeredBy(
  row: GrantRow,
  isRoot: boolean,
  unknown: (what: string) => void,
): [Permission, Reach][] {
  const { systemRole: key } = row;
  if (key !== null && !systemRole(key)) unknown(`role ${key}`);
  return given(row).flatMap(([permission, reach]) => {
    if (!reach || !isPermission(permission)) {
      unknown(`permission ${permission}`);
      return [];
    }
    return [[permission, reach === "global" && !isRoot ? "subtree" : reach] as const];
  }).map(([permission, reach]) => [permission, reach]);
}

/** The union over all that counts. `isRoot`: their home is the root tenant. */
export function grantsOf(
  rows: readonly GrantRow[],
  isRoot: boolean,
  unknown: (what: string) => void,
): Grants {
  return union(...rows.map((row): Grants =>
    Object.fromEntries(
      offeredBy(row, isRoot, unknown).filter(([, reach]) => missOf(row, reach) === null),
    )
  ));
}

/** When what `rows` give changes by itself, in milliseconds since 1970; Infinity: never. */
export const untilMsOf = (rows: readonly GrantRow[]): number =>
  Math.min(...rows.map(({ untilMs }) => untilMs ?? Infinity));
