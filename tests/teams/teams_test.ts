/** Teams are made, changed and taken out of use as S3 says, at its paths and at ours. */
import assert from "node:assert/strict";
import type { Person } from "../kit.ts";
import { hello, type House, house } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const ask = async (by: Person, method: string, path: string, body?: unknown, etag?: string) => {
  const response = await h.w.request(path, {
    method,
    ...body === undefined ? {} : { body: JSON.stringify(body) },
    ...etag === undefined ? {} : { headers: { "if-match": etag } },
  }, by);
  const text = await response.text();
  return {
    status: response.status,
    etag: response.headers.get("etag") ?? "",
    body: text === "" ? {} : JSON.parse(text),
  };
};
const trailOf = (tenantId: string) =>
  h.sql("select action, diff from audit_entries where tenant_id = $1 order by id", [tenantId]);

Deno.test("teams.create names what is not right, in S3's bounds", async () => {
  const { admin } = await h.w.tenant();
  const fine = { display_name: "A", platform_name: "bounds" };
  const wrong: [string, unknown][] = [
    ["display_name", ""],
    ["display_name", "x".repeat(256)],
    ["platform_name", " "],
    ["platform_name", "x".repeat(256)],
    ["platform_type", "secret"],
    ["monthly_quota", -1],
    ["daily_quota", 1.5],
    ["rate_limit", 0],
    ["rate_limit", 1001],
    ["max_history", 0],
    ["max_history", 101],
    ["available_models", []],
    ["available_models", ["with space"]],
    ["default_model", "not/there"],
    ["allow_model_switch", "perhaps"],
  ];
  for (const [field, value] of wrong) {
    const { status, body } = await ask(admin, "POST", "/v1/admin/teams", {
      ...fine,
      [field]: value,
    });
    assert.equal(status, 400, `${field}: ${value}`);
    assert.match(body.errors[0].field, new RegExp(`^${field}`));
  }
  const most = {
    ...fine,
    rate_limit: 1000,
    max_history: 100,
    monthly_quota: 0,
    daily_quota: 0,
    default_model: "b/c",
    available_models: ["a/b", "b/c", "a/b"],
    allow_model_switch: false,
  };
  const { status, body } = await ask(admin, "POST", "/v1/admin/teams", most);
  assert.deepEqual([status, body.available_models], [201, ["a/b", "b/c"]]);
});

Deno.test("teams.create refuses a default model outside the list that counts", async () => {
  const { admin } = await h.w.tenant();
  const create = (more: Record<string, unknown>) =>
    ask(admin, "POST", "/api/v1/teams", { display_name: "D", platform_name: "d-d", ...more });
  const { status, body } = await create({
    default_model: "openai/gpt-4o-mini",
    available_models: ["openai/gpt-4"],
  });
  assert.deepEqual([status, body.errors], [400, [{
    field: "default_model",
    message: "Give one of the available models: openai/gpt-4",
  }]]);
  assert.equal((await create({ default_model: "nobody/knows" })).status, 400);
  assert.equal((await create({ default_model: "openai/gpt-4" })).status, 201);
});

Deno.test("teams.create tells a taken platform name from a taken display name", async () => {
  const [here, there] = [await h.w.tenant(), await h.w.tenant()];
  const create = (by: Person, display_name: string, platform_name: string) =>
    ask(by, "POST", "/v1/admin/teams", { display_name, platform_name });
  assert.equal((await create(here.admin, "First", "Taken-Name")).status, 201);
  const cases: [Person, string, string, number, string | undefined][] = [
    [here.admin, "Other", "taken-NAME", 409, "team.platform_name_taken"],
    [there.admin, "First", "Taken-Name", 409, "team.platform_name_taken"],
    [here.admin, "First", "Free-Name", 409, "team.display_name_taken"],
    [there.admin, "First", "Free-Name", 201, undefined],
  ];
  for (const [by, display, platform, status, reason] of cases) {
    const answer = await create(by, display, platform);
    assert.deepEqual([answer.status, answer.body.reason], [status, reason]);
    assert.ok(!JSON.stringify(answer.body).includes(here.tenantId), "whose it is stays unsaid");
  }
});

Deno.test("teams.create takes a team for private where no type is said", async () => {
  const { admin } = await h.w.tenant();
  const team = { display_name: "No type", platform_name: "no-type" };
  const { status, body } = await ask(admin, "POST", "/v1/admin/teams", team);
  assert.deepEqual([status, body.platform_type], [201, "private"]);
});

Deno.test("teams.update changes what is given; null leaves it to the type or lifts the quota", async () => {
  const { admin, id, tenantId } = await h.team({
    dailyQuota: 5,
    monthlyQuota: 50,
    rateLimit: 7,
    maxHistory: 3,
    defaultModel: "openai/gpt-4",
    availableModels: ["openai/gpt-4"],
    allowModelSwitch: false,
    metadata: { since: 2020 },
  });
  const path = `/v1/admin/teams/${id}`;
  const effective = async () => (await ask(admin, "GET", `/api/v1/teams/effective?id=${id}`)).body;
  const { status, body } = await ask(admin, "PUT", path, { display_name: "Renamed" });
  assert.deepEqual([status, body.display_name, body.rate_limit], [200, "Renamed", 7]);
  assert.deepEqual([body.daily_quota, body.metadata], [5, { since: 2020 }]);
  const before = await effective();
  assert.deepEqual([before.rate_limit, before.origins.rate_limit], [7, "team"]);
  const cleared = await ask(admin, "PUT", path, {
    daily_quota: null,
    monthly_quota: null,
    rate_limit: null,
    max_history: null,
    default_model: null,
    available_models: null,
    allow_model_switch: null,
    metadata: null,
  });
  assert.equal(cleared.status, 200);
  assert.deepEqual(cleared.body.metadata, {});
  const after = await effective();
  assert.deepEqual(
    [after.rate_limit, after.max_history, after.model, after.allow_model_switch],
    [60, 30, "openai/gpt-4o-mini", true],
  );
  assert.deepEqual([after.daily_quota, after.monthly_quota], [null, null]);
  const { type, daily_quota, monthly_quota, ...origins } = after.origins;
  assert.deepEqual([type, daily_quota, monthly_quota], ["team", "team", "team"]);
  assert.deepEqual([...new Set(Object.values(origins))], ["platform_type"]);
  const actions = (await trailOf(tenantId)).map(({ action }) => action);
  assert.deepEqual(actions.filter((action) => String(action).startsWith("team.")), [
    "team.created",
    "team.updated",
    "team.updated",
  ]);
});

Deno.test("teams.update weighs a default model against the list it will stand in", async () => {
  const { admin, id } = await h.team({ availableModels: ["a/1", "a/2"], defaultModel: "a/2" });
  const put = (body: unknown) => ask(admin, "PUT", `/api/v1/teams/${id}`, body);
  assert.equal((await put({ default_model: "a/3" })).status, 400);
  assert.equal((await put({ available_models: ["a/1"] })).status, 400);
  assert.equal((await put({ available_models: ["a/1"], default_model: "a/1" })).status, 200);
  assert.equal((await put({ available_models: null })).status, 400);
  assert.equal((await put({ available_models: null, default_model: null })).status, 200);
});

Deno.test("teams.update keeps to the version that is named and does nothing for nothing", async () => {
  const { admin, id, tenantId } = await h.team();
  const path = `/api/v1/teams/${id}`;
  const { etag } = await ask(admin, "GET", path);
  const [first, second] = await Promise.all(
    [1, 2].map((rate_limit) => ask(admin, "PUT", path, { rate_limit }, etag)),
  );
  assert.deepEqual([first?.status, second?.status].toSorted(), [200, 412]);
  assert.equal((await ask(admin, "PUT", path, { rate_limit: 3 }, etag)).status, 412);
  const trail = (await trailOf(tenantId)).length;
  assert.equal((await ask(admin, "PUT", path, {})).status, 200);
  assert.equal((await trailOf(tenantId)).length, trail);
  const unknown = await ask(admin, "PUT", path, { platform_name: "another" });
  assert.equal(unknown.status, 400);
});

Deno.test("teams.deactivate ends the team's keys, activate brings them back", async () => {
  const { admin, id, key } = await h.team();
  const statuses = async () => {
    const chat = await h.post(key, hello);
    await chat.body?.cancel();
    return [chat.status, (await h.get(key, "/v1/models")).status];
  };
  assert.deepEqual(await statuses(), [200, 200]);
  for (const state of ["deactivate", "deactivate", "activate"]) {
    const { status, body } = await ask(admin, "POST", `/v1/admin/teams/${id}/${state}`);
    assert.deepEqual([status, body.is_active], [200, state === "activate"]);
    assert.deepEqual(await statuses(), state === "activate" ? [200, 200] : [401, 401]);
  }
  const told = { teamId: id, userId: "u", content: "Hello" };
  await h.w.as(admin).teams.teams.deactivate({ id });
  await assert.rejects(() => h.w.as(admin).chat.send(told), /not active/);
});

Deno.test("teams.list and get show a tenant its own teams, page by page", async () => {
  const { admin } = await h.w.tenant();
  const made = [];
  for (const platformType of ["private", "public", "private"] as const) {
    made.push((await h.team({ platformType }, admin)).id);
  }
  const ids = (body: { teams: { id: string }[] }) => body.teams.map(({ id }) => id);
  const first = await ask(admin, "GET", "/v1/admin/teams?limit=2");
  assert.deepEqual(ids(first.body), made.toReversed().slice(0, 2));
  const rest = await ask(admin, "GET", `/v1/admin/teams?cursor=${first.body.next_cursor}`);
  assert.deepEqual([ids(rest.body), rest.body.next_cursor], [[made[0]], null]);
  const open = await ask(admin, "GET", "/api/v1/teams?platform_type=public");
  assert.deepEqual(ids(open.body), [made[1]]);
  await ask(admin, "POST", `/api/v1/teams/${made[2]}/deactivate`);
  assert.deepEqual(ids((await ask(admin, "GET", "/api/v1/teams?is_active=false")).body), [made[2]]);
  const stranger = (await h.w.tenant()).admin;
  assert.equal((await ask(stranger, "GET", `/v1/admin/teams/${made[0]}`)).status, 404);
  assert.deepEqual(ids((await ask(stranger, "GET", "/v1/admin/teams")).body), []);
});
