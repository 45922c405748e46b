/** May she, what may she, who may, where: each answer, each refusal, and what nobody learns by asking. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { systemRoles } from "../../src/access/roles.ts";
import { standings } from "../../src/access/standings.ts";
import type { Reach } from "../../src/context.ts";
import { mayNow } from "../../src/identity/access.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import type { Person } from "../kit.ts";
import { asking, companies } from "./companies.ts";
import { home } from "./house.ts";

const h = await home();
Deno.test.afterAll(() => h.w.close());

const refused = { code: "NOT_FOUND" };
const ask = async (person: Person, path: string, query: Record<string, string>) => {
  const answer = await h.w.request(
    `/api/v1/access/${path}?${new URLSearchParams(query)}`,
    {},
    person,
  );
  return { status: answer.status, text: await answer.text() };
};

const { bind, group, role, company, of } = companies(h);
const c = await company();
const stranger = await h.w.person(await h.tenantBelow(ROOT_TENANT, "Theirs"), "owner");

Deno.test("check says whether one may, and how far", async () => {
  const { owner, auditor, clerk } = c;
  const check = (who: Person, permission: "tenants.move" | "audit.read" | "sign_in.update") =>
    of(who, "self").check({ permission });
  assert.deepEqual(await check(owner, "tenants.move"), { allowed: true, reach: "subtree" });
  assert.deepEqual(await check(auditor, "audit.read"), { allowed: true, reach: "tenant" });
  assert.deepEqual(await check(auditor, "tenants.move"), { allowed: false, reach: null });
  assert.deepEqual(await check(clerk, "sign_in.update"), { allowed: true, reach: "self" });
});

Deno.test("check goes by what is so now, not by what a token says", async () => {
  const boastful = { ...c.clerk, grants: systemRoles.owner ?? {} };
  const { allowed } = await h.w.as(boastful).identity.access.check({ permission: "tenants.move" });
  assert.equal(allowed, false);
});

Deno.test("check refuses a permission that is none, and names it", async () => {
  for (const permission of ["tenants.fly", "constructor", "__proto__", "", "users.read "]) {
    const { status, text } = await ask(c.owner, "check", { permission });
    assert.equal(status, 400, permission);
    assert.match(text, /"field":"permission"/);
  }
  const { text } = await ask(c.owner, "check", { permission: "tenants.fly" });
  assert.match(text, /There is no permission tenants\.fly/);
  assert.equal((await ask(c.owner, "check", { permission: "tenants.move" })).status, 200);
  for (const path of ["list", "explain"]) {
    assert.equal((await ask(c.owner, path, { permission: "tenants.fly" })).status, 400, path);
  }
});

Deno.test("nobody learns whether a user they could not see is there", async () => {
  const { owner, clerk, company, branch } = c;
  const shy = await h.w.person(ROOT_TENANT, "member"); // Above everybody, and may do nothing below.
  const unseen = [
    { userId: v7() },
    { userId: stranger.userId },
    { userId: stranger.userId, homeTenantId: stranger.tenantId },
    { userId: shy.userId, homeTenantId: ROOT_TENANT },
    { userId: clerk.userId }, // Lives in the branch, not here.
  ];
  for (const about of unseen) {
    const permission = "users.read" as const;
    await assert.rejects(of(owner, "subtree").check({ permission, ...about }), refused);
    await assert.rejects(of(owner, "subtree").explain({ permission, ...about }), refused);
    await assert.rejects(of(owner, "subtree").list(about), refused);
    await assert.rejects(of(owner, "subtree").list({ permission, ...about }), refused);
  }
  const seen = { userId: clerk.userId, homeTenantId: branch };
  const check = (who: Person, reach: Reach, about = seen) =>
    of(who, reach).check({ permission: "users.read", ...about });
  assert.equal((await check(owner, "subtree")).allowed, false); // Known, and may nothing up here.
  await assert.rejects(check(owner, "tenant"), refused);
  // From above they are known where they may act.
  const above = { userId: owner.userId, homeTenantId: company };
  assert.deepEqual(await check(clerk, "tenant", above), { allowed: true, reach: "subtree" });
  const { userId } = c.auditor;
  await assert.rejects(check(clerk, "tenant", { userId, homeTenantId: company }), refused);
});

Deno.test("with self reach one asks about oneself alone", async () => {
  const { owner, auditor } = c;
  const permission = "audit.read" as const;
  const { userId } = owner;
  await assert.rejects(of(auditor, "self").check({ permission, userId }), refused);
  await assert.rejects(of(auditor, "self").explain({ permission, userId }), refused);
  await assert.rejects(of(auditor, "self").list({ userId }), refused);
  await assert.rejects(of(auditor, "self").list({ userId, permission }), refused);
  const who = async (reach: Reach) =>
    (await of(auditor, reach).list({ permission })).grants.map(({ userId }) => userId);
  assert.deepEqual(await who("self"), [auditor.userId]);
  assert.deepEqual(
    (await who("tenant")).sort(),
    [auditor.userId, owner.userId, h.w.operator.userId].sort(),
  );
  assert.equal((await of(auditor, "tenant").check({ permission, userId })).allowed, true);
  const nobody = { ...auditor, actor: { ...auditor.actor, id: null }, userId: null };
  const unnamed = h.w.as({ ...nobody, grants: asking("self") }).identity.access;
  await assert.rejects(unnamed.check({ permission }), { code: "BAD_REQUEST" });
  await assert.rejects(unnamed.check({ permission, userId }), refused);
});

Deno.test("a tenant below is asked about with subtree reach, one beside or above never", async () => {
  const { owner, clerk, branch, company } = c;
  const permission = "tenants.move" as const;
  const about = (who: Person, reach: Reach, tenantId: string) =>
    of(who, reach).check({ permission, tenantId });
  assert.deepEqual(await about(owner, "subtree", branch), { allowed: true, reach: "subtree" });
  for (const tenantId of [stranger.tenantId, v7(), ROOT_TENANT]) {
    await assert.rejects(about(owner, "subtree", tenantId), refused);
    await assert.rejects(of(owner, "subtree").explain({ permission, tenantId }), refused);
    await assert.rejects(of(owner, "subtree").list({ permission, tenantId }), refused);
    await assert.rejects(of(owner, "subtree").list({ tenantId }), refused);
  }
  const other = { permission, tenantId: branch, userId: clerk.userId };
  await assert.rejects(of(owner, "tenant").check(other), refused);
  // About oneself one may ask wherever one may do something.
  assert.deepEqual(await about(owner, "tenant", branch), { allowed: true, reach: "subtree" });
  await assert.rejects(of(owner, "tenant").list({ permission, tenantId: branch }), refused);
  await assert.rejects(about(clerk, "global", company), refused);
});

Deno.test("a key asks as its user, and what its scopes leave out it may not", async () => {
  const { key } = await h.w.as(c.owner).identity.apiKeys.create({
    name: "narrow",
    scopes: ["access.check", "audit.read"],
  });
  const asKey = async (path: string, query: Record<string, string>) => {
    const url = `/api/v1/access/${path}?${new URLSearchParams(query)}`;
    return await (await h.w.request(url, { headers: { "x-api-key": key } })).json();
  };
  const [within, beyond] = [{ permission: "audit.read" }, { permission: "tenants.move" }];
  assert.equal((await asKey("check", within)).allowed, true);
  assert.equal((await asKey("check", beyond)).allowed, false);
  const { missing } = await asKey("explain", beyond);
  assert.deepEqual(missing[0].why, "not_in_scopes");
  const { grants } = await asKey("list", {});
  assert.deepEqual(grants.map(({ permission }: { permission: string }) => permission), [
    "audit.read",
    "access.check",
  ]);
  const { userId } = c.owner; // The user may more than the key.
  assert.equal((await asKey("check", { ...beyond, user_id: userId })).allowed, true);
});

Deno.test("mayNow asks the database once and answers at once from then on", async () => {
  let queries = 0;
  const { database } = h.w.process;
  const query: typeof database.query = (statement) => {
    queries++;
    return database.query(statement);
  };
  let epoch = 0;
  const process = {
    standings: standings({
      database: { ...database, query },
      epochOf: () => epoch,
      now: Date.now,
      unknown: assert.fail,
    }),
  };
  const whose = { home: c.company, subject: c.owner.userId, session: null, acting: c.branch };
  assert.equal(await mayNow(process, whose, "tenants.move"), "subtree");
  for (let n = 0; n < 100; n++) {
    assert.equal(mayNow(process, { ...whose }, "tenants.move"), "subtree");
    assert.equal(mayNow(process, whose, "platforms.create"), null);
  }
  assert.equal(queries, 1);
  epoch = Number.MAX_SAFE_INTEGER;
  assert.ok(mayNow(process, whose, "tenants.move") instanceof Promise);
});

/** All pages. */
async function pages(
  who: Person,
  reach: Reach,
  input: Parameters<ReturnType<typeof of>["list"]>[0],
) {
  const all: Awaited<ReturnType<ReturnType<typeof of>["list"]>>[] = [];
  let cursor: string | undefined;
  while (all.length < 200) {
    const page = await of(who, reach).list({ ...input, ...cursor ? { cursor } : {} });
    all.push(page);
    if (page.nextCursor === null) break;
    cursor = page.nextCursor;
  }
  return { pages: all, grants: all.flatMap(({ grants }) => grants) };
}

Deno.test("list of a user is all they may do there, a page at a time", async () => {
  const { owner, auditor, company } = c;
  for (const person of [owner, auditor]) {
    const { grants, pages: { length } } = await pages(owner, "tenant", {
      userId: person.userId,
      limit: 7,
    });
    const said = Object.fromEntries(grants.map(({ permission, reach }) => [permission, reach]));
    assert.deepEqual(said, person.grants);
    assert.equal(grants.length, Object.keys(said).length);
    assert.equal(length, Math.ceil(grants.length / 7));
    assert.ok(grants.every((one) => one.userId === person.userId && one.tenantId === company));
  }
  const below = await pages(owner, "subtree", { userId: owner.userId, tenantId: c.branch });
  assert.ok(below.grants.every(({ reach }) => reach === "subtree"));
  assert.ok(below.grants.some(({ permission }) => permission === "tenants.move"));
});

Deno.test("list of a permission is everybody who may, from wherever, once, with their farthest reach", async () => {
  const { owner, auditor, clerk, branch, company } = c;
  const both = await h.w.person(branch, "member");
  await bind(branch, { user: both.userId, at: branch, systemRole: "auditor" });
  await bind(branch, {
    group: await group(branch, "Auditors", [{ user: both.userId }, { user: clerk.userId }]),
    at: branch,
    role: await role(branch, "Reader", { "audit.read": "self" }),
  });
  const gone = await h.w.person(branch, "admin");
  await h.sql("update users set status = 'suspended' where id = $1", [gone.userId]);
  const who = async (permission: "audit.read" | "sign_in.update" | "platforms.create") =>
    (await pages(clerk, "tenant", { permission, limit: 1 })).grants
      .map(({ userId, homeTenantId, reach }) => [userId, homeTenantId, reach]);
  const { operator } = h.w;
  const sorted = (rows: string[][]) => rows.toSorted(([a = ""], [b = ""]) => a < b ? -1 : 1);
  assert.deepEqual(
    await who("audit.read"),
    sorted([
      [operator.userId, ROOT_TENANT, "global"],
      [owner.userId, company, "subtree"],
      [both.userId, branch, "tenant"],
      [clerk.userId, branch, "self"],
    ]),
  );
  assert.deepEqual(
    await who("sign_in.update"),
    sorted([[both.userId, branch, "self"], [clerk.userId, branch, "self"]]),
  );
  assert.deepEqual(await who("platforms.create"), [[operator.userId, ROOT_TENANT, "global"]]);
  const above = await pages(owner, "subtree", { permission: "audit.read", tenantId: branch });
  assert.equal(above.grants.length, 4);
  assert.ok(!above.grants.some(({ userId }) => userId === auditor.userId));
});

Deno.test("list goes on behind people who may not, however many they are", async () => {
  const tenantId = await h.tenantBelow();
  await h.sql(
    `insert into users (tenant_id, id, email, display_name, status)
     select $1, gen_random_uuid(), gen_random_uuid() || '@x.example', 'Gone', 'suspended'
     from generate_series(1, 300)`,
    [tenantId],
  );
  const people = [await h.w.person(tenantId, "admin"), await h.w.person(tenantId, "member")];
  const [first] = people;
  assert.ok(first);
  const found = await pages(first, "tenant", { permission: "sign_in.update", limit: 2 });
  assert.deepEqual(
    found.grants.map(({ userId }) => userId),
    people.map(({ userId }) => userId).sort(),
  );
  assert.ok(found.pages.length > 3);
});

Deno.test("list of a user and a permission is the tenants where they may, at and below one's own", async () => {
  const { owner, company, branch } = c;
  const closed = await h.tenantBelow(company, "Closed");
  await h.sql("update tenants set status = 'suspended' where id = $1", [closed]);
  const apart = await h.tenantBelow(company, "Apart");
  await h.sql("update tenants set inherits_access = false where id = $1", [apart]);
  const { userId } = owner;
  const where = async (who: Person, reach: Reach, more: { homeTenantId?: string } = {}) =>
    (await pages(who, reach, { userId, permission: "tenants.move", limit: 1, ...more })).grants
      .map(({ tenantId }) => tenantId);
  assert.deepEqual(await where(owner, "subtree"), [company, branch].sort());
  assert.deepEqual(await where(owner, "tenant"), [company, branch].sort());
  assert.deepEqual(await where(c.clerk, "subtree", { homeTenantId: company }), [branch]);
  await bind(company, { user: userId, at: apart, systemRole: "admin" });
  assert.deepEqual(await where(owner, "subtree"), [company, branch, apart].sort());
});

Deno.test("list refuses a cursor that is none", async () => {
  const { userId } = c.owner;
  const forms = [{}, { permission: "users.read" }, { permission: "users.read", user_id: userId }];
  for (const form of forms) {
    for (const cursor of ["nonsense", "constructor", "1", "x".repeat(65), ""]) {
      const { status, text } = await ask(c.owner, "list", { ...form, cursor });
      assert.equal(status, 400, JSON.stringify({ ...form, cursor }));
      assert.match(text, /"field":"cursor"/);
    }
  }
});
