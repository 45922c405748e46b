/** The invented world a fresh installation on a laptop begins with. */
import { isNull } from "drizzle-orm";
import { platforms } from "../db/schema/platforms.ts";
import { asSystem, type Services, transact } from "../src/context.ts";
import * as tenants from "../src/identity/tenants.ts";
import * as users from "../src/identity/users.ts";
import * as catalogue from "../src/platforms/catalogue.ts";
import { providers } from "../src/platforms/providers.ts";
import { ROOT_TENANT } from "../src/topics.ts";

type SignIn = { email: string; password: string };
export type DemoWorld = {
  url: string;
  operator: SignIn;
  tenants: { id: string; name: string; admin: SignIn; member: SignIn }[];
};

const companies = [
  {
    name: "Harbour Bakery",
    domain: "harbour-bakery.example",
    admin: "Ada Okafor",
    member: "Milo Brandt",
  },
  {
    name: "Nordwind Logistics",
    domain: "nordwind.example",
    admin: "Ingrid Solheim",
    member: "Tomas Reyes",
  },
];

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

/** The demo world, made once: null when the database has people already. */
export async function seedDemo(services: Services): Promise<DemoWorld | null> {
  const operator = await seedOperator(services, "olive@switchboard.example", "Olive Marsh");
  if (!operator) return null;
  await seedCatalogue(services);
  const made: DemoWorld["tenants"] = [];
  for (const company of companies) {
    const tenant = await tenants.create(asSystem(services, ROOT_TENANT), { name: company.name });
    const person = async (displayName: string, systemRole: string): Promise<SignIn> => {
      const email = `${displayName.split(" ")[0]?.toLowerCase()}@${company.domain}`;
      const password = newPassword();
      const ctx = asSystem(services, tenant.id);
      await users.create(ctx, { email, displayName, password, systemRole });
      return { email, password };
    };
    made.push({
      id: tenant.id,
      name: company.name,
      admin: await person(company.admin, "admin"),
      member: await person(company.member, "member"),
    });
  }
  return { url: services.publicUrl, operator, tenants: made };
}
