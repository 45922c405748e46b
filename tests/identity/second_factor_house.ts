/** People with a second factor, and the codes of a clock that tests turn on. */
import assert from "node:assert/strict";
import { totpCode } from "../../src/access/totp.ts";
import { type Answer, elsewhere, type Home, type Login } from "./house.ts";

export const STEP_MS = 30_000;
export const missing = [401, "sign_in.second_factor"];
export const refused = [401, "sign_in.second_factor_refused"];

export const bearer = (access: string) => ({ headers: { authorization: `Bearer ${access}` } });
export const reasonOf = ({ status, body }: Answer) => [status, body.reason];
export const texts = (value: unknown): string[] => value instanceof Array ? value.map(String) : [];

type Joining = { tenantId?: string; role?: string; email?: string; password?: string };

export function secondFactorHouse(h: Home) {
  const signIn = (
    { email, password }: Pick<Login, "email" | "password">,
    more: Record<string, unknown> = {},
  ) => h.send("/auth/sign-in", { email, password, ...more }, { address: elsewhere() });
  const post = (path: string, access: string, body: unknown = {}) =>
    h.send(`/auth/second-factor${path}`, body, bearer(access));
  const stateOf = async (access: string) =>
    (await h.send("/auth/second-factor", null, { method: "GET", ...bearer(access) })).body;

  /** The code of so many steps from now. */
  const codeOf = (secret: string, steps = 0) =>
    totpCode(secret, new Date(h.clock.ms + steps * STEP_MS));
  const wrongFor = (secret: string) => {
    const near = [-1, 0, 1].map((steps) => codeOf(secret, steps));
    return ["000000", "111111", "222222", "333333"].find((code) => !near.includes(code)) ?? "";
  };

  async function accessOf(who: Login, more: Record<string, unknown> = {}): Promise<string> {
    const { status, body } = await signIn(who, { tenant: who.tenantId, ...more });
    assert.equal(status, 200, JSON.stringify(body));
    return String(body.access_token);
  }

  /** Somebody with a confirmed second factor, and a clock a step further. */
  async function guarded(more: Joining = {}) {
    const { tenantId = await h.tenantBelow(), ...login } = more;
    const who = await h.login(tenantId, login);
    const access = await accessOf(who);
    const { body } = await post("", access, { password: who.password });
    const secret = String(body.secret);
    const confirmed = await post("/confirm", access, { code: codeOf(secret) });
    assert.equal(confirmed.status, 200, JSON.stringify(confirmed.body));
    h.clock.ms += STEP_MS;
    const from = (await h.trail(tenantId)).length;
    return {
      ...{ who, access, secret },
      recoveryCodes: texts(confirmed.body.recovery_codes),
      since: async () => (await h.trail(tenantId)).slice(from).map(({ action }) => action),
    };
  }

  const failures = async ({ who }: { who: Login }) =>
    (await h.sql("select failed_sign_ins, locked_until from user_security where id = $1", [
      who.userId,
    ]))[0];

  return { signIn, post, stateOf, codeOf, wrongFor, accessOf, guarded, failures };
}
export type Guarded = Awaited<ReturnType<ReturnType<typeof secondFactorHouse>["guarded"]>>;
