/** What of a conversation is told to a model: by the stated rule, and no more of it is read. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import fc from "fast-check";
import { v7 } from "uuid";
import { rowsOf } from "../../db/client.ts";
import { asSystem, read, type TenantCtx } from "../../src/context.ts";
import { tokensOf } from "../../src/teams/gateway/requests.ts";
import { begin, HISTORY_TOKENS, historyOf } from "../../src/teams/turns.ts";
import { type House, house } from "./house.ts";
import { runs } from "./seeds.ts";

let h: House;
Deno.test.beforeAll(async () => void (h = await house()));
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

type Kept = { role: "user" | "assistant"; content: string };

/** A conversation with these messages, the oldest first, and what a model is told of it. */
async function conversation() {
  const { id, tenantId } = await h.team();
  const ctx = asSystem(h.w.process, tenantId);
  const turn = await begin(ctx, { teamId: id, platform: "test", userId: "ada" });
  turn.stop();
  const { id: sessionId } = turn.session;
  const keep = async (kept: Kept[]) => {
    await h.sql("delete from messages where session_id = $1", [sessionId]);
    await h.sql(
      `insert into messages (tenant_id, session_id, id, role, content)
        select $1, $2, id, role, content
        from unnest($3::uuid[], $4::text[], $5::text[]) of (id, role, content)`,
      [
        ...[tenantId, sessionId, kept.map(() => v7())],
        ...[kept.map(({ role }) => role), kept.map(({ content }) => content)],
      ],
    );
  };
  return { ctx, keep, told: (ctx: TenantCtx) => historyOf(ctx, turn, { maxHistory: 100 }) };
}

Deno.test("what fits into the budget is what the stated rule says, to the byte", async () => {
  const { ctx, keep, told } = await conversation();
  const piece = fc.constantFrom("", "a", "ab", "é", "€", "😀", "ΟΔΟΣ");
  const tokens = fc.oneof(
    fc.nat(9),
    fc.integer({ min: -3, max: 1 }).map((n) => n + HISTORY_TOKENS),
  );
  const message: fc.Arbitrary<Kept> = fc
    .tuple(fc.constantFrom("user", "assistant"), tokens, piece)
    .map(([role, n, piece]) => ({ role, content: "x".repeat(4 * n) + piece }));
  const brief = (said: Kept[]) => said.map(({ role, content }) => [role, content.length]);
  const check = async (kept: Kept[]) => {
    await keep(kept);
    let sum = 0;
    const over = kept.findLastIndex(({ content }) => (sum += tokensOf(content)) > HISTORY_TOKENS);
    const fitting = kept.slice(over + 1);
    const first = fitting.findIndex(({ role }) => role === "user");
    assert.deepEqual(brief(await told(ctx)), first < 0 ? [] : brief(fitting.slice(first)));
  };
  const messages = fc.array(message, { minLength: 1, maxLength: 6 });
  await fc.assert(fc.asyncProperty(messages, check), runs(100));
});

Deno.test("what of a conversation is not told is not read either", async () => {
  const { ctx, keep, told } = await conversation();
  const long = crypto.getRandomValues(new Uint8Array(2 ** 15)).toHex();
  const says = (content: string): Kept => ({ role: "user", content });
  await keep([...Array(20).fill(says(long.repeat(16))), says(long.slice(0, 50_000)), says("last")]);
  // Long texts lie in pieces of 2 KB.
  const pieces = await read(ctx, async (ctx) => {
    assert.deepEqual((await told(ctx)).map(({ content }) => content.length), [50_000, 4]);
    const [row] = rowsOf(
      await ctx.db.execute(sql`select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) as n
        from pg_stat_xact_all_tables where schemaname = 'pg_toast'`),
    );
    return Number(row?.n);
  });
  assert.ok(pieces > 0 && pieces <= HISTORY_TOKENS * 4 / 1_900, `${pieces} pieces are read`);
});
