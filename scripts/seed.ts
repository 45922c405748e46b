/** The invented world a fresh installation on a laptop begins with. */
import { isNull } from "drizzle-orm";
import { platforms } from "../db/schema/platforms.ts";
import { asSystem, type Services, type TenantCtx, transact } from "../src/context.ts";
import * as groupMembers from "../src/identity/group_members.ts";
import * as groups from "../src/identity/groups.ts";
import * as roleBindings from "../src/identity/role_bindings.ts";
import * as roles from "../src/identity/roles.ts";
import * as tenants from "../src/identity/tenants.ts";
import * as users from "../src/identity/users.ts";
import * as catalogue from "../src/platforms/catalogue.ts";
import { providers } from "../src/platforms/providers.ts";
import * as teams from "../src/teams/teams.ts";
import { ROOT_TENANT } from "../src/topics.ts";

type SignIn = { email: string; password: string };
export type DemoWorld = {
  url: string;
  operator: SignIn;
  tenants: { id: string; name: string; admin: SignIn; member: SignIn }[];
  team: DemoTeam;
};
/** A team any OpenAI client can chat as, with this key and these models. */
export type DemoTeam = { platform_name: string; api_key: string; models: string[] };

/** A reseller, its customer and the customer's branch, and a company of its own. */
const companies = [
  {
    key: "northlight",
    below: null,
    name: "Northlight Partners",
    domain: "northlight.example",
    admin: "Nadia Farouk",
    role: "owner",
    member: "Leo Castellan",
  },
  {
    key: "harbour",
    below: "northlight",
    name: "Harbour Bakery",
    domain: "harbour-bakery.example",
    admin: "Ada Okafor",
    role: "owner",
    member: "Milo Brandt",
  },
  {
    key: "quayside",
    below: "harbour",
    name: "Harbour Bakery Quayside",
    domain: "quayside.harbour-bakery.example",
    admin: "Priya Raman",
    role: "admin",
    member: "Sam Lindqvist",
  },
  {
    key: "nordwind",
    below: null,
    name: "Nordwind Logistics",
    domain: "nordwind.example",
    admin: "Ingrid Solheim",
    role: "admin",
    member: "Tomas Reyes",
  },
] as const;

/** Who reads the file finds the company of the walk-through first. */
const shownAs = ["harbour", "nordwind", "northlight", "quayside"];

/** Twenty letters and digits, read out easily: 100 random bits. */
export function newPassword(): string {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789z";
  const bytes = crypto.getRandomValues(new Uint8Array(20));
  return Array.from(bytes, (byte) => letters.charAt(byte % 32)).join("").replace(
    /(.{5})(?=.)/g,
    "$1-",
  );
}

/** Founds the root tenant with one operator, unless there is one. */
export async function seedOperator(services: Services, email: string, displayName: string) {
  const root = () => asSystem(services, ROOT_TENANT);
  if (!await tenants.foundRoot(root(), "Switchboard")) return null;
  const password = newPassword();
  await users.create(root(), { email, displayName, password, systemRole: "operator" });
  return { email, password };
}

/** Puts every provider of the list into the catalogue that is not there yet; answers how many. */
export function seedCatalogue(services: Services): Promise<number> {
  return transact(asSystem(services, ROOT_TENANT), async (ctx) => {
    const rows = await ctx.db.select({ name: platforms.name }).from(platforms)
      .where(isNull(platforms.deletedAt));
    const known = new Set(rows.map(({ name }) => name.toLowerCase()));
    const missing = providers.filter(({ name }) => !known.has(name.toLowerCase()));
    for (const provider of missing) await catalogue.create(ctx, provider);
    return missing.length;
  });
}

/** Groups in groups, the innermost with one person in it, and a role that the outermost gives. */
async function seedGroups(ctx: () => TenantCtx, userId: string) {
  const group = (name: string) => groups.create(ctx(), { name });
  const [everyone, bakers, night] = [
    await group("Everyone"),
    await group("Bakers"),
    await group("Night shift"),
  ];
  await groupMembers.add(ctx(), { groupId: everyone.id, memberGroupId: bakers.id });
  await groupMembers.add(ctx(), { groupId: bakers.id, memberGroupId: night.id });
  await groupMembers.add(ctx(), { groupId: night.id, userId, isHolding: true });
  const role = await roles.create(ctx(), {
    name: "Colleague",
    description: "Sees who else works here",
    permissions: [
      { permission: "users.read", reach: "tenant" },
      { permission: "groups.read", reach: "tenant" },
    ],
  });
  await roleBindings.create(ctx(), { groupId: everyone.id, roleId: role.id });
}

/** The bakery's team, with a key of its own that is written down nowhere else. */
export async function seedTeam(
  services: Services,
  tenantId: string,
  models: readonly string[],
): Promise<DemoTeam> {
  const team = await teams.create(asSystem(services, tenantId), {
    displayName: "Harbour Bakery Helpdesk",
    platformName: `harbour-bakery-${crypto.randomUUID().slice(0, 4)}`,
    dailyQuota: 2_000,
  });
  return { platform_name: team.platformName, api_key: team.apiKey, models: [...models] };
}

/** The demo world, made once: null when the database has people already. */
export async function seedDemo(
  services: Services,
  models: readonly string[],
): Promise<DemoWorld | null> {
  const operator = await seedOperator(services, "olive@switchboard.example", "Olive Marsh");
  if (!operator) return null;
  await seedCatalogue(services);
  const made = new Map<string, DemoWorld["tenants"][number]>();
  for (const company of companies) {
    const above = company.below === null ? ROOT_TENANT : made.get(company.below)?.id ?? ROOT_TENANT;
    const tenant = await tenants.create(asSystem(services, above), { name: company.name });
    const person = async (displayName: string, systemRole: string) => {
      const email = `${displayName.split(" ")[0]?.toLowerCase()}@${company.domain}`;
      const password = newPassword();
      const ctx = asSystem(services, tenant.id);
      const { id } = await users.create(ctx, { email, displayName, password, systemRole });
      return { id, signIn: { email, password } };
    };
    const [admin, member] = [
      await person(company.admin, company.role),
      await person(company.member, "member"),
    ];
    const { id, name } = tenant;
    made.set(company.key, { id, name, admin: admin.signIn, member: member.signIn });
    if (company.key === "harbour") await seedGroups(() => asSystem(services, id), member.id);
  }
  const shown = shownAs.flatMap((key) => made.get(key) ?? []);
  return {
    url: services.publicUrl,
    operator,
    tenants: shown,
    team: await seedTeam(services, shown[0]?.id ?? ROOT_TENANT, models),
  };
}
