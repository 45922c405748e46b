/** One session and one code, asked for by many at once over several processes on one Postgres. */
import assert from "node:assert/strict";
import { openSession } from "../../src/identity/sessions.ts";
import { cheapHash, type Home, home, type Login } from "../identity/house.ts";
import { secondFactorHouse } from "../identity/second_factor_house.ts";
import type { Answered, Order } from "./workers/sign_in.ts";
import { started } from "./workers/started.ts";
import { onServer, type Server } from "../identity/on_server.ts";

let server: Server;
let h: Home;
let close = () => Promise.resolve();

Deno.test.beforeAll(async () => {
  server = await onServer();
  h = await home(server.ground(10));
  close = async () => {
    await h.w.close();
    await server.close();
  };
});
Deno.test.afterAll(() => close());

/** What processes of so many callers each are answered when all ask the same at once. */
async function asked(path: string, body: unknown, callers: number[]): Promise<Answered[]> {
  const { env } = h.w;
  const variables = {
    DATABASE_URL: server.url,
    PUBLIC_URL: env.PUBLIC_URL,
    SIGNING_KEYS: JSON.stringify(env.SIGNING_KEYS),
    ENCRYPTION_KEYS: env.ENCRYPTION_KEYS,
    LOG_LEVEL: "error",
  };
  const workers = await Promise.all(callers.map(async (times) => {
    const worker = started("tests/races/workers/sign_in.ts");
    const order: Order = { variables, path, body, times };
    await worker.say(JSON.stringify(order));
    assert.equal(await worker.hear(), "ready");
    return worker;
  }));
  try {
    await Promise.all(workers.map((worker) => worker.say("go")));
    const heard = await Promise.all(
      workers.map(async (worker): Promise<Answered[]> => JSON.parse(await worker.hear())),
    );
    return heard.flat();
  } finally {
    for (const worker of workers) await worker[Symbol.asyncDispose]();
  }
}
const inAnyOrder = (answers: Answered[]) =>
  answers.map(({ status, body: { reason = "" } }) => `${status} ${reason}`).sort();
const times = (n: number, what: string): string[] => Array(n).fill(what);

Deno.test("20 refreshes at once over 3 processes are one step, and all are served the same token", async () => {
  const who = await h.login(await h.tenantBelow());
  let { refreshToken } = await openSession(h.w.ctx(null), who);
  for (let step = 1; step <= 3; step++) {
    const answers = await asked("/auth/refresh", { refresh_token: refreshToken }, [7, 7, 6]);
    assert.deepEqual(inAnyOrder(answers), times(20, "200 "));
    const made = new Set(answers.map(({ body }) => String(body.refresh_token)));
    const [row] = await h.sql("select counter, revoked_at from sessions where owner_user_id = $1", [
      who.userId,
    ]);
    const [entries] = await h.sql(
      "select count(*)::int as n from audit_entries where action = 'session.ended' and tenant_id = $1",
      [who.tenantId],
    );
    console.log(JSON.stringify({
      refreshes: answers.length,
      processes: 3,
      served: answers.filter(({ status }) => status === 200).length,
      tokens: made.size,
      counter: row?.counter,
    }));
    assert.deepEqual([made.size, row?.counter, row?.revoked_at], [1, step, null]);
    assert.equal(entries?.n, 0);
    [refreshToken = ""] = made;
  }
});

Deno.test("a reused token ends its session once, however many present it at once", async () => {
  const who = await h.login(await h.tenantBelow());
  const first = (await openSession(h.w.ctx(null), who)).refreshToken;
  const second = (await h.w.as(null).identity.auth.refresh({ refreshToken: first })).refreshToken;
  await h.w.as(null).identity.auth.refresh({ refreshToken: second });
  const answers = await asked("/auth/refresh", { refresh_token: first }, [7, 7, 6]);
  assert.deepEqual(inAnyOrder(answers), times(20, "401 refresh_token.refused"));
  const ended = (await h.trail(who.tenantId)).filter(({ action }) => action === "session.ended");
  assert.equal(ended.length, 1);
});

/** Lets so many tries through that none is one too many, and has them cost next to nothing. */
async function unlimited({ userId, password }: Login) {
  await h.sql(
    "update user_security set failed_sign_ins = -1000, password_hash = $2 where id = $1",
    [
      userId,
      await cheapHash(password),
    ],
  );
}

Deno.test("of 100 who redeem one recovery code at once over 3 processes one is let in", async () => {
  const { guarded } = secondFactorHouse(h);
  const { who, recoveryCodes } = await guarded();
  const { email, password, userId } = who;
  await unlimited(who);
  const body = { email, password, recovery_code: recoveryCodes[0] };
  const answers = await asked("/auth/sign-in", body, [34, 33, 33]);
  const outcome = Object.fromEntries(
    Object.entries(Object.groupBy(inAnyOrder(answers), (one) => one))
      .map(([what, all]) => [what, all?.length]),
  );
  console.log(JSON.stringify({ redeemed: answers.length, processes: 3, outcome }));
  const { "200 ": served, ...others } = outcome;
  assert.equal(served, 1);
  // Who comes late enough is one of ten who guess since then: it is closed again.
  assert.deepEqual(
    Object.keys(others).filter((what) => !what.startsWith("401 sign_in.")),
    [],
  );
  const [sessions] = await h.sql(
    "select count(*)::int as n from sessions where owner_user_id = $1",
    [userId],
  );
  assert.equal(sessions?.n, 2, "the one it was confirmed in, and one");
});

Deno.test("of 60 who send one code of the authenticator at once over 3 processes one is let in", async () => {
  const { guarded, codeOf } = secondFactorHouse(h);
  const { who, secret } = await guarded();
  const { email, password, userId } = who;
  // The processes go by the clock on the wall: the step confirmed here is forgotten.
  h.clock.ms = Date.now();
  await h.sql("update user_security set totp_step = null where id = $1", [userId]);
  await unlimited(who);
  const answers = await asked("/auth/sign-in", { email, password, totp: codeOf(secret, 1) }, [
    20,
    20,
    20,
  ]);
  const served = answers.filter(({ status }) => status === 200).length;
  console.log(JSON.stringify({ sent: answers.length, processes: 3, served }));
  assert.equal(served, 1);
});

Deno.test("two who end one session, and one who refreshes it, leave it ended once", async () => {
  const who = await h.login(await h.tenantBelow());
  for (let round = 0; round < 10; round++) {
    const { refreshToken, accessToken } = await openSession(h.w.ctx(null), who);
    const token = await h.w.process.tokens.read(accessToken, new Date(h.clock.ms));
    const as = h.w.as(token?.standee.principal ?? null).identity;
    const id = token?.standee.principal.sessionId ?? "";
    const from = (await h.trail(who.tenantId)).length;
    await Promise.allSettled([
      as.sessions.revoke({ id }),
      as.auth.signOutEverywhere({}),
      h.w.as(null).identity.auth.refresh({ refreshToken }),
    ]);
    const [row] = await h.sql("select revoked_at from sessions where id = $1", [id]);
    assert.ok(row?.revoked_at);
    const endings = (await h.trail(who.tenantId)).slice(from)
      .filter(({ action }) => action === "session.ended" || action === "user.signed_out");
    assert.equal(endings.length, 1);
  }
});
