/** A token that leaked could once be traded for the next as long as its session lived, even after it was ended. */
import assert from "node:assert/strict";
import { home } from "../identity/house.ts";

const h = await home();
Deno.test.afterAll(() => h.w.close());

const bearer = (token: unknown) => ({ headers: { authorization: `Bearer ${token}` } });

async function stage() {
  const tenantId = await h.tenantBelow();
  const below = await h.tenantBelow(tenantId, "Quayside");
  const { email, password } = await h.login(tenantId, { role: "owner" });
  const { body } = await h.send("/auth/sign-in", { email, password, tenant: tenantId });
  const trade = (token: unknown, to = below) =>
    h.send("/auth/exchange", { tenant_id: to }, bearer(token));
  const isIn = async (token: unknown) =>
    (await h.send("/auth/me", null, { method: "GET", ...bearer(token) })).status === 200;
  return { tenantId, below, leaked: body.access_token, trade, isIn };
}

Deno.test("exchange gives a token that ends no later than the one that asks", async () => {
  const { leaked, trade, isIn, tenantId } = await stage();
  let token = leaked;
  for (let hops = 0; hops < 5; hops++) {
    const { status, body } = await trade(token);
    assert.equal(status, 200);
    token = body.access_token;
    assert.ok(await isIn(token), "the positive control");
    h.clock.ms += 50_000;
  }
  h.clock.ms += 60_000;
  assert.ok(!await isIn(token));
  assert.equal((await trade(token)).status, 401);
  assert.equal((await trade(token, tenantId)).status, 401);
});

Deno.test("revoke ends what a token was traded for with it", async () => {
  const { leaked, trade, isIn } = await stage();
  const { body } = await trade(leaked);
  assert.ok(await isIn(body.access_token));
  assert.equal((await h.send("/auth/revoke", { token: leaked }, bearer(leaked))).status, 204);
  h.clock.ms += 6_000;
  assert.ok(!await isIn(leaked) && !await isIn(body.access_token));
});
