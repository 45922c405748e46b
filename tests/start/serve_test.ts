/** A new installation on a plain Postgres: its first operator, its first start, its end. */
import assert from "node:assert/strict";
import { serving } from "../../scripts/serving.ts";
import { variableNames } from "../../src/env.ts";
import { type House, house } from "../db/house.ts";
import { failedStart, run, signIn, started, variablesFor } from "./service.ts";

let home: House;
let variables: Record<string, string>;
Deno.test.beforeAll(async () => {
  home = await house();
  variables = await variablesFor(home);
});
Deno.test.afterAll(async () => await home[Symbol.asyncDispose]());

const firstOperator = () =>
  run(["run", "-A", "scripts/first_operator.ts", "olive@example.com", "Olive", "Marsh"], variables);

/** One line that says it and what to do, and no stack. */
function assertSentence({ code, out, err }: Awaited<ReturnType<typeof failedStart>>, what: RegExp) {
  assert.equal(code, 1, err);
  assert.match(err, what);
  assert.ok(!/\n +at |file:\/\//.test(out + err), err);
  for (const value of [variables.SIGNING_KEYS, variables.ENCRYPTION_KEYS, secret]) {
    assert.ok(value && !err.includes(value.slice(-20)) && !out.includes(value.slice(-20)), err);
  }
}
const secret = "hunter2-hunter2-hunter2";
const urlWith = (change: (url: URL) => void) => {
  const url = new URL(home.url);
  change(url);
  return url.href;
};

Deno.test("src/main.ts serves with no more than its permissions, and ends when it is told", async () => {
  const made = await firstOperator();
  assert.equal(made.code, 0, made.err);
  const password = /^Password +(\S+)/m.exec(made.out)?.[1] ?? "";
  assert.match(made.out, /^Catalogue \d\d+ platforms$/m);
  assert.match((await firstOperator()).out, /has its operator already/);

  const service = await started(variables);
  const get = async (path: string) => {
    const answer = await fetch(service.url + path);
    return { status: answer.status, text: await answer.text() };
  };
  assert.deepEqual(await get("/health"), { status: 200, text: '{"status":"ok"}' });
  const ready = await get("/ready");
  assert.deepEqual(JSON.parse(ready.text), { status: "ready", database: "up", partitions: true });
  const jwks = JSON.parse((await get("/.well-known/jwks.json")).text);
  assert.deepEqual(Object.keys(jwks.keys[0]).filter((name) => name === "d"), []);
  for (const path of ["/docs", "/docs/reader.js", "/openapi.json"]) {
    assert.equal((await get(path)).status, 200, path);
  }
  const tokens = await (await signIn(service.url, { email: "olive@example.com", password })).json();
  const authorization = `Bearer ${tokens.access_token}`;
  const mine = await fetch(`${service.url}/api/v1/platforms`, { headers: { authorization } });
  const { platforms } = await mine.json();
  assert.ok(platforms.length > 10);

  const { code, err } = await service.stop();
  assert.deepEqual([code, err.includes("NotCapable")], [0, false], err);
  assert.equal(await home.count("select count(*) from instances"), 0, "it said that it ends");
});

Deno.test("`deno task serve` names every variable the service reads, and nothing of the disk", () => {
  const given = serving.join(" ");
  const patterns = /--allow-env=(\S+)/.exec(given)?.[1]?.split(",") ?? [];
  const isCovered = (name: string) =>
    patterns.some((p) => p.endsWith("*") ? name.startsWith(p.slice(0, -1)) : p === name);
  assert.deepEqual(variableNames.filter((name) => !isCovered(name)), []);
  assert.ok(!/allow-(all|read|write|run|ffi|sys)|-A/.test(given));
});

const wrong: [string, string | null, RegExp][] = [
  ["DATABASE_URL", null, /DATABASE_URL is not set\. Give the service role's address/],
  ["DATABASE_URL", `mysql://u:${secret}@host/db`, /DATABASE_URL is not right\. Give/],
  ["PUBLIC_URL", null, /PUBLIC_URL is not set\. Give the address clients use/],
  ["PUBLIC_URL", "https://api.example.com/", /PUBLIC_URL is not right\. Give/],
  ["SIGNING_KEYS", null, /SIGNING_KEYS is not set\. Make one with "deno task keys signing add"/],
  ["SIGNING_KEYS", `[{"kid":"${secret}"}]`, /SIGNING_KEYS is not right\. Make one with/],
  ["ENCRYPTION_KEYS", null, /ENCRYPTION_KEYS is not set\. Make one with "deno task keys add"/],
  [
    "ENCRYPTION_KEYS",
    `k1:${btoa(secret)}`,
    /ENCRYPTION_KEYS is not right\. Its key k1 is 23 bytes/,
  ],
  ["ENCRYPTION_KEYS", secret, /ENCRYPTION_KEYS is not right\. Its entry 1 is not of the form/],
  ["DATABASE_POOL", "many", /DATABASE_POOL is not right\. Give a whole number/],
  ["UPSTASH_REDIS_REST_TOKEN", secret, /UPSTASH_REDIS_REST_URL is not set\. Set both/],
  ["TRUST_FORWARDED_FOR", "yes", /TRUST_FORWARDED_FOR is not right\. Give 1 or 0/],
];

Deno.test("src/main.ts does not start with a variable missing or wrong, and says which", async () => {
  // Two at a time: each is a process of its own.
  for (let at = 0; at < wrong.length; at += 2) {
    await Promise.all(
      wrong.slice(at, at + 2).map(async ([name, value, sentence]) => {
        const { [name]: _, ...others } = variables;
        const given: Record<string, string> = value === null
          ? others
          : { ...others, [name]: value };
        assertSentence(await failedStart(given), sentence);
      }),
    );
  }
  const all = await failedStart({});
  for (const name of ["DATABASE_URL", "PUBLIC_URL", "SIGNING_KEYS", "ENCRYPTION_KEYS"]) {
    assert.match(all.err, new RegExp(`^  ${name} is not set`, "m"));
  }
});

Deno.test("src/main.ts does not start on a runtime that cannot check a password", async () => {
  assertSentence(
    await failedStart(variables, "tests/start/on_older_runtime.ts"),
    /no Argon2id: run it on Deno 2\.9 or newer/,
  );
});

Deno.test("src/main.ts says in a sentence why the database is of no use to it", async () => {
  await home.admin("create database empty_one");
  const bypassing = await home.login("strong", "bypassrls in role switchboard_service");
  const stranger = await home.login("stranger", "");
  const cases: [string, RegExp][] = [
    [urlWith((url) => url.port = "1"), /DATABASE_URL: 127\.0\.0\.1:1 does not answer/],
    [urlWith((url) => url.hostname = "no.such.host.invalid"), /does not answer|no such/],
    [urlWith((url) => url.password = secret), /refuses this user and password/],
    [urlWith((url) => url.pathname = "/nowhere"), /no such database/],
    [urlWith((url) => url.pathname = "/empty_one"), /run "deno task db:migrate"/],
    [stranger, /grant switchboard_service to it/],
    [home.adminUrl, /is superuser .*give a login that is only a member of switchboard_service/],
    [home.ownerUrl, /is an owner and the worker: give a login/],
    [bypassing, /is able to bypass row security: give a login/],
  ];
  for (let at = 0; at < cases.length; at += 2) {
    await Promise.all(
      cases.slice(at, at + 2).map(async ([DATABASE_URL, sentence]) => {
        assertSentence(await failedStart({ ...variables, DATABASE_URL }), sentence);
      }),
    );
  }
  await home.admin("drop database empty_one");
});
