/** Client access: where a tenant's callers and its keys may come from, and that nobody locks themselves out. */
import assert from "node:assert/strict";
import { app } from "../../src/app.ts";
import { permissions } from "../../src/access/permissions.ts";
import { principals } from "../../src/access/principals.ts";
import type { Principal } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import { home } from "./house.ts";

const h = await home();
const stage = async (role = "owner") => await h.login(await h.tenantBelow(), { role });
const IN = "198.51.100.7";
const OUT = "203.0.113.7";
const lists = (who: Principal, address = IN) => h.w.as(who, { address }).identity.clientAccess;
const mint = (who: Principal) =>
  h.w.as(who).identity.apiKeys.create({
    name: "k",
    scopes: ["audit.read", "client_access.create"],
  });
const reason = (reason: string) => (error: unknown) => {
  assert.equal(Reflect.get(Object(Reflect.get(Object(error), "cause")), "reason"), reason);
  return true;
};

/** A token as sign-in and exchange give them: believed only while nothing has changed. */
const tokenOf = async (principal: Principal, isListed = false) =>
  (await h.w.process.tokens.sign(principal, h.w.process.now(), {
    homeEpoch: 0,
    actingEpoch: 0,
    untilMs: Infinity,
    isListed,
  })).token;
const withToken = (token: string) => ({ authorization: `Bearer ${token}` });
const ask = (headers: Record<string, string>, address: string) =>
  h.send("/audit-entries", null, { method: "GET", headers, address });
const statusOf = async (headers: Record<string, string>, address: string) =>
  (await ask(headers, address)).status;

Deno.test("clientAccess.create writes a network one way, however it is spelt", async () => {
  const who = await stage();
  const spellings: [string, string][] = [
    ["198.51.100.0/24", "198.51.100.0/24"],
    [" 198.51.100.7 ", "198.51.100.7/32"],
    ["2001:DB8:0:0::/32", "2001:db8::/32"],
    ["2001:db8::0001", "2001:db8::1/128"],
    ["::ffff:192.0.2.0/120", "192.0.2.0/24"],
    ["::ffff:c000:207", "192.0.2.7/32"],
  ];
  for (const [network, expected] of spellings) {
    const made = await lists(who).create({ network, description: "Office" });
    assert.deepEqual([made.network, made.apiKeyId, made.description], [expected, null, "Office"]);
  }
  for (const again of ["2001:db8:0::/32", "192.0.2.7", "::FFFF:192.0.2.7/128"]) {
    const refused = lists(who).create({ network: again });
    await assert.rejects(refused, reason("client_access.already_exists"));
  }
  const { clientAccess, nextCursor } = await lists(who).list({ limit: 4 });
  assert.deepEqual(
    clientAccess.map(({ network }) => network),
    spellings.map(([, network]) => network).reverse().slice(0, 4),
  );
  assert.equal(nextCursor, clientAccess.at(-1)?.id);
});

Deno.test("clientAccess.create refuses what is no network, and says what was meant", async () => {
  const who = await stage();
  const token = withToken(await h.w.token(who));
  const post = (network: unknown) => h.send("/client-access", { network }, { headers: token });
  const meant: [string, string][] = [
    ["10.1.2.3/8", "10.0.0.0/8"],
    ["2001:db8::1/32", "2001:db8::/32"],
    ["::ffff:10.1.2.3/104", "10.0.0.0/8"],
  ];
  for (const [network, expected] of meant) {
    const { status, body } = await post(network);
    assert.deepEqual([status, body.reason], [400, "network.invalid"]);
    assert.match(String(body.detail), new RegExp(`did you mean ${expected}\\?`));
  }
  for (
    const odd of ["", "10.0.0.0/33", "fe80::1%eth0", "example.com", "10.0.0.0/8 ", "1.2.3", 7, null]
  ) {
    const { status, body } = await post(odd);
    if (odd === "10.0.0.0/8 ") assert.equal(status, 409); // Right, and not where we come from.
    else {
      assert.equal(status, 400, String(odd));
      assert.match(JSON.stringify(body.errors), /"field":"network"/);
    }
  }
  assert.deepEqual((await lists(who).list({})).clientAccess, []);
});

Deno.test("clientAccess.create and delete refuse a list that locks the caller out, and name the address", async () => {
  const who = await stage();
  const headers = withToken(await h.w.token(who));
  const post = (network: string, address = IN) =>
    h.send("/client-access", { network }, { headers, address });
  const refused = await post("203.0.113.0/24");
  assert.deepEqual([refused.status, refused.body.reason], [409, "client_access.locks_you_out"]);
  assert.match(String(refused.body.detail), /198\.51\.100\.7/);
  assert.equal((await post("203.0.113.0/24", `::ffff:${OUT}`)).status, 201);
  assert.equal((await post("198.51.100.0/24", IN)).status, 201); // From outside, and now inside.
  const [mine, theirs] = (await lists(who).list({})).clientAccess;
  assert.equal(mine?.network, "198.51.100.0/24");
  await assert.rejects(
    lists(who).delete({ id: mine?.id ?? "" }),
    reason("client_access.locks_you_out"),
  );
  await assert.rejects(
    lists(who, "unknown").delete({ id: mine?.id ?? "" }),
    /You come from unknown/,
  );
  assert.equal((await lists(who).list({})).clientAccess.length, 2);
  await lists(who).delete({ id: theirs?.id ?? "" });
  await lists(who, OUT).delete({ id: mine?.id ?? "" }); // The last: anywhere again.
  assert.deepEqual((await lists(who).list({})).clientAccess, []);
});

Deno.test("a tenant's list holds for tokens within the bound, and without one anywhere will do", async () => {
  const who = await stage();
  const headers = withToken(await tokenOf(who));
  const other = principals(h.w.process); // Another request's process would do the same.
  assert.deepEqual([await statusOf(headers, IN), await statusOf(headers, OUT)], [200, 200]);
  const { id } = await lists(who).create({ network: "198.51.100.0/24" });
  h.clock.ms += 5_000;
  assert.equal(await statusOf(headers, IN), 200);
  const refused = await ask(headers, OUT);
  assert.deepEqual([refused.status, refused.body.reason], [403, "address.not_allowed"]);
  assert.equal(await statusOf(headers, `::ffff:${IN}`), 200);
  assert.equal(await statusOf(headers, "unknown"), 403);
  await assert.rejects(other.find(headers.authorization, null), { reason: "address.not_allowed" });
  assert.equal(await statusOf(withToken(await tokenOf(who, true)), OUT), 403);
  await lists(who).delete({ id });
  h.clock.ms += 5_000;
  assert.equal(await statusOf(headers, OUT), 200);
});

Deno.test("a tenant's list holds for people of a tenant above, who act below by exchange", async () => {
  const top = await h.tenantBelow();
  const parent = await h.login(top, { role: "owner" });
  const who = await h.login(await h.tenantBelow(top), { role: "owner" });
  const below = withToken(await tokenOf({ ...parent, tenantId: who.tenantId, userId: null }));
  const above = withToken(await tokenOf(parent));
  assert.equal(await statusOf(below, OUT), 200);
  await lists(who).create({ network: "198.51.100.0/24" });
  h.clock.ms += 5_000;
  assert.deepEqual([await statusOf(below, IN), await statusOf(below, OUT)], [200, 403]);
  assert.equal(await statusOf(above, OUT), 200); // At home their own tenant's list counts.
});

Deno.test("a key is used from within its own list and its tenant's", async () => {
  const who = await stage();
  const [{ key, apiKey }, free] = [await mint(who), await mint(who)];
  const [mine, other] = [{ "x-api-key": key }, { "x-api-key": free.key }];
  assert.equal(await statusOf(mine, OUT), 200);
  // No list of a key locks out who writes it, unless they are that key.
  const made = await lists(who, OUT).create({ network: "198.51.100.0/25", apiKeyId: apiKey.id });
  h.clock.ms += 5_000;
  assert.deepEqual([await statusOf(mine, IN), await statusOf(mine, OUT)], [200, 403]);
  assert.equal(await statusOf(other, OUT), 200);
  await lists(who).create({ network: "198.51.100.0/24" });
  h.clock.ms += 5_000;
  assert.deepEqual([await statusOf(mine, IN), await statusOf(mine, "198.51.100.200")], [200, 403]);
  assert.deepEqual(
    [await statusOf(other, "198.51.100.200"), await statusOf(other, OUT)],
    [200, 403],
  );
  assert.deepEqual((await lists(who).list({ apiKeyId: apiKey.id })).clientAccess, [made]);
  await lists(who).delete({ id: made.id });
  h.clock.ms += 5_000;
  assert.equal(await statusOf(mine, "198.51.100.200"), 200);
});

Deno.test("a key does not lock itself out", async () => {
  const { key, apiKey } = await mint(await stage());
  const post = (network: string) =>
    h.send("/client-access", { network, api_key_id: apiKey.id }, {
      headers: { "x-api-key": key },
      address: IN,
    });
  const refused = await post("203.0.113.0/24");
  assert.deepEqual([refused.status, refused.body.reason], [409, "client_access.locks_you_out"]);
  assert.equal((await post("198.51.100.0/24")).status, 201);
});

Deno.test("a key bound to networks frees neither itself nor a key it made", async () => {
  const who = await stage();
  const scopes = ["audit.read", "api_keys.create", "client_access.create", "client_access.delete"];
  const { key, apiKey } = await h.w.as(who).identity.apiKeys.create({
    name: "k",
    scopes: permissions.filter((permission) => scopes.includes(permission)),
  });
  await lists(who).create({ network: "198.51.100.0/24", apiKeyId: apiKey.id });
  const by = { headers: { "x-api-key": key }, address: IN };
  const made = await h.send("/api-keys", { name: "child", scopes: ["audit.read"] }, by);
  assert.equal(made.status, 201);
  const child = String(Reflect.get(Object(made.body.api_key), "id"));
  for (const apiKeyId of [apiKey.id, child]) {
    const [on] = (await lists(who).list({ apiKeyId })).clientAccess;
    assert.equal(on?.network, "198.51.100.0/24");
    const wider = await h.send("/client-access", { network: OUT, api_key_id: apiKeyId }, by);
    const gone = await h.send(`/client-access/${on.id}`, null, { ...by, method: "DELETE" });
    for (const { status, body } of [wider, gone]) {
      assert.deepEqual([status, body.reason], [403, "client_access.bound_key"]);
    }
    await lists(who).delete({ id: on.id });
    await lists(who).create({ network: "198.51.100.0/24", apiKeyId });
  }
});

Deno.test("nobody shuts out who stands above them: neither by the tenant's list nor by a key's", async () => {
  const owner = await stage();
  const admin = await h.login(owner.tenantId, { role: "admin" });
  const beyond = reason("grant.beyond");
  await assert.rejects(lists(admin).create({ network: "198.51.100.0/24" }), beyond);
  const { id } = await lists(owner).create({ network: "198.51.100.0/24" });
  const more = await lists(admin).create({ network: OUT }); // Lets more in.
  await assert.rejects(lists(admin).delete({ id: more.id }), beyond);
  await assert.rejects(lists(admin).delete({ id }), beyond);
  await lists(owner).delete({ id: more.id });
  await lists(admin).delete({ id }); // Lets everybody in.
  const { apiKey } = await mint(owner);
  await assert.rejects(lists(admin).create({ network: IN, apiKeyId: apiKey.id }), beyond);
  const ofKey = await lists(owner).create({ network: IN, apiKeyId: apiKey.id });
  await assert.rejects(lists(admin).delete({ id: ofKey.id }), beyond);
});

Deno.test("X-Forwarded-For counts behind a proxy of ours alone, and there its last address", async () => {
  const who = await stage();
  await lists(who).create({ network: "198.51.100.0/24" });
  const token = await tokenOf(who, true);
  const served = (trustForwardedFor: boolean) => {
    const limits = { requestsPerMinute: 1_000, tenantRequestsPerMinute: 1_000 };
    const { fetch } = app(h.w.process, { ...limits, trustForwardedFor });
    return async (forwarded: string, address: string) => {
      const headers = { ...withToken(token), "x-forwarded-for": forwarded };
      const request = new Request("http://switchboard.test/api/v1/audit-entries", { headers });
      const remoteAddr = { transport: "tcp" as const, hostname: address, port: 4_711 };
      const answer = await fetch(request, { remoteAddr });
      await answer.body?.cancel();
      return answer.status;
    };
  };
  const [behind, bare] = [served(true), served(false)];
  assert.deepEqual([await bare(IN, OUT), await bare(OUT, IN)], [403, 200]);
  assert.deepEqual([await behind(IN, "10.0.0.1"), await behind(OUT, IN)], [200, 403]);
  assert.equal(await behind(`${IN}, ${OUT}`, "10.0.0.1"), 403); // What a caller wrote stands before.
  assert.equal(await behind(`${OUT}, ${IN}`, "10.0.0.1"), 200);
});

Deno.test("clientAccess.create takes a hundred networks for a tenant and twenty for a key", async () => {
  const who = await stage();
  const { apiKey } = await mint(who);
  const fill = async (most: number, more: { apiKeyId?: string }) => {
    await lists(who).create({ network: IN, ...more });
    await h.sql(
      `insert into client_access (tenant_id, id, api_key_id, network)
        select $1, gen_random_uuid(), $2, '10.0.0.' || n || '/32' from generate_series(1, $3::int) n`,
      [who.tenantId, more.apiKeyId ?? null, most - 2],
    );
    assert.ok(await lists(who).create({ network: "10.1.0.0/16", ...more }));
    const over = lists(who).create({ network: "10.2.0.0/16", ...more });
    await assert.rejects(over, reason("client_access.full"));
  };
  await fill(20, { apiKeyId: apiKey.id });
  await fill(100, {});
});

Deno.test("clientAccess with self reach is the lists of one's own keys", async () => {
  const admin = await stage();
  const member: Principal = {
    ...await h.login(admin.tenantId),
    grants: {
      "client_access.create": "self",
      "client_access.read": "self",
      "client_access.delete": "self",
    },
  };
  const network = "198.51.100.0/24";
  const { apiKey: theirs } = await mint(admin);
  const { apiKey: mine } = await h.w.as({ ...member, grants: admin.grants }).identity.apiKeys
    .create({ name: "k", scopes: ["audit.read"] });
  const tenants = await lists(admin).create({ network });
  const ofTheirs = await lists(admin).create({ network, apiKeyId: theirs.id });
  const ofMine = await lists(member).create({ network, apiKeyId: mine.id });
  assert.deepEqual((await lists(member).list({})).clientAccess, [ofMine]);
  assert.equal((await lists(admin).list({})).clientAccess.length, 3);
  const missing = { code: "NOT_FOUND" };
  await assert.rejects(lists(member).create({ network, apiKeyId: theirs.id }), missing);
  await assert.rejects(lists(member).create({ network: IN }), { code: "BAD_REQUEST" });
  for (const { id } of [tenants, ofTheirs]) {
    await assert.rejects(lists(member).delete({ id }), missing);
  }
  await lists(member).delete({ id: ofMine.id });
});

Deno.test("clientAccess names only what is there: keys and networks of the tenant, keys not revoked", async () => {
  const [who, far] = [await stage(), await stage()];
  const { apiKey } = await mint(who);
  const missing = { code: "NOT_FOUND" };
  await assert.rejects(lists(far).create({ network: IN, apiKeyId: apiKey.id }), missing);
  const { id, updatedAt } = await lists(who).create({ network: IN, apiKeyId: apiKey.id });
  await assert.rejects(lists(far).delete({ id }), missing);
  const stale = h.w.as(who, { ifMatch: etagOf(id, new Date(updatedAt.getTime() - 1)) }).identity;
  await assert.rejects(stale.clientAccess.delete({ id }), /changed since/);
  await h.w.as(who).identity.apiKeys.revoke({ id: apiKey.id });
  const late = lists(who).create({ network: OUT, apiKeyId: apiKey.id });
  await assert.rejects(late, reason("api_key.revoked"));
  await lists(who).delete({ id });
  await assert.rejects(lists(who).delete({ id }), missing);
  const written = (await h.trail(who.tenantId)).map(({ action }) => String(action))
    .filter((action) => action.startsWith("client_access"));
  assert.deepEqual(written, ["client_access.created", "client_access.deleted"]);
});

Deno.test.afterAll(() => h.w.close());
