/** Whoever sent any token along with a sign-in once came from nowhere, and was taken for one who is known there. */
import assert from "node:assert/strict";
import { home } from "../identity/house.ts";

Deno.test("signIn goes by where one comes from, whatever token is sent along", async () => {
  const h = await home();
  const mine = await h.login(await h.tenantBelow());
  const theirs = await h.login(await h.tenantBelow());
  const tokenOf = async ({ email, password }: typeof mine) =>
    String((await h.send("/auth/sign-in", { email, password })).body.access_token);
  const withToken = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
  const { email, password } = mine;
  const again = withToken(await tokenOf(mine));
  assert.equal((await h.send("/auth/sign-in", { email, password }, again)).status, 200);
  const addresses = await h.sql("select address from sessions where owner_user_id = $1", [
    mine.userId,
  ]);
  assert.deepEqual(addresses.map(({ address }) => address), ["198.51.100.1", "198.51.100.1"]);
  await h.sql(
    "update user_security set failed_sign_ins = 12, locked_until = now() + interval '1 hour' where id = $1",
    [mine.userId],
  );
  const other = { ...withToken(await tokenOf(theirs)), address: "203.0.113.77" };
  assert.equal((await h.send("/auth/sign-in", { email, password }, other)).status, 401);
  assert.equal(
    (await h.send("/auth/sign-in", { email, password })).status,
    200,
    "from where I was",
  );
  await h.w.close();
});
