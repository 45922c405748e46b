/** What every driver does alike, whichever database is behind it: one list of checks for all. */
import assert from "node:assert/strict";
import { and, eq, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { type Database, rowsOf } from "../../db/client.ts";
import { cacheEpochs, leases } from "../../db/schema/machinery.ts";
import { platforms, userPlatformBindings } from "../../db/schema/platforms.ts";
import { users } from "../../db/schema/identity.ts";
import { afterCommit, asSystem, read, type TenantCtx, transact } from "../../src/context.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { world } from "../kit.ts";

type World = Awaited<ReturnType<typeof world>>;
type Place = { w: World; tenantId: string; ctx: () => TenantCtx };
type Check = (place: Place) => Promise<void>;

const bump = (ctx: TenantCtx, topic: string) =>
  transact(
    ctx,
    ({ db }) =>
      db.insert(cacheEpochs).values({ tenantId: ctx.tenantId, topic }).onConflictDoUpdate({
        target: [cacheEpochs.tenantId, cacheEpochs.topic],
        set: { epoch: sql`${cacheEpochs.epoch} + 1` },
      }),
  );

const epochOf = (ctx: TenantCtx, topic: string) =>
  read(ctx, async ({ db }) => {
    const rows = await db.select().from(cacheEpochs)
      .where(and(eq(cacheEpochs.tenantId, ctx.tenantId), eq(cacheEpochs.topic, topic)));
    return rows[0]?.epoch ?? 0;
  });

class Dropped extends Error {}
const drop = () => Promise.reject(new Dropped());
const sqlState = (code: string) =>
  sql.raw(`do $$ begin raise exception 'planted' using errcode = '${code}'; end $$`);

export const behaviours: Record<string, Check> = {
  "answers a named statement on every session, with values of its own": async ({ w }) => {
    const { database } = w.process;
    const ask = (n: number) =>
      database.query({
        name: "n_and_word",
        text: "select $1::int as n, $2::text as word",
        values: [n, `word ${n}`],
      });
    for (let turn = 0; turn < 3; turn++) {
      const numbers = Array.from({ length: 12 }, (_, n) => n);
      const rows = await Promise.all(numbers.map(ask));
      assert.deepEqual(
        rows.map(([row]) => ({ ...row })),
        numbers.map((n) => ({ n, word: `word ${n}` })),
      );
    }
    await assert.rejects(() =>
      database.query({ name: "division", text: "select 1 / $1::int", values: [0] })
    );
    assert.equal((await ask(7))[0]?.n, 7);
  },
  "keeps what transact wrote and nothing of what failed": async ({ ctx }) => {
    await bump(ctx(), "kept");
    await assert.rejects(
      transact(ctx(), async (ctx) => (await bump(ctx, "kept"), drop())),
      Dropped,
    );
    assert.equal(await epochOf(ctx(), "kept"), 1);
  },
  "refuses a write in read": async ({ ctx }) => {
    const write = read(ctx(), (ctx) => bump(ctx, "never"));
    await assert.rejects(write, (error) => /read-only/.test(String(Object(error).cause)));
    assert.equal(await epochOf(ctx(), "never"), 0);
  },
  "takes back a nested transact alone, and what it wanted done": async ({ ctx }) => {
    const done: string[] = [];
    await transact(ctx(), async (ctx) => {
      await transact(ctx, async (ctx) => {
        await bump(ctx, "inner");
        afterCommit(ctx, () => void done.push("inner"));
        await drop();
      }).catch(() => {});
      afterCommit(ctx, () => void done.push("outer"));
      await transact(ctx, (ctx) => bump(ctx, "second"));
    });
    assert.deepEqual([await epochOf(ctx(), "inner"), await epochOf(ctx(), "second")], [0, 1]);
    assert.deepEqual(done, ["outer"]);
  },
  "tries again what lost a race, and says other failures": async ({ ctx }) => {
    for (const code of ["40001", "40P01"]) {
      let tries = 0;
      const work = transact(ctx(), async (ctx) => {
        await bump(ctx, code);
        if (++tries < 3) await ctx.db.execute(sqlState(code));
      });
      await work;
      assert.deepEqual([tries, await epochOf(ctx(), code)], [3, 1]);
    }
    let tries = 0;
    const failing = transact(
      ctx(),
      async ({ db }) => (tries++, await db.execute(sqlState("22012"))),
    );
    await assert.rejects(failing, /planted|Failed query/);
    assert.equal(tries, 1);
  },
  "throws at once when the outer ctx is used inside": async ({ ctx }) => {
    const outer = ctx();
    for (const inside of [() => read(outer, drop), () => transact(outer, drop)]) {
      await assert.rejects(transact(outer, inside), /use the ctx that transact or read gives/);
      await assert.rejects(read(outer, inside), /use the ctx that transact or read gives/);
    }
    await bump(outer, "after"); // The call is usable again.
  },
  "shows and takes one tenant's rows, whatever the statement says": async (
    { w, ctx, tenantId },
  ) => {
    const other = (await w.tenant()).tenantId;
    const theirs = asSystem(w.process, other);
    await bump(theirs, "walls");
    const unguarded = await read(ctx(), ({ db }) => db.select().from(users));
    assert.ok(unguarded.length > 0 && unguarded.every((user) => user.tenantId === tenantId));
    const foreign = transact(
      ctx(),
      ({ db }) => db.insert(cacheEpochs).values({ tenantId: other, topic: "planted" }),
    );
    await assert.rejects(foreign, (error) => Object(Object(error).cause).code === "42501");
    const touched = await transact(
      ctx(),
      ({ db }) =>
        db.update(cacheEpochs).set({ epoch: 99 }).where(eq(cacheEpochs.topic, "walls")).returning(),
    );
    assert.deepEqual([touched.length, await epochOf(theirs, "walls")], [0, 1]);
  },
  "leaves nothing of a tenant on the session it used": async ({ w, ctx }) => {
    const other = asSystem(w.process, (await w.tenant()).tenantId);
    await Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const mine = i % 2 === 0 ? ctx() : { ...other, frame: { open: false, committed: [] } };
      const rows = await read(mine, ({ db }) => db.select({ of: users.tenantId }).from(users));
      assert.deepEqual([...new Set(rows.map(({ of }) => of))], [mine.tenantId]);
    }));
    const left = await w.database.query(sql`select current_setting('app.tenant_id', true) as tenant,
      (select count(*)::int from users) as users, current_setting('statement_timeout') as timeout`);
    assert.deepEqual([left[0]?.tenant ?? "", left[0]?.users, left[0]?.timeout], ["", 0, "0"]);
  },
  "counts every one of fifty changes made at once": async ({ ctx }) => {
    await Promise.all(Array.from({ length: 50 }, () => bump(ctx(), "many")));
    assert.equal(await epochOf(ctx(), "many"), 50);
  },
  "gives back what was written: dates, lists, JSON, text, numbers": (place) => roundTrip(place),
  "answers definer functions outside any tenant, and nothing else": async ({ w, tenantId }) => {
    await bump(asSystem(w.process, tenantId), "asked");
    const epochs = await w.database.query(
      sql`select * from epochs_of(${tenantId}::uuid) where topic = ${"asked"}`,
    );
    assert.deepEqual(epochs.map(({ topic, epoch }) => [topic, Number(epoch)]), [["asked", 1]]);
    assert.equal((await w.database.query(sql`select id from users`)).length, 0);
    const [row] = await w.database.query(
      sql`select '2026-11-03 12:00:00.123+00'::timestamptz as at, null::timestamptz as never`,
    );
    assert.equal(new Date(String(row?.at)).toISOString(), "2026-11-03T12:00:00.123Z");
    assert.equal(row?.never, null);
    await assert.rejects(w.database.query(sql`select * from user_secrets_of_all()`));
  },
};

const words = ["", 'comma, brace } and "quote"', "back\\slash", "null", "ünïcode 🙂", "line\nend"];
const json = {
  "a.b": [1, 2.5, null, true, { deep: "\u2028 '; drop table users; --" }],
  big: 2 ** 53,
};

async function roundTrip({ w, ctx, tenantId }: Place) {
  const when = new Date("2026-03-29T01:59:59.999Z");
  const name = `Outlook ${v7()}`;
  const root = asSystem(w.process, ROOT_TENANT);
  const [platform] = await transact(root, ({ db }) =>
    db.insert(platforms).values({
      name,
      serviceType: "email",
      defaultScopes: words,
      apiHosts: [],
      metadata: json,
      deletedAt: when,
    }).returning());
  assert.ok(platform);
  const [again] = await read(
    root,
    ({ db }) => db.select().from(platforms).where(eq(platforms.id, platform.id)),
  );
  assert.deepEqual(again, platform);
  assert.deepEqual(again?.defaultScopes, words);
  assert.deepEqual([again?.apiHosts, again?.metadata, again?.quirks], [[], json, {}]);
  assert.deepEqual([again?.deletedAt, again?.description, again?.isActive], [when, null, true]);
  assert.ok(again && Math.abs(again.createdAt.getTime() - Date.now()) < 60_000);
  const until = new Date(Date.now() + 1_000);
  const lease = { name: `lease ${tenantId}`, holder: v7(), until };
  const [kept] = await transact(ctx(), ({ db }) => db.insert(leases).values(lease).returning());
  assert.deepEqual(kept, lease);
  const raw = await read(
    ctx(),
    async ({ db }) =>
      rowsOf(
        await db.execute(
          sql`select ${"it''s"}::text as word, ${7}::int as seven, ${
            JSON.stringify(json)
          }::jsonb as json, ${null}::text as nothing`,
        ),
      ),
  );
  assert.deepEqual(raw.map((row) => ({ ...row })), [{
    word: "it''s",
    seven: 7,
    json,
    nothing: null,
  }]);
  assert.deepEqual(await read(ctx(), ({ db }) => db.select().from(userPlatformBindings)), []);
}

/** One test for each behaviour, on the database that `open` gives. */
export function behaves(
  driver: string,
  open: () => Promise<Database>,
  options: { ignore?: boolean } = {},
): void {
  for (const [promise, check] of Object.entries(behaviours)) {
    Deno.test(`${driver} ${promise}`, options, async () => {
      const w = await world({ database: await open() });
      try {
        const { tenantId } = await w.tenant();
        await check({ w, tenantId, ctx: () => asSystem(w.process, tenantId) });
      } finally {
        await w.close();
      }
    });
  }
}
