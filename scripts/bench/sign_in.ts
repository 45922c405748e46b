/** How many sign-ins and refreshes a second, against the least work each cannot do without. */
import { sql } from "drizzle-orm";
import { argon2Verify } from "hash-wasm";
import { COST, hashPassword } from "../../src/access/passwords.ts";
import { asSystem, type Ctx } from "../../src/context.ts";
import * as auth from "../../src/identity/auth.ts";
import { openSession, refresh as refreshed } from "../../src/identity/sessions.ts";
import * as users from "../../src/identity/users.ts";
import { perSecond, run } from "./measure.ts";
import type { Stage } from "./stage.ts";

/** A stranger nobody slows down. */
const ctxOf = ({ process }: Stage): Ctx => ({
  ...process,
  limiter: {
    take: ({ max }) => ({ allowed: true, limit: max, remaining: max, resetSeconds: 1 }),
    agrees: () => true,
  },
  principal: null,
  requestId: "bench",
  address: "127.0.0.1",
  userAgent: null,
  ifMatch: null,
  idempotencyKey: null,
});

/** Refreshes a second, each of the token the last one gave. */
export async function refresh(on: Stage): Promise<void> {
  const ctx = ctxOf(on);
  const { tenantId, admin: { userId } } = on;
  if (userId === null) throw new Error("The admin of the stage is at home");
  let { refreshToken } = await openSession(ctx, { tenantId, userId });
  const step = async () => {
    refreshToken = (await refreshed(ctx, { refreshToken })).refreshToken;
  };
  await on.asOwner(`create table bench_steps (id uuid primary key, counter integer not null);
    insert into bench_steps values ('${userId}', 0);
    grant select, update on bench_steps to public`);
  const update = () =>
    on.process.database.query(
      sql`update bench_steps set counter = counter + 1 where id = ${userId}::uuid`,
    );
  await run("refresh", {
    unit: "refreshes/s",
    baselineName: "one update by primary key on the same Postgres",
    turns: 7,
    turn: async () => [await perSecond(200, step), await perSecond(400, update)],
  });
}

/** Sign-ins a second with e-mail and password, one after the other. */
export async function sign_in(on: Stage): Promise<void> {
  const ctx = ctxOf(on);
  const { tenantId } = on;
  const [email, password] = ["grace@harbour-bakery.example", "correct horse battery staple"];
  await users.create(asSystem(on.process, tenantId), {
    email,
    displayName: "Grace Lindqvist",
    systemRole: "member",
    password,
  });
  const hash = await hashPassword(password);
  const { memory, passes, parallelism } = COST;
  console.error(
    `sign_in: argon2id, ${memory} KiB, ${passes} passes, ${parallelism} lane, both sides`,
  );
  await run("sign_in", {
    unit: "sign-ins/s",
    baselineName: "bare argon2id verification at the same cost",
    turns: 5,
    turn: async () => [
      await perSecond(10, () => auth.signIn(ctx, { email, password, tenant: tenantId })),
      await perSecond(10, () => argon2Verify({ password, hash })),
    ],
  });
}
