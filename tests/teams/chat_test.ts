/** Chat as callers have it: over REST, over tRPC piece by piece, with a key or as a person. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { refusalOf, withApiKey } from "../../src/client.ts";
import {
  cutOnceRead,
  errorOf,
  eventually,
  hello,
  type House,
  house,
  jsonOf,
  models,
  onSocket,
} from "./house.ts";

let h: House;
let at: ReturnType<typeof onSocket>;
Deno.test.beforeAll(async () => {
  h = await house();
  at = onSocket(h);
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(async () => {
  await at[Symbol.asyncDispose]();
  await h[Symbol.asyncDispose]();
});

const path = "/api/v1/chat/messages";
const say = (key: string, body: Record<string, unknown>, headers: Record<string, string> = {}) =>
  h.post(key, body, { path, headers });
const answer = `This is the development upstream, not a real model. ${models[0]} was asked: Hello!`;

Deno.test("chat.send answers over REST, and keeps what was said", async () => {
  const { key, id } = await h.team();
  const response = await say(key, { user_id: "ada", content: " Hello! " });
  const { session_id, ...rest } = await jsonOf(response);
  assert.deepEqual(rest, { content: answer, model: models[0], is_partial: false });
  const listed = await jsonOf(await h.get(key, `/api/v1/chat/sessions/${session_id}/messages`));
  const messages: Record<string, unknown>[] = Object(listed.messages);
  assert.deepEqual(messages.map(({ role, content, model }) => [role, content, model]), [
    ["assistant", answer, models[0]],
    ["user", "Hello!", null],
  ]);
  const [row] = await h.usage(id);
  assert.deepEqual([row?.session_id, row?.user_id, row?.outcome], [session_id, "ada", "answered"]);
  const { current_model, total_message_count, user_id } = await jsonOf(
    await h.get(key, `/api/v1/chat/sessions/${session_id}`),
  );
  assert.deepEqual([current_model, total_message_count, user_id], [null, 2, "ada"]);
});

Deno.test("chat.send names what is not right, and knows no team but the caller's", async () => {
  const [one, other] = [await h.team(), await h.team()];
  const sibling = await h.team({}, one.admin);
  const wrong: [Record<string, unknown>, number][] = [
    [{ content: "x" }, 400],
    [{ user_id: "", content: "x" }, 400],
    [{ user_id: "a\nb", content: "x" }, 400],
    [{ user_id: "ada", content: " " }, 400],
    [{ user_id: "ada", content: "x".repeat(100_001) }, 400],
    [{ user_id: "ada", content: "x", model: "openai/gpt-5" }, 400],
    [{ user_id: "ada", content: "x", team_id: other.id }, 404],
    [{ user_id: "ada", content: "x", team_id: sibling.id }, 404],
    [{ user_id: "ada", content: "x", platform_name: sibling.made.platformName }, 404],
  ];
  for (const [body, status] of wrong) {
    assert.equal((await say(one.key, body)).status, status, JSON.stringify(body));
  }
  const named = { team_id: one.id, platform_name: one.made.platformName.toUpperCase() };
  assert.equal((await say(one.key, { user_id: "ada", content: "x", ...named })).status, 200);
  const as = h.w.as(one.admin).chat;
  const told = { userId: "eve", content: "Hello!" };
  await assert.rejects(() => as.send(told), /team's id or its platform name/);
  await assert.rejects(() => as.send({ ...told, teamId: other.id }), /No such team/);
  await assert.rejects(() => as.send({ ...told, platformName: "nobody" }), /No such team/);
  const sent = await as.send({ ...told, platformName: one.made.platformName });
  assert.equal(sent.content, answer);
  const rows = await h.usage(one.id);
  assert.deepEqual(rows.map(({ user_id }) => user_id), ["ada", "eve"]);
});

Deno.test("chat.send asks no model twice for one Idempotency-Key", async () => {
  const { key } = await h.team();
  const headers = { "idempotency-key": crypto.randomUUID() };
  const body = { user_id: "ada", content: "Hello!" };
  const [first, second] = [await say(key, body, headers), await say(key, body, headers)];
  assert.deepEqual(await jsonOf(second), await jsonOf(first));
  assert.equal(h.upstream.calls.length, 1);
});

Deno.test("chat.send takes the team's rate and quota as the gateway does", async () => {
  const { key } = await h.team({ rateLimit: 2, dailyQuota: 1 });
  const body = { user_id: "ada", content: "Hello!" };
  assert.equal((await say(key, body)).status, 200);
  const over = await say(key, body);
  assert.deepEqual([over.status, (await over.json()).code], [429, "QuotaExceeded"]);
  const fast = await say(key, { ...body, content: "/help" });
  assert.deepEqual([fast.status, (await fast.json()).code], [429, "RateLimited"]);
  assert.equal((await errorOf(await h.post(key, hello))).code, "rate_limit_exceeded");
  assert.equal(h.upstream.calls.length, 1);
});

Deno.test("a team's rate is one however its id or name is written", async () => {
  const { admin, id } = await h.team({ platformName: "ΟΔΟΣ", rateLimit: 3 });
  const said = { userId: "ada", content: "/help" };
  const { chat } = h.w.as(admin);
  await chat.send({ ...said, teamId: id });
  await chat.send({ ...said, teamId: id.toUpperCase(), platformName: "οδοσ" });
  await chat.send({ ...said, platformName: "ΟΔΟΣ" });
  await assert.rejects(
    () => chat.send({ ...said, teamId: id.toUpperCase() }),
    /3 requests a minute/,
  );
});

Deno.test("a page of messages ends where the next would pass 1 MiB, and holds one however long", async () => {
  const { key, id, tenantId } = await h.team();
  await say(key, { user_id: "ada", content: "Hello!" });
  const [session] = await h.sql("select id from chat_sessions where team_id = $1", [id]);
  const bytes = [6, 5, 3 * 2 ** 20, 3, 2 ** 20 - 3, 0, 1, 2 ** 20];
  await h.sql(
    `insert into messages (tenant_id, session_id, id, role, content)
      select $1, $2, id, 'user', repeat('€', bytes / 3) || repeat('x', bytes % 3)
      from unnest($3::uuid[], $4::integer[]) of (id, bytes)`,
    [tenantId, session?.id, bytes.map(() => v7()), bytes],
  );
  await h.sql("delete from messages where session_id = $1 and content in ('Hello!', $2)", [
    ...[session?.id, answer],
  ]);
  const pages: number[][] = [];
  for (let cursor: unknown = "";;) {
    const query = `limit=3${cursor ? `&cursor=${cursor}` : ""}`;
    const path = `/api/v1/chat/sessions/${session?.id}/messages?${query}`;
    const { messages, next_cursor } = await jsonOf(await h.get(key, path));
    pages.push(
      Object(messages).map(({ content }: { content: string }) =>
        new TextEncoder().encode(content).length
      ),
    );
    if (next_cursor === null) break;
    cursor = next_cursor;
  }
  assert.deepEqual(pages, [[2 ** 20], [1, 0, 2 ** 20 - 3], [3], [3 * 2 ** 20], [5, 6]]);
});

type Seen = { pieces: { type: string; content?: string; isPartial?: boolean }[]; over: unknown };
/** What a subscriber of the typed client sees, until it is over or `leave` is called. */
function subscribed(key: string, content: string, userId = "ada") {
  const seen: Seen = { pieces: [], over: null };
  const done = Promise.withResolvers<void>();
  const { trpc } = withApiKey(at.origin, key);
  const subscription = trpc.chat.stream.subscribe({ userId, content }, {
    onData: ({ data }) => void seen.pieces.push(data),
    onComplete: () => done.resolve(),
    onError: (error) => {
      seen.over = error;
      subscription.unsubscribe();
      done.resolve();
    },
  });
  const leave = () => subscription.unsubscribe();
  return { seen, done: done.promise, leave };
}
const deltasOf = ({ pieces }: Seen) => pieces.filter(({ type }) => type === "delta");
const typesOf = ({ pieces }: Seen) => [...new Set(pieces.map(({ type }) => type))];

Deno.test("chat.stream gives an answer piece by piece through the typed client", async () => {
  const { key, id } = await h.team();
  const { seen, done } = subscribed(key, "Hello!");
  await done;
  assert.equal(seen.over, null);
  assert.deepEqual(typesOf(seen), ["heard", "begun", "delta", "done"]);
  const deltas = deltasOf(seen);
  assert.ok(deltas.length > 10);
  assert.equal(deltas.map(({ content }) => content).join(""), answer);
  const last = seen.pieces.at(-1);
  assert.deepEqual([last?.content, last?.isPartial], [answer, false]);
  const command = subscribed(key, "/model");
  await command.done;
  assert.deepEqual(command.seen.pieces.map(({ type, content }) => [type, content]), [
    ["heard", undefined],
    ["done", `${models[0]} answers.`],
  ]);
  const [row] = await h.usage(id);
  assert.deepEqual([row?.is_streamed, row?.outcome], [true, "answered"]);
});

Deno.test("chat.stream gives the first piece before the second is there", async () => {
  const { key } = await h.team();
  const release = h.upstream.hang({ afterChunks: 2 });
  const { seen, done } = subscribed(key, "Hello!");
  const deltas = () => Promise.resolve(deltasOf(seen));
  const [first] = await eventually(deltas, ({ length }) => length > 0);
  assert.deepEqual([first?.content, h.upstream.calls[0]?.chunks], ["This", 2]);
  release();
  await done;
});

/** After so many chunks; 0: before anything was answered. */
for (const afterChunks of [0, 3]) {
  Deno.test(`a subscriber that leaves after ${afterChunks} chunks ends the upstream's work and the turn`, async () => {
    const { key, id } = await h.team();
    h.upstream.hang(afterChunks === 0 ? {} : { afterChunks });
    const { seen, leave } = subscribed(key, "Hello!");
    await h.upstream.arrived(1);
    const [call] = h.upstream.calls;
    if (afterChunks > 0) {
      const came = () => Promise.resolve(deltasOf(seen).length);
      await eventually(came, (count) => count === 2);
    }
    leave();
    await call?.ended;
    assert.equal(call?.outcome, "aborted");
    const [row] = await eventually(() => h.usage(id), ({ length }) => length > 0);
    const source = afterChunks === 0 ? "input_floor" : "counted";
    assert.deepEqual([row?.outcome, row?.usage_source], ["aborted", source]);
    const session = () => h.sql("select id, turn_id from chat_sessions where team_id = $1", [id]);
    const [{ id: sessionId } = { id: "" }] = await eventually(
      session,
      ([it]) => it?.turn_id === null,
    );
    const kept = await h.sql("select content, is_partial from messages where session_id = $1", [
      sessionId,
    ]);
    assert.equal(kept.length, afterChunks === 0 ? 0 : 2);
    const again = subscribed(key, "Again");
    await again.done;
    assert.equal(again.seen.over, null);
  });
}

Deno.test("chat.stream tells a refusal as one, and what broke off as partial", async () => {
  const { key } = await h.team({ dailyQuota: 2 });
  h.upstream.fail({ status: 500 });
  const failed = subscribed(key, "Hello!");
  await failed.done;
  assert.deepEqual(refusalOf(failed.seen.over)?.code, "ProviderError");
  const { release } = cutOnceRead(h, 3);
  const cut = subscribed(key, "Hello!");
  const count = () => Promise.resolve(deltasOf(cut.seen).length);
  await eventually(count, (deltas) => deltas === 2);
  release();
  await cut.done;
  const last = cut.seen.pieces.at(-1);
  assert.deepEqual([last?.type, last?.content, last?.isPartial], ["done", "This is", true]);
  const over = subscribed(key, "Hello!");
  await over.done;
  assert.equal(refusalOf(over.seen.over)?.code, "QuotaExceeded");
  assert.equal(h.upstream.calls.length, 2);
});

/** Between client and service: hangs up on the first request once `isTime` for what went through. */
function hangingUp(isTime: (text: string) => boolean) {
  let requests = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async ({ url, headers }) => {
      requests++;
      const { pathname, search } = new URL(url);
      const { body, ...answer } = await fetch(`${at.origin}${pathname}${search}`, { headers });
      const init = { status: answer.status, headers: { "content-type": "text/event-stream" } };
      if (requests > 1 || !body) return new Response(body, init);
      let text = "";
      const cut = new TransformStream<string, string>({
        transform(piece, controller) {
          controller.enqueue(piece);
          text += piece;
          if (isTime(text)) controller.terminate();
        },
      });
      return new Response(
        body.pipeThrough(new TextDecoderStream()).pipeThrough(cut)
          .pipeThrough(new TextEncoderStream()),
        init,
      );
    },
  );
  return {
    origin: `http://127.0.0.1:${server.addr.port}`,
    requests: () => requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

for (const after of ["heard", "delta"]) {
  Deno.test(`a connection that breaks after ${after} does not say it twice`, async () => {
    const { key, id } = await h.team();
    await using between = hangingUp((text) =>
      text.includes(`"type":"${after}"`) &&
      text.endsWith("\n\n")
    );
    const over = Promise.withResolvers<unknown>();
    const { trpc } = withApiKey(between.origin, key);
    const subscription = trpc.chat.stream.subscribe({ userId: "ada", content: "Hello!" }, {
      onError: over.resolve,
      onComplete: () => over.resolve(null),
    });
    assert.equal(refusalOf(await over.promise)?.reason, "chat.stream_broken");
    subscription.unsubscribe();
    assert.equal(between.requests(), 2, "It did ask again by itself");
    assert.ok(h.upstream.calls.length <= 1);
    await eventually(
      () => h.sql("select turn_id from chat_sessions where team_id = $1", [id]),
      (rows) => rows.every(({ turn_id }) => turn_id === null),
    );
    assert.ok((await h.usage(id)).length <= 1);
  });
}
