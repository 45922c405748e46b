/** Upstreams: a key goes in sealed, shows masked, and is sent nowhere it was not given for. */
import assert from "node:assert/strict";
import { MASK } from "../../src/secrets/masks.ts";
import { openaiUpstream } from "../stand_ins/openai.ts";
import { hello, type House, house, jsonOf, said } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const secret = "sk-live-canary-0123456789abcdef";

Deno.test("upstreams keep a key sealed: no answer, entry, event, log or column has it", async () => {
  const { admin, tenantId } = await h.w.tenant();
  const own = h.w.as(admin).teams.upstreams;
  const made = await own.create({
    name: "Ours",
    baseUrl: "https://api.example/v1/",
    apiKey: secret,
  });
  assert.deepEqual([made.apiKey, made.baseUrl], [MASK, "https://api.example/v1"]);
  assert.match(made.apiKeyFingerprint ?? "", /\w{8}/);
  const updated = await own.update({ id: made.id, apiKey: `${secret}2` });
  assert.notEqual(updated.apiKeyFingerprint, made.apiKeyFingerprint);
  await own.update({ id: made.id, apiKey: MASK, name: "Renamed" });
  assert.equal((await own.get({ id: made.id })).apiKeyFingerprint, updated.apiKeyFingerprint);
  const rows = await h.sql("select * from upstreams where id = $1", [made.id]);
  const told = JSON.stringify([
    ...[made, updated, await own.get({ id: made.id }), await own.list({}), rows, h.lines],
    await h.sql("select * from audit_entries where tenant_id = $1", [tenantId]),
    await h.sql("select * from events where tenant_id = $1", [tenantId]),
  ]);
  assert.ok(!told.includes(secret), "it is told somewhere");
  assert.ok(told.includes(String(updated.apiKeyFingerprint)));
  const none = await own.update({ id: made.id, apiKey: null });
  assert.deepEqual([none.apiKey, none.apiKeyFingerprint], [null, null]);
  await assert.rejects(
    () => own.create({ name: "M", baseUrl: "https://api.example", apiKey: MASK }),
    /Give the key itself/,
  );
});

Deno.test("upstreams.update wants the key again for another host, and for no other change", async () => {
  const { admin } = await h.w.tenant();
  const own = h.w.as(admin).teams.upstreams;
  const { id } = await own.create({ name: "A", baseUrl: "https://a.example/v1", apiKey: secret });
  const moves = ["https://b.example/v1", "http://a.example/v1", "https://a.example:8443/v1"];
  for (const baseUrl of moves) {
    await assert.rejects(() => own.update({ id, baseUrl }), /Give the key again/);
    await assert.rejects(() => own.update({ id, baseUrl, apiKey: MASK }), /Give the key again/);
  }
  assert.equal((await own.update({ id, baseUrl: "https://a.example/v2" })).apiKey, MASK);
  const moved = await own.update({ id, baseUrl: "https://b.example/v1", apiKey: "another" });
  assert.equal(moved.baseUrl, "https://b.example/v1");
  await own.update({ id, baseUrl: "https://c.example/v1", apiKey: null });
});

Deno.test("upstreams serve one prefix each, and are named right or refused", async () => {
  const { admin } = await h.w.tenant();
  const own = h.w.as(admin).teams.upstreams;
  const baseUrl = "https://a.example/v1";
  const first = await own.create({ name: "A", modelPrefix: "a/", baseUrl });
  await assert.rejects(
    () => own.create({ name: "B", modelPrefix: "a/", baseUrl }),
    /serves a\/ already/,
  );
  const other = await own.create({ name: "B", modelPrefix: "b/", baseUrl });
  await assert.rejects(() => own.update({ id: other.id, modelPrefix: "a/" }), /already/);
  await own.deactivate({ id: first.id });
  await own.update({ id: other.id, modelPrefix: "a/" });
  await assert.rejects(() => own.update({ id: first.id, isActive: true }), /already/);
  const wrong: Record<string, unknown>[] = [
    { baseUrl: "ftp://a.example" },
    { baseUrl: "https://user:pw@a.example" },
    { timeoutMs: 99 },
    { idleMs: 600_001 },
    { maxAttempts: 0 },
    { maxAttempts: 6 },
    { fallbackModels: Array.from({ length: 11 }, (_, at) => `m/${at}`) },
    { modelPrefix: "with space/" },
  ];
  for (const more of wrong) {
    const body = { name: "C", baseUrl, modelPrefix: "c/", ...more };
    await assert.rejects(() => h.w.knock(admin, "teams.upstreams.create", body), Error);
  }
});

Deno.test("the longest prefix serves, a tenant's own before the root tenant's", async () => {
  await using own = await openaiUpstream({ models: ["openai/gpt-4", "gpt-4", "small/gpt-4"] });
  const [apiKey = ""] = own.keys;
  const availableModels = ["openai/gpt-4", "openai/gpt-4o-mini", "mine/gpt-4", "mine/small/gpt-4"];
  const { admin, key } = await h.team({ availableModels });
  const theirs = await h.team({ availableModels });
  const mine = h.w.as(admin).teams.upstreams;
  const at = { baseUrl: own.url, apiKey, maxAttempts: 1 };
  const exact = await mine.create({ name: "Exact", modelPrefix: "openai/gpt-4", ...at });
  await mine.create({ name: "Mine", modelPrefix: "mine/", stripsPrefix: true, ...at });
  const ask = async (key: string, model: string) => {
    own.resetCounts();
    h.upstream.resetCounts();
    const response = await h.post(key, { model, messages: said("Hello!") });
    await response.body?.cancel();
    return [response.status, own.calls[0]?.model ?? null, h.upstream.calls[0]?.model ?? null];
  };
  assert.deepEqual(await ask(key, "openai/gpt-4"), [200, "openai/gpt-4", null]);
  // Begins with the prefix too: what it is called is all there is to go by.
  assert.deepEqual(await ask(key, "openai/gpt-4o-mini"), [502, "openai/gpt-4o-mini", null]);
  assert.deepEqual(await ask(key, "mine/gpt-4"), [200, "gpt-4", null]);
  assert.deepEqual(await ask(key, "mine/small/gpt-4"), [200, "small/gpt-4", null]);
  assert.deepEqual(await ask(theirs.key, "openai/gpt-4"), [200, null, "openai/gpt-4"]);
  const { data } = await jsonOf(await h.get(key, "/v1/models"));
  assert.deepEqual(
    Object(data).map(({ id, owned_by }: Record<string, unknown>) => [id, owned_by]),
    [
      ["openai/gpt-4o-mini", "Exact"], // The default goes first.
      ["openai/gpt-4", "Exact"],
      ["mine/gpt-4", "Mine"],
      ["mine/small/gpt-4", "Mine"],
    ],
  );
  await mine.deactivate({ id: exact.id });
  assert.deepEqual(await ask(key, "openai/gpt-4"), [200, null, "openai/gpt-4"]);
});

Deno.test("a model that nobody serves is said to be so, and costs nothing", async () => {
  const { key, id } = await h.team({ availableModels: ["openai/gpt-4o-mini"] });
  await h.w.as(h.w.operator).teams.upstreams.update({ id: h.everything.id, modelPrefix: "other/" });
  const response = await h.post(key, hello);
  const { error } = await jsonOf(response);
  assert.deepEqual([response.status, Object(error).code], [503, "upstream.none"]);
  const { data } = await jsonOf(await h.get(key, "/v1/models"));
  assert.deepEqual(Object(data)[0].owned_by, "nobody at present");
  await h.w.as(h.w.operator).teams.upstreams.update({ id: h.everything.id, modelPrefix: "" });
  assert.equal((await h.post(key, hello)).status, 200);
  assert.equal((await h.usage(id)).length, 1);
});
