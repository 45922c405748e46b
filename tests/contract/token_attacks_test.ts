/** Nobody is let in by what is not a token or key that holds: every attempt at every door, before the input is read. */
import assert from "node:assert/strict";
import { tokens } from "../../src/access/tokens.ts";
import { ladder, type Permission, permissions } from "../../src/access/permissions.ts";
import { systemRoles, teamsKeys } from "../../src/access/roles.ts";
import { app } from "../../src/app.ts";
import { newSigningKey } from "../../scripts/laptop.ts";
import { unmoved } from "../kit.ts";
import {
  type Call,
  placesOf,
  restEntries,
  rests,
  statusOf,
  trpc,
  trpcGet,
  withHeaders,
} from "./doors.ts";
import { entries, everything, house, streams } from "./house.ts";
import { type Attempt, bearer, damages, forgeries, type Loot, resigned } from "./token_attacks.ts";
import { isLeft, lose, losses, type Person, person, type Where } from "./token_states.ts";

const isProof = Deno.env.get("PROVE") === "1";
/** How many of the thousands of ways to damage a token are tried at one door, others at each. */
const DAMAGES_EACH = 8;

/** `isTeams`: it lets in who comes for a team, and no person whatever they hold. */
type Door = { name: string; permission: Permission; call: Call; isTeams: boolean };
/** What is tried: which answer is right at a door, or null where it must be let in. */
type Trial = Attempt & { right: (door: Door) => 401 | 403 | null; isTeams?: boolean };

const h = await house();
const { w } = h;
/** The clock stands still: everything is tried within the life of one token. */
const start = w.process.now();
Object.assign(w.process, { now: () => start });

/** An input nobody could take: who is let in hears 400 or 404, and changes nothing. */
const noInput = { thisFieldDoesNotExist: true };

async function doorsOfAll(): Promise<Door[]> {
  const guarded = entries.flatMap((entry): Door[] => {
    const { permission } = entry.meta;
    if (!permission) return [];
    return [trpc(entry, noInput), ...rests(entry, noInput)].map((call): Door => {
      return { name: `${call.init.method} ${call.url}`, permission, call, isTeams: false };
    });
  });
  const streaming = streams.flatMap(({ path, permission }): Door[] =>
    permission
      ? [{ name: `GET ${path}`, permission, call: trpcGet(path, noInput), isTeams: false }]
      : []
  );
  return [...guarded, ...streaming, ...await otherDoors()];
}

/** Routes that are no procedure's and turn strangers away; a caller without rights hears what they need. */
async function otherDoors(): Promise<Door[]> {
  const procedural = new Set(
    restEntries.map(({ rest }) => rest.path.replaceAll(/\{(\w+)\}/g, ":$1")),
  );
  const nobody = { ...w.operator, grants: {} };
  const doors: Door[] = [];
  for (const path of new Set(w.hono.routes.map(({ path }) => path))) {
    if (procedural.has(path)) continue;
    const url = path.replaceAll(/:\w+(\{[^}]*\})?/g, crypto.randomUUID()).replace("*", "me");
    for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
      const call = { url, init: { method } };
      if (await askAt(call, { kind: "" }) !== 401) continue;
      const answer = await w.request(url, { method }, nobody);
      const refusal = await answer.text();
      if (answer.status !== 403) continue; // A proof of another kind is missing there.
      const permission = permissions.find((p) => refusal.includes(`the permission ${p}"`));
      assert.ok(permission, `${method} ${url} says not which permission it needs: ${refusal}`);
      const anybody = await w.request(url, { method }, h.root.boss);
      await anybody.body?.cancel();
      const isTeams = anybody.status === 403;
      doors.push({ name: `${method} ${path}`, permission, call, isTeams });
    }
  }
  return doors;
}

/** Asks through the front door; `front` is the app of a process that knows no key yet. */
async function askAt(call: Call, { headers = {}, query = {} }: Attempt, front = w.hono) {
  const more = new URLSearchParams(query).toString();
  const url = more ? `${call.url}${call.url.includes("?") ? "&" : "?"}${more}` : call.url;
  const { init } = withHeaders({ url, init: call.init }, headers);
  return await statusOf(await front.fetch(new Request(`${w.env.PUBLIC_URL}${url}`, init)));
}

const count = {
  attempts: 0,
  let: 0,
  kinds: new Map<string, number>(),
  doors: new Map<string, number>(),
};
const breaches: string[] = [];

async function tryAt(door: Door, trial: Trial, front = w.hono) {
  const good = door.isTeams && !trial.isTeams ? 403 : null;
  const right = trial.right(door) ?? good;
  const status = await askAt(door.call, trial, front);
  if (right === null) {
    count.let++;
    assert.ok(
      status !== 401 && status !== 403,
      `${trial.kind} is refused at ${door.name}: ${status}`,
    );
    return;
  }
  count.attempts++;
  count.doors.set(door.name, (count.doors.get(door.name) ?? 0) + 1);
  count.kinds.set(trial.kind, (count.kinds.get(trial.kind) ?? 0) + 1);
  const said = JSON.stringify(trial.headers ?? trial.query ?? {}).slice(0, 200);
  if (status !== right) breaches.push(`${door.name}: ${trial.kind}: ${status} to ${said}`);
  if (h.lines.length > 10_000) h.lines.length = 0;
}

/**
 * What is tried at one door. Every kind is; of the many of a kind every twelfth at two doors and
 * others at the next two, since the road behind the doors is one.
 */
function shareOf(trials: Trial[], place: number): Trial[] {
  if (isProof) return trials;
  const kinds = new Set<string>();
  return trials.filter(({ kind }, n) => {
    const isFirst = !kinds.has(kind);
    kinds.add(kind);
    return isFirst || n % 12 === Math.floor(place / 2) % 12;
  });
}

const refused = (attempt: Attempt): Trial => ({ ...attempt, right: () => 401 });
const letIn = (attempt: Attempt): Trial => ({ ...attempt, right: () => null });
/** A team's key that holds opens what is a team's, and is known and turned away elsewhere. */
const teams = (attempt: Attempt): Trial => ({
  ...attempt,
  isTeams: true,
  right: ({ permission }) => teamsKeys[permission] ? null : 403,
});
const key = (kind: string, text: string): Attempt => ({ kind, headers: { "x-api-key": text } });

/** A fingerprint of every row of every table. A key's last use is written by whoever may use it. */
async function prints() {
  const all: Record<string, unknown> = {};
  for (const { name } of h.tables) {
    const [row] = await h.superuser(
      `select count(*) || ':' || coalesce(md5(string_agg(r, '|' order by r)), '') as print
       from (select (to_jsonb(t) - 'last_used_at')::text as r from "${name}" t) rows`,
    );
    all[name] = row?.print;
  }
  return all;
}

/** Nothing was let in, and nothing changed by it. */
async function assertHeld(work: () => Promise<void>) {
  const before = await prints();
  await work();
  const after = await prints();
  const shown = breaches.splice(0);
  const more = shown.length > 20 ? `\nand ${shown.length - 20} more` : "";
  assert.ok(shown.length === 0, `Let in or misheard:\n${shown.slice(0, 20).join("\n")}${more}`);
  assert.deepEqual(after, before, "An attempt that was refused changed something");
}

const doors = await doorsOfAll();
const honest = await person(h);

Deno.test("every door lets in a real token, a key, and a token signed again word for word", async () => {
  const loot = lootOf(honest, "http://127.0.0.1:9");
  const good = [
    ...[
      bearer("a real token", honest.token),
      bearer("a token for a tenant below", honest.acting),
      bearer("the token signed again", resigned(loot)),
      key("a key", honest.key),
      bearer("a key as a bearer", honest.key),
    ].map(letIn),
    teams(key("a team's key", honest.teamKey)),
    teams(bearer("a team's key as a bearer", honest.teamKey)),
  ];
  await assertHeld(async () => {
    for (const door of doors) for (const trial of good) await tryAt(door, trial);
  });
  assert.ok(doors.filter(({ isTeams }) => isTeams).length >= 4);
});

const [signing = await newSigningKey("current")] = w.env.SIGNING_KEYS;

const lootOf = ({ token, refreshToken, key }: Person, listener: string): Loot => ({
  token,
  refreshToken,
  key,
  signing,
  publicKey: { ...w.process.tokens.jwks.keys[0] },
  listener,
  now: w.process.now(),
});

/** Tokens of processes that are not ours, or whose key has been withdrawn. */
async function ofOthers(): Promise<Attempt[]> {
  const issued = await w.process.tokens.read(honest.token, w.process.now());
  const principal = issued?.standee.principal ?? w.operator;
  const other = async (kid: string, issuer: string) => {
    const keys = [{ ...await newSigningKey("current"), kid }];
    return (await (await tokens(keys, issuer)).sign(principal, w.process.now(), unmoved)).token;
  };
  const elsewhere = await tokens([signing], "https://another.example");
  const { token: theirs } = await elsewhere.sign(principal, w.process.now(), unmoved);
  return [
    bearer("another installation's key under our kid", await other(signing.kid, w.env.PUBLIC_URL)),
    bearer("a key that was withdrawn", await other("withdrawn", w.env.PUBLIC_URL)),
    bearer("our key at another address", theirs),
  ];
}

Deno.test("no door takes what only looks like a token or a key", async () => {
  let connections = 0;
  const listener = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    connections++;
    return Response.json({ keys: [] });
  });
  const loot = lootOf(honest, `http://127.0.0.1:${listener.addr.port}/keys`);
  const trials = [...forgeries(loot), ...await ofOthers()].map(refused);
  const ofTeams = forgeries({ ...loot, key: honest.teamKey }).map(refused);
  const damaged = damages(loot).map(refused);
  const step = isProof ? 1 : Math.ceil(damaged.length / DAMAGES_EACH);
  await assertHeld(async () => {
    for (const [place, door] of doors.entries()) {
      for (const trial of shareOf(trials, place)) await tryAt(door, trial);
      for (const trial of door.isTeams ? ofTeams : []) await tryAt(door, trial);
      for (let at = place % step; at < damaged.length; at += step) {
        await tryAt(door, damaged[at] ?? refused({ kind: "nothing" }));
      }
      await tryAt(door, letIn(bearer("the real token, after all that", honest.token)));
      await tryAt(door, teams(key("a team's key, after all that", honest.teamKey)));
    }
  });
  await listener.shutdown();
  assert.equal(connections, 0, "Somebody followed an address in a token");
});

const credentialOf = (kind: string, whose: Person, where: Where): Trial => {
  if (where === "team") return teams(key(kind, whose.teamKey));
  const { token, acting } = whose;
  return letIn(where === "key" ? key(kind, whose.key) : bearer(kind, { token, acting }[where]));
};

Deno.test("no door takes a token or key of somebody who lost what it says", async () => {
  const people = new Map<string, Person>();
  for (const what of Object.keys(losses)) people.set(what, await person(h));
  const trials: Trial[] = [];
  const some = doors.filter(({ isTeams }, place) => isProof || isTeams || place % 24 === 0);
  for (const [what, loss] of Object.entries(losses)) {
    const whose = people.get(what) ?? honest;
    for (const where of loss.of) {
      const good = credentialOf(`${what}: ${where}`, whose, where);
      for (const door of some) await tryAt(door, good); // The same, before.
      const right: Trial["right"] = ({ permission }) =>
        isLeft(loss, where, permission) ? null : loss.status;
      trials.push({ ...good, right });
    }
    // A team's key is the team's: it holds whatever becomes of who made it.
    if (!loss.of.includes("team")) trials.push(credentialOf(`${what}: a team`, whose, "team"));
    await lose(h, whose, loss);
  }
  // Keys are remembered for seconds: this process has not seen them. Standings are the same one's.
  const cold = app(w.process, {
    requestsPerMinute: 1_000_000,
    tenantRequestsPerMinute: 1_000_000,
    trustForwardedFor: false,
  });
  await assertHeld(async () => {
    for (const door of doors) {
      const isAsked = ({ isTeams }: Trial) => !isTeams || some.includes(door);
      for (const trial of trials.filter(isAsked)) await tryAt(door, trial, cold);
    }
  });
});

Deno.test("no door takes a token or key that lacks its permission, whatever else it has", async () => {
  const { as } = w;
  const issued = await w.process.tokens.read(honest.token, w.process.now());
  assert.ok(issued);
  const { standee: { principal } } = issued;
  const lacking = new Map<Permission, Attempt[]>();
  for (const lacked of new Set(doors.map(({ permission }) => permission))) {
    const attempts: Attempt[] = [];
    for (const reach of ladder) {
      const token = await w.token({ ...principal, grants: everything(reach, lacked) });
      attempts.push(bearer(`a token without the permission, ${reach}`, token));
    }
    const scopes = permissions.filter((p) => p !== lacked);
    const made = await as({ ...principal, grants: everything("tenant") })
      .identity.apiKeys.create({ name: "all but one", scopes });
    lacking.set(lacked, [...attempts, key("a key without the scope", made.key)]);
  }
  const lesser = Object.entries(systemRoles).filter(([name]) => name !== "operator");
  const roles: Trial[] = [];
  for (const [name, grants] of lesser) {
    const right: Trial["right"] = ({ permission }) => grants[permission] ? null : 403;
    roles.push({ ...bearer(`a token of ${name}`, await tokenOfRole(name)), right });
  }
  await assertHeld(async () => {
    for (const door of doors) {
      for (const attempt of lacking.get(door.permission) ?? []) {
        await tryAt(door, { ...attempt, right: () => 403 });
      }
      for (const trial of roles) await tryAt(door, trial);
    }
  });
});

/** A real token of somebody with one system role, which the database is asked about at every change. */
async function tokenOfRole(systemRole: string) {
  const someone = await w.person(honest.home, systemRole);
  const { home } = honest;
  const whose = { home, subject: someone.userId, session: null, acting: home };
  const { grants, homeEpoch, actingEpoch } = await w.process.standings.of(whose);
  const signing = { ...unmoved, homeEpoch, actingEpoch };
  return (await w.process.tokens.sign({ ...someone, grants }, w.process.now(), signing)).token;
}

Deno.test("every procedure has been tried at least 25 times", () => {
  const guarded = entries.filter(({ meta }) => meta.permission);
  const routes = guarded.flatMap(placesOf).length;
  const others = doors.length - guarded.length - routes;
  const { attempts, kinds, let: lets } = count;
  const least = Math.min(...doors.map(({ name }) => count.doors.get(name) ?? 0));
  console.log(
    `tokens: ${attempts} attempts of ${kinds.size} kinds at ${guarded.length} procedures, ` +
      `${routes} REST routes and ${others} doors of other routes: 0 accepted, at least ${least} a door; ` +
      `${lets} good ones let in`,
  );
  assert.ok(guarded.length > 0 && others > 0);
  assert.ok(least >= 25, `a door was tried ${least} times only`);
});

Deno.test.afterAll(() => h.close());
