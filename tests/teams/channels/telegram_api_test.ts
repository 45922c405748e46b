/** The Bot API as we call it: what is sent, and what every failure says can be done. */
import assert from "node:assert/strict";
import { outbound } from "../../../src/outbound.ts";
import { Secret } from "../../../src/secrets/secret.ts";
import { isBotToken, telegramApi } from "../../../src/teams/channels/telegram_api.ts";
import { markdownRuns } from "../../../src/teams/channels/telegram_markdown.ts";
import { divided } from "../../../src/teams/channels/telegram_parts.ts";
import { type Fault, type Telegram, telegram } from "../../stand_ins/telegram.ts";
import { forum, group, home, supergroup } from "../../stand_ins/telegram_people.ts";
import { scenes } from "../../stand_ins/telegram_updates.ts";

/** Only who hangs is given up soon. */
const apiOf = (server: Telegram, { token = server.token, timeoutMs = 10_000 } = {}) =>
  telegramApi({
    outbound: outbound({ allowPrivateHosts: true }),
    apiRoot: server.url,
    token: new Secret(token),
    timeoutMs,
  });
const place = { chatKey: String(home.id), threadId: null, replyToMessageId: null };
const hello = { text: "Hello", entities: [] };

Deno.test("telegramApi tells the bot, its webhook and its commands", async () => {
  await using server = telegram();
  const api = apiOf(server);
  assert.deepEqual(await api.getMe(), { ok: true, result: server.me });
  const secret = new Secret("s3cret-token_x");
  const url = "http://bot.example/hook";
  assert.deepEqual(await api.setWebhook({ url, secret }), { ok: true, result: true });
  assert.deepEqual(server.webhook, {
    url,
    secret: "s3cret-token_x",
    allowed: ["message"],
    maxConnections: 40,
  });
  assert.deepEqual(await api.deleteWebhook(), { ok: true, result: true });
  assert.equal(server.webhook.url, "");
  const commands = [{ command: "help", description: "What I can do" }];
  assert.deepEqual(await api.setMyCommands(commands), { ok: true, result: true });
  assert.deepEqual(server.commands, commands);
});

Deno.test("telegramApi sends each part of an answer as it is, where it belongs", async () => {
  await using server = telegram();
  const api = apiOf(server);
  await server.deliver({ update_id: 1, message: scenes.topicMention });
  const to = { chatKey: String(forum.id), threadId: 77, replyToMessageId: 4_711 };
  const parts = divided(markdownRuns("# Rye\n\n" + "A **bold** word. ".repeat(300)));
  assert.equal(parts.length, 4);
  for (const [n, part] of parts.entries()) {
    assert.deepEqual(await api.sendMessage(to, part), {
      ok: true,
      result: { messageId: 4_712 + n },
    });
  }
  assert.deepEqual(server.sent.map(({ text, entities }) => ({ text, entities })), parts);
  assert.deepEqual(
    [...new Set(server.sent.map((sent) => [sent.threadId, sent.replyToMessageId].join()))],
    ["77,4711"],
  );
  const gone = { ...to, replyToMessageId: 1 };
  assert.equal((await api.sendMessage(gone, hello)).ok, true);
  assert.equal(server.sent.at(-1)?.replyToMessageId, null);
  assert.deepEqual(await api.sendTyping(to), { ok: true, result: true });
  assert.deepEqual(server.typing.map(({ threadId }) => threadId), [77]);
});

Deno.test("telegramApi tells what can be done about each failure", async () => {
  await using server = telegram();
  server.know(home.id);
  server.know(group.id);
  const api = apiOf(server);
  const fails = async (fault: Fault) => {
    server.fail(fault);
    const asking = fault === "hang" ? apiOf(server, { timeoutMs: 1_000 }) : api;
    const { ok: _, description, ...failure } = {
      description: "",
      ...await asking.sendMessage(place, hello),
    };
    assert.notEqual(description, "");
    return failure;
  };
  assert.deepEqual(await fails({ retryAfter: 17 }), { what: "slow_down", afterSeconds: 17 });
  const unavailable = { what: "unavailable", mayBeDone: true };
  assert.deepEqual(await fails({ status: 500 }), unavailable);
  assert.deepEqual(await fails("gateway"), unavailable);
  assert.deepEqual(await fails("hang"), unavailable);
  assert.equal(server.sent.length, 0);
  assert.deepEqual(await fails("cut"), unavailable);
  assert.equal(server.sent.length, 1);

  server.block(home.id);
  assert.deepEqual(await api.sendMessage(place, hello), {
    ok: false,
    what: "gone",
    description: "Forbidden: bot was blocked by the user",
  });
  assert.deepEqual(await api.sendMessage({ ...place, chatKey: "5" }, hello), {
    ok: false,
    what: "gone",
    description: "Bad Request: chat not found",
  });
  server.migrate(group.id, supergroup.id);
  assert.deepEqual(await api.sendMessage({ ...place, chatKey: String(group.id) }, hello), {
    ok: false,
    what: "moved",
    toChatKey: String(supergroup.id),
    description: "Bad Request: group chat was upgraded to a supergroup chat",
  });
  server.unblock(home.id);
  assert.deepEqual(await api.sendMessage(place, { text: "x".repeat(4_097), entities: [] }), {
    ok: false,
    what: "refused",
    description: "Bad Request: message is too long",
  });
});

Deno.test("telegramApi knows a wrong token, and asks nobody with one that cannot be right", async () => {
  await using server = telegram();
  const wrong = await apiOf(server, { token: server.token.replace(/.$/, "x") }).getMe();
  assert.deepEqual(wrong, { ok: false, what: "unauthorized", description: "Unauthorized" });
  const before = server.calls.length;
  for (const token of ["", "x", "1:../../x", `${server.token}/getMe?`, `1:${"x".repeat(200)}`]) {
    assert.equal(isBotToken(token), false);
    const answer = await apiOf(server, { token }).getMe();
    assert.deepEqual(answer.ok ? null : answer.what, "unauthorized");
  }
  assert.equal(server.calls.length, before);
  assert.equal(isBotToken(server.token), true);
});

Deno.test("telegramApi knows that nothing was done where nothing was sent", async () => {
  await using server = telegram();
  const api = telegramApi({
    outbound: outbound({ allowPrivateHosts: false }),
    apiRoot: "https://127.0.0.1:8443",
    token: new Secret(server.token),
  });
  const answer = await api.sendMessage(place, hello);
  assert.deepEqual(answer, {
    ok: false,
    what: "unavailable",
    mayBeDone: false,
    description: "127.0.0.1 does not lead to the open internet",
  });
});

Deno.test("telegramApi never says the token, whatever goes wrong", async () => {
  const server = telegram();
  const api = apiOf(server, { timeoutMs: 1_000 });
  const said: string[] = [];
  for (const fault of [{ retryAfter: 1 }, { status: 500 }, "gateway", "hang", "cut"] as const) {
    server.fail(fault, 1, "getMe");
    said.push(JSON.stringify(await api.getMe()));
  }
  await server[Symbol.asyncDispose]();
  said.push(JSON.stringify(await api.getMe()), JSON.stringify(await api.deleteWebhook()));
  for (const words of said) {
    assert.ok(words.includes('"ok":false') && !words.includes(server.token.slice(-20)), words);
  }
});
