/** Invitations: who may send them, to whom, and what is kept of their tokens. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { assertRefused, bind, holder, refusal, roleOf } from "./givers.ts";
import { elsewhere, type Login, minutes } from "./house.ts";
import { inviting, password } from "./inviting.ts";
import { mailed, newEmail } from "./people.ts";

const h = await mailed();
const { stage, invite, accept, outcome, group } = inviting(h);

Deno.test("an invitation's token is in the message and nowhere else", async () => {
  const { admin } = await stage();
  const { token, invitation, email, id } = await invite(admin);
  assert.match(token, /^sbi_[0-9a-f]{32}_[0-9a-f]{32}_[\w-]{43}$/);
  const secret = token.slice(-43);
  assert.ok(!JSON.stringify(invitation).includes(secret));
  await h.identity(admin).invitations.resend({ id });
  const next = h.tokenTo(email).slice(-43);
  await accept(h.tokenTo(email));
  const kept = await h.everythingKept();
  assert.ok(kept.includes(id));
  for (const word of [secret, next, password]) assert.ok(!kept.includes(word));
});

Deno.test("invitations.create gives no more than its caller holds, by role or by group", async () => {
  const { tenantId, owner, admin } = await stage();
  const refused = (who: Login, more: Record<string, unknown>) =>
    refusal(h.identity(who).invitations.create({ email: newEmail(), ...more }));
  assert.equal(await refused(admin, { systemRole: "owner" }), "Forbidden grant.beyond system_role");
  assert.equal(await refused(owner, { systemRole: "owner" }), "done");
  const [strong, plain] = [await group(tenantId), await group(tenantId)];
  await bind(
    h,
    tenantId,
    { groupId: strong },
    await roleOf(h, tenantId, { "users.read": "subtree" }),
  );
  assert.equal(await refused(admin, { groupId: strong }), "Forbidden grant.beyond group_id");
  assert.equal(await refused(admin, { groupId: plain }), "done");
  assert.equal(await refused(owner, { groupId: strong }), "done");
  const nested = await group(tenantId);
  await h.sql(
    "insert into group_members (tenant_id, id, group_id, member_group_id) values ($1, $2, $3, $4)",
    [tenantId, v7(), strong, nested],
  );
  assert.equal(await refused(admin, { groupId: nested }), "Forbidden grant.beyond group_id");
  const other = await group(await h.tenantBelow());
  assert.equal(await refused(owner, { groupId: other }), "NotFound group.not_found");
  const writer = await holder(h, tenantId, { "invitations.create": "tenant" });
  const asked = h.identity(writer).invitations.create({ email: newEmail(), groupId: plain });
  await assertRefused(asked, "Forbidden grant.beyond group_id");
});

Deno.test("invitations.create refuses whom the tenant has, or has invited", async () => {
  const { owner, admin } = await stage();
  const { invitations } = h.identity(owner);
  const { email, id } = await invite(owner);
  const again = () => refusal(invitations.create({ email: email.toUpperCase() }));
  assert.equal(await again(), "Conflict invitation.already_exists");
  const here = invitations.create({ email: admin.email });
  await assertRefused(here, "Conflict user.already_exists");
  assert.equal(h.lettersTo(admin.email).length, 0);
  assert.equal(h.lettersTo(email).length, 1);
  await invitations.revoke({ id });
  assert.equal(await again(), "done");
});

Deno.test("invitations.resend sends a new token in the caller's name, and the old one is dead", async () => {
  const { tenantId, owner, admin } = await stage();
  const { id, email, token } = await invite(admin);
  await h.identity(owner).users.deactivate({ id: admin.userId });
  const again = await h.identity(owner).invitations.resend({ id, expiresInSeconds: 3_600 });
  assert.equal(again.inviterId, owner.userId);
  assert.equal(again.expiresAt.getTime(), h.clock.ms + minutes(60));
  assert.equal(await outcome(token), "401 invitation.refused");
  assert.equal(await outcome(h.tokenTo(email)), "201");
  await assertRefused(
    h.identity(owner).invitations.resend({ id }),
    "Conflict invitation.accepted",
  );
  await assertRefused(
    h.identity(owner).invitations.revoke({ id }),
    "Conflict invitation.accepted",
  );
  const strong = await invite(owner, { systemRole: "owner" });
  const second = await h.login(tenantId, { role: "admin" });
  await assertRefused(
    h.identity(second).invitations.resend({ id: strong.id }),
    "Forbidden grant.beyond system_role",
  );
  assert.equal(await outcome(strong.token), "201");
});

Deno.test("invitations.revoke is done once and ends resending", async () => {
  const { tenantId, owner } = await stage();
  const { id } = await invite(owner);
  const { invitations } = h.identity(owner);
  const revoked = await invitations.revoke({ id });
  assert.equal(revoked.status, "revoked");
  const length = (await h.trail(tenantId)).length;
  assert.deepEqual(await invitations.revoke({ id }), revoked);
  assert.equal((await h.trail(tenantId)).length, length);
  await assertRefused(invitations.resend({ id }), "Conflict invitation.revoked");
});

Deno.test("invitations.list filters by state and e-mail; who reaches themselves sees their own", async () => {
  const { tenantId, owner, admin } = await stage();
  const { invitations } = h.identity(owner);
  const [open, revoked, accepted, expired] = [
    await invite(owner),
    await invite(admin),
    await invite(owner),
    await invite(owner),
  ];
  await invitations.revoke({ id: revoked.id });
  await accept(accepted.token);
  await h.sql("update invitations set expires_at = now() - interval '1 hour' where id = $1", [
    expired.id,
  ]);
  const states = { open, revoked, accepted, expired } as const;
  for (const status of ["open", "revoked", "accepted", "expired"] as const) {
    const found = (await invitations.list({ status })).invitations;
    assert.deepEqual(found.map(({ id }) => id), [states[status].id], status);
    assert.equal(found[0]?.status, status);
  }
  const byEmail = await invitations.list({ email: ` ${open.email.toUpperCase()}` });
  assert.deepEqual(byEmail.invitations.map(({ id }) => id), [open.id]);
  const narrow = { ...admin, grants: { "invitations.read": "self" as const } };
  const mine = await h.w.as(narrow).identity.invitations.list({});
  assert.deepEqual(mine.invitations.map(({ id }) => id), [revoked.id]);
  await assertRefused(
    h.w.as(narrow).identity.invitations.get({ id: open.id }),
    "NotFound invitation.not_found",
  );
  const visitor = h.w.as({ ...narrow, tenantId, userId: null }).identity.invitations;
  assert.deepEqual((await visitor.list({})).invitations, []);
});

Deno.test("invitations take an hour to thirty days, a week when nothing is said", async () => {
  const { owner } = await stage();
  const make = (expires_in_seconds: unknown) =>
    h.w.request("/api/v1/invitations", {
      method: "POST",
      body: JSON.stringify({ email: newEmail(), expires_in_seconds }),
    }, owner).then(async (answer) => ({ status: answer.status, body: await answer.json() }));
  for (const wrong of [3_599, 30 * 86_400 + 1, 1e99, -1, 3_600.5]) {
    assert.equal((await make(wrong)).status, 400, String(wrong));
  }
  assert.equal((await make(3_600)).status, 201);
  const { body } = await make(undefined);
  assert.equal(Date.parse(body.expires_at), h.clock.ms + 7 * 86_400_000);
});

Deno.test("a message that cannot be sent fails no request, and the log says so without the token", async () => {
  const { owner } = await stage();
  const tokens: string[] = [];
  const mailer = ({ text }: { text: string }) => {
    tokens.push(text);
    return Promise.reject(new Error(`cannot send ${text}`));
  };
  const email = newEmail();
  await h.w.as(owner, { mailer, requestId: "request-of-this-test" }).identity.invitations
    .create({ email });
  assert.equal(tokens.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 0));
  const said = h.lines.filter((line) => line.includes("request-of-this-test"));
  assert.match(said.join(), /a message was not sent/);
  assert.ok(!h.lines.join().includes("sbi_"));
});

Deno.test("what is not committed is not sent", async () => {
  const { owner } = await stage();
  const { invitations } = h.identity(owner);
  const email = newEmail();
  const before = h.letters.length;
  await h.sql(`create function refuse() returns trigger language plpgsql as
    $$ begin raise exception 'the disk is full'; end $$`);
  await h.sql(
    "create trigger refuse before insert on events for each row execute function refuse()",
  );
  await assert.rejects(invitations.create({ email }));
  await h.sql("drop function refuse() cascade");
  assert.equal(h.letters.length, before);
  await invitations.create({ email });
  assert.equal(h.letters.length, before + 1);
});

Deno.test("trying tokens is limited where one comes from, and so is writing to one address", async () => {
  const { owner } = await stage();
  const address = elsewhere();
  const attempt = () =>
    h.send("/invitations/accept", { token: "x", display_name: "A", password }, { address });
  const answers: number[] = [];
  for (let i = 0; i < 21; i++) answers.push((await attempt()).status);
  assert.deepEqual(answers, [...Array(20).fill(401), 429]);
  const { id } = await invite(owner);
  const { invitations } = h.identity(owner);
  const said: string[] = [];
  for (let i = 0; i < 10; i++) said.push(await refusal(invitations.resend({ id })));
  assert.deepEqual(said, [...Array(9).fill("done"), "RateLimited link_send_email.rate"]);
  h.clock.ms += minutes(121);
  assert.equal(await refusal(invitations.resend({ id })), "done");
});

Deno.test.afterAll(() => h.w.close());
