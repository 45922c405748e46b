/** What reaches people when Telegram, the model, the database or the team's limits stand in the way. */
import assert from "node:assert/strict";
import { MOST_ATTEMPTS } from "../../../src/teams/channels/holds.ts";
import { workDue } from "../../../src/teams/channels/desks.ts";
import { DISCLAIMER } from "../../stand_ins/openai.ts";
import { group, home, type Recorded, supergroup } from "../../stand_ins/telegram_people.ts";
import { type Bot, type ChannelHouse, house, MODEL, somebody, textsOf, writer } from "./house.ts";

let it: ChannelHouse;
Deno.test.beforeAll(async () => {
  it = await house();
});
Deno.test.afterAll(() => it[Symbol.asyncDispose]());

const echo = (text: string) => `${DISCLAIMER} ${MODEL} was asked: ${text}`;
const NO_ANSWER = "I could not get an answer just now. Write again in a while.";

async function say({ server }: Bot, ...all: Recorded[]) {
  for (const update of all) assert.equal(await server.deliver(update), 200);
  await it.rest();
}
const statesOf = async ({ channelId }: Bot) =>
  (await it.updates(channelId)).map(({ state }) => String(state));
const failuresOf = async ({ channelId }: Bot) =>
  (await it.updates(channelId)).map(({ failure }) => failure);
/** Two chapters of Markdown, together longer than one message may be. */
const chapter = (word: string) => `## ${word}\n\n${`A **${word}** loaf. `.repeat(250)}`;
const LONG = `${chapter("rye")}\n\n${chapter("wheat")}`;

Deno.test("nothing is sent to a chat before the time Telegram asked for, not what came after either", async () => {
  const bot = await it.bot();
  const write = writer();
  bot.server.fail({ retryAfter: 117 });
  const [begun] = await it.sql("select now() as at");
  await say(bot, write("one"), write("two"));
  assert.deepEqual(await statesOf(bot), ["received", "received"]);
  const [due] = await it.sql(
    `select extract(epoch from due_at - now())::float as left,
      extract(epoch from due_at - $2::timestamptz)::float as whole
     from channel_chats where channel_id = $1`,
    [bot.channelId, begun?.at],
  );
  assert.ok(Number(due?.whole) >= 117 && Number(due?.left) <= 117, JSON.stringify(due));
  const { from, chat } = somebody(1);
  await say(bot, write("elsewhere", { from }, chat)); // Another chat waits for nobody.
  await it.pass(50_000);
  await say(bot, write("three"));
  await it.round();
  assert.deepEqual(textsOf(bot.server), [echo("elsewhere")]);
  await it.pass(67_000);
  await it.round();
  assert.deepEqual(textsOf(bot.server).slice(1), ["one", "two", "three"].map(echo));
  assert.deepEqual(await failuresOf(bot), [null, null, null, null]);
});

Deno.test("a long answer goes out in parts with its formatting, and goes on where it was stopped", async () => {
  const bot = await it.bot();
  const write = writer();
  it.model.resetCounts();
  it.model.plan({ text: LONG });
  bot.server.fail({ retryAfter: 1 }, 1, "getMe"); // Of no concern to the answer.
  const { sent } = bot.server;
  await bot.server.deliver(write("Tell me about bread"));
  await it.rest();
  assert.ok(sent.length >= 3);
  assert.ok(sent.every(({ text }) => text.length <= 4_096));
  assert.ok(sent.every(({ entities }) => entities.some(({ type }) => type === "bold")));
  const whole = sent.map(({ text }) => text).join(" ").replaceAll(/\s+/g, " ");
  assert.equal(whole.replaceAll(/[^ ]*loaf\./g, "").trim().split(" ")[0], "rye");
  assert.equal((whole.match(/loaf\./g) ?? []).length, 500);

  // The second part is refused for a while: the first is not sent again.
  const other = await it.bot();
  it.model.plan({ text: LONG });
  const { send } = stopping(other, 1);
  await send(write("Tell me about bread"));
  const [row] = await it.updates(other.channelId);
  assert.deepEqual([row?.state, row?.parts], ["received", 1]);
  await it.pass(60_000);
  await it.round();
  assert.deepEqual(textsOf(other.server), sent.map(({ text }) => text));
  assert.equal(it.model.calls.length, 2);
});

/** Lets so many messages through and asks to wait before the next. */
function stopping(bot: Bot, after: number) {
  const { outbound } = it.w.process;
  let sent = 0;
  return {
    send: async (update: Recorded) => {
      Object.assign(it.w.process, {
        outbound: (...call: Parameters<typeof outbound>) => {
          const isMessage = String(call[0]).startsWith(bot.server.url) &&
            String(call[0]).endsWith("/sendMessage");
          if (isMessage && sent++ === after) bot.server.fail({ retryAfter: 1 });
          return outbound(...call);
        },
      });
      await say(bot, update);
      Object.assign(it.w.process, { outbound });
    },
  };
}

Deno.test("what may have arrived is never sent again, and the failure can be seen", async () => {
  const write = writer();
  const { teams } = it.w.as(it.w.operator);
  for (const fault of ["cut", "hang", "gateway", { status: 500 }] as const) {
    const bot = await it.bot({}, it.w.operator);
    it.clock.patienceMs = fault === "hang" ? 1_000 : 10_000;
    bot.server.fail(fault);
    await bot.server.deliver(write("one"));
    await it.rest();
    it.clock.patienceMs = 10_000;
    await say(bot, write("two"));
    await it.pass(3600_000);
    await it.round();
    const isThere = fault === "cut" ? [echo("one")] : [];
    assert.deepEqual(textsOf(bot.server), [...isThere, echo("two")], JSON.stringify(fault));
    assert.equal(bot.server.count("sendMessage"), fault === "hang" ? 1 : 2);
    assert.deepEqual(await statesOf(bot), ["done", "done"]);
    const { updates } = await teams.channelUpdates.list({ channelId: bot.channelId });
    assert.equal(updates.at(0)?.failure, null);
    assert.match(updates.at(1)?.failure ?? "", /answer|Internal Server Error/);
  }
});

Deno.test("who blocked the bot is left alone, and answered again once they unblock it", async () => {
  const bot = await it.bot();
  const write = writer();
  it.model.plan({ text: LONG });
  bot.server.know(home.id);
  bot.server.block(home.id);
  await say(bot, write("Are you there?"));
  assert.equal(bot.server.count("sendMessage"), 1); // Not once for each part.
  bot.server.unblock(home.id);
  await say(bot, write("And now?"));
  assert.deepEqual(textsOf(bot.server), [echo("And now?")]);
  assert.deepEqual(await statesOf(bot), ["done", "done"]);
  assert.match(String((await failuresOf(bot))[0]), /blocked by the user/);
});

Deno.test("an answer follows a group to where it moved", async () => {
  const bot = await it.bot();
  const write = writer();
  bot.server.know(group.id, "group");
  bot.server.migrate(group.id, supergroup.id);
  await say(bot, write("@switchboard_bot rye?", {}, group));
  assert.deepEqual(bot.server.sent.map(({ chatId, text }) => [chatId, text]), [
    [String(supergroup.id), echo("rye?")],
  ]);
  bot.server.migrate(supergroup.id, group.id); // Round and round.
  await say(bot, write("@switchboard_bot wheat?", {}, group));
  assert.deepEqual(await statesOf(bot), ["done", "failed"]);
});

Deno.test("what Telegram will not take formatted is sent plain, and the chat goes on after what it will not take at all", async () => {
  const bot = await it.bot();
  const write = writer();
  for (const refusals of [1, 2]) {
    it.model.plan({ text: "Some **rye**" });
    bot.server.fail({ status: 400 }, refusals);
    await say(bot, write("Which bread?"));
  }
  await say(bot, write("Hello"));
  assert.deepEqual(bot.server.sent.map(({ text, entities }) => [text, entities.length]), [
    ["Some rye", 0],
    [echo("Hello"), 0],
  ]);
  assert.deepEqual(await statesOf(bot), ["done", "failed", "done"]);
});

Deno.test("an answer waits for a token that holds, and goes out with it", async () => {
  const bot = await it.bot();
  const write = writer();
  const { teams } = it.w.as(bot.admin);
  const revoked = bot.server.token.replace(/.$/, "x");
  await teams.channels.update({ id: bot.channelId, token: revoked });
  await say(bot, write("Hello"));
  assert.deepEqual([await statesOf(bot), await failuresOf(bot)], [["received"], ["Unauthorized"]]);
  await teams.channels.update({ id: bot.channelId, token: bot.server.token });
  await it.pass(60_000);
  await it.round();
  assert.deepEqual(textsOf(bot.server), [echo("Hello")]);
});

Deno.test("people are told in words why a model did not answer", async () => {
  const write = writer();
  const rate = await it.bot({ rateLimit: 1 });
  await say(rate, write("one"), write("two"));
  assert.match(
    textsOf(rate.server)[1] ?? "",
    /^That was a lot at once. Write again in \d+ seconds/,
  );
  const quota = await it.bot({ dailyQuota: 1 });
  await say(quota, write("one"), write("two"), write("/status"));
  const [, over, status] = textsOf(quota.server);
  assert.equal(over, "That was all for now. Write again later.");
  assert.match(status ?? "", /^Model: /); // A command costs no quota.
  const down = await it.bot();
  it.model.fail({ status: 500 });
  await say(down, write("one"));
  it.model.cutAfter(0);
  await say(down, write("two"));
  it.model.plan({ text: " \u200b" });
  await say(down, write("three"));
  const unserved = await it.bot({ availableModels: ["nobody/serves-it"] });
  await say(unserved, write("four"));
  const told = [...textsOf(down.server), ...textsOf(unserved.server)];
  assert.deepEqual(told, [NO_ANSWER, NO_ANSWER, NO_ANSWER, NO_ANSWER]);
  assert.deepEqual(await statesOf(down), ["done", "done", "done"]);
});

Deno.test("a team out of use is not spoken to, nor answered what it was asked before", async () => {
  const bot = await it.bot();
  const write = writer();
  const { teams } = it.w.as(bot.admin);
  bot.server.fail({ retryAfter: 1 });
  await say(bot, write("before"));
  await teams.teams.deactivate({ id: bot.teamId });
  assert.equal(await bot.server.deliver(write("meanwhile")), 404);
  await it.pass(60_000);
  await it.round();
  assert.deepEqual(await statesOf(bot), ["failed"]);
  assert.equal(bot.server.sent.length, 0);
  await teams.teams.activate({ id: bot.teamId });
  assert.deepEqual(await bot.server.redeliver(), [200]); // As Telegram does until it is taken.
  await it.rest();
  assert.deepEqual(textsOf(bot.server), [echo("meanwhile")]);
});

Deno.test("an update that fails again and again is given up, and the chat goes on", async () => {
  const bot = await it.bot();
  const write = writer();
  const { teams } = it.w.as(bot.admin);
  bot.server.fail({ retryAfter: 5 }, MOST_ATTEMPTS);
  await say(bot, write("one"), write("two"));
  for (let n = 1; n < MOST_ATTEMPTS; n++) {
    assert.deepEqual(await statesOf(bot), ["received", "received"]);
    await it.pass(3600_000);
    await it.round();
  }
  assert.deepEqual(await statesOf(bot), ["failed", "done"]);
  assert.deepEqual(textsOf(bot.server), [echo("two")]);
  const { updates } = await teams.channelUpdates.list({
    channelId: bot.channelId,
    state: "failed",
  });
  assert.deepEqual(updates.map(({ attempts, failure }) => [attempts, failure]), [
    [MOST_ATTEMPTS, "Too Many Requests: retry after 5"],
  ]);
});

Deno.test("an update at which processes end is given up before it has ended them all", async () => {
  const bot = await it.bot();
  const write = writer();
  await it.sql(
    `insert into channel_updates (tenant_id, id, channel_id, update_key, chat_key,
      position, payload, attempts) values ($1, gen_random_uuid(), $2, '1', $3, '0', '{}', $4)`,
    [
      ...[bot.tenantId, bot.channelId, String(home.id), MOST_ATTEMPTS],
    ],
  );
  await say(bot, write("Hello"));
  assert.deepEqual(await statesOf(bot), ["failed", "done"]);
  assert.deepEqual(textsOf(bot.server), [echo("Hello")]);
});

Deno.test("a process that finds its chat taken by another neither sends nor records", async () => {
  const bot = await it.bot();
  const write = writer();
  it.model.resetCounts();
  const release = it.model.hang();
  await bot.server.deliver(write("one"));
  await it.asked(1);
  await it.pass(3600_000); // It was heard of no more: another may take over.
  const other = "00000000-0000-4000-8000-000000000001";
  await it.sql(
    `update channel_chats set holder = $1, held_until = now() + interval '1 minute'
    where channel_id = $2`,
    [other, bot.channelId],
  );
  release();
  await it.rest();
  assert.equal(bot.server.count("sendMessage"), 0);
  assert.deepEqual(await statesOf(bot), ["received"]);
  const [session] = await it.sql(
    `select total_message_count as n from chat_sessions where team_id = $1`,
    [bot.teamId],
  );
  assert.equal(session?.n, 0);
});

/** Does something once, when a transaction that wrote an answer down has been committed. */
function afterAnswer(work: () => Promise<void>): () => void {
  const { database } = it.w.process;
  const { transaction } = database;
  database.transaction = async (inner, access) => {
    const value = await transaction(inner, access);
    const [row] = await it.sql(`select count(*)::int as n from channel_updates
      where state = 'received' and reply is not null and sent_parts = 0`);
    if (row?.n !== 1) return value;
    database.transaction = transaction;
    await work();
    return value;
  };
  return () => database.transaction = transaction;
}

Deno.test("a process that was away between writing an answer down and sending it asks whether it still may", async () => {
  const write = writer();
  for (const isTaken of [true, false]) {
    const bot = await it.bot();
    const undo = afterAnswer(async () => {
      it.clock.aheadMs += 3600_000; // Its own clock tells it that it was away.
      if (!isTaken) return;
      await it.sql(`update channel_chats set holder = gen_random_uuid() where channel_id = $1`, [
        bot.channelId,
      ]);
    });
    await say(bot, write("one"));
    undo();
    assert.deepEqual(textsOf(bot.server), isTaken ? [] : [echo("one")]);
    assert.deepEqual(await statesOf(bot), [isTaken ? "received" : "done"]);
  }
});

Deno.test("a message that was sent is written down as soon as the database is back", async () => {
  const bot = await it.bot();
  const write = writer();
  const { database } = it.w.process;
  const { transaction } = database;
  let failures = 0;
  database.transaction = (inner, access) => {
    const isAway = bot.server.sent.length === 1 && failures < 12;
    if (!isAway) return transaction(inner, access);
    failures++;
    return Promise.reject(Object.assign(new Error("gone"), { code: "57P01" }));
  };
  await say(bot, write("one"));
  database.transaction = transaction;
  assert.equal(failures, 12);
  await it.pass(3600_000);
  await workDue(it.w.process);
  await it.rest();
  assert.deepEqual(textsOf(bot.server), [echo("one")]);
  assert.deepEqual(await statesOf(bot), ["done"]);
});

Deno.test("what people said is not kept beside the conversation once it is answered", async () => {
  const bot = await it.bot();
  await say(bot, writer()("A secret of mine"));
  const [row] = await it.sql(
    `select payload, reply from channel_updates where channel_id = $1`,
    [bot.channelId],
  );
  assert.deepEqual(row, { payload: {}, reply: null });
  assert.ok(!it.lines.join("\n").includes("A secret of mine"));
});
