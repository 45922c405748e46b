/** Acting in another tenant: where one holds something, as far as it goes, and for as long as one is signed in. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { principals } from "../../src/access/principals.ts";
import { services } from "../../src/services.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { elsewhere, home, type Login } from "./house.ts";

const h = await home();
/** How long another process may go on believing what it knows. */
const BOUND_MS = 5_000;

type Token = { access: string; refresh: string };
const bearer = (access: string) => ({ headers: { authorization: `Bearer ${access}` } });

async function signIn({ email, password, tenantId }: Login): Promise<Token> {
  const input = { email, password, tenant: tenantId };
  const { status, body } = await h.send("/auth/sign-in", input, { address: elsewhere() });
  assert.equal(status, 200, JSON.stringify(body));
  return { access: String(body.access_token), refresh: String(body.refresh_token) };
}
const exchange = (access: string, tenant: string) =>
  h.send("/auth/exchange", { tenant_id: tenant }, bearer(access));
async function exchanged(access: string, tenant: string): Promise<string> {
  const { status, body } = await exchange(access, tenant);
  assert.equal(status, 200, JSON.stringify(body));
  return String(body.access_token);
}
const get = (path: string, access: string) =>
  h.send(path, null, { method: "GET", ...bearer(access) });

/** above → home → { left → below, right }; somebody signed in at home. */
async function stage(role = "owner") {
  const above = await h.tenantBelow(ROOT_TENANT, "Above");
  const at = await h.tenantBelow(above, "Home");
  const left = await h.tenantBelow(at, "Left");
  const below = await h.tenantBelow(left, "Below");
  const right = await h.tenantBelow(at, "Right");
  const beside = await h.tenantBelow(above, "Beside");
  const who = await h.login(at, { role });
  return { above, home: at, left, below, right, beside, who, ...await signIn(who) };
}
/** What a verb does beside such a change: every process hears of it. */
const moved = (tenantId: string) =>
  h.sql(
    `insert into cache_epochs (tenant_id, topic) values ($1, 'access')
     on conflict (tenant_id, topic) do update set epoch = cache_epochs.epoch + 1`,
    [tenantId],
  );
const bind = (who: Login, tenant: string, role: string, endsAt: Date | null = null) =>
  h.sql(
    `insert into role_bindings (tenant_id, id, owner_user_id, applies_to_tenant_id, system_role, ends_at)
     values ($1, $2, $3, $4, $5, $6)`,
    [who.tenantId, v7(), who.userId, tenant, role, endsAt],
  );

Deno.test("exchange gives a token for a tenant below, and writes it down there alone", async () => {
  const s = await stage();
  const before = (await h.trail(s.home)).length;
  const { status, body } = await exchange(s.access, s.below);
  assert.equal(status, 200, JSON.stringify(body));
  const { access_token: token, ...rest } = body;
  assert.deepEqual(rest, {
    token_type: "Bearer",
    expires_in: 300,
    tenant_id: s.below,
    home_tenant_id: s.home,
    user_id: s.who.userId,
  });
  const issued = await h.w.process.tokens.read(String(token), new Date(h.clock.ms));
  const principal = issued?.standee.principal;
  const [session] = await h.sql("select id from sessions where owner_user_id = $1", [s.who.userId]);
  assert.deepEqual(
    [principal?.actor, principal?.tenantId, principal?.userId, principal?.sessionId],
    [{ type: "user", tenantId: s.home, id: s.who.userId }, s.below, null, session?.id],
  );
  const me = await get("/auth/me", String(token));
  assert.deepEqual([me.body.tenant_id, me.body.email], [s.below, s.who.email]);
  const [entry, ...others] = (await h.sql(
    `select action, actor_type, actor_tenant_id, actor_id, subject_id from audit_entries
     where tenant_id = $1 and action <> 'tenant.created'`,
    [s.below],
  )).map((row) => ({ ...row }));
  assert.deepEqual([entry, others], [{
    action: "session.exchanged",
    actor_type: "user",
    actor_tenant_id: s.home,
    actor_id: s.who.userId,
    subject_id: session?.id,
  }, []]);
  assert.equal((await h.eventTypes(s.below)).at(-1), "session.exchanged");
  assert.equal((await h.trail(s.home)).length, before);
});

Deno.test("exchange lets one act in that tenant and in no other", async () => {
  const s = await stage();
  const token = await exchanged(s.access, s.left);
  const there = await h.login(s.left, { role: "admin" });
  const scopes = ["audit.read" as const];
  const theirs = (await h.w.as(there).identity.apiKeys.create({ name: "left", scopes })).apiKey;
  await h.w.as({ ...s.who, grants: { "api_keys.create": "tenant", "audit.read": "tenant" } })
    .identity.apiKeys.create({ name: "home", scopes });
  const listed = await get("/api-keys", token);
  assert.deepEqual(
    listed.body.api_keys instanceof Array && listed.body.api_keys.map(({ id }) => id),
    [
      theirs.id,
    ],
  );
  const [at] = await h.sql("select id from sessions where tenant_id = $1", [s.home]);
  const path = `/sessions/${at?.id}/revoke`;
  assert.equal((await h.send(path, {}, bearer(token))).status, 404, "home's rows are not there");
  assert.equal((await h.send(path, {}, bearer(s.access))).status, 200);
});

Deno.test("exchange does not tell a tenant one may do nothing in from one that is not there", async () => {
  const s = await stage();
  const admin = await signIn(await h.login(s.home, { role: "admin" }));
  const nobody = await exchange(s.access, v7());
  assert.deepEqual([nobody.status, nobody.body.reason], [404, "tenant.not_found"]);
  const told = ({ body: { request_id: _, ...rest } }: typeof nobody) => rest;
  for (const tenant of [s.above, s.beside, ROOT_TENANT]) {
    assert.deepEqual(told(await exchange(s.access, tenant)), told(nobody), "not below home");
  }
  for (const tenant of [s.left, s.below]) { // An admin's reach ends with their tenant.
    assert.deepEqual(told(await exchange(admin.access, tenant)), told(nobody));
    await exchanged(s.access, tenant);
  }
  for (const status of ["suspended", "closed"]) {
    await h.sql("update tenants set status = $2 where id = $1", [s.left, status]);
    for (const tenant of [s.left, s.below]) {
      assert.deepEqual(told(await exchange(s.access, tenant)), told(nobody), status);
    }
    await exchanged(s.access, s.right);
    await h.sql("update tenants set status = 'active' where id = $1", [s.left]);
  }
  await h.sql("update tenants set parent_id = $2 where id = $1", [s.left, s.beside]);
  assert.deepEqual(told(await exchange(s.access, s.below)), told(nobody), "moved away");
  await h.sql("update tenants set parent_id = $2 where id = $1", [s.left, s.right]);
  await exchanged(s.access, s.below);
  await h.sql("update tenants set inherits_access = false where id = $1", [s.left]);
  for (const tenant of [s.left, s.below]) {
    assert.deepEqual(told(await exchange(s.access, tenant)), told(nobody), "inherits nothing");
  }
  await bind(s.who, s.left, "member");
  await exchanged(s.access, s.left);
});

Deno.test("exchange of an operator passes a tenant that inherits nothing", async () => {
  const s = await stage();
  await h.sql("update tenants set inherits_access = false where id = $1", [s.left]);
  const operator = await signIn(await h.login(ROOT_TENANT, { role: "operator" }));
  await exchanged(operator.access, s.below);
});

Deno.test("exchange gives what one holds there, and not what one holds at home", async () => {
  const s = await stage("member");
  await bind(s.who, s.left, "auditor");
  const token = await exchanged(s.access, s.left);
  const { permissions } = (await get("/auth/me", token)).body;
  const given = Object(permissions);
  assert.deepEqual([given["audit.read"], given["bindings.connect"]], ["tenant", undefined]);
  assert.equal((await get("/audit-entries", token)).status, 200);
  assert.equal((await get("/audit-entries", s.access)).status, 403);
  assert.equal((await exchange(s.access, s.right)).status, 404);
});

Deno.test("exchange gives no token that outlives the binding it rests on", async () => {
  h.clock.ms = Math.max(h.clock.ms, Date.now()); // The database goes by its own.
  const s = await stage("member");
  await bind(s.who, s.left, "auditor", new Date(h.clock.ms + 60_000));
  const { body } = await exchange(s.access, s.left);
  assert.ok(Number(body.expires_in) > 50 && Number(body.expires_in) <= 60, `${body.expires_in} s`);
  h.clock.ms += 60_000;
  assert.equal((await get("/audit-entries", String(body.access_token))).status, 401);
});

Deno.test("exchange is for who has signed in: a key, and a token without a session, stay where they are", async () => {
  const s = await stage();
  const scopes = ["sessions.exchange" as const, "audit.read" as const];
  const grants = {
    "sessions.exchange": "subtree",
    "audit.read": "subtree",
    "api_keys.create": "tenant",
  } as const;
  const { key } = await h.w.as({ ...s.who, grants }).identity.apiKeys.create({ name: "k", scopes });
  const without = await h.w.token(s.who);
  for (const headers of [{ "x-api-key": key }, { authorization: `Bearer ${without}` }]) {
    const { status, body } = await h.send("/auth/exchange", { tenant_id: s.left }, { headers });
    assert.deepEqual([status, body.reason], [403, "exchange.needs_session"]);
  }
  await exchanged(s.access, s.left);
});

Deno.test("exchange from elsewhere goes by what one holds from home on", async () => {
  const s = await stage();
  const left = await exchanged(s.access, s.left);
  const right = await exchanged(left, s.right);
  assert.equal((await get("/auth/me", right)).body.tenant_id, s.right);
  const back = await exchanged(right, s.home);
  const issued = await h.w.process.tokens.read(back, new Date(h.clock.ms));
  assert.equal(issued?.standee.principal.userId, s.who.userId);
  assert.equal((await exchange(left, s.above)).status, 404);
  const [entry] = (await h.trail(s.right)).slice(-1);
  assert.deepEqual([entry?.action, entry?.actor_id], ["session.exchanged", s.who.userId]);
});

Deno.test("an exchanged token is refreshed by nothing and signs nobody out", async () => {
  const s = await stage();
  const token = await exchanged(s.access, s.left);
  for (const path of ["/auth/sign-out", "/auth/sign-out-everywhere"]) {
    const { status, body } = await h.send(path, {}, bearer(token));
    assert.deepEqual([status, body.reason], [403, "session.elsewhere"], path);
  }
  const { body } = await h.send("/auth/refresh", { refresh_token: s.refresh });
  const renewed = await h.w.process.tokens.read(String(body.access_token), new Date(h.clock.ms));
  assert.equal(renewed?.standee.principal.tenantId, s.home, "a refresh leads home");
  h.clock.ms += 300_000;
  assert.equal((await get("/auth/me", token)).status, 401);
});

type Stage = Awaited<ReturnType<typeof stage>>;
const set = (table: string, column: string, id: string, value: unknown) =>
  h.sql(`update ${table} set ${column} = $2 where id = $1`, [id, value]);
/** What ends an exchanged token: null, it is nobody's; else what it may still do. */
const ends: Record<string, { by: (s: Stage) => Promise<unknown>; leaves: "nobody" | "nothing" }> = {
  "its session signs out": {
    by: (s) => h.send("/auth/sign-out", {}, bearer(s.access)),
    leaves: "nobody",
  },
  "its session is used by a thief": {
    by: async (s) => {
      const { body } = await h.send("/auth/refresh", { refresh_token: s.refresh });
      await h.send("/auth/refresh", { refresh_token: body.refresh_token });
      await h.send("/auth/refresh", { refresh_token: s.refresh });
    },
    leaves: "nobody",
  },
  "its user is suspended": {
    by: async (s) => {
      await set("users", "status", s.who.userId, "suspended");
      await moved(s.home);
    },
    leaves: "nobody",
  },
  "home is suspended": {
    by: (s) => set("tenants", "status", s.home, "suspended"),
    leaves: "nobody",
  },
  "the tenant is suspended": {
    by: (s) => set("tenants", "status", s.left, "suspended"),
    leaves: "nobody",
  },
  "the tenant moves away": {
    by: (s) => set("tenants", "parent_id", s.left, s.beside),
    leaves: "nobody",
  },
  "the tenant stops inheriting": {
    by: (s) => set("tenants", "inherits_access", s.left, false),
    leaves: "nothing",
  },
  "the role is taken back": {
    by: async (s) => {
      await h.sql("update role_bindings set revoked_at = now() where owner_user_id = $1", [
        s.who.userId,
      ]);
      await moved(s.home);
    },
    leaves: "nothing",
  },
};

for (const [what, { by, leaves }] of Object.entries(ends)) {
  Deno.test(`an exchanged token ends within the bound, in every process, when ${what}`, async () => {
    const s = await stage();
    const token = await exchanged(s.access, s.left);
    const { database, env } = h.w;
    const now = () => new Date(h.clock.ms);
    const others = await Promise.all(
      [1, 2].map(async () => principals(await services({ env, database, now }))),
    );
    const grants = () =>
      Promise.all(others.map(async ({ find }) => (await find(`Bearer ${token}`, null))?.grants));
    for (const given of await grants()) assert.equal(given?.["audit.read"], "subtree");
    await by(s);
    h.clock.ms += BOUND_MS;
    const expected = leaves === "nobody" ? undefined : {};
    assert.deepEqual(await grants(), [expected, expected]);
    const { status } = await get("/audit-entries", token);
    assert.equal(status, leaves === "nobody" ? 401 : 403);
  });
}

Deno.test.afterAll(() => h.w.close());
