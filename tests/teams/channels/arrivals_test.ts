/** The door Telegram sends to: who is let in, what is turned away, and what is acknowledged for good. */
import assert from "node:assert/strict";
import { until } from "../../db/house.ts";
import { MOST_OF_TENANT } from "../../../src/teams/channels/desks.ts";
import { mira } from "../../stand_ins/telegram_people.ts";
import { type ChannelHouse, house, somebody, textsOf, writer } from "./house.ts";

let it: ChannelHouse;
Deno.test.beforeAll(async () => {
  it = await house();
});
Deno.test.afterAll(() => it[Symbol.asyncDispose]());

const HEADER = "x-telegram-bot-api-secret-token";
type Bot = Awaited<ReturnType<ChannelHouse["bot"]>>;

async function send(path: string, body: BodyInit, secret: string | null) {
  const headers = secret === null ? {} : { [HEADER]: secret };
  const answer = await it.w.request(path, { method: "POST", headers, body });
  return { status: answer.status, answer: await answer.json() };
}
const update = () => JSON.stringify(writer()("Hello"));
const rows = async () => (await it.sql(`select count(*)::int as n from channel_updates`))[0]?.n;

Deno.test("an update without the channel's own secret is turned away and leaves nothing", async () => {
  const [bot, other] = [await it.bot(), await it.bot()];
  const { secret, path } = bot;
  const before = await rows();
  const swapped = secret.replace(
    /[a-zA-Z]/g,
    (letter) => letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase(),
  );
  const wrong: Record<string, string | null> = {
    missing: null,
    empty: "",
    "another channel's": other.secret,
    "one letter other": `${secret.slice(0, -1)}${secret.endsWith("A") ? "B" : "A"}`,
    "in other letters": swapped,
    shorter: secret.slice(0, -1),
    longer: `${secret}A`,
    "of ten thousand letters": "A".repeat(10_000),
    twice: `${secret}, ${secret}`,
  };
  for (const [what, each] of Object.entries(wrong)) {
    const { status, answer } = await send(path, update(), each);
    assert.deepEqual([status, answer.reason], [401, "channel.unverified"], what);
    assert.ok(!JSON.stringify(answer).includes(secret));
  }
  await it.rest();
  assert.equal(await rows(), before);
  assert.equal(bot.server.sent.length, 0);
  assert.equal((await send(path, update(), secret)).status, 200);
  await it.rest();
  assert.equal(bot.server.sent.length, 0); // Telegram does not know this chat.
  assert.equal(await rows(), Number(before) + 1);
  assert.ok(!it.lines.join("\n").includes(secret));
});

Deno.test("no channel, one out of use and one of a suspended tenant are the same: nothing is there", async () => {
  const [bot, closed, suspended] = [await it.bot(), await it.bot(), await it.bot()];
  await it.w.as(closed.admin).teams.channels.deactivate({ id: closed.channelId });
  await it.w.as(it.w.operator).identity.tenants.suspend({ id: suspended.tenantId });
  const told = new Set<string>();
  for (
    const { path, secret } of [
      closed,
      suspended,
      { ...bot, path: "/v1/channels/01a00000-0000-7000-8000-000000000000/updates" },
      { ...bot, path: "/v1/channels/none/updates" },
    ]
  ) {
    const { status, answer: { request_id: _, ...answer } } = await send(path, update(), secret);
    assert.equal(status, 404);
    told.add(JSON.stringify(answer));
  }
  assert.equal(told.size, 1);
});

Deno.test("what will never become readable is acknowledged, so that it is not sent for ever", async () => {
  const { path, secret, channelId } = await it.bot();
  const deep = `{"update_id":1,"message":${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
  const bodies = ["", "not JSON", "null", "[]", "{}", '{"update_id":-1}', deep, "\ud800", "\0"];
  for (const body of bodies) {
    const { status, answer } = await send(path, body, secret);
    assert.deepEqual([status, answer], [200, { ok: true }], body.slice(0, 40));
  }
  const bytes = new Uint8Array([0xff, 0xfe, 0x00]);
  assert.equal((await send(path, bytes, secret)).status, 200);
  assert.deepEqual(await it.updates(channelId), []);
});

Deno.test("a body beyond all updates is refused before it is read", async () => {
  const { path, secret, channelId } = await it.bot();
  const large = JSON.stringify({ ...JSON.parse(update()), more: "x".repeat(512 * 1024) });
  assert.equal((await send(path, large, secret)).status, 413);
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024)),
  });
  assert.equal((await send(path, endless, secret)).status, 413);
  assert.deepEqual(await it.updates(channelId), []);
});

Deno.test("what people write with backslashes, halves of signs and NUL arrives as they wrote it", async () => {
  const bot = await it.bot();
  const write = writer();
  const texts = [
    ...[String.raw`C:\u0000\temp "quoted"`, "half a sign \ud83e here", "NUL \u0000 between"],
    ...["🥐 whole ones", String.raw`\ud800`],
  ];
  for (const text of texts) assert.equal(await bot.server.deliver(write(text)), 200);
  await it.rest();
  const said = textsOf(bot.server).map((text) => text.replace(/^.* was asked: /s, ""));
  assert.deepEqual(said, [
    ...[texts[0], "half a sign \ufffd here", "NUL  between", texts[3], texts[4]],
  ]);
});

Deno.test("the address takes POST and says so", async () => {
  const { path } = await it.bot();
  for (const method of ["GET", "PUT", "DELETE", "PATCH"]) {
    const answer = await it.w.request(path, { method });
    await answer.body?.cancel();
    assert.deepEqual([answer.status, answer.headers.get("allow")], [405, "POST, OPTIONS"]);
  }
});

/** As many chats with a bot at once, each with a model that does not answer yet. */
async function crowd(bot: Bot, people: number, from = 0) {
  const write = writer(from * 10_000);
  for (let n = from; n < from + people; n++) {
    const { from, chat } = somebody(n);
    assert.equal(await bot.server.deliver(write(`Hello ${n}`, { from }, chat)), 200);
  }
}

Deno.test("a burst opens so many calls of a model and no more, and no other tenant waits for it", async () => {
  const [bot, other] = [await it.bot(), await it.bot()];
  it.model.resetCounts();
  const release = it.model.hang({ times: MOST_OF_TENANT });
  const more = 15;
  await crowd(bot, MOST_OF_TENANT + more);
  await it.asked(MOST_OF_TENANT);
  await other.server.deliver(writer()("Anybody here?"));
  await until(() => other.server.sent.length === 1, "the other tenant is answered");
  assert.equal(it.model.calls.length, MOST_OF_TENANT + 1);
  release();
  await it.rest();
  await it.round();
  assert.equal(bot.server.sent.length, MOST_OF_TENANT + more);
  const [left] = await it.sql(`select count(*)::int as n from channel_chats
    where due_at is not null or holder is not null`);
  assert.equal(left?.n, 0);
});

Deno.test("a person who writes without end does not keep a process from the others", async () => {
  const bot = await it.bot();
  const write = writer();
  it.model.resetCounts();
  const release = it.model.hang({ times: MOST_OF_TENANT });
  await crowd(bot, MOST_OF_TENANT - 1, 1_000);
  for (let n = 0; n < 30; n++) await bot.server.deliver(write(`And ${n}`));
  await it.asked(MOST_OF_TENANT);
  const { from, chat } = somebody(5_000);
  await bot.server.deliver(write("Me too", { from }, chat));
  release();
  await it.rest();
  await it.round();
  const texts = textsOf(bot.server);
  const [mine, theirs] = [
    texts.findIndex((text) => text.endsWith(": Me too")),
    bot.server.sent.findLastIndex(({ chatId }) => chatId === String(mira.id)),
  ];
  assert.ok(mine >= 0 && mine < theirs, `${mine} ${theirs}`);
  assert.equal(texts.length, MOST_OF_TENANT - 1 + 30 + 1);
});
