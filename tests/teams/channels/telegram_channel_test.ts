/** A team's bot over the real route: what is answered, how often, and in which order. */
import assert from "node:assert/strict";
import { workDue } from "../../../src/teams/channels/desks.ts";
import { until } from "../../db/house.ts";
import { DISCLAIMER } from "../../stand_ins/openai.ts";
import { contents } from "../../stand_ins/telegram_contents.ts";
import { group, home, omid, type Recorded } from "../../stand_ins/telegram_people.ts";
import { scenes, updates } from "../../stand_ins/telegram_updates.ts";
import {
  type Bot,
  type ChannelHouse,
  house,
  MODEL,
  OTHER,
  somebody,
  textsOf,
  writer,
} from "./house.ts";

let it: ChannelHouse;
Deno.test.beforeAll(async () => {
  it = await house();
});
Deno.test.afterAll(() => it[Symbol.asyncDispose]());

const echo = (text: string, model = MODEL) => `${DISCLAIMER} ${model} was asked: ${text}`;

/** Delivers, and waits until it is worked off. */
async function say({ server }: Bot, ...all: Recorded[]) {
  for (const update of all) assert.equal(await server.deliver(update), 200);
  await it.rest();
}

/** Hands an update over whatever its kind, as a server that was told otherwise before. */
const hand = ({ path, secret }: Bot, update: unknown) =>
  it.w.request(path, {
    method: "POST",
    headers: { "x-telegram-bot-api-secret-token": secret },
    body: JSON.stringify(update),
  });

/** Which of the recorded scenes are for us. */
const forUs: readonly (keyof typeof scenes)[] = [
  ...["private", "privateEntities", "start", "command", "commandForUs", "commandForAny"] as const,
  ...["commandLater", "commandLines", "commandForwarded", "groupMention"] as const,
  ...["groupMentionOnly", "groupMentionLater", "groupTextMention", "groupReply"] as const,
  ...["groupThread", "topicMention", "anonymousAdmin", "personAsChannel", "forwarded"] as const,
  ...["photoCaption", "photoGroupCaption"] as const,
];
const withWords: readonly (keyof typeof contents)[] = ["text", "audio", "document", "photo"];

Deno.test("every recorded update is acknowledged, and only what is for us is answered", async () => {
  const bot = await it.bot();
  assert.equal(updates.length, 137);
  for (const update of updates) {
    const isMessage = update.message !== undefined; // Only those are asked for; others may come.
    const status = isMessage ? await bot.server.deliver(update) : (await hand(bot, update)).status;
    assert.equal(status, 200, JSON.stringify(update));
  }
  await it.rest();
  const expected = 1 + withWords.length + forUs.length; // One of every kind holds a message.
  const rows = await it.updates(bot.channelId);
  assert.deepEqual([...new Set(rows.map(({ state, failure }) => `${state} ${failure}`))], [
    "done null",
  ]);
  assert.deepEqual([rows.length, bot.server.sent.length], [expected, expected]);
  const inGroups = bot.server.sent.filter(({ chatId }) => chatId.startsWith("-"));
  assert.ok(inGroups.every(({ replyToMessageId }) => replyToMessageId === 4_711));
  assert.deepEqual([...new Set(inGroups.map(({ threadId }) => threadId))].sort(), [77, null]);
});

Deno.test("an update that comes again is answered once, while it is worked off and after", async () => {
  const bot = await it.bot();
  const write = writer();
  const [first, second] = [write("One"), write("Two")];
  it.model.resetCounts();
  const release = it.model.hang();
  for (let n = 0; n < 5; n++) await bot.server.deliver(first);
  await it.asked(1);
  for (let n = 0; n < 5; n++) await Promise.all([first, second].map((u) => bot.server.deliver(u)));
  release();
  await it.rest();
  await say(bot, second, first, second);
  assert.deepEqual(textsOf(bot.server), [echo("One"), echo("Two")]);
  assert.equal(it.model.calls.length, 2);
});

Deno.test("updates are worked off as Telegram numbered them, however they come", async () => {
  const bot = await it.bot();
  const write = writer();
  const [a, b, c, d] = [write("a"), write("b"), write("c"), write("d")];
  it.model.resetCounts();
  const release = it.model.hang();
  await bot.server.deliver(b);
  await it.asked(1);
  // One of a lower number comes while a higher is under way: it waits for that one alone.
  for (const update of [d, c, a]) await bot.server.deliver(update);
  await workDue(it.w.process);
  assert.equal(it.model.calls.length, 1);
  release();
  await it.rest();
  assert.deepEqual(textsOf(bot.server), ["b", "a", "c", "d"].map((text) => echo(text)));
});

Deno.test("an update with a lower number that comes when all is done is worked off too", async () => {
  const bot = await it.bot();
  const write = writer();
  const [early, late] = [write("early"), write("late")];
  await say(bot, late);
  await say(bot, early);
  assert.deepEqual(textsOf(bot.server), [echo("late"), echo("early")]);
});

Deno.test("commands are answered by no model, and one that is unknown gets help", async () => {
  const bot = await it.bot({ platformType: "private" });
  const write = writer();
  it.model.resetCounts();
  const texts = ["/start", "/help", "/models", `/model ${OTHER}`, "/model", "/status", "/bake"];
  await say(bot, ...texts.map((text) => write(text)));
  const [start = "", help = "", models, model, which, status = "", unknown = ""] = textsOf(
    bot.server,
  );
  assert.equal(start, `Hello. ${help}`);
  for (const name of ["start", "help", "status", "clear", "model", "models"]) {
    assert.match(help, new RegExp(`^/${name} — `, "m"));
  }
  assert.equal(models, `• ${MODEL} (answers now)\n• ${OTHER}`);
  assert.equal(model, `From now on ${OTHER} answers.`);
  assert.equal(which, `${OTHER} answers.`);
  assert.match(status, new RegExp(`^Model: ${OTHER}\nMessages so far: 0\n`));
  assert.equal(unknown, `There is no /bake.\n${help}`);
  assert.equal(it.model.calls.length, 0);
  await say(bot, write("Rye?"), write("/model dev/large"), write("/clear"), write("/clear"));
  assert.deepEqual(textsOf(bot.server).slice(texts.length), [
    echo("Rye?", OTHER),
    "There is no model dev/large here. /models shows those there are.",
    "What was said so far is forgotten.",
    "There was nothing to forget.",
  ]);
});

Deno.test("in a group each speaks for themselves, and what is for another bot is left", async () => {
  const bot = await it.bot({ platformType: "private" });
  const write = writer();
  const inGroup = (text: string, from = omid) => write(text, { from }, group);
  await say(bot, inGroup("@switchboard_bot I am Omid"), inGroup(`/model@Switchboard_Bot ${OTHER}`));
  await say(bot, inGroup("/bake"), inGroup("/bake@bakery_bot"), inGroup("/help@other_bot"));
  await say(bot, inGroup("/model", somebody(1).from), inGroup("/bake@switchboard_bot"));
  const texts = textsOf(bot.server);
  assert.deepEqual(texts.slice(0, 3), [
    echo("I am Omid"),
    `From now on ${OTHER} answers.`,
    `${MODEL} answers.`,
  ]);
  assert.match(texts[3] ?? "", /^There is no \/bake\./);
  assert.equal(texts.length, 4);
});

Deno.test("a bot remembers what was said before, and forgets it when it is told to", async () => {
  const bot = await it.bot();
  const write = writer();
  it.model.resetCounts();
  await say(bot, write("I like rye"), write("What do I like?"), write("/clear"), write("And now?"));
  const told = it.model.calls.map(({ body }) => Object(body).messages.length);
  assert.deepEqual(told, [1, 3, 1]);
});

Deno.test("a slow model in one chat holds up no other, and each chat keeps its order", async () => {
  const bot = await it.bot();
  const write = writer();
  it.model.resetCounts();
  const release = it.model.hang();
  await bot.server.deliver(write("slow"));
  await it.asked(1);
  const others = [1, 2, 3, 4, 5].map(somebody);
  for (const word of ["one", "two", "three"]) {
    for (const { from, chat } of others) {
      await bot.server.deliver(write(`${word} ${from.id}`, { from }, chat));
    }
  }
  await until(() => bot.server.sent.length >= 15, "the others are answered");
  const before = Map.groupBy(bot.server.sent, ({ chatId }) => chatId);
  for (const { chat: { id } } of others) {
    const texts = (before.get(String(id)) ?? []).map(({ text }) => text);
    assert.deepEqual(texts, ["one", "two", "three"].map((word) => echo(`${word} ${id}`)));
  }
  assert.equal(before.has(String(home.id)), false);
  release();
  await it.rest();
  assert.equal(textsOf(bot.server).at(-1), echo("slow"));
});
