/** A whole campaign against one tenant: every attack on every procedure and route, judged one by one. */
import { createHmac } from "node:crypto";
import type { Entry } from "../../routers/procedures.ts";
import { tokens } from "../../src/access/tokens.ts";
import { newKey } from "../../src/access/key_text.ts";
import type { Principal } from "../../src/context.ts";
import { etagOf } from "../../src/etags.ts";
import { settled } from "../../src/teams/admission.ts";
import { newSigningKey } from "../../scripts/laptop.ts";
import { unmoved } from "../kit.ts";
import { type Attack, attacksOn, nobody, type Scene } from "./attacks.ts";
import { everyones, fingerprints } from "./catalogue.ts";
import { type Call, isJson, placesOf, restEntries, rests, trpc } from "./doors.ts";
import { connected, type Example, example } from "./examples.ts";
import { team } from "./examples/teams.ts";
import { entries, everything, furnish, type House, house, idsOf, type Side } from "./house.ts";
import { answerOf, breach, type Ours } from "./judge.ts";

export type Report = {
  /** By the stance they met. */
  attacks: Map<string, number>;
  /** How many different ways each procedure and route was attacked, by stance and path. */
  ways: Map<string, Set<string>>;
  breaches: string[];
  /** Calls of our own that should have worked and did not. */
  failures: string[];
};

/** What a stranger's failed sign-in may change of a person, and must. */
const leaving = { user_security: ["failed_sign_ins", "locked_until", "updated_at"] };

/** Two furnished tenants, one below ours, and everything an attacker could have got hold of. */
export async function battlefield() {
  const h = await house();
  const canary = `canary-${crypto.randomUUID().slice(0, 8)}`;
  const ours = await h.side(h.root.tenantId, `Ours ${canary}`);
  const theirs = await h.side(h.root.tenantId, "Theirs");
  const below = await h.side(ours.tenantId, "Below");
  const rows = await furnish(h, ours, canary);
  await furnish(h, theirs, "their-own");
  const made = await h.w.as(theirs.boss).identity.apiKeys.create({
    name: "all",
    scopes: Object.keys(everything("tenant")) as (keyof ReturnType<typeof everything>)[],
  });
  const attackers = {
    boss: theirs.boss,
    "one with subtree reach": { ...theirs.boss, grants: everything("subtree") },
    "one with self reach": { ...theirs.boss, grants: everything("self") },
    "a tenant below ours": { ...below.boss, grants: everything("subtree") },
  };
  const tagged = ["service_platforms", "platform_credentials", "user_platform_bindings"];
  const etags = tagged.flatMap((table) => {
    const { id, updated_at } = rows.get(table) ?? {};
    return typeof id === "string" && updated_at instanceof Date ? [etagOf(id, updated_at)] : [];
  });
  const { name: platform } = rows.get("platforms") ?? {};
  const names = [ours.email, String(platform), "admin", "%", "' or true --"];
  const forged = await forgeries(h, ours, theirs, String(rows.get("api_keys")?.id));
  // One id of each table; whoever is refused one row of a table is refused them all.
  const ids = [...rows].filter(([table]) => !everyones.has(table) && table !== "encryption_keys")
    .flatMap(([, { id }]) => typeof id === "string" ? [id] : []);
  const { id: teamId, apiKey } = await team(h, theirs);
  const keys = { person: made.key, team: apiKey };
  return { h, canary, ours, theirs, attackers, keys, teamId, etags, names, forged, ids };
}
export type Battlefield = Awaited<ReturnType<typeof battlefield>>;

const base64 = (value: unknown) =>
  new TextEncoder().encode(JSON.stringify(value)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });

/** Credentials that claim to be ours without anybody of ours having made them. */
async function forgeries({ w }: House, ours: Side, theirs: Side, ourKeyId: string) {
  const honest = await w.token(theirs.boss);
  const [head = "", body = "", signature = ""] = honest.split(".");
  const claims: unknown = JSON.parse(new TextDecoder().decode(
    Uint8Array.fromBase64(body, { alphabet: "base64url" }),
  ));
  const wanted = { tid: ours.tenantId, hid: ours.tenantId, sub: ours.boss.userId };
  const lie = base64({ ...(isJson(claims) ? claims : {}), ...wanted });
  const onlyTenant = base64({ ...(isJson(claims) ? claims : {}), tid: ours.tenantId });
  const { kid = "current", x = "" } = w.process.tokens.jwks.keys[0] ?? {};
  const hs256 = `${base64({ alg: "HS256", typ: "at+jwt", kid })}.${lie}`;
  const mac = createHmac("sha256", x).update(hs256).digest("base64url");
  const stranger = await tokens([{ ...await newSigningKey("current"), kid }], w.process.publicUrl);
  return [
    `${head}.${lie}.${signature}`,
    `${head}.${onlyTenant}.${signature}`,
    `${base64({ alg: "none", typ: "at+jwt" })}.${lie}.`,
    `${hs256}.${mac}`,
    (await stranger.sign(ours.boss, w.process.now(), unmoved)).token,
    newKey(w.process.keyEnvironment, ourKeyId).text,
  ];
}

/** What is open to all takes a proof: an attacker does not have it, so it is spoiled. */
function spoiled({ meta }: Entry, { input, secrets }: Required<Example>): unknown {
  if (meta.permission || !isJson(input)) return input;
  const spoil = (value: unknown) =>
    typeof value === "string" && secrets.includes(value)
      ? value.replace(/.$/, (last) => last === "A" ? "B" : "A")
      : value;
  return Object.fromEntries(Object.entries(input).map(([key, value]) => [key, spoil(value)]));
}

/** How the house stands while it is attacked: as it is, or with one of its two locks taken off. */
export type Stance = {
  name: string;
  enter: (h: House) => Promise<unknown> | void;
  leave: (h: House) => Promise<unknown> | void;
  /** The ways it is tried in. */
  way?: (way: string, entry: Entry) => boolean;
  /** What is put into a route's places: each of our ids by its place among them. */
  id?: (place: number, route: string) => boolean;
};
const asItIs: Stance = { name: "", enter: () => {}, leave: () => {} };

export type Only = {
  entry?: (entry: Entry) => boolean;
  way?: (way: string, entry: Entry) => boolean;
  /** Whether the first thing given away is enough. */
  isShort?: boolean;
  /** Whether our own calls are shown to work in every stance, not in one. */
  isWhole?: boolean;
};

/** In a short campaign what shows rows comes first: it tells soonest. */
function chosen({ entry: isMeant = () => true, isShort }: Only): Entry[] {
  const meant = entries.filter(isMeant);
  const isQuery = ({ type }: Entry) => type === "query";
  return isShort ? [...meant.filter(isQuery), ...meant.filter((entry) => !isQuery(entry))] : meant;
}

export const blank = (): Report => ({
  attacks: new Map(),
  ways: new Map(),
  breaches: [],
  failures: [],
});

/** Runs the attacks in each stance; `only` picks some of them. */
export async function campaign(
  field: Battlefield,
  only: Only = {},
  stances: Stance[] = [asItIs],
): Promise<Report> {
  const report = blank();
  const { h, ours, canary } = field;
  h.lines.length = 0;
  const secrets = [canary];
  for (const entry of chosen(only)) {
    const scene = await sceneOf(field, entry, secrets);
    const known: Ours = { ids: new Set(await idsOf(h, ours.tenantId)), secrets };
    await settled(h.w.process);
    const before = await fingerprints(h.superuser, h.tables, ours.tenantId, leaving);
    const attacks = attacksOn(entry, scene).filter(({ way }) => only.way?.(way, entry) ?? true);
    for (const stance of stances) {
      await stance.enter(h);
      for (const attack of attacks) {
        if (stance.way && !stance.way(attack.way, entry)) continue;
        if (only.isShort && report.breaches.length > 0) return report;
        // The tenth guess would close our account, and say so in our trail.
        if (entry.path === "identity.auth.signIn") await unlock(h);
        await strike(field, report, stance, entry.path, attack, known);
      }
      await stance.leave(h);
    }
    const after = await fingerprints(h.superuser, h.tables, ours.tenantId, leaving);
    const changed = Object.keys(before).filter((table) => before[table] !== after[table]);
    if (changed.length > 0) report.breaches.push(`${entry.path} let them change our ${changed}`);
    if (only.isShort && report.breaches.length > 0) break;
    if (!only.isShort) await controlled(field, report, entry, only.isWhole ? stances : [asItIs]);
  }
  const line = h.lines.find((line) => secrets.some((secret) => line.includes(secret)));
  if (line) report.breaches.push(`The log says ${line.slice(0, 300)}`);
  return report;
}

/** Takes back what their guesses at our password have done. */
const unlock = (h: House) =>
  h.superuser("update user_security set failed_sign_ins = 0, locked_until = null");

async function sceneOf(field: Battlefield, entry: Entry, secrets: string[]): Promise<Scene> {
  const { h, ours, theirs, attackers, keys, etags, names, forged, ids } = field;
  await unlock(h);
  const [victim, kept] = [await example(h, ours, entry.path), await example(h, ours, entry.path)];
  const own = await example(h, theirs, entry.path);
  secrets.push(...victim.secrets, ...kept.secrets);
  const idempotencyKey = crypto.randomUUID();
  const { url, init } = trpc(entry, kept.input);
  const headers = { "content-type": "application/json", "idempotency-key": idempotencyKey };
  const answer = await h.w.request(url, { ...init, headers }, kept.as);
  if (!answer.ok) throw new Error(`${entry.path}: our own call failed: ${await answer.text()}`);
  await answer.body?.cancel();
  return {
    theirs: { tenantId: theirs.tenantId, attackers, keys },
    ours: { tenantId: ours.tenantId, ids, names, etags, forged },
    victim: spoiled(entry, victim),
    own: own.input,
    idempotency: { key: idempotencyKey, input: spoiled(entry, kept) },
  };
}

/** One attack, and its twin if it has one, judged and counted. */
export async function strike(
  { h }: Pick<Battlefield, "h">,
  report: Report,
  { name }: Stance,
  target: string,
  attack: Attack,
  ours: Ours,
) {
  const send = async ({ url, init }: Call) => answerOf(await h.w.request(url, init, attack.as));
  const answer = await send(attack.call);
  const twin = attack.twin && await send(attack.twin);
  report.attacks.set(name, (report.attacks.get(name) ?? 0) + 1);
  const place = `${name}${target}`;
  report.ways.set(place, (report.ways.get(place) ?? new Set()).add(attack.way));
  const wrong = breach(attack, answer, ours, twin);
  const { url, init } = attack.call;
  if (wrong) {
    const why = answer.status >= 500
      ? ` ${h.lines.findLast((line) => line.includes('"error"'))}`
      : "";
    report.breaches.push(
      `${target}${name && `, held by ${name}`}, ${attack.way} (${init.method} ${
        url.slice(0, 150)
      }): ${wrong}${why}`,
    );
  }
}

async function controlled(field: Battlefield, report: Report, entry: Entry, stances: Stance[]) {
  for (const stance of stances) {
    await stance.enter(field.h);
    await control(field, report, entry);
    await stance.leave(field.h);
  }
}

/** Our own call works, over tRPC and over REST: what was refused above was refused for its caller. */
async function control({ h, ours }: Battlefield, report: Report, entry: Entry) {
  await h.superuser("update user_security set failed_sign_ins = 0, locked_until = null");
  const doors = 1 + placesOf(entry).length;
  for (let door = 0; door < doors; door++) {
    const { input, as } = await example(h, ours, entry.path);
    const call = [trpc(entry, input), ...rests(entry, input)][door];
    if (!call) continue;
    const answer = await h.w.request(call.url, call.init, as);
    const text = await answer.text();
    if (!answer.ok) report.failures.push(`${entry.path} at ${call.url}: ${answer.status} ${text}`);
  }
}

const apiHost = "api.provider.example";

/** Every route that is no procedure's, with each of our ids in each of its places. */
export async function routesCampaign(
  field: Battlefield,
  stance: Stance = asItIs,
): Promise<Report & { routes: number }> {
  const report = blank();
  const { h, ours, theirs, canary } = field;
  const { id: bindingId } = await connected(h, ours);
  const ids = [...field.ids, bindingId];
  const procedural = new Set(
    restEntries.map(({ rest }) => rest.path.replaceAll(/\{([^}]*)\}/g, ":$1")),
  );
  const routes = new Set(
    h.w.hono.routes.map(({ path }) => path).filter((path) => !procedural.has(path)),
  );
  const known: Ours = { ids: new Set(await idsOf(h, ours.tenantId)), secrets: [canary] };
  await settled(h.w.process);
  const before = await fingerprints(h.superuser, h.tables, ours.tenantId, leaving);
  const callers: (Principal | null)[] = [theirs.boss, null];
  await stance.enter(h);
  for (const route of routes) {
    for (const [place, id] of [...ids, nobody].entries()) {
      if (stance.id && !stance.id(place, route)) continue;
      const path = route.replace(":host", apiHost).replaceAll(/:\w+(\{[^}]*\})?|\*/g, id);
      for (const method of ["GET", "POST", "PUT", "DELETE"]) {
        for (const as of callers) {
          const url = `${path}?id=${id}&tenant_id=${ours.tenantId}&state=${id}&code=${id}`;
          const call = { url, init: { method } };
          const attack = { way: `${method} by ${as ? "them" : "a stranger"}`, call, as };
          await strike(field, report, stance, route, attack, known);
        }
      }
    }
  }
  await stance.leave(h);
  const after = await fingerprints(h.superuser, h.tables, ours.tenantId, leaving);
  const proxied = `/api/v1/bindings/${bindingId}/proxy/${apiHost}/me`;
  const answer = await h.w.request(proxied, {}, ours.boss);
  if (!answer.ok) report.failures.push(`${proxied}: ${answer.status} ${await answer.text()}`);
  await answer.body?.cancel();
  const changed = Object.keys(before).filter((table) => before[table] !== after[table]);
  if (changed.length > 0) report.breaches.push(`A route let them change our ${changed}`);
  return { ...report, routes: routes.size };
}
