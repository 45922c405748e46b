/** What must hold when many act on one row at the same moment, on a Postgres that lets them. */
import assert from "node:assert/strict";
import { principals } from "../../src/access/principals.ts";
import type { Ctx } from "../../src/context.ts";
import type { Vault } from "../../src/secrets/vault.ts";
import { until } from "../db/house.ts";
import { elsewhere, type Home, home, patience } from "./house.ts";
import { onServer, type Server } from "./on_server.ts";

let server: Server;
let h: Home;
let close = () => Promise.resolve();

Deno.test.beforeAll(async () => {
  server = await onServer();
  h = await home(server.ground());
  close = async () => {
    await h.w.close();
    await server.close();
  };
});
Deno.test.afterAll(() => close());

Deno.test("refresh takes one step for twenty at once, and again at each step", async () => {
  const { email, password, userId } = await h.login(await h.tenantBelow());
  const { body } = await h.send("/auth/sign-in", { email, password });
  let token = body.refresh_token;
  for (let step = 1; step <= 5; step++) {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => h.send("/auth/refresh", { refresh_token: token })),
    );
    assert.deepEqual(answers.map(({ status }) => status), Array(20).fill(200));
    const next = new Set(answers.map(({ body }) => body.refresh_token));
    assert.equal(next.size, 1);
    [token] = next;
    const [row] = await h.sql("select counter from sessions where owner_user_id = $1", [userId]);
    assert.equal(row?.counter, step);
  }
});

Deno.test("refresh never counts back, however long one of two takes", async () => {
  const { email, password } = await h.login(await h.tenantBelow());
  const { body } = await h.send("/auth/sign-in", { email, password });
  const first = String(body.refresh_token);
  const { secrets } = h.w.process;
  const begun = Promise.withResolvers<void>();
  const slow: Vault = {
    ...secrets,
    open: async (...place) => { // Between its look at the session and its change of it.
      begun.resolve();
      await new Promise((resolve) => setTimeout(resolve, 300));
      return await secrets.open(...place);
    },
  };
  const trade = async (refreshToken: string, more: Partial<Ctx> = {}) =>
    (await h.w.as(null, more).identity.auth.refresh({ refreshToken })).refreshToken;
  const late = trade(first, { secrets: slow });
  await begun.promise;
  const last = await trade(await trade(first));
  await late;
  assert.match(await trade(last), /_3_/);
});

Deno.test("signIn looks at ten passwords of forty sent at once", async () => {
  const who = await h.login(await h.tenantBelow());
  const attempt = (password: string) =>
    h.w.as(null, { limiter: patience, address: elsewhere() }).identity.auth
      .signIn({ email: who.email, password }).then(() => "in", () => "refused");
  const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => attempt(`guess ${i}`)));
  assert.deepEqual(new Set(answers), new Set(["refused"]));
  assert.equal(await attempt(who.password), "refused");
  const [row] = await h.sql("select failed_sign_ins from user_security where id = $1", [
    who.userId,
  ]);
  assert.equal(row?.failed_sign_ins, 10);
});

Deno.test("a key is verified over Postgres, and its last use written once by many processes", async () => {
  const who = await h.login(await h.tenantBelow(), { role: "admin" });
  const { key, apiKey } = await h.w.as(who).identity.apiKeys.create({
    name: "k",
    scopes: ["audit.read"],
    expiresAt: new Date(h.clock.ms + 3_600_000),
  });
  const processes = Array.from({ length: 10 }, () => principals(h.w.process));
  const found = await Promise.all(processes.map(({ find }) => find(null, key)));
  assert.ok(found.every((principal) => principal?.grants["audit.read"] === "tenant"));
  const usedAt = async () => {
    const [row] = await h.sql("select last_used_at from api_keys where id = $1", [apiKey.id]);
    return row?.last_used_at ? new Date(String(row.last_used_at)).getTime() : null;
  };
  await until(async () => await usedAt() !== null, "its use is written");
  h.clock.ms += 30_000;
  assert.ok(await principals(h.w.process).find(null, key));
  assert.equal(await usedAt(), h.clock.ms - 30_000);
});
