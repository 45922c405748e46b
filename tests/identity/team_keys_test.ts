/** A team's keys by the rules of all keys: no more, no longer and from nowhere else than who makes them. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { type Permission, permissions } from "../../src/access/permissions.ts";
import type { Principal } from "../../src/context.ts";
import { refusal, selfish } from "./givers.ts";
import { home } from "./house.ts";

const h = await home();
const names = () => ({ displayName: v7(), platformName: v7() });
const teamsOf = (who: Principal) => h.w.as(who).teams;
const [INSIDE, OUTSIDE] = ["10.1.1.1", "203.0.113.77"];
const DAY_MS = 24 * 3600_000;

/** An owner with a team, and a key of theirs with which to make things. */
async function stage(more: { network?: string; expiresAt?: Date } = {}) {
  const owner = await h.login(await h.tenantBelow(), { role: "owner" });
  const { identity, teams } = h.w.as(owner);
  const scopes: Permission[] = ["chat.send", "chat.read", "teams.create", "team_keys.create"];
  const made = await identity.apiKeys.create({
    name: "k",
    scopes: [...scopes, "team_keys.rotate"],
    ...more.expiresAt ? { expiresAt: more.expiresAt } : {},
  });
  if (more.network) {
    await identity.clientAccess.create({ apiKeyId: made.apiKey.id, network: more.network });
  }
  return { owner, key: made.key, team: await teams.teams.create(names()) };
}

const withKey = (key: unknown, address: string, path: string, body?: unknown) =>
  h.send(path, body, {
    address,
    method: body ? "POST" : "GET",
    headers: { "x-api-key": String(key) },
  });
/** Each way a key makes a team's key, as a request. */
const makings = ({ id, apiKeyId }: { id: string; apiKeyId: string }) => ({
  "teams.create": { path: "/teams", body: { display_name: v7(), platform_name: v7() } },
  "teamKeys.create": { path: `/teams/${id}/keys`, body: { name: "another" } },
  "teamKeys.rotate": { path: `/teams/${id}/keys/${apiKeyId}/rotate`, body: {} },
});
/** From where a team's key is let in: asked of something it may not, 403 says who it is not. */
const refusals = async (key: unknown) =>
  await Promise.all(
    [INSIDE, OUTSIDE].map(async (address) => (await withKey(key, address, "/teams")).body.reason),
  );

Deno.test("a key bound to networks makes teams' keys that are bound to them, by every way", async () => {
  const { key, team } = await stage({ network: "10.0.0.0/8" });
  for (const [what, { path, body }] of Object.entries(makings(team))) {
    const { status, body: made } = await withKey(key, INSIDE, path, body);
    assert.equal(status, 201, `${what}: ${JSON.stringify(made)}`);
    const reasons = await refusals(made.key ?? made.api_key);
    assert.deepEqual(reasons, ["permission.missing", "address.not_allowed"], what);
  }
  const free = await stage();
  const { path, body } = makings(free.team)["teams.create"];
  const { body: made } = await withKey(free.key, INSIDE, path, body);
  assert.deepEqual(await refusals(made.api_key), ["permission.missing", "permission.missing"]);
});

Deno.test("a key that ends makes no team's key that outlives it, by any way", async () => {
  const expiresAt = new Date(h.clock.ms + DAY_MS);
  const { key, team } = await stage({ expiresAt });
  for (const [what, { path, body }] of Object.entries(makings(team))) {
    const { status, body: { reason } } = await withKey(key, INSIDE, path, body);
    assert.deepEqual([status, reason], [403, "api_key.beyond"], what);
  }
  const body = { name: "short", expires_at: expiresAt.toISOString() };
  assert.equal((await withKey(key, INSIDE, `/teams/${team.id}/keys`, body)).status, 201);
});

Deno.test("teamKeys.rotate gives the first end again where a successor came to nothing", async () => {
  const { owner, team: { id: teamId, apiKeyId } } = await stage();
  const { teamKeys } = teamsOf(owner);
  const { teamKey: first } = await teamKeys.rotate({ teamId, id: apiKeyId });
  assert.equal(first.expiresAt, null);
  const again = () => teamKeys.rotate({ teamId, id: apiKeyId });
  assert.match(await refusal(again()), /team_key\.already_rotated/);
  await teamKeys.revoke({ teamId, id: first.id });
  const { teamKey: second } = await again();
  assert.equal(second.expiresAt, null, "it ends with the overlap of the one before");
  const { teamKey: third } = await teamKeys.rotate({ teamId, id: second.id });
  await teamKeys.revoke({ teamId, id: second.id });
  assert.match(await refusal(again()), /team_key\.already_rotated/, "what followed holds");
  assert.equal(third.rotatedFromId, second.id);
});

Deno.test("with permissions for their own alone nobody sees or makes what is a team's or the tenant's", async () => {
  const { owner, team: { id, apiKeyId, platformName } } = await stage();
  const { upstreams } = teamsOf(owner);
  const url = "https://models.example/v1";
  const { id: upstreamId } = await upstreams.create({ name: "Models", baseUrl: url });
  const mine = teamsOf(selfish(owner));
  const { channels } = teamsOf(owner);
  const hook = { teamId: id, kind: "webhook", name: "Hook", apiRoot: url } as const;
  const { channel: { id: channelId } } = await channels.create(hook);
  const hidden = [
    mine.channels.get({ id: channelId }),
    mine.channels.update({ id: channelId, name: "Mine" }),
    mine.channels.rotateSecret({ id: channelId }),
    mine.channels.deactivate({ id: channelId }),
    mine.channelUpdates.list({ channelId }),
    h.w.as(selfish(owner)).chat.send({ teamId: id, userId: "u", content: "hello" }),
    mine.teams.get({ id }),
    mine.teams.update({ id, rateLimit: 1 }),
    mine.teams.deactivate({ id }),
    mine.teams.effective({ id }),
    mine.teamKeys.list({ teamId: id }),
    mine.teamKeys.create({ teamId: id, name: "k" }),
    mine.teamKeys.rotate({ teamId: id, id: apiKeyId }),
    mine.teamKeys.revoke({ teamId: id, id: apiKeyId }),
    mine.upstreams.get({ id: upstreamId }),
    mine.upstreams.update({ id: upstreamId, name: "Mine" }),
    mine.upstreams.deactivate({ id: upstreamId }),
  ];
  // All are heard at once: one that is refused before its turn would be nobody's.
  for (const [place, reason] of (await Promise.all(hidden.map(refusal))).entries()) {
    assert.match(reason, /^NotFound /, `call ${place}`);
  }
  const made = [
    mine.channels.create(hook),
    mine.teams.create(names()),
    mine.upstreams.create({ name: "Mine", modelPrefix: "mine/", baseUrl: url }),
  ];
  for (const reason of await Promise.all(made.map(refusal))) {
    assert.match(reason, /^Forbidden permission\.only_self/);
  }
  assert.deepEqual((await mine.teams.list({})).teams, []);
  assert.deepEqual((await mine.upstreams.list({})).upstreams, []);
  assert.deepEqual((await mine.channels.list({})).channels, []);
  assert.equal((await mine.teams.effective({ platformName })).teamId, null);
});

Deno.test("apiKeys' own verbs know no team's key", async () => {
  const { owner, team: { apiKeyId: id } } = await stage();
  const { apiKeys } = h.w.as(owner).identity;
  const others = [
    apiKeys.get({ id }),
    apiKeys.update({ id, name: "mine" }),
    apiKeys.rotate({ id }),
    apiKeys.revoke({ id }),
  ];
  for (const reason of await Promise.all(others.map(refusal))) {
    assert.match(reason, /^NotFound api_key/);
  }
  assert.ok((await apiKeys.list({})).apiKeys.every((key) => key.id !== id));
});

Deno.test("a team's key holds what chats, whatever scopes its row names", async () => {
  const { team: { apiKey, apiKeyId } } = await stage();
  await h.sql("update api_keys set scopes = $2 where id = $1", [apiKeyId, [...permissions]]);
  const { status, body } = await withKey(apiKey, INSIDE, "/teams");
  assert.deepEqual([status, body.reason], [403, "permission.missing"]);
});

Deno.test.afterAll(() => h.w.close());
