/** Users: who may make, change and shut out whom, and what it ends. */
import assert from "node:assert/strict";
import { asSystem } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import * as users from "../../src/identity/users.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { assertRefused, bind, holder, refusal, roleOf } from "./givers.ts";
import { bearer, mailed, newEmail } from "./people.ts";

const h = await mailed();
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: "owner" });
  const admin = await h.login(tenantId, { role: "admin" });
  const member = await h.login(tenantId);
  return { tenantId, owner, admin, member, own: h.identity(owner).users };
};
const someone = () => ({ email: newEmail(), displayName: "Ada Okafor" });

Deno.test("users.create makes somebody who can sign in, in the trail and told to other services", async () => {
  const { tenantId, admin } = await stage();
  const password = "correct horse battery";
  const made = await h.identity(admin).users.create({
    ...someone(),
    email: "  Ada@People.EXAMPLE ",
    metadata: { floor: 2 },
    systemRole: "member",
    password,
  });
  assert.deepEqual(
    [made.email, made.kind, made.status, made.isActive, made.metadata, made.tenantId],
    ["ada@people.example", "person", "active", true, { floor: 2 }, tenantId],
  );
  const entry = (await h.trail(tenantId)).at(-1);
  assert.deepEqual([entry?.action, entry?.actor_id, entry?.subject_id], [
    "user.created",
    admin.userId,
    made.id,
  ]);
  const [event] = await h.sql(
    "select data from events where type = 'user.created' and subject_id = $1",
    [
      made.id,
    ],
  );
  assert.equal(Reflect.get(Object(event?.data), "user_id"), made.id);
  assert.ok(!(await h.everythingKept()).includes(password));
  const answer = await h.send("/auth/sign-in", { email: made.email, password, tenant: tenantId });
  assert.equal(answer.status, 200);
});

Deno.test("users.create refuses an e-mail the tenant has, however it is written", async () => {
  const { own } = await stage();
  const { email, displayName } = someone();
  await own.create({ email, displayName });
  for (const same of [email, email.toUpperCase(), ` ${email} `]) {
    await assertRefused(own.create({ email: same, displayName }), "Conflict user.already_exists");
  }
  const elsewhere = await stage();
  assert.equal((await elsewhere.own.create({ email, displayName })).email, email);
});

Deno.test("users.create gives no more than its caller holds, whatever their token says", async () => {
  const { tenantId, owner, admin } = await stage();
  const { create } = h.identity(admin).users;
  await assertRefused(
    create({ ...someone(), systemRole: "owner" }),
    "Forbidden grant.beyond system_role",
  );
  await create({ ...someone(), systemRole: "admin" });
  await h.identity(owner).users.create({ ...someone(), systemRole: "owner" });
  const strong = await roleOf(h, tenantId, { "users.create": "subtree" });
  const weak = await roleOf(h, tenantId, { "users.create": "tenant" });
  await assertRefused(create({ ...someone(), roleId: strong }), "Forbidden grant.beyond role_id");
  const { id } = await create({ ...someone(), roleId: weak });
  const [bound] = await h.sql("select role_id from role_bindings where owner_user_id = $1", [id]);
  assert.equal(bound?.role_id, weak);
  const maker = await holder(h, tenantId, { "users.create": "tenant" });
  const made = h.identity(maker).users.create({ ...someone(), systemRole: "member" });
  await assertRefused(made, "Forbidden grant.beyond system_role");
  const plain = await h.identity(maker).users.create(someone());
  assert.deepEqual(
    await h.sql("select 1 from role_bindings where owner_user_id = $1", [plain.id]),
    [],
  );
});

Deno.test("users.create takes one role of this tenant, or none", async () => {
  const { tenantId, own } = await stage();
  const other = await roleOf(h, await h.tenantBelow(), { "users.read": "tenant" });
  const here = await roleOf(h, tenantId, { "users.read": "tenant" });
  const make = (more: { systemRole?: string; roleId?: string }) =>
    refusal(own.create({ ...someone(), ...more }));
  assert.equal(await make({ roleId: other }), "NotFound role.not_found");
  assert.equal(
    await make({ systemRole: "operator" }),
    "ValidationError system_role.invalid system_role",
  );
  assert.equal(
    await make({ systemRole: "emperor" }),
    "ValidationError system_role.invalid system_role",
  );
  assert.equal(
    await make({ systemRole: "member", roleId: here }),
    "ValidationError role_id.invalid role_id",
  );
  assert.equal(await make({ roleId: here }), "done");
});

Deno.test("whoever acts from above makes members below, and nothing they do not hold there", async () => {
  const { tenantId } = await stage();
  const top = await h.login(ROOT_TENANT, { role: "operator" });
  const acting = { ...top, tenantId, userId: null };
  const { create } = h.w.as(acting).identity.users;
  assert.equal((await create({ ...someone(), systemRole: "member" })).tenantId, tenantId);
  const weak = await holder(h, ROOT_TENANT, { "users.create": "subtree" });
  const from = h.w.as({ ...weak, tenantId, userId: null }).identity.users;
  await assertRefused(
    from.create({ ...someone(), systemRole: "admin" }),
    "Forbidden grant.beyond system_role",
  );
});

Deno.test("users.get and users.list show one's own row alone to whoever reaches only that", async () => {
  const { tenantId, owner, member } = await stage();
  const self = h.identity(member).users; // A member reads users as far as themselves.
  assert.equal((await self.get({ id: member.userId })).email, member.email);
  await assertRefused(self.get({ id: owner.userId }), "NotFound user.not_found");
  assert.deepEqual((await self.list({})).users.map(({ id }) => id), [member.userId]);
  const visitor = h.w.as({ ...member, tenantId, userId: null }).identity.users;
  assert.deepEqual((await visitor.list({})).users, []);
  assert.equal((await h.identity(owner).users.list({})).users.length, 3);
});

Deno.test("users.list finds by status, kind, e-mail and how a name begins, and nothing besides", async () => {
  const { own, owner, admin, member } = await stage();
  const make = async (displayName: string) => (await own.create({ ...someone(), displayName })).id;
  const ids = [
    await make("100% Ada"),
    await make("100 Ada"),
    await make("Åsa_1"),
    await make("ÅSA 2"),
  ];
  const found = async (input: Parameters<typeof own.list>[0]) =>
    (await own.list(input)).users.map(({ id }) => id).sort();
  assert.deepEqual(await found({ namePrefix: "100%" }), [ids[0]]);
  assert.deepEqual(await found({ namePrefix: "100" }), ids.slice(0, 2).sort());
  assert.deepEqual(await found({ namePrefix: "åsa_" }), [ids[2]]);
  assert.deepEqual(await found({ namePrefix: "%" }), []);
  assert.deepEqual(await found({ namePrefix: "\\" }), []);
  assert.deepEqual(await found({ email: ` ${member.email.toUpperCase()}` }), [member.userId]);
  assert.deepEqual(await found({ kind: "service" }), []);
  await own.deactivate({ id: admin.userId });
  assert.deepEqual(await found({ status: "suspended" }), [admin.userId]);
  assert.ok(!(await found({ status: "active" })).includes(admin.userId));
  const first = await own.list({ limit: 4 });
  const rest = await own.list({ limit: 4, cursor: first.nextCursor ?? "" });
  assert.equal(new Set([...first.users, ...rest.users].map(({ id }) => id)).size, 7);
  assert.equal(rest.nextCursor, null);
  assert.ok(rest.users.some(({ id }) => id === owner.userId));
});

Deno.test("users.update changes what is given, clears metadata at null and heeds If-Match", async () => {
  const { tenantId, own, owner, member } = await stage();
  const before = await own.update({ id: member.userId, metadata: { a: 1 } });
  const after = await own.update({ id: member.userId, displayName: " Bo " });
  assert.deepEqual([after.displayName, after.metadata, after.email], [
    "Bo",
    { a: 1 },
    member.email,
  ]);
  assert.deepEqual((await own.update({ id: member.userId, metadata: null })).metadata, {});
  const late = h.w.as(owner, { ifMatch: etagOf(before.id, before.updatedAt) }).identity.users;
  await assertRefused(
    late.update({ id: member.userId, displayName: "C" }),
    "PreconditionFailed row.changed",
  );
  assert.equal((await h.eventTypes(tenantId)).at(-1), "user.updated");
});

Deno.test("users.update lets people change their own name and nothing that proves who they are", async () => {
  const { member, owner } = await stage();
  const self = h.identity(member).users;
  const named = await self.update({ id: member.userId, displayName: "Me", metadata: { x: 1 } });
  assert.equal(named.displayName, "Me");
  const moved = self.update({ id: member.userId, email: newEmail() });
  await assertRefused(moved, "Forbidden user.email_kept email");
  await assertRefused(
    self.update({ id: owner.userId, displayName: "X" }),
    "NotFound user.not_found",
  );
});

Deno.test("a new e-mail takes all that its user holds: it is a way to become them", async () => {
  const { tenantId, owner, admin, member } = await stage();
  const readdress = (who: typeof owner, id: string) =>
    refusal(h.identity(who).users.update({ id, email: newEmail() }));
  assert.equal(await readdress(admin, owner.userId), "Forbidden grant.beyond id");
  assert.equal(await readdress(admin, member.userId), "done");
  assert.equal(await readdress(owner, admin.userId), "done");
  assert.equal(await readdress(admin, admin.userId), "done");
  const later = await roleOf(h, tenantId, { "users.read": "subtree" });
  const binding = await bind(h, tenantId, { userId: member.userId }, later);
  await h.sql("update role_bindings set starts_at = now() + interval '1 day' where id = $1", [
    binding,
  ]);
  assert.equal(await readdress(admin, member.userId), "Forbidden grant.beyond id");
});

Deno.test("a new e-mail is not given with a key that holds less than its owner", async () => {
  const { owner } = await stage();
  const { as } = await h.keyOf(owner, ["users.update"]);
  const change = (email: string | undefined) =>
    refusal(
      h.w.as(as).identity.users.update({
        id: owner.userId,
        displayName: "O",
        ...email ? { email } : {},
      }),
    );
  assert.equal(await change(newEmail()), "Forbidden grant.beyond id");
  assert.equal(await change(undefined), "done");
});

Deno.test("a new e-mail must be free, and leaves nothing behind that was sent to the old one", async () => {
  const { own, owner, admin, member } = await stage();
  const taken = own.update({ id: member.userId, email: admin.email });
  await assertRefused(taken, "Conflict user.already_exists");
  await own.resetPassword({ id: member.userId });
  const token = h.tokenTo(member.email);
  const same = await own.update({ id: member.userId, email: member.email });
  assert.equal(same.email, member.email);
  const notices = () =>
    h.lettersTo(member.email).filter(({ subject }) => subject.includes("changed"));
  assert.equal(notices().length, 0);
  await own.update({ id: member.userId, email: newEmail() });
  assert.equal(notices().length, 1);
  const confirm = h.send("/auth/password-reset/confirm", {
    token,
    password: "correct horse battery",
  });
  assert.equal((await confirm).status, 401);
  const machine = await own.create(someone());
  await h.sql("update users set kind = 'service', email = null where id = $1", [machine.id]);
  const addressed = own.update({ id: machine.id, email: newEmail() });
  await assertRefused(addressed, "ValidationError email.invalid email");
  assert.equal((await h.identity(owner).users.get({ id: machine.id })).email, null);
});

Deno.test("users.deactivate ends sessions and keys at once, says how many, and does so once", async () => {
  const { tenantId, own, admin } = await stage();
  const [one, two] = [await h.signIn(admin), await h.signIn(admin)];
  const { key } = await h.keyOf(admin, ["users.read"]);
  const ways = [bearer(one.access), bearer(two.access), { "x-api-key": key }];
  for (const way of ways) assert.equal(await h.asks(way), 200);
  const shut = await own.deactivate({ id: admin.userId });
  assert.deepEqual([shut.status, shut.isActive], ["suspended", false]);
  for (const way of ways) assert.equal(await h.asks(way), 401);
  assert.equal((await h.send("/auth/refresh", { refresh_token: one.refresh })).status, 401);
  const { email, password } = admin;
  assert.equal((await h.send("/auth/sign-in", { email, password })).status, 401);
  const entries = await h.sql(
    "select diff from audit_entries where tenant_id = $1 and action = 'user.deactivated'",
    [tenantId],
  );
  assert.equal(entries.length, 1);
  const diff = JSON.stringify(entries[0]?.diff);
  assert.match(diff, /"sessions_ended":\{[^}]*"after":2/);
  assert.match(diff, /"api_keys_revoked":\{[^}]*"after":1/);
  const events = (await h.eventTypes(tenantId)).filter((type) => type === "user.deactivated");
  assert.equal(events.length, 1);
  const length = (await h.trail(tenantId)).length;
  assert.deepEqual(await own.deactivate({ id: admin.userId }), shut);
  assert.equal((await h.trail(tenantId)).length, length);
});

Deno.test("users.activate lets back in and brings back neither sessions nor keys nor resets", async () => {
  const { own, admin } = await stage();
  const { access } = await h.signIn(admin);
  const { key } = await h.keyOf(admin, ["users.read"]);
  await own.resetPassword({ id: admin.userId });
  await own.deactivate({ id: admin.userId });
  const back = await own.activate({ id: admin.userId });
  assert.equal(back.isActive, true);
  assert.deepEqual(await own.activate({ id: admin.userId }), back);
  assert.equal(await h.asks(bearer(access)), 401);
  assert.equal(await h.asks({ "x-api-key": key }), 401);
  const token = h.tokenTo(admin.email);
  const confirmed = await h.send("/auth/password-reset/confirm", {
    token,
    password: "x".repeat(12),
  });
  assert.equal(confirmed.status, 401);
  assert.equal(await h.asks(bearer((await h.signIn(admin)).access)), 200);
});

Deno.test("users.activate does not bring back who was closed", async () => {
  const { own, member } = await stage();
  await h.sql("update users set status = 'closed' where id = $1", [member.userId]);
  await assertRefused(own.activate({ id: member.userId }), "Conflict user.closed");
});

Deno.test("nobody shuts out or lets back in who holds more than they do", async () => {
  const { tenantId, owner, admin, member } = await stage();
  const second = await h.login(tenantId, { role: "owner" });
  const weak = h.identity(admin).users;
  await assertRefused(weak.deactivate({ id: owner.userId }), "Forbidden grant.beyond id");
  await h.identity(second).users.deactivate({ id: owner.userId });
  await assertRefused(weak.activate({ id: owner.userId }), "Forbidden grant.beyond id");
  await weak.deactivate({ id: member.userId });
  await weak.activate({ id: member.userId });
  await h.identity(second).users.activate({ id: owner.userId });
});

Deno.test("the last owner of a tenant is not shut out, not even by themselves", async () => {
  const { tenantId, owner, own } = await stage();
  const top = await h.login(ROOT_TENANT, { role: "operator" });
  const above = h.w.as({ ...top, tenantId, userId: null }).identity.users;
  for (const { deactivate } of [own, above]) {
    await assertRefused(deactivate({ id: owner.userId }), "Conflict role_binding.last_owner");
  }
  const second = await own.create({ ...someone(), systemRole: "owner" });
  await own.deactivate({ id: second.id });
  await assertRefused(own.deactivate({ id: owner.userId }), "Conflict role_binding.last_owner");
  await own.activate({ id: second.id });
  assert.equal((await own.deactivate({ id: owner.userId })).isActive, false);
});

Deno.test("users.create of the service itself needs no role and asks nobody", async () => {
  const { tenantId } = await stage();
  const made = await users.create(asSystem(h.w.process, tenantId), someone());
  assert.equal(made.isActive, true);
});

Deno.test("users of another tenant are not there", async () => {
  const [{ own }, { member }] = [await stage(), await stage()];
  const id = member.userId;
  const calls = [
    own.get({ id }),
    own.update({ id, displayName: "X" }),
    own.deactivate({ id }),
    own.activate({ id }),
    own.resetPassword({ id }),
  ];
  await Promise.all(calls.map((call) => assertRefused(call, "NotFound user.not_found")));
});

Deno.test.afterAll(() => h.w.close());
