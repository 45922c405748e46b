/** Where inheritance is stopped, whoever stands above learns nothing and becomes nobody. */
import assert from "node:assert/strict";
import type { Person } from "../kit.ts";
import { companies } from "./companies.ts";
import { home } from "./house.ts";
import { refusal } from "./sso_house.ts";

const h = await home();
Deno.test.afterAll(() => h.w.close());
const { bind, changed, of } = companies(h);
const permission = "audit.read" as const;

/** A company, a branch that inherits nothing from it and one that does, a shop below the first. */
async function walled() {
  const company = await h.tenantBelow();
  const vault = await h.tenantBelow(company, "Vault");
  const shop = await h.tenantBelow(vault, "Shop");
  const branch = await h.tenantBelow(company, "Branch");
  const boss = await h.w.person(company, "owner");
  const trusted = await h.w.person(company, "member");
  await bind(company, { user: trusted.userId, at: vault, systemRole: "owner" });
  const keeper = await h.w.person(vault, "owner");
  const clerk = await h.w.person(branch, "owner");
  await h.w.as(keeper).identity.tenants.update({ id: vault, inheritsAccess: false });
  await changed(company);
  return { company, vault, shop, branch, boss, trusted, keeper, clerk };
}

const reasonOf = async (work: Promise<unknown>) => (await refusal(work)).reason;
const idOf = (person: Person) => String(person.userId);

Deno.test("from above nobody asks about a tenant that inherits nothing from them, or one below it", async () => {
  const { company, vault, shop, branch, boss, trusted, keeper } = await walled();
  const asked = of(boss, "subtree");
  const abouts = [
    {},
    { userId: idOf(trusted), homeTenantId: company },
    { userId: idOf(keeper), homeTenantId: vault },
  ];
  for (const tenantId of [vault, shop]) {
    for (const about of abouts) {
      const question = { permission, tenantId, ...about };
      assert.equal(await reasonOf(asked.check(question)), "tenant.not_found");
      assert.equal(await reasonOf(asked.explain(question)), "tenant.not_found");
      assert.equal(await reasonOf(asked.list(question)), "tenant.not_found");
      assert.equal(await reasonOf(asked.list({ tenantId, ...about })), "tenant.not_found");
    }
  }
  assert.equal((await asked.check({ permission, tenantId: branch })).allowed, true);
  assert.equal((await asked.explain({ permission, tenantId: branch })).allowed, true);
  assert.ok((await asked.list({ permission, tenantId: branch })).grants.length > 0);
});

Deno.test("from above nobody asks about people who live where nothing is inherited", async () => {
  const { vault, branch, boss, keeper, clerk } = await walled();
  const asked = of(boss, "subtree");
  const hidden = { permission, userId: idOf(keeper), homeTenantId: vault };
  assert.equal(await reasonOf(asked.check(hidden)), "user.not_found");
  assert.equal(await reasonOf(asked.explain(hidden)), "user.not_found");
  assert.equal(await reasonOf(asked.list(hidden)), "user.not_found");
  const seen = { permission, userId: idOf(clerk), homeTenantId: branch };
  assert.equal((await asked.check(seen)).allowed, false);
  assert.equal((await asked.explain(seen)).allowed, false);
  assert.deepEqual((await asked.list(seen)).grants.map(({ tenantId }) => tenantId), [branch]);
});

Deno.test("where somebody may is told without what inherits nothing, unless it is oneself", async () => {
  const { company, vault, shop, branch, boss, trusted } = await walled();
  await bind(company, { user: trusted.userId, at: branch, systemRole: "auditor" });
  await changed(company);
  const where = { permission, userId: idOf(trusted) };
  const placesOf = async (asked: ReturnType<typeof of>) =>
    (await asked.list(where)).grants.map(({ tenantId }) => tenantId).sort();
  assert.deepEqual(await placesOf(of(boss, "subtree")), [branch]);
  const all = [vault, shop, branch].sort();
  assert.deepEqual(await placesOf(of(trusted, "subtree")), all);
  assert.deepEqual(await placesOf(of(boss, "global")), all);
});

Deno.test("whoever's reach is global, stands inside, or asks about themselves is answered", async () => {
  const { company, vault, shop, trusted, keeper } = await walled();
  const { operator } = h.w;
  const about = { permission, tenantId: vault, userId: idOf(keeper), homeTenantId: vault };
  const global = of({ ...operator, tenantId: company }, "global");
  const all = { allowed: true, reach: "subtree" };
  for (const asked of [global, of(operator, "global"), of(keeper, "subtree")]) {
    assert.deepEqual(await asked.check(about), all);
    assert.equal((await asked.explain(about)).allowed, true);
    assert.equal((await asked.list(about)).grants.length, 1);
    assert.ok((await asked.list({ permission, tenantId: shop })).grants.length > 0);
  }
  assert.equal(await reasonOf(of(operator, "subtree").check(about)), "tenant.not_found");
  for (const tenantId of [vault, shop]) {
    const own = { permission, tenantId };
    assert.deepEqual(await of(trusted, "self").check(own), all);
    assert.equal((await of(trusted, "self").explain(own)).allowed, true);
    assert.equal((await of(trusted, "self").list({ tenantId })).grants.length > 0, true);
  }
  const inside = { permission, userId: idOf(trusted), homeTenantId: company };
  assert.deepEqual(await of(keeper, "tenant").check(inside), all);
});

const provider = (more: Record<string, unknown> = {}) => ({
  name: `Provider ${crypto.randomUUID()}`,
  issuer: "https://idp.example",
  clientId: "client",
  clientSecret: "a client secret",
  ...more,
});

Deno.test("a provider that becomes anybody takes all that anybody holds, also where nothing is inherited", async () => {
  const { company, vault, boss, trusted } = await walled();
  const api = h.w.as(boss).identity.identityProviders;
  const refused = async (work: Promise<unknown>, field: string) => {
    const { reason, more: { fields = [] } } = await refusal(work);
    assert.deepEqual([reason, fields[0]?.field], ["grant.beyond", field]);
  };
  const linking = { linksUsers: true };
  await refused(api.create(provider(linking)), "links_users");
  const { id } = await api.create(provider());
  await refused(api.update({ id, ...linking }), "links_users");
  await h.sql(
    `insert into user_identities (tenant_id, id, owner_user_id, identity_provider_id, subject, last_sign_in_at)
     values ($1, gen_random_uuid(), $2, $3, 'ada', now())`,
    [company, trusted.userId, id],
  );
  for (const change of [{ clientId: "mine" }, { clientSecret: "mine" }]) {
    await refused(api.update({ id, ...change }), "issuer");
  }
  await api.delete({ id });
  await refused(api.activate({ id }), "issuer");
  // What the boss holds there themselves they may give.
  await bind(company, { user: boss.userId, at: vault, systemRole: "owner" });
  await changed(company);
  await api.activate({ id });
  await api.update({ id, clientId: "mine", ...linking });
  assert.equal((await api.create(provider(linking))).linksUsers, true);
});

Deno.test("a provider that becomes anybody needs no more where everything is inherited", async () => {
  const company = await h.tenantBelow();
  const branch = await h.tenantBelow(company, "Branch");
  const boss = await h.w.person(company, "owner");
  const manager = await h.w.person(company, "member");
  await bind(company, { user: manager.userId, at: branch, systemRole: "owner" });
  await changed(company);
  const made = await h.w.as(boss).identity.identityProviders.create(provider({ linksUsers: true }));
  assert.equal(made.linksUsers, true);
});
