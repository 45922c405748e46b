/** A provider's subject opens the account it was linked to, and none that came into other hands since. */
import assert from "node:assert/strict";
import type { Mail } from "../../src/mailer.ts";
import type { Login } from "./house.ts";
import { claimed, type SsoHome, ssoHome } from "./sso_house.ts";

let h: SsoHome;
const letters: Mail[] = [];
Deno.test.beforeAll(async () => {
  h = await ssoHome();
  const mailer = (mail: Mail) => Promise.resolve(void letters.push(mail));
  Object.assign(h.w.process, { mailer });
});
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now(); // What a provider signs is of now.
});
Deno.test.afterAll(() => h.close());

async function stage() {
  const house = await h.house();
  const admin = await h.login(house.tenantId, { role: "admin" });
  const { users } = h.w.as(admin).identity;
  /** Signs in as `account`, of whom the provider says this e-mail. */
  const as = async (account: string, email: string) => {
    claimed(h.provider, { [account]: { email, email_verified: true } });
    const { status, body } = await h.signIn(house.idp.id, account);
    return status === 200 ? String(body.user_id) : String(body.reason);
  };
  const stateOf = async (id: string) => {
    const [row] = await h.sql(
      `select u.holder_version as version, u.is_email_shown as shown, s.password_hash is not null as password
       from users u left join user_security s using (tenant_id, id) where u.id = $1`,
      [id],
    );
    return { ...row };
  };
  const readdress = (id: string, email: string) => users.update({ id, email });
  const signIn = async (
    { email, password, tenantId }: Pick<Login, "email" | "password" | "tenantId">,
  ) => (await h.send("/auth/sign-in", { email, password, tenant: tenantId })).status;
  return { ...house, users, as, stateOf, readdress, signIn };
}
const account = () => `account ${crypto.randomUUID()}`;

Deno.test("sso.complete lets no password in that somebody else gave, once the provider has shown whose e-mail it is", async () => {
  const { tenantId, domain, users, as, stateOf, signIn } = await stage();
  const given = { email: `bo@${domain}`, password: "given by the admin" };
  const { id } = await users.create({ ...given, displayName: "Bo", systemRole: "member" });
  assert.equal(await signIn({ ...given, tenantId }), 200);
  assert.deepEqual(await stateOf(id), { version: 1, shown: false, password: true });
  assert.equal(await as(account(), given.email), id);
  assert.deepEqual(await stateOf(id), { version: 2, shown: true, password: false });
  assert.equal(await signIn({ ...given, tenantId }), 401);
  const [live] = await h.sql(
    "select count(*)::int as n from sessions where owner_user_id = $1 and revoked_at is null",
    [id],
  );
  assert.equal(live?.n, 1, "the provider's");
  assert.match(letters.findLast(({ to }) => to === given.email)?.text ?? "", /was linked/);
});

Deno.test("sso.complete keeps the password of whoever has shown their e-mail themselves", async () => {
  const { tenantId, domain, as, stateOf, signIn } = await stage();
  const ada = await h.login(tenantId, { email: `ada@${domain}` });
  assert.equal(await as(account(), ada.email), ada.userId);
  assert.deepEqual(await stateOf(ada.userId), { version: 1, shown: true, password: true });
  assert.equal(await signIn(ada), 200);
});

Deno.test("a subject is doubted once somebody else changed the e-mail, until the provider names the new one", async () => {
  const { domain, as, stateOf, readdress } = await stage();
  const [ada, old, married] = [account(), `ada@${domain}`, `ada.okafor@${domain}`];
  const id = await as(ada, old);
  await readdress(id, married);
  assert.equal(await as(ada, old), "sso.email_changed");
  assert.equal(await as(ada, `ada.okafor@elsewhere.example`), "sso.email_changed");
  assert.equal(await as(ada, married), id);
  assert.deepEqual(await stateOf(id), { version: 3, shown: true, password: false });
  assert.equal(await as(ada, old), id, "it was them, whatever the provider says later");
  const [entry] = await h.sql(
    "select actor_type from audit_entries where subject_id = $1 and action = 'user.email_shown'",
    [id],
  );
  assert.equal(entry?.actor_type, "system");
});

Deno.test("a subject that was linked while another held the account opens it no more", async () => {
  const { domain, as, readdress } = await stage();
  const [ada, mallory] = [account(), account()];
  const [hers, his] = [`ada@${domain}`, `mallory@${domain}`];
  const id = await as(ada, hers);
  await readdress(id, his);
  assert.equal(await as(mallory, his), id, "the account is his for now");
  await readdress(id, hers);
  assert.equal(await as(mallory, his), "sso.email_changed");
  assert.equal(await as(ada, hers), id);
  assert.equal(await as(mallory, his), "sso.email_changed");
});
