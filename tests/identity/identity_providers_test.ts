/** Identity providers: set up by whoever holds what they can give away, their secrets shown to nobody. */
import assert from "node:assert/strict";
import { etagOf } from "../../src/etags.ts";
import { claimed, clientSecret, refusal, type SsoHome, ssoHome } from "./sso_house.ts";
import type { Login } from "./house.ts";

let h: SsoHome;
Deno.test.beforeAll(async () => void (h = await ssoHome()));
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now(); // What a provider signs is of now.
});
Deno.test.afterAll(() => h.close());

const api = (who: Login) => h.w.as(who).identity.identityProviders;
const input = (more: Record<string, unknown> = {}) => ({
  name: `Provider ${crypto.randomUUID()}`,
  issuer: h.provider.issuer,
  clientId: "client",
  clientSecret,
  ...more,
});
const reasonOf = async (work: Promise<unknown>) => (await refusal(work)).reason;

async function people() {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: "owner" });
  const admin = await h.login(tenantId, { role: "admin" });
  return { tenantId, owner, admin };
}

Deno.test("identityProviders.create stores a provider, its secret sealed and shown to nobody", async () => {
  const { tenantId, owner } = await people();
  const made = await api(owner).create(input({ scopes: ["email", "openid", "email"] }));
  assert.equal(made.clientSecret, "********");
  assert.match(made.secretFingerprint, /^fp:/);
  assert.deepEqual(made.scopes, ["openid", "email"]);
  assert.deepEqual(
    [made.isActive, made.createsUsers, made.linksUsers, made.systemRole, made.mappings],
    [true, false, false, null, []],
  );
  const [row] = await h.sql("select client_secret from identity_providers where id = $1", [
    made.id,
  ]);
  assert.match(String(row?.client_secret), /^sb1\./);
  const shown = JSON.stringify([
    made,
    await api(owner).get({ id: made.id }),
    await api(owner).list({}),
    await h.sql("select diff from audit_entries where tenant_id = $1", [tenantId]),
    await h.sql("select data from events where tenant_id = $1", [tenantId]),
  ]);
  assert.ok(!shown.includes(clientSecret) && !shown.includes("sb1."));
  assert.ok(shown.includes(made.secretFingerprint));
  assert.ok(!h.lines.some((line) => line.includes(clientSecret)));
});

Deno.test("identityProviders.create refuses what cannot work, naming the field", async () => {
  const { owner } = await people();
  await api(owner).create(input({ name: "Staff" }));
  assert.equal(
    await reasonOf(api(owner).create(input({ name: " Staff " }))),
    "identity_provider.already_exists",
  );
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ issuer: "ftp://a.example" }, /https address/],
    [{ issuer: "https://user@a.example" }, /https address/],
    [{ issuer: "https://a.example?x=1" }, /without a query/],
    [{ issuer: "https://a.example#x" }, /https address/],
    [{ clientSecret: "********" }, /not the mask/],
    [{ clientSecret: "" }, /client secret/],
    [{ scopes: ["two words"] }, /one scope/],
    [{ returnUris: ["javascript:alert(1)"] }, /https address/],
    [{ systemRole: "emperor" }, /Give one of/],
    [{ systemRole: "operator" }, /root tenant/],
    [{ mappings: [{ claimValue: "x", groupId: crypto.randomUUID() }] }, /groups of this tenant/],
    [{ mappings: [{ claimValue: "", groupId: crypto.randomUUID() }] }, /word of the claim/],
  ];
  for (const [more, sentence] of wrong) {
    await assert.rejects(api(owner).create(input(more)), sentence, JSON.stringify(more));
  }
});

Deno.test("identityProviders.update changes what is given and keeps the secret behind its mask", async () => {
  const { tenantId, owner } = await people();
  const made = await api(owner).create(
    input({ groupClaim: "groups", returnUris: ["https://a.example/"] }),
  );
  const { id } = made;
  const renamed = await api(owner).update({ id, name: "New", clientSecret: "********" });
  assert.deepEqual(
    { ...renamed, name: made.name, updatedAt: made.updatedAt },
    made,
    "nothing but the name",
  );
  const cleared = await api(owner).update({ id, groupClaim: null, returnUris: null, scopes: null });
  assert.deepEqual([cleared.groupClaim, cleared.returnUris, cleared.scopes], [null, [], [
    "openid",
  ]]);
  const rotated = await api(owner).update({ id, clientSecret: "another secret" });
  assert.notEqual(rotated.secretFingerprint, made.secretFingerprint);
  const [entry] = await h.sql(
    "select diff from audit_entries where tenant_id = $1 order by id desc limit 1",
    [tenantId],
  );
  assert.deepEqual(Reflect.get(Object(entry?.diff), "client_secret"), {
    before: made.secretFingerprint,
    after: rotated.secretFingerprint,
  });
  const other = await api(owner).create(input({ name: "Other" }));
  assert.equal(
    await reasonOf(api(owner).update({ id: other.id, name: "New" })),
    "identity_provider.already_exists",
  );
  await api(owner).update({ id: other.id, name: "Other" });
});

Deno.test("identityProviders.update heeds If-Match", async () => {
  const { owner } = await people();
  const made = await api(owner).create(input());
  const matching = (tag: string) => h.w.as(owner, { ifMatch: tag }).identity.identityProviders;
  const stale = etagOf(made.id, new Date(0));
  assert.equal(await reasonOf(matching(stale).update({ id: made.id, name: "x" })), "row.changed");
  assert.equal(await reasonOf(matching(stale).delete({ id: made.id })), "row.changed");
  await matching(etagOf(made.id, made.updatedAt)).update({ id: made.id, name: "x" });
});

Deno.test("identityProviders.delete and activate take out of use and back, and repeat nothing", async () => {
  const { tenantId, owner } = await people();
  const { id } = await api(owner).create(input());
  const actions = async () => (await h.trail(tenantId)).map(({ action }) => action).slice(-2);
  await api(owner).delete({ id });
  await api(owner).delete({ id });
  assert.equal((await api(owner).get({ id })).isActive, false);
  assert.deepEqual((await api(owner).list({ isActive: true })).identityProviders, []);
  assert.deepEqual(await actions(), ["identity_provider.created", "identity_provider.deactivated"]);
  assert.equal((await api(owner).activate({ id })).isActive, true);
  await api(owner).activate({ id });
  assert.deepEqual(await actions(), [
    "identity_provider.deactivated",
    "identity_provider.activated",
  ]);
});

Deno.test("identityProviders.list pages, newest first, each with its own mappings", async () => {
  const { owner } = await people();
  const { id: groupId } = await h.w.as(owner).identity.groups.create({ name: "g" });
  const made = [];
  for (const claimValue of ["a", "b", "c"]) {
    made.push(await api(owner).create(input({ mappings: [{ claimValue, groupId }] })));
  }
  const first = await api(owner).list({ limit: 2 });
  const rest = await api(owner).list({ limit: 2, cursor: first.nextCursor ?? "" });
  const all = [...first.identityProviders, ...rest.identityProviders];
  assert.deepEqual(all, made.toReversed());
  assert.equal(rest.nextCursor, null);
});

Deno.test("identityProviders.test asks the issuer now, and says what went wrong", async () => {
  const { tenantId, owner } = await people();
  const { id } = await api(owner).create(input());
  const tested = await api(owner).test({ id });
  assert.equal(tested.issuer, h.provider.issuer);
  assert.equal(tested.tokenEndpoint, h.provider.tokenEndpoint);
  assert.deepEqual([tested.signingAlgorithms, tested.namesItself], [["ES256"], true]);
  assert.equal((await h.trail(tenantId)).at(-1)?.action, "identity_provider.tested");
  const gone = await api(owner).create(input({ issuer: "http://127.0.0.1:9" }));
  const { code, reason } = await refusal(api(owner).test({ id: gone.id }));
  assert.deepEqual([code, reason], ["ProviderError", "identity_provider.unreachable"]);
  const wrong = await api(owner).create(input({ issuer: `${h.provider.issuer}/jwks` }));
  assert.equal((await refusal(api(owner).test({ id: wrong.id }))).code, "ProviderError");
});

Deno.test("with self reach there is no identity provider", async () => {
  const { owner, tenantId } = await people();
  const { id } = await api(owner).create(input());
  const all = ["read", "create", "update", "delete"].map((verb) => `identity_providers.${verb}`);
  const self: Login = { ...owner, grants: Object.fromEntries(all.map((p) => [p, "self"])) };
  assert.equal(await reasonOf(api(self).get({ id })), "identity_provider.not_found");
  assert.equal(await reasonOf(api(self).update({ id, name: "x" })), "identity_provider.not_found");
  assert.equal(await reasonOf(api(self).delete({ id })), "identity_provider.not_found");
  assert.equal(await reasonOf(api(self).activate({ id })), "identity_provider.not_found");
  assert.equal(await reasonOf(api(self).test({ id })), "identity_provider.not_found");
  assert.equal(await reasonOf(api(self).create(input())), "permission.only_self");
  assert.deepEqual((await api(self).list({})).identityProviders, []);
  assert.ok(tenantId);
});

/** A group that gives owners' rights, and one that gives a member's. */
async function groups({ owner, tenantId }: { owner: Login; tenantId: string }) {
  const { identity } = h.w.as(owner);
  const group = async (systemRole: string) => {
    const { id } = await identity.groups.create({ name: `${systemRole}s` });
    await identity.roleBindings.create({ groupId: id, systemRole, appliesToTenantId: tenantId });
    return id;
  };
  return { owners: await group("owner"), members: await group("member") };
}

Deno.test("nobody sets up a provider that gives more than they hold", async () => {
  const all = await people();
  const { admin, owner } = all;
  const { owners, members } = await groups(all);
  const mapping = (groupId: string) => ({
    groupClaim: "g",
    mappings: [{ claimValue: "x", groupId }],
  });
  const beyond: Record<string, unknown>[] = [
    { createsUsers: true, systemRole: "owner" },
    { systemRole: "owner" },
    { linksUsers: true },
    { createsUsers: true, systemRole: "member" }, // Whom it makes may become more, and stays its own.
    { createsUsers: true },
    mapping(owners),
  ];
  for (const more of beyond) {
    const { code, reason, more: { fields = [] } } = await refusal(api(admin).create(input(more)));
    assert.deepEqual([code, reason], ["Forbidden", "grant.beyond"], JSON.stringify(more));
    assert.match(fields[0]?.field ?? "", /^(system_role|links_users|creates_users|mappings)$/);
    assert.equal((await api(owner).create(input(more))).isActive, true);
  }
  const within = { systemRole: "admin", ...mapping(members) };
  assert.equal((await api(admin).create(input(within))).systemRole, "admin");
  const auditor = await h.login(all.tenantId, { role: "auditor" });
  const daring = { ...auditor, grants: admin.grants }; // A token says more than its holder has.
  assert.equal(await reasonOf(api(daring).create(input(within))), "grant.beyond");
});

Deno.test("nobody widens a provider, or puts one back into use, beyond what they hold", async () => {
  const all = await people();
  const { admin, owner } = all;
  const { owners, members } = await groups(all);
  const mappings = [{ claimValue: "x", groupId: owners }];
  const { id } = await api(admin).create(input({ systemRole: "member" }));
  const refused = async (who: Login, change: Record<string, unknown>) => {
    assert.equal(
      await reasonOf(api(who).update({ id, ...change })),
      "grant.beyond",
      JSON.stringify(change),
    );
  };
  await refused(admin, { systemRole: "owner" });
  await refused(admin, { linksUsers: true });
  await refused(admin, { mappings });
  await api(owner).update({ id, systemRole: "owner", mappings });
  await refused(admin, { createsUsers: true });
  await refused(admin, { groupClaim: "department" });
  await refused(admin, { issuer: "https://mine.example" });
  await refused(admin, { clientId: "mine" });
  await refused(admin, { clientSecret: "mine" });
  await refused(admin, { mappings: [...mappings, { claimValue: "mine", groupId: owners }] });
  const kept = await api(admin).update({
    id,
    name: "Renamed",
    returnUris: ["https://a.example/"],
    mappings: [...mappings, { claimValue: "y", groupId: members }],
  });
  assert.equal(kept.mappings.length, 2, "what it gave already may stay");
  await api(admin).delete({ id });
  assert.equal(await reasonOf(api(admin).activate({ id })), "grant.beyond");
  await api(owner).activate({ id });
  const less = await api(admin).update({ id, systemRole: "member", mappings: null });
  assert.deepEqual([less.systemRole, less.mappings], ["member", []], "less may be given by less");
  await api(admin).update({ id, issuer: "https://mine.example" });
});

Deno.test("whoever takes over a provider whose subjects are users here must be an owner", async () => {
  const { tenantId, domain, owner, idp } = await h.house({ linksUsers: false });
  const admin = await h.login(tenantId, { role: "admin" });
  const { id } = idp;
  assert.equal(await reasonOf(api(admin).update({ id, clientSecret: "mine" })), "grant.beyond");
  const idle = await api(admin).create(input());
  await api(admin).update({ id: idle.id, clientSecret }); // It lets nobody in.
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  assert.equal((await h.signIn(id, "ada")).status, 200);
  await api(owner).update({ id, createsUsers: false });
  for (
    const change of [
      { issuer: "https://mine.example" },
      { clientId: "mine" },
      { clientSecret: "mine" },
    ]
  ) {
    const { reason, more: { fields = [] } } = await refusal(api(admin).update({ id, ...change }));
    assert.equal(reason, "grant.beyond", JSON.stringify(change));
    assert.equal(fields[0]?.field, "issuer");
  }
  await api(admin).update({ id, name: "Renamed" });
  await api(admin).delete({ id });
  assert.equal(await reasonOf(api(admin).activate({ id })), "grant.beyond");
  await api(owner).activate({ id });
  await api(owner).update({ id, clientSecret: "rotated" });
});

Deno.test("a provider of the root tenant that links users is an operator's to set up", async () => {
  const { operator } = h.w;
  const linking = () => input({ linksUsers: true });
  const owner = await h.w.person(operator.tenantId, "owner");
  const login = (person: typeof owner): Login => ({ ...person, email: "", password: "" });
  assert.equal(await reasonOf(api(login(owner)).create(linking())), "grant.beyond");
  assert.equal((await api(login(operator)).create(linking())).linksUsers, true);
});

Deno.test("whoever holds enough from above sets up what a tenant below needs", async () => {
  const { tenantId, admin } = await people();
  const { operator } = h.w;
  const above = { ...operator, tenantId, userId: null };
  const all = { linksUsers: true, createsUsers: true, systemRole: "owner" };
  const made = await h.w.as(above).identity.identityProviders.create(input(all));
  assert.equal(made.systemRole, "owner");
  assert.equal(await reasonOf(api(admin).create(input(all))), "grant.beyond");
});
