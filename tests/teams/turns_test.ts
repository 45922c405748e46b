/** Turns of a conversation: what a model is told of it, one at a time, and whose it is. */
import assert from "node:assert/strict";
import { asSystem, type TenantCtx } from "../../src/context.ts";
import { tokensOf } from "../../src/teams/gateway/requests.ts";
import { begin, end, HISTORY_TOKENS } from "../../src/teams/turns.ts";
import {
  chunksOf,
  cutOnceRead,
  errorOf,
  eventually,
  hello,
  type House,
  house,
  jsonOf,
  said,
  textOf,
} from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

type Told = { role: string; content: unknown };
const told = (): Told[] => Object(h.upstream.calls.at(-1)?.body).messages;
const words = () => told().map(({ content }) => content);

const path = "/api/v1/chat/messages";
const say = (key: string, content: string, user_id = "ada", more: Record<string, unknown> = {}) =>
  h.post(key, { user_id, content, ...more }, { path });
const answerTo = async (key: string, content: string, user?: string) => {
  const response = await say(key, content, user);
  const answer = await jsonOf(response);
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
};
const sessionsOf = (teamId: string) =>
  h.sql("select * from chat_sessions where team_id = $1 order by id", [teamId]);
const messagesOf = (sessionId: unknown) =>
  h.sql(
    "select role, content, is_partial, cleared_at from messages where session_id = $1 order by id",
    [
      sessionId,
    ],
  );

Deno.test("a model is told what was said before, the oldest first, as much as max_history", async () => {
  const { key, id } = await h.team({ maxHistory: 4 });
  for (const [at, content] of ["one", "two", "three", "four"].entries()) {
    h.upstream.plan({ text: `answer ${at + 1}` });
    await answerTo(key, content);
  }
  assert.deepEqual(told(), [
    { role: "user", content: "two" },
    { role: "assistant", content: "answer 2" },
    { role: "user", content: "three" },
    { role: "assistant", content: "answer 3" },
    { role: "user", content: "four" },
  ]);
  const [session] = await sessionsOf(id);
  assert.equal(session?.total_message_count, 8);
  assert.deepEqual((await messagesOf(session?.id)).map(({ content }) => content), [
    ...["one", "answer 1", "two", "answer 2", "three", "answer 3", "four", "answer 4"],
  ]);
});

Deno.test("an odd max_history never begins with an answer nobody asked for", async () => {
  const { key } = await h.team({ maxHistory: 3 });
  for (const content of ["one", "two", "three"]) await answerTo(key, content);
  assert.equal(told().length, 3);
  assert.deepEqual([told()[0]?.role, words()[0], words()[2]], ["user", "two", "three"]);
});

Deno.test("a model is told no more than a budget of tokens, however many messages there are", async () => {
  const { key } = await h.team({ maxHistory: 100 });
  const long = "word ".repeat(HISTORY_TOKENS * 4 / 5 / 3); // A third of the budget.
  for (const at of [1, 2, 3]) {
    h.upstream.plan({ text: "short" });
    await answerTo(key, `${at} ${long}`);
  }
  h.upstream.plan({ text: "short" });
  await answerTo(key, "last");
  const before = told().slice(0, -1);
  const tokens = before.reduce((sum, { content }) => sum + tokensOf(String(content)), 0);
  assert.ok(tokens <= HISTORY_TOKENS, String(tokens));
  assert.deepEqual(before.map(({ content }) => String(content).slice(0, 5)), [
    ...["2 wor", "short", "3 wor", "short"],
  ]);
});

Deno.test("what was cleared is not told any more, is kept, and still counts", async () => {
  const { key, id, admin } = await h.team();
  await answerTo(key, "secret");
  const { content } = await answerTo(key, "/clear");
  assert.equal(content, "What was said so far is forgotten.");
  await answerTo(key, "anew");
  assert.deepEqual(words(), ["anew"]);
  const [session] = await sessionsOf(id);
  assert.equal(session?.total_message_count, 4);
  const kept = await messagesOf(session?.id);
  assert.deepEqual(kept.map(({ cleared_at }) => cleared_at !== null), [true, true, false, false]);
  const { messages } = await h.w.as(admin).chat.messages.list({ sessionId: String(session?.id) });
  assert.equal(messages.length, 4);
  const cleared = await h.w.as(admin).chat.sessions.clear({ id: String(session?.id) });
  assert.deepEqual([cleared.clearedMessages, cleared.totalMessageCount], [2, 4]);
  assert.equal((await answerTo(key, "/clear")).content, "There was nothing to forget.");
});

Deno.test("of twenty who speak at once in one conversation, one is answered and none is mixed up", async () => {
  const { key, id } = await h.team();
  const release = h.upstream.hang({ times: 20 });
  let answered = 0;
  const all = Array.from({ length: 20 }, async (_, at) => {
    const response = await say(key, `message ${at}`);
    answered++;
    return response;
  });
  await h.upstream.arrived(1);
  await eventually(() => Promise.resolve(answered), (count) => count === 19);
  release();
  const responses = await Promise.all(all);
  const refused = responses.filter(({ status }) => status !== 200);
  for (const response of refused) {
    const { code, reason } = await response.json();
    assert.deepEqual([response.status, code, reason], [409, "Conflict", "chat.turn_running"]);
    assert.equal(response.headers.get("retry-after"), "1");
  }
  assert.deepEqual([refused.length, h.upstream.calls.length], [19, 1]);
  const [session, ...others] = await sessionsOf(id);
  assert.deepEqual([others.length, session?.total_message_count, session?.turn_id], [0, 2, null]);
  assert.equal((await messagesOf(session?.id)).length, 2);
});

Deno.test("a gateway's client is told to try again while another turn runs", async () => {
  const { key } = await h.team();
  const headers = { "x-session-user": "ada" };
  const release = h.upstream.hang();
  const first = h.post(key, hello, { headers });
  await h.upstream.arrived(1);
  const response = await h.post(key, hello, { headers });
  const { status, retry } = await errorOf(response);
  assert.deepEqual([status, retry, response.headers.get("retry-after")], [409, "true", "1"]);
  const command = await say(key, "/clear");
  assert.equal(command.status, 409, "A command waits as well");
  const other = await h.post(key, hello, { headers: { "x-session-user": "bob" } });
  assert.equal(other.status, 200, "Others speak meanwhile");
  release();
  assert.equal((await first).status, 200);
  assert.equal((await say(key, "/clear")).status, 200);
});

const speaking = (tenantId: string, teamId: string) => {
  const ctx: TenantCtx = asSystem(h.w.process, tenantId);
  const whose = { teamId, platform: "p", userId: "ada" };
  return { ctx, start: () => begin(ctx, whose) };
};

Deno.test("a turn whose process ended is over after its time, and writes nothing any more", async () => {
  const { id, tenantId } = await h.team();
  const { ctx, start } = speaking(tenantId, id);
  const killed = await start();
  killed.stop(); // What a kill does: nobody renews it.
  await assert.rejects(start, /waiting for an answer/);
  const [session] = await sessionsOf(id);
  const left = Number(new Date(String(session?.turn_until))) - Date.now();
  assert.ok(left > 20_000 && left <= 31_000, `${left} ms`);
  await h.sql("update chat_sessions set turn_until = now() - interval '1 ms' where id = $1", [
    killed.session.id,
  ]);
  const next = await start();
  const answer = { content: "late", model: "m", isPartial: false };
  await end(ctx, killed, { user: "old", answer });
  assert.deepEqual(await messagesOf(next.session.id), []);
  await assert.rejects(start, /waiting for an answer/, "The late end freed what was not its own");
  await end(ctx, next, { user: "new", answer: { ...answer, content: "in time" } });
  assert.deepEqual((await messagesOf(next.session.id)).map(({ content }) => content), [
    ...["new", "in time"],
  ]);
  (await start()).stop();
});

Deno.test("an answer that broke off is kept as far as it came, and told as such", async () => {
  const { key, id } = await h.team();
  const cut = cutOnceRead(h, 4);
  const body = { ...hello, stream: true };
  const headers = { "x-session-user": "ada" };
  assert.equal(textOf(await chunksOf(await h.post(key, body, { headers }), cut)), "This is the");
  const kept = async () => await messagesOf((await sessionsOf(id))[0]?.id);
  const rows = await eventually(kept, ({ length }) => length === 2);
  assert.deepEqual(rows.map(({ role, content, is_partial }) => [role, content, is_partial]), [
    ["user", "Hello!", false],
    ["assistant", "This is the", true],
  ]);
  await answerTo(key, "Go on");
  assert.deepEqual(words(), ["Hello!", "This is the", "Go on"]);
});

Deno.test("a turn that came to nothing leaves nothing, and the conversation free", async () => {
  const { key, id } = await h.team({ dailyQuota: 4 });
  h.upstream.fail({ status: 500 });
  assert.equal((await say(key, "one")).status, 502);
  h.upstream.fail({ status: 400, body: { error: { message: "no" } } });
  assert.equal((await say(key, "two")).status, 502);
  h.upstream.cutAfter(0);
  const broken = await h.post(key, { ...hello, stream: true }, {
    headers: { "x-session-user": "ada" },
  });
  await broken.text();
  await eventually(() => sessionsOf(id), ([session]) => session?.turn_id === null);
  await answerTo(key, "four");
  assert.deepEqual(words(), ["four"]);
  assert.equal((await say(key, "five")).status, 429);
  const [session] = await sessionsOf(id);
  assert.deepEqual([session?.total_message_count, session?.turn_id], [2, null]);
});

Deno.test("what cannot be stored of an answer is stored as near as can be", async () => {
  const { key, id } = await h.team();
  h.upstream.plan({ text: "nul\0 and half \ud83d." });
  await answerTo(key, "one");
  const text = '{"messages":[{"role":"user","content":"nul\\u0000 and half \\ud83d."}]}';
  const response = await h.post(key, text, { headers: { "x-session-user": "ada" } });
  assert.equal(response.status, 200);
  await response.body?.cancel();
  const kept = await eventually(
    async () => await messagesOf((await sessionsOf(id))[0]?.id),
    ({ length }) => length === 4,
  );
  const [, answer, question] = kept.map(({ content }) => content);
  assert.deepEqual([answer, question], Array(2).fill("nul\ufffd and half \ufffd."));
});

Deno.test("X-Session-User opts a client that keeps nothing into a conversation", async () => {
  const { key, id } = await h.team({ maxHistory: 2 });
  const ask = (text: string, user: string) =>
    h.post(key, text, { headers: { "x-session-user": user } });
  const first = await ask(JSON.stringify(hello), " ada ");
  await first.body?.cancel();
  const sessionId = first.headers.get("x-session-id");
  const text = `{"model":"openai/gpt-4", "messages" : [ {"role":"system","content":"Be brief"},
    {"role":"developer","content":"Be kind"},
    {"role":"user","content":[{"type":"text","text":"And now?"}], "big":1e400} ], "seed":7}`;
  const second = await ask(text, "ada");
  await second.body?.cancel();
  assert.equal(second.headers.get("x-session-id"), sessionId);
  const sent = h.upstream.calls.at(-1)?.text ?? "";
  assert.deepEqual(told().map(({ role }) => role), [
    ...["system", "developer", "user", "assistant", "user"],
  ]);
  assert.ok(sent.includes('"big":1e400}'), "What the client sent stays as it wrote it");
  assert.ok(sent.includes('"seed":7'));
  const kept = await eventually(
    async () => await messagesOf(sessionId),
    ({ length }) => length === 4,
  );
  assert.deepEqual(kept.map(({ content }) => content).slice(2, 3), ["And now?"]);
  const [row] = (await h.usage(id)).slice(1);
  assert.deepEqual([row?.session_id, row?.user_id], [sessionId, "ada"]);
  for (const user of ["", "x".repeat(256)]) {
    const { status, param } = await errorOf(await ask(JSON.stringify(hello), user));
    assert.deepEqual([status, param], [400, "X-Session-User"]);
  }
  const silent = { messages: [...said("x"), { role: "assistant", content: "y" }] };
  assert.equal((await errorOf(await ask(JSON.stringify(silent), "ada"))).param, "messages");
});

Deno.test("a conversation is the key's that began it: others are refused in S3's words, and it is noted", async () => {
  const { key, id, admin, tenantId } = await h.team();
  const beside = await h.w.as(admin).teams.teamKeys.create({ teamId: id, name: "Beside" });
  await answerTo(key, "mine");
  const [before] = await sessionsOf(id);
  h.upstream.resetCounts();
  const sentence = "Access denied. This user's conversation belongs to a different API key.";
  const refused = await say(beside.key, "whose?");
  const { code, detail } = await refused.json();
  assert.deepEqual([refused.status, code, detail], [403, "SessionNotYours", sentence]);
  const byHeader = await h.post(beside.key, hello, { headers: { "x-session-user": "ada" } });
  const error = await errorOf(byHeader);
  assert.deepEqual([error.status, error.code, error.message], [403, "session_not_yours", sentence]);
  assert.equal((await say(beside.key, "/clear")).status, 403);
  assert.equal(h.upstream.calls.length, 0);
  assert.deepEqual(await sessionsOf(id), [before], "It is as it was");
  const entries = await h.sql(
    `select actor_id, subject_id, diff from audit_entries
      where tenant_id = $1 and action = 'chat_session.refused'`,
    [tenantId],
  );
  assert.equal(entries.length, 3);
  assert.deepEqual([entries[0]?.actor_id, entries[0]?.subject_id], [beside.teamKey.id, before?.id]);
  const warned = h.lines.filter((line) => line.includes("another key's conversation"));
  assert.equal(warned.length, 3);
  assert.ok(!warned.join().includes(String(before?.id)), "masked, as S3 does");
  // Each reads its own alone.
  const sessions = async (key: string) => (await jsonOf(await h.get(key, "/api/v1/chat/sessions")));
  assert.equal(Object((await sessions(key)).chat_sessions).length, 1);
  assert.deepEqual((await sessions(beside.key)).chat_sessions, []);
  for (const path of [`/${before?.id}`, `/${before?.id}/messages`]) {
    assert.equal((await h.get(beside.key, `/api/v1/chat/sessions${path}`)).status, 404);
    assert.equal((await h.get(key, `/api/v1/chat/sessions${path}`)).status, 200);
  }
  const clear = `/api/v1/chat/sessions/${before?.id}/clear`;
  assert.equal((await h.post(beside.key, {}, { path: clear })).status, 404);
});

Deno.test("a conversation that is no key's is refused to keys, and another team's user is another", async () => {
  const one = await h.team();
  const two = await h.team({}, one.admin);
  const as = h.w.as(one.admin).chat;
  const platform = one.made.platformName;
  await as.send({ teamId: one.id, userId: "ada", content: "From the console" });
  assert.equal((await say(one.key, "mine?")).status, 403);
  const [session] = await sessionsOf(one.id);
  assert.equal(session?.key_family_id, null);
  await answerTo(two.key, "of the other team");
  assert.deepEqual(words(), ["of the other team"]);
  const elsewhere = await say(one.key, "there", "ada", { platform: "elsewhere" });
  assert.equal(elsewhere.status, 200);
  assert.deepEqual(words(), ["there"]);
  assert.deepEqual((await sessionsOf(one.id)).map(({ platform }) => platform), [
    ...[platform, "elsewhere"],
  ]);
  // Whoever runs the tenant may go on with a key's conversation.
  await answerTo(one.key, "as bob", "bob");
  await as.send({ teamId: one.id, userId: "bob", content: "and the admin" });
  assert.deepEqual(words().length, 3);
  await answerTo(one.key, "bob again", "bob");
  assert.deepEqual(words().length, 5);
});
