/** A provider's group claim: memberships of mapped groups equal it after each sign-in, others stay as they are. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { claimed, type SsoHome, ssoHome } from "./sso_house.ts";

let h: SsoHome;
Deno.test.beforeAll(async () => void (h = await ssoHome()));
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now(); // What a provider signs is of now.
  h.provider.settings.claims = undefined;
});
Deno.test.afterAll(() => h.close());

/** A tenant with groups staff, admins and choir; the provider's words stand for the first two. */
async function scene() {
  const house = await h.house();
  const { owner, domain, idp } = house;
  const { identity } = h.w.as(owner);
  const group = async (name: string) => (await identity.groups.create({ name })).id;
  const [staff, admins, choir] = [
    await group("staff"),
    await group("admins"),
    await group("choir"),
  ];
  await identity.identityProviders.update({
    id: idp.id,
    groupClaim: "groups",
    mappings: [
      { claimValue: "everyone", groupId: staff },
      { claimValue: "workers", groupId: staff },
      { claimValue: "bosses", groupId: admins },
    ],
  });
  const signIn = async (groups: unknown, account = "ada") => {
    claimed(h.provider, { [account]: { email: `${account}@${domain}`, groups } });
    const { status, body } = await h.signIn(idp.id, account);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  };
  const inside = async (userId: unknown) => {
    const rows = await h.sql(
      "select g.name from group_members m join groups g on g.id = m.group_id where owner_user_id = $1",
      [userId],
    );
    return rows.map(({ name }) => name).toSorted();
  };
  return { ...house, identity, staff, admins, choir, signIn, inside };
}

const epochOf = async (tenantId: string) =>
  (await h.sql("select epoch from cache_epochs where tenant_id = $1 and topic = 'access'", [
    tenantId,
  ]))[0]?.epoch;

Deno.test("sso.complete makes memberships of mapped groups equal the claim, each time", async () => {
  const { signIn, inside } = await scene();
  const { user_id: userId } = await signIn(["everyone", "bosses", "unheard of"]);
  assert.deepEqual(await inside(userId), ["admins", "staff"]);
  await signIn(["workers"]);
  assert.deepEqual(await inside(userId), ["staff"], "another word for the same group keeps it");
  await signIn("bosses");
  assert.deepEqual(await inside(userId), ["admins"], "one word alone is a list of one");
  await signIn([]);
  assert.deepEqual(await inside(userId), []);
  await signIn(["everyone"]);
  await signIn(undefined);
  assert.deepEqual(await inside(userId), [], "a claim that is absent names none");
});

Deno.test("sso.complete reads nothing but words out of the claim", async () => {
  const { signIn, inside } = await scene();
  const { user_id: userId } = await signIn(["everyone"]);
  for (
    const claim of [
      [["bosses"]],
      [{ name: "bosses" }],
      { bosses: true },
      ["Bosses", " bosses", "bosses\u0000", "*", ""],
      "everyone,bosses",
      [1, null, true],
      1,
      null,
    ]
  ) {
    await signIn(claim);
    assert.deepEqual(await inside(userId), [], JSON.stringify(claim));
  }
  await signIn([null, "bosses", 1]);
  assert.deepEqual(await inside(userId), ["admins"]);
});

Deno.test("sso.complete touches no group that this provider does not map", async () => {
  const { owner, identity, choir, staff, idp, signIn, inside } = await scene();
  const { user_id: userId } = await signIn(["everyone"]);
  await identity.groupMembers.add({ groupId: choir, userId: String(userId) });
  const other = await h.providerFor(owner, {
    groupClaim: "groups",
    mappings: [{ claimValue: "choir", groupId: choir }],
  });
  await signIn([]);
  assert.deepEqual(await inside(userId), ["choir"], "another provider's group stays");
  await identity.identityProviders.update({ id: idp.id, mappings: null });
  await identity.groupMembers.add({ groupId: staff, userId: String(userId) });
  await signIn([]);
  assert.deepEqual(
    await inside(userId),
    ["choir", "staff"],
    "a group that is mapped no more stays",
  );
  await identity.identityProviders.update({ id: other.id, mappings: [] });
});

Deno.test("sso.complete changes no group of anybody else", async () => {
  const { signIn, inside } = await scene();
  const [ada, bob] = [await signIn(["everyone"], "ada"), await signIn(["bosses"], "bob")];
  await signIn([], "bob");
  assert.deepEqual(await inside(ada.user_id), ["staff"]);
  assert.deepEqual(await inside(bob.user_id), []);
});

Deno.test("sso.complete makes a membership for a time last, and passes over a group out of use", async () => {
  const { tenantId, identity, staff, admins, signIn, inside } = await scene();
  const { user_id: userId } = await signIn([]);
  await h.sql(
    `insert into group_members (tenant_id, id, group_id, owner_user_id, ends_at)
     values ($1, $2, $3, $4, now() - interval '1 day')`,
    [tenantId, v7(), staff, userId],
  );
  await identity.groups.delete({ id: admins });
  await signIn(["everyone", "bosses"]);
  assert.deepEqual(await inside(userId), ["staff"]);
  const [row] = await h.sql("select ends_at from group_members where owner_user_id = $1", [userId]);
  assert.equal(row?.ends_at, null);
});

Deno.test("a changed claim is felt by tokens, and an unchanged one asks nobody's rights anew", async () => {
  const { tenantId, owner, identity, admins, signIn } = await scene();
  await identity.roleBindings.create({
    groupId: admins,
    systemRole: "auditor",
    appliesToTenantId: tenantId,
  });
  const before = await signIn([]);
  const may = async (tokens: Record<string, unknown>) =>
    Reflect.get(Object((await h.me(tokens)).body.permissions), "audit.read");
  assert.equal(await may(before), undefined);
  const boss = await signIn(["bosses"]);
  assert.equal(await may(boss), "tenant");
  const calm = await epochOf(tenantId);
  await signIn(["bosses"]);
  await signIn(["bosses", "unheard of"]);
  assert.equal(await epochOf(tenantId), calm);
  await signIn([]);
  assert.notEqual(await epochOf(tenantId), calm);
  assert.equal(await may(boss), undefined, "the older token lost it too");
  assert.ok(owner.userId);
});

Deno.test("what a claim changes is written down and told, group by group", async () => {
  const { tenantId, staff, admins, signIn } = await scene();
  await signIn(["everyone"]);
  const { user_id: userId } = await signIn(["bosses"]);
  const told = (await h.trail(tenantId)).filter(({ action }) =>
    String(action).startsWith("group.member")
  );
  assert.deepEqual(
    told.map(({ action, subject_id, actor_type }) => [action, subject_id, actor_type]),
    [
      ["group.member_added", staff, "system"],
      ["group.member_removed", staff, "system"],
      ["group.member_added", admins, "system"],
    ],
  );
  const events = await h.sql(
    "select data from events where tenant_id = $1 and type like 'group.member%' order by id",
    [tenantId],
  );
  assert.deepEqual(events.map(({ data }) => Reflect.get(Object(data), "user_id")), [
    userId,
    userId,
    userId,
  ]);
});

Deno.test("without a group claim nothing is read, whatever is mapped", async () => {
  const { identity, idp, staff, signIn, inside } = await scene();
  await identity.identityProviders.update({ id: idp.id, groupClaim: null });
  const { user_id: userId } = await signIn(["everyone", "bosses"]);
  await identity.groupMembers.add({ groupId: staff, userId: String(userId) });
  await signIn([]);
  assert.deepEqual(await inside(userId), ["staff"]);
});
