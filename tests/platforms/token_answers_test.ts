/** Providers answer in their own ways; what they grant is understood, what they refuse is not lost. */
import assert from "node:assert/strict";
import { Refused } from "../../src/outbound.ts";
import { usual } from "../../src/platforms/quirks.ts";
import {
  asFailure,
  grantedOf,
  normalized,
  ProviderFailure,
  scopesOf,
} from "../../src/platforms/token_answers.ts";

const answer = (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });
const read = async (body: unknown, quirks = usual) =>
  await (await normalized(answer(body), quirks, false)).json();

async function failureOf(body: unknown, status = 200, headers: Record<string, string> = {}) {
  try {
    await normalized(answer(body, status, headers), usual, false);
  } catch (error) {
    assert.ok(error instanceof ProviderFailure);
    return error;
  }
  throw new Error("It was taken");
}

Deno.test("normalized takes what can be understood", async () => {
  const token = { access_token: "a" };
  assert.deepEqual(await read(token), { access_token: "a", token_type: "bearer" });
  const odd = {
    ...token,
    token_type: "BOT",
    expires_in: "3600",
    refresh_token: null,
    scope: ["x"],
  };
  const slack = { ...usual, tokenTypes: ["bot"] };
  assert.deepEqual(await read(odd, slack), {
    access_token: "a",
    token_type: "bearer",
    expires_in: 3600,
  });
  const dayLong = { ...usual, accessTokenLifetimeSeconds: 86_400 };
  assert.equal((await read(token, dayLong)).expires_in, 86_400);
  for (const seconds of [0, -1, "soon", null, Infinity, {}]) {
    assert.equal((await read({ ...token, expires_in: seconds })).expires_in, undefined);
  }
  const withIdToken = { ...token, id_token: "x" };
  assert.equal((await read(withIdToken)).id_token, undefined, "a refresh could fail by it");
});

Deno.test("normalized tells failures apart by the error word, then by the status", async () => {
  const cases: [unknown, number, string, string][] = [
    [{ error: "invalid_grant" }, 400, "grant", "invalid_grant"],
    [{ ok: false, error: "invalid_refresh_token" }, 200, "grant", "invalid_refresh_token"],
    [{ error: "invalid_code" }, 200, "grant", "invalid_code"],
    [{ error: "invalid_client" }, 401, "client", "invalid_client"],
    ["", 401, "client", "status_401"],
    [{ error: "invalid_scope" }, 400, "refused", "invalid_scope"],
    [{ error: "oh no <script>" }, 400, "refused", "status_400"],
    [{ error: "temporarily_unavailable" }, 400, "busy", "temporarily_unavailable"],
    ["<html>", 503, "busy", "status_503"],
    ["slow down", 429, "busy", "status_429"],
    ["<html>", 200, "unreadable", "not_json"],
    [{ access_token: 7 }, 200, "unreadable", "no_access_token"],
    [[], 200, "unreadable", "not_json"],
  ];
  for (const [body, status, kind, word] of cases) {
    const failed = await failureOf(body, status);
    assert.deepEqual([failed.kind, failed.word], [kind, word], JSON.stringify(body));
  }
  const patient = await failureOf("", 429, { "retry-after": "7" });
  assert.equal(patient.retryAfterSeconds, 7);
  assert.equal((await failureOf("", 503, { "retry-after": "soon" })).retryAfterSeconds, null);
});

Deno.test("grantedOf counts the lifetime from when the provider was asked", () => {
  const askedAt = new Date("2026-01-01T00:00:00Z");
  const granted = grantedOf({ access_token: "a", expires_in: 60, scope: "b c" }, usual, askedAt);
  assert.deepEqual(granted.expiresAt, new Date("2026-01-01T00:01:00Z"));
  assert.deepEqual([granted.refreshToken, granted.scopes], [null, ["b", "c"]]);
  assert.equal(JSON.stringify(granted).includes('"a"'), false);
});

Deno.test("scopesOf reads both spellings and is bounded", () => {
  assert.deepEqual(scopesOf("a b  b", " "), ["a", "b"]);
  assert.deepEqual(scopesOf("a,b c", ","), ["a", "b", "c"]);
  assert.deepEqual(scopesOf("a,b", " "), ["a,b"]);
  assert.equal(scopesOf(" ", " "), null);
  assert.equal(scopesOf(undefined, " "), null);
  const many = Array.from({ length: 200 }, (_, i) => `s${i}`).join(" ");
  assert.equal(scopesOf(`${many} ${"x".repeat(300)}`, " ")?.length, 100);
});

Deno.test("asFailure keeps nothing of what was thrown but a word", () => {
  const leaky = Object.assign(new Error("token=hunter2"), { code: "OAUTH_X", cause: "hunter2" });
  const failed = asFailure(leaky);
  assert.deepEqual([failed.kind, failed.word, failed.cause], ["unreadable", "OAUTH_X", undefined]);
  assert.ok(!failed.message.includes("hunter2"));
  const busy = asFailure(new Refused("unreachable", "example.com could not be reached"));
  assert.equal(busy.kind, "busy");
  assert.equal(asFailure(new Refused("private_address", "no")).kind, "refused");
  assert.equal(asFailure(new DOMException("late", "TimeoutError")).word, "timeout");
});
