/** Random tenants, people, groups, roles and bindings: as plain objects, and as the rows that say the same. */
import { v7 } from "uuid";
import {
  type Binding,
  type Facts,
  isAtOrBelow,
  liesIn,
  type Period,
  type Reach,
  type Status,
} from "./oracle.ts";

/** Numbers that look random and come again with their seed (mulberry32). */
export function dice(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (n: number) => Math.floor(next() * n);
  const one = <T>(of: readonly T[]): T => {
    const it = of[below(of.length)];
    if (it === undefined) throw new Error("Nothing to choose from");
    return it;
  };
  return { below, one, is: (share: number) => next() < share };
}
export type Dice = ReturnType<typeof dice>;

/** Each is somebody's: everybody's, a member's, an owner's down the tree, an operator's alone. */
export const asked = [
  "users.read",
  "access.check",
  "platforms.read",
  "bindings.token",
  "tenants.move",
  "audit.read",
  "platforms.create",
  "users.update",
  "events.read",
  "domains.read",
] as const;

const HOUR = 3_600_000;
const many = <T>(n: number, make: (i: number) => T): T[] =>
  Array.from({ length: n }, (_, i) => make(i));

/** Mostly for ever; else over, yet to come, or now for a while. */
function period(d: Dice, now: number): Period {
  if (d.is(0.55)) return { starts: null, ends: null };
  const starts = d.one([null, now - 2 * HOUR, now + 2 * HOUR]);
  const ends = d.one([null, now + 3 * HOUR, now - HOUR]);
  return starts !== null && ends !== null && ends <= starts
    ? { starts, ends: null }
    : { starts, ends };
}

const status = (d: Dice): Status => d.is(0.88) ? "active" : d.one(["suspended", "closed"]);

/** A graph below `root`, and people of the root tenant. */
export function graph(d: Dice, root: string, now: number): Facts {
  const tenants: Facts["tenants"] = [
    { id: root, name: "Root", parent: null, status: "active", inherits: true },
  ];
  // Rather deep than broad: most hang below the last few.
  for (let n = 0; n < 5 + d.below(8); n++) {
    const parent = d.is(0.7)
      ? tenants.at(-1 - d.below(Math.min(2, tenants.length)))
      : d.one(tenants);
    const id = v7();
    const inherits = d.is(0.8);
    tenants.push({ id, name: `T${n}`, parent: parent?.id ?? root, status: status(d), inherits });
  }
  const homes = [root, ...many(3, () => d.one(tenants).id)];
  const users = many(6 + d.below(5), () => ({ id: v7(), home: d.one(homes), status: status(d) }));
  const groups = many(5 + d.below(8), (n) => ({ id: v7(), home: d.one(homes), name: `G${n}` }));
  const reaches: Reach[] = ["self", "tenant", "subtree", "subtree", "global"];
  const roles = many(2 + d.below(5), () => ({
    id: v7(),
    home: d.one(homes),
    isActive: d.is(0.85),
    gives: asked.filter(() => d.is(0.4))
      .map((permission): { permission: string; reach: Reach } => ({
        permission,
        reach: d.one(reaches),
      })),
  }));
  const f: Facts = { now, tenants, users, groups, roles, bindings: [], members: [], nestings: [] };
  for (let n = 0; n < groups.length * 2; n++) nest(d, f);
  for (let n = 0; n < users.length * 2; n++) join(d, f);
  for (let n = 0; n < 12 + d.below(14); n++) bind(d, f);
  return f;
}

export function nest(d: Dice, f: Facts) {
  const [group, member] = [d.one(f.groups), d.one(f.groups)];
  const isThere = f.nestings.some((n) => n.group === group.id && n.member === member.id);
  if (group.home !== member.home || isThere || liesIn(f, group.id, member.id)) return null;
  const nesting = { group: group.id, member: member.id };
  f.nestings.push(nesting);
  return nesting;
}

function join(d: Dice, f: Facts) {
  const [user, group] = [d.one(f.users), d.one(f.groups)];
  const isThere = f.members.some((m) => m.user === user.id && m.group === group.id);
  if (user.home === group.home && !isThere) {
    f.members.push({ group: group.id, user: user.id, ...period(d, f.now) });
  }
}

/** A binding as the verbs allow it, and now and then one that only a mistake could have made. */
export function bind(d: Dice, f: Facts): Binding | null {
  const isForGroup = d.is(0.5);
  const subject = isForGroup ? d.one(f.groups) : d.one(f.users);
  const { home } = subject;
  const places = f.tenants.filter(({ id }) => d.is(0.05) || isAtOrBelow(f, id, home));
  const own = f.roles.filter((role) => role.home === home);
  const isOwn = own.length > 0 && d.is(0.6);
  if (places.length === 0) return null;
  const binding: Binding = {
    id: v7(),
    home,
    user: isForGroup ? null : subject.id,
    group: isForGroup ? subject.id : null,
    at: d.is(0.4) && places.some(({ id }) => id === home) ? home : d.one(places).id,
    systemRole: isOwn ? null : d.one(["owner", "admin", "member", "auditor", "operator"]),
    role: isOwn ? d.one(own).id : null,
    isRevoked: d.is(0.08),
    ...period(d, f.now),
  };
  const key = (b: Binding) => `${b.user ?? b.group} ${b.at} ${b.systemRole ?? b.role}`;
  if (f.bindings.some((b) => !b.isRevoked && key(b) === key(binding))) return null;
  f.bindings.push(binding);
  return binding;
}

const word = (value: string | null) => value === null ? "null" : `'${value}'`;
const moment = (ms: number | null) => ms === null ? "null" : `'${new Date(ms).toISOString()}'`;

const insert = (table: string, columns: string, rows: string[]) =>
  rows.length > 0 ? [`insert into ${table} (${columns}) values ${rows.join(", ")}`] : [];

export const bindingRow = (b: Binding, now: number) =>
  `(${word(b.home)}, ${word(b.id)}, ${word(b.user)}, ${word(b.group)}, ${word(b.at)}, ` +
  `${word(b.systemRole)}, ${word(b.role)}, ${moment(b.starts)}, ${moment(b.ends)}, ` +
  `${b.isRevoked ? moment(now) : "null"})`;
export const insertBindings = (rows: string[]) =>
  insert(
    "role_bindings",
    "tenant_id, id, owner_user_id, group_id, applies_to_tenant_id, system_role, role_id, " +
      "starts_at, ends_at, revoked_at",
    rows,
  );

const homeOf = (f: Facts, group: string) => f.groups.find(({ id }) => id === group)?.home ?? null;
export const insertNesting = (f: Facts, { group, member }: { group: string; member: string }) =>
  `insert into group_members (tenant_id, id, group_id, member_group_id)
   values (${word(homeOf(f, group))}, '${v7()}', '${group}', '${member}')`;

/** The statements that make a graph; the root tenant is there. */
export function written(f: Facts): string[] {
  const [, ...below] = f.tenants;
  return [
    ...below.map(({ id, name, parent, status, inherits }) =>
      `insert into tenants (id, name, parent_id, status, inherits_access)
       values ('${id}', '${name}', ${word(parent)}, '${status}', ${inherits})`
    ),
    ...insert(
      "users",
      "tenant_id, id, email, display_name, status",
      f.users.map((u) => `('${u.home}', '${u.id}', '${u.id}@people.example', 'X', '${u.status}')`),
    ),
    ...insert(
      "groups",
      "tenant_id, id, name",
      f.groups.map((g) => `('${g.home}', '${g.id}', '${g.name} ${g.id}')`),
    ),
    ...insert(
      "roles",
      "tenant_id, id, name, is_active",
      f.roles.map((r) => `('${r.home}', '${r.id}', '${r.id}', ${r.isActive})`),
    ),
    ...insert(
      "permission_bindings",
      "tenant_id, id, role_id, permission, reach",
      f.roles.flatMap((r) =>
        r.gives.map(({ permission, reach }) =>
          `('${r.home}', '${v7()}', '${r.id}', '${permission}', '${reach}')`
        )
      ),
    ),
    ...f.nestings.map((nesting) => insertNesting(f, nesting)),
    ...insert(
      "group_members",
      "tenant_id, id, group_id, owner_user_id, starts_at, ends_at",
      f.members.map((m) =>
        `(${word(homeOf(f, m.group))}, '${v7()}', '${m.group}', '${m.user}', ${moment(m.starts)}, ${
          moment(m.ends)
        })`
      ),
    ),
    ...insertBindings(f.bindings.map((b) => bindingRow(b, f.now))),
  ];
}

/** One thing that happens later: done to the objects, and said as a statement. Null: it cannot be. */
type Event = (d: Dice, f: Facts) => string | null;

const move: Event = (d, f) => {
  const [, ...below] = f.tenants;
  const [tenant, parent] = [d.one(below), d.one(f.tenants)];
  if (isAtOrBelow(f, parent.id, tenant.id) || parent.id === tenant.parent) return null;
  tenant.parent = parent.id;
  return `update tenants set parent_id = '${parent.id}' where id = '${tenant.id}'`;
};
const turnStatus: Event = (d, f) => {
  const tenant = d.one(f.tenants.slice(1));
  tenant.status = tenant.status === "active" ? status(d) : "active";
  return `update tenants set status = '${tenant.status}' where id = '${tenant.id}'`;
};
const turnInheritance: Event = (d, f) => {
  const tenant = d.one(f.tenants.slice(1));
  tenant.inherits = !tenant.inherits;
  return `update tenants set inherits_access = ${tenant.inherits} where id = '${tenant.id}'`;
};
const unnest: Event = (d, f) => {
  if (f.nestings.length === 0) return null;
  const [gone] = f.nestings.splice(d.below(f.nestings.length), 1);
  return gone
    ? `delete from group_members where group_id = '${gone.group}' and member_group_id = '${gone.member}'`
    : null;
};
const nestMore: Event = (d, f) => {
  const nesting = nest(d, f);
  return nesting && insertNesting(f, nesting);
};
const leave: Event = (d, f) => {
  const [gone] = f.members.splice(d.below(f.members.length), 1);
  return gone
    ? `delete from group_members where group_id = '${gone.group}' and owner_user_id = '${gone.user}'`
    : null;
};
const bindMore: Event = (d, f) => {
  const binding = bind(d, f);
  return binding && (insertBindings([bindingRow(binding, f.now)])[0] ?? null);
};
const revoke: Event = (d, f) => {
  const binding = d.one(f.bindings);
  if (binding.isRevoked) return null;
  binding.isRevoked = true;
  return `update role_bindings set revoked_at = ${moment(f.now)} where id = '${binding.id}'`;
};
const turnRole: Event = (d, f) => {
  const role = d.one(f.roles);
  role.isActive = !role.isActive;
  return `update roles set is_active = ${role.isActive} where id = '${role.id}'`;
};
const turnUser: Event = (d, f) => {
  const user = d.one(f.users);
  user.status = user.status === "active" ? "suspended" : "active";
  return `update users set status = '${user.status}' where id = '${user.id}'`;
};

const events: Event[] = [
  ...[
    move,
    move,
    turnStatus,
    turnStatus,
    turnInheritance,
    unnest,
    unnest,
    unnest,
    nestMore,
    nestMore,
  ],
  ...[leave, bindMore, bindMore, revoke, turnRole, turnUser],
];

/** Some of what happens in the life of a graph. */
export const happenings = (d: Dice, f: Facts): string[] =>
  many(6 + d.below(8), () => d.one(events)(d, f)).filter((statement) => statement !== null);
