/** Who a request comes from: keys believed until something changes, and one query however many ask. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { KEPT_MS, KEY_TTL_MS } from "../../src/access/known_keys.ts";
import { newKey } from "../../src/access/key_text.ts";
import { UNKNOWN_KEYS_PER_MINUTE } from "../../src/access/unknown_keys.ts";
import type { Principal } from "../../src/context.ts";
import { elsewhere, minutes } from "../identity/house.ts";
import { until } from "../db/house.ts";
import { keyHouse, passed } from "./key_house.ts";

const { h, process, minted, announce } = await keyHouse();

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
  assert.deepEqual([count.queries, count.epochs], [1, 0]);
  for (let i = 0; i < 100; i++) await find(`Bearer ${key}`, null);
  assert.deepEqual([count.queries, count.epochs], [1, 1]);
});

Deno.test("find reads no row again while nothing changes in its tenant, however many keys are in use", async () => {
  const { owner, tenantId } = await minted();
  const create = () => h.w.as(owner).identity.apiKeys.create({ name: "k", scopes: ["audit.read"] });
  const keys = await Promise.all(Array.from({ length: 20 }, create));
  const { find, count } = process();
  const all = () => Promise.all(keys.map(({ key }) => find(null, key)));
  for (let second = 0; second < 29; second++) {
    assert.ok((await all()).every((principal) => principal?.grants["audit.read"]));
    h.clock.ms += 1_000;
    await passed(1);
  }
  assert.equal(count.queries, 20);
  assert.ok(count.epochs <= 29, `${count.epochs} questions for the tenant's epochs`);
  await announce(tenantId);
  h.clock.ms += KEY_TTL_MS;
  await all();
  assert.equal(count.queries, 40);
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
  "the key of a suspended user": async ({ owner, tenantId }) => {
    await h.sql("update users set status = 'suspended' where id = $1", [owner.userId]);
    await announce(tenantId);
  },
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
  const { key, owner, tenantId } = await minted();
  const { find } = process();
  await find(null, key);
  await h.sql("update role_bindings set system_role = 'auditor' where owner_user_id = $1", [
    owner.userId,
  ]);
  await announce(tenantId);
  h.clock.ms += KEY_TTL_MS;
  assert.deepEqual(grantsOf(await find(null, key)), { "audit.read": "tenant" });
  await h.sql("update role_bindings set ends_at = now() where owner_user_id = $1", [owner.userId]);
  await announce(tenantId);
  h.clock.ms += KEY_TTL_MS;
  assert.deepEqual(grantsOf(await find(null, key)), {});
});

Deno.test("find takes from a key what its owner held for a time, to the millisecond", async () => {
  const { key, owner } = await minted();
  const [row] = await h.sql(
    "update role_bindings set ends_at = now() + interval '1 hour' where owner_user_id = $1 returning ends_at",
    [owner.userId],
  );
  assert.ok(row?.ends_at instanceof Date);
  const endsAt = row.ends_at.getTime();
  const { find } = process();
  h.clock.ms = endsAt - 1;
  assert.deepEqual(grantsOf(await find(null, key)), {
    "audit.read": "tenant",
    "api_keys.create": "tenant",
  });
  // It is over for the database too, which nobody announces.
  await h.sql("update role_bindings set ends_at = now() where owner_user_id = $1", [owner.userId]);
  h.clock.ms = endsAt;
  assert.deepEqual(grantsOf(await find(null, key)), {});
  h.clock.ms = Math.max(h.clock.ms, Date.now());
});

Deno.test("find feels a change nobody announced within a minute", async () => {
  const { key, id } = await minted();
  const { find } = process();
  assert.ok(await find(null, key));
  await h.sql("update api_keys set revoked_at = now() where id = $1", [id]);
  h.clock.ms += KEPT_MS;
  assert.equal(await find(null, key), null);
});

Deno.test("find believes nothing for longer because a question hangs", async () => {
  const { key, owner, id } = await minted();
  const { find, gate } = process();
  await find(null, key);
  assert.ok(await find(null, key));
  const held = Promise.withResolvers<void>();
  gate.hold = held.promise;
  await h.w.as(owner).identity.apiKeys.revoke({ id });
  h.clock.ms += KEY_TTL_MS / 2;
  void find(null, key).catch(() => {}); // Asks for the epochs ahead of their end, in vain.
  h.clock.ms += KEY_TTL_MS / 2;
  const answer = find(null, key);
  const late = Symbol("no answer yet");
  assert.equal(await Promise.race([answer, passed(30).then(() => late)]), late);
  gate.hold = null;
  held.resolve();
  assert.equal(await answer, null);
});

Deno.test("find joins no reading that hangs for longer than the bound", async () => {
  const { key, owner, id } = await minted();
  const { find, count, gate } = process();
  const held = Promise.withResolvers<void>();
  gate.hold = held.promise;
  const early = find(null, key);
  await until(() => count.read === 1, "read");
  gate.hold = null;
  await h.w.as(owner).identity.apiKeys.revoke({ id });
  h.clock.ms += KEY_TTL_MS;
  assert.equal(await find(null, key), null);
  held.resolve();
  await early;
  assert.equal(await find(null, key), null); // What came late does not overwrite what is newer.
  assert.equal(count.queries, 2);
});

Deno.test("find takes no answer to a question that was asked before a change", async () => {
  const { key, owner, id } = await minted();
  const { find, count, gate } = process();
  await find(null, key);
  h.clock.ms += KEPT_MS / 2 - 1;
  assert.ok(await find(null, key));
  h.clock.ms++;
  const held = Promise.withResolvers<void>();
  gate.hold = held.promise;
  const before = count.read;
  assert.ok(await find(null, key)); // Renews; what it reads holds still.
  await until(() => count.read > before, "read");
  gate.hold = null;
  await h.w.as(owner).identity.apiKeys.revoke({ id });
  h.clock.ms += KEY_TTL_MS - 1;
  const answer = find(null, key);
  await passed(20);
  held.resolve();
  assert.equal(await answer, null);
});

Deno.test("find asks about so many made-up keys of one network a minute, and stops nobody else", async () => {
  const [good, late] = [await minted(), await minted()];
  const { find, count } = process();
  const [from, other] = [elsewhere(), elsewhere()];
  assert.ok(await find(null, good.key, () => from));
  const before = count.queries;
  const made = Array.from(
    { length: 10 * UNKNOWN_KEYS_PER_MINUTE },
    () => newKey("test", v7()).text,
  );
  const answers = await Promise.allSettled(made.map((text) => find(null, text, () => from)));
  assert.equal(count.queries - before, UNKNOWN_KEYS_PER_MINUTE);
  const refused = answers.filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 9 * UNKNOWN_KEYS_PER_MINUTE);
  assert.ok(answers.every((it) => it.status === "rejected" || it.value === null));
  await assert.rejects(find(null, newKey("test", v7()).text, () => from), {
    code: "RateLimited",
    reason: "api_key.too_many_unknown",
  });
  assert.equal(count.queries - before, UNKNOWN_KEYS_PER_MINUTE);
  assert.ok(await find(null, late.key, () => other));
  await announce(good.tenantId);
  h.clock.ms += KEY_TTL_MS;
  assert.ok(await find(null, good.key, () => from), "a key that held here before is asked about");
  h.clock.ms += minutes(1.2);
  assert.ok(await find(null, late.key, () => from));
  assert.equal(await find(null, newKey("test", v7()).text, () => from), null);
});

Deno.test("find says so when the database is away, and keeps no answer it did not get", async () => {
  const { key } = await minted();
  const { find, gate } = process();
  gate.error = new Error("away");
  await assert.rejects(find(null, key), /away/);
  gate.error = null;
  assert.ok(await find(null, key));
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
