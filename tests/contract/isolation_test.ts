/** Nobody of another tenant sees a byte or changes a row of ours: tried in every way we know of. */
import assert from "node:assert/strict";
import { placesOf } from "./doors.ts";
import {
  type Battlefield,
  battlefield,
  campaign,
  type Report,
  routesCampaign,
} from "./campaign.ts";
import { belongsTo } from "./catalogue.ts";
import { gatewayCampaign, siblingCampaign } from "./gateway_attacks.ts";
import { entries, house } from "./house.ts";
import { withoutTenantPredicates } from "./tap.ts";

const isProof = Deno.env.get("PROVE") === "1";

/** What is decided before any query is the same with one lock as with two: proved once, and on PROVE. */
const early = new Set(["a forged credential", "another spelling of the path", "our names"]);
/** Checking a password is slow on purpose: with one lock it is tried in a few ways only. */
const few = new Set(["our call over tRPC", "our call over REST", "our tenant in the body"]);
/** Every procedure stands the plain attacks and its share of the others: one in so many. All on PROVE. */
const [SHARE, SHARE_OF_ONE_LOCK] = [2, 12];
const placeIn = (text: string, share: number) =>
  [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 9_973, 7) % share;
const isInShare = (way: string, { path }: { path: string }) =>
  few.has(way) || placeIn(`${path} ${way}`, SHARE) === 0;
const isWorthIt = (way: string, { path }: { path: string }) =>
  few.has(way) ||
  path !== "identity.auth.signIn" && !early.has(way) &&
    placeIn(`${path} ${way}`, SHARE_OF_ONE_LOCK) === 0;

/** Kinds of attack each procedure must have stood, at least. */
const LEAST_WAYS = isProof ? 12 : 6;

function assertNone(list: string[], what: string) {
  const more = list.length > 10 ? `\nand ${list.length - 10} more` : "";
  assert.ok(list.length === 0, `${what}:\n${list.slice(0, 10).join("\n")}${more}`);
}

function assertHeld({ ways, breaches, failures, attacks }: Report, isWhole: boolean) {
  assertNone(breaches, "Something of ours got out");
  assertNone(failures, "Our own calls stopped working");
  for (const { path } of entries) {
    const count = ways.get(path)?.size ?? 0;
    if (!isWhole) assert.ok(count > 0, path);
    else {assert.ok(
        count >= LEAST_WAYS,
        `${path} was attacked in ${count} ways only: see attacks.ts`,
      );}
  }
  assert.ok(attacks >= (isWhole ? LEAST_WAYS : 1) * entries.length);
}

async function atWar(bend: (field: Battlefield) => Promise<void> | void, which: string) {
  const isWhole = which === "" || isProof;
  const field = await battlefield();
  try {
    await bend(field);
    const way = which === "" ? isInShare : isWorthIt;
    const report = await campaign(field, isProof ? {} : { way });
    const routes = await routesCampaign(field);
    const gateway = await gatewayCampaign(field);
    assertHeld(report, isWhole);
    assertNone(gateway.breaches, "Something of ours got out by the gateway");
    assertNone(gateway.failures, "Our own requests of the gateway stopped working");
    assert.ok(gateway.attacks >= 300, `the gateway was attacked ${gateway.attacks} times only`);
    assertNone(routes.breaches, "Something of ours got out by a route");
    assertNone(routes.failures, "Our own routes stopped working");
    const places = entries.flatMap(placesOf).length + routes.routes;
    const attacks = report.attacks + routes.attacks + gateway.attacks;
    console.log(
      `isolation${which}: ${attacks} attacks on ${entries.length} ` +
        `procedures and ${places} routes, 0 succeeded`,
    );
  } finally {
    await field.h.close();
  }
}

Deno.test("every procedure and route keeps another tenant out", () => atWar(() => {}, ""));

Deno.test("a team's key chats as no other team of its tenant", async () => {
  const h = await house();
  const side = await h.side(h.root.tenantId, "Harbour Bakery");
  assertNone(await siblingCampaign(h, side), "Another team was reached");
  await h.close();
});

Deno.test("the policies hold alone, with the tenant predicates taken out of every query", () =>
  atWar(({ h }) => {
    h.tap.rewrite = withoutTenantPredicates;
  }, " by the policies alone"));

Deno.test("the queries hold alone, on a database without policies", () =>
  atWar(async ({ h }) => {
    for (const table of h.tables.filter((table) => belongsTo(table))) {
      await h.superuser(`alter table "${table.name}" disable row level security`);
    }
  }, " by the queries alone"));

Deno.test("withoutTenantPredicates takes out what names the tenant and nothing else", () => {
  assert.equal(
    withoutTenantPredicates('select 1 from "x" where ("x"."tenant_id" = $1 and "x"."id" = $2)'),
    'select 1 from "x" where (($1::uuid is not null) and "x"."id" = $2)',
  );
  const join = '"a"."tenant_id" = "b"."tenant_id"';
  assert.equal(withoutTenantPredicates(join), join);
});
