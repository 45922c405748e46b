/** No change without its record: every mutation leaves one audit entry and an event, or nothing at all. */
import assert from "node:assert/strict";
import { fingerprints } from "./catalogue.ts";
import { isJson, trpcPost } from "./doors.ts";
import { type Example, example } from "./examples.ts";
import { entries, house } from "./house.ts";
import type { Statement } from "./tap.ts";

/** Mutations that leave no entry of their own. Shrinks only. */
const exempt: Readonly<Record<string, string>> = {
  "identity.auth.refresh": "It moves a counter only the session's holder knows; reuse is recorded",
  "chat.send": "What is said by the thousand has its usage row and its messages as its record",
};

/** Mutations that are more than one step, each step with its own entry. */
const several: Readonly<Record<string, string[]>> = {
  "identity.invitations.accept": ["user.created", "invitation.accepted"],
  "identity.sso.complete": ["sso.completed", "session.opened"],
};

const taken = "A try is counted before the password or the code is checked";

/** Tables a mutation may write in a transaction of its own, without an entry there. */
const beside: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "identity.auth.signIn": { user_security: taken },
  "identity.auth.changePassword": { user_security: taken },
  "identity.secondFactor.begin": { user_security: taken },
  "identity.secondFactor.disable": { user_security: taken },
  "identity.secondFactor.recoveryCodes": { user_security: taken },
  "identity.sso.complete": {
    sso_flows: "Used up before the provider is asked; what comes of it is recorded",
  },
  "platforms.connections.complete": {
    oauth_flows: "Claimed before the provider is asked; what comes of it is recorded",
  },
};

/** What may be written beside the change: machinery that says nothing about it. */
const machinery = /^(idempotency_keys|data_keys|encryption_keys|leases|instances|cache_epochs)$/;

const field = await house();
const { w, tap, superuser } = field;
const side = await field.side(field.root.tenantId, "Harbour Bakery");
const mutations = entries.filter(({ type }) => type === "mutation");

type Written = { table: string; transaction: number };

const written = (statements: Statement[]): Written[] =>
  statements.flatMap(({ text, transaction }) => {
    const table = /^\s*(?:insert into|update|delete from) "?(\w+)"?/i.exec(text)?.[1];
    return table ? [{ table, transaction }] : [];
  });

/** One call of `path` as a client makes it, with everything it said to the database. */
async function called(path: string, made?: Required<Example>) {
  const { input, as, secrets } = made ?? await example(field, side, path);
  tap.heard = [];
  tap.listening = true;
  const { url, init } = trpcPost(path, input);
  const answer = await w.request(url, init, as);
  tap.listening = false;
  const body = await answer.text();
  return { answer, body, input, as, secrets, writes: written(tap.heard) };
}

const trailOf = async () => [
  ...await superuser(
    "select 'audit_entries' as table, id, to_jsonb(t)::text as text from audit_entries t",
  ),
  ...await superuser("select 'events' as table, id, to_jsonb(t)::text as text from events t"),
];

/** Every text in an input or an answer that is nobody's business. */
function secretsIn(value: unknown, name = ""): string[] {
  if (typeof value === "string") {
    return /secret|password|token|^key$|^code$/i.test(name) && value.length > 7 ? [value] : [];
  }
  if (Array.isArray(value)) return value.flatMap((item) => secretsIn(item, name));
  return isJson(value)
    ? Object.entries(value).flatMap(([name, part]) => secretsIn(part, name))
    : [];
}

/** Texts with such names that are no secrets: masks, fingerprints, moments. */
const harmless = (text: string) => /^(\*{8}|Bearer|fp:\w+|\d{4}-\d\d-.*Z)$/.test(text);

for (const { path } of mutations) {
  Deno.test(`${path} leaves one audit entry and its event, in its own transaction`, async () => {
    const made = await example(field, side, path);
    const before = new Set((await trailOf()).map(({ id }) => id));
    const wrong = await called(path, { ...made, input: { nothing: "of the kind" } });
    assert.equal(wrong.answer.status, 400, path);
    assert.equal((await trailOf()).length, before.size, `${path} left something and was refused`);
    const { answer, body, input, as, secrets, writes } = await called(path, made);
    assert.ok(answer.ok, body);
    const left = (await trailOf()).filter(({ id }) => !before.has(id));
    const count = (table: string) => left.filter((row) => row.table === table).length;
    const expected = path in exempt ? 0 : several[path]?.length ?? 1;
    const hint = "record(ctx, …) and publish(ctx, …) inside the verb's transact";
    assert.equal(count("audit_entries"), expected, `${path}: ${hint}, once each`);
    assert.ok(count("events") >= expected, `${path}: ${hint}`);

    const changes = new Set(
      writes.filter(({ table }) => !machinery.test(table) && !beside[path]?.[table])
        .map(({ transaction }) => transaction),
    );
    for (const transaction of path in exempt ? [] : changes) {
      const tables = writes.filter((write) => write.transaction === transaction)
        .map(({ table }) => table);
      assert.ok(
        tables.includes("audit_entries") && tables.includes("events"),
        `${path} changes ${tables} in a transaction without its record`,
      );
    }
    const hidden = [...secrets, ...secretsIn(input), ...secretsIn(JSON.parse(body))]
      .filter((text) => !harmless(text));
    const trail = left.map(({ text }) => String(text)).join("\n");
    for (const secret of hidden) {
      assert.ok(!trail.includes(secret), `${path} wrote a secret into its trail`);
      assert.ok(
        !field.lines.some((line) => line.includes(secret)),
        `${path} wrote a secret into the log`,
      );
    }
    for (const { table, text } of left) {
      if (table !== "audit_entries" || path in exempt) continue;
      const row = JSON.parse(String(text));
      assert.equal(row.actor_id, as.actor.id ?? null, `${path}: the entry names who did it`);
      assert.equal(row.tenant_id, as.tenantId, path);
      assert.match(row.action, /^[a-z_]+\.[a-z_]+$/);
      assert.ok(row.request_id.length > 0);
    }
  });
}

/** Makes every write of one half of the trail fail, as a full disk would, while `work` runs. */
async function withoutRoom<T>(table: string, work: () => Promise<T>): Promise<T> {
  await superuser(`create function refuse() returns trigger language plpgsql as
    $$ begin raise exception 'the disk is full of canaries'; end $$`);
  await superuser(`create trigger refuse before insert on ${table}
    for each row execute function refuse()`);
  return await work().finally(() => superuser("drop function refuse() cascade"));
}

Deno.test("a change whose audit entry or event cannot be written does not happen", async () => {
  for (const { path } of mutations.filter(({ path }) => !(path in exempt))) {
    let made = await example(field, side, path);
    const counted = field.tables.filter(({ name }) => !beside[path]?.[name]);
    const prints = () => fingerprints(superuser, counted, made.as.tenantId);
    for (const table of ["audit_entries", "events"]) {
      if (table === "events" && beside[path]) made = await example(field, side, path);
      const before = await prints();
      field.lines.length = 0;
      const { answer, body } = await withoutRoom(table, () => called(path, made));
      assert.equal(answer.status, 500, `${path} answered ${answer.status}, no ${table}: ${body}`);
      assert.ok(!/canaries|disk/.test(body), `${path} tells the caller about our insides`);
      assert.deepEqual(await prints(), before, `${path} changed something without its ${table}`);
      for (const secret of [...made.secrets, ...secretsIn(made.input)]) {
        assert.ok(!field.lines.some((line) => line.includes(secret)), `${path} logged a secret`);
      }
    }
  }
});

Deno.test("queries write nothing", async () => {
  for (const entry of entries.filter(({ type }) => type === "query")) {
    const { input, as } = await example(field, side, entry.path);
    tap.heard = [];
    tap.listening = true;
    await w.knock(as, entry.path, input);
    tap.listening = false;
    assert.deepEqual(written(tap.heard), [], `${entry.path} is a query and writes`);
  }
});

Deno.test("the lists of this test name only what is there", async () => {
  const paths = mutations.map(({ path }) => path);
  const listed = [...Object.keys(exempt), ...Object.keys(several)];
  assert.deepEqual(listed.filter((path) => !paths.includes(path)), []);
  await field.close();
});
