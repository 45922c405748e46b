/**
 * Why somebody may do something, or why not: from the binding over the groups and down the tenants.
 * What belongs to tenants above the asker's is told without its name.
 */
import { sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "../../db/client.ts";
import { reaches } from "../../db/schema/access.ts";
import { grantRow } from "../access/grant_rows.ts";
import { ladder, type Permission } from "../access/permissions.ts";
import { everybodys, type Miss, missOf, offeredBy } from "../access/roles.ts";
import { type Reach, read, type TenantCtx } from "../context.ts";
import { notFound } from "../errors.ts";
import { ROOT_TENANT } from "../topics.ts";
import {
  about,
  giving,
  permission,
  type Question,
  questionOf,
  standingIn,
  unknownIn,
} from "./access.ts";

const MOST = 100;

const Named = z.object({
  id: z.uuid().nullable(),
  name: z.string().max(255).nullable(),
}).meta({ id: "AccessPlace" });
type Named = z.infer<typeof Named>;
/** Somewhere above the asker. */
const UNNAMED: Named = { id: null, name: null };

const Role = z.object({
  systemRole: z.string().max(64).nullable(),
  roleId: z.uuid().nullable(),
  name: z.string().max(255).nullable(),
}).meta({ id: "AccessRole" });
const EVERYBODY = { systemRole: null, roleId: null, name: "everybody" };

const Because = z.object({
  bindingId: z.uuid().nullable(),
  role: Role,
  reach: z.enum(reaches),
  groups: z.array(Named).max(MOST),
  tenants: z.array(Named).max(MOST),
  more: z.boolean(),
}).meta({ id: "AccessBecause" });
type Because = z.infer<typeof Because>;

const whys = [
  "elsewhere",
  "not_current",
  "inactive_role",
  "stopped",
  "reach",
  "no_role_gives_it",
  "not_in_scopes",
  "user_inactive",
  "tenant_closed",
  "lives_elsewhere",
] as const;
const Missing = z.object({
  bindingId: z.uuid().nullable(),
  role: Role.nullable(),
  why: z.enum(whys),
  sentence: z.string().max(1024),
  tenant: Named.nullable(),
  startsAt: z.date().nullable(),
  endsAt: z.date().nullable(),
}).meta({ id: "AccessMissing" });
type Missing = z.infer<typeof Missing>;

export const Explain = z.strictObject({ permission, ...about });
export const Explained = z.object({
  allowed: z.boolean(),
  reach: z.enum(reaches).nullable(),
  because: z.array(Because).max(MOST),
  missing: z.array(Missing).max(MOST),
  more: z.boolean(),
}).meta({ id: "AccessExplanation" });

const text = z.string().nullable();
const depth = z.number().nullable();
/** What `explain_access` tells of a binding that gives the permission somewhere. */
const Told = z.looseObject({
  binding_id: z.string(),
  applies_to: z.string(),
  place_name: text,
  system_role: text,
  role_id: text,
  role_name: text,
  depth,
  group_names: z.array(Named).nullable(),
  bound_from: text,
  bound_to: text,
  member_from: text,
  member_to: text,
});
type Told = z.infer<typeof Told>;
const Facts = z.object({
  is_active: z.boolean(),
  is_within: z.boolean(),
  closed_depth: depth,
  barrier_depth: depth,
  shown_depth: z.number(),
  /** From the one acted in up to the asker's. */
  tenants: z.array(z.object({ id: z.string(), name: z.string(), status: z.string() })),
  bindings: z.array(Told),
});
type Facts = z.infer<typeof Facts>;

/** One explanation in the making. */
type Case = {
  question: Question;
  permission: Permission;
  facts: Facts;
  /** They live above the asker, who is told no more of their home than that. */
  isFromAbove: boolean;
  now: Date;
};

/** All that gives a permission to somebody, and all that would if something were otherwise. */
export async function explain(
  ctx: TenantCtx,
  { permission, ...about }: z.infer<typeof Explain>,
): Promise<z.infer<typeof Explained>> {
  const question = questionOf(ctx, about);
  await standingIn(ctx, question); // Throws for whom they do not know of.
  const facts = await factsOf(ctx, question, permission);
  const { home } = question.whose;
  const isFromAbove = facts.is_within && !facts.tenants.some(({ id }) => id === home);
  const it: Case = { question, permission, facts, isFromAbove, now: ctx.now() };
  const bound = facts.bindings.map((told) => judged(ctx, it, told));
  const reasons = [
    ...bound.flatMap(({ told, reach, miss }) =>
      reach && miss === null ? [becauseOf(it, told, reach)] : []
    ),
    ...everybody(it),
  ];
  const states = statesOf(it);
  const because = states.length > 0 ? [] : reasons;
  const missing = [...states, ...bound.flatMap((one) => missingOf(it, one))];
  if (missing.length === 0 && because.length === 0) missing.push(nothingGivesIt(it));
  const reach = farthest(because);
  return {
    allowed: reach !== null,
    reach,
    because: because.slice(0, MOST),
    missing: missing.slice(0, MOST),
    more: because.length > MOST || missing.length > MOST,
  };
}

async function factsOf(ctx: TenantCtx, { whose }: Question, permission: Permission) {
  const { home, subject, acting } = whose;
  const [row] = await read(
    ctx,
    async (ctx) =>
      rowsOf(
        await ctx.db.execute(
          sql`select * from explain_access(${home}::uuid, ${subject}::uuid, ${acting}::uuid,
            ${permission}, ${giving(permission)}::jsonb, ${MOST + 1}::int)`,
        ),
      ),
  );
  if (!row) throw notFound("tenant");
  return Facts.parse(row);
}

const farthest = (because: Because[]): Reach | null =>
  ladder.findLast((reach) => because.some((one) => one.reach === reach)) ?? null;

type Judged = { told: Told; reach: Reach | undefined; miss: Miss | null };

/** The evaluator's word on one binding. */
function judged(ctx: TenantCtx, { question, permission }: Case, told: Told): Judged {
  const row = grantRow(told);
  const isRoot = question.whose.home === ROOT_TENANT;
  const [, reach] = offeredBy(row, isRoot, unknownIn(ctx)).find(([one]) => one === permission) ??
    [];
  return { told, reach, miss: reach ? missOf(row, reach) : null };
}

const roleOf = ({ isFromAbove }: Case, told: Told) => ({
  systemRole: told.system_role,
  roleId: isFromAbove ? null : told.role_id,
  name: isFromAbove && told.system_role === null ? null : told.system_role ?? told.role_name,
});

/** A way of any length, its ends kept. */
const cut = (way: Named[]) =>
  way.length <= MOST ? way : [...way.slice(0, MOST - 1), ...way.slice(-1)];

function becauseOf(it: Case, told: Told, reach: Reach): Because {
  const groups = told.group_names ?? [];
  const tenants = downFrom(it.facts, told.depth ?? 0);
  return {
    bindingId: it.isFromAbove ? null : told.binding_id,
    role: roleOf(it, told),
    reach,
    groups: it.isFromAbove && groups.length > 0 ? [UNNAMED] : cut(groups),
    tenants: cut(tenants),
    more: groups.length > MOST || tenants.length > MOST,
  };
}

/** From the tenant `depth` above the one acted in down to it; all above the asker's are one. */
function downFrom({ tenants, shown_depth }: Facts, depth: number): Named[] {
  const named = tenants.slice(0, depth + 1).toReversed().map(({ id, name }) => ({ id, name }));
  return depth > shown_depth ? [UNNAMED, ...named] : named;
}

function everybody({ question: { whose }, permission, facts }: Case): Because[] {
  const reach = everybodys[permission];
  if (!reach || whose.home !== whose.acting) return [];
  const tenants = downFrom(facts, 0);
  return [{ bindingId: null, role: EVERYBODY, reach, groups: [], tenants, more: false }];
}

const missing = (why: Missing["why"], sentence: string, more: Partial<Missing> = {}): Missing => ({
  bindingId: null,
  role: null,
  why,
  sentence,
  tenant: null,
  startsAt: null,
  endsAt: null,
  ...more,
});

const placeAt = ({ tenants }: Facts, depth: number | null): Named => {
  const place = depth === null ? undefined : tenants[depth];
  return place ? { id: place.id, name: place.name } : UNNAMED;
};
const spoken = ({ name }: Named) => name ?? "A tenant above";

/** What stands in the way whatever is bound. */
function statesOf({ question, permission, facts }: Case): Missing[] {
  const { is_active, is_within, closed_depth } = facts;
  const closed = placeAt(facts, closed_depth);
  const status = facts.tenants[closed_depth ?? 0]?.status ?? "not active";
  const all: [boolean, Missing][] = [
    [!is_active, missing("user_inactive", "The user is deactivated")],
    [
      !is_within,
      missing("lives_elsewhere", "People act where they live and below: this tenant is neither"),
    ],
    [
      closed_depth !== null,
      missing("tenant_closed", `${spoken(closed)} is ${closed.id ? status : "not active"}`, {
        tenant: closed,
      }),
    ],
    [
      question.scopes !== null && !question.scopes[permission],
      missing("not_in_scopes", `The scopes of this key do not hold ${permission}`),
    ],
  ];
  return all.flatMap(([isSo, one]) => isSo ? [one] : []);
}

function nothingGivesIt({ permission }: Case): Missing {
  return everybodys[permission]
    ? missing("reach", "Everybody may do it in the tenant they live in, and there alone")
    : missing("no_role_gives_it", `No role of theirs gives ${permission}`);
}

const momentOf = (words: (string | null)[]) =>
  words.flatMap((word) => word === null ? [] : [new Date(word)])
    .toSorted((a, b) => a.getTime() - b.getTime());

function missingOf(it: Case, { told, miss }: Judged): Missing[] {
  // Where else somebody from above has a role is not the asker's to know.
  if (miss === null || (it.isFromAbove && told.depth === null)) return [];
  const { facts } = it;
  const place = told.depth === null
    ? { id: told.place_name === null ? null : told.applies_to, name: told.place_name }
    : placeAt(facts, told.depth);
  const role = roleOf(it, told);
  const bindingId = it.isFromAbove ? null : told.binding_id;
  const startsAt = momentOf([told.bound_from, told.member_from]).at(-1) ?? null;
  const endsAt = momentOf([told.bound_to, told.member_to]).at(0) ?? null;
  const given = place.name ?? (told.depth === null ? "another tenant" : "a tenant above");
  const says: Record<Miss, () => Partial<Missing> & { sentence: string }> = {
    elsewhere: () => ({ sentence: `It is given in ${given}, not in one above` }),
    not_current: () =>
      it.isFromAbove
        ? { sentence: "It does not hold at this time" }
        : { sentence: period(startsAt, endsAt, it.now), startsAt, endsAt },
    inactive_role: () => ({ sentence: `The role ${role.name ?? "that gives it"} is not in use` }),
    stopped: () => {
      const tenant = placeAt(facts, facts.barrier_depth);
      return { sentence: `${spoken(tenant)} does not inherit what is given above it`, tenant };
    },
    reach: () => ({ sentence: `It is given in ${given} alone, not below it` }),
  };
  const { sentence, ...more } = says[miss]();
  return [missing(miss, sentence, { bindingId, role, tenant: place, ...more })];
}

const day = (at: Date) => at.toISOString().replace("T", " ").replace(/:\d\d\.\d+Z$/, " UTC");
function period(startsAt: Date | null, endsAt: Date | null, now: Date): string {
  const from = startsAt && `${startsAt > now ? "begins" : "began"} at ${day(startsAt)}`;
  const to = endsAt && `${endsAt > now ? "ends" : "ended"} at ${day(endsAt)}`;
  return `It ${[from, to].filter(Boolean).join(" and ")}`;
}
