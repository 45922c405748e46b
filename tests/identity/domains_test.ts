/** Domains: how names are read, what shows one to be a tenant's own, and what others learn of it. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { asSystem, read } from "../../src/context.ts";
import { isVerifiedDomain, normalised } from "../../src/identity/domains.ts";
import type { Person } from "../kit.ts";
import { home } from "./house.ts";
import { refusal, said } from "./said.ts";

const h = await home();
/** What the DNS answers; a name that is not here has no record. */
const zone = new Map<string, string[][]>();
const asked: string[] = [];
let asks = (name: string): Promise<string[][]> =>
  Promise.resolve(zone.get(name) ?? Promise.reject(new Error("queryTxt ENOTFOUND")));
h.w.process.resolveTxt = (name) => {
  asked.push(name);
  return asks(name);
};

const domainsOf = (person: Person) => h.w.as(person).identity.domains;
async function tenant() {
  const id = await h.tenantBelow();
  return { id, domains: domainsOf(await h.w.person(id, "admin")) };
}
const isVerified = (id: string, name: string) =>
  read(asSystem(h.w.process, id), (ctx) => isVerifiedDomain(ctx, name));
let names = 0;
const fresh = () => `name${names++}.example`;

Deno.test("a name is kept in lower case, in ASCII, without a dot at the end", () => {
  const kept: Record<string, string> = {
    "Example.COM": "example.com",
    " example.com. ": "example.com",
    "Bücher.example": "xn--bcher-kva.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "例え。jp": "xn--r8jz45g.jp",
    "a.b.c.d.example": "a.b.c.d.example",
    "1e3.example": "1e3.example",
  };
  for (const [given, name] of Object.entries(kept)) assert.equal(normalised(given), name, given);
});

Deno.test("what is no name of the DNS is none: addresses, single labels, parts of web addresses", () => {
  const none = ["", ".", "com", "localhost", "127.0.0.1", "0x7f.1", "2130706433", "[::1]", "::1"];
  none.push("example.com:443", "ada@example.com", "https://example.com", "example.com/x", "a..b");
  none.push("example.com?", "example.com#", "ex%61mple.com", "exam\tple.com", "exam ple.com");
  none.push("-a.example", "a-.example", "a_b.example", "*.example.com", "example.com..", "foo.123");
  none.push(
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(121)}example`,
    "xn--a.example",
    "\u0000.com",
  );
  for (const text of none) assert.equal(normalised(text), null, JSON.stringify(text));
});

Deno.test("normalised never throws, and what it answers it answers again", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.domain(), fc.webUrl()), (text) => {
    const name = normalised(text);
    if (name !== null) assert.equal(normalised(name), name);
  }));
});

Deno.test("create answers the record to publish, once for a name, and refuses what is none", async () => {
  const { id, domains } = await tenant();
  const { txtRecord, name, verifiedAt } = await domains.create({ name: "Hafen-Bäckerei.example." });
  assert.equal(name, "xn--hafen-bckerei-hfb.example");
  assert.equal(txtRecord.name, `_switchboard.${name}`);
  assert.match(txtRecord.value, /^switchboard-verification=[0-9a-f]{40}$/);
  assert.equal(verifiedAt, null);
  assert.equal(await said(domains.create({ name })), "domain.already_exists");
  const { more } = await refusal(domains.create({ name: "10.0.0.1" }));
  assert.deepEqual(more.fields?.map(({ field }) => field), ["name"]);
  assert.equal((await h.trail(id)).filter(({ action }) => action === "domain.created").length, 1);
});

Deno.test("verify asks the DNS for the record, and says what it looked for when it is not there", async () => {
  const { id, domains } = await tenant();
  const made = await domains.create({ name: fresh() });
  const { name, value } = made.txtRecord;
  const answers: [string[][] | null, RegExp][] = [
    [null, /has no such record/],
    [[], /has 0 TXT records/],
    [[["v=spf1 -all"], ["switchboard-verification=0"]], /has 2 TXT records, none of them this one/],
    [[[value.slice(0, -1)]], /has 1 TXT records/],
  ];
  for (const [records, says] of answers) {
    if (records) zone.set(name, records);
    else zone.delete(name);
    const { code, reason, message } = await refusal(domains.verify({ id: made.id }));
    assert.deepEqual([code, reason], ["Conflict", "domain.not_verified"]);
    assert.ok(message.includes(name) && message.includes(value), message);
    assert.match(message, says);
  }
  assert.equal(await isVerified(id, made.name), false);
  zone.set(name, [["other"], [value.slice(0, 20), value.slice(20)]]);
  asked.length = 0;
  const verified = await domains.verify({ id: made.id });
  assert.ok(verified.verifiedAt);
  assert.deepEqual(asked, [name]);
  assert.equal(await isVerified(id, made.name.toUpperCase()), true);
  assert.deepEqual(await domains.verify({ id: made.id }), verified);
  assert.equal(asked.length, 1, "a verified domain is not asked for again");
  assert.equal((await h.eventTypes(id)).filter((type) => type === "domain.verified").length, 1);
});

Deno.test("verify does not wait for a DNS that does not answer, and holds no transaction meanwhile", async () => {
  const { id, domains } = await tenant();
  const made = await domains.create({ name: fresh() });
  const usual = asks;
  const begun = Promise.withResolvers<void>();
  asks = () => {
    begun.resolve();
    return new Promise(() => {});
  };
  const waiting = refusal(domains.verify({ id: made.id }));
  await begun.promise;
  // The embedded database has one session: this would wait for the other's transaction.
  const read = domains.get({ id: made.id }).then(() => "read");
  assert.equal(await Promise.race([read, waiting.then(() => "refused")]), "read");
  const { reason, message } = await waiting;
  asks = usual;
  assert.equal(reason, "domain.not_verified");
  assert.match(message, /did not answer in time/);
  assert.equal(await isVerified(id, made.name), false);
});

Deno.test("a name is one tenant's: who shows it second is refused and does not learn whose it is", async () => {
  const [first, second] = [await tenant(), await tenant()];
  const name = fresh();
  const mine = await first.domains.create({ name });
  const theirs = await second.domains.create({ name });
  zone.set(mine.txtRecord.name, [[mine.txtRecord.value], [theirs.txtRecord.value]]);
  await first.domains.verify({ id: mine.id });
  const { code, reason, message } = await refusal(second.domains.verify({ id: theirs.id }));
  assert.deepEqual([code, reason], ["Conflict", "domain.taken"]);
  assert.ok(!message.includes(first.id) && !message.includes("Bakery"), message);
  assert.deepEqual([await isVerified(first.id, name), await isVerified(second.id, name)], [
    true,
    false,
  ]);
  await first.domains.delete({ id: mine.id });
  assert.equal(await isVerified(first.id, name), false);
  assert.ok((await second.domains.verify({ id: theirs.id })).verifiedAt);
});

Deno.test("list answers the tenant's own, verified or not, page by page", async () => {
  const { domains } = await tenant();
  const other = await tenant();
  await other.domains.create({ name: fresh() });
  const made = [];
  for (let n = 0; n < 3; n++) made.unshift(await domains.create({ name: fresh() }));
  const [last, , first] = made;
  assert.ok(last && first);
  zone.set(first.txtRecord.name, [[first.txtRecord.value]]);
  await domains.verify({ id: first.id });
  const ids = async (more: { isVerified?: boolean } = {}) =>
    (await domains.list(more)).domains.map(({ id }) => id);
  assert.deepEqual(await ids(), made.map(({ id }) => id));
  assert.deepEqual(await ids({ isVerified: true }), [first.id]);
  assert.deepEqual(await ids({ isVerified: false }), made.slice(0, 2).map(({ id }) => id));
  const page = await domains.list({ limit: 2 });
  const rest = await domains.list({ cursor: page.nextCursor ?? "" });
  assert.deepEqual([...page.domains, ...rest.domains].map(({ id }) => id), await ids());
});

Deno.test("domains of another tenant do not exist, and a permission for one's own things reaches none", async () => {
  const { id: tenantId, domains } = await tenant();
  const other = await tenant();
  const { id, name } = await domains.create({ name: fresh() });
  const self = {
    ...await h.w.person(tenantId, "admin"),
    grants: {
      "domains.read": "self",
      "domains.create": "self",
      "domains.verify": "self",
      "domains.delete": "self",
    } as const,
  };
  for (const stranger of [other.domains, domainsOf(self)]) {
    assert.equal(await said(stranger.get({ id })), "domain.not_found");
    assert.equal(await said(stranger.verify({ id })), "domain.not_found");
    assert.equal(await said(stranger.delete({ id })), "domain.not_found");
    assert.deepEqual((await stranger.list({})).domains.filter((one) => one.name === name), []);
  }
  assert.equal(await said(domainsOf(self).create({ name: fresh() })), "tenant.not_found");
  assert.equal((await domains.get({ id })).name, name);
});

Deno.test("verify and delete refuse a stale If-Match", async () => {
  const id = await h.tenantBelow();
  const admin = await h.w.person(id, "admin");
  const made = await domainsOf(admin).create({ name: fresh() });
  const stale = h.w.as(admin, { ifMatch: '"stale"' }).identity.domains;
  assert.equal(await said(stale.verify({ id: made.id })), "row.changed");
  assert.equal(await said(stale.delete({ id: made.id })), "row.changed");
  assert.equal(await said(domainsOf(admin).delete({ id: made.id })), "done");
});

Deno.test("the house of this test is closed", () => h.w.close());
