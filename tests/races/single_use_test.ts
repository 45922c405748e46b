/** What works once works once: tokens of messages over processes, and the last owner of a tenant. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import { open } from "../../db/client.ts";
import type { Env } from "../../src/env.ts";
import type { Mail } from "../../src/mailer.ts";
import { type House, house } from "../db/house.ts";
import { refusal } from "../identity/givers.ts";
import { environment, world } from "../kit.ts";
import { started } from "./workers/started.ts";
import type { Order, Tally } from "./workers/submit.ts";

const TRIES = 100;
const PROCESSES = 5; // Each of them lets one network try twenty times a minute.
const ROUNDS = Deno.env.get("PROVE") ? 200 : 25;

let server: House;
let env: Env;
let close = () => Promise.resolve();
const letters: Mail[] = [];
let w: Awaited<ReturnType<typeof world>>;

Deno.test.beforeAll(async () => {
  server = await house();
  env = await environment({ DATABASE_URL: server.url });
  const mailer = (mail: Mail) => Promise.resolve(void letters.push(mail));
  w = await world({ database: open(server.url, { poolSize: 10 }), env, mailer });
  close = async () => {
    await w.close();
    await server[Symbol.asyncDispose]();
  };
});
Deno.test.afterAll(() => close());

const tokenTo = (email: string) =>
  letters.findLast(({ to }) => to === email)?.text.match(/sb[ip]_\S+/)?.[0] ?? "";
const newEmail = () => `${v7()}@people.example`;

async function stage() {
  const { tenantId } = await w.tenant();
  const [one, two] = [await w.person(tenantId, "owner"), await w.person(tenantId, "owner")];
  const of = (rest: string) =>
    server.count(`select count(*) from ${rest} and tenant_id = '${tenantId}'`);
  return { tenantId, one, two, of, identity: w.as(one).identity };
}

/** One request from all processes at once, as often in each; what they answered together. */
async function rushed(path: string, body: Record<string, unknown>): Promise<Map<string, number>> {
  const variables = {
    ...Object.fromEntries(
      Object.entries(env).flatMap(([name, value]) =>
        typeof value === "string" && value !== "" ? [[name, value]] : []
      ),
    ),
    SIGNING_KEYS: JSON.stringify(env.SIGNING_KEYS),
  };
  const order: Order = {
    variables,
    path,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    times: TRIES / PROCESSES,
  };
  const workers = Array.from(
    { length: PROCESSES },
    () => started("tests/races/workers/submit.ts"),
  );
  try {
    await Promise.all(workers.map(async (process) => {
      await process.say(JSON.stringify(order));
      assert.equal(await process.hear(), "ready");
    }));
    await Promise.all(workers.map((process) => process.say("go")));
    const sum = new Map<string, number>();
    for (const process of workers) {
      const said = await process.hear();
      const tally: Tally = JSON.parse(said);
      assert.ok(Array.isArray(tally), said); // Else a line of the log: something broke.
      for (const { status, reason, times } of tally) {
        const answer = `${status} ${reason}`.trim();
        sum.set(answer, (sum.get(answer) ?? 0) + times);
      }
    }
    return sum;
  } finally {
    for (const process of workers) await process[Symbol.asyncDispose]();
  }
}

const told = (what: string, answers: Map<string, number>) =>
  console.log(
    `${what}: ${TRIES} at once over ${PROCESSES} processes: ` +
      [...answers].map(([answer, times]) => `${times} × ${answer}`).join(", "),
  );

Deno.test(`one invitation accepted ${TRIES} times at once makes one user`, async () => {
  const { tenantId, identity, of } = await stage();
  const groupId = v7();
  await server.admin(
    `insert into groups (tenant_id, id, name) values ('${tenantId}', '${groupId}', 'Bakers')`,
  );
  const email = newEmail();
  await identity.invitations.create({ email, systemRole: "member", groupId });
  const answers = await rushed("/api/v1/invitations/accept", {
    token: tokenTo(email),
    display_name: "Ada Okafor",
    password: "correct horse battery",
  });
  told("invitation", answers);
  assert.deepEqual(
    [answers.get("201"), answers.get("401 invitation.refused"), answers.size],
    [1, TRIES - 1, 2],
  );
  const user = `(select id from users where email = '${email}')`;
  assert.equal(await of(`role_bindings where owner_user_id in ${user}`), 1);
  assert.equal(await of(`group_members where owner_user_id in ${user}`), 1);
  assert.equal(await of(`events where type = 'user.created' and subject_id in ${user}`), 1);
  assert.equal(await of(`audit_entries where action = 'invitation.accepted'`), 1);
});

Deno.test(`one password reset confirmed ${TRIES} times at once sets one password`, async () => {
  const { tenantId, identity, of } = await stage();
  const email = newEmail();
  const { id } = await identity.users.create({ email, displayName: "Ada" });
  await identity.users.resetPassword({ id });
  const body = { token: tokenTo(email), password: "correct horse battery" };
  const answers = await rushed("/api/v1/auth/password-reset/confirm", body);
  told("password reset", answers);
  assert.deepEqual(
    [answers.get("200"), answers.get("401 password_reset.refused"), answers.size],
    [1, TRIES - 1, 2],
  );
  assert.equal(await of(`audit_entries where action = 'password_reset.confirmed'`), 1);
  const { password } = body;
  const { userId } = await w.as(null).identity.auth.signIn({ email, password, tenant: tenantId });
  assert.equal(userId, id);
});

Deno.test("two owners who shut each other out, or go themselves, leave one", async () => {
  const { one, two, of } = await stage();
  const owners = `users where status = 'active' and id in ('${one.userId}', '${two.userId}')`;
  const shut = (by: typeof one, whom: typeof one) =>
    refusal(w.as(by).identity.users.deactivate({ id: whom.userId }));
  const seen = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    const crossed = round % 2 === 0;
    const outcomes = await Promise.all(
      crossed ? [shut(one, two), shut(two, one)] : [shut(one, one), shut(two, two)],
    );
    assert.equal(outcomes.filter((outcome) => outcome === "done").length, 1, outcomes.join());
    assert.equal(await of(owners), 1);
    for (const outcome of outcomes) seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
    await server.admin(`update users set status = 'active' where status = 'suspended'`);
  }
  const counted = [...seen].map(([outcome, times]) => `${times} × ${outcome}`).join(", ");
  console.log(`last owner: ${ROUNDS} rounds: ${counted}`);
});

Deno.test("an invitation that is revoked while it is accepted does one of both", async () => {
  const { identity, of } = await stage();
  const seen = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    const email = newEmail();
    const { id } = await identity.invitations.create({ email });
    const accept = w.as(null, { address: v7() }).identity.invitations.accept({
      token: tokenTo(email),
      displayName: "Ada",
      password: "correct horse battery",
    });
    // Checking the password takes a while: the other starts somewhere within it.
    const pause = new Promise((resolve) => setTimeout(resolve, (round * 7) % 120));
    const revoke = pause.then(() => identity.invitations.revoke({ id }));
    const outcome = (await Promise.all([refusal(accept), refusal(revoke)])).join(" / ");
    assert.ok(
      outcome === "done / Conflict invitation.accepted" ||
        outcome === "Unauthorized invitation.refused / done",
      outcome,
    );
    assert.equal(await of(`users where email = '${email}'`), outcome.startsWith("done") ? 1 : 0);
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  console.log(`accept or revoke: ${[...seen].map(([o, n]) => `${n} × ${o}`).join(", ")}`);
});
