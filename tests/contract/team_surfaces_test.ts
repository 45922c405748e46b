/** S3's paths answer as it shows them, at its own place and at ours, and the gateway as its document says. */
import assert from "node:assert/strict";
import { settled } from "../../src/teams/admission.ts";
import { assertProblem, at, documented, fieldsOf, nobody, type Promised } from "./documented.ts";
import { isJson, type Json } from "./doors.ts";
import { fresh } from "./examples/shape.ts";
import { team } from "./examples/teams.ts";

const { field, side, ask, assertPromised } = await documented();
const { w } = field;
const { boss } = side;
/** S3's own place, and where all else of ours is. */
const places = ["/v1/admin/teams", "/api/v1/teams"];

const promised = places.flatMap((path): Promised[] => [
  ["post", path, [201, 400, 401, 403, 409]],
  ["get", path, [200, 400]],
  ["get", `${path}/{id}`, [200, 404]],
  ["put", `${path}/{id}`, [200, 400, 404, 409]],
  ["post", `${path}/{id}/deactivate`, [200, 404]],
  ["post", `${path}/{id}/activate`, [200, 404]],
]);

/** S3's TeamCreateResponse, exactly. */
const createdFields = [
  ...["id", "display_name", "platform_name", "platform_type", "monthly_quota", "daily_quota"],
  ...["is_active", "created_at", "api_key", "warning"],
];
/** What a team answers besides: S3's overrides, and what every row of ours has. */
const overrideFields = [
  ...["rate_limit", "max_history", "default_model", "available_models", "allow_model_switch"],
  ...["metadata", "updated_at"],
];
const teamFields = [...createdFields, ...overrideFields]
  .filter((name) => name !== "api_key" && name !== "warning").sort();

/** S3's example requests, word for word but for the names, which are one team's each. */
const tabriz = () => ({
  display_name: `HOSCO Tabriz ${fresh()}`,
  platform_name: `HOSCO-Tabriz-${fresh()}`,
  platform_type: "private",
  monthly_quota: 100_000,
  daily_quota: 5_000,
});
const vip = () => ({
  display_name: `HOSCO VIP ${fresh()}`,
  platform_name: `HOSCO-VIP-${fresh()}`,
  platform_type: "private",
  monthly_quota: 500_000,
  daily_quota: 20_000,
  rate_limit: 120,
  max_history: 50,
  available_models: ["openai/gpt-4", "anthropic/claude-sonnet-4"],
});

const picked = (value: unknown, like: Json) =>
  Object.fromEntries(Object.keys(like).map((name) => [name, at(value, name)]));

Deno.test("the OpenAPI document describes S3's paths with their status codes, at both places", () => {
  assertPromised(promised);
});

Deno.test("S3: a team is created (201) with its key and the warning, and both names are its own (409)", async () => {
  for (const path of places) {
    for (const request of [tabriz(), vip()]) {
      const made = await ask(boss, "POST", path, request);
      assert.equal(made.status, 201);
      const fields = [...createdFields, ...overrideFields, "api_key_id"].sort();
      assert.deepEqual(fieldsOf(made.body), fields);
      assert.deepEqual(picked(made.body, request), request);
      assert.equal(at(made.body, "is_active"), true);
      assert.equal(
        at(made.body, "warning"),
        "Save this API key securely. It will not be shown again.",
      );
      assert.match(String(at(made.body, "api_key")), /^sb_test_[0-9a-f]{32}_\w+$/);
      assert.equal(made.headers.get("location"), `${path}/${at(made.body, "id")}`);
      const { display_name, platform_name } = request;
      const upper = { ...tabriz(), platform_name: platform_name.toUpperCase() };
      assertProblem(await ask(boss, "POST", path, request), 409, "Conflict");
      assertProblem(await ask(boss, "POST", path, { ...tabriz(), display_name }), 409, "Conflict");
      assertProblem(await ask(boss, "POST", path, upper), 409, "Conflict");
    }
  }
});

Deno.test("S3: a name taken by another tenant's team is taken, and tells nothing of that team", async () => {
  const theirs = await field.side(field.root.tenantId, "Another Bakery");
  const { platformName, displayName } = await team(field, theirs);
  const [path = ""] = places;
  const taken = await ask(boss, "POST", path, { ...tabriz(), platform_name: platformName });
  assertProblem(taken, 409, "Conflict");
  assert.ok(!JSON.stringify(taken.body).includes(displayName));
  const shown = await ask(boss, "POST", path, { ...tabriz(), display_name: displayName });
  assert.equal(shown.status, 201, "names to show are each tenant's own");
});

/** What S3 bounds, each with a value beyond it. */
const beyond: Json[] = [
  { display_name: "" },
  { display_name: "x".repeat(256) },
  { platform_name: "" },
  { platform_name: "x".repeat(256) },
  { platform_type: "secret" },
  { monthly_quota: -1 },
  { daily_quota: -1 },
  { daily_quota: 1.5 },
  { rate_limit: 0 },
  { rate_limit: 1_001 },
  { max_history: 0 },
  { max_history: 101 },
  { default_model: "x".repeat(256) },
  { available_models: "openai/gpt-4" },
  { allow_model_switch: "perhaps" },
];

Deno.test("S3: a team beyond its bounds is refused (400), made or changed", async () => {
  for (const path of places) {
    const { id } = await team(field, side);
    for (const more of beyond) {
      assertProblem(
        await ask(boss, "POST", path, { ...tabriz(), ...more }),
        400,
        "ValidationError",
      );
      if ("platform_name" in more) continue; // It stays as it was made.
      assertProblem(await ask(boss, "PUT", `${path}/${id}`, more), 400, "ValidationError");
    }
    const renamed = { platform_name: `other-${fresh()}` };
    assertProblem(await ask(boss, "PUT", `${path}/${id}`, renamed), 400, "ValidationError");
    const edges = { rate_limit: 1_000, max_history: 100, daily_quota: 0, monthly_quota: 0 };
    const put = await ask(boss, "PUT", `${path}/${id}`, edges);
    assert.deepEqual([put.status, picked(put.body, edges)], [200, edges]);
  }
});

Deno.test("S3: a team is got, changed and listed (200) without its key; a name taken is refused (409)", async () => {
  for (const path of places) {
    const [one, other] = [await team(field, side), await team(field, side)];
    const got = await ask(boss, "GET", `${path}/${one.id}`);
    assert.deepEqual([got.status, fieldsOf(got.body)], [200, teamFields]);
    const change = { rate_limit: 12, max_history: null, default_model: "openai/gpt-4" };
    const put = await ask(boss, "PUT", `${path}/${one.id}`, change);
    assert.deepEqual([put.status, fieldsOf(put.body)], [200, teamFields]);
    assert.deepEqual(picked(put.body, change), change);
    const taken = { display_name: other.displayName };
    assertProblem(await ask(boss, "PUT", `${path}/${one.id}`, taken), 409, "Conflict");
    const unknown = { default_model: "nobody/serves-it" };
    assertProblem(await ask(boss, "PUT", `${path}/${one.id}`, unknown), 400, "ValidationError");
    const page = await ask(boss, "GET", `${path}?limit=1`);
    assert.deepEqual([page.status, fieldsOf(page.body)], [200, ["next_cursor", "teams"]]);
    const listed = at(page.body, "teams");
    assert.ok(Array.isArray(listed) && listed.length === 1);
    assert.deepEqual(fieldsOf(listed[0]), teamFields);
    assert.ok(!JSON.stringify([got.body, put.body, page.body]).includes(one.apiKey));
  }
});

Deno.test("S3: a team is put out of use and into it (200); one that nobody has is not there (404)", async () => {
  for (const path of places) {
    const { id } = await team(field, side);
    for (const [verb, isActive] of [["deactivate", false], ["activate", true]] as const) {
      const put = await ask(boss, "POST", `${path}/${id}/${verb}`);
      assert.deepEqual([put.status, fieldsOf(put.body)], [200, teamFields]);
      assert.equal(at(put.body, "is_active"), isActive);
      assertProblem(await ask(boss, "POST", `${path}/${nobody}/${verb}`), 404, "NotFound");
    }
    const off = await ask(boss, "PUT", `${path}/${id}`, { is_active: false });
    assert.equal(at(off.body, "is_active"), false);
    assertProblem(await ask(boss, "GET", `${path}/${nobody}`), 404, "NotFound");
    assertProblem(await ask(boss, "PUT", `${path}/${nobody}`, { rate_limit: 1 }), 404, "NotFound");
  }
});

const completions = "/v1/chat/completions";
const said = { messages: [{ role: "user", content: "hello" }] };

/** Somebody with a team's key, and where its models are served. */
async function chatting(more: { dailyQuota?: number } = {}) {
  const { id, apiKey } = await team(field, side, more);
  await w.as(boss).teams.upstreams.create({
    name: "Models",
    modelPrefix: `${fresh()}/`,
    baseUrl: "https://models.example/v1",
  });
  const model = `${
    (await w.as(boss).teams.upstreams.list({ limit: 1 })).upstreams[0]?.modelPrefix
  }a`;
  await w.as(boss).teams.teams.update({ id, availableModels: [model], defaultModel: model });
  const by = { authorization: `Bearer ${apiKey}` };
  return {
    model,
    teamId: id,
    get: (path: string, headers: Record<string, string> = by) =>
      ask(null, "GET", path, undefined, headers),
    post: (path: string, body: unknown, headers: Record<string, string> = by) =>
      ask(null, "POST", path, body, headers),
  };
}

/** An error as OpenAI's clients read it. */
function assertError(
  { status, body, headers }: Awaited<ReturnType<typeof ask>>,
  expected: number,
  code: string,
  shouldRetry = false,
) {
  assert.equal(status, expected, JSON.stringify(body));
  assert.deepEqual(fieldsOf(body), ["error"]);
  assert.deepEqual(fieldsOf(at(body, "error")), ["code", "message", "param", "type"]);
  assert.equal(at(body, "error", "code"), code, JSON.stringify(body));
  assert.match(headers.get("content-type") ?? "", /^application\/json/);
  assert.equal(headers.get("x-should-retry"), String(shouldRetry));
  assert.ok(headers.get("x-request-id"));
}

Deno.test("the gateway answers completions, embeddings and models as its document says", async () => {
  const { model, get, post } = await chatting({ dailyQuota: 10 });
  for (
    const [path, body] of [
      [completions, { ...said, model, user: "somebody" }],
      [completions, said],
      ["/v1/embeddings", { model, input: ["hello"] }],
    ] as const
  ) {
    const { status, headers } = await post(path, body);
    assert.equal(status, 200);
    assert.equal(headers.get("x-model"), model);
    for (const name of ["x-quota-limit-day", "x-ratelimit-limit-requests", "ratelimit"]) {
      assert.ok(headers.get(name), `${path} says no ${name}`);
    }
  }
  const listed = await get("/v1/models");
  const data = at(listed.body, "data");
  assert.ok(Array.isArray(data) && isJson(data[0]) && data.length === 1);
  assert.equal(data[0].id, model);
  assert.deepEqual((await get(`/v1/models/${encodeURIComponent(model)}`)).body, data[0]);
  await settled(w.process);
});

Deno.test("the gateway refuses in OpenAI's shape, as its document says", async () => {
  const { model, get, post } = await chatting({ dailyQuota: 1 });
  const nobodys = { authorization: "Bearer sb_test_nobody" };
  const persons = { authorization: `Bearer ${await w.token(boss)}` };
  const ways: ((headers?: Record<string, string>) => ReturnType<typeof get>)[] = [
    (headers) => get("/v1/models", headers),
    (headers) => get("/v1/models/x", headers),
    (headers) => post(completions, said, headers),
    (headers) => post("/v1/embeddings", { input: "a" }, headers),
  ];
  for (const ask of ways) {
    assertError(await ask({}), 401, "invalid_api_key");
    assertError(await ask(nobodys), 401, "invalid_api_key");
    assertError(await ask(persons), 403, "forbidden");
  }
  assertError(await post(completions, { ...said, model: 1 }), 400, "model.invalid");
  assertError(await post(completions, { model }), 400, "messages.invalid");
  assertError(await post(completions, { ...said, model: "x" }), 403, "model_not_allowed");
  assertError(await get("/v1/models/openai%2Fgpt-4"), 404, "not_found");
  assert.equal((await post(completions, said)).status, 200);
  const over = await post(completions, said);
  assertError(over, 429, "insufficient_quota");
  assert.ok(Number(over.headers.get("retry-after")) > 0);
  await settled(w.process);
});

Deno.test("the gateway's other methods and paths answer in OpenAI's shape, S3's own path does not", async () => {
  const others = [
    ["GET", completions, 405, "method_not_allowed"],
    ["DELETE", "/v1/models", 405, "method_not_allowed"],
    ["GET", "/v1/files", 404, "not_found"],
    ["POST", "/v1", 404, "not_found"],
  ] as const;
  for (const [method, path, status, code] of others) {
    const response = await w.request(path, { method });
    const { headers } = response;
    assertError({ status: response.status, body: await response.json(), headers }, status, code);
  }
  const admin = await w.request("/v1/admin/nothing");
  assert.match(admin.headers.get("content-type") ?? "", /^application\/problem\+json/);
  await admin.body?.cancel();
  const options = await w.request(completions, { method: "OPTIONS" });
  assert.deepEqual([options.status, options.headers.get("allow")], [204, "POST, OPTIONS"]);
});

Deno.test("the house of this test is closed", () => field.close());
