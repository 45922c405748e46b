/** A request that carries an Idempotency-Key may be sent again: every change, on every surface. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { maintain } from "../../src/jobs.ts";
import { entries, type House, house, platform, type Side } from "../contract/house.ts";
import { example } from "../contract/examples.ts";
import { rest, trpcPost, withHeaders } from "../contract/doors.ts";
import { ROOT_TENANT } from "../../src/topics.ts";

const DAY_MS = 24 * 3600_000;
const all = entries.filter(({ type, meta }) => type === "mutation" && meta.permission);
const mutations = all.filter(({ meta }) => meta.anew === undefined);

let home: House;
let ours: Side;
Deno.test.beforeAll(async () => {
  home = await house();
  ours = await home.side(ROOT_TENANT, "Harbour Bakery");
});
Deno.test.afterAll(() => home.close());

const number = async (text: string) => Number((await home.superuser(text))[0]?.n);
const trailed = () =>
  number(`select (select count(*) from audit_entries) + (select count(*) from events) as n`);
const kept = () => home.superuser("select * from idempotency_keys order by id");

async function told(answer: Response) {
  const text = await answer.text();
  return { status: answer.status, text, etag: answer.headers.get("etag") };
}

for (const entry of mutations) {
  Deno.test(`${entry.path} with one Idempotency-Key has one effect and one answer`, async () => {
    const { input, as, secrets } = await example(home, ours, entry.path);
    await home.superuser("delete from idempotency_keys");
    const call = rest(entry, input) ?? trpcPost(entry.path, input);
    const { url, init } = withHeaders(call, { "idempotency-key": v7() });
    const send = async () => await told(await home.w.request(url, init, as));
    const first = await send();
    assert.ok(first.status < 300, first.text);
    const before = await trailed();
    assert.deepEqual(await send(), first);
    assert.equal(await trailed(), before, "the second one did something");
    const rows = await kept();
    assert.deepEqual(rows.map(({ state, procedure }) => [state, procedure]), [[
      "done",
      entry.path,
    ]]);
    const stored = JSON.stringify(rows);
    assert.match(String(rows[0]?.answer), /^sb1\./);
    for (const secret of [...secrets, ...secretsIn(first.text)]) {
      assert.ok(!stored.includes(secret), "a secret lies open in idempotency_keys");
    }
    const other = trpcPost(entry.path, { ...Object(input), more: 1 });
    const key = new Headers(init.headers).get("idempotency-key") ?? "";
    const reused = withHeaders(other, { "idempotency-key": key });
    assert.equal((await told(await home.w.request(reused.url, reused.init, as))).status, 422);
  });
}

/** What these were proved with is used up, or another, the second time. */
const spending = [
  "identity.auth.changePassword",
  "identity.secondFactor.disable",
  "identity.secondFactor.recoveryCodes",
];

for (const entry of all.filter(({ meta }) => meta.anew !== undefined)) {
  Deno.test(`${entry.path} takes no heed of the key, and nothing of its answer is kept`, async () => {
    const { input, as } = await example(home, ours, entry.path);
    await home.superuser("delete from idempotency_keys");
    const call = rest(entry, input) ?? trpcPost(entry.path, input);
    const { url, init } = withHeaders(call, { "idempotency-key": v7() });
    for (let time = 0; time < 2; time++) {
      const answer = await told(await home.w.request(url, init, as));
      const isSpent = time > 0 && spending.includes(entry.path);
      assert.ok(
        isSpent ? answer.status >= 400 && answer.status < 500 : answer.status < 300,
        answer.text,
      );
    }
    assert.deepEqual(await kept(), []);
  });
}

const secretsIn = (text: string) => text.match(/sb_[a-z]+_\w+|provider-\w+-[\w-]+/g) ?? [];

/** Creates an API key called `name`; answers its id. */
async function createKey(
  key: string,
  { as = ours.boss, name = "robot", order = ["name", "scopes"] } = {},
) {
  const fields: Record<string, unknown> = { name, scopes: ["platforms.read"] };
  const body = JSON.stringify(Object.fromEntries(order.map((field) => [field, fields[field]])));
  const headers = { "idempotency-key": key };
  const answer = await home.w.request("/api/v1/api-keys", { method: "POST", headers, body }, as);
  const { api_key, reason, errors } = await answer.json();
  return { status: answer.status, id: api_key?.id, reason, field: errors?.[0]?.field };
}

Deno.test("once keeps apart two people, two procedures and two tenants with one key", async () => {
  const key = v7();
  const theirs = await home.side(ROOT_TENANT, "Nordwind");
  const second = await home.w.person(ours.tenantId, "admin", { grants: ours.boss.grants });
  const made = await Promise.all(
    [ours.boss, second, theirs.boss].map((as) => createKey(key, { as })),
  );
  assert.equal(new Set(made.map(({ id }) => id)).size, 3);
  const { name } = await platform(home);
  const config = { clientId: "a", clientSecret: "b" };
  const more = { idempotencyKey: key };
  await home.w.as(ours.boss, more).platforms.services.register({ serviceName: name, config });
  assert.equal((await createKey(key)).id, made[0]?.id);
});

Deno.test("once takes equal requests for one, whatever the order and the surface", async () => {
  const key = v7();
  const first = await createKey(key);
  assert.deepEqual(await createKey(key, { order: ["scopes", "name"] }), first);
  const input = { name: "robot", scopes: ["platforms.read"] as "platforms.read"[] };
  const again = await home.w.as(ours.boss, { idempotencyKey: key }).identity.apiKeys.create(input);
  assert.equal(again.apiKey.id, first.id);
  assert.ok(again.apiKey.createdAt instanceof Date);
  assert.equal((await createKey(key, { name: "other" })).reason, "idempotency_key.reused");
});

Deno.test("once frees the key of a request that failed", async () => {
  const key = v7();
  const name = `Post ${v7()}`;
  const register = () =>
    home.w.as(ours.boss, { idempotencyKey: key }).platforms.services
      .register({ serviceName: name, config: { clientId: "a", clientSecret: "b" } });
  await assert.rejects(register(), /active platform/);
  await home.w.as(home.w.operator).platforms.catalogue.create({ name, serviceType: "email" });
  const { platform: made } = await register();
  assert.equal((await register()).platform.id, made.id);
});

Deno.test("once refuses a key that is none, and names the header", async () => {
  for (const key of ["", "two words", "x".repeat(256)]) {
    const { status, field } = await createKey(key);
    assert.deepEqual([status, field], [400, "Idempotency-Key"], key);
  }
  assert.equal((await createKey("x".repeat(255))).status, 201);
});

Deno.test("signIn takes no heed of the key: each sign-in is a session", async () => {
  await home.superuser("delete from idempotency_keys");
  const key = v7();
  const signIn = async () => {
    const body = JSON.stringify({ email: ours.email, password: ours.password });
    const headers = { "idempotency-key": key };
    const answer = await home.w.request("/api/v1/auth/sign-in", { method: "POST", headers, body });
    return (await answer.json()).refresh_token;
  };
  const [one, two] = [await signIn(), await signIn()];
  assert.ok(typeof one === "string" && one !== two);
  assert.deepEqual(await kept(), []);
});

Deno.test("once lets a key be used anew after a day, and the sweep removes it", async () => {
  const key = v7();
  const first = await createKey(key, { name: "first" });
  const { now } = home.w.process;
  const as = home.w.as(ours.boss, {
    idempotencyKey: key,
    now: () => new Date(now().getTime() + DAY_MS + 1),
  });
  const next = await as.identity.apiKeys.create({ name: "second", scopes: ["platforms.read"] });
  assert.notEqual(next.apiKey.id, first.id);
  assert.equal(next.apiKey.name, "second");

  const before = await number("select count(*) as n from idempotency_keys");
  await home.superuser(`insert into idempotency_keys
    (tenant_id, id, principal, procedure, key_hash, request_hash, holder, lease_until, expires_at)
    select '${ours.tenantId}', gen_random_uuid(), 'p', 'q', i::text, 'r', gen_random_uuid(),
      now(), now() - interval '1 minute' from generate_series(1, 2500) i`);
  await maintain(home.w.process);
  assert.equal(await number("select count(*) as n from idempotency_keys"), before);
});
