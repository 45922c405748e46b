/** How somebody stands: believed while nothing has changed, asked once for each change, and never kept past it. */
import assert from "node:assert/strict";
import type { Database } from "../../db/client.ts";
import { everybodys, systemRoles } from "../../src/access/roles.ts";
import { union } from "../../src/access/permissions.ts";
import { standings, type Whose } from "../../src/access/standings.ts";
import {
  ada,
  below,
  databaseOf,
  namesIn,
  type Row,
  rowOf,
  tokenOf,
  type Truth,
  truth,
} from "./standing_rows.ts";

/** A database that answers when it is let, epochs known at once, and a clock that is turned by hand. */
function stage() {
  const at = truth();
  const clock = { ms: 1_000_000 };
  const asked: string[][] = [];
  const gate: { hold: Promise<void> | null; error: Error | null } = { hold: null, error: null };
  const epochOf: { ask: (tenant: string) => number | Promise<number> } = {
    ask: (tenant) => at.epochs.get(tenant) ?? 0,
  };
  const query: Database["query"] = async (statement): Promise<Row[]> => {
    const names = namesIn(statement);
    const { hold, error } = gate;
    asked.push(names);
    const row = rowOf(at, names[0] ?? "", names[3] ?? "");
    await hold;
    if (error) throw error;
    return [row];
  };
  const made = standings({
    database: databaseOf(query),
    epochOf: (tenant) => epochOf.ask(tenant),
    now: () => clock.ms,
    unknown: () => {},
  });
  /** Changes what the database holds, as a verb does: the epoch goes up with it. */
  const change = (tenant: string, to: Partial<Truth>) => {
    Object.assign(at, to);
    at.epochs.set(tenant, (at.epochs.get(tenant) ?? 0) + 1);
  };
  return { at, clock, asked, gate, epochOf, change, ...made };
}

const auditors = union(systemRoles.auditor ?? {}, everybodys);

/** Something that is answered when `free` is called. */
function held(gate: ReturnType<typeof stage>["gate"]) {
  const { promise, resolve } = Promise.withResolvers<void>();
  gate.hold = promise;
  return () => {
    if (gate.hold === promise) gate.hold = null;
    resolve();
  };
}
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("ofToken believes a token at once and asks nobody while no epoch is newer", () => {
  const { ofToken, asked, clock, at } = stage();
  const [token, acting] = [tokenOf(ada), tokenOf(below)];
  for (const ms of [0, 10_000, 200_000]) {
    clock.ms += ms;
    assert.equal(ofToken(token), token.standee);
    assert.equal(ofToken(acting), acting.standee);
  }
  at.epochs.set("harbour", 2); // Known here from before the token was signed.
  assert.equal(ofToken(token), token.standee);
  assert.deepEqual(asked, []);
});

Deno.test("ofToken asks once for a change at home or where somebody acts, and says what holds now", async () => {
  for (const [whose, tenant] of [[ada, "harbour"], [below, "harbour"], [below, "below"]] as const) {
    const { ofToken, asked, change } = stage();
    change(tenant, { role: "auditor", networks: ["10.0.0.0/8"] });
    const token = tokenOf(whose);
    const standee = await ofToken(token);
    assert.deepEqual(
      standee?.principal.grants,
      whose === ada ? auditors : systemRoles.auditor,
      tenant,
    );
    assert.deepEqual(standee?.networks, ["10.0.0.0/8"]);
    assert.deepEqual({ ...standee?.principal, grants: 0 }, {
      ...token.standee.principal,
      grants: 0,
    });
    assert.deepEqual(asked, [[whose.home, whose.subject, "tab", whose.acting]]);
    for (let i = 0; i < 10; i++) assert.equal(ofToken(token), standee); // At once.
    assert.equal(asked.length, 1);
    change(tenant, { role: null });
    assert.equal(await ofToken(token), null);
    assert.equal(ofToken(token), null);
    assert.equal(asked.length, 2);
  }
});

Deno.test("ofToken refuses a token that was ended by its id, and no other of the session", async () => {
  const { ofToken, change } = stage();
  change("harbour", { revoked: ["jti 2"] });
  assert.equal(await ofToken(tokenOf(ada, { id: "jti 2" })), null);
  assert.ok(await ofToken(tokenOf(ada, { id: "jti 3" })));
  assert.equal(await ofToken(tokenOf(ada, { id: "jti 2" })), null);
});

Deno.test("ofToken asks from where before it believes a token of a tenant with a list", async () => {
  const { ofToken, asked, at } = stage();
  at.networks = ["10.0.0.0/8"];
  const token = tokenOf(ada, { isListed: true });
  assert.deepEqual((await ofToken(token))?.networks, ["10.0.0.0/8"]);
  assert.deepEqual((await ofToken(token))?.networks, ["10.0.0.0/8"]);
  assert.equal(asked.length, 1);
});

Deno.test("of asks once however many wait, and again once for each change they wait for", async () => {
  const { of, asked, gate, change } = stage();
  const free = held(gate);
  const early = Array.from({ length: 100 }, () => of(ada));
  await settled();
  change("harbour", { role: "member" });
  const late = Array.from({ length: 100 }, () => of(ada)); // They find the first question too old.
  await settled();
  assert.equal(asked.length, 1);
  free();
  for (const standing of await Promise.all(early)) assert.deepEqual(standing.grants, auditors);
  for (const standing of await Promise.all(late)) {
    assert.deepEqual(standing.grants, systemRoles.member);
  }
  assert.equal(asked.length, 2);
  await of(ada);
  assert.equal(asked.length, 2);
});

Deno.test("of never uses an answer read before a change after it, in whatever order answers come", async () => {
  for (const stoodMs of [0, 6_000]) { // Whether the newer answer is still new or has stood a while.
    const { of, asked, gate, change, clock } = stage();
    const freeOld = held(gate);
    const old = of(ada);
    await settled();
    change("harbour", { role: null });
    clock.ms += 5_000; // The old question is not joined any more.
    gate.hold = null;
    assert.equal((await of(ada)).holds, false);
    clock.ms += stoodMs;
    freeOld();
    assert.equal((await old).holds, true); // Whoever asked before the change.
    assert.equal((await of(ada)).holds, false);
    assert.equal(asked.length, 2, "the late answer overwrote the newer one");
  }
});

Deno.test("of joins no question that hangs for longer than the bound", async () => {
  const { of, asked, gate, clock } = stage();
  const free = held(gate);
  const first = of(ada);
  clock.ms += 4_999;
  const joined = of(ada);
  clock.ms += 1;
  gate.hold = null;
  await of(ada);
  assert.equal(asked.length, 2);
  free();
  await Promise.all([first, joined]);
});

Deno.test("of asks again when what it knows has run out by itself", async () => {
  const { of, asked, at, clock } = stage();
  at.until = new Date(clock.ms + 60_000).toISOString();
  await of(ada);
  clock.ms += 59_999;
  await of(ada);
  assert.equal(asked.length, 1);
  Object.assign(at, { role: null, until: null });
  clock.ms++;
  const all = await Promise.all(Array.from({ length: 10 }, () => of(ada)));
  assert.ok(all.every(({ holds }) => !holds));
  assert.equal(asked.length, 2);
});

Deno.test("a question that fails lets nobody in and is not kept", async () => {
  const { of, ofToken, asked, gate, change } = stage();
  change("harbour", {});
  gate.error = new Error("away");
  const waiting = Array.from({ length: 10 }, () => Promise.resolve(ofToken(tokenOf(ada))));
  for (const { status } of await Promise.allSettled(waiting)) assert.equal(status, "rejected");
  assert.equal(asked.length, 1);
  await assert.rejects(Promise.resolve(of(ada)), /away/);
  gate.error = null;
  assert.ok(await ofToken(tokenOf(ada)));
  assert.equal(asked.length, 3);
});

Deno.test("nobody is believed while an epoch cannot be learned", async () => {
  const { ofToken, of, epochOf, asked } = stage();
  for (const away of ["harbour", "below"]) {
    epochOf.ask = (tenant) => tenant === away ? Promise.reject(new Error("away")) : 0;
    await assert.rejects(Promise.resolve(ofToken(tokenOf(below))), /away/);
    await assert.rejects(Promise.resolve(of(below)), /away/);
  }
  assert.deepEqual(asked, []);
  epochOf.ask = () => Promise.resolve(3);
  assert.ok(await ofToken(tokenOf(ada)));
});

Deno.test("what nobody answered for holds for nobody", async () => {
  const rows: Row[][] = [[], [{}], [{ holds: "true" }], [{ holds: 1, grants: null }]];
  for (const answer of rows) {
    const { of } = standings({
      database: databaseOf(() => Promise.resolve(answer)),
      epochOf: () => 0,
      now: () => 0,
      unknown: () => {},
    });
    const { holds, grants } = await of(ada);
    assert.deepEqual([holds, grants], [false, {}]);
  }
});

Deno.test("two people, sessions or tenants are never one, however their names run together", async () => {
  const { of, asked } = stage();
  const all: Whose[] = [
    { home: "a", subject: "b", session: "c", acting: "d" },
    { home: "ab", subject: "", session: "c", acting: "d" },
    { home: "a", subject: "bc", session: "", acting: "d" },
    { home: "a", subject: "b", session: "", acting: "cd" },
    { home: "a", subject: "b", session: null, acting: "d" },
    { home: "a", subject: "b", session: "cd", acting: "" },
    { home: "d", subject: "b", session: "c", acting: "a" },
  ];
  for (const whose of all) await of(whose);
  assert.equal(asked.length, all.length);
});

Deno.test("of asks again when the database went back to an earlier time, and keeps what it says", async () => {
  const { of, ofToken, asked, at, clock } = stage();
  at.epochs.set("harbour", 40);
  const token = tokenOf(ada, { homeEpoch: 39, actingEpoch: 39 });
  assert.ok(await ofToken(token));
  Object.assign(at, { role: null, epochs: new Map([["harbour", 7]]) }); // Restored, and revoked since.
  clock.ms += 5_000;
  assert.equal((await of(ada)).holds, false);
  assert.equal((await of(ada)).holds, false);
  assert.equal(asked.length, 2);
});
