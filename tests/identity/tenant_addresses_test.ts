/** Addresses of a tenant: complete, in countries there are, and nobody else's. */
import assert from "node:assert/strict";
import type { Person } from "../kit.ts";
import { home } from "./house.ts";
import { said } from "./said.ts";

const h = await home();
const addressesOf = (person: Person) => h.w.as(person).identity.tenantAddresses;
const address = {
  kind: "registered" as const,
  lines: ["Harbour Bakery", "Hafenstraße 1"],
  city: "Hamburg",
  region: "Hamburg",
  postalCode: "20457",
  country: "DE",
};

async function tenant() {
  const id = await h.tenantBelow();
  const admin = await h.w.person(id, "admin");
  return { id, admin, addresses: addressesOf(admin) };
}

Deno.test("an address is made, read, changed in parts, and deleted, each time on the record", async () => {
  const { id: tenantId, addresses } = await tenant();
  const { id, createdAt: _, updatedAt: __, ...made } = await addresses.create(address);
  assert.deepEqual(made, address);
  const changed = await addresses.update({ id, city: "Bremen", region: null });
  assert.deepEqual([changed.city, changed.region, changed.lines], ["Bremen", null, address.lines]);
  assert.deepEqual(await addresses.update({ id, city: "Bremen" }), changed);
  assert.deepEqual(await addresses.get({ id }), changed);
  await addresses.delete({ id });
  assert.equal(await said(addresses.get({ id })), "tenant_address.not_found");
  const done = ["created", "updated", "deleted"].map((verb) => `tenant_address.${verb}`);
  const of = (all: string[]) => all.filter((action) => action.startsWith("tenant_address"));
  assert.deepEqual(of((await h.trail(tenantId)).map(({ action }) => String(action))), done);
  assert.deepEqual(of(await h.eventTypes(tenantId)), done);
});

Deno.test("the countries are the 249 of ISO 3166-1, in capitals", async () => {
  const { admin } = await tenant();
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  const codes = letters.flatMap((a) => letters.map((b) => `${a}${b}`));
  const accepted: string[] = [];
  for (const country of codes) {
    const body = JSON.stringify({ ...address, country, postal_code: "1", lines: [] });
    const answer = await h.w.request("/api/v1/tenant-addresses", { method: "POST", body }, admin);
    const { errors } = await answer.json();
    const fields: unknown[] = errors.map(({ field }: { field: unknown }) => field);
    if (!fields.includes("country")) accepted.push(country);
  }
  assert.equal(accepted.length, 249);
  for (const country of ["DE", "US", "TW", "SS", "AX", "BQ"]) assert.ok(accepted.includes(country));
  for (const none of ["UK", "EU", "XK", "ZZ", "SU", "AA"]) assert.ok(!accepted.includes(none));
});

Deno.test("a part that is not as it should be is refused and named", async () => {
  const { admin } = await tenant();
  const wrong: [string, object][] = [
    ["lines", { lines: [] }],
    ["lines", { lines: ["1", "2", "3", "4", "5", "6"] }],
    ["lines.0", { lines: [" "] }],
    ["city", { city: "" }],
    ["country", { country: "de" }],
    ["country", { country: "Germany" }],
    ["kind", { kind: "home" }],
    ["postal_code", { postal_code: "20457\n" + "x".repeat(40) }],
  ];
  for (const [field, more] of wrong) {
    const { postalCode: postal_code, ...rest } = address;
    const body = JSON.stringify({ ...rest, postal_code, ...more });
    const answer = await h.w.request("/api/v1/tenant-addresses", { method: "POST", body }, admin);
    const { errors } = await answer.json();
    assert.equal(answer.status, 400);
    assert.deepEqual(errors.map((error: { field: string }) => error.field), [field]);
  }
});

Deno.test("list keeps to a kind, page by page, newest first", async () => {
  const { addresses } = await tenant();
  const kinds = ["billing", "site", "billing", "shipping", "billing"] as const;
  for (const kind of kinds) await addresses.create({ ...address, kind });
  const all = await addresses.list({});
  assert.deepEqual(all.tenantAddresses.map(({ kind }) => kind), kinds.toReversed());
  const page = await addresses.list({ kind: "billing", limit: 2 });
  const rest = await addresses.list({ kind: "billing", cursor: page.nextCursor ?? "" });
  assert.deepEqual([page.tenantAddresses.length, rest.tenantAddresses.length], [2, 1]);
});

Deno.test("addresses of another tenant do not exist, and a permission for one's own things reaches none", async () => {
  const { admin, addresses } = await tenant();
  const { id } = await addresses.create(address);
  const self = { "tenants.read": "self", "tenants.update": "self" } as const;
  const strangers = [(await tenant()).addresses, addressesOf({ ...admin, grants: self })];
  for (const stranger of strangers) {
    assert.equal(await said(stranger.get({ id })), "tenant_address.not_found");
    assert.equal(await said(stranger.update({ id, city: "Kiel" })), "tenant_address.not_found");
    assert.equal(await said(stranger.delete({ id })), "tenant_address.not_found");
    assert.deepEqual((await stranger.list({})).tenantAddresses, []);
  }
  assert.equal(
    await said(addressesOf({ ...admin, grants: self }).create(address)),
    "tenant.not_found",
  );
  const stale = h.w.as(admin, { ifMatch: '"stale"' }).identity.tenantAddresses;
  assert.equal(await said(stale.update({ id, city: "Kiel" })), "row.changed");
  assert.equal(await said(stale.delete({ id })), "row.changed");
  assert.equal((await addresses.get({ id })).city, "Hamburg");
});

Deno.test("the house of this test is closed", () => h.w.close());
