/** A sign-in that had looked at the password once went on while the password, or its person, was taken out of use. */
import assert from "node:assert/strict";
import * as auth from "../../src/identity/auth.ts";
import { home, type Login } from "../identity/house.ts";

const h = await home();
Deno.test.afterAll(() => h.w.close());

/** Signs in, with `meanwhile` between the look at the password and the session. */
async function signedIn(meanwhile: (who: Login, boss: Login) => Promise<unknown>) {
  const tenantId = await h.tenantBelow();
  const boss = await h.login(tenantId, { role: "owner" });
  const who = await h.login(tenantId);
  const ctx = h.w.ctx(null, { address: crypto.randomUUID() });
  let isDone = false;
  const ready: typeof ctx.secrets.ready = async (system) => {
    if (!isDone) {
      isDone = true;
      await meanwhile(who, boss);
    }
    return await ctx.secrets.ready(system);
  };
  const { email, password } = who;
  return await auth.signIn({ ...ctx, secrets: { ...ctx.secrets, ready } }, {
    email,
    password,
    tenant: tenantId,
  });
}

const refused = { name: "Fault", reason: "sign_in.refused" };

Deno.test("signIn opens a session when nothing happens meanwhile", async () => {
  assert.ok((await signedIn(() => Promise.resolve())).accessToken);
});

Deno.test("signIn opens none once the password is another", async () => {
  const change = (who: Login) =>
    h.w.as({ ...who, grants: { "sign_in.update": "self" } }).identity.auth.changePassword({
      currentPassword: who.password,
      newPassword: "another password altogether",
      exceptCurrent: false,
    });
  await assert.rejects(signedIn(change), refused);
});

Deno.test("signIn opens none without a second factor that has come into use", async () => {
  const confirm = (who: Login) =>
    h.sql("update user_security set totp_confirmed_at = now() where id = $1", [who.userId]);
  await assert.rejects(signedIn(confirm), refused);
});

Deno.test("signIn opens none for somebody who is deactivated", async () => {
  const deactivate = (who: Login, boss: Login) =>
    h.w.as(boss).identity.users.deactivate({ id: who.userId });
  await assert.rejects(signedIn(deactivate), refused);
});
