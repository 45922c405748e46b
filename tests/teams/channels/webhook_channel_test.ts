/** The generic channel over the real route: signed words in, signed answers out. */
import assert from "node:assert/strict";
import { Webhook } from "standardwebhooks";
import { v7 } from "uuid";
import { freePort } from "../../stand_ins/processes.ts";
import { type ChannelHouse, house, MODEL } from "./house.ts";
import { DISCLAIMER } from "../../stand_ins/openai.ts";

let it: ChannelHouse;
Deno.test.beforeAll(async () => {
  it = await house();
});
Deno.test.afterAll(() => it[Symbol.asyncDispose]());

const echo = (text: string) => `${DISCLAIMER} ${MODEL} was asked: ${text}`;

type Taken = { headers: Headers; text: string };

/** Somebody's own service: keeps what it is sent, and answers with these and then 200. */
function receiver(...answers: { status: number; headers?: Record<string, string> }[]) {
  const taken: Taken[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (r) => {
    taken.push({ headers: r.headers, text: await r.text() });
    const { status, headers = {} } = answers.shift() ?? { status: 204 };
    return new Response(null, { status, headers });
  });
  const url = `http://127.0.0.1:${server.addr.port}/answers?for=us`;
  return { url, taken, [Symbol.asyncDispose]: () => server.shutdown() };
}

async function channel(apiRoot: string) {
  const { admin, teamId, tenantId } = await it.team();
  const made = await it.w.as(admin).teams.channels.create({
    ...{ teamId, kind: "webhook", name: "Site", apiRoot },
  });
  const path = new URL(made.channel.url).pathname;
  return { admin, tenantId, id: made.channel.id, secret: made.secret, path };
}
type Channel = Awaited<ReturnType<typeof channel>>;

const signed = (secret: string, text: string, { id = v7(), at = new Date() } = {}) => ({
  "webhook-id": id,
  "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
  "webhook-signature": new Webhook(secret).sign(id, at, text),
});
type Signing = { id?: string; at?: Date; headers?: Record<string, string> };

async function post({ path, secret }: Channel, body: unknown, how: Signing = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const headers = { ...signed(secret, text, how), ...how.headers };
  const answer = await it.w.request(path, { method: "POST", headers, body: text });
  const problem: Record<string, unknown> = await answer.json();
  await it.rest();
  return { status: answer.status, problem };
}
const words = (text: string, chat = "counter") => ({ chat_id: chat, user_id: "mira", text });

Deno.test("a signed message is answered with one that the reference implementation verifies", async () => {
  await using site = receiver();
  const ours = await channel(site.url);
  const id = v7();
  assert.equal((await post(ours, words("Do you have rye bread?"), { id })).status, 200);
  await post(ours, words("/status"));
  const [answer, status] = site.taken;
  assert.deepEqual(new Webhook(ours.secret).verify(answer?.text ?? "", headersOf(answer)), {
    chat_id: "counter",
    user_id: "mira",
    in_reply_to: id,
    text: echo("Do you have rye bread?"),
  });
  assert.match(JSON.parse(status?.text ?? "{}").text, /^Model: dev\/echo\nMessages so far: 2\n/);
  assert.equal(site.taken.length, 2);
});

const headersOf = (taken: Taken | undefined) => Object.fromEntries(taken?.headers ?? []);

Deno.test("what is not signed as it should be is turned away and leaves nothing", async () => {
  await using site = receiver();
  const [ours, theirs] = [await channel(site.url), await channel(site.url)];
  const text = JSON.stringify(words("Hello"));
  const good = signed(ours.secret, text);
  const old = new Date(Date.now() - 301_000);
  const forged: Record<string, Record<string, string>> = {
    "no signature": {},
    "another channel's secret": signed(theirs.secret, text),
    "an old message": signed(ours.secret, text, { at: old }),
    "another body": signed(ours.secret, JSON.stringify(words("Goodbye"))),
    "another id": { ...good, "webhook-id": v7() },
    "another kind of signature": {
      ...good,
      "webhook-signature": good["webhook-signature"].replace("v1,", "v1a,"),
    },
  };
  for (const [what, headers] of Object.entries(forged)) {
    const answer = await it.w.request(ours.path, { method: "POST", headers, body: text });
    const { reason, detail } = await answer.json();
    assert.deepEqual([answer.status, reason], [401, "channel.unverified"], what);
    assert.ok(!detail.includes(ours.secret.slice(6)));
  }
  assert.deepEqual(await it.updates(ours.id), []);
  assert.equal(site.taken.length, 0);
});

Deno.test("a message sent again is answered once, whatever time it is signed with", async () => {
  await using site = receiver();
  const ours = await channel(site.url);
  const id = v7();
  for (const seconds of [0, 0, 5, 60]) {
    const at = new Date(Date.now() - seconds * 1_000);
    assert.equal((await post(ours, words("Hello"), { id, at })).status, 200);
  }
  assert.equal(site.taken.length, 1);
});

Deno.test("messages of one second are answered in the order they came", async () => {
  await using site = receiver();
  const ours = await channel(site.url);
  const at = new Date();
  it.model.resetCounts();
  const release = it.model.hang();
  const first = post(ours, words("0"), { at });
  await it.asked(1);
  const texts = ["1", "2", "3", "4", "5"];
  for (const [n, text] of texts.entries()) {
    const body = JSON.stringify(words(text));
    const headers = signed(ours.secret, body, { id: `id-${9 - n}`, at });
    await it.w.request(ours.path, { method: "POST", headers, body });
  }
  release();
  await first;
  const said = site.taken.map(({ text }) => JSON.parse(text).text);
  assert.deepEqual(said, ["0", ...texts].map(echo));
});

Deno.test("a body that is not as it should be is answered with what would be right", async () => {
  await using site = receiver();
  const ours = await channel(site.url);
  const wrong: [unknown, string[]][] = [
    ["not JSON", []],
    [[], []],
    [{}, ["chat_id", "user_id", "text"]],
    [{ ...words("Hello"), chat_id: 7 }, ["chat_id"]],
    [{ ...words(" \u0000 ") }, ["text"]],
    [{ ...words("Hello"), user_id: "m".repeat(256) }, ["user_id"]],
  ];
  for (const [body, fields] of wrong) {
    const { status, problem } = await post(ours, body);
    assert.deepEqual([status, problem.reason], [400, "body.malformed"], JSON.stringify(body));
    const named = Object(problem.errors ?? []).map(({ field }: { field: string }) => field);
    assert.deepEqual(named, fields);
  }
  assert.equal((await post(ours, words("a\u0000b\ud800"))).status, 200);
  assert.equal((await post(ours, words("x".repeat(99_999)))).status, 200);
  assert.equal((await post(ours, words("x".repeat(600_000)))).status, 413);
  assert.deepEqual(site.taken.map(({ text }) => JSON.parse(text).text)[0], echo("ab\ufffd"));
});

Deno.test("an answer that is not taken is sent again under its id, when the receiver asked for it", async () => {
  const soon = new Date(Date.now() + 90_000).toUTCString();
  await using site = receiver(
    ...[{ status: 500 }, { status: 429, headers: { "retry-after": "40" } }],
    ...[{ status: 503, headers: { "retry-after": soon } }, { status: 404 }, { status: 302 }],
  );
  const ours = await channel(site.url);
  const pauses: { left: number; whole: number }[] = [];
  const now = async () => (await it.sql("select now() as at"))[0]?.at;
  let begun = await now();
  await post(ours, words("Hello"));
  for (let n = 0; n < 5; n++) {
    const [due] = await it.sql(
      `select extract(epoch from due_at - now())::float as left,
        extract(epoch from due_at - $2::timestamptz)::float as whole
       from channel_chats where channel_id = $1`,
      [ours.id, begun],
    );
    const left = Number(due?.left);
    pauses.push({ left, whole: Number(due?.whole) });
    await it.pass(-60_000); // Not due for a while, however slow this is.
    await it.round();
    assert.equal(site.taken.length, n + 1, "It came too early");
    await it.pass(60_000 + left * 1_000);
    begun = await now();
    await it.round();
  }
  /** From when it was tried, and from when that was over. */
  const between = (n: number, least: number, most: number) => {
    const { left = NaN, whole = NaN } = pauses[n] ?? {};
    assert.ok(whole >= least && left <= most, `${n}: ${left} of ${whole}`);
  };
  between(0, 2, 2);
  between(1, 40, 40);
  between(2, 45, 91);
  assert.equal(site.taken.length, 6);
  assert.equal(new Set(site.taken.map(({ headers }) => headers.get("webhook-id"))).size, 1);
  assert.equal(new Set(site.taken.map(({ text }) => text)).size, 1);
  for (const taken of site.taken) new Webhook(ours.secret).verify(taken.text, headersOf(taken));
  assert.deepEqual((await it.updates(ours.id)).map(({ state }) => state), ["done"]);
});

Deno.test("410 ends an answer, and nobody listening lets it wait", async () => {
  await using site = receiver({ status: 410 });
  const ours = await channel(site.url);
  await post(ours, words("Hello"));
  assert.deepEqual((await it.updates(ours.id)).map(({ state, failure }) => [state, failure]), [
    ["done", "It answered 410"],
  ]);
  const nowhere = await channel(`http://127.0.0.1:${freePort()}/`);
  await post(nowhere, words("Hello"));
  const [row] = await it.updates(nowhere.id);
  assert.equal(row?.state, "received");
  assert.match(String(row?.failure), /could not be reached/);
});

Deno.test("an answer is never sent to a private address where those are not allowed", async () => {
  await using site = receiver();
  await using guarded = await house({ ALLOW_PRIVATE_HOSTS: "0", PUBLIC_URL: "https://s.example" });
  const { admin, teamId } = await guarded.team();
  const { teams } = guarded.w.as(admin);
  const places = [
    ...[site.url, site.url.replace("http", "https"), "https://169.254.169.254/latest"],
    ...["https://[::1]/", "https://localhost/x", "https://127.1/"],
  ];
  for (const apiRoot of places) {
    const { channel, secret } = await teams.channels.create({
      ...{ teamId, kind: "webhook", name: apiRoot, apiRoot },
    });
    const body = JSON.stringify(words("/help"));
    const headers = signed(secret, body);
    const path = new URL(channel.url).pathname;
    const answer = await guarded.w.request(path, { method: "POST", headers, body });
    assert.equal(answer.status, 200);
    await guarded.rest();
    const [row] = await guarded.updates(channel.id);
    assert.equal(row?.state, "failed", apiRoot);
    assert.match(String(row?.failure), /https:|open internet|Port/);
  }
  assert.equal(site.taken.length, 0);
});
