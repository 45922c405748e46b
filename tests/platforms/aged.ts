/** A provider, an account and a clock: what tests of tokens that grow old share. */
import { eq } from "drizzle-orm";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import { userPlatformBindings as table } from "../../db/schema/platforms.ts";
import { asSystem, type TenantCtx, transact } from "../../src/context.ts";
import { accessToken } from "../../src/platforms/bindings.ts";
import { type Timing, usual } from "../../src/platforms/refresh.ts";
import { connect, type House, house, rowOf, tenantWith, trailOf } from "./accounts.ts";

export let at: House;
/** How far the service's clock runs ahead, and where it stands still. */
export const clock: { aheadMs: number; frozenMs: number | null } = { aheadMs: 0, frozenMs: null };
Deno.test.beforeAll(async () => {
  at = await house({ now: () => new Date((clock.frozenMs ?? Date.now()) + clock.aheadMs) });
});
Deno.test.beforeEach(() => {
  Object.assign(clock, { aheadMs: 0, frozenMs: null });
  at.provider.resetCounts();
  Object.assign(at.provider.settings, {
    rotate: true,
    refreshTokens: "always",
    accessTokenSeconds: 3600,
    tokenDelayMs: 0,
    beforeToken: undefined,
    afterToken: undefined,
  });
});
Deno.test.afterAll(() => at[Symbol.asyncDispose]());

/** Waits and cool-downs a test can sit through. */
export const quick: Timing = { ...usual, coolMs: 50, waitMs: 3_000 };

/** A tenant, a binding of its member, and what the member may ask for. */
export async function scene(more: Parameters<typeof tenantWith>[1] = {}) {
  const tenant = await tenantWith(at, more);
  const { id } = await connect(at, tenant.member, tenant);
  at.provider.resetCounts();
  const ctx = (): TenantCtx => ({
    ...asSystem(at.process, tenant.tenantId),
    actor: tenant.member.actor,
    userId: tenant.member.userId,
    reach: "self",
  });
  const read = (timing: Timing = quick) => accessToken(ctx(), { id }, timing);
  const row = () => rowOf(at, tenant.tenantId, id);
  const actions = async () =>
    (await trailOf(at, tenant.tenantId)).entries.map(({ action }) => action);
  const set = (values: PgUpdateSetSource<typeof table>) =>
    transact(
      asSystem(at.process, tenant.tenantId),
      ({ db }) => db.update(table).set(values).where(eq(table.id, id)),
    );
  return { tenant, id, ctx, read, row, actions, set };
}
export type Scene = Awaited<ReturnType<typeof scene>>;

export const toMargin = () => clock.aheadMs = 3600_000 - 30_000;
export const toExpiry = () => clock.aheadMs = 3600_000 + 1_000;
