/** A thousand wrong passwords once overflowed the pause between tries: the lock then fell off. */
import assert from "node:assert/strict";
import { asSystem, read, transact } from "../../src/context.ts";
import { userSecurity } from "../../db/schema/identity.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { and, eq } from "drizzle-orm";
import { world } from "../kit.ts";

Deno.test("signIn counts and locks after any number of wrong passwords", async () => {
  const w = await world();
  const [email, password] = ["ada@people.example", "correct horse battery"];
  const { userId } = await w.person(ROOT_TENANT, "member", { email, password });
  const row = and(eq(userSecurity.tenantId, ROOT_TENANT), eq(userSecurity.id, userId));
  const ctx = asSystem(w.process, ROOT_TENANT);
  for (const failedSignIns of [9, 10, 16, 100, 1_000, 1_000_000]) {
    const set = { failedSignIns, lockedUntil: null };
    await transact(ctx, ({ db }) => db.update(userSecurity).set(set).where(row));
    const body = JSON.stringify({ email, password: "wrong" });
    const answer = await w.request("/api/v1/auth/sign-in", { method: "POST", body });
    assert.equal(answer.status, 401, `after ${failedSignIns}: ${await answer.text()}`);
    const [after] = await read(ctx, ({ db }) => db.select().from(userSecurity).where(row));
    assert.ok(Number(after?.failedSignIns) > 9, `${after?.failedSignIns} are counted`);
    const pauseMs = (after?.lockedUntil?.getTime() ?? 0) - Date.now();
    assert.ok(pauseMs > 20_000 && pauseMs <= 3600_000, `locked for ${pauseMs} ms`);
  }
  await w.close();
});
