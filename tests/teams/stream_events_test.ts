/** A stream's events, put together from whatever pieces they come in, and the errors among them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { Pieces } from "../../src/outbound.ts";
import type { Bytes } from "../../src/outbound/heads.ts";
import {
  type Coming,
  deltasOf,
  MOST_OF_AN_EVENT,
  type StreamEnd,
  tapped,
} from "../../src/teams/gateway/event_streams.ts";
import { eventsIn } from "./house.ts";
import { runs } from "./seeds.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const DONE = "data: [DONE]\n\n";
const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}`;

/** An upstream that sends these; `left` says where it was cancelled. */
function upstreamOf(pieces: Iterable<Bytes>) {
  const iterator = pieces[Symbol.iterator]();
  const it = { left: false, sent: 0 };
  const stream: Pieces = {
    next: () => {
      const { done, value } = iterator.next();
      if (!done) it.sent += value.byteLength;
      return Promise.resolve(done ? null : value);
    },
    cancel: () => it.left = true,
  };
  return { it, stream };
}

const clean = (text: string) => text.replaceAll("sk-secret", "…").replaceAll("far.example", "…");

const tap = (pieces: Pieces, ended = (_: StreamEnd) => {}) =>
  tapped(Promise.resolve({ pieces, clean }), {
    wantsUsage: true,
    ended,
    began: () => {},
    requestId: "the-request",
    stop: new AbortController().signal,
    hasLeft: () => false,
  });

async function cameThrough(pieces: Iterable<Bytes>) {
  const { it, stream } = upstreamOf(pieces);
  const ends: StreamEnd[] = [];
  const came = await Array.fromAsync(tap(stream, (end) => void ends.push(end)));
  const decoder = new TextDecoder();
  const text = came.map((piece) => decoder.decode(piece, { stream: true })).join("");
  assert.equal(ends.length, 1);
  return { came, text, end: ends[0], upstream: it };
}

function* cutUp(whole: Bytes, sizes: readonly number[]) {
  for (let at = 0, turn = 0; at < whole.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield whole.slice(at, at + size);
    at += size;
  }
}

async function* whatIs(next: Pieces["next"]) {
  for (let piece = await next(); piece; piece = await next()) yield piece;
}

const KB = 1_024;
const MB = 1_024 * KB;
const longEvent = (size: number) => bytes(`${chunk("é".repeat(size / 2))}\n\n${DONE}`);

Deno.test("an event of eight megabytes arrives whole, byte for byte", async () => {
  const whole = longEvent(8 * MB);
  const { came, end } = await cameThrough(cutUp(whole, [16 * KB]));
  assert.ok(Buffer.concat(came).equals(whole));
  assert.equal(end?.how, "whole");
});

/** How many letters are looked through for the end of a text while `work` is done. */
async function lookedThrough(work: () => Promise<unknown>): Promise<number> {
  const { lastIndexOf } = String.prototype;
  let letters = 0;
  String.prototype.lastIndexOf = function (...said) {
    letters += this.length;
    return lastIndexOf.apply(this, said);
  };
  try {
    await work();
  } finally {
    String.prototype.lastIndexOf = lastIndexOf;
  }
  return letters;
}

Deno.test("an event in many pieces is looked through once, however long it is", async () => {
  const readers: Record<string, (stream: Pieces) => AsyncIterable<unknown>> = {
    tapped: (stream) => tap(stream),
    deltasOf: ({ next }) => deltasOf(ReadableStream.from(whatIs(next))),
  };
  for (const [name, reader] of Object.entries(readers)) {
    const letters = await lookedThrough(async () => {
      for await (const _ of reader(upstreamOf(cutUp(longEvent(MB), [16 * KB])).stream));
    });
    // For either kind of line end.
    assert.ok(
      letters >= MB && letters < 3 * MB,
      `${name} looks through ${letters} letters of ${MB}`,
    );
  }
});

Deno.test("an event that does not end is broken off, and its upstream left", async () => {
  function* endless() {
    yield bytes(`${chunk("first")}\n\n`);
    const piece = bytes("x".repeat(64 * KB));
    for (let sent = 0; sent < 2 * MOST_OF_AN_EVENT; sent += piece.length) yield piece;
  }
  const { text, end, upstream } = await cameThrough(endless());
  const [first, broken, done, ...more] = eventsIn(text);
  assert.equal(`data: ${first}`, chunk("first"));
  assert.equal(JSON.parse(broken ?? "").error.code, "upstream_cut");
  assert.deepEqual([done, more], ["[DONE]", []]);
  assert.deepEqual([end?.how, end?.said().all, upstream.left], ["cut", "first", true]);
  assert.ok(upstream.sent < MOST_OF_AN_EVENT + MB, String(upstream.sent));
});

Deno.test("a byte order mark is one at a stream's beginning, and a letter anywhere else", async () => {
  const whole = bytes(`\ufeff${chunk("a\ufeffb")}\n\n${chunk("c")}\n\n${DONE}`);
  for (let at = 0; at < whole.length; at++) {
    const { stream } = upstreamOf([whole.slice(0, at), whole.slice(at)]);
    const deltas = await Array.fromAsync(deltasOf(ReadableStream.from(whatIs(stream.next))));
    assert.deepEqual(deltas, ["a\ufeffb", "c"], `cut at ${at}`);
  }
});

Deno.test("a stream that was made ready and never comes ends nothing", async () => {
  const never = Promise.withResolvers<Coming>();
  const stop = new AbortController();
  const ends: StreamEnd[] = [];
  const body = tapped(never.promise, {
    wantsUsage: true,
    ended: (end) => void ends.push(end),
    began: () => {},
    requestId: "the-request",
    stop: stop.signal,
    hasLeft: () => true,
  });
  stop.abort();
  const reading = body.getReader().read();
  assert.equal(
    await Promise.race([reading, new Promise((after) => setTimeout(after, 20))]),
    undefined,
  );
  assert.deepEqual(ends, []);
});

const word = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 6 }).map((text) => text.replaceAll("\ufeff", "")),
  fc.constantFrom('"usage"', "😀", "é", "\r", "data: ", '{"usage":{}}', " "),
);
const lineEnd = fc.constantFrom("\n", "\r\n");
const event = fc.tuple(
  fc.array(fc.tuple(fc.array(word, { maxLength: 4 }), lineEnd), { maxLength: 3 }),
  fc.tuple(word, fc.constantFrom("\n\n", "\r\n\r\n", "\n\r\n", "\n\n\n", "\r\n\r\n\r\n")),
).map(([lines, last]) => [...lines.flatMap(([words, end]) => [...words, end]), ...last].join(""));

/** The plainest way: all that is left over is looked at anew with each piece. */
function naively(pieces: readonly Uint8Array[]) {
  const decoder = new TextDecoder();
  let rest = "";
  const texts: string[] = [];
  for (const piece of pieces) {
    rest += decoder.decode(piece, { stream: true });
    const until = /^[^]*\n\r?\n/.exec(rest)?.[0].length ?? 0;
    if (until > 0) texts.push(rest.slice(0, until));
    rest = rest.slice(until);
  }
  return texts;
}

Deno.test("any events in any pieces go on as soon as they are whole, as they came", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 8 }), sizes, async (events, sizes) => {
      const whole = bytes(events.join("") + DONE);
      const pieces = [...cutUp(whole, sizes)];
      const { came, end } = await cameThrough(pieces);
      assert.deepEqual(came.map((piece) => new TextDecoder().decode(piece)), naively(pieces));
      assert.ok(Buffer.concat(came).equals(whole));
      assert.equal(end?.how, "whole");
    }),
    runs(1_000),
  );
});

Deno.test("what is whole events and nothing else goes on as the very bytes that came", async () => {
  const [one, two] = [bytes(`${chunk("Grüße")}\n\n`), bytes(`${chunk("x")}\r\n\r\n: y\n\n`)];
  const half = bytes("é: z\n\n");
  const pieces: Bytes[] = [one, two, half.slice(0, 1), half.slice(1), one, bytes(DONE)];
  const { came, text } = await cameThrough(pieces);
  assert.deepEqual(came.map((it) => pieces.findIndex((piece) => piece === it)), [0, 1, -1, 0, 5]);
  assert.equal(text, new TextDecoder().decode(Buffer.concat(pieces)));
});

Deno.test("half an event that a stream breaks off in is no event", async () => {
  const { text, end } = await cameThrough([bytes(`${chunk("x")}\n\ndata: {"choices":[{"de`)]);
  assert.deepEqual(eventsIn(text).map((it) => it.includes("upstream_cut")), [false, true, false]);
  assert.equal(end?.how, "cut");
});

/** The error a stream tells that has this event after its first. */
async function errorAfter(data: string) {
  const { text, end } = await cameThrough([bytes(`${chunk("x")}\n\n${data}`), bytes(DONE)]);
  const [first, told, ...rest] = eventsIn(text);
  assert.deepEqual([`data: ${first}`, ...rest, end?.how], [chunk("x"), "[DONE]", "cut"]);
  const { error, ...more } = JSON.parse(told ?? "");
  assert.deepEqual(more, {});
  return error;
}
const errorOf = (value: unknown) => errorAfter(`event: error\ndata: ${JSON.stringify(value)}\n\n`);

Deno.test("an error in a stream that is about our account is told as where there is none", async () => {
  const billing =
    "Rate limit reached in org-SECRET: visit /account/billing to add a payment method";
  const tier = "SECRET is slow while there are insufficient credits";
  const perMinute = "Quota exceeded for quota metric SECRET per minute";
  const cases: [string, unknown][] = [
    ["upstream_auth", { error: { message: "SECRET", code: 401, metadata: { raw: "SECRET" } } }],
    ["upstream_auth", { error: { message: "SECRET", type: "authentication_error" } }],
    ["upstream_auth", { error: { message: "SECRET", code: "invalid_api_key", param: "SECRET" } }],
    ["upstream_auth", { error: "SECRET", status: 403 }],
    ["upstream_auth", { error: { code: "403", message: "SECRET", status: "PERMISSION_DENIED" } }],
    ["upstream_quota", { error: { code: 402, message: "SECRET" }, user_id: "SECRET" }],
    ["upstream_quota", { error: { code: 429, message: "SECRET", type: "insufficient_quota" } }],
    ["upstream_quota", { error: { code: "billing_hard_limit_reached", message: "SECRET" } }],
    ["upstream_quota", { error: "Insufficient credits: SECRET has 3 left" }],
    ["upstream_quota", { object: "error", message: "SECRET", code: 402 }],
    ["upstream_model", { error: { message: "SECRET", code: "model_not_found" } }],
    ["upstream_busy", { error: { message: "org-SECRET", code: "rate_limit_exceeded" } }],
    ["upstream_busy", { error: { message: "SECRET", type: "RateLimitError", code: 429 } }],
    ["upstream_busy", { error: { message: tier, code: "rate_limit_exceeded" } }],
    ["upstream_busy", { error: { message: billing } }],
    ["upstream_busy", { error: { message: perMinute, code: 429, status: "RESOURCE_EXHAUSTED" } }],
  ];
  for (const [code, value] of cases) {
    const { message, ...error } = await errorOf(value);
    assert.deepEqual(error, { type: "server_error", param: null, code });
    assert.match(message, /provider/);
    assert.doesNotMatch(message, /SECRET/);
  }
});

Deno.test("an error in a stream that is a bare string, or half of one, gets OpenAI's shape", async () => {
  const shape = { type: "server_error", param: null, code: "upstream_error" };
  const fallen = "GPU 3 fell off the bus at far.example";
  const said = { ...shape, message: "GPU 3 fell off the bus at …" };
  assert.deepEqual(await errorOf({ error: fallen }), said);
  assert.deepEqual(await errorOf({ error: fallen, code: "gone" }), { ...said, code: "gone" });
  assert.deepEqual(await errorOf({ error: { message: fallen, code: 502 } }), {
    ...said,
    code: "502",
  });
  assert.deepEqual(await errorOf({ error: { detail: fallen, code: null } }), {
    ...said,
    detail: "GPU 3 fell off the bus at …",
  });
  const nameless = { ...shape, message: "The provider refused" };
  for (const error of [{}, true, 7, { message: { toString: 1 }, code: { valueOf: 1 } }]) {
    assert.deepEqual(await errorOf({ error }), nameless);
  }
  assert.deepEqual(await errorAfter(`{"error":"${fallen}"}\n\n`), said);
});

Deno.test("an error in a stream that is about the answer goes on, without key, host and account", async () => {
  const error = {
    message: 'Filtered "at" far.example with sk-secret: prompt is too long',
    type: "invalid_request_error",
    param: "messages",
    code: "content_filter",
  };
  const inner = { content_filter_result: { violence: { filtered: true } } };
  const telling = { metadata: { account: "acme" }, user_id: "user_1", organization: "org-1" };
  const choices = [{ delta: { content: "" }, finish_reason: "error" }];
  assert.deepEqual(
    await errorOf({ choices, error: { ...error, ...telling, innererror: inner } }),
    { ...error, message: 'Filtered "at" … with …: prompt is too long', innererror: inner },
  );
});
