/** A team's bot over the real route: what is answered, when, how often and in which order. */
import assert from "node:assert/strict";
import { DISCLAIMER } from "../../stand_ins/openai.ts";
import { contents } from "../../stand_ins/telegram_contents.ts";
import {
  home,
  mira,
  type Recorded,
  said,
  supergroup,
  written,
} from "../../stand_ins/telegram_people.ts";
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
  const rows = await it.updates(bot.channelId);
  assert.deepEqual([...new Set(rows.map(({ state }) => state))], ["done"]);
  const expected = 1 + withWords.length + forUs.length; // `message` among the kinds.
  assert.equal(rows.length, expected);
  assert.equal(bot.server.sent.length, expected);
  const chats = Map.groupBy(bot.server.sent, ({ chatId }) => chatId);
  assert.deepEqual([...chats.keys()].length, 4);
});
