/** Nobody of another tenant sees a byte or changes a row of ours: tried in every way we know of. */
import assert from "node:assert/strict";
import { placesOf } from "./doors.ts";
import { battlefield, campaign, type Report, routesCampaign, type Stance } from "./campaign.ts";
import { fingerprints } from "./catalogue.ts";
import { gatewayCampaign, gatewayFront, siblingCampaign } from "./gateway_attacks.ts";
import { entries, house } from "./house.ts";
import { withoutTenantPredicates } from "./tap.ts";

const isProof = Deno.env.get("PROVE") === "1";

/** What is decided before any query is the same with one lock as with two: proved once, and on PROVE. */
const early = new Set(["a forged credential", "another spelling of the path", "our names"]);
/** Checking a password is slow on purpose: with one lock it is tried in a few ways only. */
const few = new Set(["our call over tRPC", "our call over REST", "our tenant in the body"]);
/** With one lock a procedure stands one of these and its share of the others. */
const plain = new Map([["our call over tRPC", 0], ["our call over REST", 1]]);
/** Every procedure stands the plain attacks and its share of the others: one in so many. All on PROVE. */
const [SHARE, SHARE_OF_ONE_LOCK] = [8, 32];
/** A route that is no procedure's is tried with one in so many of our ids, others at each; all on PROVE. */
const SHARE_OF_IDS = 8;
const placeIn = (text: string, share: number) =>
  [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 9_973, 7) % share;
const isSlow = ({ path }: { path: string }) =>
  /^identity\.(auth|secondFactor|passwordResets|invitations)\./.test(path);
const isInShare = (way: string, entry: { path: string }) =>
  few.has(way) || placeIn(`${entry.path} ${way}`, isSlow(entry) ? 4 * SHARE : SHARE) === 0;
const isWorthIt = (way: string, { path }: { path: string }) =>
  plain.get(way) === placeIn(path, plain.size) ||
  path !== "identity.auth.signIn" && !early.has(way) &&
    placeIn(`${path} ${way}`, SHARE_OF_ONE_LOCK) === 0;
const isIdInShare = (place: number, route: string) =>
  placeIn(route, SHARE_OF_IDS) === place % SHARE_OF_IDS;

const both: Stance = {
  name: "",
  enter: () => {},
  leave: () => {},
  ...isProof ? {} : { way: isInShare, id: isIdInShare },
};
/** The tenant predicates are taken out of every query. */
const policiesAlone: Stance = {
  name: "the policies alone",
  enter: ({ tap }) => void (tap.rewrite = withoutTenantPredicates),
  leave: ({ tap }) => void (tap.rewrite = (text) => text),
  ...isProof ? {} : { way: isWorthIt, id: isIdInShare },
};
/** No policy counts for the service. */
const queriesAlone: Stance = {
  name: "the queries alone",
  enter: ({ superuser, login }) => superuser(`alter role ${login} bypassrls`),
  leave: ({ superuser, login }) => superuser(`alter role ${login} nobypassrls`),
  ...isProof ? {} : { way: isWorthIt, id: isIdInShare },
};
const stances = [both, policiesAlone, queriesAlone];

/** Kinds of attack each procedure must have stood, at least. */
const LEAST_WAYS = isProof ? 12 : 3;
const leastOf = (stance: Stance, entry: { path: string }) =>
  isProof || stance === both && !isSlow(entry) ? LEAST_WAYS : 1;

function assertNone(list: string[], what: string) {
  const more = list.length > 10 ? `\nand ${list.length - 10} more` : "";
  assert.ok(list.length === 0, `${what}:\n${list.slice(0, 10).join("\n")}${more}`);
}

Deno.test("every procedure and route keeps another tenant out, by both locks and by each alone", async () => {
  const field = await battlefield();
  const report = await campaign(field, { isWhole: isProof }, stances);
  assertNone(report.breaches, "Something of ours got out");
  assertNone(report.failures, "Our own calls stopped working");
  const front = await gatewayFront(field);
  for (const stance of stances) {
    const routes = await routesCampaign(field, stance);
    const gateway = await gatewayCampaign(field, front, stance);
    assertNone(gateway.breaches, "Something of ours got out by the gateway");
    assertNone(gateway.failures, "Our own requests of the gateway stopped working");
    assertNone(routes.breaches, "Something of ours got out by a route");
    assertNone(routes.failures, "Our own routes stopped working");
    for (const entry of entries) {
      const { path } = entry;
      const count = report.ways.get(`${stance.name}${path}`)?.size ?? 0;
      assert.ok(
        count >= leastOf(stance, entry),
        `${path} was attacked in ${count} ways only: see attacks.ts`,
      );
    }
    const places = entries.flatMap(placesOf).length + routes.routes;
    const of = ({ attacks }: Report) => attacks.get(stance.name) ?? 0;
    assert.ok(of(gateway) >= 300, `the gateway was attacked ${of(gateway)} times only`);
    const attacks = of(report) + of(routes) + of(gateway);
    console.log(
      `isolation${stance.name && ` by ${stance.name}`}: ${attacks} attacks on ` +
        `${entries.length} procedures and ${places} routes, 0 succeeded`,
    );
  }
  await field.h.close();
});

Deno.test("a team's key chats as no other team of its tenant", async () => {
  const h = await house();
  const side = await h.side(h.root.tenantId, "Harbour Bakery");
  assertNone(await siblingCampaign(h, side), "Another team was reached");
  await h.close();
});

Deno.test("a house held by one lock is open once that lock is bent", async () => {
  const field = await battlefield();
  const entry = ({ path }: { path: string }) => path === "identity.users.get";
  const open: Stance = {
    name: "nothing",
    enter: async (h) => {
      await queriesAlone.enter(h);
      await policiesAlone.enter(h);
    },
    leave: async (h) => {
      await policiesAlone.leave(h);
      await queriesAlone.leave(h);
    },
  };
  for (const stance of [policiesAlone, queriesAlone]) {
    assert.deepEqual((await campaign(field, { entry }, [stance])).breaches, []);
  }
  assert.ok((await campaign(field, { entry, isShort: true }, [open])).breaches.length > 0);
  await field.h.close();
});

Deno.test("fingerprints notices every write to a tenant's rows, and none to another's", async () => {
  const { h, ours, theirs } = await battlefield();
  const print = async () => (await fingerprints(h.superuser, h.tables, ours.tenantId)).users;
  const isNoticed = async (text: string, { tenantId }: { tenantId: string }) => {
    const before = await print();
    await h.superuser(text, [tenantId]);
    return await print() !== before;
  };
  const nothing = "update users set display_name = display_name where tenant_id = $1";
  assert.equal(await isNoticed(nothing, theirs), false);
  assert.equal(await isNoticed(nothing, ours), true);
  const columns = "id, tenant_id, email, display_name";
  const made = `insert into users (${columns}) values (gen_random_uuid(), $1, 'x@x', 'x')`;
  assert.equal(await isNoticed(made, ours), true);
  const gone = "delete from users where email = 'x@x' and tenant_id = $1";
  assert.equal(await isNoticed(gone, ours), true);
  await h.close();
});

Deno.test("withoutTenantPredicates takes out what names the tenant and nothing else", () => {
  assert.equal(
    withoutTenantPredicates('select 1 from "x" where ("x"."tenant_id" = $1 and "x"."id" = $2)'),
    'select 1 from "x" where (($1::uuid is not null) and "x"."id" = $2)',
  );
  const join = '"a"."tenant_id" = "b"."tenant_id"';
  assert.equal(withoutTenantPredicates(join), join);
});
