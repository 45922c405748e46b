/** Who may do what, said as plainly as it can be: walks over everything, and never quickly. */
import { everybodys, systemRoles } from "../../src/access/roles.ts";

export type Reach = "self" | "tenant" | "subtree" | "global";
export type Status = "active" | "suspended" | "closed";
export type Period = { starts: number | null; ends: number | null };
export type Tenant = {
  id: string;
  name: string;
  parent: string | null;
  status: Status;
  inherits: boolean;
};
export type User = { id: string; home: string; status: Status };
export type Group = { id: string; home: string; name: string };
export type Role = {
  id: string;
  home: string;
  isActive: boolean;
  gives: { permission: string; reach: Reach }[];
};
export type Binding = Period & {
  id: string;
  home: string;
  user: string | null;
  group: string | null;
  at: string;
  systemRole: string | null;
  role: string | null;
  isRevoked: boolean;
};
export type Member = Period & { group: string; user: string };
export type Nesting = { group: string; member: string };

export type Facts = {
  now: number;
  tenants: Tenant[];
  users: User[];
  groups: Group[];
  roles: Role[];
  bindings: Binding[];
  members: Member[];
  nestings: Nesting[];
};

const named = <T extends { id: string }>(all: T[], id: string): T => {
  const it = all.find((one) => one.id === id);
  if (!it) throw new Error(`The graph has no ${id}`);
  return it;
};

/** The tenant and everything above it, from it upwards. */
export function upFrom(f: Facts, tenant: string): Tenant[] {
  const here = named(f.tenants, tenant);
  return here.parent === null ? [here] : [here, ...upFrom(f, here.parent)];
}

export const isAtOrBelow = (f: Facts, tenant: string, top: string) =>
  upFrom(f, tenant).some(({ id }) => id === top);

const isNow = ({ now }: Facts, { starts, ends }: Period) =>
  (starts === null || starts <= now) && (ends === null || ends > now);

/** Whether a group lies in another, itself included. */
export const liesIn = (f: Facts, group: string, outer: string): boolean =>
  group === outer ||
  f.nestings.some(({ group: next, member }) => member === group && liesIn(f, next, outer));

/** Groups from the first to the last on the shortest way; Infinity without one. */
export const stepsBetween = (f: Facts, group: string, outer: string): number =>
  group === outer ? 1 : 1 + Math.min(
    Infinity,
    ...f.nestings.filter(({ member }) => member === group)
      .map(({ group: next }) => stepsBetween(f, next, outer)),
  );

/** A binding as it meets a user: by themselves, or by one of their groups. */
export type Path = { binding: Binding; entered: string | null; reach: Reach; why: Why | null };
export type Why = "elsewhere" | "not_current" | "inactive_role" | "stopped" | "reach";

function given(f: Facts, binding: Binding, permission: string): Reach | null {
  const isRoot = named(f.tenants, binding.home).parent === null;
  const word: Reach | undefined = binding.systemRole !== null
    ? Object.entries(systemRoles[binding.systemRole] ?? {})
      .find(([name]) => name === permission)?.[1]
    : named(f.roles, binding.role ?? "").gives.find((one) => one.permission === permission)?.reach;
  return word === undefined ? null : word === "global" && !isRoot ? "subtree" : word;
}

function whyNot(f: Facts, { binding, reach }: Path, times: Period[], tenant: string): Why | null {
  if (!times.every((time) => isNow(f, time))) return "not_current";
  if (binding.role !== null && !named(f.roles, binding.role).isActive) return "inactive_role";
  if (!isAtOrBelow(f, tenant, binding.at)) return "elsewhere";
  if (tenant === binding.at || reach === "global") return null;
  if (reach !== "subtree") return "reach";
  const way = upFrom(f, tenant);
  const between = way.slice(0, way.findIndex(({ id }) => id === binding.at));
  return between.every(({ inherits }) => inherits) ? null : "stopped";
}

/** Every way by which a user meets a binding that gives the permission somewhere. */
export function pathsOf(f: Facts, userId: string, tenant: string, permission: string): Path[] {
  const { home } = named(f.users, userId);
  return f.bindings.flatMap((binding): Path[] => {
    const reach = given(f, binding, permission);
    if (!reach || binding.isRevoked || binding.home !== home) return [];
    if (!isAtOrBelow(f, binding.at, home)) return [];
    const path = (entered: string | null, times: Period[]): Path => {
      const bare = { binding, entered, reach, why: null };
      return { ...bare, why: whyNot(f, bare, times, tenant) };
    };
    const { group } = binding;
    if (group === null) return binding.user === userId ? [path(null, [binding])] : [];
    return f.members.filter((one) => one.user === userId && liesIn(f, one.group, group))
      .map((one) => path(one.group, [binding, one]));
  });
}

/** Whether the user may act in the tenant at all. */
export function mayEnter(f: Facts, userId: string, tenant: string): boolean {
  const { home, status } = named(f.users, userId);
  const above = upFrom(f, tenant);
  return status === "active" && above.every((one) => one.status === "active") &&
    above.some(({ id }) => id === home);
}

const rungs: Reach[] = ["self", "tenant", "subtree", "global"];

/** How far the user may do it there; null: not at all. */
export function reachOf(f: Facts, userId: string, tenant: string, permission: string) {
  if (!mayEnter(f, userId, tenant)) return null;
  const all = pathsOf(f, userId, tenant, permission).filter(({ why }) => why === null)
    .map(({ reach }) => reach);
  const isHome = named(f.users, userId).home === tenant;
  const common = Object.entries(everybodys).find(([name]) => name === permission)?.[1];
  if (isHome && common) all.push(common);
  return rungs.findLast((rung) => all.includes(rung)) ?? null;
}
