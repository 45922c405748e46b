/** Every variable is checked at the start, and each complaint says what would be right. */
import assert from "node:assert/strict";
import { EnvError, readEnv, variableNames } from "../../src/env.ts";
import { newSigningKey } from "../../scripts/laptop.ts";
import { newKek } from "../../src/secrets/keyring.ts";

const key = await newSigningKey("current");
const good = {
  DATABASE_URL: "postgres://service:word@localhost/db",
  PUBLIC_URL: "https://api.example.com",
  SIGNING_KEYS: JSON.stringify([key]),
  ENCRYPTION_KEYS: newKek("k1"),
};

function complaints(more: Record<string, string | undefined>): string[] {
  try {
    readEnv({ ...good, ...more });
  } catch (error) {
    assert.ok(error instanceof EnvError);
    const [title, ...lines] = error.message.split("\n");
    assert.equal(title, "Switchboard cannot start:");
    return lines;
  }
  return [];
}

Deno.test("readEnv takes the four that must be set, and has a default for every other", () => {
  const env = readEnv(good);
  assert.deepEqual([env.DATABASE_POOL, env.KEY_ENVIRONMENT, env.LOG_LEVEL], [10, "live", "info"]);
  assert.deepEqual([env.TRUST_FORWARDED_FOR, env.ALLOW_PRIVATE_HOSTS], [false, false]);
  assert.deepEqual(env.SIGNING_KEYS, [key]);
  const empty = Object.fromEntries(variableNames.map((name) => [name, ""]));
  assert.deepEqual(readEnv({ ...empty, ...good }), env, "an empty variable is one not set");
  assert.equal(
    complaints(Object.fromEntries(Object.keys(good).map((n) => [n, undefined]))).length,
    4,
  );
});

const wrong: Record<string, string[]> = {
  DATABASE_URL: ["localhost", "http://localhost/db", "postgres//x"],
  DATABASE_DRIVER: ["mysql"],
  DATABASE_POOL: ["0", "201", "1.5", "-1", "ten", " 5"],
  PUBLIC_URL: ["api.example.com", "https://api.example.com/", "ftp://x", "https://x/path"],
  SIGNING_KEYS: [
    "nonsense",
    "[]",
    "{}",
    JSON.stringify([{ ...key, state: "next" }]),
    JSON.stringify([key, key]),
    JSON.stringify([{ ...key, d: "short" }]),
    JSON.stringify([{ ...key, more: 1 }]),
  ],
  ENCRYPTION_KEYS: ["k1", "k1:short", "K1:x", `${newKek("a")},${newKek("a")}`, ","],
  KEY_ENVIRONMENT: ["x", "Live", "live_1", "productions"],
  LOG_LEVEL: ["WARN", "all"],
  REQUESTS_PER_MINUTE: ["0", "1e3", "1000001"],
  TENANT_REQUESTS_PER_MINUTE: ["-5"],
  TRUST_FORWARDED_FOR: ["true", "yes"],
  ALLOW_PRIVATE_HOSTS: ["on"],
};

for (const [name, values] of Object.entries(wrong)) {
  Deno.test(`readEnv refuses a wrong ${name} in one sentence that does not repeat it`, () => {
    for (const value of values) {
      const lines = complaints({ [name]: value });
      assert.equal(lines.length, 1, `${value}: ${lines.join()}`);
      assert.match(lines[0] ?? "", new RegExp(`^  ${name} is not right\\. [A-Z].*[^.]\\.$`), value);
      if (value.length > 20) assert.ok(!lines[0]?.includes(value));
    }
  });
}

Deno.test("readEnv wants both Upstash variables or neither", () => {
  const [url, token] = ["https://x.upstash.io", "word"];
  const [missing] = complaints({ UPSTASH_REDIS_REST_URL: url });
  assert.match(missing ?? "", /^ {2}UPSTASH_REDIS_REST_TOKEN is not set\. Set both/);
  const [other] = complaints({ UPSTASH_REDIS_REST_TOKEN: token });
  assert.match(other ?? "", /^ {2}UPSTASH_REDIS_REST_URL is not set\. Set both/);
  const both = { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token };
  assert.deepEqual(complaints(both), []);
  assert.equal(complaints({ ...both, UPSTASH_REDIS_REST_URL: "x.upstash.io" }).length, 1);
});
