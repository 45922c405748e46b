/** Sign-ins at one provider at the same moment, on a Postgres that lets them. */
import assert from "node:assert/strict";
import { claimed, type SsoHome, ssoHome } from "./sso_house.ts";
import { onServer, type Server } from "./on_server.ts";

let server: Server;
let h: SsoHome;
let close = () => Promise.resolve();

Deno.test.beforeAll(async () => {
  server = await onServer();
  h = await ssoHome(server.ground());
  close = async () => {
    await h.close();
    await server.close();
  };
});
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now(); // What a provider signs is of now.
});
Deno.test.afterAll(() => close());

const times = <T>(n: number, work: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: n }, (_, i) => work(i)));
const count = async (text: string, params: unknown[]) => {
  const [row] = await h.sql(`select count(*)::int as n from ${text}`, params);
  return row?.n;
};

/** Flows of one account at one provider, each with its code. */
async function coded(identityProviderId: string, n: number, account = "ada") {
  const flows = [];
  for (let i = 0; i < n; i++) {
    const { id, secret, back } = await h.visit(
      { identity_provider_id: identityProviderId },
      account,
    );
    assert.equal((await h.land(back)).status, 200);
    flows.push({ id, secret });
  }
  return flows;
}

Deno.test("of twenty callbacks with one state one is kept", async () => {
  const { tenantId, idp } = await h.house();
  const { back } = await h.visit({ identity_provider_id: idp.id }, "ada");
  const statuses = (await times(20, () => h.land(back))).map(({ status }) => status);
  assert.deepEqual(statuses.toSorted(), [200, ...Array(19).fill(400)]);
  const actions = (await h.trail(tenantId)).map(({ action }) => action);
  assert.equal(actions.filter((action) => action === "sso.authorized").length, 1);
});

Deno.test("of twenty completes of one flow one opens a session, and the code is traded once", async () => {
  const { tenantId, domain, idp } = await h.house();
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  for (let round = 1; round <= 3; round++) {
    const [flow] = await coded(idp.id, 1);
    h.provider.resetCounts();
    const answers = await times(20, () => h.complete({ ...flow }));
    const statuses = answers.map(({ status }) => status).toSorted();
    assert.deepEqual(statuses, [200, ...Array(19).fill(409)]);
    assert.equal(h.provider.counts.codeExchanges, 1);
    assert.equal(await count("sessions where tenant_id = $1", [tenantId]), round);
  }
});

Deno.test("ten first sign-ins of one new subject at once make one user, linked once", async () => {
  for (let round = 1; round <= 3; round++) {
    const { tenantId, domain, idp } = await h.house();
    claimed(h.provider, { ada: { email: `ada@${domain}` } });
    const flows = await coded(idp.id, 10);
    const answers = await Promise.all(flows.map((flow) => h.complete(flow)));
    assert.deepEqual(answers.map(({ status }) => status), Array(10).fill(200));
    assert.equal(new Set(answers.map(({ body }) => body.user_id)).size, 1);
    assert.equal(await count("user_identities where tenant_id = $1", [tenantId]), 1);
    assert.equal(
      await count("users where tenant_id = $1 and email = $2", [
        tenantId,
        `ada@${domain}`,
      ]),
      1,
    );
    assert.equal(await count("sessions where tenant_id = $1", [tenantId]), 10);
  }
});

Deno.test("two subjects with one e-mail at once become one user, and each is linked", async () => {
  const { tenantId, domain, idp } = await h.house();
  const email = `shared@${domain}`;
  claimed(h.provider, { one: { email }, two: { email } });
  const flows = [...await coded(idp.id, 3, "one"), ...await coded(idp.id, 3, "two")];
  const answers = await Promise.all(flows.map((flow) => h.complete(flow)));
  assert.deepEqual(answers.map(({ status }) => status), Array(6).fill(200));
  assert.equal(new Set(answers.map(({ body }) => body.user_id)).size, 1);
  assert.equal(await count("user_identities where tenant_id = $1", [tenantId]), 2);
});

Deno.test("claims that differ at once leave one of them, whole, and nobody waits for ever", async () => {
  const { owner, domain, idp } = await h.house();
  const { identity } = h.w.as(owner);
  const words = ["a", "b", "c"];
  const mappings = [];
  for (const claimValue of words) {
    mappings.push({ claimValue, groupId: (await identity.groups.create({ name: claimValue })).id });
  }
  await identity.identityProviders.update({ id: idp.id, groupClaim: "groups", mappings });
  const told = [["a"], ["b", "c"], [], ["a", "b", "c"]];
  let turn = 0;
  h.provider.settings.claims = () => ({
    email: `ada@${domain}`,
    groups: told[turn++ % told.length],
  });
  const flows = await coded(idp.id, 12);
  const answers = await Promise.all(flows.map((flow) => h.complete(flow)));
  assert.deepEqual(answers.map(({ status }) => status), Array(12).fill(200));
  const rows = await h.sql(
    "select g.name from group_members m join groups g on g.id = m.group_id where m.owner_user_id = $1",
    [answers[0]?.body.user_id],
  );
  const left = rows.map(({ name }) => String(name)).toSorted().join();
  assert.ok(told.some((groups) => groups.join() === left), left);
});

Deno.test("a user suspended while they sign in has no session that holds", async () => {
  const { tenantId, domain, idp } = await h.house();
  const ada = await h.login(tenantId, { email: `ada@${domain}` });
  claimed(h.provider, { ada: { email: `ada@${domain}` } });
  assert.equal((await h.signIn(idp.id, "ada")).status, 200);
  const flows = await coded(idp.id, 10);
  const put = (status: string) =>
    h.sql("update users set status = $1 where id = $2", [status, ada.userId]);
  const [answers] = await Promise.all([
    Promise.all(flows.map((flow) => h.complete(flow))),
    put("suspended"),
  ]);
  for (const { status, body } of answers) {
    assert.ok(status === 403 || status === 200, String(status));
    if (status === 403) continue;
    const again = await h.send("/auth/refresh", { refresh_token: body.refresh_token });
    assert.equal(again.status, 401);
  }
});
