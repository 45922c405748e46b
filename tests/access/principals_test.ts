/** Who a request comes from: keys remembered for seconds at most, and one query however many ask. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { KEY_TTL_MS, principals } from "../../src/access/principals.ts";
import { newKey } from "../../src/access/key_text.ts";
import type { Permission } from "../../src/access/permissions.ts";
import type { Principal, Services } from "../../src/context.ts";
import { home, minutes } from "../identity/house.ts";
import { until } from "../db/house.ts";

const h = await home();

/** A fresh process over the same database, whose queries are counted and can be held up. */
function process() {
  const { database } = h.w.process;
  const count = { queries: 0, writes: 0 };
  const gate: { hold: Promise<void> | null; error: Error | null } = { hold: null, error: null };
  const services: Services = {
    ...h.w.process,
    database: {
      ...database,
      query: async (statement) => {
        count.queries++;
        const { hold, error } = gate;
        const rows = await database.query(statement);
        await hold;
        if (error) throw error;
        return rows;
      },
      transaction: (work, access) => {
        count.writes++;
        return database.transaction(work, access);
      },
    },
  };
  return { ...principals(services), count, gate };
}

const minted = async (
  more: { scopes?: Permission[]; expiresAt?: Date; role?: string } = {},
) => {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: more.role ?? "admin" });
  const { scopes = ["audit.read", "api_keys.create"], expiresAt } = more;
  const made = await h.w.as(owner).identity.apiKeys.create({ name: "k", scopes, expiresAt });
  return { tenantId, owner, key: made.key, id: made.apiKey.id };
};
const grantsOf = (principal: Principal | null) => principal?.grants ?? null;

Deno.test("find asks once for a cold key and never for a warm one", async () => {
  const { key, id, tenantId, owner } = await minted();
  const { find, count } = process();
  const expected: Principal = {
    actor: { type: "key", tenantId, id },
    tenantId,
    userId: owner.userId,
    sessionId: null,
    grants: { "audit.read": "tenant", "api_keys.create": "tenant" },
  };
  assert.deepEqual(await find(null, key), expected);
  assert.equal(count.queries, 1);
  for (let i = 0; i < 100; i++) await find(`Bearer ${key}`, null);
  assert.equal(count.queries, 1);
});

Deno.test("find asks once when a thousand ask at once", async () => {
  const { key } = await minted();
  const { find, count } = process();
  const all = await Promise.all(Array.from({ length: 1_000 }, () => find(null, key)));
  assert.ok(all.every((principal) => principal?.grants["audit.read"] === "tenant"));
  assert.equal(count.queries, 1);
});

Deno.test("find asks nobody about a key whose checksum is wrong", async () => {
  const { find, count } = process();
  const { text } = newKey("test", v7());
  for (const odd of [`${text.slice(0, -1)}${text.endsWith("0") ? "1" : "0"}`, "sb_", "sb_test_x"]) {
    assert.equal(await find(null, odd), null);
    assert.equal(await find(`Bearer ${odd}`, null), null);
  }
  assert.equal(count.queries, 0);
});

Deno.test("find refuses a key of the same id with another secret, and one nobody made", async () => {
  const { id, key } = await minted();
  const { find } = process();
  assert.equal(await find(null, newKey("test", id).text), null);
  assert.equal(await find(null, newKey("test", v7()).text), null);
  assert.ok(await find(null, key));
});

type Made = Awaited<ReturnType<typeof minted>>;
const ends: Record<string, (made: Made) => Promise<unknown>> = {
  "a revoked key": ({ owner, id }) => h.w.as(owner).identity.apiKeys.revoke({ id }),
  "the key of a suspended user": ({ owner }) =>
    h.sql("update users set status = 'suspended' where id = $1", [owner.userId]),
  "the key of a suspended tenant": ({ tenantId }) =>
    h.sql("update tenants set status = 'suspended' where id = $1", [tenantId]),
  "the key of a closed tenant": ({ tenantId }) =>
    h.sql("update tenants set status = 'closed' where id = $1", [tenantId]),
};
for (const [what, end] of Object.entries(ends)) {
  Deno.test(`find refuses ${what} within the bound`, async () => {
    const made = await minted();
    const { find } = process();
    assert.ok(await find(null, made.key));
    await end(made);
    h.clock.ms += KEY_TTL_MS;
    assert.equal(await find(null, made.key), null);
    assert.equal(await process().find(null, made.key), null);
  });
}

Deno.test("find refuses the key of a tenant under a suspended one", async () => {
  const top = await h.tenantBelow();
  const owner = await h.login(await h.tenantBelow(await h.tenantBelow(top)), { role: "admin" });
  const { key } = await h.w.as(owner).identity.apiKeys.create({
    name: "k",
    scopes: ["audit.read"],
  });
  assert.ok(await process().find(null, key));
  await h.sql("update tenants set status = 'suspended' where id = $1", [top]);
  assert.equal(await process().find(null, key), null);
});

Deno.test("find refuses an expired key to the millisecond, warm or cold", async () => {
  const expiresAt = new Date(h.clock.ms + 1_000);
  const { key } = await minted({ expiresAt });
  const warm = process();
  h.clock.ms = expiresAt.getTime() - 1;
  assert.ok(await warm.find(null, key));
  h.clock.ms++;
  assert.equal(await warm.find(null, key), null);
  assert.equal(await process().find(null, key), null);
});

Deno.test("find takes from a key what its owner loses, within the bound", async () => {
  const { key, owner } = await minted();
  const { find } = process();
  await find(null, key);
  await h.sql("update role_bindings set system_role = 'auditor' where owner_user_id = $1", [
    owner.userId,
  ]);
  h.clock.ms += KEY_TTL_MS;
  assert.deepEqual(grantsOf(await find(null, key)), { "audit.read": "tenant" });
  await h.sql("update role_bindings set ends_at = now() where owner_user_id = $1", [owner.userId]);
  h.clock.ms += KEY_TTL_MS;
  assert.deepEqual(grantsOf(await find(null, key)), {});
});

Deno.test("find renews a key in use ahead of its end, off the caller's path", async () => {
  const { key } = await minted();
  const { find, count, gate } = process();
  await find(null, key);
  h.clock.ms += KEY_TTL_MS / 2;
  const held = Promise.withResolvers<void>();
  gate.hold = held.promise;
  assert.ok(await find(null, key)); // Answered although the query hangs.
  assert.ok(await find(null, key));
  assert.equal(count.queries, 2);
  held.resolve();
  gate.hold = null;
  await until(() => count.queries === 2, "renewed");
  await new Promise((resolve) => setTimeout(resolve, 20));
  h.clock.ms += KEY_TTL_MS - 1;
  assert.ok(await find(null, key));
});

Deno.test("find joins no reading that hangs for longer than the bound", async () => {
  const { key, owner, id } = await minted();
  const { find, count, gate } = process();
  const held = Promise.withResolvers<void>();
  gate.hold = held.promise;
  const early = find(null, key);
  await new Promise((resolve) => setTimeout(resolve, 20));
  gate.hold = null;
  await h.w.as(owner).identity.apiKeys.revoke({ id });
  h.clock.ms += KEY_TTL_MS;
  assert.equal(await find(null, key), null);
  held.resolve();
  await early;
  assert.equal(await find(null, key), null); // What came late does not overwrite what is newer.
  assert.equal(count.queries, 2);
});

Deno.test("find says so when the database is away, and keeps no answer it did not get", async () => {
  const { key } = await minted();
  const { find, gate } = process();
  gate.error = new Error("away");
  await assert.rejects(find(null, key), /away/);
  gate.error = null;
  assert.ok(await find(null, key));
});

Deno.test("find writes the last use once a minute, whoever sees the key, and makes no new version of it", async () => {
  const { key, id } = await minted();
  const [one, two] = [process(), process()];
  const kept = async () => {
    const [row] = await h.sql("select last_used_at, updated_at from api_keys where id = $1", [id]);
    return [row?.last_used_at, row?.updated_at].map((at) =>
      at instanceof Date ? at.getTime() : null
    );
  };
  const [, version] = await kept();
  await one.find(null, key);
  await until(async () => (await kept())[0] === h.clock.ms, "written");
  const first = h.clock.ms;
  for (let second = 0; second < 59; second += 6) {
    h.clock.ms = first + second * 1_000;
    await Promise.all([one.find(null, key), two.find(null, key)]);
  }
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(await kept(), [first, version]);
  assert.deepEqual([one.count.writes, two.count.writes], [1, 0]);
  h.clock.ms = first + minutes(1);
  await two.find(null, key);
  await until(async () => (await kept())[0] === h.clock.ms, "written again");
  assert.equal((await kept())[1], version);
});

Deno.test("find goes by the Authorization header when both are given, and by nothing it cannot read", async () => {
  const [{ key }, owner] = [await minted(), await h.login(await h.tenantBelow())];
  const { find } = process();
  const token = await h.w.token(owner);
  assert.equal((await find(`Bearer ${token}`, key))?.actor.type, "user");
  assert.equal((await find(`bearer ${key}`, "sb_nothing"))?.actor.type, "key");
  const unreadable = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer  ",
    "Basic YTpi",
    `Basic ${key}`,
    key,
    token,
    `Bearer ${token} ${token}`,
    `Bearer ${token},Bearer ${token}`,
    `Token ${token}`,
    "Bearer \u00e9",
  ];
  for (const header of unreadable) assert.equal(await find(header, key), null, header);
  assert.equal(await find(null, token), null, "a token is no key");
  assert.equal(await find(null, ""), null);
  assert.equal(await find(null, null), null);
});

Deno.test.afterAll(() => h.w.close());
