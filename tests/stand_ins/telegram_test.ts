/** The stand-in answers and refuses as the Bot API documents it, delivers updates, and fails on demand. */
import assert from "node:assert/strict";
import type { ApiResponse, Message, UserFromGetMe, WebhookInfo } from "@grammyjs/types";
import { type Telegram, telegram } from "./telegram.ts";
import { contents } from "./telegram_contents.ts";
import { forum, group, home, mira, said, supergroup, written } from "./telegram_people.ts";
import { kinds, scenes } from "./telegram_updates.ts";

async function call<T>(server: Telegram, method: string, params: Record<string, unknown> = {}) {
  const response = await fetch(`${server.url}/bot${server.token}/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(params),
  });
  const answer: ApiResponse<T> = await response.json();
  assert.equal(answer.ok ? 200 : answer.error_code, response.status);
  return answer;
}

async function result<T>(server: Telegram, method: string, params: Record<string, unknown> = {}) {
  const answer = await call<T>(server, method, params);
  return answer.ok ? answer.result : assert.fail(answer.description);
}

async function refusal(server: Telegram, method: string, params: Record<string, unknown> = {}) {
  const answer = await call(server, method, params);
  return answer.ok ? assert.fail("It was taken") : answer.description;
}

const chat = { chat_id: home.id };

Deno.test("telegram takes parameters from the query, a form and JSON, and names in any case", async () => {
  await using server = telegram();
  server.know(home.id);
  const at = (method: string) => `${server.url}/bot${server.token}/${method}`;
  const params = new URLSearchParams({
    chat_id: String(home.id),
    text: "bold",
    entities: JSON.stringify([{ type: "bold", offset: 0, length: 4 }]),
  });
  const form = new FormData();
  params.forEach((value, name) => form.append(name, value));
  const answers = [
    await fetch(`${at("SENDMESSAGE")}?${params}`),
    await fetch(at("sendmessage"), { method: "POST", body: params }),
    await fetch(at("sendMessage"), { method: "POST", body: form }),
  ];
  for (const answer of answers) {
    const { ok, result } = await answer.json();
    assert.deepEqual([ok, result.text, result.entities], [
      ...[true, "bold", [{ type: "bold", offset: 0, length: 4 }]],
    ]);
  }
  assert.deepEqual(server.sent.map(({ messageId }) => messageId), [1, 2, 3]);
  assert.equal(server.count("sendMessage"), 3);
});

Deno.test("telegram knows its bot and nobody else", async () => {
  await using server = telegram();
  const me = await result<UserFromGetMe>(server, "getMe");
  assert.deepEqual([me.id, me.is_bot, me.username], [server.me.id, true, "switchboard_bot"]);
  const ask = async (path: string) => {
    const response = await fetch(`${server.url}/${path}`);
    return [response.status, (await response.json()).description];
  };
  const other = server.token.replace(/.$/, "x");
  assert.deepEqual(await ask(`bot${other}/getMe`), [401, "Unauthorized"]);
  assert.deepEqual(await ask("botnonsense/getMe"), [404, "Not Found"]);
  assert.deepEqual(await ask(`bot${server.token}/getRich`), [404, "Not Found: method not found"]);
});

Deno.test("telegram refuses texts it cannot send, in its own words", async () => {
  await using server = telegram();
  server.know(home.id);
  const text = async (text: string, more: Record<string, unknown> = {}) =>
    await refusal(server, "sendMessage", { ...chat, text, ...more });
  assert.equal(await text(""), "Bad Request: message text is empty");
  assert.equal(await text(" \n\u200b"), "Bad Request: text must be non-empty");
  assert.equal(await text("x".repeat(4_097)), "Bad Request: message is too long");
  assert.equal(await text("🥐".repeat(2_049)), "Bad Request: message is too long");
  assert.equal(await text("x".repeat(40_000)), "Bad Request: text is too long");
  assert.equal(await text("a\ud800"), "Bad Request: strings must be encoded in UTF-8");
  assert.equal(await text("a", { parse_mode: "rtf" }), "Bad Request: unsupported parse_mode");
  await result(server, "sendMessage", { ...chat, text: "🥐".repeat(2_048) });
  await result(server, "sendMessage", { ...chat, text: "x".repeat(4_096) + "  \n" });
  assert.deepEqual(server.sent.map(({ text }) => text.length), [4_096, 4_096]);
});

Deno.test("telegram counts after it has parsed", async () => {
  await using server = telegram();
  server.know(home.id);
  const html = `<b>${"&lt;".repeat(4_096)}</b>`;
  const { text } = await result<Message>(server, "sendMessage", {
    ...chat,
    text: html,
    parse_mode: "HTML",
  });
  assert.equal(text, "<".repeat(4_096));
});

Deno.test("telegram refuses entities that do not fit the text", async () => {
  await using server = telegram();
  server.know(home.id);
  const wrong = async (text: string, ...entities: Record<string, unknown>[]) =>
    await refusal(server, "sendMessage", { ...chat, text, entities });
  const bold = (offset: number, length: number) => ({ type: "bold", offset, length });
  const link = (url: string) => ({ type: "text_link", offset: 0, length: 1, url });
  const reasons = [
    [await wrong("a🥐", bold(2, 1)), "entity begins in a middle of a UTF-16 symbol"],
    [await wrong("a🥐", bold(0, 2)), "ends in a middle of a UTF-16 symbol"],
    [await wrong("ab", bold(0, 3)), "ends after the end of the text at UTF-16 offset 3"],
    [await wrong("ab", bold(2, 1)), "begins after the end of the text at UTF-16 offset 2"],
    [await wrong("ab", bold(-1, 1)), "receive an entity with incorrect offset -1"],
    [await wrong("ab", link("javascript:alert(1)")), "Unsupported URL protocol"],
    [await wrong("ab", link("http://localhost/")), "Wrong HTTP URL"],
    [await wrong("ab", link("nowhere")), "Wrong HTTP URL"],
    [await wrong("ab", { type: "shiny", offset: 0, length: 1 }), "can't parse MessageEntity"],
  ] as const;
  for (const [words, part] of reasons) assert.ok(words.includes(part), words);
  const long = Array.from({ length: 6 }, (_, offset) => ({
    ...link(`https://x.example/${"p".repeat(1_900)}`),
    offset,
  }));
  assert.equal(await wrong("a".repeat(6), ...long), "Bad Request: ENTITIES_TOO_LONG");
});

Deno.test("telegram untangles entities as the real server does, without a word", async () => {
  await using server = telegram();
  server.know(home.id);
  const sent = async (text: string, ...entities: Record<string, unknown>[]) =>
    (await result<Message>(server, "sendMessage", { ...chat, text, entities })).entities;
  const mark = (type: string, offset: number, length: number) => ({ type, offset, length });
  assert.deepEqual(await sent("abcdef", mark("bold", 0, 6), mark("code", 2, 2)), [
    ...[mark("bold", 0, 2), mark("code", 2, 2), mark("bold", 4, 2)],
  ]);
  const link = { ...mark("text_link", 0, 4), url: "https://x.example/" };
  assert.deepEqual(await sent("abcdef", link, mark("code", 2, 2)), [link]);
  assert.deepEqual(await sent("abcdef", mark("blockquote", 2, 4), link), [
    mark("blockquote", 2, 4),
  ]);
  assert.deepEqual(await sent("  ab  ", mark("bold", 0, 6)), [mark("bold", 0, 2)]);
  const many = Array.from({ length: 120 }, (_, n) => mark("bold", n * 2, 1));
  assert.equal((await sent("b ".repeat(120), ...many))?.length, 100);
  assert.equal(server.sent[3]?.text, "ab");
});

Deno.test("telegram sends only where a bot may write, and says why not", async () => {
  await using server = telegram();
  const send = async (chat_id: unknown, more: Record<string, unknown> = {}) =>
    await call(server, "sendMessage", { chat_id, text: "Hi", ...more });
  const words = async (...given: Parameters<typeof send>) => {
    const { ok: _, ...rest } = await send(...given);
    return rest;
  };
  const error = (error_code: number, description: string) => ({ error_code, description });
  assert.deepEqual(await words(""), error(400, "Bad Request: chat_id is empty"));
  assert.deepEqual(await words(home.id), error(400, "Bad Request: chat not found"));
  await server.deliver({ update_id: 1, ...kinds.message });
  assert.equal((await send(home.id)).ok, true);
  server.block(home.id);
  assert.deepEqual(
    await words(home.id),
    error(403, "Forbidden: bot was blocked by the user"),
  );
  server.unblock(home.id);
  server.migrate(group.id, supergroup.id);
  assert.deepEqual(await words(group.id), {
    ...error(400, "Bad Request: group chat was upgraded to a supergroup chat"),
    parameters: { migrate_to_chat_id: supergroup.id },
  });
  assert.equal((await send(supergroup.id)).ok, true);
  const thread = { message_thread_id: 77 };
  server.know(forum.id, "supergroup");
  const lost = error(400, "Bad Request: message thread not found");
  assert.deepEqual(await words(forum.id, thread), lost);
  await server.deliver({ update_id: 2, message: scenes.topicMention });
  assert.equal((await send(forum.id, thread)).ok, true);
  const reply = { message_id: 999 };
  const gone = error(400, "Bad Request: message to be replied not found");
  assert.deepEqual(await words(home.id, { reply_parameters: reply }), gone);
  const lenient = { ...reply, allow_sending_without_reply: true };
  assert.equal((await send(home.id, { reply_parameters: lenient })).ok, true);
  const known = { message_id: kinds.message.message.message_id };
  assert.equal((await send(home.id, { reply_parameters: known })).ok, true);
  assert.deepEqual(server.sent.map(({ replyToMessageId }) => replyToMessageId), [
    ...[null, null, null, null, known.message_id],
  ]);
});

Deno.test("telegram keeps commands and shows that somebody types", async () => {
  await using server = telegram();
  server.know(home.id);
  const commands = [{ command: "help", description: "What I can do" }];
  assert.equal(await result(server, "setMyCommands", { commands }), true);
  assert.deepEqual(server.commands, commands);
  for (const command of ["Help", "he lp", "", "x".repeat(33)]) {
    const wrong = { commands: [{ command, description: "x" }] };
    assert.equal(await refusal(server, "setMyCommands", wrong), "Bad Request: BOT_COMMAND_INVALID");
  }
  assert.equal(await result(server, "sendChatAction", { ...chat, action: "typing" }), true);
  assert.deepEqual(server.typing.map(({ chatId }) => chatId), [String(home.id)]);
  assert.equal(
    await refusal(server, "sendChatAction", { ...chat, action: "yawning" }),
    "Bad Request: wrong parameter action in request",
  );
});

Deno.test("telegram takes a webhook only as documented", async () => {
  await using server = telegram({ isLocal: false });
  const url = "https://service.example/hook";
  const set = (params: Record<string, unknown>) => refusal(server, "setWebhook", params);
  const bad = "Bad Request: bad webhook: ";
  assert.equal(
    await set({ url: "http://service.example/" }),
    `${bad}An HTTPS URL must be provided for webhook`,
  );
  assert.equal(
    await set({ url: "https://service.example:8787/" }),
    `${bad}Webhook can be set up only on ports 80, 88, 443 or 8443`,
  );
  assert.equal(await set({ url: "nowhere" }), "Bad Request: invalid webhook URL specified");
  for (const secret_token of ["a b", "é", "a+b"]) {
    const words = "Bad Request: secret token contains unallowed characters";
    assert.equal(await set({ url, secret_token }), words);
  }
  assert.equal(
    await set({ url, secret_token: "x".repeat(257) }),
    "Bad Request: secret token is too long",
  );
  const params = { url, secret_token: "x".repeat(256), allowed_updates: ["message"] };
  const again = async () => JSON.stringify(await call(server, "setWebhook", params));
  assert.match(await again(), /Webhook was set/);
  assert.match(await again(), /Webhook is already set/);
  const info = await result<WebhookInfo>(server, "getWebhookInfo");
  assert.deepEqual(info, {
    url,
    has_custom_certificate: false,
    pending_update_count: 0,
    max_connections: 40,
    allowed_updates: ["message"],
  });
  const gone = JSON.stringify(await call(server, "deleteWebhook"));
  assert.match(gone, /Webhook was deleted/);
  assert.equal((await result<WebhookInfo>(server, "getWebhookInfo")).url, "");
});

/** A bot's webhook that answers as told and keeps what came. */
function hook(statuses: number[]) {
  const got: { id: number; secret: string | null }[] = [];
  const reach = async (request: Request) => {
    const { update_id: id } = await request.json();
    got.push({ id, secret: request.headers.get("x-telegram-bot-api-secret-token") });
    return new Response(null, { status: statuses.shift() ?? 200 });
  };
  return { got, reach };
}

Deno.test("telegram delivers with the secret, and again what was not taken, in order", async () => {
  const { got, reach } = hook([200, 500, 503, 503, 200]);
  await using server = telegram({ reach });
  const update = (update_id: number) => ({ update_id, ...kinds.message });
  assert.equal(await server.deliver(update(1)), 0);
  const secret_token = "s3cret-token_x";
  await result(server, "setWebhook", { url: "http://bot.example/hook", secret_token });
  assert.deepEqual(await server.redeliver(), [200]);
  assert.equal(await server.deliver(update(2)), 500);
  assert.equal(await server.deliver(update(3)), 503);
  const info = await result<WebhookInfo>(server, "getWebhookInfo");
  assert.equal(info.pending_update_count, 2);
  assert.equal(info.last_error_message, "Wrong response from the webhook: 503");
  assert.deepEqual(await server.redeliver(), [503, 200]);
  assert.deepEqual(await server.redeliver(), [200]);
  assert.deepEqual(got.map(({ id }) => id), [1, 2, 3, 2, 3, 2]);
  assert.deepEqual([...new Set(got.map(({ secret }) => secret))], [secret_token]);
  await server.deliver(update(4), { secret: "wrong" });
  await server.deliver(update(5), { secret: null });
  assert.deepEqual(got.slice(-2).map(({ secret }) => secret), ["wrong", null]);
});

Deno.test("telegram delivers only what the webhook asked for", async () => {
  const { got, reach } = hook([]);
  await using server = telegram({ reach });
  const params = { url: "http://bot.example/hook", allowed_updates: ["message"] };
  await result(server, "setWebhook", params);
  assert.equal(await server.deliver({ update_id: 1, ...kinds.poll }), null);
  assert.equal(
    await server.deliver({ update_id: 2, message: written(home, mira, said("Hi")) }),
    200,
  );
  assert.equal(
    await server.deliver({ update_id: 3, message: written(home, mira, contents.dice) }),
    200,
  );
  assert.deepEqual(got.map(({ id }) => id), [2, 3]);
});

Deno.test("telegram fails as often as it is told to, and then no more", async () => {
  await using server = telegram();
  server.know(home.id);
  const send = () => call(server, "sendMessage", { ...chat, text: "Hi" });
  server.fail({ retryAfter: 3 }, 2);
  for (let n = 0; n < 2; n++) {
    assert.deepEqual(await send(), {
      ok: false,
      error_code: 429,
      description: "Too Many Requests: retry after 3",
      parameters: { retry_after: 3 },
    });
  }
  server.fail({ status: 500 });
  const { ok: _, ...error } = await send();
  assert.deepEqual(error, { error_code: 500, description: "Internal Server Error" });
  assert.equal(server.sent.length, 0);
  server.fail("cut");
  await assert.rejects(send());
  assert.equal(server.sent.length, 1);
  assert.equal((await send()).ok, true);
  assert.deepEqual(server.calls.map(({ status }) => status), [429, 429, 500, 200, 200]);
});

Deno.test("telegram hangs until it ends, and then lets go", async () => {
  const waiting = Promise.withResolvers<Response>();
  {
    await using server = telegram();
    server.fail("hang", 1, "getMe");
    waiting.resolve(fetch(`${server.url}/bot${server.token}/getMe`));
    assert.equal((await call(server, "getWebhookInfo")).ok, true);
  }
  await waiting.promise.then((response) => response.body?.cancel(), () => {});
});
