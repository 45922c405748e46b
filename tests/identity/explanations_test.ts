/** Why somebody may, why not, and nothing about the tenants above the one who asks. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { asking, companies } from "./companies.ts";
import { home } from "./house.ts";

const h = await home();
Deno.test.afterAll(() => h.w.close());

const { bind, group, role, changed, company, of } = companies(h);
const c = await company();

Deno.test("explain leads from the binding over the groups down to the tenant", async () => {
  const { company, branch, owner } = c;
  const ada = await h.w.person(company, "member");
  const inner = await group(company, "Night shift", [{ user: ada.userId }]);
  const outer = await group(company, "Bakers", [{ group: inner }]);
  const roleId = await role(company, "Mover", { "tenants.move": "subtree" });
  const bindingId = await bind(company, { group: outer, at: company, role: roleId });
  const about = { permission: "tenants.move" as const, userId: ada.userId, tenantId: branch };
  assert.deepEqual(await of(owner, "subtree").explain(about), {
    allowed: true,
    reach: "subtree",
    because: [{
      bindingId,
      role: { systemRole: null, roleId, name: "Mover" },
      reach: "subtree",
      groups: [{ id: inner, name: "Night shift" }, { id: outer, name: "Bakers" }],
      tenants: [
        { id: company, name: "Harbour Bakery" },
        { id: branch, name: "Harbour Bakery Oslo" },
      ],
      more: false,
    }],
    missing: [],
    more: false,
  });
  const own = await of(ada, "self").explain({ permission: "sign_in.update" });
  assert.deepEqual(own.because.map(({ role, reach }) => [role.name, reach]), [
    ["member", "self"],
    ["everybody", "self"],
  ]);
});

Deno.test("explain shows nothing of the tenants above the asker's", async () => {
  const { company, branch, owner, clerk } = c;
  const ada = await h.w.person(company, "member");
  const secret = `Takeover ${v7()}`;
  const inner = await group(company, secret, [{ user: ada.userId }]);
  const roleId = await role(company, `${secret} role`, { "tenants.move": "subtree" });
  const bindingId = await bind(company, { group: inner, at: company, role: roleId, to: "1 day" });
  const beside = await h.tenantBelow(company, `${secret} branch`);
  await bind(company, { user: ada.userId, at: beside, systemRole: "owner", from: "1 day" });
  const about = { permission: "tenants.move" as const, userId: ada.userId, homeTenantId: company };
  const here = await of(clerk, "tenant").explain(about);
  assert.equal(here.allowed, true);
  assert.deepEqual(here.because[0]?.tenants, [
    { id: null, name: null },
    { id: branch, name: "Harbour Bakery Oslo" },
  ]);
  assert.deepEqual(here.missing, []); // Where else she has a role is not told either.
  const text = JSON.stringify(here);
  for (const hidden of [company, 'Harbour Bakery"', inner, roleId, bindingId, beside, secret]) {
    assert.ok(!text.includes(hidden), hidden);
  }
  const above = JSON.stringify(await of(owner, "subtree").explain({ ...about, tenantId: branch }));
  for (const shown of [company, inner, roleId, bindingId, beside, secret]) {
    assert.ok(above.includes(shown), shown);
  }
});

Deno.test("explain says what stands in the way", async () => {
  const { company, owner } = c;
  const ada = await h.w.person(company, "member");
  const branch = await h.tenantBelow(company, "Bergen");
  const beside = await h.tenantBelow(company, "Bodo");
  const gives = { "audit.read": "subtree" } as const;
  const why = async (tenantId = branch, reach: "subtree" | "global" = "subtree") => {
    const { allowed, missing } = await of(owner, reach)
      .explain({ permission: "audit.read", userId: ada.userId, tenantId });
    assert.equal(allowed, false);
    return missing.map(({ why, sentence }) => `${why}: ${sentence}`);
  };
  assert.deepEqual(await why(), ["no_role_gives_it: No role of theirs gives audit.read"]);
  await bind(company, { user: ada.userId, at: beside, systemRole: "auditor" });
  await bind(company, { user: ada.userId, at: company, systemRole: "auditor", to: "-1 hour" });
  await bind(company, {
    user: ada.userId,
    at: company,
    role: await role(company, "Later", gives),
    from: "1 hour",
  });
  await bind(company, {
    user: ada.userId,
    at: company,
    role: await role(company, "Idle", gives, false),
  });
  await bind(company, {
    user: ada.userId,
    at: company,
    role: await role(company, "Here", { "audit.read": "tenant" }),
  });
  const said = await why();
  const expected = [
    /^elsewhere: It is given in Bodo, not in one above$/,
    /^inactive_role: The role Idle is not in use$/,
    /^not_current: It began at .* UTC|^not_current: It begins at 20\d\d-\d\d-\d\d \d\d:\d\d UTC$/,
    /^not_current: It ended at 20\d\d-\d\d-\d\d \d\d:\d\d UTC$/,
    /^reach: It is given in Harbour Bakery alone, not below it$/,
  ];
  assert.equal(said.length, expected.length, said.join("\n"));
  said.sort().forEach((text, i) => assert.match(text, expected[i] ?? /^$/));
  await bind(company, { user: ada.userId, at: company, systemRole: "owner" });
  await changed(company);
  const about = { permission: "audit.read" as const, userId: ada.userId, tenantId: branch };
  assert.equal((await of(owner, "subtree").check(about)).allowed, true);
  await h.sql("update tenants set inherits_access = false where id = $1", [branch]);
  await assert.rejects(why(), { code: "NOT_FOUND" }); // The owner's reach ends there too.
  const stopped = "stopped: Bergen does not inherit what is given above it";
  assert.ok((await why(branch, "global")).includes(stopped));
  await h.sql("update tenants set status = 'suspended' where id = $1", [beside]);
  assert.equal((await why(beside))[0], "tenant_closed: Bodo is suspended");
  await h.sql("update users set status = 'suspended' where id = $1", [ada.userId]);
  assert.equal((await why(beside))[0], "user_inactive: The user is deactivated");
  const { permission, ...clerk } = {
    permission: "sign_in.update" as const,
    userId: c.clerk.userId,
  };
  const up = await of(owner, "subtree").explain({ permission, ...clerk, homeTenantId: c.branch });
  assert.equal(up.missing[0]?.why, "lives_elsewhere");
});

Deno.test("explain keeps the ends of a way that is too long to show", async () => {
  const tenantId = await h.tenantBelow();
  const ada = await h.w.person(tenantId, "member");
  const innermost = await group(tenantId, "G0", [{ user: ada.userId }]);
  let outermost = innermost;
  for (let n = 1; n <= 120; n++) {
    outermost = await group(tenantId, `G${n}`, [{ group: outermost }]);
  }
  await bind(tenantId, { group: outermost, at: tenantId, systemRole: "auditor" });
  const { because: [one] } = await of(ada, "self").explain({ permission: "audit.read" });
  assert.equal(one?.groups.length, 100);
  assert.deepEqual([one?.groups[0]?.id, one?.groups.at(-1)?.id], [innermost, outermost]);
  assert.equal(one?.more, true);
});

Deno.test("somebody from above asks about themselves where they act, and sees no names of their home", async () => {
  const { owner, company, branch } = c;
  const asked =
    h.w.as({ ...owner, tenantId: branch, userId: null, grants: asking("self") }).identity.access;
  assert.equal((await asked.check({ permission: "tenants.move" })).reach, "subtree");
  assert.equal(
    (await asked.check({ permission: "tenants.move", userId: owner.userId })).allowed,
    true,
  );
  const { because } = await asked.explain({ permission: "tenants.move" });
  assert.ok(!JSON.stringify(because).includes(company));
  await assert.rejects(
    asked.check({ permission: "tenants.move", userId: c.clerk.userId }),
    { code: "NOT_FOUND" },
  );
});
