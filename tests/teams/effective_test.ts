/** What counts for a team: its own words over its platform type's, each with where it comes from. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { resolve } from "../../src/teams/effective.ts";
import type { PlatformConfig } from "../../src/teams/platform_configs.ts";
import type { Team } from "../../src/teams/team_rows.ts";
import { type House, house, models } from "./house.ts";
import { runs } from "./seeds.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const names = ["a", "b", "c", "d"];
const list = fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 });
const count = fc.integer({ min: 1, max: 100 });
const or = <T>(value: fc.Arbitrary<T>) => fc.option(value, { freq: 1 });
const stamps = { createdAt: new Date(0), updatedAt: new Date(0) };

const anyConfig: fc.Arbitrary<PlatformConfig> = list.chain((availableModels) =>
  fc.record({
    id: fc.constant("0"),
    platformType: fc.constantFrom("public" as const, "private" as const),
    availableModels: fc.constant(availableModels),
    defaultModel: fc.constantFrom(...availableModels),
    rateLimit: count,
    maxHistory: count,
    allowModelSwitch: fc.boolean(),
    requiresAuth: fc.boolean(),
    commands: fc.constant(["help"]),
    createdAt: fc.constant(new Date(0)),
    updatedAt: fc.constant(new Date(0)),
  })
);
const anyTeam = fc.record({
  rateLimit: or(count),
  maxHistory: or(count),
  availableModels: or(list),
  defaultModel: or(fc.constantFrom(...names)),
  allowModelSwitch: or(fc.boolean()),
  dailyQuota: or(fc.nat()),
  monthlyQuota: or(fc.nat()),
});

Deno.test("resolve gives what S3 says, for any defaults and overrides, and where it comes from", () => {
  fc.assert(
    fc.property(anyConfig, anyTeam, (config, own) => {
      const team: Team = {
        ...own,
        ...stamps,
        id: "1",
        displayName: "Any",
        platformName: "Any-Team",
        platformType: config.platformType,
        isActive: true,
        metadata: {},
      };
      const it = resolve(team, team.platformName, config);
      for (const field of ["rateLimit", "maxHistory", "allowModelSwitch"] as const) {
        // S3: `if team.x is not None: config.x = team.x`
        assert.equal(it[field], own[field] ?? config[field]);
        assert.equal(it.origins[field], own[field] === null ? "platform_type" : "team");
      }
      assert.deepEqual(it.availableModels, own.availableModels ?? config.availableModels);
      const wanted = own.defaultModel ?? config.defaultModel;
      const isUsable = it.availableModels.includes(wanted);
      assert.equal(it.model, isUsable ? wanted : it.availableModels[0]);
      assert.ok(it.availableModels.includes(it.model));
      const origin = own.defaultModel === null ? "platform_type" : "team";
      assert.equal(it.origins.model, isUsable ? origin : "available_models");
      assert.deepEqual([it.dailyQuota, it.monthlyQuota], [own.dailyQuota, own.monthlyQuota]);
      assert.deepEqual([it.type, it.commands], [config.platformType, config.commands]);
      assert.equal(it.requiresAuth, config.requiresAuth);
      const none = resolve(null, "no-team", config);
      assert.deepEqual(
        [none.teamId, none.model, none.availableModels, none.rateLimit, none.maxHistory],
        [null, config.defaultModel, config.availableModels, config.rateLimit, config.maxHistory],
      );
      assert.deepEqual([...new Set(Object.values(none.origins))], ["platform_type"]);
    }),
    runs(500),
  );
});

const create = async (body: unknown) => {
  const { admin } = await h.w.tenant();
  const response = await h.w.request("/v1/admin/teams", {
    method: "POST",
    body: JSON.stringify(body),
  }, admin);
  const team = await response.json();
  const effective = async () => {
    const path = `/api/v1/teams/effective?id=${team.id}`;
    return await (await h.w.request(path, {}, admin)).json();
  };
  return { admin, status: response.status, team, effective };
};

Deno.test("S3's HOSCO-Tabriz, word for word, lives on the private defaults", async () => {
  const { status, team, effective } = await create({
    "display_name": "HOSCO Tabriz",
    "platform_name": "HOSCO-Tabriz",
    "platform_type": "private",
    "monthly_quota": 100000,
    "daily_quota": 5000,
  });
  assert.equal(status, 201);
  assert.deepEqual(
    [team.display_name, team.platform_name, team.platform_type, team.is_active],
    ["HOSCO Tabriz", "HOSCO-Tabriz", "private", true],
  );
  assert.deepEqual([team.monthly_quota, team.daily_quota], [100_000, 5_000]);
  assert.equal(team.warning, "Save this API key securely. It will not be shown again.");
  assert.match(team.api_key, /^sb_test_/);
  assert.ok(Date.parse(team.created_at));
  const it = await effective();
  assert.deepEqual(
    [it.type, it.rate_limit, it.max_history, it.allow_model_switch, it.requires_auth],
    ["private", 60, 30, true, true],
  );
  assert.deepEqual(it.available_models, models);
  assert.deepEqual(it.commands, ["start", "help", "status", "clear", "model", "models"]);
  const { type, daily_quota, monthly_quota, ...rest } = it.origins;
  assert.deepEqual([type, daily_quota, monthly_quota], ["team", "team", "team"]);
  assert.deepEqual([...new Set(Object.values(rest))], ["platform_type"]);
});

Deno.test("S3's HOSCO-VIP, word for word, has its own rate, history and models", async () => {
  const { status, team, effective } = await create({
    "display_name": "HOSCO VIP",
    "platform_name": "HOSCO-VIP",
    "platform_type": "private",
    "monthly_quota": 500000,
    "daily_quota": 20000,
    "rate_limit": 120,
    "max_history": 50,
    "available_models": ["openai/gpt-4", "anthropic/claude-sonnet-4"],
  });
  assert.equal(status, 201);
  const it = await effective();
  assert.deepEqual([it.rate_limit, it.max_history], [120, 50]);
  assert.deepEqual(it.available_models, ["openai/gpt-4", "anthropic/claude-sonnet-4"]);
  // The private default is not among them: the first of the list stands in for it.
  assert.deepEqual([it.model, it.origins.model], ["openai/gpt-4", "available_models"]);
  const origins = [it.origins.rate_limit, it.origins.max_history, it.origins.available_models];
  assert.deepEqual(origins, ["team", "team", "team"]);
  assert.equal(it.origins.allow_model_switch, "platform_type");
  const answer = await h.get(team.api_key, "/v1/models");
  const { data } = await answer.json();
  assert.deepEqual(
    data.map(({ id, owned_by }: Record<string, unknown>) => [id, owned_by]),
    [["openai/gpt-4", "Everything"], ["anthropic/claude-sonnet-4", "Everything"]],
  );
});

Deno.test("teams.effective takes a name that no team has for a private one, telegram for public", async () => {
  const { admin } = await h.w.tenant();
  const of = (platformName: string) => h.w.as(admin).teams.teams.effective({ platformName });
  for (const name of ["Discord", "telegram-2", "HOSCO-Nowhere"]) {
    const it = await of(name);
    assert.deepEqual([it.teamId, it.type, it.rateLimit, it.maxHistory], [null, "private", 60, 30]);
  }
  for (const name of ["telegram", "Telegram", "TELEGRAM"]) {
    const it = await of(name);
    // The built-in team is the root tenant's: others see what its type gives.
    assert.deepEqual([it.teamId, it.type, it.rateLimit, it.maxHistory], [null, "public", 30, 20]);
    assert.deepEqual([it.allowModelSwitch, it.requiresAuth], [false, false]);
  }
  await assert.rejects(() => h.w.as(admin).teams.teams.effective({}), /team's id or its name/);
});

Deno.test("a team is found by its own name, whatever small letters its capitals have", async () => {
  const { admin } = await h.w.tenant();
  const { teams } = h.w.as(admin).teams;
  const found = async (platformName: string) => (await teams.effective({ platformName })).teamId;
  for (const platformName of ["ΟΔΟΣ", "İ", "Straße", "PLAIN"]) {
    // What JavaScript takes for the same name and the database does not.
    await found(platformName.toLowerCase());
    const { id } = await teams.create({ displayName: platformName, platformName });
    await found(platformName.toLowerCase());
    assert.equal(await found(platformName), id, platformName);
  }
  assert.equal(await found("plain"), await found("PLAIN"));
});

Deno.test("the root tenant has the public team telegram from the beginning", async () => {
  const root = h.w.as(h.w.operator).teams.teams;
  const { teams } = await root.list({ platformType: "public" });
  const [telegram] = teams;
  assert.deepEqual([teams.length, telegram?.platformName, telegram?.isActive], [
    1,
    "telegram",
    true,
  ]);
  const it = await root.effective({ platformName: "Telegram" });
  assert.deepEqual([it.teamId, it.type, it.origins.rateLimit], [
    telegram?.id,
    "public",
    "platform_type",
  ]);
  const { admin } = await h.w.tenant();
  const twin = { displayName: "Mine", platformName: "TELEGRAM" };
  await assert.rejects(() => h.w.as(admin).teams.teams.create(twin), /platform name is taken/);
});

Deno.test("platform_configs.update is felt by every team of the type that says nothing itself", async () => {
  const silent = await h.team({ rateLimit: null });
  const own = await h.team({ rateLimit: 7, platformType: "public" });
  const open = await h.team({ rateLimit: null, platformType: "public" });
  const rates = async () =>
    await Promise.all(
      [silent, own, open].map(async ({ admin, id }) =>
        (await h.w.as(admin).teams.teams.effective({ id })).rateLimit
      ),
    );
  assert.deepEqual(await rates(), [60, 7, 30]);
  const root = h.w.as(h.w.operator).teams.platformConfigs;
  await root.update({ platformType: "private", rateLimit: 90 });
  assert.deepEqual(await rates(), [90, 7, 30]);
  await root.update({ platformType: "private", rateLimit: 60 });
  assert.deepEqual(await rates(), [60, 7, 30]);
});

Deno.test("platform_configs.update is the operators', keeps the default in the list, knows its version", async () => {
  const root = h.w.as(h.w.operator).teams.platformConfigs;
  const update = { platformType: "public" as const, availableModels: ["only/this"] };
  await assert.rejects(() => root.update(update), /one of the available models/);
  const { admin } = await h.w.tenant();
  await assert.rejects(() => h.w.as(admin).teams.platformConfigs.update(update));
  const mine = { ...admin, grants: h.w.operator.grants };
  await assert.rejects(() => h.w.as(mine).teams.platformConfigs.update(update), /Only operators/);
  const put = (etag: string, rate: number) =>
    h.w.request("/api/v1/platform-configs/public", {
      method: "PUT",
      headers: { "if-match": etag },
      body: JSON.stringify({ rate_limit: rate }),
    }, h.w.operator);
  const first = await put("*", 31);
  assert.equal(first.status, 200);
  const etag = first.headers.get("etag") ?? "";
  assert.equal((await put(etag, 30)).status, 200);
  assert.equal((await put(etag, 29)).status, 412);
  const { platformConfigs } = await h.w.as(admin).teams.platformConfigs.list({});
  assert.deepEqual(
    platformConfigs.map(({ platformType, rateLimit }) => [platformType, rateLimit]),
    [["private", 60], ["public", 30]],
  );
});
