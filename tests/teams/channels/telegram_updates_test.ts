/** What an update from Telegram is to us, for one of everything Telegram sends and for any JSON. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Bot, read, type Turn } from "../../../src/teams/channels/telegram_updates.ts";
import { contents } from "../../stand_ins/telegram_contents.ts";
import {
  channel,
  forum,
  group,
  home,
  mira,
  omid,
  ours,
  said,
  supergroup,
  type Written,
  written,
} from "../../stand_ins/telegram_people.ts";
import { kinds, scenes, updates } from "../../stand_ins/telegram_updates.ts";

const bot: Bot = { id: ours.id, username: ours.username };
const SEED = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);
const RUNS = Deno.env.get("PROVE") ? 20_000 : 2_000;

const readMessage = (message: Written) => read({ update_id: 9, message }, bot);
const turnOf = (message: Written): Turn => {
  const turn = readMessage(message);
  return turn.kind === "turn" ? turn : assert.fail(JSON.stringify(turn));
};
const reasonOf = (message: Written) => {
  const nothing = readMessage(message);
  return nothing.kind === "nothing" ? nothing.reason : assert.fail(JSON.stringify(nothing));
};

Deno.test("read leaves every kind of update but a message, and says which it was", () => {
  const { message: _, ...others } = kinds;
  for (const [kind, update] of Object.entries(others)) {
    const found = read({ update_id: 7, ...update }, bot);
    assert.deepEqual(found, { kind: "nothing", updateId: 7, reason: kind });
  }
  assert.equal(Object.keys(others).length, 26);
});

Deno.test("read takes a person's words in a private chat, and nothing else of the message", () => {
  assert.deepEqual(readMessage(scenes.private), {
    kind: "turn",
    updateId: 9,
    chatKey: String(home.id),
    userKey: String(mira.id),
    messageId: 4_711,
    threadId: null,
    replyToMessageId: null,
    text: "Do you have rye bread?",
    command: null,
    isPrivate: true,
    isMention: false,
    isReplyToBot: false,
  });
});

Deno.test("read answers of all contents only those with words, and knows a group that moved", () => {
  const withWords = ["text", "audio", "document", "photo"];
  for (const [name, content] of Object.entries(contents)) {
    const found = readMessage(written(home, mira, content));
    if (withWords.includes(name)) assert.equal(found.kind, "turn", name);
    else if (name.startsWith("migrate_")) assert.equal(found.kind, "migration", name);
    else assert.deepEqual(found, { kind: "nothing", updateId: 9, reason: "no_text" }, name);
  }
  assert.equal(turnOf(scenes.photoCaption).text, "Which bread is this?");
  assert.equal(reasonOf(scenes.blankText), "no_text");
  assert.equal(reasonOf(written(home, mira, { text: " \0" })), "no_text");
});

Deno.test("read tells a migration alike from both chats", () => {
  const moved = {
    kind: "migration",
    updateId: 9,
    fromChatKey: String(group.id),
    toChatKey: String(supergroup.id),
  };
  assert.deepEqual(readMessage(written(group, mira, contents.migrate_to_chat_id)), moved);
  assert.deepEqual(readMessage(written(supergroup, mira, contents.migrate_from_chat_id)), moved);
});

Deno.test("read finds a command with its argument and whether it is surely for us", () => {
  const command = (message: Written) => turnOf(message).command;
  assert.deepEqual(command(scenes.start), {
    name: "start",
    argument: "ref-42",
    isAddressed: true,
  });
  assert.deepEqual(command(scenes.commandForUs), {
    name: "model",
    argument: "openai/gpt-4o",
    isAddressed: true,
  });
  assert.deepEqual(command(scenes.commandForAny), {
    name: "help",
    argument: "",
    isAddressed: false,
  });
  assert.deepEqual(command(scenes.commandLines)?.argument, "openai/gpt-4o");
  assert.equal(command(scenes.commandLater), null);
  assert.equal(reasonOf(scenes.commandForOther), "other_bot");
});

Deno.test("read takes no orders from what was forwarded, but reads it", () => {
  const { command, text } = turnOf(scenes.commandForwarded);
  assert.deepEqual({ command, text }, { command: null, text: "/clear" });
  assert.equal(turnOf(scenes.forwarded).text, "Fresh rye");
});

Deno.test("read answers in a group only a command, a mention, or a reply to the bot", () => {
  assert.equal(reasonOf(scenes.groupTalk), "not_addressed");
  assert.equal(reasonOf(scenes.groupMentionOther), "not_addressed");
  assert.equal(reasonOf(scenes.groupReplyToOther), "not_addressed");
  const turn = turnOf(scenes.groupMention);
  assert.deepEqual([turn.text, turn.isMention, turn.isPrivate], [
    ...["do you have rye?", true, false],
  ]);
  assert.equal(turnOf(scenes.groupMentionOnly).text, "@Switchboard_Bot");
  assert.equal(turnOf(scenes.groupMentionLater).text, "Ask @switchboard_bot about rye");
  assert.equal(turnOf(scenes.groupTextMention).text, "rye?");
  assert.equal(turnOf(scenes.photoGroupCaption).text, "which bread?");
  const reply = turnOf(scenes.groupReply);
  assert.deepEqual([reply.isReplyToBot, reply.replyToMessageId], [true, 40]);
  assert.deepEqual([reply.chatKey, reply.userKey], [String(supergroup.id), String(omid.id)]);
});

Deno.test("read answers in a topic, and not in the thread that replies make", () => {
  assert.equal(turnOf(scenes.groupThread).threadId, null);
  const { threadId, chatKey, isReplyToBot } = turnOf(scenes.topicMention);
  assert.deepEqual([threadId, chatKey, isReplyToBot], [77, String(forum.id), false]);
  // The topic was begun by the bot: that alone makes nothing a reply to it.
  assert.equal(reasonOf(scenes.topicTalk), "not_addressed");
});

Deno.test("read leaves what bots wrote, and answers people who speak as a chat", () => {
  assert.equal(reasonOf(scenes.fromBot), "bot");
  assert.equal(reasonOf(scenes.viaBot), "bot");
  assert.equal(reasonOf(written(home, ours, said("Hello"))), "bot");
  assert.equal(turnOf(scenes.anonymousAdmin).userKey, String(supergroup.id));
  assert.equal(turnOf(scenes.personAsChannel).userKey, String(channel.id));
  assert.equal(reasonOf(scenes.channelForward), "automatic_forward");
  assert.equal(reasonOf(scenes.directMessages), "channel_direct_messages");
  const { from: _, ...nobody } = scenes.private;
  assert.deepEqual(read({ update_id: 1, message: nobody }, bot), {
    kind: "nothing",
    updateId: 1,
    reason: "no_sender",
  });
  const inChannel = { ...scenes.private, chat: channel };
  assert.deepEqual(read({ update_id: 1, message: inChannel }, bot), {
    kind: "nothing",
    updateId: 1,
    reason: "channel",
  });
});

Deno.test("read gives text that Postgres can keep", () => {
  const text = "a\0b\ud83e c";
  assert.equal(turnOf(written(home, mira, { text })).text, "ab\ufffd c");
  const entities = [{ type: "bot_command", offset: 0, length: 6 } as const];
  const order = turnOf(written(home, mira, { text: "/model x\0\udc00", entities }));
  assert.equal(order.command?.argument, "x\ufffd");
});

Deno.test("read says of what it cannot read that it cannot, with the id if there is one", () => {
  for (const wrong of [null, 1, "x", [], {}, { update_id: "7" }, { update_id: -1 }]) {
    const reason = { kind: "nothing", updateId: null, reason: "unreadable" };
    assert.deepEqual(read(wrong, bot), reason);
  }
  assert.deepEqual(read({ update_id: 7, message: { text: "x" } }, bot), {
    kind: "nothing",
    updateId: 7,
    reason: "unreadable",
  });
  assert.deepEqual(read({ update_id: 7, hologram: {} }, bot), {
    kind: "nothing",
    updateId: 7,
    reason: "unknown_kind",
  });
});

/** What any answer must look like. */
function assertSound(found: ReturnType<typeof read>) {
  if (found.kind === "nothing") return;
  assert.ok(Number.isSafeInteger(found.updateId));
  if (found.kind === "migration") return;
  assert.match(`${found.chatKey} ${found.userKey}`, /^-?\d+ -?\d+$/);
  assert.ok(found.text.trim() !== "" && found.text.isWellFormed() && !found.text.includes("\0"));
  assert.ok(found.isPrivate || found.command || found.isMention || found.isReplyToBot);
  assert.equal(found.command?.name, found.command?.name.toLowerCase());
}

/** Every place in a JSON value, as the keys that lead there. */
const placesIn = (value: unknown, way: string[] = []): string[][] =>
  typeof value !== "object" || value === null ? [way] : [
    way,
    ...Object.entries(value).flatMap(([key, inner]) => placesIn(inner, [...way, key])),
  ];

/** The value with what is at `way` replaced, or taken out. */
function changed(value: unknown, [key, ...way]: string[], put: unknown): unknown {
  if (key === undefined || typeof value !== "object" || value === null) return put;
  const copy: [string, unknown][] = Object.entries(value).flatMap(([name, inner]) => {
    const next = name === key ? changed(inner, way, put) : inner;
    return next === undefined ? [] : [[name, next]];
  });
  return Array.isArray(value) ? copy.map(([, inner]) => inner) : Object.fromEntries(copy);
}

const anyPut = fc.oneof(
  fc.constant(undefined),
  fc.jsonValue(),
  fc.constantFrom<unknown>("private", "channel", true, 0, -1, 2 ** 53, 1.5, "\0", "", [], {}, null),
);
const anyChange = fc.tuple(fc.nat(), anyPut);

Deno.test("read never throws, whatever JSON comes", () => {
  console.log(`seed ${SEED}`);
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => assertSound(read(value, bot))),
    { seed: SEED, numRuns: RUNS },
  );
  const message = fc.record({ update_id: fc.nat(), message: fc.jsonValue({ maxDepth: 4 }) });
  fc.assert(fc.property(message, (value) => assertSound(read(value, bot))), {
    seed: SEED,
    numRuns: RUNS,
  });
});

Deno.test("read never throws, whatever is missing or wrong in a real update", () => {
  console.log(`seed ${SEED}`);
  const anyUpdate = fc.constantFrom(...updates);
  const kept = new Set<string>();
  fc.assert(
    fc.property(
      anyUpdate,
      fc.array(anyChange, { minLength: 1, maxLength: 4 }),
      (update, changes) => {
        let value: unknown = update;
        for (const [number, put] of changes) {
          const places = placesIn(value);
          value = changed(value, places[number % places.length] ?? [], put);
        }
        const found = read(JSON.parse(JSON.stringify(value ?? null)), bot);
        assertSound(found);
        kept.add(found.kind === "nothing" ? found.reason : found.kind);
      },
    ),
    { seed: SEED, numRuns: RUNS },
  );
  // The changes leave enough whole for every way through.
  for (const way of ["turn", "migration", "unreadable", "no_text", "not_addressed", "bot"]) {
    assert.ok(kept.has(way), `nothing came out as ${way}`);
  }
});

Deno.test("read does not mind fields it does not know", () => {
  for (const update of updates) {
    const more = { ...update, later: { update_id: 1 }, __proto__: null };
    assert.deepEqual(read(more, bot), read(update, bot));
  }
});
