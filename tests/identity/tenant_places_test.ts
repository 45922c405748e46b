/** Suspending, activating and closing: for those above alone, felt by everything below, and undone as it says. */
import assert from "node:assert/strict";
import { ROOT_TENANT } from "../../src/topics.ts";
import type { Person } from "../kit.ts";
import { actingIn, bind, somebody } from "./bound.ts";
import { home, type Login } from "./house.ts";
import { refusal, said } from "./said.ts";
import { treeFaults } from "./tree.ts";

const h = await home();
const tenantsOf = (person: Person) => h.w.as(person).identity.tenants;
const operator = tenantsOf(h.w.operator);

async function family() {
  const top = await h.tenantBelow();
  const child = await h.tenantBelow(top, "Harbour Mill");
  const grandchild = await h.tenantBelow(child);
  const owner = await h.w.person(top, "owner");
  return { top, child, grandchild, owner, tenants: tenantsOf(owner) };
}

/** A token from the front door, and whether it opens anything. */
async function signedIn({ email, password, tenantId: tenant }: Login) {
  const { body } = await h.send("/auth/sign-in", { email, password, tenant });
  const headers = { authorization: `Bearer ${body.access_token}` };
  return async () => (await h.send("/auth/me", {}, { method: "GET", headers })).status;
}
const signsIn = async ({ email, password, tenantId: tenant }: Login) =>
  (await h.send("/auth/sign-in", { email, password, tenant })).status;

/** Every process looks again within five seconds. */
const later = () => h.clock.ms += 6_000;

Deno.test("a suspension ends what is done below within seconds, and activation lets it go on", async () => {
  const { child, grandchild, tenants } = await family();
  const beside = await h.login(await h.tenantBelow());
  const [inside, deep] = [await h.login(child), await h.login(grandchild)];
  const opens = [await signedIn(inside), await signedIn(deep), await signedIn(beside)];
  const answers = () => Promise.all(opens.map((open) => open()));
  assert.deepEqual(await answers(), [200, 200, 200]);
  const { tenant } = await tenants.suspend({ id: child });
  assert.deepEqual([tenant.status, tenant.isActive, tenant.isOpen], ["suspended", false, false]);
  later();
  assert.deepEqual(await answers(), [401, 401, 200]);
  assert.deepEqual([await signsIn(deep), await signsIn(beside)], [401, 200]);
  const below = await tenants.get({ id: grandchild });
  assert.deepEqual([below.status, below.isActive, below.isOpen], ["active", true, false]);
  await tenants.activate({ id: child });
  later();
  assert.deepEqual(await answers(), [200, 200, 200]);
  assert.equal((await tenants.get({ id: grandchild })).isOpen, true);
  assert.deepEqual(await treeFaults(h.sql), []);
});

Deno.test("a tenant suspended by itself stays so when the one above is activated", async () => {
  const { child, grandchild, tenants } = await family();
  await tenants.suspend({ id: grandchild });
  await tenants.suspend({ id: child });
  await tenants.activate({ id: child });
  const { isOpen, status } = await tenants.get({ id: grandchild });
  assert.deepEqual([isOpen, status], [false, "suspended"]);
});

Deno.test("each change leaves one entry and one event, and its repetition none", async () => {
  const { top, child, tenants } = await family();
  const before = [await h.trail(top), await h.eventTypes(top)].map(({ length }) => length);
  for (let again = 0; again < 2; again++) await tenants.suspend({ id: child });
  for (let again = 0; again < 2; again++) await tenants.activate({ id: child });
  for (let again = 0; again < 2; again++) {
    await tenants.close({ id: child, confirm: "Harbour Mill" });
  }
  const done = ["tenant.suspended", "tenant.activated", "tenant.closed"];
  const [entries = 0, events = 0] = before;
  assert.deepEqual((await h.trail(top)).slice(entries).map(({ action }) => action), done);
  assert.deepEqual((await h.eventTypes(top)).slice(events), done);
});

Deno.test("no tenant suspends, activates or closes itself, and nobody the root", async () => {
  const { top, tenants } = await family();
  const changes = {
    suspended: (id: string, of = tenants) => of.suspend({ id }),
    activated: (id: string, of = tenants) => of.activate({ id }),
    closed: (id: string, of = tenants) => of.close({ id, confirm: "Harbour Bakery" }),
  };
  for (const [done, change] of Object.entries(changes)) {
    const { code, reason, message } = await refusal(change(top));
    assert.deepEqual([code, reason], ["Conflict", "tenant.own"]);
    assert.match(message, new RegExp(`not ${done} from within.*in a tenant above it`));
    assert.equal(await said(change(ROOT_TENANT, operator)), "tenant.root");
    assert.equal(await said(change(ROOT_TENANT)), "tenant.not_found");
  }
});

Deno.test("tenants aside, above, or below without subtree reach do not exist", async () => {
  const { top, child, owner } = await family();
  const theirs = await family();
  const admin = tenantsOf(await h.w.person(top, "admin"));
  for (const id of [theirs.top, theirs.child, crypto.randomUUID()]) {
    assert.equal(await said(tenantsOf(owner).suspend({ id })), "tenant.not_found");
    assert.equal(await said(tenantsOf(owner).close({ id, dryRun: true })), "tenant.not_found");
    assert.equal(await said(tenantsOf(owner).activate({ id })), "tenant.not_found");
  }
  assert.equal(await said(admin.suspend({ id: child })), "tenant.not_found");
  assert.equal(await said(tenantsOf(owner).suspend({ id: child })), "done");
});

Deno.test("a dry run says how much would be reached, and changes nothing", async () => {
  const { top, child, grandchild, tenants } = await family();
  const people = [await h.login(child), await h.login(grandchild), await h.login(grandchild)];
  await h.sql("update users set status = 'suspended' where id = $1", [people[2]?.userId]);
  await h.login(top);
  const admin = await h.w.person(grandchild, "admin");
  const { apiKey } = await h.w.as(admin).identity.apiKeys.create({
    name: "k",
    scopes: ["users.read"],
  });
  const trail = (await h.trail(top)).length;
  const expected = { tenants: 2, users: 3, apiKeys: 1, isComplete: true };
  for (const run of [tenants.suspend, tenants.close]) {
    const { isDryRun, reached, tenant } = await run({ id: child, dryRun: true });
    assert.deepEqual([isDryRun, reached, tenant.status], [true, expected, "active"]);
  }
  assert.equal((await h.trail(top)).length, trail);
  await h.w.as(admin).identity.apiKeys.revoke({ id: apiKey.id });
  const { isDryRun, reached } = await tenants.suspend({ id: child });
  assert.deepEqual([isDryRun, reached], [false, { ...expected, apiKeys: 0 }]);
});

Deno.test("close wants the tenant's name typed again", async () => {
  const { child, tenants } = await family();
  for (const confirm of [undefined, "", "harbour mill", child, "Harbour Bakery"]) {
    const { code, more } = await refusal(tenants.close({ id: child, confirm }));
    assert.deepEqual([code, more.fields], ["ValidationError", [{
      field: "confirm",
      message: "Give the tenant's name, Harbour Mill, to close it for good",
    }]]);
  }
  assert.equal((await tenants.get({ id: child })).status, "active");
  const { tenant } = await tenants.close({ id: child, confirm: " Harbour Mill " });
  assert.deepEqual([tenant.status, tenant.isOpen], ["closed", false]);
});

Deno.test("what is closed is not suspended, and is opened again by an operator alone", async () => {
  const { child, tenants } = await family();
  await tenants.suspend({ id: child });
  await tenants.close({ id: child, confirm: "Harbour Mill" });
  assert.equal(await said(tenants.suspend({ id: child })), "tenant.closed");
  const { code, reason, message } = await refusal(tenants.activate({ id: child }));
  assert.deepEqual([code, reason], ["Forbidden", "tenant.closed"]);
  assert.match(message, /only an operator, with global reach/);
  assert.equal((await operator.activate({ id: child })).isOpen, true);
});

Deno.test("suspending takes the permission as far as the tenant it lies in", async () => {
  const { top, child, grandchild } = await family();
  const who = await somebody(h, top);
  await bind(h, who, top, { "tenants.suspend": "subtree" });
  const tenants = h.w.as(await actingIn(h, who, top)).identity.tenants;
  await operator.update({ id: child, inheritsAccess: false });
  assert.equal(await said(tenants.suspend({ id: grandchild })), "tenant.not_inheriting");
  assert.equal(await said(tenants.suspend({ id: child })), "done");
});

Deno.test("the house of this test is closed", () => h.w.close());
