/** A connected account is seen, used, changed and ended by those who may, and every use is written down. */
import assert from "node:assert/strict";
import type { Principal } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import { environment, type Person } from "../kit.ts";
import {
  connect,
  count,
  type House,
  house,
  refusal,
  rowOf,
  tenantWith,
  trailOf,
} from "./accounts.ts";

let at: House;
const lines: string[] = [];
Deno.test.beforeAll(async () => {
  const env = await environment({ LOG_LEVEL: "debug" });
  at = await house({ env, write: (line) => void lines.push(line) });
});
Deno.test.beforeEach(() => at.provider.resetCounts());
Deno.test.afterAll(() => at[Symbol.asyncDispose]());

const bindings = (person: Principal, more = {}) => at.as(person, more).platforms.bindings;
const guarded = (person: Person): Person => ({
  ...person,
  grants: { ...person.grants, "bindings.token": "tenant" },
});

Deno.test("bindings.accessToken answers a token that works, and is written down", async () => {
  const tenant = await tenantWith(at);
  const { id } = await connect(at, tenant.member, tenant);
  const token = await bindings(tenant.member).accessToken({ id });
  assert.equal(token.tokenType, "Bearer");
  assert.equal(token.bindingId, id);
  const answer = await fetch(`${at.provider.apiUrl}/mail`, {
    headers: { authorization: `Bearer ${token.accessToken}` },
  });
  assert.equal(answer.status, 200);
  await answer.body?.cancel();
  const trail = await trailOf(at, tenant.tenantId);
  const reads = trail.entries.filter(({ action }) => action === "binding.token_read");
  assert.equal(reads.length, 1);
  assert.equal(reads[0]?.actorId, tenant.member.userId);
  assert.equal(reads[0]?.subjectId, id);
  assert.equal(count(trail.events, ({ type }) => type === "binding.token_read"), 1);
  assert.ok(!trail.text.includes(token.accessToken));
  assert.ok(!lines.some((line) => line.includes(token.accessToken)));
  assert.equal(at.provider.counts.refreshRequests, 0);
});

Deno.test("a binding is its person's: others get 404, an admin sees and ends it but has no token", async () => {
  const tenant = await tenantWith(at);
  const { id } = await connect(at, tenant.member, tenant);
  const colleague = await at.person(tenant.tenantId, "member");
  const stranger = await tenantWith(at);
  for (const person of [colleague, stranger.member, stranger.admin]) {
    const api = bindings(person);
    const works = [
      api.get({ id }),
      api.accessToken({ id }),
      api.update({ id }),
      api.revoke({ id }),
    ];
    for (const { reason } of await Promise.all(works.map(refusal))) {
      assert.equal(reason, "binding.not_found");
    }
    assert.deepEqual((await api.list({})).bindings, []);
  }
  const admin = bindings(tenant.admin);
  assert.equal((await admin.get({ id })).id, id);
  assert.deepEqual((await admin.list({})).bindings.map((binding) => binding.id), [id]);
  assert.equal((await refusal(admin.accessToken({ id }))).reason, "binding.not_found");
  assert.equal((await bindings(guarded(tenant.admin)).accessToken({ id })).bindingId, id);
  const guest = { ...tenant.member, userId: null };
  assert.equal((await refusal(bindings(guest).accessToken({ id }))).reason, "binding.not_found");
  assert.equal((await admin.revoke({ id })).state, "revoked");
});

Deno.test("bindings.get is not answered from a colleague's cache", async () => {
  const tenant = await tenantWith(at);
  const { id } = await connect(at, tenant.member, tenant);
  await bindings(tenant.admin).get({ id });
  await bindings(tenant.member).get({ id });
  const colleague = await at.person(tenant.tenantId, "member");
  assert.equal((await refusal(bindings(colleague).get({ id }))).reason, "binding.not_found");
});

Deno.test("bindings.list filters and pages", async () => {
  const tenant = await tenantWith(at);
  const accounts = ["one", "two", "three"];
  for (const account of accounts) await connect(at, tenant.member, tenant, account);
  await connect(at, tenant.admin, tenant, "four");
  const admin = bindings(tenant.admin);
  const names = async (input: Parameters<typeof admin.list>[0]) =>
    (await admin.list(input)).bindings.map(({ externalUserId }) => externalUserId);
  assert.deepEqual(await names({}), ["four", "three", "two", "one"]);
  assert.deepEqual(await names({ userId: tenant.member.userId }), ["three", "two", "one"]);
  assert.deepEqual(await names({ state: "revoked" }), []);
  assert.deepEqual(await names({ platformId: crypto.randomUUID() }), []);
  const first = await admin.list({ limit: 3 });
  assert.ok(first.nextCursor);
  assert.deepEqual(await names({ limit: 3, cursor: first.nextCursor }), ["one"]);
  const mine = await bindings(tenant.member).list({ userId: tenant.admin.userId });
  assert.deepEqual(mine.bindings, []);
});

Deno.test("bindings.update sets and clears metadata under If-Match", async () => {
  const tenant = await tenantWith(at);
  const binding = await connect(at, tenant.member, tenant);
  const { id } = binding;
  const api = bindings(tenant.member);
  const after = await api.update({ id, metadata: { theKey: { Deep: 1 } } });
  assert.deepEqual(after.metadata, { theKey: { Deep: 1 } });
  assert.ok(after.updatedAt > binding.updatedAt);
  const stale = bindings(tenant.member, { ifMatch: etagOf(id, binding.updatedAt) });
  assert.equal((await refusal(stale.update({ id, metadata: null }))).code, "PreconditionFailed");
  const fresh = bindings(tenant.member, { ifMatch: etagOf(id, after.updatedAt) });
  assert.deepEqual((await fresh.update({ id, metadata: null })).metadata, {});
  assert.deepEqual((await api.get({ id })).metadata, {});
});

Deno.test("bindings.revoke forgets the tokens, tells the provider and may be repeated", async () => {
  const tenant = await tenantWith(at);
  const { id } = await connect(at, tenant.member, tenant);
  const api = bindings(tenant.member);
  const { accessToken } = await api.accessToken({ id });
  const revoked = await api.revoke({ id });
  assert.deepEqual([revoked.state, revoked.isActive, revoked.tokenExpiry !== null], [
    "revoked",
    false,
    true,
  ]);
  assert.equal(at.provider.counts.revocations, 1);
  const answer = await fetch(`${at.provider.apiUrl}/mail`, {
    headers: { authorization: `Bearer ${accessToken}` },
  });
  assert.equal(answer.status, 401, "the provider was told of the wrong token");
  await answer.body?.cancel();
  const row = await rowOf(at, tenant.tenantId, id);
  assert.deepEqual([row.accessToken, row.refreshToken], [null, null]);
  assert.equal((await api.revoke({ id })).state, "revoked");
  assert.equal(at.provider.counts.revocations, 1);
  const refused = await refusal(api.accessToken({ id }));
  assert.deepEqual([refused.code, refused.reason], ["BindingNotUsable", "binding.revoked"]);
  const { entries } = await trailOf(at, tenant.tenantId);
  const ended = entries.filter(({ action }) => action === "binding.revoked");
  assert.equal(ended.length, 1);
  assert.match(String(ended[0]?.diff.refresh_token?.before), /^fp:/);
  assert.equal(ended[0]?.diff.refresh_token?.after, null);
});

Deno.test("bindings.revoke ends nothing under a stale If-Match, also where it is ended already", async () => {
  const tenant = await tenantWith(at);
  const binding = await connect(at, tenant.member, tenant);
  const { id } = binding;
  const current = await bindings(tenant.member).update({ id, metadata: { a: 1 } });
  const stale = bindings(tenant.member, { ifMatch: etagOf(id, binding.updatedAt) });
  assert.equal((await refusal(stale.revoke({ id }))).code, "PreconditionFailed");
  assert.equal((await bindings(tenant.member).get({ id })).state, "active");
  assert.equal(at.provider.counts.revocations, 0);
  const fresh = bindings(tenant.member, { ifMatch: etagOf(id, current.updatedAt) });
  assert.equal((await fresh.revoke({ id })).state, "revoked");
  assert.equal((await refusal(stale.revoke({ id }))).code, "PreconditionFailed");
});

Deno.test("bindings.revoke stands when the provider cannot be told", async () => {
  const tenant = await tenantWith(at, { revocationUrl: "http://127.0.0.1:9/revoke" });
  const { id } = await connect(at, tenant.member, tenant);
  lines.length = 0;
  assert.equal((await bindings(tenant.member).revoke({ id })).state, "revoked");
  assert.equal(count(lines, (line) => line.includes("was not told of a revocation")), 1);
});

Deno.test("bindings.accessToken is refused while service or platform are out of use", async () => {
  const tenant = await tenantWith(at);
  const { id } = await connect(at, tenant.member, tenant);
  const reasonOf = async () => {
    const { code, reason } = await refusal(bindings(tenant.member).accessToken({ id }));
    assert.equal(code, "BindingNotUsable");
    return reason;
  };
  const { services } = at.as(tenant.admin).platforms;
  await services.deactivate({ id: tenant.service.id });
  assert.equal(await reasonOf(), "service_platform.inactive");
  await services.activate({ id: tenant.service.id });
  const { catalogue } = at.as(at.operator).platforms;
  await catalogue.update({ id: tenant.platform.id, isActive: false });
  assert.equal(await reasonOf(), "platform.inactive");
  await catalogue.update({ id: tenant.platform.id, isActive: true });
  assert.equal((await bindings(tenant.member).accessToken({ id })).bindingId, id);
  assert.equal((await bindings(tenant.member).revoke({ id })).state, "revoked");
});

Deno.test("bindings over REST have the documents' fields and never a token", async () => {
  const tenant = await tenantWith(at);
  const { id } = await connect(at, tenant.member, tenant);
  const answer = await at.request(`/api/v1/bindings/${id}`, {}, tenant.member);
  const body = await answer.json();
  assert.deepEqual(
    Object.keys(body).toSorted(),
    [
      ...["created_at", "credential_id", "external_user_id", "id", "is_active", "metadata"],
      ...["platform_id", "scopes", "state", "state_reason", "tenant_id", "token_expiry"],
      ...["updated_at", "user_id"],
    ],
  );
  const token = await at.request(`/api/v1/bindings/${id}/token`, { method: "POST" }, tenant.member);
  assert.equal(token.status, 200);
  assert.deepEqual(
    Object.keys(await token.json()).toSorted(),
    ["access_token", "binding_id", "expires_at", "scopes", "token_type"],
  );
});
