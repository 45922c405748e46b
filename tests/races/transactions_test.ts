/** A change takes place once, whatever happens to the connection, the server or its neighbours. */
import assert from "node:assert/strict";
import { and, eq, sql } from "drizzle-orm";
import { type Database, open, rowsOf } from "../../db/client.ts";
import { cacheEpochs } from "../../db/schema/machinery.ts";
import { afterCommit, asSystem, read, type TenantCtx, transact } from "../../src/context.ts";
import { Fault } from "../../src/errors.ts";
import { record } from "../../src/trail.ts";
import { type House, house } from "../db/house.ts";
import { world } from "../kit.ts";
import { type Cut, type CuttingProxy, cuttingProxy } from "../stand_ins/cutting_proxy.ts";
import { type NeonProxy, neonProxy } from "../stand_ins/neon_proxy.ts";

let home: House;
let network: CuttingProxy;
let neon: NeonProxy;

Deno.test.beforeAll(async () => {
  home = await house();
  network = cuttingProxy(home.url);
  neon = neonProxy(network.url);
});

Deno.test.afterAll(async () => {
  await neon.stop();
  await network.stop();
  await home[Symbol.asyncDispose]();
});

const over = {
  postgres: () => open(network.url, { poolSize: 4 }),
  neon: () => open(network.url, { driver: "neon", poolSize: 4, webSocketProxy: neon.address }),
};

/** A change like any verb's: a row, its audit entry, something to do after it. */
async function stage(database: Database) {
  const w = await world({ database });
  const { tenantId } = await w.tenant();
  const done: string[] = [];
  const ctx = () => asSystem(w.process, tenantId);
  const change = (ctx: TenantCtx, topic: string, also = (_: number) => Promise.resolve()) => {
    let tries = 0;
    return transact(ctx, async (ctx) => {
      tries++;
      await ctx.db.insert(cacheEpochs).values({ tenantId, topic }).onConflictDoUpdate({
        target: [cacheEpochs.tenantId, cacheEpochs.topic],
        set: { epoch: sql`${cacheEpochs.epoch} + 1` },
      });
      await record(ctx, {
        action: `changed.${topic}`,
        subjectType: "topic",
        subjectId: tenantId,
        before: null,
        after: { topic },
      });
      afterCommit(ctx, () => void done.push(topic));
      const [row] = rowsOf(await ctx.db.execute(sql`select pg_backend_pid() as pid`));
      await also(Number(row?.pid));
      return tries;
    });
  };
  const effects = async (topic: string) => [
    await home.count(`select coalesce(max(epoch), 0) from cache_epochs
      where tenant_id = '${tenantId}' and topic = '${topic}'`),
    await home.count(`select count(*) from audit_entries
      where tenant_id = '${tenantId}' and action = 'changed.${topic}'`),
    done.filter((what) => what === topic).length,
  ];
  return { w, ctx, tenantId, change, effects, close: w.close };
}

const kill = (pid: number) => home.admin(`select pg_terminate_backend(${pid}, 5000)`);

for (const [driver, openIt] of Object.entries(over)) {
  Deno.test(`transact over ${driver} does once what a killed connection interrupted`, async () => {
    const s = await stage(openIt());
    let kills = 0;
    const tries = await s.change(s.ctx(), "killed", async (pid) => {
      if (kills++ === 0) await kill(pid);
    });
    assert.deepEqual([tries, await s.effects("killed")], [2, [1, 1, 1]]);
    await s.close();
  });

  for (const [cut, tries] of [["before it arrives", 2], ["before its answer", 1]] as const) {
    Deno.test(`transact over ${driver} does once what lost its commit ${cut}`, async () => {
      const s = await stage(openIt());
      const before = network.cuts;
      for (let round = 1; round <= 3; round++) {
        assert.equal(await cutOnce(s, cut), tries);
        assert.deepEqual(await s.effects("cut"), [round, round, round]);
      }
      assert.equal(network.cuts - before, 3);
      await s.close();
    });
  }

  Deno.test(`transact over ${driver} says Unavailable when every try is interrupted`, async () => {
    const s = await stage(openIt());
    const work = s.change(s.ctx(), "hopeless", async (pid) => void await kill(pid));
    await assert.rejects(work, (error) => error instanceof Fault && error.code === "Unavailable");
    assert.deepEqual(await s.effects("hopeless"), [0, 0, 0]);
    assert.equal(await s.change(s.ctx(), "hopeless"), 1);
    await s.close();
  });

  Deno.test(`read and query over ${driver} outlive a killed connection`, async () => {
    const s = await stage(openIt());
    let tries = 0;
    await read(s.ctx(), async ({ db }) => {
      const [row] = rowsOf(await db.execute(sql`select pg_backend_pid() as pid`));
      if (tries++ === 0) await kill(Number(row?.pid));
      await db.execute(sql`select 1`);
    });
    assert.equal(tries, 2);
    await home.admin(`select pg_terminate_backend(pid, 5000) from pg_stat_activity
      where usename = '${new URL(home.url).username}'`);
    assert.equal((await s.w.process.database.query(sql`select 1 as one`))[0]?.one, 1);
    await s.close();
  });
}

/** Armed within the work, so that it meets this commit and no other, and the first try's alone. */
function cutOnce(s: Awaited<ReturnType<typeof stage>>, cut: Cut) {
  let isArmed = false;
  return s.change(s.ctx(), "cut", () => {
    if (!isArmed) network.cutNextCommit(cut);
    isArmed = true;
    return Promise.resolve();
  });
}

Deno.test("transact hides a deadlock: both of two that wait for each other come through", async () => {
  const s = await stage(open(home.url));
  await s.change(s.ctx(), "one");
  await s.change(s.ctx(), "two");
  const touch = (ctx: TenantCtx, topic: string) =>
    transact(ctx, ({ db }) =>
      db.update(cacheEpochs).set({ epoch: sql`${cacheEpochs.epoch} + 1` })
        .where(and(eq(cacheEpochs.tenantId, s.tenantId), eq(cacheEpochs.topic, topic))));
  const meeting = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let tries = 0;
  const both = ["one", "two"].map((first, mine) =>
    transact(s.ctx(), async (ctx) => {
      tries++;
      await touch(ctx, first);
      meeting[mine]?.resolve();
      await meeting[1 - mine]?.promise;
      await touch(ctx, first === "one" ? "two" : "one");
    })
  );
  await Promise.all(both);
  assert.equal(tries, 3);
  assert.deepEqual([(await s.effects("one"))[0], (await s.effects("two"))[0]], [3, 3]);
  await s.close();
});

Deno.test("transact hides serialization failures where the server is set to serializable", async () => {
  const url = await home.login("strict", "in role switchboard_service");
  await home.admin(`alter role ${new URL(url).username}
    set default_transaction_isolation = 'serializable'`);
  const s = await stage(open(url));
  await s.change(s.ctx(), "sum");
  let [tries, reads] = [0, 0];
  const { promise: allHaveRead, resolve } = Promise.withResolvers<void>();
  const addOne = () =>
    transact(s.ctx(), async ({ db }) => {
      tries++;
      const mine = and(eq(cacheEpochs.tenantId, s.tenantId), eq(cacheEpochs.topic, "sum"));
      const [row] = await db.select().from(cacheEpochs).where(mine);
      if (++reads === 3) resolve();
      await allHaveRead; // Else one may be through before the next has its session.
      await db.update(cacheEpochs).set({ epoch: (row?.epoch ?? 0) + 1 }).where(mine);
    });
  await Promise.all([addOne(), addOne(), addOne()]);
  assert.ok(tries > 3, "nothing collided");
  assert.equal((await s.effects("sum"))[0], 4);
  await s.close();
});

Deno.test("afterCommit cannot make a change that took place look like a failure", async () => {
  const lines: string[] = [];
  const w = await world({ database: open(home.url), write: (line) => lines.push(line) });
  const ctx = asSystem(w.process, (await w.tenant()).tenantId);
  const ran: string[] = [];
  const answer = await transact(ctx, (ctx) => {
    afterCommit(ctx, () => {
      throw Object.assign(new Error("hook"), { code: "40001" });
    });
    afterCommit(ctx, () => void ran.push("second"));
    return Promise.resolve("done");
  });
  assert.deepEqual([answer, ran, lines.length], ["done", ["second"], 1]);
  await w.close();
});
