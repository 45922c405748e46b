/** A client that leaves ends the upstream's work, before the first byte and in the middle of a stream. */
import assert from "node:assert/strict";
import { tokensOf } from "../../src/teams/gateway/requests.ts";
import { until } from "../db/house.ts";
import { eventsIn, eventually, hello, type House, house, onSocket } from "./house.ts";

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

const input = tokensOf(JSON.stringify(hello.messages));
const send = (key: string, body: unknown, signal: AbortSignal, headers = {}) =>
  fetch(`${at.url}/chat/completions`, {
    method: "POST",
    signal,
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
/** The upstream has noticed that nobody waits any more. */
const aborted = async (call = h.upstream.calls[0]) => {
  let isNoticed = false;
  void call?.ended.then(() => isNoticed = true);
  await until(() => isNoticed, "the upstream notices", 10_000);
  assert.equal(call?.outcome, "aborted");
};
const settledRow = async (id: string) => {
  const [row] = await eventually(() => h.usage(id), ({ length }) => length > 0);
  return [row?.outcome, row?.usage_source, row?.input_tokens, row?.output_tokens];
};
const leases = (id: string) => h.sql("select 1 from quota_leases where team_id = $1", [id]);

for (const stream of [false, true]) {
  Deno.test(`a client that leaves before an answer ends the upstream's work (stream: ${stream})`, async () => {
    const { key, id } = await h.team();
    const leaving = new AbortController();
    h.upstream.hang();
    const sent = send(key, { ...hello, stream }, leaving.signal).catch((error) => error.name);
    await h.upstream.arrived(1);
    leaving.abort();
    assert.equal(await sent, "AbortError");
    await aborted();
    assert.deepEqual(await settledRow(id), ["aborted", "input_floor", input, 0]);
    assert.deepEqual(await leases(id), []);
    assert.ok(!h.lines.some((line) => line.includes('"a request failed"')), "it is nobody's fault");
  });
}

Deno.test("a client that leaves in the middle of a stream ends it, and pays for what came", async () => {
  const { key, id } = await h.team();
  const leaving = new AbortController();
  h.upstream.hang({ afterChunks: 5 });
  const { body } = await send(key, { ...hello, stream: true }, leaving.signal);
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (eventsIn(text).length < 5) text += (await reader?.read())?.value ?? "";
  leaving.abort();
  await assert.rejects(async () => await reader?.read());
  await aborted();
  assert.equal(h.upstream.calls[0]?.chunks, 5);
  const came = tokensOf("This is the development");
  assert.deepEqual(await settledRow(id), ["aborted", "counted", input, came]);
});

Deno.test("a client that leaves a conversation frees it, with what came of the answer kept", async () => {
  const { key, id, admin } = await h.team();
  const headers = { "x-session-user": "ada" };
  const leaving = new AbortController();
  h.upstream.hang({ afterChunks: 3 });
  const { body } = await send(key, { ...hello, stream: true }, leaving.signal, headers);
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (eventsIn(text).length < 3) text += (await reader?.read())?.value ?? "";
  leaving.abort();
  await reader?.closed.catch(() => {});
  await aborted();
  await settledRow(id);
  const { chat } = h.w.as(admin);
  const { chatSessions: [session] } = await chat.sessions.list({ teamId: id });
  const kept = () => chat.messages.list({ sessionId: session?.id ?? "" });
  const { messages } = await eventually(kept, ({ messages }) => messages.length > 0);
  assert.deepEqual(messages.map(({ role, content, isPartial }) => [role, content, isPartial]), [
    ["assistant", "This is", true],
    ["user", "Hello!", false],
  ]);
  const next = await send(key, hello, new AbortController().signal, headers);
  assert.equal(next.status, 200);
  await next.body?.cancel();
  const told = Object(h.upstream.calls[1]?.body).messages;
  assert.deepEqual(told.map(({ content }: { content: string }) => content), [
    ...["Hello!", "This is", "Hello!"],
  ]);
});

Deno.test("a hundred clients that leave at once leave nothing behind", async () => {
  const { key, id } = await h.team();
  const never = h.upstream.hang({ times: 100 });
  const leaving = new AbortController();
  const all = Array.from(
    { length: 100 },
    (_, at) => send(key, { ...hello, stream: at % 2 === 0 }, leaving.signal).catch(() => null),
  );
  await h.upstream.arrived(100);
  leaving.abort();
  await Promise.all(all);
  await Promise.all(h.upstream.calls.map((call) => aborted(call)));
  await eventually(() => leases(id), ({ length }) => length === 0);
  const rows = await h.usage(id);
  assert.deepEqual([rows.length, new Set(rows.map(({ outcome }) => outcome))], [
    100,
    new Set(["aborted"]),
  ]);
  never();
});
