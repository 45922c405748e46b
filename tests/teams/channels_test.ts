/** Channels as those who run a team see them: made, connected, changed, ended; and what stays secret. */
import assert from "node:assert/strict";
import { until } from "../db/house.ts";
import { refusal, said } from "../identity/said.ts";
import { type Telegram, telegram } from "../stand_ins/telegram.ts";
import { type Bot, type ChannelHouse, house, textsOf, writer } from "./channels/house.ts";

let it: ChannelHouse;
Deno.test.beforeAll(async () => {
  it = await house();
});
Deno.test.afterAll(() => it[Symbol.asyncDispose]());

const channelsOf = ({ admin }: Pick<Bot, "admin">) => it.w.as(admin).teams.channels;
const MASK = "********";
const DAY_MS = 24 * 3600_000;

/** A bot of `server`, not connected yet. */
async function made(server: Telegram, token = server.token) {
  const owner = await it.team();
  const { channel, secret } = await channelsOf(owner).create({
    ...{ teamId: owner.teamId, kind: "telegram", name: "Bot", token, apiRoot: server.url },
  });
  return { ...owner, id: channel.id, secret, server };
}

const send = (path: string, secret: string) =>
  it.w.request(path, {
    method: "POST",
    headers: { "x-telegram-bot-api-secret-token": secret },
    body: "{}",
  }).then(async (answer) => {
    await answer.body?.cancel();
    return answer.status;
  });

Deno.test("a channel's secret is shown once, and neither it nor the token is ever seen again", async () => {
  const bot = await it.bot();
  const channels = channelsOf(bot);
  const { channel, secret } = await channels.create({
    ...{ teamId: bot.teamId, kind: "webhook", name: "Site", apiRoot: "https://site.example/in" },
  });
  assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.match(bot.secret, /^[\w-]{64}$/); // What Telegram lets a secret be.
  await channels.update({ id: bot.channelId, token: bot.server.token, name: "Baker" });
  const rotated = await channels.rotateSecret({ id: bot.channelId });
  await channels.connect({ id: bot.channelId });
  await bot.server.deliver(writer()("Hello"));
  await it.rest();
  const secrets = [secret, bot.secret, rotated.secret, bot.server.token];
  const shown = JSON.stringify([
    channel,
    rotated.channel,
    await channels.get({ id: bot.channelId }),
    await channels.list({}),
    await it.w.as(bot.admin).teams.channelUpdates.list({ channelId: bot.channelId }),
    await it.sql(`select * from audit_entries`),
    await it.sql(`select * from events`),
    await it.sql(`select * from channels`),
    await it.sql(`select * from channel_updates`),
    it.lines,
  ]);
  for (const each of secrets) {
    for (const text of [each, each.slice(6, 30)]) assert.ok(!shown.includes(text), text);
  }
  const { token, tokenFingerprint } = await channels.get({ id: bot.channelId });
  assert.equal(token, MASK);
  assert.match(tokenFingerprint ?? "", /^fp:[0-9a-f]{12}$/);
  assert.equal(channel.token, null);
});

Deno.test("channels.create says what its kind needs and does not take", async () => {
  const { admin, teamId } = await it.team();
  const other = await it.team();
  const channels = channelsOf({ admin });
  const token = "12345:abcdefghijklmnopqrstuvwxyz";
  const apiRoot = "https://site.example";
  const refused = async (input: Partial<Parameters<typeof channels.create>[0]>) => {
    const given = { teamId, kind: "telegram" as const, name: "Bot", ...input };
    const { more } = await refusal(channels.create(given));
    return (more.fields ?? []).map(({ field }) => field);
  };
  assert.deepEqual(await refused({}), ["token"]);
  assert.deepEqual(await refused({ kind: "webhook", token, apiRoot }), ["token"]);
  assert.deepEqual(await refused({ kind: "webhook" }), ["api_root"]);
  assert.deepEqual(await refused({ token, apiRoot: `${apiRoot}/?bot=` }), ["api_root"]);
  assert.deepEqual(await refused({ token, teamId: other.teamId }), ["team_id"]);
  for (const wrong of ["", MASK, "12345", "12345:short", `${token}/getMe`, `${token} `]) {
    const call = channels.create({ teamId, kind: "telegram", name: "Bot", token: wrong });
    await assert.rejects(call, /BotFather/);
  }
  const { channel } = await channels.create({ teamId, kind: "telegram", name: "Bot", token });
  assert.equal(channel.apiRoot, "https://api.telegram.org");
});

Deno.test("channels.update takes another token of the same bot, and the mask for the one there is", async () => {
  const bot = await it.bot();
  const channels = channelsOf(bot);
  const id = bot.channelId;
  const before = await channels.get({ id });
  assert.equal(before.botName, "switchboard_bot");
  const named = await channels.update({ id, token: MASK, name: "Baker" });
  assert.deepEqual(named, { ...before, name: "Baker", updatedAt: named.updatedAt });
  const renewed = await channels.update({ id, token: bot.server.token.replace(/...$/, "xyz") });
  assert.notEqual(renewed.tokenFingerprint, before.tokenFingerprint);
  assert.equal(renewed.botName, null); // Telegram forgot where to send.
  const another = await refusal(channels.update({ id, token: `9${bot.server.token}` }));
  assert.match(another.message, /another bot's token: make another channel/);
  const { channel } = await channels.create({
    ...{ teamId: bot.teamId, kind: "webhook", name: "Site", apiRoot: "https://site.example" },
  });
  const call = channels.update({ id: channel.id, token: bot.server.token });
  assert.equal(await said(call), "token.invalid");
});

Deno.test("channels.connect tells Telegram where to send and which commands there are, again and again", async () => {
  await using server = telegram();
  const { id, admin, secret } = await made(server);
  const channels = channelsOf({ admin });
  for (let n = 0; n < 2; n++) {
    const { botName, url } = await channels.connect({ id });
    assert.equal(botName, "switchboard_bot");
    assert.deepEqual(server.webhook, { url, secret, allowed: ["message"], maxConnections: 40 });
    assert.equal(url, `${it.w.env.PUBLIC_URL}/v1/channels/${id}/updates`);
    assert.deepEqual(server.commands.map(({ command }) => command), [
      ...["start", "help", "status", "clear", "model", "models"],
    ]);
  }
  const actions = await it.sql(`select action from audit_entries where subject_id = $1`, [id]);
  assert.deepEqual(actions.map(({ action }) => action), [
    ...["channel.created", "channel.connected", "channel.connected"],
  ]);
});

Deno.test("channels.connect says what to do when Telegram refuses, and changes nothing", async () => {
  const server = telegram({ isLocal: false }); // As api.telegram.org: https alone.
  const { id, admin } = await made(server);
  const wrong = await made(server, server.token.replace(/.$/, "x"));
  const channels = channelsOf({ admin });
  const plain = await refusal(channels.connect({ id }));
  assert.deepEqual([plain.code, plain.reason], ["ProviderError", "channel.refused"]);
  assert.match(plain.message, /PUBLIC_URL is an https address .*An HTTPS URL must be provided/);
  const token = await refusal(channelsOf(wrong).connect({ id: wrong.id }));
  assert.match(token.message, /Give the token BotFather shows now.*Unauthorized/);
  server.fail({ retryAfter: 9 }, 1, "getMe");
  assert.match((await refusal(channels.connect({ id }))).message, /Try again in a while.*after 9/);
  await server[Symbol.asyncDispose]();
  const away = await refusal(channels.connect({ id }));
  assert.match(away.message, /Try again in a while. Telegram says: .*could not be reached/);
  assert.ok(!away.message.includes(server.token));
  assert.equal((await channels.get({ id })).botName, null);
  const response = await it.w.request(
    `/api/v1/channels/${id}/connect`,
    { method: "POST", headers: { "if-match": '"another"' } },
    admin,
  );
  await response.body?.cancel();
  assert.equal(response.status, 412); // Before Telegram was asked, which is not there.
});

Deno.test("channels.connect is of no use to a webhook, nor to a channel that is out of use", async () => {
  await using server = telegram();
  const { id, admin, teamId } = await made(server);
  const channels = channelsOf({ admin });
  const { channel } = await channels.create({
    ...{ teamId, kind: "webhook", name: "Site", apiRoot: "https://site.example" },
  });
  const call = channels.connect({ id: channel.id });
  assert.equal(await said(call), "channel.nothing_to_connect");
  await channels.deactivate({ id });
  assert.equal(await said(channels.connect({ id })), "channel.inactive");
  assert.equal(server.webhook.url, "");
});

Deno.test("a channel taken out of use stops the bot, and goes on when it is connected again", async () => {
  for (const way of ["deactivate", "update"] as const) {
    const bot = await it.bot();
    const channels = channelsOf(bot);
    const id = bot.channelId;
    const after = way === "update"
      ? await channels.update({ id, isActive: false })
      : await channels.deactivate({ id });
    assert.deepEqual([after.isActive, after.botName], [false, null]);
    await until(() => bot.server.webhook.url === "", "Telegram sends no more");
    assert.equal(await send(bot.path, bot.secret), 404);
    assert.equal(
      (await channels.deactivate({ id })).updatedAt.getTime(),
      after.updatedAt.getTime(),
    );
    await channels.update({ id, isActive: true });
    await channels.connect({ id });
    assert.equal(await bot.server.deliver(writer()("Hello")), 200);
    await it.rest();
    assert.equal(textsOf(bot.server).length, 1);
  }
});

Deno.test("a channel taken out of use leaves a bot alone that another channel has, and does not need Telegram", async () => {
  const bot = await it.bot();
  const channels = channelsOf(bot);
  const second = await channels.create({
    teamId: bot.teamId,
    kind: "telegram",
    name: "Second",
    token: bot.server.token,
    apiRoot: bot.server.url,
  });
  await channels.connect({ id: second.channel.id });
  const before = bot.server.count("getWebhookInfo");
  await channels.deactivate({ id: bot.channelId });
  await until(() => bot.server.count("getWebhookInfo") > before, "Telegram was asked");
  assert.equal(bot.server.webhook.url, second.channel.url);
  await bot.server[Symbol.asyncDispose]();
  assert.equal((await channels.deactivate({ id: second.channel.id })).isActive, false);
  await until(() => it.lines.some((line) => line.includes("not told to stop")), "it is logged");
  assert.ok(!it.lines.join("\n").includes(bot.server.token));
});

Deno.test("a secret that is replaced is taken until the overlap is over, and none before it", async () => {
  const bot = await it.bot();
  const channels = channelsOf(bot);
  const { channelId: id, path } = bot;
  const second = await channels.rotateSecret({ id, overlapSeconds: 3600 });
  const statuses = (...secrets: string[]) =>
    Promise.all(secrets.map((secret) => send(path, secret)));
  assert.deepEqual(await statuses(bot.secret, second.secret), [200, 200]);
  const { previousSecretUntil } = await channels.get({ id });
  const leftMs = (previousSecretUntil?.getTime() ?? 0) - Date.now();
  assert.ok(leftMs > 3590_000 && leftMs <= 3600_000, String(leftMs));
  // Telegram goes on with the one it knows until it is told another.
  assert.equal(await bot.server.deliver(writer()("Hello")), 200);
  await channels.connect({ id });
  assert.equal(bot.server.webhook.secret, second.secret);
  await it.sql(`update channels set previous_secret_until = now() where id = $1`, [id]);
  assert.deepEqual(await statuses(bot.secret, second.secret), [401, 200]);
  const third = await channels.rotateSecret({ id });
  assert.deepEqual(await statuses(bot.secret, second.secret, third.secret), [401, 200, 200]);
  const until = third.channel.previousSecretUntil?.getTime() ?? 0;
  assert.ok(Math.abs(until - Date.now() - DAY_MS) < 60_000);
  const fourth = await channels.rotateSecret({ id, overlapSeconds: 0 });
  assert.deepEqual(await statuses(second.secret, third.secret, fourth.secret), [401, 401, 200]);
  assert.equal(fourth.channel.previousSecretUntil, null);
  await it.rest();
});

Deno.test("channelUpdates.list tells what became of each update and nothing of what was said", async () => {
  const [bot, other] = [await it.bot(), await it.bot()];
  const write = writer(7_000);
  bot.server.fail({ status: 400 });
  bot.server.fail({ retryAfter: 30 }, 2);
  await bot.server.deliver(write("Where is my bread?"));
  await it.rest();
  await bot.server.deliver(write("Hello?"));
  await it.rest();
  const { channelUpdates } = it.w.as(bot.admin).teams;
  const at = { channelId: bot.channelId };
  const { updates, nextCursor } = await channelUpdates.list({ ...at, limit: 1 });
  assert.deepEqual(updates.map(({ updateKey, state }) => [updateKey, state]), [
    ["7002", "received"],
  ]);
  const rest = await channelUpdates.list({ ...at, cursor: nextCursor ?? "" });
  const [first] = rest.updates;
  assert.deepEqual([first?.state, first?.updateKey, first?.failure], [
    ...["failed", "7001", "Internal Server Error"],
  ]);
  assert.equal(rest.nextCursor, null);
  for (const [state, count] of [["failed", 1], ["received", 1], ["done", 0]] as const) {
    assert.equal((await channelUpdates.list({ ...at, state })).updates.length, count, state);
  }
  assert.ok(!JSON.stringify([updates, rest]).includes("bread"));
  const stranger = it.w.as(other.admin).teams.channelUpdates.list(at);
  assert.equal(await said(stranger), "channel.not_found");
  const path = `/api/v1/channels/${bot.channelId}/updates?state=failed`;
  const answer = await (await it.w.request(path, {}, bot.admin)).json();
  assert.deepEqual(answer.updates.map(({ update_key }: { update_key: string }) => update_key), [
    "7001",
  ]);
});
